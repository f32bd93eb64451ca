"""Which submodules a model has, and how a selector picks some of them."""

import difflib
import re
from collections.abc import Iterator, Sequence

from torch import nn

Selector = str | type[nn.Module] | Sequence[str | type[nn.Module]]


class UnknownName(LookupError):
    """No submodule of the model fits the selector."""


def names(model: nn.Module, selector: Selector = "**") -> list[str]:
    """Return the dotted names of the submodules that a selector picks, in model order.

    Args:
        selector: a name ("layer1.0.conv1"), a glob, a module class (its subclasses count), or a list of these.
            In a glob `*` and `?` stay within one component and `**` crosses dots: "**.bn1" finds every bn1.

    A submodule that the model holds under several names is listed once by a glob or class, under the first name that
    fits, and under each name that was asked for in full. The root ("") is not among the names.

    Raises:
        UnknownName: a part of the selector fits no submodule; the message suggests near names.
        TypeError: the selector or the model is of another type.

    Claims: H2, H3, W9.
    """
    check_module(model)
    parts = [selector] if isinstance(selector, str | type) else selector
    if not isinstance(parts, Sequence) or not parts:
        raise _wrong_selector(selector)
    if all(isinstance(part, str) and holds(model, part) for part in parts):  # the usual case walks no tree
        exact = list(dict.fromkeys(parts))
        if len(exact) == 1:
            return exact
    tree = list(walk(model))
    picked = {name for part in parts for name in _fitting(model, tree, part)}
    return [name for name, _ in tree if name in picked]


def walk(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every (name, submodule) below the root in model order, a shared submodule under each of its names."""
    stack = [("", model, frozenset({id(model)}))]
    while stack:
        name, module, above = stack.pop()
        if name:
            yield name, module
        children = [(key, child) for key, child in module._modules.items() if child is not None]
        for key, child in reversed(children):
            if id(child) not in above:  # a module that holds one of its own parents would never end
                stack.append((f"{name}.{key}" if name else key, child, above | {id(child)}))


def every(model: nn.Module) -> list[nn.Module]:
    """Return the model and its submodules, each once; faster than `model.modules()`, and in no promised order."""
    found, known = [model], {id(model)}
    for module in found:  # which grows meanwhile
        if children := module._modules:
            for child in children.values():
                if child is not None and id(child) not in known:
                    known.add(id(child))
                    found.append(child)
    return found


def check_module(model: object) -> None:
    """Raise TypeError, in words, for what is not an nn.Module."""
    if not isinstance(model, nn.Module):
        shown = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"featlab looks into an nn.Module; this is {shown}. Give the model itself.")


def holds(model: nn.Module, name: str) -> bool:
    """Say whether the model has a submodule of exactly this name."""
    return find(model, name) is not None


def find(model: nn.Module, name: str) -> nn.Module | None:
    """Return the submodule of exactly this name, or None; an attribute of the class that hides it is passed by."""
    module = model
    for key in name.split("."):
        # TorchScript's dict of submodules knows `in`, not `get`
        module = module._modules[key] if module is not None and key in module._modules else None
    return module


def _fitting(model: nn.Module, tree: list[tuple[str, nn.Module]], part: object) -> list[str]:
    if isinstance(part, type) and issubclass(part, nn.Module):
        found = _once(tree, lambda name, module: isinstance(module, part))
        what = f"of class {part.__name__}"
    elif isinstance(part, str):
        if holds(model, part):
            return [part]
        try:
            fits = re.compile(_regex(part)).fullmatch
        except re.error:  # brackets around nonsense, such as [z-a]
            raise UnknownName(_unknown(model, tree, part, f"'{part}'")) from None
        found = _once(tree, lambda name, module: fits(name))
        what = f"'{part}'"
    else:
        raise _wrong_selector(part)
    if not found:
        raise UnknownName(_unknown(model, tree, part, what))
    return found


def _once(tree, fits) -> list[str]:
    """Return the names that fit, one for each submodule."""
    first = {}
    for name, module in tree:
        if fits(name, module):
            first.setdefault(id(module), name)
    return list(first.values())


def _regex(glob: str) -> str:
    patterns = {"**.": r"(?:[^.]+\.)*", "**": r".+", "*": r"[^.]*", "?": r"[^.]"}
    tokens = re.findall(r"\*\*\.|\*\*|\*|\?|\[[^\]]+\]|.", glob)
    return "".join(
        patterns.get(token) or (token.replace("[!", "[^") if len(token) > 1 else re.escape(token)) for token in tokens
    )


def _unknown(model: nn.Module, tree: list[tuple[str, nn.Module]], part: str | type, what: str) -> str:
    known = list(dict.fromkeys(type(m).__name__ for _, m in tree)) if isinstance(part, type) else [n for n, _ in tree]
    given = part.__name__ if isinstance(part, type) else part
    same_end = [name for name in known if name.rsplit(".", 1)[-1] == given.rsplit(".", 1)[-1]]
    near = difflib.get_close_matches(given, known, n=3)
    # a bare last part is the commonest slip: 'conv1' for 'layer1.0.conv1'
    near = same_end[:3] if same_end and ("." not in given or not near) else near
    hint = f" Near: {', '.join(near)}." if near else ""
    total = f'fl.names(model, "**") lists all {len(tree)}.' if tree else "It has no submodules at all."
    return f"{type(model).__name__} has no submodule {what}.{hint} {total}"


def _wrong_selector(given: object) -> TypeError:
    shown = "an empty list" if isinstance(given, Sequence) and not given else f"{given!r:.80}"
    return TypeError(f"a selector is a name, a glob, a module class or a list of these; this is {shown}.")
