// The conversation with the assistant: docs/assistant.md says what comes and goes.

import { post } from "./api.js";
import { h, trouble } from "./dom.js";
import { doAll } from "./doing.js";
import { size } from "./words.js";

function session() {
  let name = sessionStorage.getItem("session");
  if (!name) {
    name = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    sessionStorage.setItem("session", name);
  }
  return name;
}

/** Draws the view into `view`. */
export function ask(view) {
  const turns = h("div", { class: "turns", role: "log", "aria-label": "Conversation" });
  const below = h("div", { class: "stack", "aria-busy": "false" });
  const doings = h("div", { class: "stack" });
  const input = h("input", { type: "text", id: "say", maxlength: 4000, autocomplete: "off", placeholder: "help with German tax returns, on 8 GB" });
  const form = h("form", { class: "say" }, h("label", { for: "say", "aria-label": "What do you need a model for?" }, input), h("button", { class: "first" }, "Send"));

  let doing = Promise.resolve(), taken = doing;

  const speak = (who, text) => {
    const turn = h("div", { class: `turn ${who}` }, text);
    turns.append(turn);
    turn.scrollIntoView({ block: "nearest" });
  };

  const turn = (what, shown) => {
    if (shown) speak("you", shown);
    taken = taken.then(() => take(what)); // who types faster than the node answers is heard in order
  };

  async function take(what) {
    below.setAttribute("aria-busy", "true");
    try {
      const answer = await post("/assistant", { session: session(), ...what });
      speak("node", answer.reply);
      draw(answer);
      const agreed = answer.actions.map((action, place) => ({ ...action, command: answer.commands[place] }));
      doing = doing.then(() => doAll(agreed, doings)); // one after the other, while the conversation goes on
    } catch (error) {
      if (error.missing) below.replaceChildren(h("p", { class: "notice" }, "This node has no assistant. The ", h("a", { href: "#/catalog" }, "catalog"), " can be searched."));
      else below.replaceChildren(trouble(error));
    } finally {
      below.setAttribute("aria-busy", "false");
    }
  }

  const edit = (edit, label) => turn({ edit }, label);

  function draw({ chips, question, offers, left_out, changes }) {
    below.replaceChildren(...[
      question && h("div", { class: "row", role: "group", "aria-label": "Answers" },
        question.choices.map((choice) => h("button", { type: "button", onclick: () => edit(choice.edit, choice.label) }, choice.label))),
      chips.length > 0 && h("div", { class: "row", role: "group", "aria-label": "What was understood" },
        h("span", { class: "soft" }, "Understood:"),
        chips.map((chip) => h("button", { type: "button", class: "chip", "aria-label": `Forget ${chip.label}`, onclick: () => edit(`drop ${chip.id}`, `Not ${chip.label}`) }, chip.label)),
        h("button", { type: "button", class: "plain", onclick: () => edit("restart", "Start again") }, "Start again")),
      offers.length > 0 && h("div", { class: "grid" }, offers.map(offer)),
      changes.length > 0 && h("ul", { class: "reasons" }, changes.map((change) => h("li", { class: "mind" }, change))),
      left_out.length > 0 && h("details", {}, h("summary", {}, `Left out: ${left_out.length}`),
        h("ul", {}, left_out.map((each) => h("li", {}, `${each.path}: ${each.reasons.join("; ")}`)))),
    ].filter(Boolean));
  }

  const offer = (each) => h("article", { class: "card" },
    h("h3", {}, each.title || each.path),
    h("ul", { class: "facts" },
      h("li", {}, h("code", {}, each.path)),
      h("li", {}, `match ${Math.round(each.score * 100)} %`),
      h("li", {}, `${size(each.memory)} in ${each.precision}`),
      each.tokens_per_second !== null && h("li", {}, `${Math.round(each.tokens_per_second)} tokens/s`)),
    h("ul", { class: "reasons" }, each.reasons.map((reason) => h("li", {}, reason)), each.cautions.map((caution) => h("li", { class: "mind" }, caution))),
    h("button", { type: "button", "aria-label": `Take ${each.path}`, onclick: () => edit(`take ${each.path}`, `Take ${each.path}`) }, "Take this one"));

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return;
    input.value = "";
    turn({ text }, text);
  });
  view.append(h("h1", {}, "What do you need a model for?"), turns, below, doings, form);
  turn({}, null);
}
