"""Measure the picker in Python and on a page of its own, and with the inspector in a real JupyterLab."""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from playwright.sync_api import sync_playwright
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser.conftest import FLAGS, find_chromium  # noqa: E402
from browser.jupyter import Lab, open_notebook, open_page, write_notebook  # noqa: E402
from browser.test_inspector_lab import LARGE, ROUND_TRIP  # noqa: E402

import featlab as fl  # noqa: E402
from featlab.activations import run_features  # noqa: E402
from featlab.tables import Table  # noqa: E402

STATIC = Path(fl.__file__).parent / "static"
PAGE = """<!doctype html><style>CSS</style><div id="here"></div><script type="module">
SCRIPT
window.draw = async (text) => {
  const start = performance.now(), tree = JSON.parse(text);
  const traits = { tree, value: null, names: [], panel: { says: "" }, heard: 0 };
  render({ model: { get: name => traits[name], on() {}, off() {}, send() {} }, el: document.getElementById("here") });
  return after(start);
};
// a message posted in a frame is heard when that frame has been handed to the screen
const after = start => new Promise(done => requestAnimationFrame(() => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => done(performance.now() - start);
  port2.postMessage(0);
}));
window.type = async text => {
  const field = document.querySelector(".featlab-search"), works = [], paints = [];
  for (let i = 1; i <= text.length; i += 1) {
    field.value = text.slice(0, i);
    const start = performance.now();
    field.dispatchEvent(new Event("input"));
    document.querySelector(".featlab-tree").getBoundingClientRect();
    works.push(performance.now() - start);
    paints.push(await after(start));
  }
  return [works, paints];
};
</script>"""
IN_LAB = """async selector => {
  const start = performance.now();
  window.jupyterapp.commands.execute("notebook:run-cell");
  while (!document.querySelector(selector)) await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""
PICK = """async name => {
  const row = [...document.querySelectorAll(".featlab-row")].find(row => row.ariaLabel.startsWith(name + ","));
  const image = document.querySelector(".featlab-image");
  const loaded = new Promise(done => image.addEventListener("load", done, { once: true }));
  const start = performance.now();
  row.click();
  await loaded;
  await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""


def blocks(count: int) -> nn.Module:
    """Return a model with about so many submodules, as deep and as mixed as a real one."""
    return nn.Sequential(*(torchvision.models.resnet.BasicBlock(4, 4) for _ in range(count // 6))).eval()


def median(run, rounds: int = 9) -> float:
    """Return the median of milliseconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def in_python(model: nn.Module, x: torch.Tensor) -> dict[str, float]:
    def bare():
        with torch.no_grad():
            model(x)

    alone = median(lambda: fl.LayerPicker(model))
    beyond = median(lambda: fl.LayerPicker(model, x)) - median(bare)
    return {"Python, the tree": alone, "Python, tree and shapes beyond a forward": beyond}


def on_a_page(browser, model: nn.Module) -> dict[str, float]:
    script = "".join((STATIC / name).read_text("utf8") for name in ("tree.js", "picker.js"))
    script = script.replace("export default { render };", "")
    html = PAGE.replace("CSS", (STATIC / "picker.css").read_text("utf8")).replace("SCRIPT", script)
    sent = json.dumps(fl.LayerPicker(model).tree)
    firsts, works, paints = [], [], []
    for _ in range(5):
        with open_page(browser) as page:
            page.set_content(html)
            page.wait_for_function("Boolean(window.draw)")
            firsts.append(page.evaluate("text => window.draw(text)", sent))
            work, paint = page.evaluate("window.type('conv bn 1')")
            works, paints = works + work, paints + paint
    return {
        "first paint": statistics.median(firsts),
        "key, work until laid out": statistics.median(works),
        "key, slowest of ten": statistics.quantiles(works, n=10)[-1],
        "key to the screen, with the wait for a frame": statistics.median(paints),
        "KB sent": len(sent) / 1e3,
    }


def picks() -> list[dict]:
    """Time a pick in Python beyond its forward, and count the forwards of a second one."""
    model, x = torchvision.models.resnet18().eval(), torch.randn(8, 3, 224, 224)
    picker, rows = fl.LayerPicker(model, x), []
    ran = []
    model.register_forward_pre_hook(lambda *_: ran.append(1))
    for name in ("conv1", "layer2", "layer4.1.conv2", "avgpool", "fc"):
        beyond = []
        for _ in range(7):
            picker.value = None
            picker._onlooker._kept.clear()
            with torch.no_grad():
                forward = median(lambda name=name: run_features(model, (x,), {}, name, mode=None, copy=True), 1)
            beyond.append(median(lambda name=name: picker._handle_custom_msg({"pick": name}, []), 1) - forward)
        picker.value = None
        ran.clear()
        again = median(lambda name=name: picker._handle_custom_msg({"pick": name}, []), 1)
        rows.append(
            {"pick": name, "beyond the forward, ms": round(statistics.median(beyond)), "again, ms": round(again)}
            | {"forwards of the second pick": len(ran)}
        )
    return rows


def in_jupyterlab(browser) -> list[dict]:
    setup = [
        "import torch, torchvision, featlab as fl, time",
        "model = torchvision.models.efficientnet_b7().eval()",
        "small = torchvision.models.resnet18().eval(); x = torch.randn(8, 3, 224, 224)",
        "large, picker = fl.LayerPicker(model), fl.LayerPicker(small, x)",
        "start = time.perf_counter(); fl.features(small, x, 'layer2'); print(1e3 * (time.perf_counter() - start))",
    ]
    with tempfile.TemporaryDirectory() as folder:
        home, scratch = Path(folder) / "home", Path(folder) / "jupyter"
        (home / "my_lessons").mkdir(parents=True)
        scratch.mkdir()
        lab = Lab(home, scratch)
        try:
            with open_notebook(browser, lab, write_notebook(lab, "bench", 3), workspace="bench") as notebook:
                notebook.write(1, "\n".join(setup))
                notebook.run(1)
                forward = float(notebook.text(1))
                notebook.write(2, "large")
                notebook.page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 2; }")
                first = notebook.page.evaluate(IN_LAB, ".featlab-row")
                notebook.write(2, "picker")
                notebook.run(2)
                notebook.page.get_by_role("treeitem", name="layer2, ").wait_for()
                pick = [notebook.page.evaluate(PICK, name) for name in ("layer1", "layer2")][1]
                again = [notebook.page.evaluate(PICK, name) for name in ("layer1", "layer2")][1]
                notebook.write(2, LARGE)
                notebook.run(2)
                inspector = notebook.shown(2).locator(".featlab-inspector")
                inspector.get_by_role("treeitem", name="the model itself, ").click()
                inspector.locator('[data-act="eval"]').wait_for()
                toggle = inspector.evaluate(ROUND_TRIP)
        finally:
            lab.stop()
    return [
        {"in JupyterLab": "run the cell of a picker of 1,100 modules: first rows on the screen", "ms": round(first)},
        {"in JupyterLab": f"click to picture, layer2 of resnet18 (forward: {forward:.0f} ms)", "ms": round(pick)},
        {"in JupyterLab": "click to picture, a layer already seen", "ms": round(again)},
        {"in JupyterLab": "click on a switch of an inspector of 1,600 modules: its tree shows it", "ms": round(toggle)},
    ]


if __name__ == "__main__":
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        for count in (1_100, 10_000):
            model = blocks(count)
            found = in_python(model, torch.randn(1, 4, 4, 4)) | on_a_page(browser, model)
            rows += [{"modules": len(fl.names(model)), "what": key, "ms": round(ms, 1)} for key, ms in found.items()]
        print(Table(rows, caption="the picker"))
        print(Table(picks(), caption="\npicking, resnet18 on 8×3×224×224, in Python"))
        print(Table(in_jupyterlab(browser), caption="\nall the way"))
        browser.close()
