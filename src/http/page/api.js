// Asks the daemon.

/** The browser's clock may be wrong, and the words are about the daemon's moments. */
let ahead = 0;

/** The daemon's time, in milliseconds. */
export const now = () => Date.now() + ahead;

/** What keeps an answer from being one. */
export class Failure extends Error {
  /** `status` is 0 when there was no answer. */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Longer than the daemon lets itself wait. */
const PATIENCE = 15_000;

/** The JSON of an answer; a `Failure`, in the daemon's words where it has some, for what is neither success nor `also`. */
export async function ask(path, options = {}, also = []) {
  let response;
  try {
    response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE), ...options });
  } catch {
    throw new Failure('the daemon does not answer', 0);
  }
  const date = Date.parse(response.headers.get('date'));
  // The header has whole seconds.
  if (date) ahead = Math.abs(date - Date.now()) > 2500 ? date - Date.now() : 0;
  let body;
  try {
    body = await response.json();
  } catch {
    throw new Failure(`the answer to ${path} is not the daemon’s (${response.status})`, response.status);
  }
  if (response.ok || also.includes(response.status)) return body;
  throw new Failure(typeof body?.error === 'string' ? body.error : `the daemon answers ${response.status}`, response.status);
}

/** Something that the daemon is asked for: `state` is `asking`, `here`, `absent` or `failed`, for which `error` says why. */
export const part = (path, every) => ({ path, every, asked: -Infinity, state: 'asking', value: null, error: null });

/** Asks for it; what was there before stays when that fails. */
export async function refresh(part, path = part.path, also = []) {
  part.asked = now();
  try {
    Object.assign(part, { value: await ask(path, {}, also), state: 'here', error: null });
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    Object.assign(part, { state: failure.status === 404 ? 'absent' : 'failed', error: failure.message });
  }
}

const KEPT = 'warmd-token';

/** The token, for as long as the tab is open. */
export const token = {
  get: () => sessionStorage.getItem(KEPT),
  set: (value) => sessionStorage.setItem(KEPT, value),
  forget: () => sessionStorage.removeItem(KEPT),
};

/** Asks for a run. */
export function run(job) {
  const path = `/api/jobs/${encodeURIComponent(job)}/run`;
  return ask(path, { method: 'POST', headers: { authorization: `Bearer ${token.get()}` } });
}
