// What somebody has rated: the latest changes first, then the best; each can be changed or deleted.

import { byId, counted, element, nameOf, replaceRows, titled } from "./elements.js";
import { rating } from "./stars.js";

const PAGE = 20;

const inOrder = (one, other) => (other.rated_at ?? 0) - (one.rated_at ?? 0)
  || other.rating - one.rating
  || nameOf(one).localeCompare(nameOf(other));

/** The ratings of one person, by item id, and how many of them are shown. */
export class History {
  constructor(ratings) {
    this.byItem = new Map(ratings.map((one) => [one.item_id, one]));
    this.shown = PAGE;
  }

  ratingOf(itemId) {
    return this.byItem.get(itemId)?.rating ?? null;
  }

  /** Change one rating (null: none), and return how to undo that. */
  set(item, stars) {
    const { item_id, title, year = null } = item;
    const before = this.byItem.get(item_id);
    if (stars === null) this.byItem.delete(item_id);
    else this.byItem.set(item_id, { item_id, title, year, rating: stars, rated_at: Date.now() / 1000, counts: true });
    return () => (before ? this.byItem.set(item_id, before) : this.byItem.delete(item_id));
  }

  show(person, model, deeds) {
    const own = person.id === null;
    const all = [...this.byItem.values()].sort(inOrder);
    byId("history-title").textContent = own ? "Your ratings" : `Ratings of ${person.owner}`;
    byId("history-told").textContent = told(all, own);
    replaceRows(byId("rated"), all.slice(0, this.shown).map((one) => row(one, model, deeds)));
    const rest = all.length - this.shown;
    const more = byId("history-more");
    more.hidden = rest <= 0;
    more.textContent = `Show ${Math.min(rest, 5 * PAGE)} more`;
    more.onclick = () => { this.shown += 5 * PAGE; this.show(person, model, deeds); };
    byId("start-over").hidden = !own || !all.length;
  }
}

function told(all, own) {
  const where = own ? " They stay in this tab; the service keeps nothing." : "";
  if (!all.length) return `None yet.${where}`;
  const mean = all.reduce((sum, one) => sum + one.rating, 0) / all.length;
  return `${counted(all.length, "rating")}, ${mean.toFixed(1)} stars on average.${where}`;
}

function row(one, model, deeds) {
  const known = one.title !== null;
  return element("li", { id: `rated-${one.item_id}` },
    element("div", { class: "what" },
      element("h3", {}, ...titled(one)),
      one.counts ? null : element("p", { class: "note" }, "The present model does not use it.")),
    known
      ? rating(model.rating_scale, one, { place: "rated", value: one.rating, give: (stars) => deeds.rate(one, stars) })
      : element("p", {}, `★ ${one.rating}`),
    element("button", {
      type: "button",
      class: "delete",
      id: `delete-${one.item_id}`,
      "data-control": "delete",
      "aria-label": `Delete the rating of ${nameOf(one)}`,
      title: "Delete this rating",
      onclick: () => deeds.rate(one, null),
    }, "×"));
}
