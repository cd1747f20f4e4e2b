// Plots as plain SVG, drawn at the size that they have, with a cursor that pointer and arrow keys move.

import { el, svg } from './element.js';
import * as words from './words.js';

const HEIGHT = 170;
const TOP = 8;
const BOTTOM = 22;
const RIGHT = 10;

/** One plot: title, newest value, picture, and a line that says what is under the cursor. */
export class Plot {
  constructor(id, title) {
    this.title = title;
    this.value = el('p', { class: 'value' });
    this.note = el('p', { class: 'minor' });
    this.readout = el('p', { class: 'readout', 'aria-hidden': 'true' });
    this.canvas = el('div', {
      class: 'canvas', id, onpointermove: (event) => this.point(event), onpointerleave: () => this.choose(null),
      onkeydown: (event) => this.key(event), onclick: (event) => this.open(event), onblur: () => this.choose(null),
    });
    this.node = el('figure', { class: 'plot', 'data-plot': id },
      el('figcaption', {}, el('h3', {}, title), this.value, this.note), this.canvas, this.readout);
    this.shown = { points: [] };
    this.chosen = null;
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  /**
   * What to show: `value` and `note` in words, `empty` when there is nothing else, or `from`, `to`, `axis` (`scale` of a
   * value to 0..1, `ticks` as pairs of value and words), `marks`, a function of the scales `x` and `y` that gives SVG
   * elements, and `points` (`at`, `value`, `words`, perhaps `hash`) for the cursor, in the order of time; `scattered` when
   * several stand above each other.
   */
  show(shown) {
    this.shown = { points: [], ...shown };
    this.value.textContent = shown.value || '';
    this.note.textContent = shown.note || '';
    this.draw();
  }

  draw() {
    const { shown, canvas } = this;
    const width = canvas.clientWidth;
    const last = shown.points.length - 1;
    if ((!shown.empty && last < 0) || width === 0) return;
    canvas.classList.toggle('is-empty', last < 0);
    const about = { role: 'slider', tabindex: 0, 'aria-label': `${this.title}, ${shown.value}`, 'aria-readonly': true,
      'aria-valuemin': 0, 'aria-valuemax': last };
    for (const [name, value] of Object.entries(about)) {
      if (last < 0) canvas.removeAttribute(name);
      else canvas.setAttribute(name, value);
    }
    if (last < 0) {
      canvas.replaceChildren(el('p', { class: 'empty' }, shown.empty));
      this.choose(null);
      return;
    }
    const left = 14 + 6.6 * Math.max(...shown.axis.ticks.map(([, label]) => label.length));
    const x = (at) => left + ((width - left - RIGHT) * (at - shown.from)) / (shown.to - shown.from);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - shown.axis.scale(value));
    this.x = x;
    this.y = y;
    const grid = shown.axis.ticks.map(([value, label]) => [
      svg('line', { class: 'grid', x1: left, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      svg('text', { class: 'tick', x: left - 8, y: y(value) + 4, 'text-anchor': 'end' }, label),
    ]);
    const times = timeTicks(shown.from, shown.to, (width - left) / 72).map((at) => [
      svg('line', { class: 'tick-mark', x1: x(at), x2: x(at), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }),
      svg('text', { class: 'tick', x: x(at), y: HEIGHT - 5, 'text-anchor': 'middle' }, words.moment(new Date(at).toISOString(), 'clock').split(' ').pop()),
    ]);
    this.cursor = svg('g', { class: 'cursor' });
    canvas.replaceChildren(svg('svg', { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, 'aria-hidden': 'true' },
      grid, times, shown.marks(x, y), this.cursor));
    this.choose(this.chosen === null ? null : Math.min(this.chosen, last));
  }

  /** Moves the cursor to a point, or takes it away. */
  choose(nth) {
    this.chosen = nth;
    this.cursor?.replaceChildren();
    const { points } = this.shown;
    const told = nth ?? points.length - 1;
    this.readout.textContent = points[nth]?.words ?? '';
    if (told < 0) return;
    this.canvas.setAttribute('aria-valuenow', told);
    this.canvas.setAttribute('aria-valuetext', points[told].words);
    const point = points[nth];
    if (!point) return;
    const x = this.x(point.at);
    this.cursor.append(svg('line', { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }));
    this.cursor.append(svg('circle', { cx: x, cy: this.y(point.value), r: 4.5 }));
    this.canvas.classList.toggle('opens', Boolean(point.hash));
  }

  /** The point that is nearest to the pointer. */
  point(event) {
    const { points, scattered } = this.shown;
    if (points.length === 0) return;
    const box = this.canvas.getBoundingClientRect();
    const distance = ({ at, value }) => Math.hypot(this.x(at) - (event.clientX - box.left),
      scattered ? this.y(value) - (event.clientY - box.top) : 0);
    let nearest = 0;
    points.forEach((point, nth) => {
      if (distance(point) < distance(points[nearest])) nearest = nth;
    });
    this.choose(nearest);
  }

  key(event) {
    const last = this.shown.points.length - 1;
    const at = this.chosen ?? last + 1;
    const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0, End: last }[event.key];
    if (event.key === 'Enter') this.open();
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.choose(Math.min(last, Math.max(0, to)));
  }

  open(event) {
    // A finger does not hover before it presses.
    if (event) this.point(event);
    const hash = this.shown.points[this.chosen]?.hash;
    if (hash) location.hash = hash;
  }
}

/** The axis of values from 0 on, with ticks at round ones of a unit. */
export function linear(most, label, unit = 1) {
  const rough = (most / unit || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((times) => times * power).find((step) => step >= rough * 0.999);
  const count = Math.ceil((4 * rough) / step - 1e-9);
  const values = Array.from({ length: count + 1 }, (_, nth) => nth * step * unit);
  return { scale: (value) => value / values[count], ticks: values.map((value) => [value, label(value)]) };
}

const DURATIONS = [[0.0001, '0.1 ms'], [0.001, '1 ms'], [0.01, '10 ms'], [0.1, '0.1 s'], [1, '1 s'], [10, '10 s'], [60, '1 min'], [600, '10 min'],
  [3600, '1 h'], [36_000, '10 h'], [360_000, '100 h']];

/** The axis of durations: a run may take milliseconds or hours. */
export function logarithmic(least, most) {
  const first = Math.max(0, DURATIONS.findLastIndex(([value]) => value <= least));
  let last = DURATIONS.findIndex(([value]) => value >= most);
  if (last < 0) last = DURATIONS.length - 1;
  if (last === first) last = Math.min(DURATIONS.length - 1, first + 1);
  const ticks = DURATIONS.slice(first, last + 1);
  const [low, high] = [Math.log(ticks[0][0]), Math.log(ticks.at(-1)[0])];
  return { scale: (value) => Math.min(1, Math.max(0, (Math.log(value) - low) / (high - low))), ticks };
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720].map((minutes) => minutes * words.MINUTE);

/** Round local times, at most so many. */
function timeTicks(from, to, most) {
  const step = STEPS.find((step) => (to - from) / step <= Math.max(2, most)) ?? STEPS.at(-1);
  const shift = new Date(from).getTimezoneOffset() * words.MINUTE;
  const ticks = [];
  for (let at = Math.ceil((from - shift) / step) * step + shift; at <= to; at += step) ticks.push(at);
  return ticks;
}

/** Lengths of buckets that make about `count` of a span. */
export const bucketLength = (span, count) => STEPS.find((step) => span / step <= count) ?? STEPS.at(-1);

/** The path through points in the order of time, broken where one is missing or the pause is long. */
export function line(points, x, y) {
  const pauses = points.slice(1).map((point, nth) => point.at - points[nth].at).sort((a, b) => a - b);
  const longest = 4 * (pauses[Math.floor(pauses.length / 2)] ?? Infinity);
  let [path, before] = ['', null];
  for (const { at, value } of points) {
    if (!words.known(value)) {
      before = null;
      continue;
    }
    path += `${before !== null && at - before <= longest ? 'L' : 'M'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    // A point that stands alone would be invisible.
    if (before === null || at - before > longest) path += 'h.01';
    before = at;
  }
  return svg('path', { class: 'line', d: path });
}
