"""The static faces of what a learner is shown: the same lines as plain text and as HTML."""

from collections.abc import Mapping
from html import escape
from types import MappingProxyType


def parts_of(text: str) -> list[tuple[bool, str]]:
    """Split text at its backticks into (is code, words); an odd backtick out is an ordinary character."""
    parts = text.split("`")
    return [(False, text)] if len(parts) % 2 == 0 else [(i % 2 == 1, part) for i, part in enumerate(parts) if part]


def as_text(text: str) -> str:
    """Return text without the backticks that mark code."""
    return "".join(words for _, words in parts_of(text))


def as_html(text: str) -> str:
    """Return text escaped, with `code` in <code>."""
    return "".join(f"<code>{escape(words)}</code>" if code else escape(words) for code, words in parts_of(text))


class Shown:
    """Base of what shows itself by lines: a subclass says which, in `lines()`.

    `weights` names the HTML element of a line that weighs more or less than others: line number -> "strong", "small".
    """

    weights: Mapping[int, str] = MappingProxyType({})

    def lines(self) -> list[str]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return "\n".join(as_text(line) for line in self.lines())

    def _repr_html_(self) -> str:
        lines = {number: as_html(line) for number, line in enumerate(self.lines())}
        lines |= {number: f"<{tag}>{lines[number]}</{tag}>" for number, tag in self.weights.items()}
        rows = "".join(f"<div>{line}</div>" for line in lines.values())
        # pre-wrap keeps indents and a learner's line breaks as the text face has them
        return f'<div class="featlab-shown" style="white-space:pre-wrap">{rows}</div>'
