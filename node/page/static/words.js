// Numbers and events in words.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Bytes, in steps of a thousand. */
export function size(bytes) {
  let unit = 0, value = bytes;
  while (value >= 1000 && unit < UNITS.length - 1) { value /= 1000; unit += 1; }
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** A number in few digits: 25 M. */
export function count(number) {
  for (const [unit, name] of [[1e9, " B"], [1e6, " M"], [1e3, " k"]])
    if (number >= unit) return `${+(number / unit).toPrecision(3)}${name}`;
  return `${+number.toPrecision(3)}`;
}

/** Seconds, as people say them. */
export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** How long ago a time was, which is in ms since the epoch; clocks of others may be ahead. */
export function ago(time) {
  const seconds = (Date.now() - time) / 1000;
  return seconds < 5 ? "just now" : `${span(seconds)} ago`;
}

/** The end of a node's id, which tells more than its beginning. */
export const short = (node) => (node && node.length > 10 ? `…${node.slice(-8)}` : `${node}`);

const languages = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

export function language(tag) {
  try { return languages.of(tag); } catch { return tag; }
}

/** `heart_lung` as people write it. */
export const spaced = (name) => name.replaceAll("_", " ");

export const plural = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

/** Kinds of events that somebody should look at. */
export const WARNINGS = new Set([
  "blob-unavailable", "disk-trouble", "file-refused", "hook-failed", "job-failed", "leader-changed", "memory-lost", "message-refused",
  "node-quarantined", "peer-muted", "proposal-refused", "round-waiting", "service-restarted", "state-left-out",
  "update-left-out", "update-refused", "version-rejected", "worker-restarted",
]);

const at = (e) => `${e.branch}@${e.height}`;

const SENTENCES = {
  "node-started": (e) => `The node listens, version ${e.version}`,
  "node-stopping": (e) => `The node ends: ${e.why}`,
  "joining": (e) => `Joining: ${e.detail}`,
  "peer-connected": (e) => `${short(e.peer)} is connected`,
  "peer-lost": (e) => `${short(e.peer)} is gone`,
  "member-joined": (e) => `${short(e.member)} takes part in ${e.branch}`,
  "branch-opened": (e) => `${e.branch} is open, with ${plural(e.roster.length, "member")}`,
  "branch-founded": (e) => `There is a new branch: ${e.branch}`,
  "branch-fell-asleep": (e) => `${e.branch} is dormant: nobody has been there for long`,
  "branch-woke": (e) => `Somebody is on ${e.branch} again`,
  "training-started": (e) => `Training for ${at(e)}: ${plural(e.steps, "step")}`,
  "training-finished": (e) => `Trained for ${at(e)} in ${span(e.seconds)}`,
  "update-published": (e) => `This node gave its update for ${at(e)}${change(e)}`,
  "update-admitted": (e) => `An update of ${short(e.author)} is in for ${at(e)}`,
  "update-left-out": (e) => `An update of ${short(e.author)} is left out of ${at(e)}: ${e.detail || e.reason}`,
  "round-closing": (e) => `${at(e)} closes with ${plural(e.updates, "update")}`,
  "round-waiting": (e) => `${at(e)} waits for ${e.waits_for} (${e.have} of ${e.need})`,
  "release-certified": (e) => `${at(e)} is released: ${e.used.length} used, ${e.left_out.length} left out`,
  "caught-up": (e) => `Caught up with ${at(e)}`,
  "leader-changed": (e) => `${at(e)}: ${short(e.now)} leads now (${e.why})`,
  "proposal-refused": (e) => `Did not sign what ${short(e.leader)} proposed for ${at(e)}: ${e.detail || e.reason}`,
  "node-quarantined": (e) => `${short(e.member)} is shut out: ${e.why}`,
  "message-refused": (e) => `Refused a message of ${short(e.sender)}: ${e.detail || e.reason}`,
  "card-published": (e) => `Signed the card of ${e.branch}`,
  "blob-arrived": (e) => `Fetched ${size(e.size)} in ${span(e.seconds)}`,
  "job-failed": (e) => `Could not ${e.kind} for ${at(e)}: ${e.reason}`,
  "disk-trouble": (e) => `${e.what}. ${e.cure}`,
  "worker-restarted": (e) => `A worker was replaced: ${e.reason}`,
  "service-restarted": (e) => `${e.service} was started again: ${e.reason}`,
  "model-mixed": (e) => `Mixed with ${plural(e.used.length, "neighbour")} at ${at(e)}`,
};

const change = (e) =>
  typeof e.loss_before === "number" && typeof e.loss_after === "number"
    ? ` (loss ${e.loss_before.toFixed(3)} → ${e.loss_after.toFixed(3)})` : "";

/** An event in a sentence; of a kind without one, its fields. */
export function sentence(event) {
  try {
    if (Object.hasOwn(SENTENCES, event.event)) return SENTENCES[event.event](event);
  } catch { /* an event of another version, with other fields */ }
  const { position, time, event: kind, ...rest } = event;
  const facts = Object.entries(rest).map(([key, value]) => `${spaced(key)} ${typeof value === "string" ? value : JSON.stringify(value)}`);
  return `${kind.replaceAll("-", " ")}${facts.length ? `: ${facts.join(", ").slice(0, 300)}` : ""}`;
}
