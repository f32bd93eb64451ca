"""Run a notebook in a copy of its folder and say what it leaves behind: files, processes, calls into the network."""

import hashlib
import shutil
import uuid
from pathlib import Path

import psutil
from kernels import execute
from nbformat import NotebookNode

OFFLINE = Path(__file__).with_name("offline.py")


def run_watched(nb: NotebookNode, path: Path, scratch: Path, *, gpu: bool = False) -> tuple[NotebookNode, list[str]]:
    """Return the executed notebook and one sentence for each thing it left behind."""
    folder, log, mark = scratch / "tree" / "notebooks", scratch / "network.log", uuid.uuid4().hex
    shutil.copytree(path.parent, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    before, left = _files(folder.parent), []

    def look(kernel: int) -> None:
        for process in _descendants(kernel, mark):
            left.append(f"the process {' '.join(process.cmdline()) or process.name()} still runs")
            process.kill()

    executed = execute(
        nb,
        path,
        folder=folder,
        startup=OFFLINE.read_text(encoding="utf-8"),
        env={"FEATLAB_NETWORK_LOG": str(log), "FEATLAB_RUN": mark},
        at_end=look,
        gpu=gpu,
    )
    after = _files(folder.parent)
    left += [f"the file {name} was left or changed" for name in sorted(after) if after[name] != before.get(name)]
    left += [f"the file {name} is gone" for name in sorted(before.keys() - after.keys())]
    left += [f"the network was asked: {line}" for line in log.read_text(encoding="utf-8").splitlines()]
    return executed, left


def _files(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _descendants(kernel: int, mark: str) -> list[psutil.Process]:
    """Return the kernel's children, and processes that left it but still carry its mark."""
    children = psutil.Process(kernel).children(recursive=True)
    return children + [p for p in psutil.process_iter() if p.pid != kernel and p not in children and _has(p, mark)]


def _has(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("FEATLAB_RUN") == mark
    except psutil.Error:  # another user's, or gone meanwhile
        return False
