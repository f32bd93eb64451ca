"""A real JupyterLab on this machine, and the notebook that a page shows of it."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Locator, Page

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 180  # seconds; two slow cores must not make a test red
ELSEWHERE = re.compile(r"^(https?|wss?)://(?!(127\.0\.0\.1|localhost|\[::1\])[:/])")
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
TALL = 14_000  # pixels; the longest picture that Chromium takes without trouble is 16 384


@contextmanager
def open_page(browser: Browser) -> Iterator[Page]:
    """Open a page in a fresh context; a request to anything but this machine is aborted, and then raised.

    `page.complaints` lists what the page wrote to the console as errors, and its uncaught exceptions.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.complaints, abroad = [], []
    page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: ELSEWHERE.match(request.url) and abroad.append(request.url))
    page.on("websocket", lambda socket: ELSEWHERE.match(socket.url) and abroad.append(socket.url))
    context.route(ELSEWHERE, lambda route: route.abort())
    yield page
    context.close()
    assert not abroad, f"the page asked for {len(abroad)} things outside this machine: {abroad[:5]}"


class Lab:
    """A JupyterLab server with a port, a token and settings of its own.

    Args:
        folder: what the server shows.
        scratch: an empty folder for settings, runtime files and the log.
    """

    module, app = "jupyterlab", "LabApp"
    settings = (
        # as `make lab` has it; without it the news toast covers a corner of the page
        f"app_settings_dir={REPOSITORY / '.ci/jupyterlab'}",
        "extension_manager=readonly",
        "expose_app_in_browser=True",
    )

    def __init__(self, folder: Path, scratch: Path):
        self.folder, self.scratch, self.token = folder, scratch, secrets.token_hex(16)
        self.log = scratch / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self._command(), env=self._environment(), stdout=log, stderr=log)
        self.url = self._wait_for_url()

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", self.module, "--no-browser", "--allow-root"),
            *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--ServerApp.root_dir={self.folder}"),
            *(f"--IdentityProvider.token={self.token}", "--ServerApp.terminals_enabled=False"),
            *(f"--{self.app}.{setting}" for setting in self.settings),
        ]

    def _environment(self) -> dict[str, str]:
        private = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "IPYTHONDIR": "ipython",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        }
        inherited = {name: value for name, value in os.environ.items() if name not in ("JUPYTER_TOKEN", "MPLBACKEND")}
        # the checkout itself is what is tested, also where featlab is not installed
        inherited["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        return inherited | {name: str(self.scratch / folder) for name, folder in private.items()}

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            for file in (self.scratch / "runtime").glob("jpserver-*.json"):
                try:
                    url = f"http://127.0.0.1:{json.loads(file.read_text())['port']}"
                    urllib.request.urlopen(f"{url}/api/status?token={self.token}", timeout=5).close()
                    return url
                except (OSError, ValueError):  # half written, or not listening yet
                    pass
            time.sleep(0.05)
        self.process.kill()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}")

    def page(self, path: str, workspace: str | None) -> str:
        """Return the address that opens a notebook, in a workspace of its own where one is named."""
        place = f"lab/workspaces/{workspace}" if workspace else "lab"
        return f"{self.url}/{place}/tree/{path}?token={self.token}"

    def stop(self) -> None:
        """Ask the server to end, its kernels first, and make sure that it does."""
        ask = urllib.request.Request(f"{self.url}/api/shutdown?token={self.token}", method="POST")
        try:
            urllib.request.urlopen(ask, timeout=10).close()
            self.process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


class Classic(Lab):
    """Notebook 7: one notebook a page, built from JupyterLab's parts."""

    module, app, settings = "notebook", "JupyterNotebookApp", ("expose_app_in_browser=True",)

    def page(self, path: str, workspace: str | None) -> str:
        return f"{self.url}/notebooks/{path}?token={self.token}"


# wait_for_function takes a promise for a yes, so the waiting is done in here
READY = """async () => {
  while (!window.jupyterapp) await new Promise(done => setTimeout(done, 50));
  const app = window.jupyterapp;
  await app.restored;
  while (true) {
    const panel = app.shell.currentWidget, session = panel?.context?.sessionContext;
    if (session) {
      await panel.context.ready; await panel.revealed; await session.ready;
      // the toolbar says "idle" before a kernel is attached
      if (session.session?.kernel?.status === 'idle' && app.commands.isEnabled('runmenu:run-all')) return;
    }
    await new Promise(done => setTimeout(done, 50));
  }
}"""
PANEL = "window.jupyterapp.shell.currentWidget"
CELLS = f"{PANEL}.content.widgets"
KERNEL = f"{PANEL}.context.sessionContext.session.kernel"
# scroll up, let what came into view be drawn, and say where the last cell ends
TO_THE_TOP = f"""async () => {{
  {PANEL}.content.node.querySelector('.jp-WindowedPanel-outer').scrollTop = 0;
  for (let frame = 0; frame < 5; frame++) await new Promise(requestAnimationFrame);
  return {CELLS}.at(-1).node.getBoundingClientRect().bottom;
}}"""
# an error keeps JupyterLab from running the cells behind it
ALL_RAN = f"""() => {CELLS}.some(cell => cell.model.toJSON().outputs?.some(output => output.output_type === 'error'))
  || {CELLS}.every(cell => {{
    const {{type, executionCount, executionState, sharedModel}} = cell.model;
    return type !== 'code' || !sharedModel.source.trim() || (executionCount !== null && executionState === 'idle');
}})"""


