// "Why this?": the ratings that moved an item most, each as what leaving it out changes.

import { element, titled, unseen } from "./elements.js";

const SHOWN = 6;

function signed(value) {
  const size = Math.abs(value).toFixed(2);
  if (Number(size) === 0) return `±${size}`;
  return `${value < 0 ? "−" : "+"}${size}`;
}

/** What is opened below an item. */
export function explained({ item, ratings, basis, shortfall }, owner) {
  if (basis === "cold_start" || !ratings.length) {
    return [element("p", {}, "No rating moved it: it is what people like who have rated nothing here.")];
  }
  const most = Math.max(...ratings.map((one) => Math.abs(one.preference_score_change)), 1e-9);
  const whose = owner === "you" ? "your" : `${owner}’s`;
  const list = element("ul", { class: "moves" });
  const rest = element("button", { type: "button", class: "plain", onclick: () => showAll() },
    `Show all ${ratings.length}`);
  const showAll = () => {
    list.replaceChildren(...ratings.map((one) => move(one, most)));
    rest.remove();
  };
  const leftOut = shortfall ? `${ratings.length} of ${whose} ratings were`
    : `Each of ${whose} ratings was`;
  list.append(...ratings.slice(0, SHOWN).map((one) => move(one, most)));
  return [
    element("p", {}, `${leftOut} left out in turn. These moved “${item.title}” most:`),
    list,
    ratings.length > SHOWN ? rest : null,
    shortfall ? element("p", { class: "note" }, shortfall.detail) : null,
  ].filter(Boolean);
}

function move(one, most) {
  const change = one.preference_score_change;
  const bar = element("span", { class: `bar ${change < 0 ? "down" : "up"}`, "aria-hidden": "true" });
  bar.style.setProperty("--size", Math.abs(change) / most);
  return element("li", {},
    element("span", { class: "moved-by" }, ...titled(one), " ",
      element("span", { class: "given" }, `★ ${one.rating}`)),
    bar,
    element("span", { class: "change" },
      unseen(change < 0 ? "ranks it lower: " : "ranks it higher: "),
      `${signed(change)} score, ${signed(one.predicted_rating_change)} stars`));
}
