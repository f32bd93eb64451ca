"""Run lessons again: to store them, to see what is stale, to prove that learners may run any cell twice."""

import difflib
import hashlib
import importlib.metadata
import json
import shutil
import sys
import tempfile
from pathlib import Path
from threading import Lock

from files import ROOT, LessonFailed, as_text, fingerprint, shown, store
from kernels import execute
from nbformat import NotebookNode, from_dict

from notebooks import code_cells, dumps, keep_wobbling, read

PROVEN = ROOT / ".venv" / "featlab-twice.json"


def run(path: Path) -> str:
    """Execute the lesson, store it in normal form, and say whether that changed the file."""
    old = read(path)
    new = dumps(keep_wobbling(execute(old, path), old))
    if new == path.read_text(encoding="utf-8"):
        return "unchanged"
    store(path, new)
    return "updated"


def check(path: Path) -> str:
    """Execute the lesson to memory; raise LessonFailed with a diff when what is stored is stale."""
    old = read(path)
    before, after = seen(old), seen(keep_wobbling(execute(old, path), old))
    if before == after:
        return "fresh"
    diff = list(difflib.unified_diff(before, after, "stored", "fresh", lineterm="", n=1))
    raise LessonFailed("\n".join([f"{shown(path)} is stale:", *diff[:60], *["…"] * (len(diff) > 60)]))


def seen(nb: NotebookNode) -> list[str]:
    """Return a lesson's outputs as lines of text, a picture as its hash."""
    lines = []
    for cell in code_cells(nb):
        lines.append(f"cell '{cell.id}'")
        for output in cell.outputs:
            if "text" in output:
                lines += [f"  {output.name}: {line}" for line in output.text.splitlines()]
            for mime, value in sorted(output.get("data", {}).items()):
                if mime.startswith("text/"):
                    lines += [f"  {mime}: {line}" for line in as_text(value).splitlines()]
                else:
                    lines.append(f"  {mime}: picture {hashlib.sha256(as_text(value).encode()).hexdigest()[:8]}")
    return lines


def twice(path: Path) -> str:
    """Run to the middle, restart, and run all with every cell two times in a row, in a folder like a learner's."""
    nb = read(path)
    half = nb.cells[: len(nb.cells) // 2]
    doubled = [cell for cell in nb.cells for _ in range(2)]
    with tempfile.TemporaryDirectory(prefix="twice-") as scratch:
        folder = Path(scratch, path.parent.resolve().name)
        shutil.copytree(path.parent, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        (folder / ".featlab").mkdir(exist_ok=True)  # so the practice record of the first half meets the second run
        for how, cells in (("run to the middle", half), ("every cell twice", doubled)):
            try:
                execute(from_dict({**nb, "cells": cells}), path, folder=folder)
            except LessonFailed as error:
                raise LessonFailed(f"{error} ({how})") from None
    return "ran to the middle, and with every cell twice"


def state(path: Path) -> str:
    """Return a hash of all that decides whether a lesson runs: its own cells, featlab's files, torch and Python."""
    parts = [fingerprint(read(path)), sys.version, importlib.metadata.version("torch")]
    for file in sorted((ROOT / "featlab").rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            parts += [file.relative_to(ROOT).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


_noting = Lock()  # lessons run side by side, and share one file of proofs


def twice_if_changed(path: Path) -> str:
    """Run the lesson twice unless exactly this was proven on this machine before."""
    now = state(path)
    if _proven().get(shown(path)) == now:
        return "was proven before"
    said = twice(path)
    with _noting:
        if PROVEN.parent.is_dir():
            store(PROVEN, json.dumps(_proven() | {shown(path): now}, indent=1))
    return said


def _proven() -> dict[str, str]:
    """Return lesson -> the state in which it was proven here; a file that cannot be read proves nothing."""
    try:
        return dict(json.loads(PROVEN.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
