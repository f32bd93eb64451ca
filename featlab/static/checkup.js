// asks Python a question as soon as it is drawn, and says whether the right answer came back

const PATIENCE = 10_000; // ms; a kernel that is busy with other cells answers when they are done

function render({ model, el }) {
  const line = document.createElement("div");
  line.setAttribute("role", "status");
  line.className = "featlab-checkup";
  el.append(line);
  const say = (text) => { line.textContent = text; };

  say("widgets: this page can draw them; asking Python …");
  const question = Math.floor(Math.random() * 1000);
  const late = setTimeout(() => say(`widgets: no answer from Python yet. ${model.get("remedy")}`), PATIENCE);
  const hear = (message) => {
    if (message.answer !== question + 1) return;
    clearTimeout(late);
    say("widgets: OK (this page asked Python, and Python answered)");
  };
  model.on("msg:custom", hear);
  model.send({ question });
  return () => { clearTimeout(late); model.off("msg:custom", hear); };
}

export default { render };
