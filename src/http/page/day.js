// The plots of the last day.

import { now } from './api.js';
import { svg } from './element.js';
import { Plot, bucketLength, line, linear, logarithmic } from './plot.js';
import * as words from './words.js';

/** Less would make a daemon's first minutes look like noise. */
const SHORTEST = 10 * words.MINUTE;

/** Time goes on, also where nothing happens. */
const TURN = 10 * words.SECOND;

export class Day {
  constructor(place) {
    this.rate = new Plot('plot-hit-rate', 'Hit rate of Redis');
    this.memory = new Plot('plot-memory', 'Memory of Redis');
    this.times = new Plot('plot-times', 'Run times');
    this.keys = new Plot('plot-keys', 'Keys');
    place.append(this.rate.node, this.memory.node, this.times.node, this.keys.node);
  }

  /** `health` and `runs` are parts of the daemon's answers with their state, `chosen` the runs that are wanted. */
  show(health, runs, chosen) {
    const seed = [health.state, health.asked, runs.state, chosen.length, chosen[0]?.run_id, Math.floor(now() / TURN)].join();
    if (seed === this.seed) return;
    this.seed = seed;
    const redis = health.value?.redis;
    const samples = (redis?.points ?? []).map((point) => ({ ...point, at: Date.parse(point.at) }));
    const to = now();
    const records = chosen.map((run) => ({ run, at: Date.parse(run.finished) })).sort((a, b) => a.at - b.at);
    const first = Math.min(...samples.slice(0, 1).map((point) => point.at), ...records.slice(0, 1).map((record) => record.at));
    const from = Math.max(to - words.DAY, Math.min(first, to - SHORTEST));
    const span = { from, to };
    const missing = words.without(health, 'Not available from this daemon.', redis?.latest ? null : redis?.error);
    this.showRate(samples, redis, missing, span);
    this.showMemory(samples, redis, missing, span);
    const none = words.without(runs, 'No history is kept.', 'No run within the last day.');
    this.showTimes(records.filter(({ run }) => run.outcome !== 'skipped'), none, span);
    this.showKeys(records, none, span);
  }

  showRate(samples, redis, missing, span) {
    const series = samples.map(({ at, hit_rate: value }) => ({ at, value }));
    const points = told(series, words.percent);
    if (points.length === 0) {
      return this.rate.show({ empty: missing ?? (series.length > 0 ? 'Nobody has read from Redis yet.' : 'No samples yet.') });
    }
    const { average, min } = redis.summaries?.hit_rate ?? {};
    const latest = redis.latest?.hit_rate;
    this.rate.show({
      ...span, points, value: words.known(latest) ? words.percent(latest) : 'no reads now',
      note: words.known(average) && `average ${words.percent(average)}, lowest ${words.percent(min)}`,
      axis: linear(1, (value) => `${Math.round(value * 100)} %`),
      marks: (x, y) => line(series, x, y),
    });
  }

  showMemory(samples, redis, missing, span) {
    const series = samples.map(({ at, used_memory_bytes: value }) => ({ at, value }));
    const points = told(series, words.bytes);
    if (points.length === 0) return this.memory.show({ empty: missing ?? 'No samples yet.' });
    const { used_memory_bytes: used, max_memory_bytes: limit, memory_share: share } = redis.latest ?? {};
    const most = Math.max(limit ?? 0, ...points.map((point) => point.value));
    const power = words.unit(most);
    this.memory.show({
      ...span, points, value: words.known(used) ? words.bytes(used) : 'not known now',
      note: words.known(limit) ? `of ${words.bytes(limit)}${words.known(share) ? `, ${words.percent(share)}` : ''}`
        : 'no maxmemory is set',
      axis: linear(most, (value) => words.bytes(value, power), 1024 ** power),
      marks: (x, y) => [
        words.known(limit) && [
          svg('line', { class: 'limit', x1: x(span.from), x2: x(span.to), y1: y(limit), y2: y(limit) }),
          svg('text', { class: 'tick', x: x(span.to) - 2, y: y(limit) + 13, 'text-anchor': 'end' }, 'maxmemory'),
        ],
        line(series, x, y),
      ],
    });
  }

