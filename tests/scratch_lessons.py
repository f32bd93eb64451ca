"""A small lesson in good order, for tests that break it one way at a time."""

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

CLAIMS = {"scratch": {"S1": {}, "S2": {}}, "other": {"O1": {}}}
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="


def code(here: str, source: str, *tags: str) -> NotebookNode:
    return new_code_cell(source, id=here, metadata={"tags": list(tags)} if tags else {})


def prose(here: str, source: str, *tags: str) -> NotebookNode:
    return new_markdown_cell(source, id=here, metadata={"tags": list(tags)} if tags else {})


COLAB = """\
# on Colab this fetches featlab; elsewhere it does nothing
import importlib.util
if importlib.util.find_spec("json") is None:
    %pip install -q git+https://github.com/OWNER/featlab"""


SOLUTION = """\
<details><summary>Solution</summary>

```python
double = [2 * n for n in numbers]
```

</details>"""


def scratch_lesson() -> NotebookNode:
    """Return a lesson that was not run yet; it needs neither torch nor featlab, so its kernel starts fast."""
    return new_notebook(
        cells=[
            prose("title", "# Scratch\n\nWhat does a list share?"),
            code("colab", COLAB, "colab"),
            code("parameters", 'device = "auto"\nseed = 0', "parameters"),
            code("setup", "import random\nfrom types import SimpleNamespace\nfrom IPython.display import display"),
            code("numbers", "numbers = random.Random(seed).sample(range(99), 4)\nprint(object(), device)\nnumbers"),
            code("sorted", "assert sorted(numbers) != numbers", "claim:S1"),
            code("shared", "alias = numbers\nassert alias is numbers", "claim:S2"),
            code("dot", f'dot = "{DOT[:60]}"\ndot += "{DOT[60:]}"\ndisplay({{"image/png": dot}}, raw=True)'),
            prose("dot-in-words", "One dark pixel."),
            prose("double-task", "## Double every number"),
            code(
                "double",
                "practice = SimpleNamespace(check=lambda name, answer: 'not tried yet')\n"
                "double = ...\n"
                'practice.check("double", double)',
                "exercise:double",
            ),
            prose("double-solution", SOLUTION, "solution:double"),
        ]
    )


def cell(nb: NotebookNode, here: str) -> NotebookNode:
    return next(cell for cell in nb.cells if cell.id == here)
