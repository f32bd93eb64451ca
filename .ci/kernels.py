"""Run notebooks, each in a fresh kernel on the CPU that opens no port and reads nobody's profile."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from files import LessonFailed, shown
from nbformat import NotebookNode

from notebooks import blank, normalise


def execute(
    nb: NotebookNode,
    path: Path,
    *,
    folder: Path | None = None,
    startup: str = "",
    env: Mapping[str, str] | None = None,
    gpu: bool = False,
    at_end: Callable[[int], None] | None = None,
    timeout: int = 300,
) -> NotebookNode:
    """Run the notebook in a fresh kernel and return it in normal form with its new outputs.

    Args:
        path: the notebook's file, named in errors.
        folder: where the kernel works, by default the notebook's own folder.
        startup: Python that the kernel runs before the first cell.
        env: added to the kernel's environment.
        gpu: let the kernel see the machine's GPUs.
        at_end: called with the kernel's process id after the last cell, while the kernel still lives.
        timeout: seconds for one cell.

    Raises:
        LessonFailed: a cell raised, took too long or killed its kernel.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    nb = blank(nb)
    at = None
    with tempfile.TemporaryDirectory(prefix="nb-", ignore_cleanup_errors=True) as private:
        manager = _kernel_manager(private, startup)
        client = NotebookClient(
            nb,
            km=manager,
            timeout=timeout,
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder or Path(path).resolve().parent)}},
        )
        try:
            with client.setup_kernel(env=_environment(private, gpu=gpu) | dict(env or {}), cleanup_kc=True):
                for index, at in enumerate(nb.cells):
                    client.execute_cell(at, index)
                if at_end is not None:
                    at_end(manager.provisioner.pid)
        except CellExecutionError as error:
            reason = error.evalue or _failing_line(error.traceback)
            raise LessonFailed(f"{shown(path)}, cell '{at.id}': {error.ename}: {reason}") from None
        except CellTimeoutError:
            raise LessonFailed(f"{shown(path)}, cell '{at.id}': no end after {timeout} s") from None
        except DeadKernelError:
            raise LessonFailed(f"{shown(path)}, cell '{at.id}': the kernel died") from None
    return normalise(nb)


def _failing_line(traceback: str) -> str:
    """Return the line that a traceback's last arrow points at: a bare assert says nothing else."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", traceback)
    return (re.findall(r"^-+> *\d+ (.*)$", plain, flags=re.M) or [""])[-1].strip()


def _kernel_manager(private: str, startup: str):
    """Return a manager whose kernel is this Python, reads nobody's IPython profile, and opens no port."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager

    folder = Path(private, "profile_default", "startup")
    folder.mkdir(parents=True)
    (folder / "00-lesson.py").write_text(startup, encoding="utf-8")
    # an empty list of folders leaves the native kernel, which is sys.executable
    manager = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    manager.connection_file = str(Path(private, "kernel.json"))
    if sys.platform != "win32":
        # the address must be absolute: both sides would read a relative one from their own folder
        manager.transport, manager.ip = "ipc", str(Path(private, "k"))
    return manager


def _environment(private: str, *, gpu: bool) -> dict[str, str]:
    environment = os.environ | {
        "IPYTHONDIR": private,
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "NO_COLOR": "1",
        "PYTHONHASHSEED": "0",
    }
    return environment if gpu else environment | {"CUDA_VISIBLE_DEVICES": ""}
