// What the node says by itself: its events as they come, and its status after them. Quiet while the page is out of sight, so
// that forgotten tabs hold no connection.

import { get } from "./api.js";

const KEPT = 300, PAUSE = 400, BUSY = 2000, IDLE = 10000;

export const live = Object.assign(new EventTarget(), { status: null, error: null, connected: false, events: [] });

let source = null, timer = null, asking = false;

const tell = (what) => live.dispatchEvent(new CustomEvent(what));

async function look() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    live.status = await get("/status");
    live.error = null;
  } catch (error) {
    live.error = error;
  } finally {
    asking = false;
  }
  tell("status");
  if (!live.error && source?.readyState === EventSource.CLOSED) open(); // refused for a while, as by a restart
  soon(live.status?.training ? BUSY : IDLE);
}

function soon(pause) {
  clearTimeout(timer);
  timer = setTimeout(look, pause);
}

function open() {
  close();
  const last = live.events.at(-1)?.position;
  source = new EventSource(`/api/stream${last === undefined ? "" : `?after=${last}`}`);
  source.addEventListener("open", () => { live.connected = true; soon(0); });
  source.addEventListener("error", () => { live.connected = false; soon(PAUSE); });
  source.addEventListener("gap", () => { live.events = []; });
  source.addEventListener("message", (message) => {
    const event = JSON.parse(message.data);
    if (event.position <= (live.events.at(-1)?.position ?? 0)) live.events = []; // another log than before
    live.events.push(event);
    if (live.events.length > KEPT) live.events.splice(0, live.events.length - KEPT);
    tell("event");
    soon(PAUSE);
  });
}

function close() {
  source?.close();
  source = null;
}

/** Begins to listen, and stops while the page is hidden. */
export function listen() {
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
}
