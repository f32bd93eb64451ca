"""Make `.venv`, or complete it, with an extra of pyproject.toml: `python .ci/install.py lab`.

Standard library only. Whatever goes wrong is said in one sentence, and the next run recovers: a mark lies in `.venv`
while an install is under way, and a finished one is written down there. A second run reads that and touches neither
network nor disk. Only an environment that was made here is ever removed.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import obstacles
from obstacles import ROOT, nearest, quietly, say, stop

VENV = ROOT / ".venv"
BIN, EXE = (VENV / "Scripts", ".exe") if os.name == "nt" else (VENV / "bin", "")
PYTHON, UV = BIN / f"python{EXE}", BIN / f"uv{EXE}"
RECORD = VENV / "featlab.json"  # what .venv holds (requirements, build of PyTorch), where it was, whether made here
UNFINISHED = VENV / "featlab.unfinished"


@contextlib.contextmanager
def alone():
    """Hold `.venv.lock`, one install at a time. The system frees it when its holder dies, so none is left behind."""
    with (ROOT / ".venv.lock").open("a+") as lock:

        def take(wait):
            if os.name == "nt":
                import msvcrt

                lock.seek(1 << 20)  # past the text: nobody can read a byte that Windows has locked
                msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.set_inheritable(lock.fileno(), True)  # a uv that outlives us goes on holding it

        try:
            take(wait=False)
        except OSError:
            lock.seek(0)
            say(f"Another install works on .venv (process {lock.read().strip() or 'unknown'}): waiting for it.")
            take(wait=True)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def requirements(extra):
    """Return what pyproject.toml asks for, `featlab[lab]` inside an extra replaced by what it stands for."""
    import tomllib  # not in the old Pythons that are refused

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted, extras = list(project["dependencies"]), [extra]
    for name in extras:
        for line in project["optional-dependencies"][name]:
            itself = re.match(re.escape(project["name"]) + r"\[([\w-]+)\]$", line)
            extras.append(itself.group(1)) if itself else wanted.append(line)
    return sorted(set(wanted))


def record():
    try:
        return json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_record(**holds):
    RECORD.write_text(json.dumps({"root": str(ROOT), **holds}, indent=1), encoding="utf-8")


def give_up(sentence):
    """Stop before anything was changed: what is there is as good as it was."""
    UNFINISHED.unlink(missing_ok=True)
    stop(sentence)


def venv_python():
    """Return ((major, minor), the Python that made `.venv`), or None when the one in `.venv` does not start."""
    code = "import sys; print(*sys.version_info[:2], getattr(sys, '_base_executable', sys.executable))"
    status, answer = quietly(PYTHON, "-c", code)
    if status:
        return None
    major, minor, base = answer.strip().split(" ", 2)
    return (int(major), int(minor)), base


def why_anew(asked):
    """Say why the `.venv` that is there cannot be kept; empty when it can."""
    if UNFINISHED.exists():
        return "The last install did not finish"
    made_by = venv_python()
    if made_by is None:
        return "The Python in .venv does not start"
    if made_by[0] < obstacles.oldest_python() or (asked.this_python and made_by[0] != sys.version_info[:2]):
        return ".venv is of Python {}.{}, not {}.{}".format(*made_by[0], *sys.version_info[:2])
    if not UV.exists() and not list(BIN.glob("pip*")):
        return ".venv has neither uv nor pip"
    had = record()
    if had and had["root"] != str(ROOT):
        return f"The repository has moved here from {had['root']}"
    if asked.torch and had.get("requirements") and had["torch"] != asked.torch:
        return f".venv holds the {had['torch']} build of PyTorch, not {asked.torch}"
    return ""


def remove_venv(reason):
    if not UNFINISHED.exists() and not record().get("made_here"):
        stop(f"{reason}, and it was not made by `make`: move it away and run the same again.")
    say(f"{reason}: building .venv anew.")
    try:
        shutil.rmtree(str(VENV))
    except OSError as error:
        stop(f".venv cannot be removed ({error.strerror}: {error.filename}): close what uses it and try again.")


def make_venv(torch):
    obstacles.check_venv_module()
    say(f"Making .venv with Python {platform.python_version()}.")
    VENV.mkdir()
    UNFINISHED.touch()
    # the base: an activated .venv, which may be the one removed a moment ago, calls itself python3
    status, output = quietly(getattr(sys, "_base_executable", sys.executable), "-m", "venv", VENV)
    if status:
        stop(f"No environment could be made in {VENV}: {(output.strip() or 'no reason given').splitlines()[-1]}")
    write_record(torch=torch, made_here=True, requirements=[])


def put_uv_in(source):
    if not UV.exists():
        say("Fetching uv, which fetches the rest.")
        pip = (PYTHON, "-m", "pip", "install", "--quiet", "--retries", "1")
        status, output = quietly(*pip, *source, "uv", cwd=str(ROOT))
        if status:
            give_up(obstacles.why_it_failed(output))


def check_cache_disk(needed):
    """Look at the disk of uv's cache too when it is another one: then the files lie there once more."""
    cache = Path(quietly(UV, "cache", "dir")[1].strip().splitlines()[-1])
    if nearest(cache).stat().st_dev != VENV.stat().st_dev:
        obstacles.check_disk(cache, needed)


