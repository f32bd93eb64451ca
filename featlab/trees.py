"""The tree of submodules as its faces show it: columns for the browser, a table for text and HTML."""

from collections.abc import Iterable

from .onlookers import Onlooker
from .outlines import human
from .tables import Table

_LISTED = 200  # rows of the static faces


def heading(onlooker: Onlooker) -> str:
    """Return the model and its input in one line."""
    return onlooker.outline.title + (f", given {onlooker.given}" if onlooker.has_input else "")


def columns(onlooker: Onlooker) -> dict:
    """Return the rows for the browser, as columns that point into one list of words: small, however many rows."""
    tree, words = onlooker.outline, {}

    def column(texts: Iterable[str]) -> list[int]:
        return [words.setdefault(text, len(words)) for text in texts]

    rows = range(len(tree.names))
    return {
        "title": heading(onlooker),
        "error": onlooker.error,
        "depths": tree.depths,
        "names": column(name.rpartition(".")[2] for name in tree.names),
        "kinds": column(tree.kinds),
        "sizes": column(map(_size, tree.parameters)),
        "outputs": column(map(onlooker.output, rows)),
        "marks": column(_marks(onlooker, row) for row in rows),
        "words": list(words),
    }


def table(onlooker: Onlooker) -> Table:
    """Return the rows of the static faces, indented, as many as a page can bear."""
    tree = onlooker.outline
    return Table(
        [
            {
                "name": "  " * tree.depths[row] + tree.names[row].rpartition(".")[2],
                "class": tree.kinds[row],
                "parameters": _size(tree.parameters[row]),
                "output": onlooker.output(row),
                "marks": _marks(onlooker, row),
            }
            for row in range(min(len(tree.names), _LISTED))
        ]
    )


def notes(onlooker: Onlooker) -> list[str]:
    """Return what the static faces say below the table: what is left out, and what went wrong."""
    left = len(onlooker.outline.names) - _LISTED
    more = [f'and {left:,} more; fl.names(model, "**") lists all.'] if left > 0 else []
    return more + [onlooker.error] * bool(onlooker.error)


def _size(count: int) -> str:
    return human(count) if count else ""


def _marks(onlooker: Onlooker, row: int) -> str:
    number = len(onlooker.calls.get(onlooker.outline.modules[row], ()))
    return onlooker.outline.marks[row] + (f"  ×{number} calls" if number > 1 else "")
