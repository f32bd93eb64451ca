"""The README says only what is so: its nine lines run, its commands and links exist, its map is what is there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pictures
import pytest

import featlab

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ROW = re.compile(r"^\| (\d\d) \| (.+?) \| (.+?) \| (.+?) \|$", re.M)


def cells(lesson: Path) -> list[dict]:
    return json.loads(lesson.read_text(encoding="utf-8"))["cells"]


def map_of_lesson_00() -> str:
    return next("".join(c["source"]) for c in cells(ROOT / "notebooks/00_start_here.ipynb") if c["id"] == "map")


def head(lesson: Path) -> tuple[str, str]:
    """Return a lesson's name and its minutes as its first cell gives them: ("Tensors and NumPy", "40 + 30")."""
    first = "".join(cells(lesson)[0]["source"])
    name = re.match(r"# \d\d · (.+?)(?::.*)?$", first, re.M)[1]
    time = re.search(r"^\*\*Time:\*\*([^*\n]*)", first, re.M)[1]
    return name, " + ".join(re.findall(r"\d+", time))


def test_it_stays_short_and_a_newcomer_needs_its_first_lines_only():
    lines = README.splitlines()
    assert len(lines) < 200
    assert lines.index("## Start") < lines.index("## The lessons") < lines.index("## The instruments") < 80
    assert "make lab " in "".join(lines[30:40])


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> dict:
    """The README's lines, run by a Python of their own in an empty folder, and what came of them."""
    folder = tmp_path_factory.mktemp("readme")
    paths = os.pathsep.join(map(str, (ROOT, ROOT / ".ci")))
    done = subprocess.run(
        [sys.executable, "-c", RUN, folder], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"folder": folder}


RUN = """
import json, pathlib, sys, pictures, torch
names = pictures.main(pathlib.Path(sys.argv[1]))
fl, net, test = names["fl"], names["net"], names["test"]
stored = fl.samples.digits_net().state_dict()
shown = [int((test.labels == label).nonzero()[0]) for label in test.labels.unique()]
print(json.dumps({
    "right": [(names[answer] == test.labels).float().mean().item() for answer in ("before", "after")],
    "parameters moved": sum(not torch.equal(p, stored[name]) for name, p in net.named_parameters()),
    "shown": [names[answer][shown].tolist() for answer in ("before", "after")],
}))
"""


def test_the_nine_lines_run_and_show_the_fall(ran):
    assert len([line for line in pictures.first_block().splitlines() if line.strip()]) == 9
    before, after = ran["right"]
    assert before > 0.95 and after < 0.35 and ran["parameters moved"] == 0


def test_the_picture_is_the_one_that_the_lines_make(ran):
    assert [path.name for path in ran["folder"].iterdir()] == ["before_after.png"]
    stored, fresh = (
        matplotlib.image.imread(folder / "before_after.png") for folder in (pictures.IMAGES, ran["folder"])
    )
    # fonts differ between versions of matplotlib; the digits and frames do not
    assert stored.shape == fresh.shape and abs(stored - fresh).mean() < 0.02, "run `make pictures`"


def test_the_alt_text_says_what_the_picture_shows(ran):
    before, after = ran["shown"]
    assert before == list(range(10))
    assert sum(answer != label for label, answer in enumerate(after)) == 7 and set(after) == {0, 1, 8}


def test_every_make_target_it_names_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.M))
    assert {"lab", "test", "notebooks", "lint", "wheelhouse", "pictures"} <= named <= targets


def test_every_relative_link_leads_somewhere():
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize(("where", "folder"), [("README", "notebooks/"), ("00_start_here", "")])
def test_the_map_is_what_lies_on_the_disk(where, folder):
    rows = {number: row for number, *row in ROW.findall(README if where == "README" else map_of_lesson_00())}
    there = {lesson.name[:2]: lesson for lesson in LESSONS}
    assert set(there) <= set(rows), "a lesson lacks its row"
    assert list(rows) == [f"{number:02}" for number in range(len(rows))]
    for number, (name, _, minutes) in rows.items():
        if number in there:
            title, time = head(there[number])
            assert (name, minutes) == (f"[{title}]({folder}{there[number].name})", time)
        else:
            assert "[" not in name and minutes == "to come"


def test_both_maps_say_the_same():
    assert ROW.findall(README.replace("](notebooks/", "](")) == ROW.findall(map_of_lesson_00())


def test_the_table_of_instruments_is_the_door():
    table = README.split("## The instruments")[1].split("\n## ")[0]
    named = set(re.findall(r"`fl\.(\w+)`", table))
    assert named <= set(featlab.__all__)
    assert set(featlab._CALLS) <= named


def test_the_recipe_names_files_and_tags_that_exist():
    recipe = README.split("## Add a lesson")[1].split("\n## ")[0]
    for path in ("tests/claims.toml", "featlab/exercises/"):
        assert f"`{path}`" in recipe and (ROOT / path).exists()
    import lint

    named = {tag.partition(":")[0] for tag in re.findall(r"`(colab|parameters|\w+:[A-Z]+)`", recipe)}
    assert named <= lint.KNOWN_TAGS | lint.NAMED_TAGS


def test_badges_have_their_place():
    assert README.index("<!-- badges -->") < README.index("<!-- /badges -->") < README.index("```python")
