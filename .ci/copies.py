"""Hand out learners' copies of the lessons, without answers under the questions, and never over their work."""

import json
from pathlib import Path

from files import LESSONS, ROOT, fingerprint, store

COPIES = ROOT / "my_lessons"
RECORD = ".featlab"  # the practice record lives there too
VERSIONS = "copied-from.txt"


def copy_lessons(source: Path = LESSONS, target: Path = COPIES) -> list[str]:
    """Copy what is new and return what to tell the learner, one short line first.

    A copy in which nothing was written or run follows its lesson. Any other copy stays as it is; when its
    lesson has changed since, the learner is told.
    """
    (target / RECORD).mkdir(parents=True, exist_ok=True)
    versions, new, renewed, outdated = _versions(target), 0, 0, []
    lessons = sorted(source.glob("*.ipynb"))
    for lesson in lessons:
        nb, copy, version = _blank(lesson), target / lesson.name, versions.get(lesson.name)
        latest, exists = fingerprint(nb), copy.exists()
        if exists:
            written, untouched = _look(copy)
            if latest in (version, written):
                versions[lesson.name] = latest
                continue
            if written != version or not untouched:
                outdated.append(lesson.stem)
                continue
        new, renewed = new + (not exists), renewed + exists
        store(copy, json.dumps(nb, indent=1, ensure_ascii=False) + "\n")
        versions[lesson.name] = latest
    store(target / RECORD / VERSIONS, "".join(f"{version}  {name}\n" for name, version in sorted(versions.items())))
    count = f"{target.name}: {len(lessons)} lessons, {new} new" + (f", {renewed} renewed" if renewed else "")
    return [count, *(f"{name} has a newer version: rename yours and run this again to get it" for name in outdated)]


def _versions(target: Path) -> dict[str, str]:
    """Return the lesson's fingerprint that each copy was made from, by file name."""
    file = target / RECORD / VERSIONS
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {name: version for version, _, name in (line.partition("  ") for line in lines)}


def _blank(lesson: Path) -> dict:
    """Return a stored lesson without outputs and counts."""
    nb = json.loads(lesson.read_text(encoding="utf-8"))
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return nb


def _look(copy: Path) -> tuple[str | None, bool]:
    """Return a copy's fingerprint and whether it was never run; (None, False) when it cannot be read."""
    try:
        nb = json.loads(copy.read_text(encoding="utf-8"))
        return fingerprint(nb), not any(cell.get("outputs") or cell.get("execution_count") for cell in nb["cells"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, False
