"""Run every lesson as Colab would: its versions, its pip, a kernel without featlab, and the setup cell that fetches it.

The repository's address is answered by this checkout, so what is committed here is what gets installed. Colab's own
front end and its GPU are not here: this shows that lessons run there, that pip upgrades nothing of Colab's, and that
every widget has its static faces.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from addresses import current
from files import LESSONS, ROOT
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ENV = ROOT / ".colab"
PYTHON = ENV / "bin" / "python"
# what Colab shipped in August 2026, on Python 3.13
THEIRS = {
    "torch": "2.11.0",
    "torchvision": "0.26.0",
    "numpy": "2.1.3",
    "matplotlib": "3.10.0",
    "ipywidgets": "7.7.1",
    "ipython": "7.34.0",
    "ipykernel": "6.17.1",
    "anywidget": "0.9.21",
}
_VIEW = "application/vnd.jupyter.widget-view+json"


def prepare() -> None:
    """Make the environment anew, with pip and without featlab."""
    uv = [sys.executable, "-m", "uv"]
    pins = [f"{name}=={version}" for name, version in THEIRS.items()]
    if not PYTHON.exists():
        subprocess.run([*uv, "venv", "--quiet", "--seed", "--python", _python(), str(ENV)], check=True)
    into = ["--quiet", "--python", str(PYTHON)]
    subprocess.run([*uv, "pip", "install", *into, *pins, "scikit-learn", "scipy", "pandas", "setuptools"], check=True)
    subprocess.run([*uv, "pip", "uninstall", *into, "featlab"], check=True)


def _python() -> str:
    """Return a Python 3.13 where there is one; the parts that Colab pins run on ours as well."""
    there = [*Path.home().glob(".pyenv/versions/3.13*/bin/python"), shutil.which("python3.13")]
    works = (path for path in filter(None, there) if not subprocess.run([path, "-V"], capture_output=True).returncode)
    return str(next(works, sys.executable))


def versions() -> dict[str, str]:
    """Return what is installed: name -> version."""
    listed = subprocess.run([str(PYTHON), "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    return {one["name"]: one["version"] for one in json.loads(listed.stdout)}


def run(lesson: Path, scratch: Path, home: Path) -> tuple[int, int, list[str]]:
    """Run a lesson where nothing of the repository lies; return how many cells ran, how many widgets, what is wrong."""
    nb = nbformat.read(lesson, 4)
    nb.metadata.kernelspec = {"name": "colab", "display_name": "Colab", "language": "python"}
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": str(home / "gitconfig"), "JUPYTER_PATH": str(home)}
    client = NotebookClient(nb, timeout=300, kernel_name="colab", resources={"metadata": {"path": str(scratch)}})
    try:
        client.execute(env=environ)
    except CellExecutionError as error:
        return 0, 0, [str(error)[-1500:]]
    outputs = [output.get("data", {}) for cell in nb.cells for output in cell.get("outputs", [])]
    widgets = [data for data in outputs if _VIEW in data]
    bare = [data for data in widgets if "text/plain" not in data or not {"text/html", "image/png"} & set(data)]
    return len(nb.cells), len(widgets), [f"a widget has only {list(data)}" for data in bare]


def main() -> int:
    prepare()
    before, failed = versions(), 0
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as scratch:
        Path(home, "gitconfig").write_text(
            f'[url "file://{ROOT}"]\n insteadOf = https://github.com/{current(ROOT)}\n[safe]\n directory = *\n'
        )
        spec = {"argv": [str(PYTHON), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
        folder = Path(home, "kernels", "colab")
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(spec | {"display_name": "Colab"}))
        os.environ["JUPYTER_PATH"] = home
        for lesson in sorted(LESSONS.glob("*.ipynb")):
            cells, widgets, wrong = run(lesson, Path(scratch), Path(home))
            print(
                f"{lesson.stem}: {'; '.join(wrong) or f'{cells} cells, {widgets} widgets with their faces'}", flush=True
            )
            failed += bool(wrong)
    after = versions()
    moved = {name: (version, after.get(name)) for name, version in before.items() if after.get(name) != version}
    print(f"pip added {', '.join(sorted(set(after) - set(before))) or 'nothing'}; changed {moved or 'nothing'}")
    return failed + bool(moved)


if __name__ == "__main__":
    sys.exit(main())
