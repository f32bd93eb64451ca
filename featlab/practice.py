"""What a lesson asks of its learner: predictions before the run, exercises with checks, and a record of both."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from featlab.faces import Shown
from featlab.predictions import Comparison, Prediction
from featlab.records import Record
from featlab.states import changed, model_state, process_state
from featlab.tables import Table
from featlab.verdicts import Verdict, judge


class _Lesson:
    """One lesson in this kernel: the state it found, its predictions, its record."""

    def __init__(self, name: str):
        self.record = Record(name, Path.cwd() / ".featlab")
        self.predictions: dict[str, Prediction] = {}
        self.process = process_state()
        self.models: list[tuple[nn.Module, dict]] = []


# lessons begun in this kernel, by name; the last one is the one that runs
_lessons: dict[str, _Lesson] = {}


def begin(lesson: str, *models: nn.Module) -> None:
    """Name the lesson and remember the state it found, for `end` to compare with.

    Run again, it keeps the global state that it found first, and takes new models and the RNGs as they are:
    making a model draws from them, so a setup cell that runs twice has moved them itself.
    """
    if not re.fullmatch(r"[\w-]+", lesson):
        raise ValueError(f"A lesson's name is that of its notebook, such as '01_tensors_and_numpy', not {lesson!r}.")
    here = _lessons.pop(lesson, None) or _Lesson(lesson)
    _lessons[lesson] = here
    here.process |= {name: state for name, state in process_state().items() if name.startswith("RNG")}
    found = {id(model): (model, state) for model, state in here.models}
    here.models = [found.get(id(model)) or (model, model_state(model)) for model in models]
    if here.record.trouble:
        print(here.record.trouble)


def _current() -> _Lesson:
    if not _lessons:
        raise RuntimeError("No lesson has begun in this kernel: run the setup cell near the top first.")
    return list(_lessons.values())[-1]


def predict(
    name: str, question: str, options: Mapping | None = None, *, mine=..., unit: str = "", within: float = 0
) -> Prediction:
    """Ask for a prediction, which locks with a click or when the cell runs with `mine` filled in.

    Args:
        name: how `compare` finds it again.
        options: outcome -> wording, the outcome as the experiment will give it. None asks for a number.
        mine: the learner's letter or number; `...` leaves it open.
        unit: of the number asked for.
        within: how far off a number may be and still count as right.
    """
    if options is not None and not 2 <= len(options) <= 9:
        raise ValueError(f"The prediction '{name}' has {len(options)} options; it needs 2 to 9, or None for a number.")
    here, asked = _current(), Prediction(name, question, options, unit=unit, within=within)
    known = here.predictions.get(name)
    if known is None or not known.asks_as(asked):
        known = here.predictions[name] = asked
        known.on_lock = lambda locked: here.record.locked(locked.name, locked.wording(locked.guess))
    known.note = ""
    blank = mine is ... or mine is None or (isinstance(mine, str) and not mine.strip())
    if not blank:
        known.lock(mine)
    return known


def compare(name: str, outcome) -> Comparison:
    """Show what was predicted beside what came out, and close the question.

    Raises:
        LookupError: nothing of that name was asked.
        ValueError: the outcome is no option, or no number where one was asked for.
    """
    here = _current()
    if name not in here.predictions:
        asked = ", ".join(here.predictions) or "none yet"
        raise LookupError(f"No prediction is called '{name}'; run its cell first. Asked so far: {asked}.")
    comparison = here.predictions[name].settle(outcome)
    if comparison.right is not None:
        here.record.compared(name, comparison.right)
    return comparison


def check(name: str, answer) -> Verdict:
    """Try the learner's answer on inputs it has not seen, and say what was found."""
    from featlab import exercises

    found = exercises.find(name)
    verdict = judge(name, found.check, answer)
    if found.lesson in _lessons:
        _lessons[found.lesson].record.checked(name, verdict.status)
    return verdict


class Summary(Shown):
    """One line per lesson."""

    def __init__(self, records: list[Record]):
        self.records = records

    def lines(self) -> list[str]:
        from featlab import exercises

        width = max((len(record.lesson) for record in self.records), default=0)
        names = {r.lesson: [known.name for known in exercises.of_lesson(r.lesson)] for r in self.records}
        rows = [f"{r.lesson:{width}}  {r.line(names[r.lesson])}" for r in self.records]
        return [*rows, *(r.trouble for r in self.records if r.trouble)] or ["No lesson has begun yet."]


def summary() -> Summary:
    """Return one line per lesson: those on record beside the notebook, and this kernel's."""
    records = {name: lesson.record for name, lesson in _lessons.items()}
    folder = next(iter(records.values())).file.parent if records else Path.cwd() / ".featlab"
    for file in folder.glob("*.json"):
        records.setdefault(file.stem, None)
    return Summary([record or Record(name, folder) for name, record in sorted(records.items())])


class Closing(Table):
    """What the lesson found, and whether it is so still: `as_found` is True when every row is."""

    @property
    def as_found(self) -> bool:
        return all(row["now"] == "as found" for row in self.rows)


def end() -> Closing:
    """Compare the state that `begin` remembered with the state now."""
    here, now = _current(), process_state()
    moved = changed(here.process, {name: now.get(name) for name in here.process})
    # of an RNG only that it moved: its state says nothing to a reader
    told = {name: "" if name.startswith("RNG") else f": {here.process[name]} → {now[name]}" for name in moved}
    rows = [{"what": name, "now": f"changed{told[name]}" if name in told else "as found"} for name in here.process]
    for index, (model, before) in enumerate(here.models, start=1):
        label = type(model).__name__ + (f" (model {index})" if len(here.models) > 1 else "")
        after = model_state(model)
        for kind in before:
            names = [name or "the model itself" for name in changed(before[kind], after[kind])]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            now_is = f"changed: {', '.join(names[:3])}{more}" if names else "as found"
            rows.append({"what": f"{label}: {kind}", "now": now_is})
    return Closing(rows, caption="Left as found?")
