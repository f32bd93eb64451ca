"""The house stands as drawn: arrows run one way, the door is light, no room shares its name with a call."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import featlab

HOUSE = Path(featlab.__file__).parent
# a room may import rooms of lower floors only
FLOORS = {
    "tables": 0, "selectors": 0, "structures": 0, "faces": 0, "records": 0, "downloads": 0, "networks": 0, "graphs": 0,
    "states": 1, "memory": 1, "samples": 1, "figures": 2, "absences": 1, "switches": 1, "activations": 2,
    "looks": 1, "outlines": 1, "summaries": 1, "panels": 2, "extractors": 3, "onlookers": 3, "trees": 4,
    "differences": 0, "snapshots": 2, "comparisons": 3, "changes": 4, "verdicts": 2,
    "findings": 1, "overrides": 2, "scenes": 2, "trials": 3, "audits": 4, "questions": 4,
    "signals": 3, "dials": 0, "pickers": 5, "inspections": 5, "inspectors": 6,
    "predictions": 5, "practice": 6, "checkups": 6, "exercises": 7,
}  # fmt: skip
WIDGET_ROOMS = {"questions", "pickers", "inspectors", "dials"}


def rooms() -> list[Path]:
    return sorted(path for path in HOUSE.rglob("*.py") if path != HOUSE / "__init__.py")


def room_of(path: Path) -> str:
    """Return "memory" for memory.py and "exercises" for anything in exercises/."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the modules that a file imports, `featlab.x` for relative ones too."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "featlab" if node.level else node.module
            module = f"{module}.{node.module}" if node.level and node.module else module
            found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return found


@pytest.mark.parametrize("path", rooms(), ids=room_of)
def test_a_room_imports_only_from_lower_floors(path):
    room = room_of(path)
    assert room in FLOORS, f"{path.name} is a new room: give it a floor here"
    used = {name.split(".")[1] for name in imports(path) if name.startswith("featlab.")} & set(FLOORS)
    above = {other for other in used if other != room and FLOORS[other] >= FLOORS[room]}
    # practice looks a check up by its name: the one call upstairs, made when a learner asks for it
    assert above <= ({"exercises"} if room == "practice" else set()), f"{room} imports {sorted(above)}"


@pytest.mark.parametrize("path", rooms(), ids=room_of)
def test_only_widget_rooms_import_widgets(path):
    widgets = {name.split(".")[0] for name in imports(path)} & {"ipywidgets", "anywidget", "traitlets"}
    at_top = {name.split(".")[0] for name in imports(path, top_level_only=True)} & {"ipywidgets", "anywidget"}
    if room_of(path) == "checkups":  # it asks whether widgets work, so it imports them inside a call
        assert not at_top
    elif room_of(path) not in WIDGET_ROOMS:
        assert not widgets


def test_tables_know_neither_torch_nor_widgets():
    assert not {name.split(".")[0] for name in imports(HOUSE / "tables.py")} & {"torch", "ipywidgets", "anywidget"}


def test_no_room_shares_its_name_with_a_call():
    assert not set(featlab._CALLS) & {room_of(path) for path in rooms()}


def test_the_door_opens_everything_it_names():
    for name in featlab.__all__:
        assert getattr(featlab, name) is not None


def test_an_unknown_name_at_the_door_says_what_there_is():
    with pytest.raises(AttributeError, match="featlab has no 'storage'. It has: .*storages"):
        featlab.storage  # noqa: B018


def test_import_featlab_loads_no_heavy_package():
    code = "import sys, featlab; print(*{n.split('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "torchvision", "matplotlib", "ipywidgets", "anywidget", "sklearn"} & set(done.stdout.split())
