"""See what really happens inside a PyTorch model: the door to featlab's calls, without logic of its own."""

from importlib import import_module

__version__ = "0.1.0"

# call -> the room it lives in
_CALLS = {
    "LayerPicker": "pickers",
    "ModeInspector": "inspectors",
    "NeverRan": "absences",
    "UnknownName": "selectors",
    "audit": "audits",
    "capture": "activations",
    "compare_ways": "extractors",
    "evaluating": "switches",
    "extractor": "extractors",
    "features": "activations",
    "freeze": "switches",
    "modes": "switches",
    "names": "selectors",
    "storages": "memory",
    "unfreeze": "switches",
    "watch": "changes",
}
_ROOMS = ("checkups", "dials", "figures", "graphs", "memory", "practice", "samples", "signals", "tables")

__all__ = [*_CALLS, *_ROOMS]


def __getattr__(name: str):
    if name in _CALLS:
        return getattr(import_module(f"featlab.{_CALLS[name]}"), name)
    if name in _ROOMS:
        return import_module(f"featlab.{name}")
    raise AttributeError(f"featlab has no '{name}'. It has: {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return sorted(__all__)
