"""Make the README's pictures anew, `make pictures`: the first by the README's own lines, the others from JupyterLab."""

import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / ".github" / "images"
# each lesson's best moment: the cell, and what of its output
MOMENTS = {
    "00_start_here": ("recovery-drawn", "img"),
    "01_tensors_and_numpy": ("map", "img"),
    "02_autograd": ("graph-run", "img"),
    "03_layers_and_init": ("dials-show", ".featlab-dials"),
    "04_hooks": ("ways-draw", "img"),
    "05_feature_extraction": ("picker", ".featlab-picker"),
    "06_modes": ("orders-inspect", ".featlab-inspector"),
    "07_frozen_or_finetuned": ("drift-both", "img"),
    "08_clinic": ("walk-audit", ".featlab-shown"),
}


def first_block() -> str:
    """Return the code of the first ```python block in README.md."""
    return re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)[1]


def main(folder: Path) -> dict:
    """Run the README's lines inside a folder, where they save their picture, and return the names they defined."""
    os.environ["MPLBACKEND"] = "agg"
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    names: dict = {}
    exec(first_block(), names)
    return names


def moments(folder: Path) -> None:
    """Run each lesson in a real JupyterLab and take a picture of its best moment."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser.conftest import FLAGS, find_chromium
    from browser.jupyter import Lab, open_notebook
    from copies import copy_lessons
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as scratch:
        copy_lessons(target=Path(home, "my_lessons"))
        lab = Lab(Path(home), Path(scratch))
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
                for lesson, (cell, part) in MOMENTS.items():
                    with open_notebook(browser, lab, f"my_lessons/{lesson}.ipynb", workspace=lesson) as notebook:
                        notebook.run_all_from_menu()
                        at = [known["id"] for known in notebook.cells].index(cell)
                        notebook.page.set_viewport_size({"width": 1280, "height": 14000})
                        shown = notebook.shown(at).locator(part).first
                        shown.scroll_into_view_if_needed()
                        shown.screenshot(path=folder / f"lesson_{lesson[:2]}.png", style=":focus { outline: none }")
                browser.close()
        finally:
            lab.stop()


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else IMAGES
    main(target)
    moments(target)
