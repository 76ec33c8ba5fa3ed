// The Pareto page: fetches trials, draws what the controls ask for, keeps its state in the address.
import { bestWithin, brief, csv, describe, digits, front, hypervolumes, merge, passes, scale, spread } from "./front.js";

const POLL_MILLISECONDS = 5000;
const MOST_ROWS = 200;
const MOST_SVG_POINTS = 2000; // above, points are drawn by the graphics card's interface
const MODE = "workflowType=machine_learning"; // MLflow hides runs without it
// Okabe and Ito's colours, those of the methods fixed as in the pictures of `fronts`
const METHODS = {
  last: ["#7f7f7f", "circle"], "bn+last": ["#e69f00", "square"], "tinytl-bias": ["#56b4e9", "triangle-up"],
  "tinytl-lite_residual": ["#009e73", "diamond"], "tinytl-lite_residual+bias": ["#0072b2", "triangle-down"],
  full: ["#d55e00", "x"],
};
const LOOKS = [...Object.values(METHODS), ["#cc79a7", "cross"], ["#f0e442", "star"]];
const WIDTH = /^lite_residual\.width(\.\d+)?$/;
const DASHES = ["solid", "dash", "dot", "dashdot"];
const $ = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");

let data = null; // of the data route
let trials = null; // what is derived from it once
const parts = new Map(); // experiment -> what the data route said of it, and its version
let shown = []; // points on the plot
let fronts = new Map(); // study -> its members, best x first
let redrawing = 0;
const state = read(new URLSearchParams(location.search));

// ---- state and address

function read(query) {
  const filters = new Map();
  for (const text of query.getAll("f")) {
    try {
      const [name, ...rest] = JSON.parse(text);
      filters.set(String(name), Array.isArray(rest[0]) ? new Set(rest[0].map(String)) : { low: Number(rest[0]), high: Number(rest[1]) });
    } catch { /* an address that somebody mangled: that filter is not there */ }
  }
  const box = (query.get("box") ?? "").split(",").map(Number);
  return {
    experiment: query.get("experiment") ?? "", overlay: query.getAll("experiment")[1] ?? "",
    studies: new Set(query.getAll("study")),
    x: query.get("x"), y: query.get("y"), color: query.get("color") ?? "method",
    xlog: query.get("xlog") !== "0", ylog: query.get("ylog") === "1",
    others: query.get("others") === "1", paper: query.get("paper") === "1",
    budget: query.has("budget") && Number(query.get("budget")) > 0 ? Number(query.get("budget")) : null,
    rows: query.get("rows") ?? "front",
    sort: query.get("sort") ?? "", down: query.get("down") === "1",
    chosen: query.get("trial"),
    compared: new Set(), filters,
    box: box.length === 4 && box.every(Number.isFinite) ? box : null,
  };
}

function remember() {
  const query = new URLSearchParams({ experiment: state.experiment });
  if (state.overlay) query.append("experiment", state.overlay);
  for (const run of state.studies) query.append("study", run);
  const set = (name, value, usual) => value !== usual && value !== null && query.set(name, value);
  set("x", state.x); set("y", state.y); set("color", state.color, "method");
  set("xlog", state.xlog ? "1" : "0", "1"); set("ylog", state.ylog ? "1" : "0", "0");
  set("others", state.others ? "1" : "0", "0"); set("paper", state.paper ? "1" : "0", "0");
  set("budget", state.budget); set("rows", state.rows, "front");
  set("sort", state.sort, ""); set("down", state.down ? "1" : "0", "0"); set("trial", state.chosen);
  if (state.box) query.set("box", state.box.map((edge) => edge.toPrecision(6)).join());
  for (const [name, filter] of state.filters) {
    query.append("f", JSON.stringify(filter instanceof Set ? [name, [...filter]] : [name, filter.low, filter.high]));
  }
  history.replaceState(null, "", `?${query}`);
}

// ---- network

async function ask(path, options) {
  const response = await fetch(`../${path}`, options);
  if (!response.ok && response.status !== 304) {
    const why = { 401: "you are not logged in", 403: "you may not read this experiment", 501: await response.clone().text() };
    throw new Error(why[response.status]?.replace(/<[^>]*>/g, " ").trim() ?? `the server answered ${response.status}`);
  }
  return response;
}

