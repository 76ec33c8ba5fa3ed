// The plots.
import { brief, describe, hypervolumes, scale } from "./front.js";
import { $, make } from "./dom.js";
import { ask, confirmed, label, mode, model, parsed, studyName } from "./runs.js";
import { state } from "./state.js";

const MOST_SVG_POINTS = 2000; // above, points are drawn by the graphics card's interface
// Okabe and Ito's colours, those of the methods fixed as in the pictures of `fronts`
const METHODS = {
  last: ["#7f7f7f", "circle"], "bn+last": ["#e69f00", "square"], "tinytl-bias": ["#56b4e9", "triangle-up"],
  "tinytl-lite_residual": ["#009e73", "diamond"], "tinytl-lite_residual+bias": ["#0072b2", "triangle-down"],
  full: ["#d55e00", "x"], "full+checkpointing": ["#d55e00", "pentagon"],
  "sparse-update": ["#000000", "hexagon"],
};

const LOOKS = [...Object.values(METHODS), ["#cc79a7", "cross"], ["#f0e442", "star"]];

const DASHES = ["solid", "dash", "dot", "dashdot"];

const escape = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

export const short = (text, most = 40) => {
  const line = String(text).replace(/\s+/g, " ");
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
};

function hover(i) {
  if (!model.trials.texts.has(i)) {
    const { own } = model.trials;
    const lines = [`<b>${escape(short(own.name[i]))}</b>`, own.state[i] === "complete" ? "" : escape(own.state[i])];
    for (const name of model.trials.varying.slice(0, 16)) {
      const value = own.params[name][i];
      if (value !== null) lines.push(`${escape(short(name))}: ${escape(short(brief(value)))}`);
    }
    model.trials.texts.set(i, lines.filter(Boolean).join("<br>"));
  }
  const seeds = model.trials.confirmations.get(i)?.length;
  return model.trials.texts.get(i) + (seeds ? `<br>mean of ${seeds} other seeds` : "");
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
  const type = model.shown.length > MOST_SVG_POINTS ? "scattergl" : "scatter";
  const best = new Set([...model.fronts.values()].flat().map((p) => p.i));
  const trace = (points, name, marker) => ({
    type, name, mode: "markers", legendgroup: name,
    x: points.map((p) => p.x), y: points.map((p) => p.y), customdata: points.map((p) => p.i),
    text: points.map((p) => hover(p.i)),
    hovertemplate: "%{text}<br>%{x:.4~g}, %{y:.4~g}<extra></extra>",
    marker: {
      ...marker, size: points.map((p) => (best.has(p.i) ? 12 : 7)),
      opacity: points.map((p) => (best.has(p.i) ? 1 : model.trials.own.state[p.i] === "complete" ? 0.6 : 0.3)),
      line: { color: look.ink, width: points.map((p) => (best.has(p.i) ? 1.3 : 0)) },
    },
    ...bars(points),
  });
  const column = describe(state.color, model.trials.columns.get(state.color) ?? []);
  if (column.kind === "range") {
    const values = model.shown.map((p) => Number(model.trials.columns.get(state.color)[p.i] ?? NaN));
    return [trace(model.shown, "trials", { color: values, colorscale: "Viridis", colorbar: { title: { text: escape(short(state.color, 24)) }, thickness: 12 } })];
  }
  const groups = new Map();
  for (const p of model.shown) {
    const value = model.trials.columns.get(state.color)?.[p.i] ?? "–";
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
  const right = Math.max(...model.shown.map((p) => p.x));
  return [...model.fronts].map(([study, members], number) => {
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
  const names = new Set([...state.studies].map((run) => model.data.studies.find((study) => study.run === run)?.name));
  const points = Object.entries(model.data.paper).filter(([dataset]) => names.has(dataset)).flatMap(([, found]) => found);
  $("paper-box").hidden = !points.length || !state.x.endsWith("_bytes") || !state.y.endsWith("accuracy");
  if (!state.paper || $("paper-box").hidden) return [];
  return [{
    type: "scatter", mode: "markers", name: "paper (modeled memory)",
    x: points.map((p) => p.modeled_bytes / 1e6), y: points.map((p) => p.test_accuracy * 100),
    text: points.map((p) => escape(p.label)), hovertemplate: "%{text}<br>%{x} MB, %{y} %<extra></extra>",
    marker: { symbol: "star-open", size: 11, color: look.soft },
  }];
}

/** Draws what `model` has to be shown. */
export function drawFronts() {
  const look = looks();
  const budget = state.budget === null ? [] : [{
    type: "line", x0: state.budget, x1: state.budget, y0: 0, y1: 1, yref: "paper",
    line: { color: "#d55e00", width: 3, dash: "dash" }, name: "budget",
  }];
  const box = state.box && [{ type: "rect", xref: "x", yref: "y", x0: state.box[0], x1: state.box[1], y0: state.box[2], y1: state.box[3], line: { color: look.soft } }];
  const positive = (axis) => model.shown.every((p) => p[axis] > 0);
  Plotly.react("plot", [...stepTraces(look), ...pointTraces(look), ...paperTrace(look)], layout(look, {
    dragmode: "select", uirevision: `${state.x}/${state.y}/${state.xlog}/${state.ylog}`,
    selections: box ?? [], shapes: budget, hovermode: "closest",
    newselection: { line: { color: look.soft } },
    legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", itemsizing: "constant" },
    margin: { l: 56, r: 12, t: 12, b: 64 },
    xaxis: { title: { text: label(state.x) }, type: state.xlog && positive("x") ? "log" : "linear" },
    yaxis: { title: { text: label(state.y) }, type: state.ylog && positive("y") ? "log" : "linear" },
  }), { responsive: true, displaylogo: false, edits: { shapePosition: true }, modeBarButtonsToRemove: ["toImage", "autoScale2d"] });
}

export function drawGrowth() {
  const look = looks();
  const traces = [...model.fronts.keys()].map((study, number) => {
    const points = model.shown.filter((p) => model.data.studies[model.trials.own.study[p.i]] === study && model.trials.own.state[p.i] === "complete");
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

export async function showCurves(place, run) {
  const look = looks();
  const metrics = [["val_accuracy"], ["train_loss", "val_loss"]];
  for (const names of metrics) {
    const traces = [];
    for (const [number, name] of names.entries()) {
      if (!model.trials.own.metrics[name]) continue;
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
