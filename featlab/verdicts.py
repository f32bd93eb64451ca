"""Judge a learner's answer by a check: solved, not yet, or not tried yet, with words that help."""

import linecache
import traceback
from collections.abc import Callable
from functools import update_wrapper

import torch

from featlab.faces import Shown
from featlab.states import put_back

SIGNS = {"solved": "✓", "not yet": "✗", "not tried yet": "○"}


class Wrong(Exception):  # noqa: N818 - it is a verdict, and reads as one where a check raises it
    """Raised by a check whose answer is not right: what you gave, what is true, what to try."""


class Verdict(Shown):
    """What a check found; true when the exercise is solved."""

    def __init__(self, name: str, status: str, message: str = ""):
        self.name, self.status, self.message = name, status, message

    def __bool__(self) -> bool:
        return self.status == "solved"

    def lines(self) -> list[str]:
        return [f"{SIGNS[self.status]} {self.status}: {self.name}", *self.message.splitlines()]


class _Blank(BaseException):
    """The learner's function returned `...`. Not an Exception, so that a check's own `except` lets it through."""


def describe(value) -> str:
    """Name a value in a few words: a tensor or an array by what matters about it, anything else by its repr."""
    if isinstance(value, torch.Tensor):
        learns = ", requires grad" if value.requires_grad else ""
        strides = f", strides {value.stride()}" if value.layout == torch.strided else ""
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{_a(dtype)} tensor of shape {tuple(value.shape)}{strides}{learns}"
    if hasattr(value, "__array_interface__") and hasattr(value, "strides"):
        return f"{_a(str(value.dtype))} array of shape {value.shape}, strides {value.strides} bytes"
    if isinstance(value, torch.nn.Module):
        return _a(type(value).__name__)
    if isinstance(value, list | tuple) and any(isinstance(item, torch.Tensor | list | tuple) for item in value):
        return f"{_a(type(value).__name__)} of {len(value)}: {', '.join(map(describe, value[:4]))}"
    words = getattr(value, "__name__", None) or repr(value)  # a function's repr would hold an address
    return words if len(words) <= 80 else f"{words[:77]}..."


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeioAEIO' else 'a'} {noun}"


def _empty(): ...
def _empty_but_documented():
    """Compile to what a learner's function is that holds a docstring and `...`."""


_NOTHING = {_empty.__code__.co_code, _empty_but_documented.__code__.co_code}


class _Watched:
    """The learner's function, which remembers what it was given last and what it raised."""

    def __init__(self, function: Callable):
        update_wrapper(self, function)
        self.given, self.raised, self.returned = None, None, ...

    def __call__(self, *args, **kwargs):
        # described before the call: the function may write into what it is given
        self.given = ", ".join([*map(describe, args), *(f"{k}={describe(v)}" for k, v in kwargs.items())])
        try:
            self.returned = result = self.__wrapped__(*args, **kwargs)
        except Exception as error:
            self.raised = error
            raise
        code = getattr(self.__wrapped__, "__code__", None)
        if _blank(result) or (result is None and code is not None and code.co_code in _NOTHING):
            raise _Blank
        return result


def _blank(answer) -> bool:
    """Say whether an answer is `...`, or holds nothing else."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple) and answer:
        return all(item is ... for item in answer)
    return answer is ...


def _learners_frames(error: Exception, answer) -> list[traceback.FrameSummary]:
    """Return the traceback's frames in the learner's code: the notebook, or the module the answer comes from."""
    homes = {"__main__", getattr(answer, "__module__", None) or "__main__"}
    walk = traceback.walk_tb(error.__traceback__)
    pairs = [(frame, line) for frame, line in walk if frame.f_globals.get("__name__") in homes]
    return traceback.StackSummary.extract(iter(pairs), lookup_lines=False)


def _explain(error: Exception, frames: list, given: str | None) -> str:
    """Say what the learner's code raised, where, and what it had been given."""
    said = [f"Your code raised {type(error).__name__}" + (f": {error}" if str(error) else ".")]
    if frames:
        source = linecache.getline(frames[-1].filename, frames[-1].lineno).strip()
        said.append(f"It happened in line {frames[-1].lineno}" + (f": `{source}`" if source else "."))
    if given:
        said.append(f"It had been given {given}.")
    return "\n".join(said)


def judge(name: str, check: Callable, answer) -> Verdict:
    """Run a check on an answer, and put back the grad mode, RNG and other global state that the answer moved.

    An exception in the learner's code becomes a verdict. One in the check itself is not the learner's, and is raised.
    """
    if _blank(answer):
        return Verdict(name, "not tried yet")
    wrap = callable(answer) and not isinstance(answer, type | torch.nn.Module)
    watched = _Watched(answer) if wrap else answer
    try:
        with put_back(), torch.enable_grad():
            praise = check(watched)
    except _Blank:
        return Verdict(name, "not tried yet")
    except Wrong as wrong:
        return Verdict(name, "not yet", str(wrong))
    except Exception as error:
        frames = _learners_frames(error, answer)
        theirs = error is watched.raised if wrap else False
        if "ellipsis" in str(error).lower():  # a blank such as `size = ...` went into a call
            return Verdict(name, "not tried yet", "A `...` is still in it.")
        if wrap and not theirs and watched.returned is None:
            return Verdict(name, "not yet", "Your function returned None. Is a `return` missing?")
        if not theirs and not frames:
            raise
        return Verdict(name, "not yet", _explain(error, frames, watched.given if wrap else None))
    return Verdict(name, "solved", praise or "")
