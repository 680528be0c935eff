// Whose ratings they are: a stored user's, kept by the service, or a new user's, kept in this tab.
// Both are asked the same questions, so nothing else needs to know which it is.

import { call } from "./api.js";

const KEPT = "usher.ratings";
const K = 10;

/** A user of the service; anybody may be one, known or not. */
export class StoredUser {
  constructor(id) {
    this.id = id;
    this.title = `Top ${K} for user ${id}`;
    this.owner = `user ${id}`;
    this.path = `users/${encodeURIComponent(id)}`;
  }

  async ratings() {
    return (await call("GET", `${this.path}/ratings`)).body.ratings;
  }

  recommend(chosen, signal) {
    return call("GET", `${this.path}/recommendations`, { query: { ...chosen, k: K }, signal });
  }

  async explain(item) {
    return (await call("GET", `${this.path}/recommendations/${item.item_id}/explanation`)).body;
  }

  async rate(item, rating) {
    await call("PUT", `${this.path}/ratings/${item.item_id}`, { body: { rating } });
  }

  async takeBack(item) {
    await call("DELETE", `${this.path}/ratings/${item.item_id}`);
  }
}

/** Somebody the service does not know: the ratings go along with every question. */
export class NewUser {
  constructor() {
    this.id = null;
    this.title = `Your top ${K}`;
    this.owner = "you";
  }

  async ratings() {
    return JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
  }

  async recommend({ genre, year_min, year_max }, signal) {
    const body = { ratings: await this.#given(), k: K, genre };
    if (year_min) body.year_min = Number(year_min);
    if (year_max) body.year_max = Number(year_max);
    return call("POST", "recommendations", { body, signal });
  }

  async explain(item) {
    const body = { item_id: item.item_id, ratings: await this.#given() };
    return (await call("POST", "explanations", { body })).body;
  }

  async rate(item, rating) {
    const others = (await this.ratings()).filter((other) => other.item_id !== item.item_id);
    const { item_id, title, year = null } = item;
    keep([...others, { item_id, title, year, rating, rated_at: Date.now() / 1000, counts: true }]);
  }

  async takeBack(item) {
    keep((await this.ratings()).filter((other) => other.item_id !== item.item_id));
  }

  async forget() {
    keep([]);
  }

  async #given() {
    return (await this.ratings()).map(({ item_id, rating }) => ({ item_id, rating }));
  }
}

const keep = (ratings) => sessionStorage.setItem(KEPT, JSON.stringify(ratings));
