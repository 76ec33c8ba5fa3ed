// What the page computes of trials: no DOM, no network.

/** @returns whether `one` is at least as good as `other` in both, by modes "max" and "min". */
const noWorse = (one, other, mode) => (mode === "max" ? one >= other : one <= other);

/**
 * The points that no other dominates, from the best x on; of equal ones the first stays.
 * @param {{x: number, y: number, i: number}[]} points
 */
export function front(points, xMode, yMode) {
  const bestX = (a, b) => (xMode === "max" ? b - a : a - b);
  const bestY = (a, b) => (yMode === "max" ? b - a : a - b);
  const order = [...points].sort((a, b) => bestX(a.x, b.x) || bestY(a.y, b.y) || a.i - b.i);
  const kept = [];
  for (const point of order) {
    const last = kept[kept.length - 1];
    if (!last || !noWorse(last.y, point.y, yMode)) kept.push(point);
  }
  return kept;
}

/** The hypervolume after each point, counted from `corner`; points beyond it add nothing. */
export function hypervolumes(points, xMode, yMode, corner) {
  let best = [];
  let volume = 0;
  return points.map((point) => {
    const gains =
      Number.isFinite(point.x + point.y) &&
      noWorse(point.x, corner.x, xMode) &&
      noWorse(point.y, corner.y, yMode) &&
      !best.some((b) => noWorse(b.x, point.x, xMode) && noWorse(b.y, point.y, yMode));
    if (gains) {
      best = front([...best, point], xMode, yMode);
      volume = area(best, corner);
    }
    return volume;
  });
}

function area(best, corner) {
  return best.reduce((sum, point, k) => {
    const nextX = k + 1 < best.length ? best[k + 1].x : corner.x;
    return sum + Math.abs(nextX - point.x) * Math.abs(point.y - corner.y);
  }, 0);
}

/** The member of a front that is best in y within the budget of x, or undefined. */
export function bestWithin(best, budget, xMode, yMode) {
  return best
    .filter((point) => noWorse(point.x, budget, xMode))
    .reduce((a, b) => (a && noWorse(a.y, b.y, yMode) ? a : b), undefined);
}

/** Mean and standard deviation; the deviation of fewer than two is NaN. */
export function spread(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : NaN };
}

/** The factor from a metric's unit to the one that people read: MB, percent. */
export function scale(metric) {
  if (metric.endsWith("_bytes")) return 1e-6;
  return metric.endsWith("accuracy") ? 100 : 1;
}

/** Three significant digits, but never fewer than the whole part. */
export function digits(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const places = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(places, 12));
}

/** A param as a cell shows it: numbers with no more than four digits, `1e-3` as `0.001`. */
export function brief(value) {
  if (value === null || value === undefined) return "";
  return value !== "" && Number.isFinite(Number(value)) ? String(Number(Number(value).toPrecision(4))) : String(value);
}

/**
 * How a column is filtered: by a range where it has many numbers, by choices elsewhere.
 * @returns {{name: string, kind: "range" | "choice", values: any[]}}
 */
export function describe(name, values) {
  const present = [...new Set(values.filter((value) => value !== null && value !== undefined))];
  const numeric = present.length > 0 && present.every((v) => v !== "" && Number.isFinite(Number(v)));
  if (numeric) present.sort((a, b) => Number(a) - Number(b));
  else present.sort();
  const coarse = numeric && present.every((value) => Number.isInteger(4 * Number(value)));
  const kind = numeric && present.length > (coarse ? 12 : 4) ? "range" : "choice";
  return { name, kind, numeric, values: present };
}

/** Whether a trial's value passes a filter: {low, high}, a Set of texts, or none. */
export function passes(filter, value) {
  if (!filter) return true;
  if (filter instanceof Set) return filter.has(value === null || value === undefined ? "" : String(value));
  if (value === null || value === undefined) return false;
  const number = Number(value);
  return number >= filter.low && number <= filter.high;
}

/** Lays what the data route said of several experiments behind one another. */
export function merge(parts) {
  const { metrics, paper } = parts[0].data;
  const studies = [];
  const trials = { run: [], name: [], study: [], state: [], confirms: [], began: [], params: {}, metrics: {}, tags: {} };
  for (const { experiment, data } of parts) {
    const [before, first] = [trials.run.length, studies.length];
    studies.push(...data.studies.map((study) => ({ ...study, experiment })));
    for (const name of ["run", "name", "state", "confirms", "began"]) trials[name] = trials[name].concat(data.trials[name]);
    trials.study = trials.study.concat(data.trials.study.map((study) => (study === null ? null : study + first)));
    const none = (count) => new Array(count).fill(null);
    for (const kind of ["params", "metrics", "tags"]) {
      for (const [name, values] of Object.entries(data.trials[kind])) trials[kind][name] = (trials[kind][name] ?? none(before)).concat(values);
      for (const name in trials[kind]) if (trials[kind][name].length < trials.run.length) trials[kind][name] = trials[kind][name].concat(none(trials.run.length - trials[kind][name].length));
    }
  }
  return { metrics, paper, studies, trials };
}

/** Text for spreadsheets; what they would take for a formula is marked as text. */
export function csv(rows) {
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : String(value);
    if (/^[=+@\t\r]/.test(text) || (/^-/.test(text) && !Number.isFinite(Number(text)))) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
}
