// Elements of the page, made of text: nothing that a run says is ever read as markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

export function anchor(href, text) {
  const found = make("a", text);
  found.href = href;
  return found;
}

export function fill(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })));
}

export function heading(text) {
  const cell = make("th", text);
  cell.scope = "col";
  return cell;
}

export function list(pairs) {
  const found = document.createElement("dl");
  for (const [name, value] of pairs) {
    if (value !== null && value !== "") found.append(make("dt", name), make("dd", value));
  }
  return found;
}

export function barRows(parts, text) {
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

/** A button that asks for a trial's panel. */
export function link(name, run) {
  const button = make("button", name);
  button.type = "button";
  button.onclick = () => say("choose", run);
  return button;
}

/** Tells whoever listens; modules call each other only downwards. */
export function say(what, detail) {
  document.dispatchEvent(new CustomEvent(what, { detail }));
}
