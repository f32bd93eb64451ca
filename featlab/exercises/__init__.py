"""The checks of the lessons' exercises: one module a topic, found by the exercise's name."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple

from featlab.verdicts import Wrong, describe

__all__ = ["Exercise", "Wrong", "describe", "exercise", "find", "of_lesson", "with_block"]


class Exercise(NamedTuple):
    """One exercise: its name, the lesson it belongs to, and the check that takes the learner's answer."""

    name: str
    lesson: str
    check: Callable


_known: dict[str, Exercise] = {}


def exercise(lesson: str) -> Callable[[Callable], Callable]:
    """Register the decorated check under its own name as an exercise of a lesson.

    The check takes the learner's answer, raises `Wrong` when it is not right, and may return a sentence that
    is shown when it is. Names are unique across all lessons.
    """

    def register(check: Callable) -> Callable:
        name = check.__name__
        old = _known.get(name)
        if old is not None and old.check.__module__ != check.__module__:
            raise ValueError(f"Two exercises are called '{name}': in {old.check.__module__} and {check.__module__}.")
        _known[name] = Exercise(name, lesson, check)
        return check

    return register


def _load() -> dict[str, Exercise]:
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return _known


def find(name: str) -> Exercise:
    """Return the exercise of that name, or raise LookupError with near names."""
    known = _load()
    if name not in known:
        near = get_close_matches(name, known) or sorted(known)
        raise LookupError(f"There is no exercise '{name}'. Near: {', '.join(near)}.")
    return known[name]


def of_lesson(lesson: str) -> list[Exercise]:
    """Return a lesson's exercises, in the order of their modules."""
    return [known for known in _load().values() if known.lesson == lesson]


def with_block(given, call: str) -> AbstractContextManager:
    """Return what a call of the learner's gave, if it can stand behind `with`; raise `Wrong` if it cannot."""
    if getattr(given, "gen", given) is None:
        raise Wrong(f"{call} has @contextmanager above it, but no `yield` in it: that is where the block runs.")
    if isinstance(given, AbstractContextManager):
        return given
    why = "With `yield` in it and @contextmanager above it, the function can stand behind `with`."
    raise Wrong(f"{call} gave {describe(given)}. {why}")
