// The tree of submodules that the picker and the inspector share: search, fold, move and pick, by mouse and keyboard.
// It stands in front of either's own file, in one script.

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
function unpack(sent, columns) {
  const { depths, words } = sent;
  const count = depths.length;
  const texts = (column) => sent[column].map((index) => words[index]);
  const parts = texts("names"), kinds = texts("kinds");
  const shown = Object.fromEntries(columns.map(({ key }) => [key, texts(key)]));
  const names = [], parents = [], ends = new Array(count).fill(count), places = [], siblings = new Map(), path = [];
  for (let row = 0; row < count; row += 1) {
    while (path.length > depths[row]) ends[path.pop()] = row;
    const parent = path.length ? path[path.length - 1] : -1;
    parents.push(parent);
    // a row for the model itself has the name ""
    if (parent < 0) names.push(sent.rooted ? "" : parts[row]);
    else names.push(names[parent] ? `${names[parent]}.${parts[row]}` : parts[row]);
    siblings.set(parent, (siblings.get(parent) ?? 0) + 1);
    places.push(siblings.get(parent));
    path.push(row);
  }
  const wanted = names.map((name, row) => `${name} ${kinds[row]}`.toLowerCase());
  return { ...shown, sent, count, depths, parts, names, parents, ends, places, siblings, wanted,
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

// columns: what stands beside the name, each { key: in the tree, name: of its CSS class, head: over it, most: its width
// in letters or 0 }; many: whether several can be picked; say: the row in words; aside: what is beside the tree, which
// gets `model` and `ask`, and has a `node`, `paint`, `wait` and `close`
function showTree({ model, el, className, columns, hint, keysHint, many, say, aside }) {
  const id = `featlab-tree-${Math.random().toString(36).slice(2)}`;
  let tree, visible = [], terms = [], filter = null, cursor = 0, picked = new Set(), opened = new Set();
  const pen = document.createElement("canvas").getContext("2d"); // it measures words
  const flat = () => terms.length > 0 || filter !== null;

  const title = make("div", "featlab-title");
  title.id = `${id}-title`;
  const search = focusable(make("input", "featlab-search"));
  attributes(search, { type: "search", placeholder: `${hint}  ( / )`, "aria-label": hint,
                       "aria-controls": `${id}-tree`, autocomplete: "off", spellcheck: "false" });
  const heads = make("div", "featlab-heads", ...[{ name: "name", head: "name" }, ...columns].map(({ name, head }) => make("span", `featlab-${name}`, head)));
  heads.setAttribute("aria-hidden", "true");
  const pad = make("div", "featlab-pad");
  pad.setAttribute("role", "presentation");
  const scroller = focusable(make("div", "featlab-tree", pad));
  scroller.id = `${id}-tree`;
  attributes(scroller, { role: "tree", tabindex: "0", "aria-multiselectable": String(many), "aria-labelledby": title.id });
  const status = make("span", "featlab-count");
  status.setAttribute("role", "status");
  const keys = make("span", "featlab-keys", keysHint);
  const trouble = make("div", "featlab-trouble");
  trouble.setAttribute("role", "alert");
  const left = make("div", "featlab-left", search, make("div", "featlab-frame", heads, scroller), make("div", "featlab-foot", status, keys));
  const panel = aside(model, ask);
  const root = make("div", className, title, trouble, make("div", "featlab-sides", left, panel.node));
  let waiting = [], due = 0; // timers, and how many acts the kernel has not answered yet

  function ask(content) {
    heard();
    due += 1;
    waiting = [
      setTimeout(() => panel.wait("Looking…"), 250),
      setTimeout(() => panel.wait("Waiting for the kernel: it may be busy. If it was restarted, run this cell again."), 3000),
    ];
    try {
      model.send(content);
    } catch {
      answered();
      panel.wait("The kernel does not know this widget any more: run this cell again.");
    }
  }

  function heard() {
    waiting.forEach(clearTimeout);
    waiting = [];
    panel.wait("");
  }

  function answered() {
    due = Math.max(0, due - 1);
    if (!due) heard();
  }

  // ---- which rows there are

  const isParent = (row) => tree.ends[row] > row + 1;
  const rowOf = (name) => tree.at.get(name) ?? tree.at.get(name?.replace(/_\d+$/, "")) ?? -1;

  function readTree() {
    const before = tree && new Set([...opened].map((row) => tree.names[row])), there = tree?.names[cursor];
    tree = unpack(model.get("tree"), columns);
    nodes.clear();
    title.textContent = model.get("tree").title;
    trouble.textContent = model.get("tree").error;
    opened = new Set();
    if (before) tree.names.forEach((name, row) => before.has(name) && opened.add(row));
    else openAtFirst();
    root.style.setProperty("--names", `${Math.min(36, longest(tree.names))}ch`);
    scroller.style.height = `${Math.min(SHOWN, Math.max(4, tree.count)) * ROW}px`;
    cursor = tree.at.get(there) ?? Math.min(cursor, Math.max(0, tree.count - 1));
    readPicked();
    if (before) redraw(); // what somebody is searching for stays
    else reveal(rowOf(model.get("value")));
    fit();
  }

  // columns as wide as their widest word, so that rows line up though each is laid out alone; a page knows its fonts
  // once this is on it
  function fit() {
    const cells = nodes.values().next().value?.children;
    if (!cells || !root.isConnected) return;
    columns.forEach(({ key, head, most }, at) => {
      const { fontWeight, fontSize, fontFamily } = getComputedStyle(cells[at + 1]);
      pen.font = `${fontWeight} ${fontSize} ${fontFamily}`;
      const widths = [...new Set([head, ...tree[key]])].map((text) => pen.measureText(text.slice(0, most)).width);
      if (most) root.style.setProperty(`--${key}`, `${Math.ceil(Math.max(...widths)) + 1}px`);
    });
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
    if (flat()) {
      const fits = (row) => (filter === null || filter(tree, row)) && terms.every((term) => tree.wanted[row].includes(term));
      for (let row = 0; row < tree.count; row += 1) if (fits(row)) visible.push(row);
    } else {
      for (let row = 0; row < tree.count; row = opened.has(row) ? row + 1 : tree.ends[row]) visible.push(row);
    }
    left.classList.toggle("featlab-flat", flat());
    pad.style.height = `${visible.length * ROW}px`;
    count();
  }

  function count() {
    const many = `${tree.count.toLocaleString("en")} submodules`;
    const found = flat() ? `${visible.length.toLocaleString("en")} of ${many} match` : many;
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
    const cells = columns.map(({ key, name }) => make("span", `featlab-${name}`, tree[key][row]));
    cells.forEach((cell) => (cell.title = cell.textContent));
    const node = make("div", "featlab-row", make("span", "featlab-name"), ...cells);
    node.id = `${id}-row-${row}`;
    node.dataset.row = row;
    attributes(node, { role: "treeitem", "aria-label": say(tree, row).filter(Boolean).join(", ") });
    return node;
  }

  function dress(node, row, place) {
    const isFlat = flat(), parent = tree.parents[row], folds = !isFlat && isParent(row);
    node.style.top = `${place * ROW}px`;
    node.classList.toggle("featlab-cursor", row === cursor);
    node.classList.toggle("featlab-shown", row === rowOf(model.get("value")));
    attributes(node, {
      "aria-selected": String(picked.has(row)),
      "aria-level": isFlat ? 1 : tree.depths[row] + 1,
      "aria-setsize": isFlat ? visible.length : tree.siblings.get(parent),
      "aria-posinset": isFlat ? place + 1 : tree.places[row],
      "aria-expanded": folds ? String(opened.has(row)) : null,
    });
    const look = `${isFlat ? `flat ${terms.join(" ")}` : ""}|${folds && opened.has(row)}|${picked.has(row)}`;
    if (node.dataset.look !== look) {
      node.dataset.look = look;
      const cell = node.firstChild;
      cell.title = tree.names[row];
      cell.style.paddingLeft = `${isFlat ? 0 : tree.depths[row] * 14}px`;
      const fold = make("span", "featlab-fold", folds ? (opened.has(row) ? "▾" : "▸") : "");
      const above = isFlat && tree.names[parent] ? [make("span", "featlab-above", ...marked(`${tree.names[parent]}.`, terms))] : [];
      const part = make("span", "featlab-part", ...(isFlat ? marked(tree.parts[row], terms) : [tree.parts[row]]));
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
    if (!visible.includes(row) && terms.length) setSearch("");
    go(row);
  }

  function fold(row, open) {
    if (!isParent(row) || flat()) return false;
    if (opened.has(row) === open) return false;
    if (open) opened.add(row);
    else opened.delete(row);
    list();
    go(row);
    return true;
  }

  function setSearch(text) {
    search.value = text;
    const before = flat();
    terms = text.toLowerCase().split(/\s+/).filter(Boolean);
    return listed(before);
  }

  function setFilter(wanted) {
    const before = flat();
    filter = wanted;
    return listed(before);
  }

  function listed(before) {
    list();
    if (before && !flat()) return reveal(cursor);
    if (flat() && !visible.includes(cursor)) {
      scroller.scrollTop = 0;
      cursor = visible[0] ?? cursor;
    }
    return go(visible.includes(cursor) ? cursor : -1) ?? paint();
  }

  function pick(row, add) {
    if (row === undefined || !visible.includes(row)) return;
    go(row);
    ask(add && many ? { toggle: tree.names[row] } : { pick: tree.names[row] });
  }

  // ---- acting

  const plain = (event) => !(event.ctrlKey || event.metaKey || event.altKey);

  function onTreeKey(event) {
    const here = visible.indexOf(cursor), page = Math.max(1, Math.floor(scroller.clientHeight / ROW) - 1), last = visible.length - 1;
    const move = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: last, PageDown: here + page, PageUp: here - page }[event.key];
    if (!plain(event)) return;
    if (move !== undefined) go(visible[Math.max(0, Math.min(last, move))]);
    else if (event.key === "ArrowRight") fold(cursor, true) || (isParent(cursor) && !flat() && go(cursor + 1));
    else if (event.key === "ArrowLeft") fold(cursor, false) || (!flat() && go(tree.parents[cursor]));
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
    // a cell moves the widget to its row; the answer to an act must not, since its user may be searching on already
    "change:value": () => (due || rowOf(model.get("value")) === cursor ? paint() : reveal(rowOf(model.get("value")))),
    "change:panel": panel.paint,
    "change:heard": () => queueMicrotask(answered), // after all else that came with it
  };
  for (const [change, act] of Object.entries(on)) model.on(change, act);
  readTree();
  panel.paint();
  el.append(root);
  const size = new ResizeObserver(() => {
    heads.style.paddingRight = `calc(0.4rem + ${scroller.offsetWidth - scroller.clientWidth}px)`;
    paint();
    fit();
  });
  size.observe(scroller);
  panel.filter?.(setFilter);
  return () => {
    heard();
    size.disconnect();
    panel.close();
    for (const [change, act] of Object.entries(on)) model.off(change, act);
  };
}