async function loadExperiments() {
  const response = await ask("ajax-api/2.0/mlflow/experiments/search", {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ max_results: 1000, order_by: ["last_update_time DESC"] }),
  });
  const found = (await response.json()).experiments ?? [];
  if (!found.length) throw new Error("there is no experiment that you may read");
  if (!state.experiment && state.studies.size) state.experiment = await experimentOf([...state.studies][0]);
  const named = found.map((each) => [each.experiment_id, each.name]);
  fill($("experiment"), named);
  fill($("overlay"), [["", "nothing"], ...named]);
  if (!found.some((each) => each.experiment_id === state.experiment)) {
    if (state.experiment) tell(`There is no experiment ${state.experiment} that you may read; this is another one.`);
    state.experiment = found[0].experiment_id;
  }
  if (!found.some((each) => each.experiment_id === state.overlay) || state.overlay === state.experiment) state.overlay = "";
  $("experiment").value = state.experiment;
  $("overlay").value = state.overlay;
}

/** The experiment of a study's run, for links that name nothing else; "" where there is no such run. */
async function experimentOf(run) {
  const response = await fetch(`../ajax-api/2.0/mlflow/runs/get?${new URLSearchParams({ run_id: run })}`);
  return response.ok ? (await response.json()).run.info.experiment_id : "";
}

/** @returns whether anything is new. */
async function loadTrials() {
  const wanted = [state.experiment, state.overlay].filter(Boolean);
  const news = await Promise.all(wanted.map(loadPart));
  if (!news.some(Boolean)) return false;
  data = merge(wanted.map((experiment) => ({ experiment, data: parts.get(experiment).data })));
  trials = derive(data);
  return true;
}

async function loadPart(experiment) {
  const known = parts.get(experiment)?.etag;
  const options = { cache: "no-store", headers: known ? { "If-None-Match": known } : {} };
  const response = await ask(`tinytl/data?experiment_id=${encodeURIComponent(experiment)}`, options);
  if (response.status === 304) return false;
  parts.set(experiment, { etag: response.headers.get("ETag"), data: await response.json() });
  return true;
}

/** What is looked up again and again: columns to filter by, seeds that confirm, texts. */
function derive({ trials: own }) {
  const columns = new Map([["state", own.state], ...Object.entries(own.params)]);
  for (const [name, values] of Object.entries(own.tags)) columns.set(`tag ${name}`, values);
  const key = (name, i) => `${own.study[i]}/${name}`;
  const places = new Map(own.name.map((name, i) => [key(name, i), i]));
  const confirmations = new Map();
  own.confirms.forEach((name, i) => {
    const place = places.get(key(name, i));
    if (name === null || own.state[i] !== "complete" || place === undefined) return;
    confirmations.set(place, [...(confirmations.get(place) ?? []), i]);
  });
  const varying = Object.keys(own.params).filter((name) => new Set(own.params[name].filter((value) => value !== null)).size > 1);
  return { own, columns, confirmations, varying, texts: new Map() };
}

// ---- values

const mode = (metric) => data.metrics[metric]?.mode ?? (metric.endsWith("accuracy") ? "max" : "min");
const label = (metric) => data.metrics[metric]?.label
  ?? metric.replace(/_bytes$/, " (MB)").replaceAll("_", " ") + (metric.endsWith("accuracy") ? " (%)" : "");
/** A value with its metric's name and unit, such as `validation accuracy 78.3 %`. */
function phrase(metric, value) {
  const [, name, unit] = label(metric).match(/^(.*?)(?: \((%|MB)\))?$/);
  return `${name} ${digits(value)}${unit ? ` ${unit}` : ""}`;
}

const raw = (metric, i) => {
  const value = trials.own.metrics[metric]?.[i];
  return value === null || value === undefined ? NaN : value * scale(metric);
};

function confirmed(metric, i) {
  const found = (trials.confirmations.get(i) ?? []).map((other) => raw(metric, other)).filter(Number.isFinite);
  return found.length ? spread(found) : { mean: raw(metric, i), deviation: NaN };
}

function visible() {
  const { own, columns, confirmations } = trials;
  const wanted = data.studies.map((study) => state.studies.has(study.run));
  const filters = [...state.filters].map(([name, filter]) => [columns.get(name), filter]);
  const found = [];
  for (let i = 0; i < own.run.length; i++) {
    if (!wanted[own.study[i]] || own.confirms[i] !== null) continue;
    if (own.state[i] !== "complete" && !state.others) continue;
    if (!filters.every(([values, filter]) => passes(filter, values?.[i]))) continue;
    const seeds = confirmations.has(i);
    const x = seeds ? confirmed(state.x, i).mean : raw(state.x, i);
    const y = seeds ? confirmed(state.y, i).mean : raw(state.y, i);
    if (Number.isFinite(x) && Number.isFinite(y)) found.push({ i, x, y, seeds });
  }
  return found;
}

