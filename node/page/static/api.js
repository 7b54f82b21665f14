// The node's API as this page may use it.

/** What the node refused, in its own words; `missing` where this node has no such request. */
export class Refused extends Error {
  constructor(status, answer) {
    super(answer.error ? `${answer.error}.` : `The node answered ${status}.`);
    this.cure = answer.cure;
    this.status = status;
    this.missing = status === 404 || status === 405;
  }
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, cache: "no-store" });
  } catch {
    throw new Refused(0, { error: "The node does not answer", cure: "Start it with `banyan up`, then open `banyan page`" });
  }
  const plain = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, plain);
  return plain;
}

export const get = (path) => ask(`/api${path}`, {});

const send = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const post = (path, body) => send(`/api${path}`, body);

/** Exchanges the ticket in the link for a cookie, and takes it out of the address bar and the history. */
export async function enter() {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  if (ticket === null) return;
  history.replaceState(null, "", "/#/ask");
  await send("/session", { ticket });
}
