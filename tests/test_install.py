"""The installer, run for real on a tiny project of its own: what it makes, what it refuses, how it recovers."""

import ast
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import install
import obstacles
import pytest

CI = Path(__file__).resolve().parents[1] / ".ci"
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "tiny"
version = "1"
requires-python = ">=3.11"
dependencies = ["iniconfig>=2"]

[project.optional-dependencies]
lab = ["six>=1.16"]
test = ["tiny[lab]", "toolz>=0.12"]
"""
# a build backend without dependencies, so that the index is asked for uv, iniconfig, six and toolz alone
BACKEND = """
import os, time, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    if os.environ.get("TINY_WAITS"):
        open("building", "w").close()
        time.sleep(60)
    with zipfile.ZipFile(os.path.join(wheel_directory, "tiny-1-py3-none-any.whl"), "w") as wheel:
        info = "tiny-1.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n" + REQUIRES)
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return "tiny-1-py3-none-any.whl"

REQUIRES = '''Requires-Dist: iniconfig>=2
Provides-Extra: lab
Requires-Dist: six>=1.16; extra == "lab"
Provides-Extra: test
Requires-Dist: toolz>=0.12; extra == "test"
Requires-Dist: six>=1.16; extra == "test"
'''
"""
ALL = ["iniconfig>=2", "six>=1.16", "toolz>=0.12"]
FEW_GB = ("--disk-gb", "0.2")
TOO_MANY_GB = ("--disk-gb", "1000000")


def project(folder: Path) -> Path:
    (folder / ".ci").mkdir(parents=True)
    for name in ("install.py", "obstacles.py", "wheelhouse.py", "excludes.txt"):
        shutil.copy(CI / name, folder / ".ci")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    return folder


def start(folder: Path, *arguments: str, python=(sys.executable,), **environ: str) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [*python, str(folder / ".ci" / "install.py"), *arguments]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **environ}, start_new_session=True, **pipes)


def run(folder: Path, *arguments: str, **more) -> tuple[int, str]:
    """Run the installer; return its exit status and all that it and its helpers wrote."""
    process = start(folder, *arguments, **more)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def nowhere(folder: Path) -> dict[str, str]:
    """An environment in which no index can be reached and no cache helps."""
    dead = "http://127.0.0.1:9/simple"
    pip = {"PIP_INDEX_URL": dead, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
    uv = {"UV_DEFAULT_INDEX": dead, "UV_HTTP_RETRIES": "0", "UV_CACHE_DIR": str(folder / "empty-cache")}
    return {**pip, **uv}


def stand_in(folder: Path, **record) -> Path:
    """Put a `.venv` there that looks as if it had been made here, without the seconds that a real one takes."""
    bin = folder / ".venv" / "bin"
    bin.mkdir(parents=True)
    (bin / "python").symlink_to(sys.executable)
    (bin / "uv").touch()
    made = {"root": str(folder), "torch": "plain", "made_here": True, "requirements": ALL, **record}
    (folder / ".venv" / "featlab.json").write_text(json.dumps(made))
    return folder


@pytest.fixture
def tiny(tmp_path) -> Path:
    return project(tmp_path / "tiny")


# --- refusals, each one sentence --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["install.py", "obstacles.py"])
def test_python_3_6_can_parse_what_tells_it_that_it_is_too_old(name):
    ast.parse((CI / name).read_text(encoding="utf-8"), feature_version=(3, 6))


def test_too_old_a_python_is_named_and_so_is_one_on_path_that_will_do(tiny, tmp_path):
    config = tiny / "pyproject.toml"
    config.write_text(config.read_text().replace(">=3.11", ">=3.90"))
    (tmp_path / "python3.92").write_text("#!/bin/sh\nexit 1\n")  # there, but it does not start
    (tmp_path / "python3.91").write_text("#!/bin/sh\n")
    for each in tmp_path.glob("python3.*"):
        each.chmod(0o755)
    status, output = run(tiny, "lab", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert status == 1
    assert "needs Python 3.90 or newer, and this is 3." in output
    assert "`make lab PYTHON=python3.91`" in output
    assert not (tiny / ".venv").exists()


def test_too_little_disk_says_what_is_needed_and_what_is_there(tiny):
    status, output = run(tiny, "lab", *TOO_MANY_GB)
    assert status == 1
    assert "about 1000000.0 GB are needed" in output
    assert re.search(r"and \d+\.\d GB are free", output)
    assert not (tiny / ".venv").exists()


def test_a_python_without_ensurepip_is_told_where_it_comes_from(tiny):
    without = "import sys, runpy; sys.modules['ensurepip'] = None; sys.argv.pop(0); sys.path.insert(0, '.ci')"
    python = (sys.executable, "-c", f"{without}; runpy.run_path(sys.argv[0], run_name='__main__')")
    status, output = run(tiny, "lab", *FEW_GB, python=python)
    assert status == 1
    assert "This Python lacks ensurepip: install it (Debian, Ubuntu: `apt install python3-venv`)" in output


def test_a_wheelhouse_that_is_unfinished_or_for_another_python_is_refused(tiny):
    (tiny / "wheels").mkdir()
    assert "no finished wheelhouse in wheels" in run(tiny, "lab", "--wheelhouse", "wheels")[1]
    (tiny / "wheels" / "featlab.json").write_text('{"python": "2.7", "machine": "VAX", "torch": "plain"}')
    status, output = run(tiny, "lab", "--wheelhouse", "wheels")
    assert status == 1
    assert "are for Python 2.7 on VAX" in output


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has a driver")
@pytest.mark.parametrize("platform, driver, said", [("linux", "", True), ("darwin", "", False), ("linux", "x", False)])
def test_the_cpu_build_is_mentioned_on_linux_without_a_driver_only(platform, driver, said, monkeypatch, capsys):
    monkeypatch.setattr(obstacles.sys, "platform", platform)
    monkeypatch.setattr(obstacles.shutil, "which", lambda name: driver)
    obstacles.mention_the_cpu_build("lab")
    assert ("`make lab TORCH=cpu` would save about 5 GB" in capsys.readouterr().out) is said


def test_an_extra_stands_for_all_that_it_names(tiny, monkeypatch):
    monkeypatch.setattr(install, "ROOT", tiny)
    assert install.requirements("lab") == ALL[:2]
    assert install.requirements("test") == ALL


# --- what is kept and what is built anew ------------------------------------------------------------------------------


def test_what_is_complete_is_left_alone_in_silence(tiny):
    assert run(stand_in(tiny), "lab", **nowhere(tiny)) == (0, "")
    assert run(tiny, "test", **nowhere(tiny)) == (0, "")


@pytest.mark.parametrize("damage", ["unfinished", "python", "moved", "torch"])
def test_what_cannot_be_kept_is_named_and_built_anew(tiny, damage):
    stand_in(tiny, root="/elsewhere" if damage == "moved" else str(tiny))
    if damage == "unfinished":
        (tiny / ".venv" / "featlab.unfinished").touch()
    if damage == "python":
        (tiny / ".venv" / "bin" / "python").unlink()
    sentence = {
        "unfinished": "The last install did not finish",
        "python": "The Python in .venv does not start",
        "moved": "The repository has moved here from /elsewhere",
        "torch": ".venv holds the plain build of PyTorch, not cpu",
    }[damage]
    # the disk check stops it in the middle, after the old one is gone
    status, output = run(tiny, "lab", *TOO_MANY_GB, *(["--torch", "cpu"] if damage == "torch" else []))
    assert status == 1
    assert output.startswith(f"{sentence}: building .venv anew.")
    assert not (tiny / ".venv").exists()


def test_the_build_of_pytorch_stays_what_it_is_unless_another_is_asked_for(tiny):
    assert run(stand_in(tiny, torch="cpu"), "lab", **nowhere(tiny)) == (0, "")
    assert "holds the cpu build of PyTorch, not plain" in run(tiny, "lab", *TOO_MANY_GB, "--torch", "plain")[1]


def test_a_build_of_pytorch_that_never_arrived_binds_nobody(tiny):
    stand_in(tiny, torch="cpu", requirements=[])
    status, output = run(tiny, "lab", *TOO_MANY_GB, "--torch", "plain")
    assert "holds the cpu build" not in output
    assert "Too little disk" in output


@pytest.mark.parametrize("recorded", [True, False])
def test_an_environment_that_somebody_else_made_is_never_removed(tiny, recorded):
    stand_in(tiny, made_here=False)
    if not recorded:
        (tiny / ".venv" / "featlab.json").unlink()
    (tiny / ".venv" / "bin" / "python").unlink()
    (tiny / ".venv" / "thesis.txt").write_text("precious")
    status, output = run(tiny, "lab")
    assert status == 1
    assert "it was not made by `make`: move it away" in output
    assert (tiny / ".venv" / "thesis.txt").read_text() == "precious"


def test_a_second_install_waits_for_the_first_and_says_so(tiny):
    stand_in(tiny)
    with (tiny / ".venv.lock").open("w") as lock:
        lock.write("4242")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = start(tiny, "lab")
        assert "(process 4242): waiting for it" in second.stdout.readline()
        assert second.poll() is None
    assert second.wait(20) == 0
    second.stdout.close()


def test_a_lock_file_that_a_dead_install_left_does_not_stop_the_next(tiny):
    (stand_in(tiny) / ".venv.lock").write_text("4242")
    assert run(tiny, "lab") == (0, "")


# --- real installs of a few small wheels ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> Path:
    """A project whose `lab` was installed from nothing, shared by the tests below, which leave it complete."""
    folder = project(tmp_path_factory.mktemp("ready") / "tiny")
    status, output = run(folder, "lab", *FEW_GB)
    if "No network" in output and os.environ.get("CI") != "true":
        pytest.skip("the package index does not answer")
    assert status == 0, output
    return folder


def imports(folder: Path, *names: str) -> bool:
    code = f"import {', '.join(names)}"
    return not subprocess.run([folder / ".venv/bin/python", "-c", code], capture_output=True).returncode


@pytest.mark.network
def test_lab_is_installed_from_nothing_and_test_on_top_of_it(ready):
    assert imports(ready, "iniconfig", "six")
    assert not imports(ready, "toolz")
    assert run(ready, "lab", **nowhere(ready)) == (0, "")  # the second run asks nobody


@pytest.mark.network
def test_without_a_network_an_addition_fails_in_a_sentence_and_harms_nothing(ready):
    status, output = run(ready, "test", **nowhere(ready))
    assert status == 1
    assert "No network" in output
    assert "Traceback" not in output
    assert run(ready, "lab", **nowhere(ready)) == (0, "")
    assert imports(ready, "six")
    status, output = run(ready, "test")
    assert status == 0, output
    assert "anew" not in output
    assert imports(ready, "six", "toolz")


@pytest.mark.network
def test_a_first_install_without_a_network_fails_in_a_sentence_and_a_wheelhouse_makes_it_work(ready, tiny, tmp_path):
    status, output = run(tiny, "lab", *FEW_GB, **nowhere(tmp_path))
    assert status == 1
    assert "`make lab WHEELHOUSE=that/folder`" in output.strip().splitlines()[-1]
    assert "Traceback" not in output
    fill = [ready / ".venv/bin/python", ready / ".ci/wheelhouse.py", tmp_path / "wheels"]
    filled = subprocess.run(fill, capture_output=True, text=True, timeout=120)
    assert filled.returncode == 0, filled.stdout + filled.stderr
    status, output = run(tiny, "lab", *FEW_GB, "--wheelhouse", str(tmp_path / "wheels"), **nowhere(tmp_path))
    assert status == 0, output
    assert imports(tiny, "iniconfig", "six")


@pytest.mark.network
def test_an_install_that_was_killed_is_noticed_and_built_anew(ready):
    (ready / ".venv" / "left by the old one").touch()
    config = ready / "pyproject.toml"
    config.write_text(config.read_text().replace("six>=1.16", "six>=1.15"))  # so that there is something to do
    killed = start(ready, "lab", TINY_WAITS="1")
    while not (ready / "building").exists():
        assert killed.poll() is None, killed.stdout.read()
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)  # the session that was started for it
    killed.communicate()
    status, output = run(ready, "lab", *FEW_GB)
    assert status == 0, output
    assert output.startswith("The last install did not finish: building .venv anew.")
    assert not (ready / ".venv" / "left by the old one").exists()
    assert imports(ready, "six")
