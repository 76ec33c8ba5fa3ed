// What people set: studies, axes, filters and the budget.
import { $, fill, link, make, say } from "./dom.js";
import { bestWithin, describe, digits, passes } from "./front.js";
import { short } from "./plot.js";
import { commands, label, mode, model, parsed, phrase, studyName } from "./runs.js";
import { state } from "./state.js";

export function showStudies() {
  $("studies").replaceChildren(...model.data.studies.map((study) => {
    const line = make("label", "");
    line.className = "inline";
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: state.studies.has(study.run) });
    box.onchange = () => { state.studies[box.checked ? "add" : "delete"](study.run); state.box = null; say("redraw"); };
    line.append(box, studyName(study), study.status === "RUNNING" ? " (running)" : "");
    return line;
  }));
}

export function showAxes() {
  const measured = Object.keys(model.trials.own.metrics);
  const known = Object.keys(model.data.metrics).filter((name) => measured.includes(name));
  const rest = measured.filter((name) => !known.includes(name));
  for (const [id, names] of [["x", [...known, ...rest]], ["y", [...known, ...rest]]]) {
    fill($(id), names.map((name) => [name, label(name)]));
    $(id).value = state[id];
  }
  $("xlog").checked = state.xlog; $("ylog").checked = state.ylog;
  $("others").checked = state.others; $("paper").checked = state.paper;
  fill($("color"), [...model.trials.columns.keys()].map((name) => [name, name]));
  $("color").value = state.color;
}

export function showFilters() {
  const columns = [...model.trials.columns].map(([name, values]) => describe(name, values)).filter((c) => c.values.length > 1 || state.filters.has(c.name));
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
    say("redraw");
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
export function settle() {
  const known = new Set(model.data.studies.map((study) => study.run));
  state.studies = new Set([...state.studies].filter((run) => known.has(run)));
  const newestOf = (studies) => studies.reduce((a, b) => (a && a.began > b.began ? a : b), null);
  const newest = newestOf(model.data.studies);
  if (!state.studies.size) {
    const sweeps = [state.experiment, state.overlay].map((own) => newestOf(model.data.studies.filter((study) => study.experiment === own))?.sweep);
    for (const study of model.data.studies) if (sweeps.includes(study.sweep)) state.studies.add(study.run);
  }
  const objectives = Object.keys(parsed(newest?.objectives));
  const measured = Object.keys(model.trials.own.metrics);
  const last = (of) => objectives.filter((name) => mode(name) === of && measured.includes(name));
  if (!measured.includes(state.x)) state.x = last("min").pop() ?? "peak_bytes";
  if (!measured.includes(state.y)) state.y = last("max")[0] ?? "val_accuracy";
  if (!model.trials.columns.has(state.color)) state.color = "method";
}

export function range() {
  const values = model.shown.map((p) => p.x);
  return [Math.min(...values), Math.max(...values)];
}

export function showBest() {
  const [low, high] = range();
  $("budget-unit").textContent = state.x.endsWith("_bytes") ? "MB" : "";
  if (document.activeElement !== $("budget")) $("budget").value = state.budget === null ? "" : Number(state.budget.toPrecision(4));
  const share = Math.log((state.budget ?? high) / low) / Math.log(high / low);
  if (document.activeElement !== $("slider")) $("slider").value = Math.round(1000 * (Number.isFinite(share) ? share : 1));
  $("budget-row").hidden = mode(state.x) !== "min" || !model.shown.length;
  $("best").replaceChildren();
  if (state.budget === null || $("budget-row").hidden) return;
  for (const [study, members] of model.fronts) {
    const best = bestWithin(members, state.budget, "min", mode(state.y));
    const name = model.fronts.size > 1 ? `${studyName(study)}: ` : "";
    if (!best) {
      $("best").append(make("p", `${name}no trial needs so little; the smallest needs ${digits(Math.min(...members.map((p) => p.x)))}`));
      continue;
    }
    const line = make("p", `${name}best within the budget: `);
    line.append(link(model.trials.own.name[best.i], model.trials.own.run[best.i]), `, ${phrase(state.y, best.y)}, ${phrase(state.x, best.x)}`);
    $("best").append(line, ...commands(best.i));
  }
}
