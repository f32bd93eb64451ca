"""The repository's address: pyproject.toml holds it, everything else repeats it, one command rewrites all."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from files import LessonFailed, store

import notebooks

PLACEHOLDER = "OWNER/featlab"
FILES = (
    "pyproject.toml", "*.md", "*.yml", "Makefile", ".ci/*",
    ".github/**/*.yml", "featlab/**/*.py", "notebooks/*.ipynb",
)  # fmt: skip
BEGIN, END = "<!-- badges -->", "<!-- /badges -->"


def current(root: Path) -> str:
    """Return "OWNER/NAME" as pyproject.toml has it."""
    url = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    return url.removeprefix("https://github.com/")


def _mention(*addresses: str) -> re.Pattern:
    """Return what finds an address of the repository: any owner's, after a host that serves repositories."""
    names = {re.escape(address.split("/")[1]) for address in (PLACEHOLDER, *addresses)}
    hosts = r"(?<=github\.com/)|(?<=colab\.research\.google\.com/github/)|(?<=mybinder\.org/v2/gh/)"
    return re.compile(rf"(?:{hosts})[\w.-]+/(?:{'|'.join(sorted(names))})(?![\w-])")


def _texts(root: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted({path for pattern in FILES for path in root.glob(pattern) if path.is_file()}):
        yield path, path.read_text(encoding="utf-8")


def disagreements(root: Path) -> list[str]:
    """Return a sentence for each mention of another address than pyproject's."""
    address = current(root)
    return [
        f"{path.relative_to(root).as_posix()}, line {number}: says {other}, but pyproject.toml says {address}"
        for path, text in _texts(root)
        for number, line in enumerate(text.splitlines(), start=1)
        for other in _mention(address).findall(line)
        if other != address
    ]


def rewrite(root: Path, address: str) -> list[str]:
    """Write the address everywhere, with badges or without, and return the names of the files that changed."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", address):
        raise LessonFailed(f"'{address}' is no address: write OWNER/NAME, as in {PLACEHOLDER}.")
    mention, changed = _mention(current(root), address), {}
    for path, old in _texts(root):
        new = mention.sub(address, old)
        if path == root / "README.md":
            new = _with_badges(new, _badges(address))
        elif path.suffix == ".ipynb":
            new = _with_opening(new, path.name, address)
        if new != old:
            changed[path] = new
    for path, new in changed.items():  # only now, so that a file in the way leaves all as it was
        store(path, new)
    return [path.relative_to(root).as_posix() for path in changed]


def _colab(address: str, name: str) -> str:
    return f"https://colab.research.google.com/github/{address}/blob/main/notebooks/{name}"


def _binder(address: str, name: str) -> str:
    return f"https://mybinder.org/v2/gh/{address}/main?urlpath={quote(f'lab/tree/my_lessons/{name}', safe='')}"


def _badges(address: str) -> str:
    """Return the README's badges; none while nobody knows the address."""
    if address == PLACEHOLDER:
        return ""
    first = "00_start_here.ipynb"
    binder = f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({_binder(address, first)})"
    colab = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({_colab(address, first)})"
    return f"{binder}\n{colab}\n"


def _with_badges(readme: str, badges: str) -> str:
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise LessonFailed(f"README.md needs the lines {BEGIN} and {END} once each, where the badges belong.")
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{badges}{END}{rest.split(END)[1]}"


def _with_opening(text: str, name: str, address: str) -> str:
    """Put the line that opens the lesson elsewhere under its title, or take it away."""
    nb = notebooks.nbformat.reads(text, as_version=4)
    if not nb.cells:
        return text
    source = re.sub(rf"\n\n{BEGIN}.*?{END}", "", nb.cells[0].source, flags=re.S)
    if address != PLACEHOLDER:
        title, newline, rest = source.partition("\n")
        line = f"Open in [Colab]({_colab(address, name)}) or [Binder]({_binder(address, name)})."
        source = f"{title}\n\n{BEGIN}\n\n{line}\n\n{END}{newline}{rest}"
    if source == nb.cells[0].source:
        return text
    nb.cells[0].source = source
    return notebooks.dumps(nb)
