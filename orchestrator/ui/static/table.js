// The table of trials, and what of it is taken away.
import { $, anchor, heading, link, make } from "./dom.js";
import { brief, csv, digits } from "./front.js";
import { label, MODE, model, studyName, WIDTH, widthsOf } from "./runs.js";
import { remember, state } from "./state.js";

const MOST_ROWS = 200;

function tableRows() {
  const best = [...model.fronts.values()].flat();
  let points = state.rows === "front" && !state.box ? best : model.shown;
  if (state.box) {
    const [x0, x1, y0, y1] = state.box;
    points = points.filter((p) => p.x >= Math.min(x0, x1) && p.x <= Math.max(x0, x1) && p.y >= Math.min(y0, y1) && p.y <= Math.max(y0, y1));
  }
  const { own } = model.trials;
  const varying = model.trials.varying.filter((name) => !WIDTH.test(name) && points.some((p) => own.params[name][p.i] !== null));
  const columns = [
    ["trial", (p) => own.name[p.i]], [label(state.x), (p) => p.x], [label(state.y), (p) => p.y],
    ...(model.fronts.size > 1 ? [["study", (p) => studyName(model.data.studies[own.study[p.i]])]] : []),
    ...(state.others ? [["state", (p) => own.state[p.i]]] : []),
    ...varying.map((name) => [name.replace("lite_residual.", "").replaceAll("_", " "), (p) => brief(own.params[name][p.i])]),
    ...(points.some((p) => widthsOf(p.i).length) ? [["widths", (p) => widthsOf(p.i).map(([, width]) => brief(width)).join(" ")]] : []),
  ];
  const [, key] = columns.find(([name]) => name === state.sort) ?? columns[1];
  const number = (value) => (value === null || value === "" || !Number.isFinite(Number(value)) ? NaN : Number(value));
  const compare = (a, b) => {
    const [one, other] = [number(key(a)), number(key(b))];
    if (Number.isFinite(one) && Number.isFinite(other)) return one - other;
    return String(key(a) ?? "").localeCompare(String(key(b) ?? "")) || a.i - b.i;
  };
  points = [...points].sort(compare);
  if (state.down) points.reverse();
  return { columns, points };
}

export function showTable() {
  const { columns, points } = tableRows();
  const what = state.box ? "Selected area" : state.rows === "front" ? "Front" : "Trials";
  const cut = points.length > MOST_ROWS ? `, the first ${MOST_ROWS}` : "";
  $("table-title").textContent = `${what}: ${points.length} of ${model.shown.length} trials${cut}`;
  $("unbrush").hidden = !state.box;
  $("rows").disabled = Boolean(state.box);
  $("rows").value = state.rows;
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  head.append(heading(""));
  for (const [name] of columns) {
    const cell = heading("");
    const own = (state.sort || columns[1][0]) === name;
    const button = make("button", name + (own ? (state.down ? " ▼" : " ▲") : ""));
    button.type = "button";
    button.onclick = () => { state.down = own && !state.down; state.sort = name; remember(); showTable(); };
    cell.setAttribute("aria-sort", own ? (state.down ? "descending" : "ascending") : "none");
    cell.append(button);
    head.append(cell);
  }
  const body = table.createTBody();
  for (const p of points.slice(0, MOST_ROWS)) {
    const row = body.insertRow();
    const run = model.trials.own.run[p.i];
    row.className = run === state.chosen ? "chosen" : "";
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: state.compared.has(run) });
    box.setAttribute("aria-label", `compare ${model.trials.own.name[p.i]}`);
    box.onchange = () => { state.compared[box.checked ? "add" : "delete"](run); showCompare(); };
    row.insertCell().append(box);
    columns.forEach(([, value], k) => {
      const cell = row.insertCell();
      const found = value(p);
      if (k === 0) cell.append(link(model.trials.own.name[p.i], model.trials.own.run[p.i]));
      else cell.textContent = typeof found === "number" ? digits(found) : found ?? "";
    });
  }
  $("table").replaceChildren(points.length ? table : make("p", "No trial passes; clear a filter or choose another study."));
  showCompare();
}

function showCompare() {
  const runs = [...state.compared];
  $("compare").hidden = runs.length < 2;
  $("compare").textContent = `Compare ${runs.length} in MLflow`;
  const list = (values) => encodeURIComponent(JSON.stringify(values));
  const experiments = [state.experiment, state.overlay].filter(Boolean);
  $("compare").href = `../#/compare-runs?runs=${list(runs)}&experiments=${list(experiments)}&${MODE}`;
}

export function download() {
  const { points } = tableRows();
  const { own } = model.trials;
  const metrics = Object.keys(own.metrics), params = Object.keys(own.params);
  const rows = points.map(({ i }) => [own.name[i], studyName(model.data.studies[own.study[i]]), own.run[i], own.state[i],
    ...metrics.map((name) => own.metrics[name][i]), ...params.map((name) => own.params[name][i])]);
  const file = new Blob([csv([["trial", "study", "run", "state", ...metrics, ...params], ...rows])], { type: "text/csv" });
  const save = anchor(URL.createObjectURL(file), "");
  save.download = "pareto.csv";
  save.click();
  URL.revokeObjectURL(save.href);
}
