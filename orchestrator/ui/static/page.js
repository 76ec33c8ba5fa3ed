// The Pareto page: loads trials, has them drawn, and follows what people do.
import { range, settle, showAxes, showBest, showFilters, showStudies } from "./controls.js";
import { $, fill } from "./dom.js";
import { showPanel } from "./panel.js";
import { drawFronts, drawGrowth } from "./plot.js";
import { ask, experimentOf, forget, frontOf, loadTrials, MODE, model, visible } from "./runs.js";
import { read, remember, state } from "./state.js";
import { download, showTable } from "./table.js";

const POLL_MILLISECONDS = 5000;
const dark = matchMedia("(prefers-color-scheme: dark)");
let redrawing = 0;
let notice = ""; // what is said above the plot
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
    if (state.experiment) notice = `There is no experiment ${state.experiment} that you may read; this is another one.`;
    state.experiment = found[0].experiment_id;
  }
  if (!found.some((each) => each.experiment_id === state.overlay) || state.overlay === state.experiment) state.overlay = "";
  $("experiment").value = state.experiment;
  $("overlay").value = state.overlay;
}

function redraw() {
  remember();
  cancelAnimationFrame(redrawing);
  redrawing = requestAnimationFrame(draw);
}

function draw() {
  const began = performance.now();
  model.shown = visible();
  model.fronts = new Map();
  for (const study of model.data.studies.filter((each) => state.studies.has(each.run))) {
    const number = model.data.studies.indexOf(study);
    model.fronts.set(study, frontOf(model.shown.filter((p) => model.trials.own.study[p.i] === number)));
  }
  drawFronts();
  showBest();
  showTable();
  if ($("progress").open) drawGrowth();
  document.body.dataset.redrawMilliseconds = String(Math.round(performance.now() - began));
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn ?? 0) + 1);
}

function choose(run) {
  state.chosen = run;
  remember();
  showTable();
  showPanel();
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
  if (!model.data.studies.length) tell("No trial of a sweep is in this experiment yet; choose another, or wait: it appears here.");
  else tell(notice);
  redraw();
}

function connect() {
  const on = (id, event, act) => $(id).addEventListener(event, act);
  on("experiment", "change", async () => {
    Object.assign(state, read(new URLSearchParams({ experiment: $("experiment").value })));
    notice = "";
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
  on("progress", "toggle", () => $("progress").open && drawGrowth());
  for (const format of ["png", "svg"]) on(format, "click", () => Plotly.downloadImage("plot", { format, filename: "pareto", width: 1200, height: 750 }));
  on("csv", "click", download);
  on("share", "click", async () => {
    await navigator.clipboard.writeText(location.href);
    $("share").textContent = "Copied";
    setTimeout(() => { $("share").textContent = "Copy link"; }, 1500);
  });
  dark.addEventListener("change", () => model.data && draw());
  document.addEventListener("choose", ({ detail }) => choose(detail));
  document.addEventListener("redraw", redraw);
  addEventListener("keydown", (event) => { if (event.key === "Escape" && state.chosen) choose(null); });
}

function setBudget(value) {
  state.budget = Number.isFinite(value) && value > 0 ? value : null;
  redraw();
}

function connectPlot() {
  const plot = $("plot");
  plot.on("plotly_click", ({ points: [point] }) => {
    if (point?.customdata !== undefined) choose(model.trials.own.run[point.customdata]);
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
    const running = model.data.studies.some((study) => study.status === "RUNNING");
    $("live").textContent = running ? "a sweep is running; this page follows it" : "";
  } catch (error) {
    if (model.data) $("live").textContent = `not up to date: ${error.message}`;
    else tell(`Nothing can be shown: ${error.message}.`);
  }
}

/** Reads again what the address asks for; with another experiment beside it, the newest of each. */
async function restart() {
  $("overlay").value = state.overlay;
  forget();
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
  if (model.data) {
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    connectPlot();
    document.body.dataset.ready = String(Math.round(performance.now()));
  }
  setInterval(() => document.hidden || update(), POLL_MILLISECONDS);
}

start();
