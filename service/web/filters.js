// Which titles may be recommended: genres and years.

import { byId, element } from "./elements.js";

/** Offer what the model's catalogue has; `change` gets the filters whenever they are others. */
export function offerFilters(model, change) {
  const genres = model.genres.map((name) => element("label", {},
    element("input", { type: "checkbox", name: "genre", value: name }), element("span", {}, name)));
  byId("genres").hidden = !genres.length;
  byId("genres").querySelectorAll("label").forEach((label) => label.remove());
  byId("genres").append(...genres);
  for (const [id, year] of [["year-min", model.years?.first], ["year-max", model.years?.last]]) {
    byId(id).closest(".years").hidden = !model.years;
    byId(id).min = 0;
    byId(id).max = 9999;
    byId(id).placeholder = year ?? "";
  }
  byId("filters").hidden = !genres.length && !model.years;
  const tell = () => change(chosen());
  byId("filter-form").onchange = tell;
  byId("filter-form").onsubmit = (event) => { event.preventDefault(); tell(); };
  byId("filters-clear").onclick = () => { showFilters({ genre: [], year_min: "", year_max: "" }); tell(); };
}

function chosen() {
  return {
    genre: [...byId("genres").querySelectorAll(":checked")].map((box) => box.value),
    year_min: byId("year-min").value,
    year_max: byId("year-max").value,
  };
}

/** Show the filters that an address names. */
export function showFilters({ genre, year_min, year_max }) {
  for (const box of byId("genres").querySelectorAll("input")) box.checked = genre.includes(box.value);
  byId("year-min").value = year_min;
  byId("year-max").value = year_max;
  const years = year_min || year_max ? [`${year_min || "…"} to ${year_max || "…"}`] : [];
  const told = [...genre, ...years];
  byId("filters-told").textContent = told.length ? told.join(", ") : "by genre and year";
  byId("filters-clear").hidden = !told.length;
  if (told.length) byId("filters").open = true;
}
