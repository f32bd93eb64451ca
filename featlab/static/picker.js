// The layer picker's live face. Python decides what is picked and draws the pictures; this file shows and asks.

const ROW = 24; // pixels
const SHOWN = 16; // rows on the screen at first
const OPENED = 40; // at most so many rows are open at first

function make(tag, className, ...children) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...children);
  return node;
}

// JupyterLab asks the focused element itself, not its ancestors, whether its shortcuts are wanted
function focusable(node) {
  node.setAttribute("data-lm-suppress-shortcuts", "true");
  return node;
}

const longest = (texts) => texts.reduce((most, text) => Math.max(most, text.length), 0);

function attributes(node, values) {
  for (const [name, value] of Object.entries(values)) {
    if (value === null) node.removeAttribute(name);
    else node.setAttribute(name, value);
  }
  return node;
}

// columns of numbers that point into one list of words -> what the tree needs to know of each row
function unpack(sent) {
  const { depths, words } = sent;
  const count = depths.length;
  const texts = (column) => sent[column].map((index) => words[index]);
  const [parts, kinds, sizes, outputs, marks] = ["names", "kinds", "sizes", "outputs", "marks"].map(texts);
  const names = [], parents = [], ends = new Array(count).fill(count), places = [], siblings = new Map(), path = [];
  for (let row = 0; row < count; row += 1) {
    while (path.length > depths[row]) ends[path.pop()] = row;
    const parent = path.length ? path[path.length - 1] : -1;
    parents.push(parent);
    names.push(parent < 0 ? parts[row] : `${names[parent]}.${parts[row]}`);
    siblings.set(parent, (siblings.get(parent) ?? 0) + 1);
    places.push(siblings.get(parent));
    path.push(row);
  }
  const wanted = names.map((name, row) => `${name} ${kinds[row]}`.toLowerCase());
  return { count, depths, parts, kinds, sizes, outputs, marks, names, parents, ends, places, siblings, wanted,
           at: new Map(names.map((name, row) => [name, row])) };
}

// the text cut into pieces, those that were searched for as <mark>
function marked(text, terms) {
  const lower = text.toLowerCase();
  const found = terms.map((term) => [lower.indexOf(term), term.length]).filter(([start]) => start >= 0).sort((a, b) => a[0] - b[0]);
  const pieces = [];
  let done = 0;
  for (const [start, length] of found) {
    if (start < done) continue;
    pieces.push(text.slice(done, start), make("mark", "", text.slice(start, start + length)));
    done = start + length;
  }
  return [...pieces, text.slice(done)];
}

