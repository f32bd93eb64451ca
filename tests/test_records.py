"""What a learner has done in a lesson, counted once and kept where its folder exists."""

import json
from pathlib import Path

import pytest

from featlab.records import Record

BROKEN = [b"{", b"[]", b'{"predictions": 3}', b'{"predictions": {"w": 1}, "exercises": {}}', b"\x00", b"\xff\xfe", b""]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / ".featlab").mkdir()
    return tmp_path / ".featlab"


def record(folder: Path) -> Record:
    """Return the lesson's record, as a kernel that has just started sees it."""
    return Record("01_tensors", folder)


def test_a_record_counts_predictions_and_exercises(folder):
    kept = record(folder)
    assert kept.line(["a", "b"]) == "predictions 0 made, 0 right · exercises 0 of 2 solved"
    kept.locked("w", "b) 9")
    kept.locked("x", "a) 1")
    kept.compared("w", True)
    kept.compared("x", False)
    kept.compared("never asked", True)
    for status in ("not tried yet", "not yet", "solved", "not yet"):
        kept.checked("a", status)
    kept.checked("b", "not yet")
    kept.checked("no longer an exercise", "solved")
    assert kept.line(["a", "b"]) == "predictions 2 made, 1 right · exercises 1 of 2 solved, 1 more tried"
    assert record(folder).line(["a", "b"]) == kept.line(["a", "b"])
    assert kept.exercises["a"] == {"tries": 3, "solved": True}


def test_a_blank_leaves_no_trace(folder):
    record(folder).checked("a", "not tried yet")
    assert list(folder.iterdir()) == []


def test_the_file_is_readable_and_nothing_else_is_left(folder):
    record(folder).locked("w", "b) `9` as well ✓")
    kept = json.loads((folder / "01_tensors.json").read_text("utf8"))
    assert kept["predictions"] == {"w": {"guess": "b) `9` as well ✓", "right": None}}
    assert [path.name for path in folder.iterdir()] == ["01_tensors.json"]


def test_a_guess_after_the_result_was_seen_does_not_improve_the_record(folder):
    kept = record(folder)
    kept.locked("w", "a) 1")
    kept.compared("w", False)
    again = record(folder)
    again.locked("w", "b) 9")
    again.compared("w", True)
    assert "1 made, 0 right" in record(folder).line([])


def test_nothing_is_written_where_there_is_no_folder(tmp_path):
    kept = record(tmp_path / ".featlab")
    kept.locked("w", "b) 9")
    assert "1 made" in kept.line([])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_record_is_set_aside_and_told_of(folder, broken):
    file = folder / "01_tensors.json"
    for aside in ("01_tensors.json.broken", "01_tensors.json.broken1"):
        file.write_bytes(broken)
        kept = record(folder)
        assert kept.trouble == (
            f"The record 01_tensors.json could not be understood. It is kept as {aside}, and a new one starts."
        )
        assert (folder / aside).read_bytes() == broken
        kept.locked("w", "b) 9")
        assert "1 made" in record(folder).line([])


def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")


def test_a_record_that_cannot_be_written_goes_on_in_memory(folder, monkeypatch):
    kept = record(folder)
    monkeypatch.setattr(Path, "replace", refuse)
    kept.locked("w", "b) 9")
    kept.compared("w", True)
    assert "1 made, 1 right" in kept.line([])
    assert kept.trouble == (
        "The record 01_tensors.json cannot be written (Permission denied); this session is kept in memory only."
    )
    assert list(folder.iterdir()) == []


def test_a_broken_record_that_cannot_be_moved_is_left_alone(folder, monkeypatch):
    (folder / "01_tensors.json").write_text("{")
    monkeypatch.setattr(Path, "rename", refuse)
    kept = record(folder)
    kept.locked("w", "b) 9")
    assert kept.trouble.endswith("this session is kept in memory only.")
    assert (folder / "01_tensors.json").read_text() == "{"


def test_a_record_that_cannot_be_read_is_not_overwritten(folder):
    (folder / "01_tensors.json").mkdir()
    kept = record(folder)
    kept.locked("w", "b) 9")
    assert "cannot be read" in kept.trouble
    assert (folder / "01_tensors.json").is_dir()