/** A study's front, of complete trials; where some of it is confirmed, what the other seeds leave. */
function frontOf(points) {
  const complete = points.filter(({ i }) => trials.own.state[i] === "complete");
  const searched = complete.map((p) => (p.seeds ? { ...p, x: raw(state.x, p.i), y: raw(state.y, p.i) } : p));
  const best = new Set(front(searched, mode(state.x), mode(state.y)).map((p) => p.i));
  const members = complete.filter((p) => best.has(p.i));
  const sure = members.filter((p) => p.seeds);
  return front(sure.length ? sure : members, mode(state.x), mode(state.y));
}

// ---- the plot

const escape = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const short = (text, most = 40) => {
  const line = String(text).replace(/\s+/g, " ");
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
};

function hover(i) {
  if (!trials.texts.has(i)) {
    const { own } = trials;
    const lines = [`<b>${escape(short(own.name[i]))}</b>`, own.state[i] === "complete" ? "" : escape(own.state[i])];
    for (const name of trials.varying.slice(0, 16)) {
      const value = own.params[name][i];
      if (value !== null) lines.push(`${escape(short(name))}: ${escape(short(brief(value)))}`);
    }
    trials.texts.set(i, lines.filter(Boolean).join("<br>"));
  }
  const seeds = trials.confirmations.get(i)?.length;
  return trials.texts.get(i) + (seeds ? `<br>mean of ${seeds} other seeds` : "");
}

function looks() {
  const css = getComputedStyle(document.documentElement);
  const of = (name) => css.getPropertyValue(name).trim();
  return { ink: of("--ink"), soft: of("--soft"), paper: of("--paper"), line: of("--line") };
}

function layout(look, extra) {
  const axis = { gridcolor: look.line, zerolinecolor: look.line, linecolor: look.line, automargin: true };
  return {
    paper_bgcolor: look.paper, plot_bgcolor: look.paper,
    font: { family: "system-ui, sans-serif", size: 13, color: look.ink },
    margin: { l: 56, r: 12, t: 12, b: 48 },
    hoverlabel: { align: "left", bgcolor: look.paper, bordercolor: look.soft, font: { color: look.ink } },
    ...extra, xaxis: { ...axis, ...extra.xaxis }, yaxis: { ...axis, ...extra.yaxis },
  };
}

function pointTraces(look) {
  const type = shown.length > MOST_SVG_POINTS ? "scattergl" : "scatter";
  const best = new Set([...fronts.values()].flat().map((p) => p.i));
  const trace = (points, name, marker) => ({
    type, name, mode: "markers", legendgroup: name,
    x: points.map((p) => p.x), y: points.map((p) => p.y), customdata: points.map((p) => p.i),
    text: points.map((p) => hover(p.i)),
    hovertemplate: "%{text}<br>%{x:.4~g}, %{y:.4~g}<extra></extra>",
    marker: {
      ...marker, size: points.map((p) => (best.has(p.i) ? 12 : 7)),
      opacity: points.map((p) => (best.has(p.i) ? 1 : trials.own.state[p.i] === "complete" ? 0.6 : 0.3)),
      line: { color: look.ink, width: points.map((p) => (best.has(p.i) ? 1.3 : 0)) },
    },
    ...bars(points),
  });
  const column = describe(state.color, trials.columns.get(state.color) ?? []);
  if (column.kind === "range") {
    const values = shown.map((p) => Number(trials.columns.get(state.color)[p.i] ?? NaN));
    return [trace(shown, "trials", { color: values, colorscale: "Viridis", colorbar: { title: { text: escape(short(state.color, 24)) }, thickness: 12 } })];
  }
  const groups = new Map();
  for (const p of shown) {
    const value = trials.columns.get(state.color)?.[p.i] ?? "–";
    if (!groups.has(value)) groups.set(value, []);
    groups.get(value).push(p);
  }
  const order = [...Object.keys(METHODS), ...column.values.map(String)];
  return [...groups].sort(([a], [b]) => order.indexOf(String(a)) - order.indexOf(String(b))).map(([value, points]) => {
    const place = column.values.map(String).indexOf(String(value));
    const [color, symbol] = (state.color === "method" && METHODS[value]) || LOOKS[(place + LOOKS.length) % LOOKS.length];
    return trace(points, escape(short(value)), { color, symbol });
  });
}

function bars(points) {
  if (!points.some((p) => p.seeds)) return {};
  const of = (metric) => ({
    type: "data", thickness: 1.2,
    array: points.map((p) => (p.seeds ? confirmed(metric, p.i).deviation || 0 : 0)),
  });
  return { error_x: of(state.x), error_y: of(state.y) };
}

