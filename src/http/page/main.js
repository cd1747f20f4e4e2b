// Asks the daemon again and again, and shows what it says.

import { showAlerts } from './alerts.js';
import { Failure, ask, now, part, refresh, token } from './api.js';
import { Day } from './day.js';
import { Detail } from './detail.js';
import { el, fill, icon, tick } from './element.js';
import { Jobs } from './jobs.js';
import { Panel } from './panel.js';
import { showRuns } from './runs.js';
import * as words from './words.js';

const at = (id) => document.getElementById(id);

/** While something runs, and while nothing does. */
const LIVE = words.SECOND;
const CALM = 5 * words.SECOND;

const health = part('/api/health', 15 * words.SECOND);
const alerts = part('/api/alerts', 5 * words.SECOND);
const readiness = part('/readyz', 15 * words.SECOND);
const runs = { ...part('/api/runs', words.MINUTE), whole: -Infinity, known: new Map(), signature: null, isCut: false };

/** As many as the daemon gives at once. */
const MOST_RUNS = 1000;

const SHOWN_RUNS = 20;

let jobs = null;
let historyError = null;
let unreachable = null;
let failures = 0;
let timer = null;
let isAsking = false;
let isWanted = false;
let shownRuns = SHOWN_RUNS;

const panel = new Panel(say, () => {
  show();
  beat();
});
const table = new Jobs(at('jobs-list'), (job) => panel.run(job));
const day = new Day(at('plots'));
const detail = new Detail({
  isReady: () => jobs !== null,
  job: (name) => jobs.find((job) => job.job === name),
  run: (id) => runs.known.get(id),
  keys: (job) => health.value?.jobs?.[job],
});

async function beat() {
  clearTimeout(timer);
  isWanted = isAsking;
  if (document.hidden || isAsking) return;
  isAsking = true;
  try {
    await askAll();
  } finally {
    isAsking = false;
  }
  show();
  const isLive = jobs?.some((job) => job.state === 'running' || job.state === 'starting');
  const pause = unreachable ? Math.min(15, 2 ** failures) * words.SECOND : isLive ? LIVE : CALM;
  timer = setTimeout(beat, isWanted ? 0 : pause);
}

async function askAll() {
  const before = jobs;
  try {
    const answer = await ask('/api/jobs');
    if (unreachable) [health, alerts, readiness, runs].forEach((part) => Object.assign(part, { asked: -Infinity }));
    [jobs, historyError, unreachable, failures] = [answer.jobs, answer.history_error, null, 0];
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    unreachable = { since: unreachable?.since ?? new Date(now()).toISOString(), why: failure.message, is: failure.status === 0 };
    failures += 1;
    return;
  }
  announce(before ?? [], jobs);
  await Promise.all([refreshDue(health), refreshDue(alerts), refreshDue(readiness, [503]), refreshRuns(before ?? [])]);
}

async function refreshDue(part, also) {
  // What is not there will not be before the daemon is another.
  if (now() - part.asked >= (part.state === 'absent' ? Infinity : part.every)) await refresh(part, part.path, also);
}

/** Asks for the records that have come, and now and then for all of the day. */
async function refreshRuns(before) {
  const signature = JSON.stringify(jobs.map((job) => [job.job, job.state, job.last_run?.run_id]));
  const isDue = now() - runs.asked >= runs.every || (signature !== runs.signature && runs.state !== 'absent');
  if (!isDue) return;
  const isWhole = runs.state !== 'here' || now() - runs.whole >= 5 * words.MINUTE;
  runs.signature = signature;
  const oldest = now() - words.DAY;
  // A record stands at its run's beginning, which may be long ago.
  const begun = [...before, ...jobs].map((job) => job.running_since).filter(Boolean).map(Date.parse);
  const newest = Math.max(...[...runs.known.values()].map((run) => Date.parse(run.started)));
  const since = isWhole ? oldest : Math.max(oldest, Math.min(newest, ...begun));
  const query = new URLSearchParams({ limit: MOST_RUNS, since: new Date(since).toISOString() });
  await refresh(runs, `/api/runs?${query}`);
  if (runs.state !== 'here') return;
  if (isWhole) {
    runs.known.clear();
    [runs.whole, runs.isCut] = [now(), runs.value.runs.length === MOST_RUNS];
  }
  runs.value.runs.forEach((run) => runs.known.set(run.run_id, run));
  const newestFirst = [...runs.known.values()].sort((a, b) => Date.parse(b.started) - Date.parse(a.started));
  const kept = newestFirst.filter((run) => Date.parse(run.started) >= oldest);
  runs.known = new Map(kept.map((run) => [run.run_id, run]));
}

