// What happened, for everybody: refusals in sight and read out at once, changes read out in turn.

import { byId, element } from "./elements.js";

/** Say in one sentence what went wrong. `ways`: [label, what to do] for each way on. */
export function complain(sentence, ways = []) {
  const buttons = ways.map(([label, act]) => typeof act === "string"
    ? element("a", { class: "button", href: act, "data-within": true }, label)
    : element("button", { type: "button", class: "button", onclick: () => { settle(); act(); } }, label));
  byId("alert").replaceChildren(element("div", { class: "alert" },
    element("p", {}, sentence),
    element("div", { class: "ways" }, ...buttons,
      element("button", { type: "button", class: "plain", onclick: settle }, "Dismiss"))));
}

/** Nothing is wrong any more. */
export function settle() {
  if (byId("alert").childElementCount) byId("alert").replaceChildren();
}

/** Tell who listens what changed. */
export function announce(sentence) {
  byId("status").textContent = sentence;
}
