"""What can stand in the way of an install, each said in one sentence. Standard library only, parses on Python 3.6."""

import importlib.util
import json
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# measured with torch 2.15 on Python 3.11: 6.3 GB with CUDA's libraries; 1.5 GB is that sum with the CPU build's files
GIGABYTES = {"cuda": 6.5, "cpu": 2.0}
OFFLINE = ("error sending request", "dns error", "tcp connect", "connection broken", "timed out", "unreachable")


def say(sentence):
    print(sentence, flush=True)


def stop(sentence):
    raise SystemExit("\n" + sentence)


def quietly(*command, **options):
    """Run a command, return (exit status, everything that it wrote); a program that is not there is status 127."""
    # close_fds: the lock of an install is held until the last of its processes has ended
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "close_fds": False}
    try:
        done = subprocess.run(list(map(str, command)), **pipes, **options)
    except OSError as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def oldest_python():
    """Return the oldest (major, minor) that pyproject.toml allows; an old Python has no tomllib to read it with."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tuple(map(int, re.search(r'requires-python = ">=(\d+)\.(\d+)"', text).groups()))


def refuse_this_python(target):
    """Stop because this Python is too old; name one on PATH that is new enough and starts."""
    major, oldest = oldest_python()
    names = [f"python{major}.{minor}" for minor in range(oldest + 3, oldest - 1, -1)]
    name = next((name for name in names if quietly(name, "--version")[0] == 0), None)
    advice = f"run `make {target} PYTHON={name}`" if name else f"install one and run `make {target} PYTHON=python3.12`"
    stop(f"featlab needs Python {major}.{oldest} or newer, and this is {platform.python_version()}: {advice}.")


def check_venv_module():
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        stop(f"This Python lacks {missing[0]}: install it (Debian, Ubuntu: `apt install python3-venv`) and try again.")


def gigabytes(torch):
    """Return what an environment takes; only Linux's plain build of PyTorch brings CUDA's libraries by itself."""
    cuda = torch.startswith("cu") or (torch in ("plain", "auto") and sys.platform == "linux")
    return GIGABYTES["cuda" if cuda else "cpu"]


def nearest(place):
    """Return the deepest folder of the path that is there already."""
    return next(folder for folder in [place, *place.parents] if folder.exists())


def check_disk(place, needed):
    free = shutil.disk_usage(str(nearest(place))).free / 1e9
    if free < needed:
        smaller = "take PyTorch's CPU build (`TORCH=cpu`), " if needed > GIGABYTES["cpu"] else ""
        stop(
            f"Too little disk: about {needed:.1f} GB are needed in {place}, and {free:.1f} GB are free. Free some, "
            f"{smaller}or say `DISK_GB=1` when uv's cache holds most of it already."
        )


def mention_the_cpu_build(target):
    driver = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists()
    if sys.platform == "linux" and not driver:
        say(f"No NVIDIA driver here: `make {target} TORCH=cpu` would save about 5 GB. Going on; Ctrl-C stops this.")


def wheels_fit():
    """Return what wheels are made for: this Python and this kind of machine."""
    python = "{}.{}".format(*sys.version_info[:2])
    return {"python": python, "machine": f"{platform.system()} {platform.machine()}"}


def check_wheelhouse(folder):
    """Return the build of PyTorch that the folder holds; stop when its wheels are not for this Python and machine."""
    try:
        made = json.loads((Path(folder) / "featlab.json").read_text(encoding="utf-8"))
    except OSError:
        stop(f"There is no finished wheelhouse in {folder}: `make wheelhouse` fills one where there is a network.")
    here = wheels_fit()
    if any(made[key] != here[key] for key in here):
        asked, given = ("Python {python} on {machine}".format(**each) for each in (here, made))
        stop(f"The wheels in {folder} are for {given}, and this is {asked}: fill another folder there.")
    return made["torch"]


def why_it_failed(output):
    """Turn what pip or uv wrote into a sentence about the cause and what to do."""
    output = output.lower()
    if any(sign in output for sign in OFFLINE):
        return (
            "No network: the packages cannot be reached. Try again when it is back (what has arrived is kept), or "
            "install from a folder that `make wheelhouse` filled elsewhere: `make lab WHEELHOUSE=that/folder`."
        )
    if "no space left" in output:
        return "The disk is full: free some space and run the same again."
    if re.search(r"no solution found|no matching distribution|no wheels", output):
        here = "Python {python} on {machine}".format(**wheels_fit())
        return f"No set of packages fits {here}: another Python may (`make lab PYTHON=python3.12`)."
    return "The install did not finish (reason above): run the same again, what has arrived is kept."
