// Any title of the catalogue, found by its words, to be rated.

import { call } from "./api.js";
import { byId, element, replaceRows, titled } from "./elements.js";
import { announce } from "./messages.js";
import { rating } from "./stars.js";

const FOUND = 6;
const WAIT_MS = 150;

/** Search while a title is typed. `now`: {history, model} at the time. Returns how to show it anew. */
export function searchTitles(now, deeds, refused) {
  const [form, input] = [byId("find-title"), byId("title-query")];
  let asked = 0;
  let timer;
  let items = [];
  const list = element("ul", { class: "rated" });
  const note = element("p", { class: "note" });
  byId("found-titles").replaceChildren(list, note);
  const show = () => replaceRows(list, items.map((item) => row(item, now(), deeds)));
  const search = async () => {
    const mine = asked += 1;
    const query = input.value.trim();
    try {
      const page = query ? (await call("GET", "items", { query: { query, limit: FOUND } })).body : null;
      if (mine !== asked) return;
      items = page?.items ?? [];
      note.textContent = page ? told(page) : "";
      if (page) announce(told(page));
      show();
    } catch (error) {
      if (mine === asked) refused(error, search);
    }
  };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, WAIT_MS); });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    search();
  });
  return show;
}

const told = ({ total, items }) => {
  if (!total) return "No title holds these words.";
  return items.length < total ? `${items.length} of ${total.toLocaleString("en")} titles` : `${total} found`;
};

function row(item, { history, model }, deeds) {
  const value = history.ratingOf(item.item_id);
  return element("li", { id: `found-${item.item_id}` },
    element("div", { class: "what" },
      element("h3", {}, ...titled(item)),
      element("p", { class: "note" }, item.genres.join(" · "))),
    rating(model.rating_scale, item, { place: "found", value, give: (stars) => deeds.rate(item, stars) }));
}