function render({ model, el }) {
  const id = `featlab-picker-${Math.random().toString(36).slice(2)}`;
  let tree, visible = [], terms = [], cursor = 0, picked = new Set(), opened = new Set();

  const title = make("div", "featlab-title");
  title.id = `${id}-title`;
  const search = focusable(make("input", "featlab-search"));
  attributes(search, { type: "search", placeholder: "Search names and classes  ( / )", "aria-label": "Search names and classes",
                       "aria-controls": `${id}-tree`, autocomplete: "off", spellcheck: "false" });
  const heads = make("div", "featlab-heads", ...["name", "class", "params", "output", "marks"].map((word) => make("span", `featlab-${word}`, word)));
  heads.setAttribute("aria-hidden", "true");
  const pad = make("div", "featlab-pad");
  pad.setAttribute("role", "presentation");
  const scroller = focusable(make("div", "featlab-tree", pad));
  scroller.id = `${id}-tree`;
  attributes(scroller, { role: "tree", tabindex: "0", "aria-multiselectable": "true", "aria-labelledby": title.id });
  const status = make("span", "featlab-count");
  status.setAttribute("role", "status");
  const keys = make("span", "featlab-keys", "↑ ↓ move · ← → fold · Enter pick · Space add · / search · Esc leave");
  const trouble = make("div", "featlab-trouble");
  trouble.setAttribute("role", "alert");
  const left = make("div", "featlab-left", search, make("div", "featlab-frame", heads, scroller), make("div", "featlab-foot", status, keys));
  const panel = showPanel(model, ask);
  const root = make("div", "featlab-picker", title, trouble, make("div", "featlab-sides", left, panel.node));
  let waiting = [];

  function ask(content) {
    heard();
    waiting = [
      setTimeout(() => panel.wait("Looking…"), 250),
      setTimeout(() => panel.wait("Waiting for the kernel: it may be busy. If it was restarted, run this cell again."), 3000),
    ];
    try {
      model.send(content);
    } catch {
      heard();
      panel.wait("The kernel does not know this picker any more: run this cell again.");
    }
  }

  function heard() {
    waiting.forEach(clearTimeout);
    waiting = [];
    panel.wait("");
  }

  // ---- which rows there are

  const isParent = (row) => tree.ends[row] > row + 1;
  const rowOf = (name) => tree.at.get(name) ?? tree.at.get(name?.replace(/_\d+$/, "")) ?? -1;

  function readTree() {
    const before = tree && new Set([...opened].map((row) => tree.names[row]));
    tree = unpack(model.get("tree"));
    title.textContent = model.get("tree").title;
    trouble.textContent = model.get("tree").error;
    opened = new Set();
    if (before) tree.names.forEach((name, row) => before.has(name) && opened.add(row));
    else openAtFirst();
    // columns as wide as their longest word, so that rows line up though each is laid out alone
    for (const [column, most] of [["kinds", 20], ["outputs", 20], ["marks", 26]]) {
      root.style.setProperty(`--${column}`, `${0.86 * Math.min(most, Math.max(6, longest(tree[column])))}ch`);
    }
    root.style.setProperty("--names", `${Math.min(36, longest(tree.names))}ch`);
    scroller.style.height = `${Math.min(SHOWN, Math.max(4, tree.count)) * ROW}px`;
    cursor = Math.min(cursor, Math.max(0, tree.count - 1));
    readPicked();
    reveal(rowOf(model.get("value")));
  }

  function openAtFirst() {
    for (let depth = 0, rows = tree.depths.filter((d) => d === 0).length; ; depth += 1) {
      const level = tree.depths.flatMap((d, row) => (d === depth && isParent(row) ? [row] : []));
      rows += tree.depths.filter((d) => d === depth + 1).length;
      if (!level.length || rows > OPENED) return;
      level.forEach((row) => opened.add(row));
    }
  }

  function readPicked() {
    picked = new Set(model.get("names").map(rowOf));
  }

  function list() {
    visible = [];
    if (terms.length) {
      for (let row = 0; row < tree.count; row += 1) if (terms.every((term) => tree.wanted[row].includes(term))) visible.push(row);
    } else {
      for (let row = 0; row < tree.count; row = opened.has(row) ? row + 1 : tree.ends[row]) visible.push(row);
    }
    left.classList.toggle("featlab-flat", terms.length > 0);
    pad.style.height = `${visible.length * ROW}px`;
    count();
  }

  function count() {
    const many = `${tree.count.toLocaleString("en")} submodules`;
    const found = terms.length ? `${visible.length.toLocaleString("en")} of ${many} match` : many;
    const text = picked.size > 1 ? `${found} · ${picked.size} picked` : found;
    if (status.textContent !== text) status.textContent = text;
  }

  // ---- drawing: only the rows on the screen, and the one that has the cursor

  const nodes = new Map();

  function paint() {
    const height = scroller.clientHeight || SHOWN * ROW;
    const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - 3);
    const last = Math.min(visible.length, Math.ceil((scroller.scrollTop + height) / ROW) + 3);
    const places = Array.from({ length: Math.max(0, last - first) }, (_, i) => first + i);
    const here = visible.indexOf(cursor);
    if (here >= 0 && here < first) places.unshift(here);
    if (here >= last) places.push(here);
    const kept = new Map();
    for (const place of places) {
      const row = visible[place];
      kept.set(row, dress(nodes.get(row) ?? newRow(row), row, place));
    }
    nodes.clear();
    kept.forEach((node, row) => nodes.set(row, node));
    const wanted = [...kept.values()];
    if (wanted.length !== pad.childNodes.length || wanted.some((node, i) => node !== pad.childNodes[i])) pad.replaceChildren(...wanted);
    attributes(scroller, { "aria-activedescendant": here >= 0 ? `${id}-row-${cursor}` : null });
  }

  function newRow(row) {
    const texts = [["class", tree.kinds], ["params", tree.sizes], ["output", tree.outputs], ["marks", tree.marks]];
    const cells = texts.map(([name, column]) => make("span", `featlab-${name}`, column[row]));
    cells.forEach((cell) => (cell.title = cell.textContent));
    const node = make("div", "featlab-row", make("span", "featlab-name"), ...cells);
    node.id = `${id}-row-${row}`;
    node.dataset.row = row;
    const said = [tree.names[row], tree.kinds[row], tree.sizes[row] && `${tree.sizes[row]} parameters`, tree.outputs[row], tree.marks[row]];
    attributes(node, { role: "treeitem", "aria-label": said.filter(Boolean).join(", ") });
    return node;
  }

  function dress(node, row, place) {
    const flat = terms.length > 0, parent = tree.parents[row], folds = !flat && isParent(row);
    node.style.top = `${place * ROW}px`;
    node.classList.toggle("featlab-cursor", row === cursor);
    node.classList.toggle("featlab-shown", row === rowOf(model.get("value")));
    attributes(node, {
      "aria-selected": String(picked.has(row)),
      "aria-level": flat ? 1 : tree.depths[row] + 1,
      "aria-setsize": flat ? visible.length : tree.siblings.get(parent),
      "aria-posinset": flat ? place + 1 : tree.places[row],
      "aria-expanded": folds ? String(opened.has(row)) : null,
    });
    const look = `${flat ? terms.join(" ") : ""}|${folds && opened.has(row)}|${picked.has(row)}`;
    if (node.dataset.look !== look) {
      node.dataset.look = look;
      const cell = node.firstChild;
      cell.title = tree.names[row];
      cell.style.paddingLeft = `${flat ? 0 : tree.depths[row] * 14}px`;
      const fold = make("span", "featlab-fold", folds ? (opened.has(row) ? "▾" : "▸") : "");
      const above = flat && parent >= 0 ? [make("span", "featlab-above", ...marked(`${tree.names[parent]}.`, terms))] : [];
      const part = make("span", "featlab-part", ...(flat ? marked(tree.parts[row], terms) : [tree.parts[row]]));
      cell.replaceChildren(make("span", "featlab-tick", picked.has(row) ? "✓" : ""), fold, ...above, part);
    }
    return node;
  }

  // ---- moving

  function redraw() {
    list();
    paint();
  }

  function go(row) {
    if (row === undefined || row < 0) return;
    cursor = row;
    const top = visible.indexOf(row) * ROW, height = scroller.clientHeight || SHOWN * ROW;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    if (top + ROW > scroller.scrollTop + height) scroller.scrollTop = top + ROW - height;
    paint();
  }

  // open what is above a row, so that it can be seen
  function reveal(row) {
    if (row < 0) return redraw();
    for (let above = tree.parents[row]; above >= 0; above = tree.parents[above]) opened.add(above);
    list();
    if (!visible.includes(row)) setSearch("");
    go(row);
  }

  function fold(row, open) {
    if (!isParent(row) || terms.length) return false;
    if (opened.has(row) === open) return false;
    if (open) opened.add(row);
    else opened.delete(row);
    list();
    go(row);
    return true;
  }

  function setSearch(text) {
    search.value = text;
    const before = terms.length > 0;
    terms = text.toLowerCase().split(/\s+/).filter(Boolean);
    list();
    if (before && !terms.length) return reveal(cursor);
    if (terms.length && !visible.includes(cursor)) {
      scroller.scrollTop = 0;
      cursor = visible[0] ?? cursor;
    }
    return go(visible.includes(cursor) ? cursor : -1) ?? paint();
  }

  function pick(row, add) {
    if (row === undefined || !visible.includes(row)) return;
    go(row);
    ask(add ? { toggle: tree.names[row] } : { pick: tree.names[row] });
  }

  // ---- acting

  const plain = (event) => !(event.ctrlKey || event.metaKey || event.altKey);

  function onTreeKey(event) {
    const here = visible.indexOf(cursor), page = Math.max(1, Math.floor(scroller.clientHeight / ROW) - 1), last = visible.length - 1;
    const move = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: last, PageDown: here + page, PageUp: here - page }[event.key];
    if (!plain(event)) return;
    if (move !== undefined) go(visible[Math.max(0, Math.min(last, move))]);
    else if (event.key === "ArrowRight") fold(cursor, true) || (isParent(cursor) && !terms.length && go(cursor + 1));
    else if (event.key === "ArrowLeft") fold(cursor, false) || (!terms.length && go(tree.parents[cursor]));
    else if (event.key === "Enter" && !event.shiftKey) pick(cursor, false);
    else if (event.key === " ") pick(cursor, true);
    else if (event.key === "/") search.focus();
    else if (event.key === "Escape") escape();
    else return;
    event.preventDefault();
  }

  function onSearchKey(event) {
    if (!plain(event)) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") scroller.focus();
    else if (event.key === "Enter" && !event.shiftKey) pick(cursor, false);
    else if (event.key === "Escape") escape();
    else return;
    event.preventDefault();
  }

  // first out of the search, then out of the widget
  function escape() {
    if (search.value) setSearch("");
    else if (document.activeElement === search) scroller.focus();
    else root.parentElement.closest("[tabindex]")?.focus();
  }

  scroller.addEventListener("keydown", onTreeKey);
  search.addEventListener("keydown", onSearchKey);
  search.addEventListener("input", () => setSearch(search.value));
  scroller.addEventListener("scroll", paint, { passive: true });
  scroller.addEventListener("click", (event) => {
    const node = event.target.closest(".featlab-row");
    if (!node) return;
    const row = Number(node.dataset.row);
    if (event.target.closest(".featlab-fold") && fold(row, !opened.has(row))) return;
    pick(row, event.ctrlKey || event.metaKey || event.shiftKey);
  });
  scroller.addEventListener("dblclick", (event) => {
    const node = event.target.closest(".featlab-row");
    if (node && !event.target.closest(".featlab-fold")) fold(Number(node.dataset.row), !opened.has(Number(node.dataset.row)));
  });
  // a focused tree must not delete a cell on "d d"; Shift-Enter runs cells elsewhere, so here it does nothing
  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && !(plain(event) && !event.shiftKey)) event.preventDefault();
  });

  const on = {
    "change:tree": readTree,
    "change:names": () => (readPicked(), redraw()),
    "change:value": () => (rowOf(model.get("value")) === cursor ? paint() : reveal(rowOf(model.get("value")))),
    "change:panel": panel.paint,
    "change:heard": heard,
  };
  for (const [change, act] of Object.entries(on)) model.on(change, act);
  readTree();
  panel.paint();
  el.append(root);
  const size = new ResizeObserver(() => {
    heads.style.paddingRight = `calc(0.4rem + ${scroller.offsetWidth - scroller.clientWidth}px)`;
    paint();
  });
  size.observe(scroller);
  return () => {
    heard();
    size.disconnect();
    panel.close();
    for (const [change, act] of Object.entries(on)) model.off(change, act);
  };
}

