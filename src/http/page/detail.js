// A run or a job in detail, by the hash of the address: `#run/JOB/ID`, `#job/JOB`.

import { part, refresh } from './api.js';
import { el, fill, tick } from './element.js';
import { jobDetail, runDetail, showRuns } from './runs.js';
import * as words from './words.js';

const at = (id) => document.getElementById(id);

/** As many runs as a job's details list. */
const LISTED = 20;

export class Detail {
  /** `known` tells of `job(name)`, `run(id)` and `keys(job)`, as far as they are; `isReady` whether jobs are known. */
  constructor(known) {
    this.known = known;
    this.hash = null;
    this.from = null;
    this.ofJob = el('div');
    const dialog = at('detail');
    dialog.addEventListener('close', () => this.closed());
    // The backdrop is the dialog itself.
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    at('close').addEventListener('click', () => dialog.close());
    document.addEventListener('click', (event) => {
      const row = event.target.closest?.('main tr');
      if (row && event.target.closest('a')) this.from = { ...row.dataset };
    });
    window.addEventListener('hashchange', () => this.show());
  }

  /** Shows what the address names, or nothing. */
  show() {
    const [kind, job, id] = location.hash.slice(1).split('/').map(decoded);
    if (kind !== 'job' && kind !== 'run') {
      this.hash = null;
      at('detail').close();
      return;
    }
    if (!this.known.isReady()) return;
    if (this.hash !== location.hash) {
      Object.assign(this, { hash: location.hash, records: part('/api/runs'), asked: null });
      at('detail-body').seed = this.ofJob.seed = null;
    }
    at('detail-title').replaceChildren(el('bdi', {}, job), kind === 'run' ? ': a run' : '');
    if (kind === 'run') this.showRun(job, id);
    else this.showJob(job);
    if (!at('detail').open) {
      at('detail').showModal();
      at('detail-title').focus();
    }
    tick();
  }

  showRun(job, id) {
    const run = this.known.run(id) ?? this.records.value?.runs.find((run) => run.run_id === id);
    if (run) {
      fill(at('detail-body'), id, () => runDetail(run));
      return;
    }
    this.ask(job, 1000);
    this.say(at('detail-body'), 'This run is not among the newest of its job.');
  }

  showJob(name) {
    const job = this.known.job(name);
    if (!job) {
      fill(at('detail-body'), 'gone', () => el('p', { class: 'empty' }, 'No enabled job has this name.'));
      return;
    }
    const { state, running_since, waits_for, progress, last_run, ...defined } = job;
    const keys = this.known.keys(name);
    fill(at('detail-body'), [defined, keys], () => jobDetail(job, keys, this.ofJob));
    this.ask(name, LISTED, last_run?.run_id);
    const runs = this.records.value?.runs ?? [];
    if (runs.length > 0) showRuns(this.ofJob, runs, true);
    else this.say(this.ofJob, 'None is known.');
  }

  say(place, none) {
    const told = words.without(this.records, 'No history is kept.', none);
    fill(place, told, () => el('p', { class: 'empty' }, told));
  }

  /** Asks for records of the job, once for each newest one. */
  async ask(job, limit, newest) {
    const { records } = this;
    if (this.asked === `${job} ${newest}`) return;
    this.asked = `${job} ${newest}`;
    await refresh(records, `/api/runs?${new URLSearchParams({ job, limit })}`);
    if (this.records === records) this.show();
  }

  closed() {
    if (this.hash) history.replaceState(null, '', location.pathname + location.search);
    this.hash = null;
    // To where the reader was; the row may have been drawn anew.
    const rows = [...document.querySelectorAll('main tr')];
    const row = rows.find(({ dataset: { job, run } }) => this.from && job === this.from.job && run === this.from.run);
    row?.querySelector('a')?.focus();
  }
}

function decoded(piece) {
  try {
    return decodeURIComponent(piece);
  } catch {
    return piece;
  }
}
