// Calls of the REST API: JSON in, JSON out, and every refusal as one sentence.

import { askForKey, keyHeaders } from "./key.js";

const ROOT = new URL("v1/", document.baseURI);

/** What the service says no with. `kind` is the end of the problem's type. */
export class Refusal extends Error {
  constructor(sentence, kind) {
    super(sentence);
    this.kind = kind;
  }
}

/**
 * Ask, and ask again if a key is missing and one is given.
 * Resolves to {body, cache, ms}: the answer, what X-Cache said, how long it took from here.
 */
export async function call(method, path, { query = {}, body, signal } = {}) {
  const began = performance.now();
  const own = keyHeaders();
  const response = await send(method, addressOf(path, query), own, body, signal);
  if (response.status === 204) return { body: null };
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) {
    const ms = performance.now() - began;
    return { body: answer, cache: response.headers.get("X-Cache"), ms };
  }
  const refusal = refusalOf(response, answer);
  if (response.status === 401 && await askForKey(own["X-API-Key"], refusal.message)) {
    return call(method, path, { query, body, signal });
  }
  throw refusal;
}

/** The address below v1/; of names with several values, one parameter each; empty ones left out. */
function addressOf(path, query) {
  const address = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) {
      if (one !== "" && one !== null) address.searchParams.append(name, one);
    }
  }
  return address;
}

async function send(method, address, headers, body, signal) {
  try {
    return await fetch(address, {
      method,
      signal,
      cache: "no-store", // so that X-Cache tells of the service's cache, not the browser's
      headers: body === undefined ? headers : { ...headers, "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The service does not answer. Is it running?", "unreachable");
  }
}

function refusalOf(response, problem) {
  const sentence = problem?.detail ?? `The service answered ${response.status} and did not say why.`;
  return new Refusal(sentence, (problem?.type ?? "").split(":").at(-1));
}
