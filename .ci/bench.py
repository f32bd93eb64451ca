"""Measure what a learner waits for, each in a fresh process, the best of five: `make bench`."""

import subprocess
import sys
import time

from featlab.tables import Table

WAITS = {
    "nothing": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import featlab": ["-c", "import featlab"],
    "import JupyterLab": ["-c", "import jupyterlab.labapp"],
    "a second install": [".ci/install.py", "lab"],
    "the digits and their network": ["-c", "import featlab as fl; fl.samples.digits(); fl.samples.digits_net()"],
}


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True)
    return time.perf_counter() - start


rows = [{"wait": name, "seconds": f"{min(seconds(line) for _ in range(5)):.2f}"} for name, line in WAITS.items()]
print(Table(rows, caption="Each number includes the first line, Python's own start."))