function stepTraces(look) {
  const right = Math.max(...shown.map((p) => p.x));
  return [...fronts].map(([study, members], number) => {
    const points = members.map((p) => [p.x, p.y]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    if (points.length && mode(state.x) === "min") points.push([right, points[points.length - 1][1]]);
    return {
      type: "scatter", mode: "lines", name: escape(studyName(study)), hoverinfo: "skip",
      x: points.map((p) => p[0]), y: points.map((p) => p[1]),
      line: { shape: mode(state.x) === "min" ? "hv" : "vh", color: look.ink, width: 1.5, dash: DASHES[number % DASHES.length] },
    };
  });
}

function paperTrace(look) {
  const names = new Set([...state.studies].map((run) => data.studies.find((study) => study.run === run)?.name));
  const points = Object.entries(data.paper).filter(([dataset]) => names.has(dataset)).flatMap(([, found]) => found);
  $("paper-box").hidden = !points.length || !state.x.endsWith("_bytes") || !state.y.endsWith("accuracy");
  if (!state.paper || $("paper-box").hidden) return [];
  return [{
    type: "scatter", mode: "markers", name: "paper (modeled memory)",
    x: points.map((p) => p.modeled_bytes / 1e6), y: points.map((p) => p.test_accuracy * 100),
    text: points.map((p) => escape(p.label)), hovertemplate: "%{text}<br>%{x} MB, %{y} %<extra></extra>",
    marker: { symbol: "star-open", size: 11, color: look.soft },
  }];
}

function draw() {
  const began = performance.now();
  shown = visible();
  fronts = new Map();
  for (const study of data.studies.filter((each) => state.studies.has(each.run))) {
    const number = data.studies.indexOf(study);
    fronts.set(study, frontOf(shown.filter((p) => trials.own.study[p.i] === number)));
  }
  const look = looks();
  const budget = state.budget === null ? [] : [{
    type: "line", x0: state.budget, x1: state.budget, y0: 0, y1: 1, yref: "paper",
    line: { color: "#d55e00", width: 3, dash: "dash" }, name: "budget",
  }];
  const box = state.box && [{ type: "rect", xref: "x", yref: "y", x0: state.box[0], x1: state.box[1], y0: state.box[2], y1: state.box[3], line: { color: look.soft } }];
  const positive = (axis) => shown.every((p) => p[axis] > 0);
  Plotly.react("plot", [...stepTraces(look), ...pointTraces(look), ...paperTrace(look)], layout(look, {
    dragmode: "select", uirevision: `${state.x}/${state.y}/${state.xlog}/${state.ylog}`,
    selections: box ?? [], shapes: budget, hovermode: "closest",
    newselection: { line: { color: look.soft } },
    legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", itemsizing: "constant" },
    margin: { l: 56, r: 12, t: 12, b: 64 },
    xaxis: { title: { text: label(state.x) }, type: state.xlog && positive("x") ? "log" : "linear" },
    yaxis: { title: { text: label(state.y) }, type: state.ylog && positive("y") ? "log" : "linear" },
  }), { responsive: true, displaylogo: false, edits: { shapePosition: true }, modeBarButtonsToRemove: ["toImage", "autoScale2d"] });
  drawn = true;
  showBest();
  showTable();
  if ($("progress").open) drawGrowth(look);
  document.body.dataset.redrawMilliseconds = String(Math.round(performance.now() - began));
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn ?? 0) + 1);
}

let drawn = false;

function redraw() {
  remember();
  cancelAnimationFrame(redrawing);
  redrawing = requestAnimationFrame(draw);
}

function drawGrowth(look) {
  const traces = [...fronts.keys()].map((study, number) => {
    const points = shown.filter((p) => data.studies[trials.own.study[p.i]] === study && trials.own.state[p.i] === "complete");
    const limit = parsed(study.limits)[state.x];
    const corner = { x: limit ? limit * scale(state.x) : Math.max(...points.map((p) => p.x)), y: 0 };
    const known = mode(state.x) === "min" && mode(state.y) === "max";
    const volume = known ? hypervolumes(points, "min", "max", corner) : [];
    return { type: "scatter", mode: "lines", line: { shape: "hv", color: look.ink, dash: DASHES[number % DASHES.length] },
      name: escape(studyName(study)), x: volume.map((_, k) => k + 1), y: volume.map((v) => v * (state.y.endsWith("accuracy") ? 0.01 : 1)) };
  });
  Plotly.react("growth", traces, layout(look, {
    showlegend: traces.length > 1, xaxis: { title: { text: "complete trials" } }, yaxis: { title: { text: "hypervolume" }, rangemode: "tozero" },
  }), { responsive: true, displayModeBar: false });
}