  showTimes(records, none, span) {
    if (records.length === 0) return this.times.show({ empty: none });
    const points = records.map(({ run, at }) => ({
      at, value: Math.max(0.0001, run.seconds), hash: words.runHash(run), isWell: run.outcome === 'ok',
      words: `${clock(at)}: ${run.job}, ${run.outcome}, ${words.duration(run.seconds)}`,
    }));
    const seconds = records.map(({ run }) => run.seconds).sort((a, b) => a - b);
    const unwell = points.filter((point) => !point.isWell).length;
    this.times.show({
      ...span, points, scattered: true, value: `${words.duration(seconds[Math.floor(seconds.length / 2)])} median`,
      note: `${words.plural(points.length, 'run')}${unwell > 0 ? `, ${words.number(unwell)} not ok (crosses)` : ', all ok'}, longest ${words.duration(seconds.at(-1))}`,
      axis: logarithmic(Math.max(0.0001, seconds[0]), seconds.at(-1)),
      marks: (x, y) => points.map(({ at, value, isWell }) => (isWell
        ? svg('circle', { class: 'dot', cx: x(at), cy: y(value), r: 3 })
        : svg('path', { class: 'cross', d: `M${x(at) - 4} ${y(value) - 4}l8 8m0-8l-8 8` }))),
    });
  }

  showKeys(records, none, span) {
    const kinds = ['written', 'fresh', 'failed'];
    const length = bucketLength(span.to - span.from, 60);
    const buckets = new Map();
    for (const { run, at } of records) {
      const start = Math.floor(at / length) * length;
      const bucket = buckets.get(start) ?? { written: 0, fresh: 0, failed: 0 };
      kinds.forEach((kind) => { bucket[kind] += run[kind]; });
      buckets.set(start, bucket);
    }
    const filled = [...buckets].sort(([a], [b]) => a - b).filter(([, bucket]) => kinds.some((kind) => bucket[kind] > 0));
    if (filled.length === 0) return this.keys.show({ empty: records.length > 0 ? 'No run has had keys.' : none });
    const sum = (bucket) => kinds.reduce((sum, kind) => sum + bucket[kind], 0);
    const total = (kind) => filled.reduce((sum, [, bucket]) => sum + bucket[kind], 0);
    this.keys.show({
      ...span, value: `${words.short(total('written'))} written`,
      note: `${words.number(total('fresh'))} found fresh (pale), ${words.number(total('failed'))} failed${total('failed') > 0 ? ' (hatched)' : ''}; bars of ${words.duration(length / 1000).replace(' 0 s', '')}`,
      points: filled.map(([start, bucket]) => ({
        at: start + length / 2, value: sum(bucket),
        words: `from ${clock(start)}: ${kinds.filter((kind) => bucket[kind] > 0).map((kind) => `${words.number(bucket[kind])} ${kind}`).join(', ')}`,
      })),
      axis: linear(Math.max(...filled.map(([, bucket]) => sum(bucket))), (value) => words.short(value)),
      marks: (x, y) => [
        svg('defs', {}, svg('pattern', { id: 'hatch', width: 5, height: 5, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
          svg('rect', { class: 'failed', width: 2.5, height: 5 }))),
        filled.map(([start, bucket]) => {
          const left = Math.max(x(start), x(span.from));
          const width = Math.max(1, x(start + length) - left - 1);
          let below = 0;
          return kinds.filter((kind) => bucket[kind] > 0).map((kind) => {
            const base = y(below);
            below += bucket[kind];
            return svg('rect', { class: `keys-${kind}`, fill: 'url(#hatch)', x: left, width, y: y(below), height: base - y(below) });
          });
        }),
      ],
    });
  }
}

const clock = (at) => words.moment(new Date(at).toISOString(), 'clock');

/** What is known of a series, with words for the cursor. */
const told = (series, inWords) => series.filter(({ value }) => words.known(value))
  .map(({ at, value }) => ({ at, value, words: `${clock(at)}: ${inWords(value)}` }));