// ---- what is picked: one picture and one line of numbers, the rest on request

function showPanel(model, ask) {
  const name = make("span", "featlab-picked"), kind = make("span", "featlab-kind");
  const line = make("div", "featlab-line");
  line.setAttribute("role", "status");
  const image = make("img", "featlab-image"), caption = make("div", "featlab-caption"), wait = make("div", "featlab-wait");
  const summary = focusable(make("summary", "", "More: histogram, input, other images"));
  const steps = make("div", "featlab-steps"), facts = make("dl", "featlab-facts"), histogram = make("div", "featlab-histogram");
  const more = make("details", "featlab-more", summary, steps, histogram, facts);
  const node = make("div", "featlab-panel", make("div", "featlab-head", name, kind), line, image, caption, wait, more);
  let url = null, asked = false;

  more.addEventListener("toggle", () => {
    const now = Boolean(model.get("panel").more);
    if (more.open !== now && more.open !== asked) ask({ more: more.open });
    asked = more.open;
  });

  function button(text, label, content) {
    const node = focusable(make("button", "", text));
    attributes(node, { type: "button", "aria-label": label });
    node.addEventListener("click", () => ask(content));
    return node;
  }

  function stepper({ key, of, text }) {
    const node = make("div", "featlab-step");
    node.dataset.step = key;
    node.append(
      button("‹", `previous ${key}`, { step: key, by: -1 }),
      button("›", `next ${key}`, { step: key, by: 1 }),
      make("span", "", text),
    );
    return of > 1 ? node : "";
  }

  function paint() {
    const now = model.get("panel");
    name.textContent = now.name ?? "";
    kind.textContent = now.kind ?? "";
    line.replaceChildren(...(now.line ? now.line.split(" · ").flatMap((part, i) => [i ? " · " : "", make("span", "", part)]) : [now.says ?? ""]));
    line.classList.toggle("featlab-says", !now.line);
    caption.textContent = now.caption ?? "";
    more.hidden = !now.line;
    if (url) URL.revokeObjectURL(url);
    url = now.png?.byteLength ? URL.createObjectURL(new Blob([now.png], { type: "image/png" })) : null;
    image.hidden = !url;
    attributes(image, { src: url, alt: now.alt ?? "" });
    paintMore(now);
  }

  function paintMore(now) {
    const focused = steps.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    steps.replaceChildren(...(now.steps ?? []).map(stepper));
    if (focused) steps.querySelector(`[aria-label="${focused}"]`)?.focus();
    if (now.line) {
      asked = Boolean(now.more);
      more.open = asked;
    }
    facts.replaceChildren(...(now.more?.facts ?? []).flatMap(([term, text]) => [make("dt", "", term), make("dd", "", text)]));
    histogram.replaceChildren(...(now.more?.histogram?.counts ? drawn(now.more.histogram) : []));
  }

  function drawn({ counts, words }) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), most = Math.max(...counts);
    attributes(svg, { viewBox: `0 0 ${counts.length} 100`, preserveAspectRatio: "none", role: "img", "aria-label": words });
    counts.forEach((value, i) => {
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect"), height = (100 * value) / most;
      svg.append(attributes(bar, { x: i + 0.06, width: 0.88, y: 100 - height, height }));
    });
    return [svg, make("div", "featlab-caption", words)];
  }

  return {
    node,
    paint,
    wait: (text) => (wait.textContent = text),
    close: () => url && URL.revokeObjectURL(url),
  };
}

export default { render };
