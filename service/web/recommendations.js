// The top 10: what is recommended, the stars it is predicted to get, and what has changed.

import { byId, element, replaceRows, titled, unseen } from "./elements.js";
import { explained } from "./explanation.js";
import { rating } from "./stars.js";

const BASES = {
  history: "",
  cold_start: "Nothing is known of them yet, so these are what people like in general. "
    + "Every rating makes the list more theirs.",
};
const OWN_COLD_START = "You have rated nothing yet, so these are what people like in general. "
  + "Rate a few titles, here or by searching, and the list becomes yours.";

/**
 * Show an answer. `before`: the ids shown until now, if the list is to tell what has changed;
 * `deeds`: {rate, explain}.
 */
export function showPicks(answer, person, model, before, deeds) {
  const { items, basis, shortfall } = answer.body;
  const own = person.id === null;
  byId("basis").textContent = basis === "cold_start" && own ? OWN_COLD_START : BASES[basis];
  const share = items.length ? Math.round(items[0].interval.coverage * 100) : null;
  byId("coverage").textContent = share === null ? "" : `; the bar holds ${share}% of ratings`;
  const rows = items.map((item, index) => {
    const moved = before ? movement(item, index, before) : null;
    return pickRow(item, moved, person, model, deeds);
  });
  replaceRows(byId("picks"), rows);
  byId("shortfall").textContent = shortfall ? shortfall.detail : "";
  byId("answered").textContent = answeredText(answer);
}

/** Take a rated item out at once; the rest waits for the answer. Returns how to put it back. */
export function withdraw(itemId) {
  const rows = [...byId("picks").children];
  replaceRows(byId("picks"), rows.filter((row) => row.id !== `pick-${itemId}`));
  return () => {
    replaceRows(byId("picks"), rows);
    stopWaiting();
  };
}

export const shownIds = () => [...byId("picks").children].map((row) => row.id.slice("pick-".length));

export const showWaiting = () => byId("picks").classList.add("waiting");

export const stopWaiting = () => byId("picks").classList.remove("waiting");

const answeredText = ({ cache, ms }) => {
  const told = { hit: "cache hit", miss: "cache miss", off: "computed, not cached" }[cache];
  return `Answered in ${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms${told ? ` · ${told}` : ""}`;
};

function movement(item, index, before) {
  const was = before.indexOf(item.item_id);
  if (was < 0) return element("span", { class: "moved new" }, "new");
  if (was === index) return null;
  const up = was > index;
  const places = Math.abs(was - index);
  return element("span", { class: `moved ${up ? "up" : "down"}` },
    element("span", { "aria-hidden": "true" }, `${up ? "▲" : "▼"} ${places}`),
    unseen(`${up ? "up" : "down"} ${places}`));
}

function pickRow(item, moved, person, model, deeds) {
  const why = element("div", { class: "why", id: `why-${item.item_id}`, hidden: true });
  const ask = element("button", {
    type: "button",
    class: "plain",
    "data-control": "why",
    id: `ask-${item.item_id}`,
    "aria-expanded": "false",
    "aria-controls": why.id,
    "aria-label": `Why this? ${item.title}`,
    onclick: () => toggle(ask, why, item, person, deeds),
  }, "Why this?");
  return element("li", { id: `pick-${item.item_id}`, class: moved?.classList.contains("new") ? "pick fresh" : "pick" },
    element("div", { class: "what" },
      element("h2", {}, element("span", { class: "title" }, ...titled(item)), " ", moved),
      element("p", { class: "note" }, item.genres.join(" · "))),
    predicted(item, model.rating_scale),
    element("div", { class: "deeds" },
      rating(model.rating_scale, item, { place: "pick", value: item.rating, give: (stars) => deeds.rate(item, stars) }),
      ask),
    why);
}

async function toggle(ask, why, item, person, deeds) {
  const open = ask.getAttribute("aria-expanded") !== "true";
  ask.setAttribute("aria-expanded", String(open));
  why.hidden = !open;
  if (!open || why.childElementCount) return;
  const answer = await deeds.explain(item);
  if (answer) why.replaceChildren(...explained(answer, person.owner));
  else {
    ask.setAttribute("aria-expanded", "false");
    why.hidden = true;
  }
}

function predicted({ predicted_rating: stars, interval: { low, high, coverage } }, { minimum, maximum }) {
  const share = (value) => (value - minimum) / (maximum - minimum);
  const track = element("div", { class: "track", "aria-hidden": "true" },
    element("span", { class: "band" }), element("span", { class: "dot" }));
  track.style.setProperty("--low", share(low));
  track.style.setProperty("--high", share(high));
  track.style.setProperty("--at", Math.min(1, Math.max(0, share(stars))));
  return element("div", { class: "predicted" },
    element("p", { class: "stars-predicted" }, unseen("Predicted "), stars.toFixed(1),
      element("span", { "aria-hidden": "true" }, " ★"), unseen(" stars")),
    track,
    element("p", { class: "range" }, unseen(`${Math.round(coverage * 100)}% interval: `),
      `${low.toFixed(1)} to ${high.toFixed(1)}`));
}
