// Elements made from data. Text always goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** An element with properties (`class`, `on...` and attributes alike) and children. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Text for those who do not see what is drawn. */
export const unseen = (text) => element("span", { class: "unseen" }, text);

/**
 * Put new children in the place of a list's old ones, and leave the focus where it was.
 * What had it is found again by its id; if it is gone, the same control of the row now in its place.
 */
export function replaceRows(list, rows) {
  const focused = document.activeElement;
  const row = list.contains(focused) ? focused.closest("li") : null;
  const place = row ? [...list.children].indexOf(row) : -1;
  const role = focused?.dataset?.control;
  list.replaceChildren(...rows);
  if (!row) return;
  const next = list.children[Math.min(place, list.children.length - 1)];
  const again = (focused.id && byId(focused.id))
    || (role && next?.querySelector(`[data-control="${role}"][tabindex="0"], button[data-control="${role}"]`));
  (again || list.closest("section").querySelector("[tabindex='-1']"))?.focus();
}

/** A title with its year, as every list shows it. */
export function titled(item) {
  const title = item.title ?? `Item ${item.item_id}`;
  return item.year ? [title, " ", element("span", { class: "year" }, String(item.year))] : [title];
}

export const nameOf = (item) => item.title ?? `item ${item.item_id}`;

/** "1 rating", "2 ratings", "1,234 ratings". */
export const counted = (count, one, many = `${one}s`) =>
  `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
