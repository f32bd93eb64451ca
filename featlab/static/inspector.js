// The mode inspector's live face. Python judges and switches; this file shows and asks. It follows tree.js in one script.

const READS = 1, DISAGREES = 2, CHANGED = 4;

const INSPECTOR = {
  className: "featlab-picker featlab-inspector",
  columns: [
    { key: "kinds", name: "class", head: "class", most: 20 },
    { key: "modes", name: "mode", head: "mode", most: 30 },
    { key: "learns", name: "learns", head: "parameters", most: 16 },
    { key: "findings", name: "finding", head: "finding", most: 26 },
  ],
  hint: "Search names and classes",
  keysHint: "↑ ↓ move · ← → fold · Enter pick · / search · Esc leave",
  many: false,
  say: (tree, row) => [tree.names[row] || "the model itself", tree.kinds[row], tree.modes[row], tree.learns[row] && `parameters ${tree.learns[row]}`, tree.findings[row]],
  aside: showJudgement,
};

const FILTERS = [
  ["all", null],
  ["only BatchNorm and Dropout", (tree, row) => tree.sent.flags[row] & READS],
  ["only what disagrees with its parent", (tree, row) => tree.sent.flags[row] & DISAGREES],
  ["only what changed", (tree, row) => tree.sent.flags[row] & CHANGED],
];

const render = ({ model, el }) => showTree({ model, el, ...INSPECTOR });

function showJudgement(model, ask) {
  const name = make("span", "featlab-picked"), kind = make("span", "featlab-kind");
  const warning = make("div", "featlab-warning"), says = make("div", "featlab-line featlab-says");
  const trouble = make("div", "featlab-trouble"), wait = make("div", "featlab-wait");
  trouble.setAttribute("role", "alert");
  says.setAttribute("role", "status");
  const facts = make("dl", "featlab-facts"), findings = make("div", "featlab-findings");
  const switches = make("div", "featlab-switches"), filters = make("div", "featlab-filters");
  const summary = focusable(make("summary", "", "Filter the rows"));
  const folded = make("details", "featlab-more", summary, filters);
  const node = make("div", "featlab-panel", warning, make("div", "featlab-head", name, kind), says, trouble, wait, switches, facts, findings, folded);
  let setFilter = () => {}, chosen = 0;

  function button(text, label, act) {
    const made = focusable(make("button", "", text));
    attributes(made, { type: "button", "aria-label": label });
    made.addEventListener("click", act);
    return made;
  }

  const choices = FILTERS.map(([text, keep], at) => {
    const made = button(text, text, () => choose(at));
    made.dataset.filter = at;
    return made;
  });
  filters.append(...choices);
  attributes(filters, { role: "group", "aria-label": "Which rows are shown" });

  function choose(at) {
    chosen = at;
    choices.forEach((one, i) => one.setAttribute("aria-pressed", String(i === at)));
    setFilter(FILTERS[at][1]);
  }

  function finding({ sign, severity, code, says: text, remedy }) {
    const copy = button("copy", `copy the line that mends ${code}`, async () => {
      try {
        await navigator.clipboard.writeText(remedy);
        copy.textContent = "copied";
      } catch {
        const range = document.createRange();
        range.selectNodeContents(line);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        copy.textContent = "selected: Ctrl+C copies";
      }
    });
    const line = make("code", "", remedy);
    const head = make("div", "featlab-code", `${sign} ${severity}: ${code}`);
    return make("div", "featlab-finding-card", head, make("div", "", text), make("div", "featlab-remedy", line, copy));
  }

  function paint() {
    const now = model.get("panel"), tree = model.get("tree");
    warning.textContent = tree.warning ?? "";
    name.textContent = now.name === "" ? "the model itself" : (now.name ?? "");
    kind.textContent = now.kind ?? "";
    const changed = now.changed ? `${now.changed} changed since the last look. ` : "";
    says.textContent = `${changed}${now.says ?? ""}`;
    trouble.textContent = now.trouble ?? "";
    const focused = switches.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    switches.replaceChildren(
      ...(now.acts ?? []).map((act) => {
        const made = button(act, `${act} ${now.name || "the model itself"}`, () => ask({ act, name: now.name }));
        made.dataset.act = act;
        return made;
      }),
    );
    if (focused) switches.querySelector(`[data-act="${focused}"]`)?.focus();
    facts.replaceChildren(...(now.facts ?? []).flatMap(([term, text]) => [make("dt", "", term), make("dd", "", text)]));
    findings.replaceChildren(...(now.findings ?? []).map(finding));
  }

  choose(0);
  return {
    node,
    paint,
    wait: (text) => (wait.textContent = text),
    close: () => {},
    filter: (set) => {
      setFilter = set;
      model.on("change:tree", paint);
      choose(chosen);
    },
  };
}

export default { render };
