// Dials: a slider for numbers, a box for words. Python draws; this file shows it and sends what was chosen.

function make(tag, className, ...children) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...children);
  return node;
}

function render({ model, el }) {
  const id = `featlab-dials-${Math.random().toString(36).slice(2)}`;
  const row = make("div", "featlab-dials-row");
  const picture = make("img", "featlab-dials-picture");
  const status = make("div", "featlab-dials-says");
  status.setAttribute("role", "status");
  const root = make("div", "featlab-dials", row, picture, status);
  let address = null;
  let busy = false; // the kernel draws one picture at a time: what is turned meanwhile is sent once, at its end

  const dials = model.get("choices").map(({ name, labels, numeric }, number) => {
    const dial = make(numeric ? "input" : "select", "featlab-dial");
    if (numeric) Object.assign(dial, { type: "range", min: 0, max: labels.length - 1, step: 1 });
    else dial.append(...labels.map((label, at) => new Option(label, at)));
    dial.id = `${id}-${number}`;
    dial.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab asks the focused element itself
    const label = make("label", "", `${name} `);
    label.htmlFor = dial.id;
    const shown = make("span", "featlab-dials-value"); // a screen reader has it as the value
    shown.setAttribute("aria-hidden", "true");
    row.append(make("span", "featlab-dials-one", label, dial, ...(numeric ? [shown] : [])));
    const say = () => {
      shown.textContent = labels[dial.value];
      if (numeric) dial.setAttribute("aria-valuetext", labels[dial.value]);
    };
    dial.addEventListener("input", () => (say(), send()));
    return { dial, turn: (at) => ((dial.value = at), say()) };
  });
  const turned = () => dials.map(({ dial }) => Number(dial.value));

  function send() {
    if (busy || String(turned()) === String(model.get("at"))) return;
    busy = true;
    model.send({ turn: turned() });
  }

  // a focused dial must not delete a cell on "d d"
  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") root.parentElement.closest("[tabindex]")?.focus();
  });

  function paint() {
    if (address) URL.revokeObjectURL(address);
    const png = model.get("picture");
    picture.hidden = !png?.byteLength;
    address = picture.hidden ? null : URL.createObjectURL(new Blob([png], { type: "image/png" }));
    if (address) picture.src = address;
    picture.alt = status.textContent = model.get("says");
    if (!busy) model.get("at").forEach((at, number) => dials[number].turn(at));
  }

  function heard() {
    busy = false;
    send();
    paint();
  }

  const listeners = { "change:says": paint, "change:picture": paint, "change:at": paint, "change:heard": heard };
  for (const [change, act] of Object.entries(listeners)) model.on(change, act);
  paint();
  el.append(root);
  return () => {
    if (address) URL.revokeObjectURL(address);
    for (const [change, act] of Object.entries(listeners)) model.off(change, act);
  };
}

export default { render };
