"""Make the README's picture anew by running the README's own lines: `make pictures`."""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / ".github" / "images"


def first_block() -> str:
    """Return the code of the first ```python block in README.md."""
    return re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)[1]


def main(folder: Path) -> dict:
    """Run the README's lines inside a folder, where they save their picture, and return the names they defined."""
    os.environ["MPLBACKEND"] = "agg"
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    names: dict = {}
    exec(first_block(), names)
    return names


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else IMAGES)
