// The live face of a prediction. Python decides what is locked; this file shows it and sends what was chosen.

const LETTERS = "abcdefghi";

function make(tag, className, ...children) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...children);
  return node;
}

// `code` between backticks, as text nodes only: a wording is never HTML
function words(text) {
  const parts = text.split("`");
  if (parts.length % 2 === 0) return [text];
  return parts.map((part, i) => (i % 2 ? make("code", "", part) : part)).filter((part) => part !== "");
}

// JupyterLab asks the focused element itself, not its ancestors, whether its shortcuts are wanted
function focusable(node) {
  node.setAttribute("data-lm-suppress-shortcuts", "true");
  return node;
}

function render({ model, el }) {
  const id = `featlab-question-${Math.random().toString(36).slice(2)}`;
  const open = () => model.get("state") === "open";
  let waiting = null;

  const title = make("div", "featlab-title", "Predict: ", ...words(model.get("question")));
  title.id = `${id}-title`;
  const group = make("div", "featlab-answers");
  group.setAttribute("role", "group");
  group.setAttribute("aria-labelledby", title.id);
  const status = make("div", "featlab-status");
  status.setAttribute("role", "status");
  const root = make("div", "featlab-question", title, group, status);

  function lock(answer) {
    if (!open() || waiting) return;
    model.send({ lock: answer });
    waiting = setTimeout(() => {
      status.textContent = "Waiting for the kernel. If it was restarted, run this cell again.";
    }, 1000);
  }

  function button(className, ...children) {
    const node = focusable(make("button", className, ...children));
    node.type = "button";
    group.append(node);
    return node;
  }

  const paintAnswers = model.get("numeric") ? numberField() : lettered();

  function lettered() {
    const buttons = model.get("options").map((wording, i) => {
      const node = button("featlab-option", `${LETTERS[i]}) `, ...words(wording), make("span", "featlab-mark"));
      node.dataset.choice = LETTERS[i];
      node.addEventListener("click", () => lock(LETTERS[i]));
      return node;
    });
    group.addEventListener("keydown", (event) => {
      const at = buttons.indexOf(event.target);
      const move = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
      const letter = event.repeat || hasModifier(event) ? null : buttons.find((node) => node.dataset.choice === event.key.toLowerCase());
      if (move !== undefined) buttons.at(move % buttons.length).focus();
      else if (letter) lock(letter.dataset.choice);
      else return;
      event.preventDefault();
    });
    return (chosen) => {
      for (const node of buttons) {
        const mine = node.dataset.choice === chosen;
        node.setAttribute("aria-disabled", String(!open()));
        node.classList.toggle("featlab-chosen", mine);
        node.lastChild.textContent = mine ? " · Locked" : "";
      }
    };
  }

  function numberField() {
    const field = focusable(make("input", "featlab-number"));
    field.type = "number";
    field.step = "any";
    field.setAttribute("aria-labelledby", title.id);
    group.append(field, make("span", "featlab-unit", model.get("unit")));
    const press = button("featlab-lock", "Lock");
    const send = () => {
      if (field.value !== "") lock(field.value);
      else if (open()) status.textContent = "Type a number first.";
    };
    press.addEventListener("click", send);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !hasModifier(event)) send();
    });
    return (chosen) => {
      if (chosen !== "") field.value = chosen;
      field.readOnly = !open();
      press.setAttribute("aria-disabled", String(!open()));
      press.textContent = chosen !== "" ? "Locked" : "Lock";
    };
  }

  function hasModifier(event) {
    return event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
  }

  // a focused button must not delete a cell on "d d"; Shift-Enter runs cells elsewhere, so here it locks nothing
  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && hasModifier(event)) event.preventDefault();
    if (event.key === "Escape") root.parentElement.closest("[tabindex]")?.focus();
  });

  function paint() {
    clearTimeout(waiting);
    waiting = null;
    root.dataset.state = model.get("state");
    paintAnswers(model.get("chosen"));
    status.replaceChildren(...words(model.get("status")));
  }

  const traits = ["state", "chosen", "status", "heard"].map((name) => `change:${name}`);
  for (const change of traits) model.on(change, paint);
  paint();
  el.append(root);
  return () => {
    clearTimeout(waiting);
    for (const change of traits) model.off(change, paint);
  };
}

export default { render };
