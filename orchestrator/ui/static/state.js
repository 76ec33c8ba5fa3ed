// What is shown, and the address that says it.

export function read(query) {
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

export const state = read(new URLSearchParams(location.search));

export function remember() {
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
