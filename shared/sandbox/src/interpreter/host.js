// What code finds beside the language: a console, timers, and `fetch` where it may ask the network. Everything
// that reaches outside is one of the four functions given here.
(function (log, now, ask, global) {
  'use strict';
  const define = (name, value) =>
    Object.defineProperty(global, name, { value, writable: true, configurable: true });

  const text = (value) => {
    if (typeof value === 'string') return value;
    if (value instanceof Error) return `${value}`;
    try {
      const json = JSON.stringify(value);
      return json === undefined ? String(value) : json;
    } catch {
      return Object.prototype.toString.call(value);
    }
  };
  const console = {};
  for (const level of ['log', 'info', 'warn', 'error', 'debug']) {
    console[level] = (...parts) => log(level, parts.map(text).join(' ').toWellFormed());
  }
  define('console', console);

  const MOST_TIMERS = 10000;
  const timers = new Map();
  let last = 0;
  const start = (callback, delay, repeat, given) => {
    if (typeof callback !== 'function') throw new TypeError('a timer needs a function');
    if (timers.size >= MOST_TIMERS) throw new RangeError(`more than ${MOST_TIMERS} timers`);
    const wait = Math.max(0, Number(delay) || 0);
    last += 1;
    timers.set(last, { at: now() + wait, repeat: repeat ? Math.max(1, wait) : 0, callback, given });
    return last;
  };
  const stop = (id) => void timers.delete(id);
  define('setTimeout', (callback, delay, ...given) => start(callback, delay, false, given));
  define('setInterval', (callback, delay, ...given) => start(callback, delay, true, given));
  define('clearTimeout', stop);
  define('clearInterval', stop);

  if (ask) {
    define('fetch', async (url, init = {}) => {
      const given = init.headers ?? {};
      const entries = Array.isArray(given) ? given : Object.entries(given);
      const answer = JSON.parse(ask(JSON.stringify({
        url: String(url),
        method: String(init.method ?? 'GET').toUpperCase(),
        headers: entries.map(([name, value]) => [String(name), String(value)]),
        body: init.body === undefined || init.body === null ? null : String(init.body),
      })));
      if (answer.failed !== undefined) throw new TypeError(answer.failed);
      const { status, body, headers, url: from } = answer.answered;
      const header = (name) => {
        const values = headers.filter(([known]) => known === String(name).toLowerCase());
        return values.length === 0 ? null : values.map(([, value]) => value).join(', ');
      };
      return {
        status,
        ok: status >= 200 && status < 300,
        url: from,
        headers: { get: header, has: (name) => header(name) !== null, entries: () => headers.values() },
        text: async () => body,
        json: async () => JSON.parse(body),
      };
    });
  }

  return {
    // Milliseconds until the next timer is due; less than none: there is no timer.
    wait: () => {
      let first = Infinity;
      for (const timer of timers.values()) first = Math.min(first, timer.at);
      return first === Infinity ? -1 : Math.max(0, first - now());
    },
    // Calls the one that is due first.
    fire: () => {
      let due = 0;
      for (const [id, timer] of timers) {
        if (timer.at <= now() && (due === 0 || timer.at < timers.get(due).at)) due = id;
      }
      if (due === 0) return;
      const timer = timers.get(due);
      if (timer.repeat > 0) timer.at = now() + timer.repeat;
      else timers.delete(due);
      timer.callback(...timer.given);
    },
  };
})
