// What is wrong, and what was.

import { badge, el, fill, moment } from './element.js';
import * as words from './words.js';

const TONES = { critical: 'bad', warning: 'warn' };

/** Shows alerts in `place`; `part` says whether there are any to be had. */
export function showAlerts(place, part) {
  const alerts = part.value?.alerts ?? [];
  fill(place, [part.state, part.error, alerts.map((alert) => [alert.alert, alert.job, alert.state, alert.since, alert.message])],
    () => {
      const missing = words.without(part, 'Alerts are not available from this daemon.');
      if (missing) return el('p', { class: 'empty' }, missing);
      const active = alerts.filter((alert) => alert.state === 'active');
      const resolved = alerts.filter((alert) => alert.state !== 'active');
      return [
        active.length === 0 ? el('p', { class: 'calm' }, badge('good', 'Nothing is wrong.')) : list(active),
        resolved.length > 0 && el('details', {},
          el('summary', {}, `${words.plural(resolved.length, 'alert')} resolved within a day`), list(resolved)),
      ];
    });
}

function list(alerts) {
  return el('ul', { class: 'alerts' }, alerts.map((alert) => {
    const isActive = alert.state === 'active';
    return el('li', { class: isActive ? TONES[alert.severity] : 'resolved' },
      badge(isActive ? TONES[alert.severity] ?? 'warn' : 'good', isActive ? alert.severity : 'resolved'),
      el('span', { class: 'message', dir: 'auto' }, alert.message),
      alert.job && el('a', { href: words.jobHash(alert.job) }, el('bdi', {}, alert.job)),
      el('span', { class: 'minor' }, isActive ? ['for ', moment(alert.since, 'for')]
        : [moment(alert.since, 'clock'), ' to ', moment(alert.resolved, 'clock')]));
  }));
}