// ---- budget

function parsed(text) {
  try { return JSON.parse(text ?? "{}") ?? {}; } catch { return {}; }
}

function range() {
  const values = shown.map((p) => p.x);
  return [Math.min(...values), Math.max(...values)];
}

function showBest() {
  const [low, high] = range();
  $("budget-unit").textContent = state.x.endsWith("_bytes") ? "MB" : "";
  if (document.activeElement !== $("budget")) $("budget").value = state.budget === null ? "" : Number(state.budget.toPrecision(4));
  const share = Math.log((state.budget ?? high) / low) / Math.log(high / low);
  if (document.activeElement !== $("slider")) $("slider").value = Math.round(1000 * (Number.isFinite(share) ? share : 1));
  $("budget-row").hidden = mode(state.x) !== "min" || !shown.length;
  $("best").replaceChildren();
  if (state.budget === null || $("budget-row").hidden) return;
  for (const [study, members] of fronts) {
    const best = bestWithin(members, state.budget, "min", mode(state.y));
    const name = fronts.size > 1 ? `${studyName(study)}: ` : "";
    if (!best) {
      $("best").append(make("p", `${name}no trial needs so little; the smallest needs ${digits(Math.min(...members.map((p) => p.x)))}`));
      continue;
    }
    const line = make("p", `${name}best within the budget: `);
    line.append(link(best.i), `, ${phrase(state.y, best.y)}, ${phrase(state.x, best.x)}`);
    $("best").append(line, ...commands(best.i));
  }
}

