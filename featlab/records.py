"""What a learner has predicted and solved in one lesson, kept in memory and, beside learners' copies, in a file."""

import json
import os
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path


class Record:
    """The predictions and exercises of one lesson.

    A prediction counts once: the first one that was compared stays, whatever is guessed after a restart.
    An exercise that was solved once stays solved.

    Args:
        lesson: the lesson's name, which is the file's name too.
        folder: where files are kept; when it does not exist nothing is written.

    `record.trouble` is a sentence about a file that could not be read or written, else "".
    """

    def __init__(self, lesson: str, folder: Path):
        self.lesson, self.file, self.trouble = lesson, folder / f"{lesson}.json", ""
        self.predictions: dict[str, dict] = {}
        self.exercises: dict[str, dict] = {}
        self._alone = threading.Lock()  # a click may be handled in another thread than the cells
        self._writes = folder.is_dir()
        if self._writes:
            self._read()

    def locked(self, name: str, guess: str) -> None:
        """Note what was predicted."""
        with self._alone:
            if self.predictions.get(name, {}).get("right") is None:
                self.predictions[name] = {"guess": guess, "right": None}
                self._write()

    def compared(self, name: str, right: bool) -> None:
        """Note whether the prediction was right; without one there is nothing to note."""
        with self._alone:
            if name in self.predictions and self.predictions[name]["right"] is None:
                self.predictions[name]["right"] = right
                self._write()

    def checked(self, name: str, status: str) -> None:
        """Note a check of an exercise; a blank leaves no trace."""
        if status == "not tried yet":
            return
        with self._alone:
            old = self.exercises.get(name, {"tries": 0, "solved": False})
            self.exercises[name] = {"tries": old["tries"] + 1, "solved": old["solved"] or status == "solved"}
            self._write()

    def line(self, exercises: list[str]) -> str:
        """Return the lesson in one line, given the names of its exercises."""
        right = sum(kept["right"] is True for kept in self.predictions.values())
        tried = [self.exercises[name]["solved"] for name in exercises if name in self.exercises]
        more = f", {tried.count(False)} more tried" if False in tried else ""
        made = f"predictions {len(self.predictions)} made, {right} right"
        return f"{made} · exercises {tried.count(True)} of {len(exercises)} solved{more}" if exercises else made

    def _read(self) -> None:
        try:
            kept = json.loads(self.file.read_text(encoding="utf8"))
            self.predictions = {
                name: {"guess": str(p["guess"]), "right": p["right"]} for name, p in kept["predictions"].items()
            }
            self.exercises = {
                name: {"tries": int(e["tries"]), "solved": bool(e["solved"])} for name, e in kept["exercises"].items()
            }
        except FileNotFoundError:
            pass
        except OSError as error:
            self._memory_only(f"cannot be read ({error.strerror})")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.predictions, self.exercises = {}, {}
            self._set_aside()

    def _memory_only(self, why: str) -> None:
        self._writes = False
        self.trouble = f"The record {self.file.name} {why}; this session is kept in memory only."

    def _set_aside(self) -> None:
        """Rename a file that is no record, so that nothing is lost and a new one can start."""
        names = (f"{self.file.name}.broken{number or ''}" for number in count())
        aside = next(path for path in map(self.file.with_name, names) if not path.exists())
        try:
            self.file.rename(aside)
        except OSError:
            self._memory_only("could not be understood")
        else:
            what = f"The record {self.file.name} could not be understood."
            self.trouble = f"{what} It is kept as {aside.name}, and a new one starts."

    def _write(self) -> None:
        if not self._writes:
            return
        kept = {"lesson": self.lesson, "predictions": self.predictions, "exercises": self.exercises}
        draft = self.file.with_suffix(f".{os.getpid()}.draft")
        try:
            # written beside and moved over, so that a crash leaves the old record or the new one
            draft.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf8")
            draft.replace(self.file)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            self._memory_only(f"cannot be written ({error.strerror})")
