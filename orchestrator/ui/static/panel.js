// All about one trial.
import { $, anchor, barRows, list, make, say } from "./dom.js";
import { brief, digits, scale } from "./front.js";
import { showCurves } from "./plot.js";
import { commands, label, MODE, model, studyName, WIDTH, widthsOf } from "./runs.js";
import { state } from "./state.js";

/** Shows the chosen trial, or hides the panel. */
export async function showPanel() {
  const panel = $("panel");
  const i = model.trials.own.run.indexOf(state.chosen);
  panel.hidden = i < 0;
  document.querySelector("main").classList.toggle("with-panel", i >= 0);
  if ($("plot").data) Plotly.Plots.resize("plot");
  if (i < 0) return;
  const { own } = model.trials;
  const head = document.createElement("header");
  const close = make("button", "Close");
  close.type = "button";
  close.onclick = () => say("choose", null);
  head.append(make("h2", own.name[i]), close);
  const page = `../#/experiments/${model.data.studies[own.study[i]]?.experiment ?? state.experiment}/runs/${own.run[i]}`;
  const links = make("p", "");
  links.append(anchor(`${page}?${MODE}`, "run page"), " · ", anchor(`${page}/artifacts?${MODE}`, "artifacts"));
  panel.replaceChildren(head, make("p", `${studyName(model.data.studies[own.study[i]])}, ${own.state[i]}`), links);
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
  const parts = Object.entries(model.trials.own.metrics)
    .filter(([name, values]) => name.startsWith("memory.") && values[i])
    .map(([name, values]) => [name.replace(/^memory\.|_bytes$/g, ""), values[i] / 1e6])
    .sort(([, a], [, b]) => b - a);
  return barRows(parts, (megabytes) => (megabytes < 0.005 ? "< 0.01 MB" : `${megabytes.toFixed(2)} MB`));
}

function widths(i) {
  const own = widthsOf(i).map(([stage, width]) => [stage < 0 ? "all stages" : `stage ${stage}`, Number(width)]);
  return barRows(own.filter(([, width]) => Number.isFinite(width)), brief);
}
