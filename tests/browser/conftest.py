"""A real Chromium, a real JupyterLab, and a page that may talk to nobody else."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.jupyter import PATIENCE, REPOSITORY, Lab, Notebook, open_notebook, open_page
from copies import copy_lessons
from playwright.sync_api import Browser, Page, expect, sync_playwright

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Google/Chrome/Application/chrome.exe",
)
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LEFT_OUT = (
    "The browser tests (tests/browser) were left out, because no Chromium or Chrome was found: "
    "`apt-get install chromium` brings one on Debian and Ubuntu, Chrome's installer on macOS and Windows; "
    "FEATLAB_CHROME=/path/to/it names one elsewhere."
)
LESSONS = sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb"))

expect.set_options(timeout=PATIENCE * 1000)


def find_chromium() -> str | None:
    """Return the path of a Chromium or Chrome on this machine; FEATLAB_CHROME overrides the search."""
    if asked := os.environ.get("FEATLAB_CHROME"):
        return shutil.which(asked)
    found = [shutil.which(command) for command in COMMANDS] + [place for place in PLACES if Path(place).is_file()]
    return next(filter(None, found), None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave a browser test out where there is no browser; in CI that is a failure."""
    if find_chromium() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(LEFT_OUT, pytrace=False)
        pytest.skip(LEFT_OUT)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The one browser of this test process, with an empty profile; `chromium.new_context()` opens a fresh one."""
    # one sync_playwright() a process: a second one raises inside the first one's event loop
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page of its own for each test, which may talk to nobody but this machine."""
    with open_page(chromium) as page:
        yield page


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab for all tests, which shows fresh learners' copies of the lessons in my_lessons/."""
    home = tmp_path_factory.mktemp("lab")
    copy_lessons(target=home / "my_lessons")
    server = Lab(home, tmp_path_factory.mktemp("jupyter"))
    yield server
    server.stop()


@pytest.fixture(scope="module", params=LESSONS)
def lesson(request: pytest.FixtureRequest, chromium: Browser, lab: Lab) -> Iterator[Notebook]:
    """A learner's copy, run from the menu; the first lesson is opened as `make lab` opens it."""
    # a second page in the default workspace would open the first lesson again beside its own
    workspace = None if request.param == "00_start_here" else request.param
    with open_notebook(chromium, lab, f"my_lessons/{request.param}.ipynb", workspace=workspace) as notebook:
        notebook.name = request.param
        notebook.run_all_from_menu()
        yield notebook


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go, for people to look at: FEATLAB_SHOTS, or pytest's own temporary folder."""
    folder = Path(os.environ.get("FEATLAB_SHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