function commands(i) {
  const { own } = trials;
  const directory = data.studies[own.study[i]]?.directory;
  const rerun = own.tags["tinytl.rerun"]?.[i] ?? (directory && `tinytl train --from ${quoted(`${directory}:${own.name[i]}`)}`);
  const exported = directory && `tinytl export ${quoted(`${directory}:${own.name[i]}`)}`;
  const texts = [rerun, exported].filter(Boolean);
  return texts.map((text) => {
    const code = make("code", text);
    code.className = "command";
    return code;
  });
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

// ---- the table

function tableRows() {
  const best = [...fronts.values()].flat();
  let points = state.rows === "front" && !state.box ? best : shown;
  if (state.box) {
    const [x0, x1, y0, y1] = state.box;
    points = points.filter((p) => p.x >= Math.min(x0, x1) && p.x <= Math.max(x0, x1) && p.y >= Math.min(y0, y1) && p.y <= Math.max(y0, y1));
  }
  const { own } = trials;
  const varying = trials.varying.filter((name) => !WIDTH.test(name) && points.some((p) => own.params[name][p.i] !== null));
  const columns = [
    ["trial", (p) => own.name[p.i]], [label(state.x), (p) => p.x], [label(state.y), (p) => p.y],
    ...(fronts.size > 1 ? [["study", (p) => studyName(data.studies[own.study[p.i]])]] : []),
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

function showTable() {
  const { columns, points } = tableRows();
  const what = state.box ? "Selected area" : state.rows === "front" ? "Front" : "Trials";
  const cut = points.length > MOST_ROWS ? `, the first ${MOST_ROWS}` : "";
  $("table-title").textContent = `${what}: ${points.length} of ${shown.length} trials${cut}`;
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
    const run = trials.own.run[p.i];
    row.className = run === state.chosen ? "chosen" : "";
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: state.compared.has(run) });
    box.setAttribute("aria-label", `compare ${trials.own.name[p.i]}`);
    box.onchange = () => { state.compared[box.checked ? "add" : "delete"](run); showCompare(); };
    row.insertCell().append(box);
    columns.forEach(([, value], k) => {
      const cell = row.insertCell();
      const found = value(p);
      if (k === 0) cell.append(link(p.i));
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

function link(i) {
  const button = make("button", trials.own.name[i]);
  button.type = "button";
  button.onclick = () => choose(trials.own.run[i]);
  return button;
}

// ---- the panel of one trial

function choose(run) {
  state.chosen = run;
  remember();
  showTable();
  showPanel();
}

async function showPanel() {
  const panel = $("panel");
  const i = trials.own.run.indexOf(state.chosen);
  panel.hidden = i < 0;
  document.querySelector("main").classList.toggle("with-panel", i >= 0);
  if (drawn) Plotly.Plots.resize("plot");
  if (i < 0) return;
  const { own } = trials;
  const head = document.createElement("header");
  const close = make("button", "Close");
  close.type = "button";
  close.onclick = () => { state.chosen = null; remember(); showTable(); showPanel(); };
  head.append(make("h2", own.name[i]), close);
  const page = `../#/experiments/${data.studies[own.study[i]]?.experiment ?? state.experiment}/runs/${own.run[i]}`;
  const links = make("p", "");
  links.append(anchor(`${page}?${MODE}`, "run page"), " · ", anchor(`${page}/artifacts?${MODE}`, "artifacts"));
  panel.replaceChildren(head, make("p", `${studyName(data.studies[own.study[i]])}, ${own.state[i]}`), links);
  section(panel, "Run it again, or export it", commands(i));
  section(panel, "Memory", breakdown(i));
  section(panel, "Lite residual widths", widths(i));
  const curves = make("div", "");
  section(panel, "Curves", [curves]);
  section(panel, "Measured", [list(Object.entries(own.metrics).filter(([name]) => !name.startsWith("memory.")).map(([name, values]) => [label(name), values[i] === null ? null : digits(values[i] * scale(name))]))]);
  section(panel, "Parameters", [list(Object.entries(own.params).filter(([name]) => !WIDTH.test(name)).map(([name, values]) => [name, brief(values[i])]))]);
  const tags = Object.entries(own.tags).filter(([, values]) => values[i]);
  section(panel, "Tags", tags.length ? [list(tags.map(([name, values]) => [name, values[i]]))] : []);
  if (matchMedia("(max-width: 60rem)").matches) panel.scrollIntoView();
  await showCurves(curves, own.run[i]);
}

function section(panel, title, parts) {
  if (parts.length) panel.append(make("h3", title), ...parts);
}

function breakdown(i) {
  const parts = Object.entries(trials.own.metrics)
    .filter(([name, values]) => name.startsWith("memory.") && values[i])
    .map(([name, values]) => [name.replace(/^memory\.|_bytes$/g, ""), values[i] / 1e6])
    .sort(([, a], [, b]) => b - a);
  return barRows(parts, (megabytes) => (megabytes < 0.005 ? "< 0.01 MB" : `${megabytes.toFixed(2)} MB`));
}

/** The lite residual widths of a trial, by stage; one width for all is stage -1. */
function widthsOf(i) {
  const own = Object.entries(trials.own.params).filter(([name, values]) => WIDTH.test(name) && values[i] !== null);
  return own.map(([name, values]) => [Number(name.split(".")[2] ?? -1), values[i]]).sort(([a], [b]) => a - b);
}

function widths(i) {
  const own = widthsOf(i).map(([stage, width]) => [stage < 0 ? "all stages" : `stage ${stage}`, Number(width)]);
  return barRows(own.filter(([, width]) => Number.isFinite(width)), brief);
}

function barRows(parts, text) {
  const most = Math.max(...parts.map(([, value]) => value), 1e-9);
  return parts.map(([name, value]) => {
    const row = make("div", "");
    row.className = "bar";
    const bar = document.createElement("i");
    bar.style.width = `${(100 * value) / most}%`;
    const track = document.createElement("span");
    track.append(bar);
    row.append(make("span", name), track, make("b", text(value)));
    return row;
  });
}

function list(pairs) {
  const found = document.createElement("dl");
  for (const [name, value] of pairs) {
    if (value !== null && value !== "") found.append(make("dt", name), make("dd", value));
  }
  return found;
}

async function showCurves(place, run) {
  const look = looks();
  const metrics = [["val_accuracy"], ["train_loss", "val_loss"]];
  for (const names of metrics) {
    const traces = [];
    for (const [number, name] of names.entries()) {
      if (!trials.own.metrics[name]) continue;
      const query = new URLSearchParams({ run_id: run, metric_key: name, max_results: "2000" });
      const found = (await (await ask(`ajax-api/2.0/mlflow/metrics/get-history?${query}`)).json()).metrics ?? [];
      traces.push({ type: "scatter", mode: "lines+markers", name: label(name), x: found.map((m) => m.step), y: found.map((m) => m.value * scale(name)),
        line: { color: number ? "#e69f00" : "#0072b2" } });
    }
    if (state.chosen !== run) return;
    if (!traces.length) continue;
    const plot = make("div", "");
    plot.className = "plot";
    place.append(plot);
    Plotly.newPlot(plot, traces, layout(look, {
      margin: { l: 40, r: 8, t: 8, b: 36 }, legend: { orientation: "h", y: 1, yanchor: "bottom" }, showlegend: true,
      xaxis: { title: { text: "epoch" } }, yaxis: {},
    }), { responsive: true, displayModeBar: false });
  }
}

// ---- controls

function make(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function anchor(href, text) {
  const found = make("a", text);
  found.href = href;
  return found;
}

function fill(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })));
}

function heading(text) {
  const cell = make("th", text);
  cell.scope = "col";
  return cell;
}

function studyName(study) {
  if (!study) return "–";
  const alone = data.studies.filter((each) => each.name === study.name).length < 2;
  const sweep = (study.directory ?? "").split("/").pop() || new Date(study.began).toLocaleString();
  return alone ? study.name : `${study.name} (${sweep})`;
}

function showStudies() {
  $("studies").replaceChildren(...data.studies.map((study) => {
    const line = make("label", "");
    line.className = "inline";
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: state.studies.has(study.run) });
    box.onchange = () => { state.studies[box.checked ? "add" : "delete"](study.run); state.box = null; redraw(); };
    line.append(box, studyName(study), study.status === "RUNNING" ? " (running)" : "");
    return line;
  }));
}

