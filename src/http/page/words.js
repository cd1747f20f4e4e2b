// Numbers and moments in words.

import { now } from './api.js';

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const few = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const dates = (options) => new Intl.DateTimeFormat('en-GB', options);
const hour = dates({ timeStyle: 'short' });
const second = dates({ timeStyle: 'medium' });
const date = dates({ day: 'numeric', month: 'short' });
const all = dates({ dateStyle: 'full', timeStyle: 'long' });

/** What each outcome is: its tone. */
export const TONES = { ok: 'good', partial: 'warn', failed: 'bad', interrupted: 'warn', skipped: 'dull', refused: 'bad' };

/** What kept a run from `ok`. */
export const cause = (run) => run.cause.replaceAll('_', ' ');

/** What stands where a part of the daemon's answers (see api.js) would: `absent` and `none` say it for two cases. */
export const without = (part, absent, none) =>
  ({ asking: 'Asking …', absent, failed: `Not known: ${part.error}` })[part.state] ?? none;

export const number = (value) => whole.format(value);

/** With three digits that count. */
export const rough = (value) => (value >= 1000 ? whole : few).format(value);

/** As short as an axis needs it. */
export const short = (value) => compact.format(value);

export const known = (value) => value !== null && value !== undefined;

/** A share as a percentage; only what is all of it is 100 %. */
export function percent(share) {
  const tenths = Math.round(share * 1000);
  return `${few.format((share < 1 ? Math.min(tenths, 999) : tenths) / 10)} %`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** The power of 1024 in which a number of bytes is told. */
export const unit = (value) => Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, value)) / 10)));

export function bytes(value, power = unit(value)) {
  return `${few.format(value / 1024 ** power)} ${UNITS[power]}`;
}

/** A duration of so many seconds. */
export function duration(seconds) {
  if (seconds === 0) return '0 s';
  if (seconds < 0.9995) return `${few.format(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${few.format(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (seconds < 600) return `${Math.floor(Math.round(seconds) / 60)} min ${Math.round(seconds) % 60} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.round(minutes / 1440)} days`;
}

/** The coarse duration that a moment is away. */
function away(milliseconds) {
  const seconds = Math.floor(milliseconds / SECOND);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  const hours = Math.floor(seconds / 3600);
  if (hours < 10) return `${hours} h ${Math.floor(seconds / 60) % 60} min`;
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}

/** A moment: `ago`, `ahead`, `for` (how long since), `clock` or `precise`. */
export function moment(at, form) {
  const time = Date.parse(at);
  const distance = now() - time;
  switch (form) {
    case 'ago': return distance < SECOND ? 'just now' : `${away(distance)} ago`;
    case 'ahead': return distance > -SECOND ? 'now' : `in ${away(-distance)}`;
    case 'for': return away(Math.max(0, distance));
    case 'precise': return dated(time, second);
    default: return dated(time, hour);
  }
}

/** The local time, with the date unless it is today's. */
function dated(time, form) {
  const today = date.format(now()) === date.format(time);
  return today ? form.format(time) : `${date.format(time)} ${form.format(time)}`;
}

export const full = (at) => all.format(Date.parse(at));

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** One job is one job, whatever it is called. */
export const jobHash = (job) => `#job/${encodeURIComponent(job)}`;

export const runHash = (record) => `#run/${encodeURIComponent(record.job)}/${encodeURIComponent(record.run_id)}`;
