"""The Makefile's targets do what they say, and the workflow calls nothing else."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def targets() -> set[str]:
    command = ["make", "--no-print-directory"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {line.split()[1] for line in done.stdout.splitlines()}


def test_help_lists_every_target():
    phony = re.search(r"^\.PHONY:(.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE).group(1)
    assert targets() == set(phony.split())


def test_the_workflow_calls_targets_that_exist():
    called = {step["run"].split()[1] for step in STEPS if step.get("run", "").startswith("make ")}
    assert called
    assert called <= targets()


def test_the_start_without_make_is_the_readmes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\", "/")
    lines = re.search(r"```bat\n(.*?)```", readme, re.DOTALL).group(1).replace(".venv/Scripts", "${{ matrix.bin }}")
    run = "\n".join(step.get("run", "") for step in WORKFLOW["jobs"]["without-make"]["steps"])
    assert [line.strip() for line in lines.splitlines() if line.strip() not in run] == []


def test_what_is_made_here_is_ignored_by_git():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    made = [".venv/x", ".venv.lock", "my_lessons/x", "wheelhouse/x", "featlab/__pycache__/x"]
    done = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == made


def ci_run(folder: Path, *there: str, python=sys.executable) -> tuple[int, str]:
    """Call `.ci/run` where these commands are all there is; return its status and which ones it called, with what."""
    (folder / "python3").symlink_to(python)
    for name in ("sh", "dirname", "env"):
        (folder / name).symlink_to(shutil.which(name))
    for name in there:
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*"\n')
        (folder / name).chmod(0o755)
    (folder / "id").write_text("#!/bin/sh\necho 0\n")
    (folder / "id").chmod(0o755)
    done = subprocess.run([ROOT / ".ci" / "run"], env={"PATH": str(folder)}, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_ci_run_brings_debians_chromium_where_there_is_no_browser(tmp_path):
    status, called = ci_run(tmp_path, "apt-get", "make")
    assert status == 0
    assert called.splitlines() == [
        "apt-get update -qq",
        "apt-get install -y -qq --no-install-recommends chromium",
        "make test",
    ]


def test_ci_run_installs_nothing_where_a_browser_is(tmp_path):
    assert ci_run(tmp_path, "apt-get", "make", "google-chrome") == (0, "make test\n")


def test_ci_run_says_what_is_missing_where_it_cannot_install_it(tmp_path):
    status, said = ci_run(tmp_path, "make")
    assert status == 1
    assert said.startswith("Missing here: chromium;")


@pytest.fixture
def lab(tmp_path):
    """Run `make lab` in a copy of the repository, with this Python in place of an install."""
    for name in (".ci", "notebooks", "featlab"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    flags = "LAB_FLAGS=--no-browser --ServerApp.port=0"
    private = ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR")
    own = {name: str(tmp_path / name) for name in private}
    environ = {name: value for name, value in os.environ.items() if name != "JUPYTER_TOKEN"} | own
    command = ["make", "lab", "INSTALL=@:", f"RUN={sys.executable}", flags]
    with (tmp_path / "lab.log").open("w") as log:
        options = {"stdout": log, "stderr": log, "start_new_session": True, "preexec_fn": ignore_nothing}
        process = subprocess.Popen(command, cwd=tmp_path, env=environ, **options)
    try:
        yield process, wait_for_server(process, tmp_path)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its own session: make, and all it started
            process.wait()


def ignore_nothing():
    # a shell's background job starts with Ctrl-C ignored, and so would make
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_server(process, folder) -> dict:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        for file in (folder / "JUPYTER_RUNTIME_DIR").glob("jpserver-*.json"):
            try:
                info = json.loads(file.read_text())
                urlopen(f"{info['url']}api/status?token={info['token']}", timeout=5).close()
            except (OSError, ValueError):
                continue
            return info
        time.sleep(0.1)
    pytest.fail((folder / "lab.log").read_text()[-2000:])


def test_make_lab_listens_on_loopback_only_and_keeps_the_token(lab):
    process, info = lab
    listening = [each.laddr.ip for each in psutil.Process(info["pid"]).net_connections() if each.status == "LISTEN"]
    assert set(listening) == {"127.0.0.1"}
    assert len(info["token"]) >= 32
    with pytest.raises(HTTPError, match="403"):
        urlopen(f"{info['url']}api/contents", timeout=5)


def test_make_lab_opens_the_first_lesson_without_news(lab):
    process, info = lab
    with urlopen(f"{info['url']}?token={info['token']}", timeout=10) as page:
        assert page.url.split("?")[0].endswith("/lab/tree/my_lessons/00_start_here.ipynb")
    settings = "lab/api/settings/@jupyterlab/apputils-extension:notification"
    with urlopen(f"{info['url']}{settings}?token={info['token']}", timeout=10) as answer:
        defaults = json.load(answer)["schema"]["properties"]
    assert defaults["fetchNews"]["default"] == "false"
    assert defaults["checkForUpdates"]["default"] is False


def test_ctrl_c_twice_ends_make_and_jupyterlab(lab):
    process, info = lab
    server = psutil.Process(info["pid"])
    for _ in range(2):  # what a terminal does: the signal goes to all in the foreground
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.5)
    assert process.wait(20) != 0
    assert not server.is_running()
