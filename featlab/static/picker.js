// The layer picker's live face. Python decides what is picked and draws the pictures; this file shows and asks.
// It follows tree.js in one script.

const PICKER = {
  className: "featlab-picker",
  columns: [
    { key: "kinds", name: "class", head: "class", most: 20 },
    { key: "sizes", name: "params", head: "params", most: 0 },
    { key: "outputs", name: "output", head: "output", most: 20 },
    { key: "marks", name: "marks", head: "marks", most: 26 },
  ],
  hint: "Search names and classes",
  keysHint: "↑ ↓ move · ← → fold · Enter pick · Space add · / search · Esc leave",
  many: true,
  say: (tree, row) => [tree.names[row], tree.kinds[row], tree.sizes[row] && `${tree.sizes[row]} parameters`, tree.outputs[row], tree.marks[row]],
  aside: showPanel,
};

const render = ({ model, el }) => showTree({ model, el, ...PICKER });

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
