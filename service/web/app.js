// The page: which view an address means, and what happens when somebody rates.

import { addressOf, moveTo, readAddress } from "./address.js";
import { call, Refusal } from "./api.js";
import { byId, counted, nameOf } from "./elements.js";
import { offerFilters, showFilters } from "./filters.js";
import { History } from "./history.js";
import { hasKey } from "./key.js";
import { announce, complain, settle } from "./messages.js";
import { loadModel } from "./model.js";
import { NewUser, StoredUser } from "./people.js";
import { showPicks, showWaiting, shownIds, stopWaiting, withdraw } from "./recommendations.js";
import { starsText } from "./stars.js";
import { searchTitles } from "./titles.js";
import { listUsers, searchUsers } from "./users.js";

const UNAVAILABLE = "ratings-unavailable";
const NEVER_KEPT = "ratings-not-kept";

let model = null;
let person = null; // whose view it is; null on the first page
let view = null;
let history = new History([]);
let asking = new AbortController(); // the list that is being asked for
let writing = Promise.resolve(); // ratings are kept one after the other
const deeds = { rate, explain };

function refused(error, again) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Refusal)) throw error; // a mistake of this page's, for the console
  const ways = again && error.kind !== NEVER_KEPT ? [["Try again", again]] : [];
  if ([UNAVAILABLE, NEVER_KEPT].includes(error.kind)) ways.push(["Go on as a new user", addressOf({ fresh: true })]);
  complain(error.message, ways);
}

/** Do something, and tell what the service says no with; undefined then. */
async function attempt(deed, again = null) {
  try {
    return await deed();
  } catch (error) {
    return refused(error, again);
  }
}

// ---- views

async function open() {
  const before = view;
  view = readAddress();
  settle();
  clearSearch();
  if (model === null) {
    await attempt(getToKnowModel, open);
    if (model === null) return;
  }
  const same = before && person && before.user === view.user && before.fresh === view.fresh;
  if (!same) await openPerson(before !== null);
  else await openList();
}

async function openPerson(moved = false) {
  const chosen = view.user ? new StoredUser(view.user) : view.fresh ? new NewUser() : null;
  person = chosen;
  byId("welcome").hidden = person !== null;
  byId("view").hidden = person === null;
  document.title = person ? `${person.title} · Usher` : "Usher";
  if (person === null) return attempt(listUsers, () => openPerson());
  byId("who").textContent = person.title;
  if (moved) byId("who").focus();
  byId("picks").replaceChildren();
  history = new History([]);
  showHistory();
  await Promise.all([openHistory(chosen), openList()]);
}

async function openHistory(chosen) {
  const ratings = await attempt(() => chosen.ratings(), () => openPerson());
  if (!ratings || person !== chosen) return;
  history = new History(ratings);
  showHistory();
}

async function openList() {
  showFilters(view);
  const items = await refresh(null);
  if (items) announce(`${person.title}: ${counted(items.length, "title")}.`);
}

function showHistory() {
  history.show(person, model, deeds);
  showTitles();
}

/** Ask for the list again. `before`: what it showed, to tell changes. Resolves to its items. */
async function refresh(before) {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const { genre, year_min, year_max } = view;
  showWaiting();
  const whose = person;
  const again = () => refresh(before);
  const answer = await attempt(() => whose.recommend({ genre, year_min, year_max }, signal), again);
  if (signal.aborted) return undefined;
  stopWaiting();
  if (!answer) return undefined;
  showPicks(answer, whose, model, before, deeds);
  if (answer.body.model.digest !== model.digest) { // another model answers since
    await attempt(getToKnowModel);
    showFilters(view);
  }
  return answer.body.items;
}

async function getToKnowModel() {
  model = await loadModel();
  offerFilters(model, (filters) => go({ ...view, ...filters }));
}

// ---- what people do

/** Rate an item, or take its rating back (null): seen at once, undone if it cannot be kept. */
async function rate(item, stars) {
  settle();
  const whose = person;
  const undo = history.set(item, stars);
  showHistory();
  asking.abort(); // that answer would not know of this rating
  const putBack = withdraw(stars === null ? null : item.item_id);
  const before = shownIds();
  showWaiting();
  const name = nameOf(item);
  announce(stars === null ? `Deleted the rating of ${name}.` : `Rated ${name} ${starsText(stars)}.`);
  const kept = writing.then(() => (stars === null ? whose.takeBack(item) : whose.rate(item, stars)));
  const last = writing = kept.catch(() => undefined);
  try {
    await kept;
  } catch (error) {
    undo();
    if (person === whose) {
      showHistory();
      putBack();
    }
    refused(error, () => rate(item, stars));
    return;
  }
  if (person !== whose || writing !== last) return; // the last of several asks for the list
  const items = await refresh(before);
  if (items) announce(changeText(name, stars, items, before));
}

function changeText(name, stars, items, before) {
  const done = stars === null ? `Deleted the rating of ${name}.` : `Rated ${name} ${starsText(stars)}.`;
  const fresh = items.filter((item) => !before.includes(item.item_id)).map(nameOf);
  const told = fresh.length ? `New in the list: ${fresh.join(", ")}.` : "No new title in the list.";
  return `${done} ${told}`;
}

function explain(item) {
  return attempt(() => person.explain(item));
}

async function startOver() {
  if (!(person instanceof NewUser)) return;
  await person.forget();
  await openPerson();
}

/** Show the API description where a link cannot: no link can send a key. */
async function describe(event) {
  if (!hasKey()) return;
  event.preventDefault();
  const answer = await attempt(() => call("GET", "openapi.json"), () => byId("description").click());
  if (!answer) return;
  const text = new Blob([JSON.stringify(answer.body, null, 2)], { type: "application/json" });
  location.assign(URL.createObjectURL(text));
}

function go(next) {
  moveTo(next);
  return open();
}

/** Links to other views of this page change the view instead of loading it anew. */
function follow(event) {
  const link = event.target.closest("a");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || !(link.dataset.within || link.id === "begin" || link.className === "brand")) return;
  event.preventDefault();
  const address = new URL(link.href);
  if (address.search !== location.search) window.history.pushState(null, "", link.href);
  open();
}

const showTitles = searchTitles(() => ({ history, model }), deeds, refused);
const clearSearch = searchUsers(go, refused);
byId("start-over").addEventListener("click", startOver);
byId("description").addEventListener("click", describe);
document.addEventListener("click", follow);
window.addEventListener("popstate", open);
open();
