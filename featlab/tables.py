"""Rows in, text or HTML out. Knows neither torch nor widgets."""

from collections.abc import Mapping, Sequence
from html import escape


class Table:
    """Show rows as aligned text in a terminal and as an HTML table in a notebook, with the same content.

    Args:
        rows: one mapping per row, column name -> value. Values are shown by `str`; None shows as "-".
        columns: which columns, in which order; by default those of the first row.
        caption: a sentence that stands above the table in both faces.

    `table.rows` gives the mappings back, so that a lesson can assert on what it shows. An empty table is False.
    """

    def __init__(self, rows: Sequence[Mapping], *, columns: Sequence[str] | None = None, caption: str = ""):
        self.rows = [dict(row) for row in rows]
        self.columns = list(columns) if columns is not None else list(self.rows[0]) if self.rows else []
        self.caption = caption

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self):
        return iter(self.rows)

    def __getitem__(self, index: int) -> dict:
        return self.rows[index]

    def _cells(self) -> list[list[str]]:
        shown = [[row.get(column) for column in self.columns] for row in self.rows]
        return [["-" if value is None else str(value) for value in row] for row in shown]

    def _numeric(self) -> list[bool]:
        """Say which columns hold numbers only, so that both faces align them to the right."""
        columns = [[row.get(column) for row in self.rows] for column in self.columns]
        return [all(isinstance(v, int | float) and not isinstance(v, bool) for v in values) for values in columns]

    def __repr__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(self.columns, *cells, strict=True)]
        right = self._numeric()

        def line(values):
            padded = [v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True)]
            return "  ".join(padded).rstrip()

        lines = [line(self.columns), line(["-" * width for width in widths]), *map(line, cells)] if cells else []
        return "\n".join([self.caption] * bool(self.caption) + lines) or "(no rows)"

    def _repr_html_(self) -> str:
        align = ["right" if right else "left" for right in self._numeric()]

        def line(tag, values, scope=""):
            tds = (
                f'<{tag}{scope} style="text-align:{a}">{_html(v)}</{tag}>' for v, a in zip(values, align, strict=True)
            )
            return f"<tr>{''.join(tds)}</tr>"

        caption = f'<caption style="text-align:left">{escape(self.caption)}</caption>' if self.caption else ""
        head = line("th", self.columns, ' scope="col"')
        body = "".join(line("td", row) for row in self._cells())
        return f"<table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"


def _html(text: str) -> str:
    """Return text escaped; HTML would drop the spaces that indent it."""
    return "&nbsp;" * (len(text) - len(text.lstrip(" "))) + escape(text.lstrip(" "))
