// The tree of branches: where this device is, how far each branch is, and which of them sleep.

import { get } from "./api.js";
import { h, s } from "./dom.js";
import { live } from "./live.js";
import { ago, language, plural, short, spaced } from "./words.js";

const STEP = 46, INDENT = 34, LEFT = 26, LONGEST = 34;

const STATES = {
  open: "open", mixing: "open, without a committee", waiting: "not open yet", dormant: "dormant: nobody has worked on it for long",
  elsewhere: "not followed by this node", proposed: "proposed",
};

/** Draws the view into `view`; returns how to take it down. */
export function tree(view) {
  const place = h("div", { class: "scroll card" });
  const about = h("section", { class: "card", "aria-live": "polite", "aria-label": "The chosen branch" });
  const state = { chosen: null, cards: [], known: null, drawn: "" };

  async function load() {
    const [cards, known] = await Promise.allSettled([get("/cards"), get("/branches")]);
    if (cards.status === "fulfilled") state.cards = cards.value.cards;
    if (known.status === "fulfilled") state.known = known.value.branches;
    draw();
  }

  function draw() {
    const branches = gathered(live.status, state.cards, state.known);
    const drawn = JSON.stringify(branches);
    if (drawn === state.drawn) return; // nothing new: whoever reads or moves in it is not disturbed
    state.drawn = drawn;
    state.chosen = branches.find((each) => each.path === state.chosen)?.path ?? branches.find((each) => each.here)?.path ?? branches[0]?.path;
    const focused = place.contains(document.activeElement);
    if (branches.length === 0) place.replaceChildren(h("p", { class: "soft" }, "This node has not reached its network yet."));
    else place.replaceChildren(drawing(branches, state.chosen, choose));
    if (focused) place.querySelector("[tabindex='0']")?.focus();
    describe(branches);
  }

  function describe(branches) {
    const each = branches.find((branch) => branch.path === state.chosen);
    about.hidden = !each;
    if (each) about.replaceChildren(h("h2", {}, each.path), details(each));
  }

  function choose(path, focus) {
    state.chosen = path;
    for (const item of place.querySelectorAll("[role=treeitem]")) {
      const is = item.dataset.path === path;
      item.setAttribute("aria-selected", is);
      item.setAttribute("tabindex", is ? 0 : -1);
      if (is && focus) { item.focus({ preventScroll: true }); item.scrollIntoView({ block: "nearest" }); }
    }
    describe(gathered(live.status, state.cards, state.known));
  }

  const onevent = () => {
    if (["release-certified", "branch-opened", "branch-founded", "branch-fell-asleep", "branch-woke", "card-published"].includes(live.events.at(-1)?.event)) load();
  };
  live.addEventListener("status", draw);
  live.addEventListener("event", onevent);
  view.append(h("h1", {}, "Tree"), h("div", { class: "stack" }, place, legend(), about));
  load();
  return () => {
    live.removeEventListener("status", draw);
    live.removeEventListener("event", onevent);
  };
}

/** Every branch that this node knows of, in the order of a walk from the root. */
function gathered(status, cards, known) {
  const branches = new Map();
  const branch = (path) => {
    if (!branches.has(path)) {
      if (path !== "/") branch(above(path));
      branches.set(path, { path, state: "elsewhere", height: null, members: 0, here: false, card: null, round: null, waits: "", founded: null });
    }
    return branches.get(path);
  };
  for (const each of known ?? []) Object.assign(branch(each.branch), { state: each.state, height: each.height, about: each.description });
  for (const card of cards) Object.assign(branch(card.path), { card, height: branch(card.path).height ?? (card.height >= 0 ? card.height : null) });
  for (const [path, each] of Object.entries(status?.core?.branches ?? {})) {
    const open = each.height >= 0, here = branch(path);
    Object.assign(here, {
      height: open ? each.height : null, round: each.round ?? null, waits: each.waits_for ?? "",
      state: here.state === "dormant" ? "dormant" : each.mixing ? "mixing" : open ? "open" : "waiting",
    });
  }
  for (const member of status?.core?.members ?? []) branch(member.branch).members += 1;
  if (status?.branch) branch(status.branch).here = true;
  const key = (path) => (path === "/" ? "" : path.replaceAll("/", "\0"));
  return [...branches.values()].sort((a, b) => (key(a.path) < key(b.path) ? -1 : 1));
}

const above = (path) => path.slice(0, path.lastIndexOf("/")) || "/";

const depth = (path) => (path === "/" ? 0 : path.split("/").length - 1);

const cut = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text);

