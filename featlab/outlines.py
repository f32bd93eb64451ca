"""What a tree of submodules shows of each: its name, class, parameters, and marks for mode, frozen and shared."""

from collections import Counter
from dataclasses import dataclass

from torch import nn
from torch.nn.parameter import is_lazy

from .selectors import check_module, walk

_MODES = ("○ eval", "● train")
_FROZEN, _PARTLY, _SHARED = "■ frozen", "◧ part frozen", "⇄ shared"
UNKNOWN = -1  # the parameters of a lazy module, which has no shapes yet


@dataclass(frozen=True)
class Outline:
    """Every submodule of a model as columns, in model order; a shared one has a row for each of its names.

    `parameters` counts what is in the submodule and below it, each parameter once. `marks` are signs with words: the
    mode, then frozen or part frozen, then shared (the same module under two names, or a parameter held twice).
    """

    title: str
    names: list[str]
    modules: list[nn.Module]
    depths: list[int]
    parameters: list[int]
    marks: list[str]

    @property
    def kinds(self) -> list[str]:
        """The class of each."""
        return [type(module).__name__ for module in self.modules]

    def other_names(self, module: nn.Module, name: str) -> list[str]:
        """Return the other names under which the model holds the same module."""
        return [other for other, same in zip(self.names, self.modules, strict=True) if same is module and other != name]


def outline(model: nn.Module) -> Outline:
    """Read the tree of a model; nothing is run."""
    check_module(model)
    rows = [("", model), *walk(model)]
    depths = [name.count(".") + 1 if name else 0 for name, _ in rows]
    owned = [[p for p in module._parameters.values() if p is not None] for _, module in rows]
    counts, states = _totals(depths, owned)
    places = Counter(id(module) for _, module in rows)
    own = {id(module): mine for (_, module), mine in zip(rows, owned, strict=True)}
    slots = Counter(id(p) for mine in own.values() for p in mine)
    tied = {key for key, number in slots.items() if number > 1}
    marks = []
    for (_, module), mine, state in zip(rows, owned, states, strict=True):
        shared = places[id(module)] > 1 or bool(tied) and any(id(p) in tied for p in mine)
        marks.append("  ".join([_MODES[module.training], *[state] * bool(state), *[_SHARED] * shared]))
    title = f"{type(model).__name__}, {len(rows) - 1:,} submodules, {human(counts[0])} parameters"
    names, modules = [name for name, _ in rows[1:]], [module for _, module in rows[1:]]
    return Outline(title, names, modules, [depth - 1 for depth in depths[1:]], counts[1:], marks[1:])


def _totals(depths: list[int], owned: list[list[nn.Parameter]]) -> tuple[list[int], list[str]]:
    """Return, for each row and all rows below it, how many parameters there are, and whether they are frozen."""
    seen = Counter(id(p) for mine in owned for p in mine)
    counts = [0] * len(depths)
    # those that several rows hold are kept apart, to be counted once wherever two such rows come together
    repeated: list[dict[int, int]] = [{} for _ in depths]
    learns, frozen = [False] * len(depths), [False] * len(depths)
    parents, path = [], []
    for row, depth in enumerate(depths):
        del path[depth:]
        parents.append(path[-1] if path else None)
        path.append(row)
    for row in reversed(range(len(depths))):
        for p in owned[row]:
            size = UNKNOWN if is_lazy(p) else p.numel()
            if seen[id(p)] > 1:
                repeated[row][id(p)] = size
            else:
                counts[row] = _sum(counts[row], size)
            learns[row] |= p.requires_grad
            frozen[row] |= not p.requires_grad
        above = parents[row]
        if above is not None:
            counts[above] = _sum(counts[above], counts[row])
            repeated[above].update(repeated[row])
            learns[above] |= learns[row]
            frozen[above] |= frozen[row]
        for size in repeated[row].values():
            counts[row] = _sum(counts[row], size)
    states = ["" if not f else _PARTLY if k else _FROZEN for k, f in zip(learns, frozen, strict=True)]
    return counts, states


def _sum(total: int, size: int) -> int:
    return UNKNOWN if UNKNOWN in (total, size) else total + size


def human(count: int) -> str:
    """Return a number of parameters as people say it: "", "640", "9.41 K", "11.7 M"; "lazy" where it is unknown."""
    if count < 1000:
        return "lazy" if count == UNKNOWN else str(count)
    rounded = float(f"{count:.3g}")
    thousands = min(4, (len(f"{rounded:.0f}") - 1) // 3)
    return f"{rounded / 1000**thousands:.3g} {' KMBT'[thousands]}"
