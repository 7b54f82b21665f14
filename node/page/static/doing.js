// What a person has agreed to, done by the node: clone, train; and the command to type for what the page cannot do.

import { get, post } from "./api.js";
import { command, h, trouble } from "./dom.js";
import { size, span } from "./words.js";

const LOOK = 1000;

const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

/** A word of a command line, quoted where a shell needs it. */
export const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

const line = ({ do: what, branch, data }) => `banyan ${what} ${[branch, data].filter(Boolean).map(quoted).join(" ")}`;

/** Does `actions` in order, and says in `place` how far it is; one that fails ends them. */
export async function doAll(actions, place) {
  for (const action of actions) {
    const card = h("section", { class: "card", "aria-label": `${action.do} ${action.branch}` });
    place.append(card);
    try {
      if (!(await DOERS[action.do]?.(action, card))) typed(action, card);
    } catch (error) {
      if (!error.missing) {
        card.append(trouble(error));
        return;
      }
      typed(action, card);
    }
  }
}

function typed(action, card) {
  const why = action.do === "serve" ? "Serving is a process of its own. In a terminal:" : "This cannot be done from here. In a terminal:";
  card.replaceChildren(h("p", {}, why), command(action.command ?? line(action)));
}

const DOERS = {
  async clone({ branch }, card) {
    const bar = h("progress", { "aria-label": `Bringing ${branch} here` });
    const words = h("p", { role: "status" }, `Bringing ${branch} here …`);
    card.append(words, bar);
    let told = await post("/clone", { branch });
    const began = Date.now(), first = told.bytes ?? 0;
    while (!["done", "failed"].includes(told.phase)) {
      if (told.total) {
        bar.max = told.total;
        bar.value = told.bytes;
        const rate = (told.bytes - first) / Math.max(1, Date.now() - began) * 1000;
        const left = rate > 0 ? `, about ${span((told.total - told.bytes) / rate)} left` : "";
        words.textContent = `Bringing ${branch} here: ${size(told.bytes)} of ${size(told.total)}${left}`;
      }
      await pause(LOOK);
      told = await get("/clone");
      if (told.phase === "none" || told.branch !== branch) throw new Error("The node works on another clone now.");
    }
    bar.remove();
    if (told.phase === "failed") {
      words.remove();
      throw Object.assign(new Error(`${told.error}.`), { cure: told.cure });
    }
    words.textContent = `${branch} is here, and this node works on it.`;
    return true;
  },

  async train({ branch, data, private: alone }, card) {
    await post("/train", { branch, ...(data && { data }), ...(alone && { private: true }) });
    card.append(
      h("p", {}, `This node trains for ${branch}${data ? ` on ${data}` : ""}. Your files stay on this device.`),
      h("p", {}, h("a", { href: "#/activity" }, "Watch it learn")));
    return true;
  },
};
