// Users by id: a list to begin with, and a search in the head of the page.

import { addressOf } from "./address.js";
import { call } from "./api.js";
import { byId, counted, element, unseen } from "./elements.js";
import { announce } from "./messages.js";

const LISTED = 24;
const FOUND = 8;
const WAIT_MS = 120; // between keys, so that a word is one question

/** List the first users, with a way to more. */
export async function listUsers() {
  const list = element("ul", { class: "users" });
  const more = element("button", { type: "button", class: "plain", onclick: () => add() });
  const add = async () => {
    const offset = list.childElementCount;
    const page = (await call("GET", "users", { query: { limit: LISTED, offset } })).body;
    list.append(...page.users.map(userRow));
    more.hidden = list.childElementCount >= page.total;
    more.textContent = `More of ${counted(page.total, "user")}`;
  };
  await add();
  byId("listed-users").replaceChildren(list, more);
}

const userRow = ({ user_id, rating_count }) => element("li", {},
  element("a", { href: addressOf({ user: user_id }), "data-within": true },
    element("span", { class: "id" }, unseen("User "), user_id), " ",
    element("span", { class: "count" }, counted(rating_count, "rating"))));

/** Search while an id is typed; Enter goes to the id as it is typed, whether it is listed or not. */
export function searchUsers(go, refused) {
  const [form, input, found] = [byId("find-user"), byId("user-query"), byId("found-users")];
  let asked = 0;
  let timer;
  const close = () => { asked += 1; found.hidden = true; };
  const search = async () => {
    const mine = asked += 1;
    const query = input.value.trim();
    if (!query) return close();
    try {
      const page = (await call("GET", "users", { query: { query, limit: FOUND } })).body;
      if (mine === asked) show(found, query, page);
    } catch (error) {
      if (mine === asked) refused(error, search);
    }
  };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, WAIT_MS); });
  input.addEventListener("focus", () => { if (input.value && found.hidden) search(); });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    if (input.value.trim()) go({ user: input.value.trim() });
  });
  form.addEventListener("focusout", (event) => { if (!form.contains(event.relatedTarget)) close(); });
  form.addEventListener("keydown", (event) => walk(event, input, found, close));
  return () => { clearTimeout(timer); close(); input.value = ""; };
}

function show(found, query, page) {
  const rows = page.users.map(userRow);
  if (page.users[0]?.user_id !== query) {
    rows.push(element("li", {}, element("a", { href: addressOf({ user: query }), "data-within": true },
      element("span", { class: "id" }, query), " ",
      element("span", { class: "count" }, "not listed: open all the same"))));
  }
  const rest = page.total - page.users.length;
  const told = `${counted(page.total, "user")} with “${query}” in the id`;
  found.replaceChildren(element("ul", { class: "users" }, ...rows),
    element("p", { class: "note" }, rest > 0 ? `${told}; type more to see others` : told));
  found.hidden = false;
  announce(`${told}.`);
}

function walk(event, input, found, close) {
  const stops = [input, ...found.querySelectorAll("a")];
  const at = stops.indexOf(document.activeElement);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key === "Escape" && !found.hidden) {
    event.preventDefault();
    input.focus();
    close();
  } else if (step && !found.hidden) {
    event.preventDefault();
    stops[Math.max(0, Math.min(at + step, stops.length - 1))].focus();
  }
}