function showAxes() {
  const measured = Object.keys(trials.own.metrics);
  const known = Object.keys(data.metrics).filter((name) => measured.includes(name));
  const rest = measured.filter((name) => !known.includes(name));
  for (const [id, names] of [["x", [...known, ...rest]], ["y", [...known, ...rest]]]) {
    fill($(id), names.map((name) => [name, label(name)]));
    $(id).value = state[id];
  }
  $("xlog").checked = state.xlog; $("ylog").checked = state.ylog;
  $("others").checked = state.others; $("paper").checked = state.paper;
  fill($("color"), [...trials.columns.keys()].map((name) => [name, name]));
  $("color").value = state.color;
}

function showFilters() {
  const columns = [...trials.columns].map(([name, values]) => describe(name, values)).filter((c) => c.values.length > 1 || state.filters.has(c.name));
  $("filters").replaceChildren(...columns.map(filterControls));
  $("filter-count").textContent = state.filters.size ? `(${state.filters.size})` : "";
}

function filterControls(column) {
  const box = document.createElement("fieldset");
  box.append(make("legend", column.name));
  const filter = state.filters.get(column.name);
  const change = (value) => {
    if (value) state.filters.set(column.name, value); else state.filters.delete(column.name);
    $("filter-count").textContent = state.filters.size ? `(${state.filters.size})` : "";
    redraw();
  };
  if (column.kind === "range") {
    const edges = [["low", column.values[0]], ["high", column.values.at(-1)]].map(([edge, bound]) => {
      const input = Object.assign(document.createElement("input"), { type: "number", step: "any", placeholder: digits(Number(bound)) });
      if (filter && Number.isFinite(filter[edge])) input.value = filter[edge];
      input.setAttribute("aria-label", `${column.name}, ${edge === "low" ? "at least" : "at most"}`);
      return input;
    });
    const read = () => {
      const [low, high] = edges.map((input) => input.value);
      change(low || high ? { low: low === "" ? -Infinity : Number(low), high: high === "" ? Infinity : Number(high) } : null);
    };
    edges.forEach((input) => { input.onchange = read; });
    box.append(edges[0], " to ", edges[1]);
    return box;
  }
  const choices = make("div", "");
  choices.className = "choices";
  const boxes = column.values.slice(0, 100).map((value) => {
    const line = make("label", "");
    line.className = "inline";
    const input = Object.assign(document.createElement("input"), { type: "checkbox", value, checked: !filter || passes(filter, value) });
    line.append(input, make("span", short(value, 80)));
    choices.append(line);
    return input;
  });
  choices.onchange = () => {
    const kept = boxes.filter((input) => input.checked).map((input) => input.value);
    change(kept.length === boxes.length ? null : new Set(kept));
  };
  box.append(choices);
  return box;
}

/** Chooses what the address does not say: the newest sweep, and its objectives. */
function settle() {
  const known = new Set(data.studies.map((study) => study.run));
  state.studies = new Set([...state.studies].filter((run) => known.has(run)));
  const newestOf = (studies) => studies.reduce((a, b) => (a && a.began > b.began ? a : b), null);
  const newest = newestOf(data.studies);
  if (!state.studies.size) {
    const sweeps = [state.experiment, state.overlay].map((own) => newestOf(data.studies.filter((study) => study.experiment === own))?.sweep);
    for (const study of data.studies) if (sweeps.includes(study.sweep)) state.studies.add(study.run);
  }
  const objectives = Object.keys(parsed(newest?.objectives));
  const measured = Object.keys(trials.own.metrics);
  const last = (of) => objectives.filter((name) => mode(name) === of && measured.includes(name));
  if (!measured.includes(state.x)) state.x = last("min").pop() ?? "peak_bytes";
  if (!measured.includes(state.y)) state.y = last("max")[0] ?? "val_accuracy";
  if (!trials.columns.has(state.color)) state.color = "method";
}

