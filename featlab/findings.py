"""What an audit found: data to work with, sentences to read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .faces import Shown

SEVERITIES = ("note", "warning", "error")  # from the least to the worst
_SIGNS = {"note": "○", "warning": "▲", "error": "✗"}


class AuditFailed(Exception):  # noqa: N818 - a failed audit is what it is
    """Raised by `Audit.raise_if`; `findings` holds the audit."""

    def __init__(self, message: str, findings: "Audit"):
        super().__init__(message)
        self.findings = findings


@dataclass(frozen=True)
class Finding:
    """One contradiction in a model.

    Attributes:
        code: names the mechanism, such as "frozen-statistics-move".
        severity: "error" (it cannot work), "warning" (it does not do what it looks like) or "note".
        where: dotted names of the submodules or parameters it concerns; the model itself is "".
        evidence: what was found, in a sentence.
        remedy: a line of code that mends it, with `model`, `optimizer` and `fl` as names.
        meaning: what follows from it, for somebody who has never heard of it.
    """

    code: str
    severity: str
    where: tuple[str, ...]
    evidence: str
    remedy: str
    meaning: str

    @property
    def place(self) -> str:
        """Where, in a few words."""
        first = self.where[0] or "the model itself" if self.where else "the optimizer"
        return first if len(self.where) <= 1 else f"{first} and {len(self.where) - 1} more"


class Audit(Shown, Sequence):
    """The findings, the worst first; false when there are none."""

    def __init__(self, findings: Iterable[Finding]):
        self._findings = sorted(findings, key=lambda finding: -SEVERITIES.index(finding.severity))

    def __getitem__(self, index):
        return self._findings[index]

    def __len__(self) -> int:
        return len(self._findings)

    @property
    def codes(self) -> list[str]:
        """The code of each finding, in order."""
        return [finding.code for finding in self]

    def raise_if(self, severity: str = "warning") -> "Audit":
        """Raise when something at least as severe was found, else return the audit.

        Raises:
            AuditFailed: with every finding of that severity or worse in its message.
            ValueError: there is no such severity.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity is one of {', '.join(SEVERITIES)}; this is {severity!r}.")
        worst = [one for one in self if SEVERITIES.index(one.severity) >= SEVERITIES.index(severity)]
        if worst:
            raise AuditFailed("\n".join(Audit(worst).lines()).replace("`", ""), self)
        return self

    def lines(self) -> list[str]:
        if not self:
            return ["Nothing found."]
        counts = [(sum(one.severity == kind for one in self), kind) for kind in reversed(SEVERITIES)]
        said = ", ".join(f"{number} {kind}{'s' * (number > 1)}" for number, kind in counts if number)
        rows = [f"Found: {said}."]
        for one in self:
            rows.append(f"{_SIGNS[one.severity]} {one.severity}: {one.code}, {one.place}")
            rows.append(f"   {one.evidence} {one.meaning}")
            rows.append(f"   mend: `{one.remedy}`")
        return rows
