"""One question that a learner answers before the run: locked once, then compared with what came out."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from featlab.faces import Shown

LETTERS = "abcdefghi"
CLOSED = "The result is known, so this prediction is closed. Restart the kernel to guess afresh."


def plain(value):
    """Return the Python value in a torch or NumPy scalar or one-element tensor; anything else as it is.

    Raises:
        ValueError: the tensor or array has more elements, or none.
    """
    if not hasattr(value, "item") or not hasattr(value, "shape"):
        return value
    if math.prod(value.shape) != 1:
        raise ValueError(f"One value can be compared, not {type(value).__name__} of shape {tuple(value.shape)}.")
    return value.item()


def exactly(a, b) -> bool:
    """Compare two outcomes, NaN equal to itself."""
    return bool(a == b) or (a != a and b != b)


def nearly(a, b) -> bool:
    """Compare two numbers up to float32's rounding; what is no number is never near."""
    return isinstance(a, int | float) and isinstance(b, int | float) and math.isclose(a, b, rel_tol=1e-6)


def number(value: float) -> str:
    """Write a number with the digits a reader needs: whole ones in full, others to four digits."""
    if float(value).is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


class Prediction(Shown):
    """A question with lettered options, or one that asks for a number; it shows itself and locks one answer.

    `state` is "open", "locked", or "closed" (the result came first). `guess` is the locked outcome, else None.
    """

    def __init__(self, name: str, question: str, options: Mapping | None, *, unit: str, within: float):
        # a question written over several lines of code is still one sentence to read
        self.name, self.question, self.unit, self.within = name, " ".join(question.split()), unit, within
        self.options = None if options is None else dict(options)
        self.state, self.guess, self.note = "open", None, ""
        self.on_lock: Callable[[Prediction], None] = lambda prediction: None
        self.on_change: Callable[[], None] = lambda: None
        self._live = None

    def asks_as(self, other: "Prediction") -> bool:
        """Say whether both ask the same question in the same words."""
        ours, theirs = (list(p.options.items()) if p.options else None for p in (self, other))
        return (self.question, ours, self.unit, self.within) == (other.question, theirs, other.unit, other.within)

    def option(self, outcome) -> int | None:
        """Return which option an outcome is, else None; an equal one goes before one that is only near."""
        for same in (exactly, nearly):
            for index, known in enumerate(self.options):
                if same(known, outcome):
                    return index
        return None

    def wording(self, outcome) -> str:
        """Return an outcome as the learner reads it: "b) 9 as well", or "21 %"."""
        if self.options is None:
            return f"{number(outcome)} {self.unit}".rstrip()
        index = self.option(outcome)
        return f"{LETTERS[index]}) {list(self.options.values())[index]}"

    @property
    def chosen(self) -> str:
        """The locked answer as it is typed or clicked: a letter or a number, else ""."""
        if self.state != "locked":
            return ""
        return number(self.guess) if self.options is None else LETTERS[self.option(self.guess)]

    def understand(self, mine):
        """Return the outcome that a typed or clicked answer means.

        Raises:
            ValueError: it is no letter of an option, or no number; the message is for the learner.
        """
        if self.options is None:
            return self._number(mine)
        outcomes, letters = list(self.options), list(LETTERS[: len(self.options)])
        letter = mine.strip().rstrip(")").lower() if isinstance(mine, str) else None
        index = letters.index(letter) if letter in letters else self.option(plain(mine))
        if index is None:
            raise ValueError(f"{mine!r} is none of {', '.join(letters)}. Nothing is locked yet.")
        return outcomes[index]

    def _number(self, mine) -> float:
        try:
            value = plain(mine)
            value = value.strip().removesuffix(self.unit) if isinstance(value, str) else value
            value = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{mine!r} is not a number. Nothing is locked yet.")
        return value

    def lock(self, mine) -> None:
        """Lock an answer; what cannot be locked leaves a sentence in `note`."""
        self.note = ""
        try:
            guess = self.understand(mine)
        except ValueError as error:
            self.note = str(error)
        else:
            if self.state == "open":
                self.state, self.guess = "locked", guess
                self.on_lock(self)
            elif self.state == "locked" and not exactly(guess, self.guess):
                self.note = f"A locked prediction stays as it is; {self.wording(guess)} came too late."
        self.on_change()

    def settle(self, outcome) -> "Comparison":
        """Close the question and return the comparison with what came out.

        Raises:
            ValueError: the outcome is none of the options, or no number.
        """
        outcome = plain(outcome)
        if self.options is None:
            if isinstance(outcome, bool) or not isinstance(outcome, int | float):
                raise ValueError(f"'{self.name}' asks for a number, and the outcome is {outcome!r}.")
        elif self.option(outcome) is None:
            listed = ", ".join(f"{key!r} ({words})" for key, words in self.options.items())
            raise ValueError(f"The outcome of '{self.name}' is {outcome!r}, which is no option. Options: {listed}.")
        if self.state == "open":
            self.state = "closed"
        self.note = ""
        self.on_change()
        return Comparison(self, outcome)

    def status(self) -> str:
        """Return the line that tells where the question stands."""
        if self.state == "locked":
            return f"Locked: {self.wording(self.guess)}"
        return CLOSED if self.state == "closed" else self.how()

    def how(self) -> str:
        """Return how to answer, in words that hold for every face."""
        if self.options is None:
            live, typed = "where there is a field, type a number and press Lock", "`mine=` and your number"
        else:
            live, typed = "where there are buttons, click one or press its letter", '`mine="a"` (your letter)'
        return f"Your turn: {live}. Or write {typed} in the cell, and run it."

    def lines(self) -> list[str]:
        rows = [f"  {letter}) {words}" for letter, words in zip(LETTERS, (self.options or {}).values(), strict=False)]
        asked = [f"  a number ({self.unit})" if self.unit else "  a number"] if self.options is None else rows
        return [f"Predict: {self.question}", *asked, *[self.note] * bool(self.note), self.status()]

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data, metadata = {"text/plain": repr(self), "text/html": self._repr_html_()}, {}
        try:
            from featlab.questions import Question
        except ImportError:  # no widgets here: the static faces tell how to type
            return data, metadata
        if self._live is None:
            self._live = Question(self)
        view, metadata = self._live.view()
        return data | view, metadata


class Comparison(Shown):
    """A prediction beside what came out; `right` is True, False, or None when nothing was predicted."""

    weights = MappingProxyType({0: "small", 3: "strong"})  # the question was read before; the verdict is new

    def __init__(self, prediction: Prediction, outcome):
        self.prediction, self.outcome = prediction, outcome
        self.right, self.gap = None, None
        if prediction.state == "locked" and prediction.options is None:
            self.gap = abs(outcome - prediction.guess)
            self.right = self.gap <= prediction.within or nearly(outcome, prediction.guess)
        elif prediction.state == "locked":
            self.right = prediction.option(outcome) == prediction.option(prediction.guess)

    def lines(self) -> list[str]:
        ask, unit = self.prediction, self.prediction.unit
        guess = "nothing, the cell ran first" if self.right is None else ask.wording(ask.guess)
        verdict = {True: "✓ right", False: "✗ not this time", None: "○ no prediction made"}[self.right]
        if self.gap:
            verdict += f", off by {number(self.gap)} {unit}".rstrip()
        if self.gap and ask.within:
            verdict += f" (within {number(ask.within)} {unit}".rstrip() + " counts as right)"
        return [ask.question, f"You predicted: {guess}", f"It is: {ask.wording(self.outcome)}", verdict]
