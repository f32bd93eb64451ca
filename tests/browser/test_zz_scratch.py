import json
from browser.jupyter import Notebook, open_notebook
from browser.test_lab import *
WHO="()=>{const e=document.activeElement;return e.tagName+'.'+e.className.slice(0,60)+' '+(e.getAttribute('aria-label')||e.textContent.slice(0,20))}"
def fill(n):
    n.write(1, SETUP); n.write(2, ASK.format("x")); n.write(3, COMPARE.format("x"))
def test_keys(chromium, lab):
    with open_notebook(chromium, lab, write_notebook(lab,"keys",4), workspace="keys") as n:
        fill(n); n.run(1)
        n.page.evaluate("()=>{window.jupyterapp.shell.currentWidget.content.activeCellIndex=2}")
        n.command("notebook:run-cell-and-select-next")
        print("after run:", n.page.evaluate(WHO), n.active)
        for key in ["ArrowUp","Tab","Tab","Tab","Tab","Tab","Tab","Tab","Tab","Tab"]:
            n.page.keyboard.press(key); print(key, n.active, n.page.evaluate(WHO))
        n.page.keyboard.press("Escape"); print("Escape", n.active, n.page.evaluate(WHO))
def test_reopen(chromium, lab):
    for saved in (False, True):
        name=f"re{saved}".lower()
        with open_notebook(chromium, lab, write_notebook(lab,name,4), workspace=name) as n:
            if saved:
                n._await("()=>window.jupyterapp.serviceManager.settings.save('@jupyter-widgets/jupyterlab-manager:plugin', JSON.stringify({saveState:true}))")
                n.page.reload(); n._await(__import__("browser.jupyter").jupyter.READY)
            fill(n); n.run(1); n.run(2); choice(n,"b").click(); expect(status(n)).to_contain_text("Locked"); n.run(3)
            n.command("docmanager:save")
            f=lab.folder/f"my_lessons/{name}.ipynb"; d=json.loads(f.read_text()); print(saved, f.stat().st_size, list(d["metadata"]), [list(o.get("data",{})) for o in d["cells"][2]["outputs"]])
        with open_notebook(chromium, lab, f"my_lessons/{name}.ipynb", workspace=name+"2") as n:
            n.page.wait_for_timeout(6000)
            print("TEXT", n.shown(2).inner_text()); n.page.screenshot(path=f"/tmp/shots/reopen-{saved}.png"); print(n.page.complaints)
            if saved:
                print(question(n).count()); choice(n,"a").click(force=True); n.page.wait_for_timeout(1500); print(n.shown(2).inner_text())
