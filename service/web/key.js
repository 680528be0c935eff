// The API key: asked for when the service wants one, kept for the tab's session.

import { byId } from "./elements.js";

const KEPT = "usher.key";
let asking = null;

export const keyHeaders = () => {
  const key = sessionStorage.getItem(KEPT);
  return key ? { "X-API-Key": key } : {};
};

export const hasKey = () => sessionStorage.getItem(KEPT) !== null;

/** Whether another key is known now than `used`; asks for one if not. */
export function askForKey(used, reason) {
  if ((sessionStorage.getItem(KEPT) ?? undefined) !== used) return Promise.resolve(true);
  asking ??= ask(reason, used !== undefined).finally(() => { asking = null; });
  return asking;
}

function ask(reason, wrong) {
  const [dialog, input] = [byId("key"), byId("key-input")];
  byId("key-told").textContent = wrong ? reason : "";
  input.value = "";
  dialog.showModal();
  return new Promise((settle) => {
    const end = (given) => {
      byId("key-form").onsubmit = byId("key-cancel").onclick = dialog.onclose = null;
      dialog.close();
      settle(given);
    };
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEPT, input.value.trim());
      end(true);
    };
    byId("key-cancel").onclick = dialog.onclose = () => end(false);
  });
}