function brief(each) {
  const facts = [each.height === null ? (each.state === "elsewhere" ? "not followed" : "no release yet") : `release ${each.height}`];
  if (each.state === "dormant") facts.push("dormant");
  if (each.state === "proposed") facts.push("proposed");
  if (each.members > 0) facts.push(plural(each.members, "member"));
  if (each.round) facts.push(`round ${each.round.have} of ${each.round.need}`);
  return facts.join(" · ");
}

const look = (each) => ({ open: "open", mixing: "open", dormant: "asleep", waiting: "asleep" }[each.state] ?? "elsewhere");

function drawing(branches, chosen, choose) {
  const place = new Map(branches.map((each, row) => [each.path, { x: LEFT + INDENT * depth(each.path), y: STEP * (row + 0.5) }]));
  const deepest = Math.max(...branches.map((each) => depth(each.path)));
  const width = LEFT + INDENT * deepest + 310, height = STEP * branches.length;
  const limbs = branches.filter((each) => each.path !== "/").map((each) => {
    const from = place.get(above(each.path)), to = place.get(each.path);
    return s("path", { class: "limb", "stroke-width": Math.max(2, 7 - 1.6 * depth(each.path)),
      d: `M ${from.x} ${from.y} V ${to.y - 12} Q ${from.x} ${to.y} ${from.x + 12} ${to.y} H ${to.x}` });
  });
  const items = branches.map((each) => {
    const { x, y } = place.get(each.path), name = each.path === "/" ? "/" : each.path.slice(each.path.lastIndexOf("/") + 1);
    const marks = each.here ? [s("circle", { cx: x, cy: y, r: 12, fill: "none", stroke: "var(--good)", "stroke-width": 2 })] : [];
    return s("g", { role: "treeitem", class: look(each), "data-path": each.path, "aria-level": depth(each.path) + 1,
      "aria-selected": each.path === chosen, tabindex: each.path === chosen ? 0 : -1,
      "aria-label": `${each.path}, ${brief(each)}${each.here ? ", this device" : ""}`, onclick: () => choose(each.path, true) },
      s("rect", { class: "back", x: x - 16, y: y - STEP / 2 + 2, width: width - x + 14, height: STEP - 4, rx: 10 }),
      s("circle", { class: "dot", cx: x, cy: y, r: 7 }), marks,
      s("text", { x: x + 20, y: y - 3 }, s("tspan", { class: "name" }, cut(spaced(name))),
        each.here ? s("tspan", { class: "here", dx: 8 }, "this device") : null),
      s("text", { class: "about", x: x + 20, y: y + 15 }, brief(each)));
  });
  const svg = s("svg", { class: "tree", role: "tree", "aria-label": "Branches of the network", viewBox: `0 0 ${width} ${height}`, width, height }, limbs, items);
  svg.addEventListener("keydown", (event) => {
    const paths = branches.map((each) => each.path), row = paths.indexOf(event.target.dataset?.path);
    const next = row < 0 ? undefined : {
      ArrowDown: paths[row + 1], ArrowUp: paths[row - 1], Home: paths[0], End: paths.at(-1),
      ArrowLeft: paths[row] === "/" ? undefined : above(paths[row]),
      ArrowRight: paths[row + 1] !== undefined && above(paths[row + 1]) === paths[row] ? paths[row + 1] : undefined,
    }[event.key];
    if (["ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) event.preventDefault();
    if (next !== undefined) choose(next, true);
  });
  return svg;
}

function details(each) {
  const { card, round } = each;
  const facts = [
    ["State", `${STATES[each.state] ?? each.state}${each.here ? "; this device works on it" : ""}`],
    ["Head", each.height === null ? "no release yet" : `release ${each.height}`],
    ["Members seen", each.members > 0 && each.members],
    ["Round", round && `${round.have} of ${round.need} updates${round.missing.length ? `; missing: ${round.missing.map(short).join(", ")}` : ""}`],
    ["Waits for", each.waits],
    ["Model", card && (card.title || null)],
    ["About", card?.description || each.about],
    ["Languages", card && card.languages.map(language).join(", ")],
    ["Released", card?.released && ago(card.released)],
  ];
  return h("dl", {}, facts.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function legend() {
  const mark = (kind, words) => h("li", {},
    s("svg", { class: "tree", width: 20, height: 20, viewBox: "0 0 20 20", "aria-hidden": "true" }, s("g", { class: kind },
      s("circle", { class: "dot", cx: 10, cy: 10, r: 6 }))), words);
  return h("ul", { class: "legend" }, mark("open", "open"), mark("asleep", "dormant, or not open yet"), mark("elsewhere", "not followed by this node"));
}
