// Lets the browser in, then shows one view at a time by the address's fragment.

import { activity } from "./activity.js";
import { enter } from "./api.js";
import { ask } from "./ask.js";
import { catalog } from "./catalog.js";
import { h, trouble } from "./dom.js";
import { listen, live } from "./live.js";
import { tree } from "./tree.js";

const VIEWS = { ask, catalog, tree, activity };

const view = document.getElementById("view");
let down = null, shown = null;

function show() {
  const name = location.hash.slice(2), chosen = Object.hasOwn(VIEWS, name) ? name : "ask";
  if (chosen === shown) return;
  down?.();
  for (const link of document.querySelectorAll("nav a"))
    if (link.hash === `#/${chosen}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  document.title = `${chosen[0].toUpperCase()}${chosen.slice(1)} · Banyan`;
  view.replaceChildren();
  down = VIEWS[chosen](view) ?? null;
  if (shown !== null) { view.focus({ preventScroll: true }); scrollTo({ top: 0, behavior: "instant" }); }
  shown = chosen;
}

function showState() {
  const { status, error } = live, state = document.getElementById("state");
  state.className = error ? "bad" : "";
  const text = error ? error.message : status ? `${status.phase} · ${status.branch ?? "no branch yet"} · ${status.peers.length} peers` : "";
  if (state.textContent !== text) state.textContent = text;
  if (status) document.getElementById("network").textContent = status.network.name ?? "";
}

addEventListener("hashchange", async () => {
  if (location.hash.startsWith("#ticket=")) await start();
  else show();
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); view.focus(); });

async function start() {
  try {
    await enter();
  } catch (error) {
    view.replaceChildren(h("h1", {}, "This page is closed"), trouble(error));
    return;
  }
  shown = null;
  show();
  listen();
}

live.addEventListener("status", showState);
await start();
