"""The static site in a real browser: every lesson reads well without a kernel, and asks nobody for anything."""

import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pages
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser.conftest import LESSONS
from browser.jupyter import open_page
from playwright.sync_api import Browser, Page, expect


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The site's address, on this machine."""
    target = tmp_path_factory.mktemp("pages") / "site"
    assert pages.build(target) == []  # Sphinx had nothing to complain of
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=target)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *given) -> None:
        pass


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with open_page(chromium) as page:
        yield page
        assert not page.complaints


def serious(page: Page) -> list[str]:
    """Return what axe-core counts as serious or worse, with the first element that it concerns."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html']}" for v in found if v["impact"] in ("serious", "critical")]


def test_the_front_page_leads_to_every_lesson(site, page):
    page.goto(f"{site}/index.html")
    for lesson in LESSONS:
        expect(page.get_by_role("main").locator(f'a[href="{lesson}.html"]').first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "claims", *LESSONS])
def test_a_page_is_accessible_in_both_themes(site, page, name, scheme, shots):
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{site}/{name}.html")
    assert serious(page) == []
    page.screenshot(path=shots / f"site_{name}_{scheme}.png")


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_shows_its_pictures_with_words_and_no_cell_for_live_use(site, page, name):
    page.goto(f"{site}/{name}.html")
    pictures = page.get_by_role("main").locator("img")
    for alt, width in pictures.evaluate_all("all => all.map(one => [one.alt, one.naturalWidth])"):
        assert width > 0 and len(alt.split()) > 3 and not re.search(r"[#`]|\\.png", alt), alt
    assert "%pip" not in page.get_by_role("main").inner_text()
    assert "featlab-" not in page.get_by_role("main").inner_text()


def test_search_finds_a_word_of_a_lesson(site, page):
    page.goto(f"{site}/search.html?q=storage")
    expect(page.locator("#search-results a").first).to_contain_text("Tensors and NumPy")
