// The catalog: every card that this node holds, with what fits this device.

import { get } from "./api.js";
import { command, confirm, h, trouble } from "./dom.js";
import { doAll } from "./doing.js";
import { ago, count, language, plural, size, spaced } from "./words.js";

const PAUSE = 250, SHOWN = 100;

const SIZES = [["", "any size"], ["2e9", "to 2 GB of memory"], ["8e9", "to 8 GB"], ["16e9", "to 16 GB"], ["64e9", "to 64 GB"]];

const STANDING = { certified: "certified", claimed: "as its committee claims", unreleased: "no release yet" };

/** Draws the view into `view`. */
export function catalog(view) {
  const search = h("input", { type: "search", id: "search", maxlength: 400, placeholder: "tax in German" });
  const languages = h("select", { id: "language" }), subjects = h("select", { id: "subject" });
  const largest = h("select", { id: "size" }, SIZES.map(([value, label]) => h("option", { value }, label)));
  const fits = h("input", { type: "checkbox", id: "fits" });
  const number = h("p", { class: "soft", role: "status" });
  const list = h("div", { class: "grid" });
  const doings = h("div", { class: "stack" });
  let found = { listings: [] }, all = null, timer = null, newest = 0;

  async function load() {
    const mine = ++newest;
    try {
      const answer = await get(`/shelf?search=${encodeURIComponent(search.value.trim())}`);
      if (mine !== newest) return; // a later search has overtaken this one
      found = answer;
      if (all === null) {
        all = found.listings;
        choices(languages, "any language", all.flatMap((each) => each.languages), language);
        choices(subjects, "any subject", all.flatMap((each) => each.domains), spaced);
      }
      draw();
    } catch (error) {
      number.textContent = "";
      list.replaceChildren(trouble(error));
    }
  }

  function draw() {
    const chosen = found.listings.filter((each) =>
      (!languages.value || each.languages.includes(languages.value)) &&
      (!subjects.value || each.domains.includes(subjects.value)) &&
      (!largest.value || each.memory <= Number(largest.value)) &&
      (!fits.checked || each.obstacles.length === 0));
    number.textContent = all?.length === 0
      ? "No card has reached this node yet. They come with its network: see Activity for who is connected."
      : `${plural(chosen.length, "model")}${chosen.length > SHOWN ? `, the first ${SHOWN} are shown` : ""}; ${size(found.memory)} of memory are free here`;
    list.replaceChildren(...chosen.slice(0, SHOWN).map(card));
  }

  const card = (each) => h("article", { class: "card" },
    h("h3", {}, each.title || each.path),
    h("ul", { class: "facts" },
      h("li", {}, h("code", {}, each.path)),
      h("li", {}, each.languages.map(language).join(", ") || "no language named"),
      h("li", {}, each.domains.map(spaced).join(", ") || "any subject"),
      h("li", {}, each.licenses.join(", ") || "no license named")),
    each.description && h("p", {}, each.description),
    h("ul", { class: "facts" },
      h("li", {}, `${count(each.base.parameters)} parameters`),
      h("li", {}, `${size(each.memory)} in ${each.precision}`),
      h("li", {}, `${plural(each.contributors, "contributor")}, ${STANDING[each.standing]}`),
      each.released !== null && h("li", {}, `released ${ago(each.released)}`)),
    h("ul", { class: "reasons" }, each.obstacles.length === 0
      ? h("li", {}, "fits this device")
      : each.obstacles.map((obstacle) => h("li", { class: "mind" }, obstacle))),
    h("div", { class: "row" },
      h("button", { type: "button", "aria-label": `Bring ${each.path} here`, disabled: each.obstacles.length > 0, onclick: () => bring(each) }, "Bring it here"),
      h("button", { type: "button", class: "plain", "aria-label": `How to serve ${each.path}`, onclick: (event) =>
        event.currentTarget.replaceWith(command(`banyan serve ${each.path}`)) }, "Serve it")));

  async function bring(each) {
    const text = `At most ${size(each.download)} are fetched from peers. This node works on ${each.path} from then on.`;
    if (!(await confirm(`Bring ${each.path} here?`, text, "Bring it here"))) return;
    doings.scrollIntoView({ block: "start" });
    await doAll([{ do: "clone", branch: each.path }], doings);
  }

  search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(load, PAUSE); });
  for (const each of [languages, subjects, largest, fits]) each.addEventListener("change", draw);
  const field = (label, control, wide = "") => h("label", { class: `field ${wide}` }, label, control);
  view.append(h("h1", {}, "Catalog"),
    h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      field("Search", search, "wide"), field("Language", languages), field("Subject", subjects), field("Size", largest),
      h("label", { class: "check" }, fits, "Fits this device")),
    number, doings, list);
  load();
}

function choices(select, any, values, words) {
  const known = [...new Set(values)].map((value) => [words(value), value]).sort();
  select.replaceChildren(h("option", { value: "" }, any), ...known.map(([label, value]) => h("option", { value }, label)));
}
