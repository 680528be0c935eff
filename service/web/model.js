// Which model answers, how good it is beside the baselines, and what it runs on.

import { call } from "./api.js";
import { byId, element } from "./elements.js";

// What is measured, best told first. `least`: smaller is better.
const FIGURES = [
  { key: "rmse", name: "RMSE", least: true },
  { key: "mae", name: "MAE", least: true },
  { key: "ndcg@100", name: "NDCG@100" },
  { key: "recall@20", name: "Recall@20" },
  { key: "precision@10", name: "Precision@10" },
];

const NAMES = { mean: "Mean rating", bias: "Bias model", popularity: "Popularity", ease: "EASE" };

/** Ask which model answers, and show it. */
export async function loadModel() {
  const model = (await call("GET", "model")).body;
  const told = element("p", { class: "note", id: "figures-told" },
    "Beside the baselines, on the same held-out ratings; the best of each in bold");
  byId("model").replaceChildren(facts(model), told, figures(model));
  return model;
}

function facts(model) {
  const { data, protocol, calibration, providers } = model;
  const measured = calibration.measured === null ? ""
    : `, and ${percent(calibration.measured)} of held-out ratings did`;
  const told = [
    ["Version", `${model.version} (${model.digest.slice(0, 12)})`],
    ["Trained on", `${data.ratings.toLocaleString("en")} ratings by ${data.users.toLocaleString("en")} users of ${data.items.toLocaleString("en")} titles, ${data.source}`],
    ["Licence of the data", data.licence],
    ["Measured on", `${protocol.test_rows.toLocaleString("en")} held-out ratings, protocol “${protocol.name}”`],
    ["Intervals", `${percent(calibration.coverage)} of ratings should fall inside${measured}`],
    ["Runs on", providers.in_use.join(", ")],
  ];
  return element("dl", {}, ...told.flatMap(([term, said]) => [
    element("dt", {}, term), element("dd", {}, said)]));
}

const percent = (share) => `${Number((100 * share).toFixed(1))}%`;

function figures({ metrics, baselines }) {
  const shown = FIGURES.filter(({ key }) => key in metrics);
  const rows = [["This model", metrics], ...Object.entries(baselines)];
  const best = Object.fromEntries(shown.map(({ key, least }) => {
    const values = rows.map(([, row]) => row[key]).filter((value) => value !== undefined);
    return [key, least ? Math.min(...values) : Math.max(...values)];
  }));
  const cell = (row, key) => element("td", { class: row[key] === best[key] ? "best" : null },
    row[key] === undefined ? "–" : row[key].toFixed(3));
  return element("div", { class: "figures", role: "region", "aria-label": "Held-out figures", tabindex: "0" },
    element("table", { "aria-labelledby": "figures-told" },
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Model"),
        ...shown.map(({ name, least }) => element("th", { scope: "col" }, name,
          element("small", {}, least ? "lower is better" : "higher is better"))))),
      element("tbody", {}, ...rows.map(([name, row]) => element("tr", {},
        element("th", { scope: "row" }, NAMES[name] ?? name), ...shown.map(({ key }) => cell(row, key)))))));
}
