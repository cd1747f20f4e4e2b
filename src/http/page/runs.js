// Runs: a list, and one of them, or a job, in detail.

import { arrange, badge, bar, cell, el, fill, icon, moment, svg, table } from './element.js';
import * as words from './words.js';

const HEADERS = [['Began'], ['Job'], ['Outcome'], ['Took', 'num'], ['Keys', 'num'], ['Fresh', 'num'], ['Written', 'num'],
  ['Failed', 'num']];

/** Where a run's time goes, and the words for it. */
const PLACES = [['database', 'database'], ['compute', 'computing'], ['redis', 'Redis'], ['throttle', 'quotas']];

/** A list of runs; those of one job do not repeat its name. */
export function showRuns(place, runs, ofOneJob = false) {
  fill(place, 'runs', () => {
    const headers = ofOneJob ? HEADERS.filter(([title]) => title !== 'Job') : HEADERS;
    const { node, body } = table(ofOneJob ? 'Runs of this job' : 'Runs', headers);
    place.body = body;
    return node;
  });
  const old = new Map([...place.body.children].map((row) => [row.dataset.run, row]));
  arrange(place.body, runs.map((run) => old.get(run.run_id) ?? row(run, ofOneJob)));
}

function row(run, ofOneJob) {
  const count = (title, value) => cell(title, value > 0 ? 'num' : 'num zero', words.number(value));
  return el('tr', { role: 'row', 'data-run': run.run_id },
    cell('Began', 'began', el('a', { href: words.runHash(run) }, moment(run.started, 'precise')),
      run.trigger === 'manual' && el('span', { class: 'tag' }, 'by hand')),
    ofOneJob ? null : cell('Job', 'job', el('bdi', {}, run.job)),
    cell('Outcome', 'outcome', badge(words.TONES[run.outcome] ?? 'dull', run.outcome),
      run.first_error && el('p', { class: 'minor error', dir: 'auto' }, run.first_error)),
    cell('Took', 'num', run.outcome === 'skipped' ? '–' : words.duration(run.seconds)),
    count('Keys', run.keys), count('Fresh', run.fresh), count('Written', run.written), count('Failed', run.failed));
}

/** A run in detail. */
export function runDetail(run) {
  const sum = PLACES.reduce((sum, [place]) => sum + run[`${place}_seconds`], 0);
  const backed = Object.entries(run.backed_off);
  return [
    el('p', { class: 'lead' }, badge(words.TONES[run.outcome] ?? 'dull', run.outcome), ' ',
      moment(run.started, 'precise'), ` · ${words.duration(run.seconds)} · `,
      run.trigger === 'manual' ? 'by hand' : 'by its schedule', run.restricted ? ' · some targets only' : null),
    run.cause && el('p', { class: 'cause' }, `Why: ${words.cause(run)}.`),
    run.first_error && el('p', { class: 'first-error', dir: 'auto' }, run.first_error),
    el('h3', {}, 'Keys'),
    facts([
      ['all', run.keys], ['fresh', run.fresh], ['stale', run.stale], ['missing', run.missing],
      ['not known', run.invalid], ['not reached', run.unreached],
      ['written', run.written], ['empty', run.empty], ['failed', run.failed], ['removed', run.pruned],
      ['of others', run.foreign],
    ].filter(([name, value]) => value > 0 || ['all', 'fresh', 'written', 'failed'].includes(name))
      .map(([name, value]) => [name, words.number(value)])),
    el('h3', {}, 'Time of all batches'),
    sum > 0 ? [split(run, sum), facts(PLACES.map(([place, word]) =>
      [[el('span', { class: `swatch ${place}` }), word], words.duration(run[`${place}_seconds`])]))]
      : el('p', { class: 'empty' }, 'It spent none.'),
    backed.length > 0 && [el('h3', {}, 'Held back, by the reason'),
      facts(backed.map(([reason, seconds]) => [reason.replaceAll('_', ' '), words.duration(seconds)]))],
    run.reads.sampled > 0 && [el('h3', {}, 'Read before it was renewed'), reads(run)],
    el('h3', {}, 'The rest'),
    facts([
      ['targets', words.number(run.targets)], ['keys a second', words.rough(run.keys_per_second)],
      ['bytes written', words.bytes(run.bytes)], ['statements', words.number(run.queries)],
      ['rows read', words.number(run.rows)], ['bytes read', words.bytes(run.database_bytes)],
      run.scheduled && ['tick', moment(run.scheduled, 'precise')],
      ['began', moment(run.started, 'precise')], ['ended', moment(run.finished, 'precise')],
      ['instance', el('bdi', {}, run.instance)], ['run', el('code', {}, run.run_id)],
    ].filter(Boolean)),
  ];
}

function facts(pairs) {
  return el('dl', { class: 'facts' }, pairs.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
}

/** The bar of where the time went; the list below it has the words. */
function split(run, sum) {
  let at = 0;
  const parts = PLACES.map(([place]) => {
    const width = (100 * run[`${place}_seconds`]) / sum;
    at += width;
    return svg('rect', { class: place, x: at - width, width, height: 6 });
  });
  return svg('svg', { class: 'split', viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, parts);
}

function reads(run) {
  const line = (name, { sampled, read }) => [name, [`${words.percent(sampled > 0 ? read / sampled : 0)} of ${words.number(sampled)}`,
    bar(sampled > 0 ? read / sampled : 0)]];
  const byTarget = Object.entries(run.reads_by_target)
    .flatMap(([list, values]) => Object.entries(values).map(([value, found]) => line(el('bdi', {}, `${list} ${value}`), found)));
  return facts([line('all', run.reads), ...byTarget.slice(0, 40)]);
}

/** A job in detail; `place` is for its runs. */
export function jobDetail(job, keys, place) {
  return [
    job.description && el('p', { class: 'lead', dir: 'auto' }, job.description),
    job.warning && el('p', { class: 'cause' }, icon('warn'), job.warning),
    el('h3', {}, 'Definition'),
    facts([
      ['kind', job.kind], ['database', job.database ?? 'the default one'],
      ['schedule', job.schedule ? el('code', {}, job.schedule) : 'none: by hand only'],
      job.timezone && ['time zone', job.timezone],
      ['key', el('code', {}, job.key)], ['TTL', job.ttl], ['refresh', job.refresh],
    ].filter(Boolean)),
    job.next_ticks.length > 0 && [el('h3', {}, 'Next'), el('ol', { class: 'ticks' }, job.next_ticks.map((tick) =>
      el('li', {}, moment(tick, 'ahead'), el('span', { class: 'minor at' }, moment(tick, 'precise')))))],
    el('h3', {}, 'Keys in Redis'),
    keys ? facts([
      words.known(keys.coverage) && ['coverage', [words.percent(keys.coverage), bar(keys.coverage)]],
      words.known(keys.oldest_key_seconds) && ['oldest key', words.duration(keys.oldest_key_seconds)],
      words.known(keys.first_cold_seconds) && ['first one cold', `in ${words.duration(keys.first_cold_seconds)}`],
      ['sampled', [words.number(keys.sampled_keys), ' keys, ', moment(keys.sampled, 'ago')]],
    ].filter(Boolean)) : el('p', { class: 'empty' }, 'Not looked at yet.'),
    el('h3', {}, 'Last runs'), place,
  ];
}
