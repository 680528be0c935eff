// A rating control: a star for each whole step of the scale, halves if the scale has them.
// Arrows move, Enter or Space rates: a rating changes the list, so looking must not be giving.

import { element, nameOf } from "./elements.js";

const BEYOND = 10; // stars that can still be told apart

export const levelsOf = ({ minimum, maximum, step }) => Array.from(
  { length: Math.round((maximum - minimum) / step) + 1 },
  (_, level) => Number((minimum + level * step).toFixed(3)),
);

export const starsText = (value) => `${value} ${value === 1 ? "star" : "stars"}`;

const drawable = ({ minimum, maximum, step }) =>
  (step === 0.5 || step === 1) && minimum > 0 && minimum <= 1 && maximum <= BEYOND;

/**
 * A control named after what it rates. `place`: which list it is in, for an id of its own;
 * `value`: the rating there is, if any; `give` gets the rating that was chosen.
 */
export function rating(scale, item, { place, value = null, give }) {
  const control = drawable(scale) ? starGroup : choice;
  return control(scale, item, place, value, give);
}

function starGroup(scale, item, place, value, give) {
  const levels = levelsOf(scale);
  const told = element("span", { class: "stars-told", "aria-hidden": "true" });
  const show = (level) => {
    group.style.setProperty("--fill", level ?? 0);
    told.textContent = level ?? "";
  };
  const current = levels.includes(value) ? value : null;
  const buttons = levels.map((level, index) => {
    const button = element("button", {
      type: "button",
      role: "radio",
      class: "star",
      "data-control": "star",
      id: `star-${place}-${item.item_id}-${level}`,
      "aria-checked": String(level === current),
      "aria-label": starsText(level),
      tabindex: level === (current ?? levels[0]) ? "0" : "-1",
      onclick: () => give(level),
      onpointerenter: () => show(level),
      onfocus: (event) => { if (event.target.matches(":focus-visible")) show(level); },
    });
    button.style.setProperty("--wide", level - (levels[index - 1] ?? 0));
    return button;
  });
  const group = element("div", {
    class: "stars",
    role: "radiogroup",
    "aria-label": `Rating of ${nameOf(item)}`,
    "aria-describedby": "stars-hint",
    onpointerleave: () => show(current),
    onfocusout: () => show(current),
    onkeydown: (event) => moveFocus(event, buttons),
  }, ...buttons);
  group.style.setProperty("--count", Math.ceil(scale.maximum));
  show(current);
  return element("div", { class: "rating" }, group, told);
}

function moveFocus(event, buttons) {
  const at = buttons.indexOf(document.activeElement);
  const last = buttons.length - 1;
  const to = {
    ArrowRight: Math.min(at + 1, last), ArrowUp: Math.min(at + 1, last),
    ArrowLeft: Math.max(at - 1, 0), ArrowDown: Math.max(at - 1, 0),
    Home: 0, End: last,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  for (const button of buttons) button.tabIndex = button === buttons[to] ? 0 : -1;
  buttons[to].focus();
}

/** For scales that stars do not suit. */
function choice(scale, item, place, value, give) {
  const options = levelsOf(scale).map((level) =>
    element("option", { value: level, selected: level === value }, String(level)));
  const select = element("select", {
    "aria-label": `Rating of ${nameOf(item)}`,
    id: `star-${place}-${item.item_id}`,
    "data-control": "star",
    onchange: () => { if (select.value) give(Number(select.value)); },
  }, element("option", { value: "" }, "Rate"), ...options);
  if (!levelsOf(scale).includes(value)) select.value = "";
  return select;
}