def installed():
    """Return the names in site-packages."""
    return sorted([*VENV.glob("lib/*/site-packages/*"), *VENV.glob("Lib/site-packages/*")])


def uv_install(extra, source):
    """Let uv install the extra, with its progress bars; a failure is asked again without them, to read the reason."""
    command = [str(UV), "pip", "install", "--python", str(PYTHON), *source, "-e", f".[{extra}]"]
    environ = dict(os.environ, UV_EXCLUDE=".ci/excludes.txt")
    before = installed()
    if subprocess.call(command, cwd=str(ROOT), env=environ, close_fds=False):
        untouched = installed() == before
        environ["UV_HTTP_RETRIES"] = "0"
        reason = obstacles.why_it_failed(quietly(*command, "--dry-run", cwd=str(ROOT), env=environ)[1])
        give_up(reason) if untouched else stop(reason)


def bring_about(asked):
    """Make `.venv` hold what was asked, doing as little as it takes."""
    wanted, had = requirements(asked.extra), record()
    anew = why_anew(asked) if VENV.exists() else ""
    if had and not anew and set(wanted) <= set(had["requirements"]):
        return
    source = ["--no-index", "--find-links", asked.wheelhouse] if asked.wheelhouse else []
    offered = obstacles.check_wheelhouse(asked.wheelhouse) if source else "plain"
    torch = asked.torch or (had["torch"] if had.get("requirements") else offered)
    needed = asked.disk_gb or obstacles.gigabytes(torch)
    if anew:
        remove_venv(anew)
    from_nothing = not record().get("requirements")
    if from_nothing:
        obstacles.check_disk(VENV, needed)
        if torch == "plain" and not source:
            obstacles.mention_the_cpu_build(asked.extra)
    if not VENV.exists():
        make_venv(torch)
    made_here = record().get("made_here", False)
    if made_here:
        UNFINISHED.touch()
    put_uv_in(source)
    if from_nothing:
        check_cache_disk(needed)
    if torch != "plain" and not source:
        # not verified here: PyTorch's own index, which uv asks for these builds, was out of reach
        source = ["--torch-backend", torch]
    uv_install(asked.extra, source)
    write_record(torch=torch, made_here=made_here, requirements=wanted)
    UNFINISHED.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extra", help="an extra of pyproject.toml: lab or test")
    parser.add_argument("--torch", default="", help="plain, or a backend of uv: cpu, cu126, ... (default: as it is)")
    parser.add_argument("--wheelhouse", default="", help="a folder that `make wheelhouse` filled; no index is asked")
    parser.add_argument("--this-python", action="store_true", help="build anew when .venv is of another Python")
    parser.add_argument("--disk-gb", type=float, default=0, help="what the install is reckoned to take")
    asked = parser.parse_args()
    if sys.version_info[:2] < obstacles.oldest_python():
        made_by = None if asked.this_python else venv_python()
        if not made_by or made_by[0] < obstacles.oldest_python():
            obstacles.refuse_this_python(asked.extra)
        sys.exit(subprocess.call([made_by[1], __file__] + sys.argv[1:]))
    if asked.wheelhouse:
        obstacles.check_wheelhouse(asked.wheelhouse)
    try:
        with alone():
            bring_about(asked)
    except KeyboardInterrupt:
        stop("Interrupted: the next run starts over, and what has arrived is kept.")


if __name__ == "__main__":
    main()
