// Runs by hand, for those who have the token.

import { run, token } from './api.js';

const at = (id) => document.getElementById(id);

export class Panel {
  /** `say` shows a message with its tone, `changed` is called when the token or a run is another. */
  constructor(say, changed) {
    Object.assign(this, { say, changed });
    at('unlock').addEventListener('click', () => this.open(at('token-panel').hidden));
    at('token-form').addEventListener('submit', (event) => this.take(event));
    at('forget').addEventListener('click', () => {
      token.forget();
      this.close('dull', 'The token is forgotten.');
    });
    this.open(false);
  }

  open(isOpen) {
    const hasToken = token.get() !== null;
    at('token-panel').hidden = !isOpen;
    at('unlock').setAttribute('aria-expanded', isOpen);
    at('unlock').textContent = hasToken ? 'Token …' : 'Run jobs …';
    at('forget').hidden = !hasToken;
    at('token-said').textContent = '';
    at('token').value = '';
    if (isOpen) at('token').focus();
  }

  close(tone, said) {
    this.open(false);
    at('unlock').focus();
    this.say(tone, said);
    this.changed();
  }

  take(event) {
    event.preventDefault();
    const given = at('token').value.trim();
    // Others cannot be sent.
    if (!/^[\x21-\x7e]+$/.test(given)) {
      at('token-said').textContent = 'A token is made of letters, digits and signs, without spaces.';
      return;
    }
    token.set(given);
    this.close('good', 'Jobs can be run; the daemon will say whether the token is the right one.');
  }

  /** Asks for a run of a job, and shows what the daemon answers. */
  async run(job) {
    this.say('busy', `${job}: asking for a run …`);
    try {
      await run(job);
      this.say('good', `${job}: the run has begun.`);
    } catch (failure) {
      this.say('bad', `${job}: ${failure.message}`);
      if (failure.status === 401) {
        token.forget();
        this.open(true);
        at('token-said').textContent = failure.message;
      }
    }
    this.changed();
  }
}