@contextmanager
def open_notebook(browser: Browser, lab: Lab, path: str, *, workspace: str | None = None) -> Iterator["Notebook"]:
    """Open a notebook in a page of its own, and shut its kernel down in the end: it would sit on memory."""
    with open_page(browser) as page:
        notebook = Notebook(page, lab)
        notebook.open(path, workspace=workspace)
        yield notebook
        notebook.close()


class Notebook:
    """The notebook that a page shows: what a learner does with it, and what stands in it."""

    def __init__(self, page: Page, lab: Lab):
        self.page, self.lab, self.name = page, lab, ""

    def open(self, path: str, *, workspace: str | None = None) -> None:
        """Open a notebook as `make lab` does, or in a workspace of its own, and wait for its kernel."""
        self.page.goto(self.lab.page(path, workspace))
        self._await(READY)

    def _await(self, script: str, argument: object = None) -> object:
        """Run a JavaScript function and wait for its promise, but not for ever."""
        late = f"new Promise((_, no) => setTimeout(() => no(new Error('took over {PATIENCE} s')), {PATIENCE * 1000}))"
        return self.page.evaluate(f"argument => Promise.race([({script})(argument), {late}])", argument)

    def command(self, name: str, **options: object) -> object:
        """Run one of JupyterLab's own commands and wait until it is done."""
        return self._await("([name, options]) => window.jupyterapp.commands.execute(name, options)", [name, options])

    def close(self) -> None:
        """Shut the notebook's kernel down."""
        self._await(f"() => {PANEL}?.context?.sessionContext?.shutdown()")

    def run_all(self) -> None:
        """Run every cell, and wait for the last one."""
        self.command("notebook:run-all-cells")

    def run_all_from_menu(self) -> None:
        """Choose Run > Run All Cells with the mouse, and wait for the last cell, or for an error."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.locator('[data-command="runmenu:run-all"]:not(.lm-mod-disabled)').click()
        self.page.wait_for_function(ALL_RAN)

    def restart(self) -> None:
        """Restart the kernel, as after a yes to JupyterLab's question, and wait for the new one."""
        self._await(f"() => {KERNEL}.restart()")
        self._await(READY)

    @property
    def cells(self) -> list[dict]:
        """Every cell as it would be stored, outputs included."""
        return self.page.evaluate(f"() => {CELLS}.map(cell => cell.model.toJSON())")

    @property
    def active(self) -> int:
        """The number of the active cell."""
        return self.page.evaluate(f"() => {PANEL}.content.activeCellIndex")

    def find(self, text: str) -> int:
        """Return the number of the first code cell whose source holds this text."""
        for number, cell in enumerate(self.cells):
            if cell["cell_type"] == "code" and text in "".join(cell["source"]):
                return number
        raise LookupError(f"no code cell holds {text!r}")

    def write(self, number: int, source: str) -> None:
        """Replace the source of a cell."""
        self.page.evaluate(f"([at, source]) => {CELLS}[at].model.sharedModel.setSource(source)", [number, source])

    def run(self, number: int) -> None:
        """Run one cell and wait for it; it is the active one afterwards."""
        self.page.evaluate(f"at => {{ {PANEL}.content.activeCellIndex = at; }}", number)
        self.command("notebook:run-cell")

    def shown(self, number: int) -> Locator:
        """The cell on the page."""
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{number}"]')

    def shoot(self, file: Path) -> None:
        """Save a picture of the whole notebook, as on a screen high enough to show it."""
        usual = self.page.viewport_size
        self.page.set_viewport_size({**usual, "height": TALL})
        bottom = self._await(TO_THE_TOP)
        self.page.set_viewport_size({**usual, "height": min(int(bottom) + 60, TALL)})
        self._await(TO_THE_TOP)
        self.page.screenshot(path=file)
        self.page.set_viewport_size(usual)

    def text(self, number: int) -> str:
        """The outputs of one cell in plain words."""
        outputs = self.cells[number].get("outputs", [])
        return "\n".join(_words(output) for output in outputs)


def _words(output: dict) -> str:
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    words = output["text"] if output["output_type"] == "stream" else output["data"].get("text/plain", "")
    return "".join(words)


def write_notebook(lab: Lab, name: str, cells: int) -> str:
    """Write a notebook of empty cells beside the lessons, and return its path."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_markdown_cell("# For a test")] + [nbformat.v4.new_code_cell() for _ in range(cells)]
    path = f"my_lessons/{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), lab.folder / path)
    return path


def outline(notebook: Notebook) -> tuple:
    """What a stray shortcut would change: which cells there are, of which kind, and which one is active."""
    return [(cell["id"], cell["cell_type"]) for cell in notebook.cells], notebook.active


@contextmanager
def in_theme(notebook: Notebook, theme: str) -> Iterator[None]:
    """Switch JupyterLab to its "light" or "dark" theme for the block."""
    _set_theme(notebook, theme)
    try:
        yield
    finally:
        _set_theme(notebook, "light")


def _set_theme(notebook: Notebook, theme: str) -> None:
    notebook.command("apputils:change-theme", theme=THEMES[theme])
    notebook.page.locator(f'body[data-jp-theme-light="{str(theme == "light").lower()}"]').wait_for(state="attached")
