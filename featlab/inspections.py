"""What an inspector shows of each submodule: mode, what learns, statistics, optimizer, and what is wrong."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from .audits import audit
from .findings import Audit, Finding
from .outlines import Outline, outline
from .scenes import drops, keeps_statistics, moves
from .switches import freeze, is_frozen, unfreeze
from .tables import Table

ACTS = ("train", "eval", "freeze", "unfreeze")
_LISTED = 200  # rows of the static faces
_SIGNS = {"note": "○", "warning": "▲", "error": "✗"}
# what a row is, for the filters: it reads its mode; its flag is not its parent's; it changed since the last look
READS, DISAGREES, CHANGED = 1, 2, 4


class Inspection:
    """The present state of a model, judged, and what changed since it was looked at before.

    Attributes:
        outline: the tree; its rows have the same numbers everywhere here. The model itself stands first, as "".
        findings: the audit.
        before: name -> what its mode and learnable were, where they changed since the last look.
        error: what the audit raised, in words, or "".
    """

    def __init__(self, model: nn.Module, *, optimizer: Any = None, original: nn.Module | None = None):
        self.extractor = model if original is not None else None
        self.model = original if original is not None else model
        self.optimizer, self.before, self._last = optimizer, {}, None
        self.ran = Audit([])
        self.look()

    def look(self) -> bool:
        """Read everything anew; say whether something changed since the last look."""
        self.outline: Outline = outline(self.model)
        self.names = ["", *self.outline.names]
        self.modules = [self.model, *self.outline.modules]
        self.depths = [0, *(depth + 1 for depth in self.outline.depths)]
        self.error, self.static = "", Audit([])
        try:
            self.static = audit(self.model, optimizer=self.optimizer)
        except Exception as error:  # a model of the user's may raise anything; the tree is shown all the same
            self.error = f"The audit raised {type(error).__name__}: {error}"
        self.findings = Audit([*self.static, *(one for one in self.ran if one.code not in self.static.codes)])
        self._gather()
        now = {name: (self.modes[row], self.learns[row]) for row, name in enumerate(self.names)}
        changed = self._last is not None and now != self._last
        if changed:
            self.before = {name: was for name, was in self._last.items() if now.get(name, was) != was}
            self.before |= {name: ("new", "") for name in now if name not in self._last}
        self._last = now
        return changed

    def run(self, x: Any) -> None:
        """Let the audit run the model on x, too; what it finds stays until the next run.

        Raises:
            ValueError: the model raises on x.
        """
        self.ran = audit(self.model, optimizer=self.optimizer, x=x)
        self.look()

    def _gather(self) -> None:
        """Fill the columns, from the leaves upwards."""
        held = {id(p) for group in self._groups() for p in group["params"]}
        rows = range(len(self.names))
        parents, path = [], []
        for row in rows:
            del path[self.depths[row] :]
            parents.append(path[-1] if path else None)
            path.append(row)
        self.parents = parents
        trains, evals, learns, frozen, mine, others = ([0] * len(self.names) for _ in range(6))
        for row in reversed(rows):
            module = self.modules[row]
            trains[row] += module.training is True
            evals[row] += module.training is not True
            for parameter in module._parameters.values():
                if parameter is not None:
                    learns[row] += parameter.requires_grad
                    frozen[row] += not parameter.requires_grad
                    mine[row] += id(parameter) in held
                    others[row] += id(parameter) not in held
            if (above := parents[row]) is not None:
                for column in (trains, evals, learns, frozen, mine, others):
                    column[above] += column[row]
        self.modes = [_mode(self.modules[row], trains[row], evals[row]) for row in rows]
        self.learns = [_part(learns[row], frozen[row], "learns", "frozen") for row in rows]
        self.held = [_part(mine[row], others[row], "in it", "not in it") for row in rows]
        by_name: dict[str, list[Finding]] = {}
        for finding in self.findings:
            for name in finding.where or ("",):
                by_name.setdefault(self._row_name(name), []).append(finding)
        self.found = [by_name.get(name, []) for name in self.names]
        self.below = [0] * len(self.names)  # rows below that have a finding of their own
        for row in reversed(rows):
            if (above := parents[row]) is not None:
                self.below[above] += self.below[row] + bool(self.found[row])

    def _row_name(self, name: str) -> str:
        """Return the submodule that a finding's place belongs to: itself, or the one that holds the parameter."""
        return name if name in self.outline.names or not name else name.rpartition(".")[0]

    def _groups(self) -> Iterable[dict]:
        given = self.optimizer if isinstance(self.optimizer, list | tuple) else [self.optimizer]
        return (group for one in given if one is not None for group in one.param_groups)

    def switched(self, mode: bool) -> list[int]:
        """Return the rows whose flag `extractor.train(mode)` would change."""
        if self.extractor is None:
            return []
        reached = {id(part) for part in self.extractor.modules() if not is_frozen(part)}
        return [row for row, part in enumerate(self.modules) if id(part) in reached and part.training is not mode]

    @property
    def warning(self) -> str:
        """What an eval() or train() of the extractor would do to the original, before it is called."""
        if self.extractor is None:
            return ""
        total, norms = len(self.modules), [row for row, part in enumerate(self.modules) if keeps_statistics(part)]
        said = []
        for name, mode in {"eval": False, "train": True}.items():
            rows = self.switched(mode)
            some = f"{len(rows)} of {total} modules and {len(set(rows) & set(norms))} of {len(norms)} norms"
            said.append(f"{name}() of the extractor would switch {some}")
        return "; ".join(said) + "."

    def columns(self) -> dict:
        """Return the rows for the browser, as columns that point into one list of words."""
        words: dict[str, int] = {}

        def column(texts: Iterable[str]) -> list[int]:
            return [words.setdefault(text, len(words)) for text in texts]

        rows = range(len(self.names))
        return {
            "title": self.title,
            "error": self.error,
            "depths": self.depths,
            "names": column(name.rpartition(".")[2] or self.root for name in self.names),
            "kinds": column(type(module).__name__ for module in self.modules),
            "modes": column(map(self.mode, rows)),
            "learns": column(self.learns),
            "findings": column(map(self.finding, rows)),
            "flags": [self._flags(row) for row in rows],
            "words": list(words),
            "rooted": True,
        }

    @property
    def root(self) -> str:
        return "(model)"

    @property
    def title(self) -> str:
        """The model, its modes and what was found, in one line."""
        modes = [module.training is True for module in self.modules]
        train = sum(modes)
        said = f"all {len(modes)} {'train' if train else 'eval'}" if train in (0, len(modes)) else ""
        said = said or f"mixed: {train} train, {len(modes) - train} eval"
        return f"{type(self.model).__name__}: {said} · {self._verdict()}"

    def _verdict(self) -> str:
        if not self.findings:
            return "nothing found"
        return f"{len(self.findings)} finding{'s' * (len(self.findings) > 1)}: {', '.join(self.findings.codes)}"

    def mode(self, row: int) -> str:
        """Return the mode of a row in words, with what its own flag was where that changed."""
        was, _, _ = self.before.get(self.names[row], ("new",))[0].partition(",")
        now = self.modes[row]
        changed = was not in ("new", now.partition(",")[0])
        if row in self._will_switch():
            now += " ⇄"
        return f"{now}  was {_plain(was)}" if changed else now

    def _will_switch(self) -> set[int]:
        return set(self.switched(False)) if self.extractor is not None else set()

    def finding(self, row: int) -> str:
        """Return the worst finding of a row, how many rows below have one, or that something changed."""
        if self.found[row]:
            worst = self.found[row][0]
            return f"{_SIGNS[worst.severity]} {worst.code}"
        if self.below[row]:
            return f"▾ {self.below[row]} below"
        return "✎ changed" if self.names[row] in self.before else ""

    def _flags(self, row: int) -> int:
        module, above = self.modules[row], self.parents[row]
        reads = keeps_statistics(module) or drops(module) or isinstance(module, nn.modules.batchnorm._NormBase)
        disagrees = above is not None and module.training is not self.modules[above].training
        return READS * reads + DISAGREES * disagrees + CHANGED * (self.names[row] in self.before)

    def facts(self, name: str) -> dict:
        """Return what is known of one submodule, its findings, and which switches it has."""
        row = self.names.index(name)
        module = self.modules[row]
        told = [("mode", _plain(self.modes[row])), ("parameters", self.learns[row] or "none of its own or below")]
        if keeps_statistics(module):
            told.append(("statistics", "move with every forward" if moves(module) else "stay"))
        elif below := [part for part in module.modules() if keeps_statistics(part)]:
            told.append(("statistics", f"{sum(map(moves, below))} of {len(below)} norms below move"))
        if self.optimizer is not None and self.held[row]:
            told.append(("optimizer", self.held[row]))
        if name in self.before:
            was = [part for part in map(_plain, self.before[name]) if part]
            told.append(("before", ", ".join(was)))
        if row in self._will_switch():
            told.append(("extractor.eval()", "would switch it"))
        findings = [
            {
                "sign": _SIGNS[one.severity],
                "severity": one.severity,
                "code": one.code,
                "says": f"{one.evidence} {one.meaning}",
            }
            | {"remedy": one.remedy}
            for one in self.found[row]
        ]
        return {"name": name, "kind": type(module).__name__, "facts": told, "findings": findings, "acts": list(ACTS)}

    def act(self, name: str, what: str) -> None:
        """Switch one subtree: train, eval, freeze or unfreeze."""
        module = self.modules[self.names.index(name)]
        {
            "train": module.train,
            "eval": module.eval,
            "freeze": lambda: freeze(module),
            "unfreeze": lambda: unfreeze(module),
        }[what]()

    def table(self) -> Table:
        """Return the rows of the static faces."""
        rows = [
            {
                "name": "  " * self.depths[row] + (self.names[row].rpartition(".")[2] or self.root),
                "class": type(self.modules[row]).__name__,
                "mode": self.mode(row),
                "parameters": self.learns[row],
                "finding": self.finding(row),
            }
            for row in range(min(len(self.names), _LISTED))
        ]
        return Table(rows)

    def notes(self) -> list[str]:
        """Return what stands below the table: what is left out, the extractor's warning, errors, and findings."""
        left = len(self.names) - _LISTED
        more = [f"and {left:,} more."] if left > 0 else []
        found = self.findings.lines() if self.findings else []
        return [*more, *[self.warning] * bool(self.warning), *[self.error] * bool(self.error), *found]


def _mode(module: nn.Module, trains: int, evals: int) -> str:
    """Return a submodule's own flag, and whether something below it has the other."""
    own = "● train" if module.training is True else "○ eval"
    return f"{own}, mixed below" if trains and evals else own


def _plain(mode: str) -> str:
    return mode.removeprefix("● ").removeprefix("○ ").removeprefix("■ ").removeprefix("◧ ")


def _part(yes: int, no: int, all_yes: str, all_no: str) -> str:
    """Return which of two words holds, or that it is parted."""
    if yes and no:
        return f"◧ partly {all_yes}"
    return all_yes if yes else f"■ {all_no}" if no else ""
