// What happens: training, releases, peers, refusals, and the event log as it grows.

import { get, post } from "./api.js";
import { command, h, trouble } from "./dom.js";
import { live } from "./live.js";
import { ago, sentence, short, size, span, WARNINGS } from "./words.js";

const PEERS_EVERY = 5000, RELEASES = 12;

const TYPED = ["banyan serve", "banyan chat", "banyan invite", "banyan export merged FOLDER", "banyan audit", "banyan down"];

/** Draws the view into `view`; returns how to take it down. */
export function activity(view) {
  const node = h("dl", {}), training = h("div", {}), releases = h("div", {}), refusals = h("div", {}), peers = h("div", { class: "scroll" });
  const log = h("ol", { class: "log", tabindex: 0, "aria-label": "Events, the newest first" });
  const warnings = h("input", { type: "checkbox", id: "warnings" });
  let logged = [];

  const facts = (list, pairs) => list.replaceChildren(
    ...pairs.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

  function showStatus() {
    const status = live.status;
    if (!status) return;
    facts(node, [
      ["State", status.phase], ["Branch", status.branch], ["Up for", span(status.uptime_seconds)],
      ["Peers", `${status.peers.length} connected`],
      ["Traffic", `${size(status.bytes_received)} in, ${size(status.bytes_sent)} out`],
      ["Trains on", status.data ?? "nothing"], ["Disk", status.disk_trouble],
      ["Node", h("code", {}, status.node)],
    ]);
    showTraining(status);
    const counted = Object.entries({ ...status.refused, ...status.core?.refusals }).filter(([, number]) => number > 0);
    const out = Object.entries(status.core?.quarantined ?? {});
    refusals.replaceChildren(counted.length + out.length === 0 ? h("p", { class: "soft" }, "Nothing was refused.") : h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "reason"), h("th", { scope: "col", class: "number" }, "times"))),
      h("tbody", {},
        out.map(([who, why]) => h("tr", {}, h("td", { class: "bad" }, `${short(who)} is shut out: ${why}`), h("td", {}))),
        counted.sort((a, b) => b[1] - a[1]).map(([reason, number]) => h("tr", {}, h("td", {}, reason.replaceAll("-", " ")), h("td", { class: "number" }, number))))));
  }

  function showTraining({ training: now, core, branch }) {
    const round = core?.branches?.[branch]?.round;
    const parts = [];
    if (now) {
      const done = now.step ?? now.bytes, all = now.steps ?? now.total;
      const left = typeof now.seconds_left === "number" ? `, about ${span(now.seconds_left)} left` : "";
      const amount = all ? (now.steps ? `step ${done} of ${all}` : `${size(done)} of ${size(all)}`) : "";
      const what = now.branch ? `${now.branch}@${now.height}: ` : "";
      parts.push(h("p", { role: "status" }, `${what}${now.phase}${amount ? `, ${amount}` : ""}${left}`));
      parts.push(h("progress", { "aria-label": "Training", ...(all ? { max: all, value: done } : {}) }));
      if (typeof now.loss === "number")
        parts.push(h("p", { class: "soft" }, `loss ${now.loss.toFixed(3)}${now.tokens_per_second ? `, ${Math.round(now.tokens_per_second)} tokens/s` : ""}`));
    } else parts.push(h("p", { class: "soft" }, core?.trains ? "Waiting for the next round." : "This node does not train."));
    if (round) parts.push(h("p", {}, `Round ${round.height}: ${round.have} of ${round.need} updates are in`));
    training.replaceChildren(...parts);
  }

  function showEvents() {
    const certified = live.events.filter((event) => event.event === "release-certified").slice(-RELEASES).reverse();
    releases.replaceChildren(certified.length === 0 ? h("p", { class: "soft" }, "None since this page can look back.") : h("table", {},
      h("thead", {}, h("tr", {}, ["release", "used", "left out", "when"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, certified.map((event) => h("tr", {}, h("th", { scope: "row" }, `${event.branch}@${event.height}`),
        h("td", {}, event.used.length), h("td", {}, event.left_out.map(([, why]) => why.replaceAll("-", " ")).join(", ") || "0"), h("td", {}, ago(event.time)))))));
    const wanted = live.events.filter((event) => !warnings.checked || WARNINGS.has(event.event));
    const known = new Set(logged.map((event) => event.position));
    if (logged.some((event) => !wanted.includes(event))) log.replaceChildren(...wanted.map(line).reverse());
    else for (const event of wanted) if (!known.has(event.position)) log.prepend(line(event));
    logged = wanted;
  }

  const line = (event) => h("li", { class: WARNINGS.has(event.event) ? "warning" : "" },
    h("time", { datetime: new Date(event.time).toISOString() }, new Date(event.time).toLocaleTimeString("en-GB")), h("span", {}, sentence(event)));

  async function showPeers() {
    if (document.hidden) return;
    try {
      const known = (await get("/peers")).peers.sort((a, b) => b.connected - a.connected);
      peers.replaceChildren(known.length === 0 ? h("p", { class: "soft" }, "No peer is known yet.") : h("table", {},
        h("thead", {}, h("tr", {}, ["peer", "state"].map((name) => h("th", { scope: "col" }, name)), ["in", "out"].map((name) => h("th", { scope: "col", class: "number" }, name)))),
        h("tbody", {}, known.slice(0, 100).map((peer) => h("tr", {}, h("th", { scope: "row", title: peer.peer }, short(peer.peer)), h("td", {}, peer.connected ? "connected" : "away"),
          h("td", { class: "number" }, size(peer.bytes_received)), h("td", { class: "number" }, size(peer.bytes_sent)))))));
    } catch (error) {
      peers.replaceChildren(trouble(error));
    }
  }

  const card = (title, ...content) => h("section", { class: "card" }, h("h2", {}, title), ...content);
  view.append(h("h1", {}, "Activity"), h("div", { class: "stack" },
    h("div", { class: "grid two" }, card("Training", training, trainForm()), card("This node", node)),
    h("div", { class: "grid two" }, card("Releases", releases), card("Refusals", refusals)),
    card("Peers", peers),
    card("Events", h("label", { class: "check" }, warnings, "Only what somebody should look at"), log),
    h("details", {}, h("summary", {}, "What is done in a terminal"), TYPED.map(command))));
  warnings.addEventListener("change", showEvents);
  live.addEventListener("status", showStatus);
  live.addEventListener("event", showEvents);
  const timer = setInterval(showPeers, PEERS_EVERY);
  showStatus();
  showEvents();
  showPeers();
  return () => {
    clearInterval(timer);
    live.removeEventListener("status", showStatus);
    live.removeEventListener("event", showEvents);
  };
}

function trainForm() {
  const data = h("input", { type: "text", id: "data", maxlength: 4096, placeholder: "/home/you/notes.jsonl", autocomplete: "off" });
  const answer = h("div", {});
  const form = h("form", { class: "stack" },
    h("label", { class: "field" }, "A file or folder on this device; it stays here", data), h("button", {}, "Train on it"), answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!data.value.trim()) return;
    try {
      const told = await post("/train", { data: data.value.trim() });
      answer.replaceChildren(h("p", { role: "status" }, `It trains for ${told.branch} from the next round on.`));
    } catch (error) {
      answer.replaceChildren(trouble(error));
    }
  });
  return h("details", {}, h("summary", {}, "Train on your own data"), form);
}