/** Says what has ended that somebody asked for, or otherwise than before; for those who do not see it, too. */
function announce(before, after) {
  const last = new Map(before.map((job) => [job.job, job.last_run]));
  for (const { job, last_run: run } of after) {
    const old = last.get(job);
    if (!last.has(job) || !run || old?.run_id === run.run_id) continue;
    if (run.trigger !== 'manual' && old?.outcome === run.outcome) continue;
    const written = run.written > 0 ? `, ${words.plural(run.written, 'key')} written` : '';
    say(words.TONES[run.outcome] ?? 'dull', `${job}: the run has ended, ${run.outcome}${written}.`);
  }
}

function say(tone, text) {
  at('said').replaceChildren(icon(tone), el('span', { dir: 'auto' }, text));
}

function show() {
  document.body.classList.toggle('is-old', Boolean(unreachable));
  showNotices();
  if (!jobs) {
    at('summary').textContent = unreachable ? 'Not reached yet' : 'Asking the daemon …';
    return;
  }
  const known = [...runs.known.values()];
  showSummary();
  showAlerts(at('alerts'), alerts);
  table.show(jobs, known, health.value?.jobs ?? null, token.get() !== null);
  showFilter();
  const wanted = at('filter').value;
  const chosen = wanted ? known.filter((run) => run.job === wanted) : known;
  day.show(health, runs, chosen);
  const first = runs.isCut && known.at(-1);
  at('plots-note').hidden = !first;
  if (first) at('plots-note').textContent = `Of the runs, the newest ${words.number(MOST_RUNS)} are known: since ${words.moment(first.started, 'clock')}.`;
  if (chosen.length > 0) {
    showRuns(at('runs-list'), chosen.slice(0, shownRuns));
  } else {
    const told = words.without(runs, 'No history is kept: history.enabled is false.', 'No run within the last day.');
    fill(at('runs-list'), told, () => el('p', { class: 'empty' }, told));
  }
  at('more').hidden = chosen.length <= shownRuns;
  detail.show();
  tick();
}

function showSummary() {
  const running = jobs.filter((job) => job.state === 'running').length;
  const unwell = jobs.filter((job) => job.state === 'waiting' || ['warn', 'bad'].includes(words.TONES[job.last_run?.outcome])).length;
  const active = alerts.value?.alerts?.filter((alert) => alert.state === 'active').length ?? 0;
  const tone = active > 0 || unwell > 0 ? 'warn' : 'good';
  const parts = [
    words.plural(jobs.length, 'job'), running > 0 && `${words.number(running)} running`,
    unwell > 0 && `${words.number(unwell)} not well`, active > 0 && words.plural(active, 'alert'),
    tone === 'good' && 'all well',
  ].filter(Boolean);
  fill(at('summary'), parts, () => [icon(tone), parts.join(' · ')]);
  document.title = tone === 'good' ? 'warmd' : `(${active + unwell}) warmd`;
  at('fresh').textContent = unreachable ? '' : `as of ${words.moment(new Date(now()).toISOString(), 'precise')}`;
}

function showNotices() {
  const told = [];
  if (unreachable?.is) told.push(['bad', `The daemon cannot be reached since ${words.moment(unreachable.since, 'precise')}; what is shown is from before. This page keeps trying.`]);
  else if (unreachable) told.push(['bad', `The daemon does not tell its jobs: ${unreachable.why}. This page keeps trying.`]);
  else {
    const reasons = readiness.value?.reasons ?? [];
    reasons.forEach(({ why }) => told.push(['warn', `Not ready: ${why}.`]));
    if (historyError) told.push(['warn', `Last runs are not known: ${historyError}`]);
    const probe = health.value?.redis?.error;
    if (probe && !reasons.some(({ what }) => what === 'redis')) told.push(['warn', `Redis could not be sampled: ${probe}`]);
  }
  fill(at('notices'), told, () => told.map(([tone, text]) => el('p', { class: `notice ${tone}`, dir: 'auto' }, icon(tone), text)));
}

function showFilter() {
  const filter = at('filter');
  const names = jobs.map((job) => job.job);
  const chosen = filter.value;
  const isNew = fill(filter, names, () => [el('option', { value: '' }, 'all jobs'),
    names.map((name) => el('option', { value: name }, name))]);
  if (isNew && names.includes(chosen)) filter.value = chosen;
}

at('filter').addEventListener('change', () => {
  shownRuns = SHOWN_RUNS;
  show();
});
at('more').addEventListener('click', () => {
  shownRuns += 50;
  show();
});
document.addEventListener('visibilitychange', () => document.hidden || beat());
setInterval(tick, words.SECOND);
beat();
