"""pyproject.toml, environment.yml and the wheel say the same, and Binder builds from them."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
# what a package of the index is called on conda-forge, where that differs
CONDA_NAMES = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base"}


def ranges(lines: list[str]) -> dict[str, SpecifierSet]:
    return {each.name: each.specifier for each in map(Requirement, lines)}


def conda_packages() -> dict[str, SpecifierSet]:
    lines = [line for line in CONDA["dependencies"] if isinstance(line, str)]
    return ranges([line for line in lines if not re.match(r"(python=|pip$)", line)])


def conda_python() -> str:
    return next(line for line in CONDA["dependencies"] if line.startswith("python"))


def copy_of_the_repository(folder: Path) -> Path:
    def unwanted(path, names):
        private = {".venv", ".git", "my_lessons", "wheelhouse", "tests"} if Path(path) == ROOT else {"__pycache__"}
        return private & set(names)

    return Path(shutil.copytree(ROOT, folder / "copy", ignore=unwanted))


def test_conda_gets_the_dependencies_and_ranges_of_pyproject():
    asked = ranges(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["lab"])
    assert conda_packages() == {CONDA_NAMES.get(name, name): specifier for name, specifier in asked.items()}


def test_conda_forge_is_the_only_channel_and_the_checkout_the_only_thing_from_pip():
    assert CONDA["channels"] == ["conda-forge"]
    assert [line for line in CONDA["dependencies"] if isinstance(line, dict)] == [{"pip": ["-e ."]}]


def test_condas_python_is_one_that_pyproject_allows():
    version = re.fullmatch(r"python=(\d+\.\d+)", conda_python()).group(1)
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{version}.0")


@pytest.fixture(scope="module")
def dockerfile(tmp_path_factory) -> str:
    """The Dockerfile that repo2docker would build from this repository, asked for without Docker."""
    copy = copy_of_the_repository(tmp_path_factory.mktemp("binder"))
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--no-run", "--debug", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=copy, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def test_binder_installs_environment_yml_with_its_python(dockerfile):
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "environment.yml"' in dockerfile
    assert f"Building conda environment for {conda_python()}" in dockerfile


def test_binder_copies_the_checkout_before_pip_installs_it(dockerfile):
    copied = re.search(r"COPY .*src/ \$\{REPO_DIR\}/$", dockerfile, re.MULTILINE)
    assert copied.start() < dockerfile.index('--file "environment.yml"') < dockerfile.index("RUN ./postBuild")


def test_no_binder_folder_hides_the_files_at_the_root():
    assert not (ROOT / "binder").exists()
    assert not (ROOT / ".binder").exists()


def test_post_build_hands_out_the_lessons(tmp_path):
    copy = copy_of_the_repository(tmp_path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["./postBuild"], cwd=copy, env={**os.environ, "PATH": path}, check=True, timeout=60)
    assert (copy / "my_lessons" / "00_start_here.ipynb").exists()


@pytest.mark.network
def test_the_wheel_holds_every_file_of_featlab_and_nothing_else(tmp_path):
    """Colab installs the wheel, so a picture, a script or a weight that it lacks is missing there alone."""
    copy = copy_of_the_repository(tmp_path)
    build = [shutil.which("uv", path=Path(sys.executable).parent) or "uv", "build", "--wheel", "--out-dir", tmp_path]
    done = subprocess.run(build, cwd=copy, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (path for path in (copy / "featlab").rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert held == {path.relative_to(copy).as_posix() for path in files}
