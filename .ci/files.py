"""Where the lessons are and how their files are written; the standard library is enough for it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LESSONS = ROOT / "notebooks"


class LessonFailed(Exception):
    """A lesson could not be read or run; the message is one sentence for the terminal."""


def shown(path: Path) -> str:
    """Return the path as people say it: from the repository's root where it lies there."""
    path = Path(path).resolve()
    return (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).as_posix()


def store(path: Path, text: str) -> None:
    """Write the text in one step, so that an interruption leaves the old file or the new one."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text, encoding="utf-8", newline="\n")
    beside.replace(path)


def as_text(value) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def fingerprint(nb: Mapping) -> str:
    """Return a hash of what a person wrote: ids, kinds and sources of the cells, no outputs."""
    written = [(cell.get("id"), cell["cell_type"], as_text(cell["source"]).strip("\n")) for cell in nb["cells"]]
    return hashlib.sha256(json.dumps(written).encode()).hexdigest()
