"""Fill a folder with the wheels of all that `.venv` holds, so that a class installs from it without a network."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from install import PYTHON, ROOT, UV, record
from obstacles import check_disk, gigabytes, quietly, say, stop, wheels_fit, why_it_failed


def uv(*arguments) -> str:
    status, output = quietly(UV, *arguments, cwd=ROOT)
    if status:
        stop(why_it_failed(output))
    return output


def indexes(pins: Path, torch: str) -> list[str]:
    """Return pip's options for PyTorch's own index, whose address uv knows; none for the plain build."""
    if torch == "plain":
        return []
    # not verified here: that index was out of reach
    asked = ("--no-deps", "--no-header", "--emit-index-annotation", "--torch-backend", torch, "--python", PYTHON)
    found = sorted(set(re.findall(r"# from (\S+)", uv("pip", "compile", *asked, pins))))
    return [option for address in found for option in ("--extra-index-url", address)]


def main(folder: Path) -> None:
    torch = record()["torch"]
    check_disk(folder, gigabytes(torch) * 0.55)  # 3.2 GB of wheels made a .venv of 6.1 GB
    folder.mkdir(parents=True, exist_ok=True)
    finished, pins = folder / "featlab.json", folder / "pins.txt"
    finished.unlink(missing_ok=True)
    frozen = uv("--quiet", "pip", "freeze", "--python", PYTHON, "--exclude-editable").splitlines()
    pins.write_text("".join(f"{line}\n" for line in frozen if "==" in line), encoding="utf-8")
    # the editable checkout is built in a place of its own with these, so .venv does not hold them
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    say(f"Filling {folder} with the {len(frozen)} packages of .venv; this takes minutes.")
    pip = [PYTHON, "-m", "pip", "download", "--no-cache-dir", "--only-binary", ":all:", "--dest", folder]
    for wanted in ([*indexes(pins, torch), "--no-deps", "-r", pins], [*build, "editables"]):
        if subprocess.call([*pip, *wanted], cwd=ROOT):
            stop("The wheelhouse is not complete (reason above): run the same again, what has arrived is kept.")
    fit = wheels_fit()
    finished.write_text(json.dumps({**fit, "torch": torch}), encoding="utf-8")
    size = sum(wheel.stat().st_size for wheel in folder.glob("*.whl")) / 1e9
    say(f"{folder} holds {size:.1f} GB for Python {fit['python']} on {fit['machine']}: `make lab WHEELHOUSE={folder}`.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
