// Elements from data. Text is always text: nothing here, or anywhere on the page, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

const make = (create) => (name, attributes = {}, ...children) => {
  const element = create(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith("aria-") && typeof value === "boolean") element.setAttribute(key, String(value));
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

/** An HTML element: `on…` attributes are listeners, false and null leave out. */
export const h = make((name) => document.createElement(name));

/** The same, in SVG. */
export const s = make((name) => document.createElementNS(SVG, name));

/** A command to copy. */
export function command(text) {
  const button = h("button", { type: "button", "aria-label": `Copy: ${text}` }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
  return h("div", { class: "command" }, h("code", {}, text), button);
}

/** An error of the API, as a notice that is read out. */
export const trouble = (error) =>
  h("p", { class: "notice bad", role: "alert" }, error.message, error.cure ? ` ${error.cure}.` : "");

/** Asks before something is done; resolves to whether it was agreed to. */
export function confirm(title, text, yes) {
  const dialog = document.getElementById("confirm");
  dialog.replaceChildren(
    h("h2", { id: "confirm-title" }, title),
    h("p", {}, text),
    h("div", { class: "row" },
      h("button", { type: "button", class: "first", onclick: () => dialog.close("yes") }, yes),
      h("button", { type: "button", onclick: () => dialog.close("no") }, "Not now")),
  );
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
