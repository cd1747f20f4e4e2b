// The jobs: what they are doing, how it went, what comes next.

import { arrange, badge, bar, cell, el, fill, icon, moment, table } from './element.js';
import * as words from './words.js';

const HEADERS = [['Job'], ['Now'], ['Last run'], ['Next'], ['Coverage', 'num'], ['Read', 'num'], ['Keys/s', 'num'],
  ['', 'act']];

/** Shows all jobs in `place`; `act` is what a press of a button does, with the name of its job. */
export class Jobs {
  constructor(place, act) {
    this.place = place;
    this.act = act;
    this.rows = new Map();
    this.table = null;
  }

  /** `health` is null, or what is known of keys by the name of a job; `mayRun` whether there are buttons. */
  show(jobs, runs, health, mayRun) {
    if (jobs.length === 0) {
      this.table = null;
      fill(this.place, 'none', () => el('p', { class: 'empty' }, 'No job is enabled.'));
      return;
    }
    if (!this.table) {
      this.table = table('Jobs', HEADERS);
      this.place.seed = null;
      this.place.replaceChildren(this.table.node);
    }
    this.table.node.classList.toggle('may-run', mayRun);
    this.rows = new Map(jobs.map(({ job }) => [job, this.rows.get(job) ?? new Row(job, this.act)]));
    for (const job of jobs) {
      this.rows.get(job.job).show(job, runs.filter((run) => run.job === job.job), health?.[job.job], mayRun);
    }
    arrange(this.table.body, [...this.rows.values()].map((row) => row.node));
  }
}

class Row {
  constructor(name, act) {
    this.name = cell('Job', 'name');
    this.now = cell('Now', 'now');
    this.last = cell('Last run', 'last');
    this.next = cell('Next', 'next');
    this.coverage = cell('Coverage', 'num');
    this.reads = cell('Read', 'num');
    this.speed = cell('Keys/s', 'num');
    this.button = el('button', { type: 'button', class: 'run', 'aria-label': `Run now: ${name}`, onclick: () => act(name) },
      'Run now');
    this.node = el('tr', { role: 'row', 'data-job': name }, this.name, this.now, this.last, this.next, this.coverage,
      this.reads, this.speed, cell('', 'act', this.button));
  }

  show(job, runs, keys, mayRun) {
    this.button.hidden = !mayRun;
    fill(this.name, [job.description, job.warning], () => [
      el('a', { href: words.jobHash(job.job) }, el('bdi', {}, job.job)),
      job.description && el('p', { class: 'minor', dir: 'auto' }, job.description),
      job.warning && el('p', { class: 'minor warning' }, icon('warn'), job.warning),
    ]);
    this.showNow(job);
    const last = job.last_run;
    fill(this.last, last?.run_id, () => lastRun(last));
    fill(this.next, [job.schedule, job.timezone, job.next_ticks[0]], () => nextTick(job));
    fill(this.coverage, keys?.coverage ?? null, () => share(keys?.coverage));
    const reads = usefulness(runs, last);
    fill(this.reads, reads, () => share(reads.sampled > 0 ? reads.read / reads.sampled : null, reads.sampled));
    const newest = [last, ...runs].find((run) => run?.written > 0);
    const speed = newest ? words.rough(newest.keys_per_second) : '–';
    if (this.speed.textContent !== speed) this.speed.textContent = speed;
  }

  showNow(job) {
    const progress = job.progress;
    const shape = [job.state, job.by_hand, job.waits_for, Boolean(progress), progress?.complete];
    if (fill(this.now, shape, () => state(job))) {
      this.bar = this.now.querySelector('progress');
      this.counts = this.now.querySelector('.counts');
      this.detail = this.now.querySelector('.detail');
    }
    if (!progress) return;
    if (progress.complete) {
      this.bar.max = Math.max(1, progress.keys);
      this.bar.value = progress.keys > 0 ? progress.done : 1;
    }
    const of = progress.complete ? `of ${words.number(progress.keys)} keys` : `of ${words.number(progress.keys)} or more keys`;
    this.counts.textContent = `${words.number(progress.done)} ${of}`;
    this.detail.textContent = ['written', 'fresh', 'empty', 'failed']
      .filter((kind) => kind === 'written' || progress[kind] > 0)
      .map((kind) => `${words.number(progress[kind])} ${kind}`)
      .concat(words.duration(Math.round(progress.run_seconds * 10) / 10))
      .join(' · ');
  }
}

function state(job) {
  switch (job.state) {
    case 'idle': return el('span', { class: 'idle' }, 'idle');
    case 'starting': return badge('busy', 'asks for its lease');
    case 'elsewhere': return [badge('busy', 'runs elsewhere'), el('p', { class: 'minor' }, `waits for ${job.waits_for}`)];
    case 'waiting': return [badge('wait', 'waits'), el('p', { class: 'minor error', dir: 'auto' }, job.waits_for)];
    default: return [
      badge('busy', job.by_hand ? 'runs, by hand' : 'runs'),
      job.progress && el('progress', { 'aria-label': `Keys done of ${job.job}` }),
      job.progress && el('p', { class: 'counts' }),
      job.progress && el('p', { class: 'minor detail' }),
      job.waits_for && el('p', { class: 'minor error', dir: 'auto' }, icon('wait'), `waits: ${job.waits_for}`),
    ];
  }
}

function lastRun(run) {
  if (!run) return el('span', { class: 'idle' }, 'none is known');
  return [
    el('a', { href: words.runHash(run), class: 'outcome', 'aria-label': `${run.outcome}, details of the last run of ${run.job}` },
      badge(words.TONES[run.outcome] ?? 'dull', run.outcome)),
    ' ', moment(run.finished, 'ago'), run.outcome === 'skipped' ? null : ` · ${words.duration(run.seconds)}`,
    run.first_error
      ? el('p', { class: 'minor error', dir: 'auto' }, run.first_error)
      : run.cause && el('p', { class: 'minor error' }, words.cause(run)),
  ];
}

function nextTick(job) {
  if (!job.schedule) return el('span', { class: 'idle' }, 'by hand only');
  const tick = job.next_ticks[0];
  const zone = job.timezone && job.timezone !== 'UTC' ? ` ${job.timezone}` : '';
  return [
    tick ? moment(tick, 'ahead') : 'never',
    tick && el('span', { class: 'minor at' }, moment(tick, 'clock')),
    el('p', { class: 'minor' }, el('code', {}, job.schedule), zone),
  ];
}

function share(value, of) {
  if (!words.known(value)) return '–';
  return [words.percent(value), bar(value), of && el('span', { class: 'hidden' }, ` of ${words.number(of)} sampled keys`)];
}

/** Reads of all runs that are known; the last one may be older than they are. */
function usefulness(runs, last) {
  const among = runs.length > 0 ? runs : [last].filter(Boolean);
  return among.reduce((sum, { reads }) => ({ sampled: sum.sampled + reads.sampled, read: sum.read + reads.read }),
    { sampled: 0, read: 0 });
}
