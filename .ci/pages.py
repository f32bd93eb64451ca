"""Build site/, the lessons as pages to read without a kernel, with Sphinx."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from files import LESSONS, ROOT, store
from nbformat import NotebookNode

from notebooks import normalise, read, tags

SITE = ROOT / "site"
SETTINGS = Path(__file__).with_name("site")
_ONLY_LIVE = {"colab", "parameters"}  # cells that a reader without a kernel has no use for

_FRONT = """\
# featlab

See what really happens inside a PyTorch model. These pages are the lessons as they ran: to predict and run them
yourself, [get the repository]({address}) and type `make lab`.

![Two rows of the same ten handwritten digits with what a network says of them: before, all ten are right; after, it
says 0, 1 or 8 to everything, and the seven wrong answers are framed and marked with a cross.](before_after.png)

A trained network, every parameter frozen, no optimizer. It looks once at a batch that somebody forgot to scale, and
forgets nearly everything it knew. [Start here](00_start_here.ipynb) finds out why.

```{{toctree}}
:maxdepth: 1
:caption: Lessons

{lessons}
```

```{{toctree}}
:maxdepth: 1
:caption: About the course

{pages}
```
"""


def build(target: Path = SITE) -> list[str]:
    """Build the site and return Sphinx's warnings, one a line; the target is replaced when the build succeeded."""
    with tempfile.TemporaryDirectory(prefix="site-") as scratch:
        source, built = Path(scratch, "source"), Path(scratch, "site")
        _gather(source)
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(source), str(built)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"Sphinx could not build the site.\n{done.stderr}")
        shutil.rmtree(built / ".doctrees", ignore_errors=True)
        for page in built.rglob("*.html"):
            store(page, _mended(page.read_text(encoding="utf-8")))
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(built, target)
    return done.stderr.splitlines()


def _mended(html: str) -> str:
    """Return a page with what Sphinx leaves out for keyboards and screen readers."""
    html = html.replace('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">')
    return html.replace("<pre>", '<pre tabindex="0">')  # what scrolls must be reached without a mouse


def _gather(source: Path) -> None:
    """Put together what Sphinx reads: the lessons without cells for live use, the pages beside them, a front page."""
    (source / "_static").mkdir(parents=True)
    shutil.copy(SETTINGS / "conf.py", source)
    shutil.copy(SETTINGS / "site.css", source / "_static")
    shutil.copy(ROOT / ".github" / "images" / "before_after.png", source)
    lessons, pages = sorted(LESSONS.glob("*.ipynb")), sorted(LESSONS.glob("*.md"))
    for lesson in lessons:
        store(source / lesson.name, nbformat.writes(_for_reading(normalise(read(lesson)))))
    for page in pages:
        shutil.copy(page, source)
    repository = re.search(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
    front = _FRONT.format(
        address=repository,
        lessons="\n".join(lesson.stem for lesson in lessons),
        pages="\n".join(page.stem for page in pages),
    )
    store(source / "index.md", front)


def _for_reading(nb: NotebookNode) -> NotebookNode:
    """Leave out cells for live use only, and give every picture the words below it as its alt text."""
    nb.cells = [cell for cell in nb.cells if not _ONLY_LIVE & set(tags(cell))]
    for cell in nb.cells:
        if cell.cell_type == "markdown":  # beside the lessons here; one folder up for a learner's copies
            cell.source = cell.source.replace("](../notebooks/", "](")
    for cell, below in zip(nb.cells, nb.cells[1:], strict=False):
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            words = [part for part in below.source.split("\n\n") if not part.startswith("#")]
            cell.metadata["mystnb"] = {"image": {"alt": " ".join(re.sub(r"[`*]", "", words[0]).split())}}
    return nb


if __name__ == "__main__":
    print(*build(), f"{SITE.relative_to(ROOT)}/index.html", sep="\n")