function tell(text) {
  $("message").hidden = !text;
  $("message").textContent = text;
}

function refresh() {
  settle();
  showStudies();
  showAxes();
  showFilters();
  $("runs").href = `../#/experiments/${state.experiment}/runs?${MODE}`;
  if (!data.studies.length) tell("No trial of a sweep is in this experiment yet; choose another, or wait: it appears here.");
  else tell("");
  redraw();
}

function connect() {
  const on = (id, event, act) => $(id).addEventListener(event, act);
  on("experiment", "change", async () => {
    Object.assign(state, read(new URLSearchParams({ experiment: $("experiment").value })));
    await restart();
  });
  on("overlay", "change", async () => {
    state.overlay = $("overlay").value === state.experiment ? "" : $("overlay").value;
    await restart();
  });
  for (const id of ["x", "y", "color"]) on(id, "change", () => { state[id] = $(id).value; state.box = null; if (id === "x") state.budget = null; redraw(); });
  for (const id of ["xlog", "ylog", "others", "paper"]) on(id, "change", () => { state[id] = $(id).checked; redraw(); });
  on("rows", "change", () => { state.rows = $("rows").value; remember(); showTable(); });
  on("clear", "click", () => { state.filters.clear(); showFilters(); redraw(); });
  on("unbrush", "click", () => { state.box = null; redraw(); });
  on("budget", "change", () => { setBudget(Number($("budget").value)); });
  on("slider", "input", () => {
    const [low, high] = range();
    setBudget(low * (high / low) ** ($("slider").value / 1000));
  });
  on("no-budget", "click", () => setBudget(0));
  on("progress", "toggle", () => $("progress").open && drawGrowth(looks()));
  for (const format of ["png", "svg"]) on(format, "click", () => Plotly.downloadImage("plot", { format, filename: "pareto", width: 1200, height: 750 }));
  on("csv", "click", download);
  on("share", "click", async () => {
    await navigator.clipboard.writeText(location.href);
    $("share").textContent = "Copied";
    setTimeout(() => { $("share").textContent = "Copy link"; }, 1500);
  });
  dark.addEventListener("change", () => data && draw());
  addEventListener("keydown", (event) => { if (event.key === "Escape" && state.chosen) choose(null); });
}

function setBudget(value) {
  state.budget = Number.isFinite(value) && value > 0 ? value : null;
  redraw();
}

function download() {
  const { points } = tableRows();
  const { own } = trials;
  const metrics = Object.keys(own.metrics), params = Object.keys(own.params);
  const rows = points.map(({ i }) => [own.name[i], studyName(data.studies[own.study[i]]), own.run[i], own.state[i],
    ...metrics.map((name) => own.metrics[name][i]), ...params.map((name) => own.params[name][i])]);
  const file = new Blob([csv([["trial", "study", "run", "state", ...metrics, ...params], ...rows])], { type: "text/csv" });
  const save = anchor(URL.createObjectURL(file), "");
  save.download = "pareto.csv";
  save.click();
  URL.revokeObjectURL(save.href);
}

function connectPlot() {
  const plot = $("plot");
  plot.on("plotly_click", ({ points: [point] }) => {
    if (point?.customdata !== undefined) choose(trials.own.run[point.customdata]);
  });
  plot.on("plotly_selected", (event) => {
    if (!event?.range) return;
    state.box = [...event.range.x, ...event.range.y];
    remember();
    showTable();
  });
  plot.on("plotly_deselect", () => { state.box = null; remember(); showTable(); });
  plot.on("plotly_relayout", (change) => {
    if (change["shapes[0].x0"] !== undefined) setBudget(change["shapes[0].x0"]);
  });
}

async function update() {
  try {
    if (await loadTrials()) {
      refresh();
      if (state.chosen) showPanel();
    }
    const running = data.studies.some((study) => study.status === "RUNNING");
    $("live").textContent = running ? "a sweep is running; this page follows it" : "";
  } catch (error) {
    if (data) $("live").textContent = `not up to date: ${error.message}`;
    else tell(`Nothing can be shown: ${error.message}.`);
  }
}

/** Reads again what the address asks for; with another experiment beside it, the newest of each. */
async function restart() {
  $("overlay").value = state.overlay;
  parts.clear();
  state.studies.clear();
  await update();
}

async function start() {
  connect();
  try {
    await loadExperiments();
  } catch (error) {
    tell(`Nothing can be shown: ${error.message}.`);
    return;
  }
  await update();
  if (data) {
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    connectPlot();
    document.body.dataset.ready = String(Math.round(performance.now()));
  }
  setInterval(() => document.hidden || update(), POLL_MILLISECONDS);
}

start();
