// What is shown, as the page's address: it can be linked to, and the back button works.

/** {user, fresh, genre, year_min, year_max}; `fresh` means a new user, whom no id names. */
export function readAddress() {
  const query = new URLSearchParams(location.search);
  return {
    user: query.get("user"),
    fresh: query.has("new"),
    genre: query.getAll("genre"),
    year_min: query.get("year_min") ?? "",
    year_max: query.get("year_max") ?? "",
  };
}

export function addressOf({ user = null, fresh = false, genre = [], year_min = "", year_max = "" }) {
  const query = new URLSearchParams();
  if (user !== null) query.set("user", user);
  for (const name of genre) query.append("genre", name);
  if (year_min) query.set("year_min", year_min);
  if (year_max) query.set("year_max", year_max);
  const told = query.toString();
  return `?${fresh ? `new${told && "&"}` : ""}${told}`;
}

/** Move to another view, unless it is the one that is shown. */
export function moveTo(view) {
  const address = addressOf(view);
  if (address !== location.search) history.pushState(null, "", address);
}
