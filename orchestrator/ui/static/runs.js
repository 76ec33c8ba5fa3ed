// Trials, as the server has them, and what is said of each.
import { digits, front, merge, passes, scale, spread } from "./front.js";
import { make } from "./dom.js";
import { state } from "./state.js";

export const MODE = "workflowType=machine_learning"; // MLflow hides runs without it
export const WIDTH = /^lite_residual\.width(\.\d+)?$/;

/** What everything is made of: the server's answer, what is derived of it, what the plot shows. */
export const model = {
  data: null,
  trials: null,
  shown: [], // points
  fronts: new Map(), // study -> its members, best x first
};
const parts = new Map(); // experiment -> what the data route said of it, and its version

/** Reads all anew when next asked. */
export const forget = () => parts.clear();

export async function ask(path, options) {
  const response = await fetch(`../${path}`, options);
  if (!response.ok && response.status !== 304) {
    const why = { 401: "you are not logged in", 403: "you may not read this experiment", 501: await response.clone().text() };
    throw new Error(why[response.status]?.replace(/<[^>]*>/g, " ").trim() ?? `the server answered ${response.status}`);
  }
  return response;
}

/** The experiment of a study's run, for links that name nothing else; "" where there is no such run. */
export async function experimentOf(run) {
  const response = await fetch(`../ajax-api/2.0/mlflow/runs/get?${new URLSearchParams({ run_id: run })}`);
  return response.ok ? (await response.json()).run.info.experiment_id : "";
}

/** @returns whether anything is new. */
export async function loadTrials() {
  const wanted = [state.experiment, state.overlay].filter(Boolean);
  const news = await Promise.all(wanted.map(loadPart));
  if (!news.some(Boolean)) return false;
  model.data = merge(wanted.map((experiment) => ({ experiment, data: parts.get(experiment).data })));
  model.trials = derive(model.data);
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

export const mode = (metric) => model.data.metrics[metric]?.mode ?? (metric.endsWith("accuracy") ? "max" : "min");

export const label = (metric) => model.data.metrics[metric]?.label
  ?? metric.replace(/_bytes$/, " (MB)").replaceAll("_", " ") + (metric.endsWith("accuracy") ? " (%)" : "");

/** A value with its metric's name and unit, such as `validation accuracy 78.3 %`. */
export function phrase(metric, value) {
  const [, name, unit] = label(metric).match(/^(.*?)(?: \((%|MB)\))?$/);
  return `${name} ${digits(value)}${unit ? ` ${unit}` : ""}`;
}

export const raw = (metric, i) => {
  const value = model.trials.own.metrics[metric]?.[i];
  return value === null || value === undefined ? NaN : value * scale(metric);
};

export function confirmed(metric, i) {
  const found = (model.trials.confirmations.get(i) ?? []).map((other) => raw(metric, other)).filter(Number.isFinite);
  return found.length ? spread(found) : { mean: raw(metric, i), deviation: NaN };
}

export function visible() {
  const { own, columns, confirmations } = model.trials;
  const wanted = model.data.studies.map((study) => state.studies.has(study.run));
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
export function frontOf(points) {
  const complete = points.filter(({ i }) => model.trials.own.state[i] === "complete");
  const searched = complete.map((p) => (p.seeds ? { ...p, x: raw(state.x, p.i), y: raw(state.y, p.i) } : p));
  const best = new Set(front(searched, mode(state.x), mode(state.y)).map((p) => p.i));
  const members = complete.filter((p) => best.has(p.i));
  const sure = members.filter((p) => p.seeds);
  return front(sure.length ? sure : members, mode(state.x), mode(state.y));
}

export function studyName(study) {
  if (!study) return "–";
  const alone = model.data.studies.filter((each) => each.name === study.name).length < 2;
  const sweep = (study.directory ?? "").split("/").pop() || new Date(study.began).toLocaleString();
  return alone ? study.name : `${study.name} (${sweep})`;
}

export function parsed(text) {
  try { return JSON.parse(text ?? "{}") ?? {}; } catch { return {}; }
}

/** The lite residual widths of a trial, by stage; one width for all is stage -1. */
export function widthsOf(i) {
  const own = Object.entries(model.trials.own.params).filter(([name, values]) => WIDTH.test(name) && values[i] !== null);
  return own.map(([name, values]) => [Number(name.split(".")[2] ?? -1), values[i]]).sort(([a], [b]) => a - b);
}

export function commands(i) {
  const { own } = model.trials;
  const directory = model.data.studies[own.study[i]]?.directory;
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
