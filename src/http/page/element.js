// Elements without markup: whatever comes from the daemon becomes text nodes and attribute values, never HTML.

import * as words from './words.js';

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element; `onclick` and the like are listeners, children that are null or false are left out. */
export function el(tag, attributes = {}, ...children) {
  return built(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return built(document.createElementNS(SVG, tag), attributes, children);
}

function built(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat(Infinity).filter(Boolean));
  return node;
}

/** A symbol of index.html. It always stands beside a word. */
export function icon(name) {
  return svg('svg', { class: `icon ${name}`, 'aria-hidden': 'true' }, svg('use', { href: `#${name}` }));
}

/** A word with its tone, which is told by colour, symbol and the word itself. */
export function badge(tone, word) {
  return el('span', { class: `badge ${tone}` }, icon(tone), word);
}

/** A moment in words that go on being right: see `tick`. */
export function moment(at, form) {
  const node = el('time', { datetime: at, title: words.full(at) });
  node.dataset.form = form;
  node.textContent = words.moment(at, form);
  return node;
}

/** Brings all moments up to date. */
export function tick() {
  for (const node of document.querySelectorAll('time[data-form]')) {
    const text = words.moment(node.dateTime, node.dataset.form);
    if (node.textContent !== text) node.textContent = text;
  }
}

/** Gives a node other children, unless they would be made of the same `seed` as before: focus and selection stay. */
export function fill(node, seed, children) {
  const text = JSON.stringify(seed ?? null);
  if (node.seed === text) return false;
  node.seed = text;
  node.replaceChildren(...[children()].flat(Infinity).filter(Boolean));
  return true;
}

/** Makes these the children of a node, and moves none that is in its place: focus stays. */
export function arrange(node, children) {
  const wanted = new Set(children);
  [...node.children].forEach((child) => wanted.has(child) || child.remove());
  children.forEach((child, nth) => {
    if (node.children[nth] !== child) node.insertBefore(child, node.children[nth] ?? null);
  });
}

/** A table with the roles spelt out, since its parts become blocks on a narrow screen. */
export function table(label, headers) {
  const head = headers.map(([title, kind]) => el('th', { scope: 'col', role: 'columnheader', class: kind }, title));
  const body = el('tbody', { role: 'rowgroup' });
  const node = el('table', { role: 'table', 'aria-label': label },
    el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, head)), body);
  return { node, body };
}

/** A cell, with the title that it carries where there is no head. */
export function cell(title, kind, ...children) {
  return el('td', { role: 'cell', class: kind, 'data-title': title }, ...children);
}

/** A share as a small bar; the number stands beside it. */
export function bar(share) {
  return svg('svg', { class: 'bar', viewBox: '0 0 60 4', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    svg('rect', { class: 'track', width: 60, height: 4, rx: 2 }),
    svg('rect', { class: 'filled', width: 60 * Math.min(1, Math.max(0, share)), height: 4, rx: 2 }));
}
