"""The notebook machine: run, check, prove and hand out the lessons in notebooks/."""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from files import LESSONS, ROOT, LessonFailed, shown, store

# what a command needs is imported when it runs: `copy` stands before every start of JupyterLab


def found(paths: list[Path]) -> list[Path]:
    """Return the notebooks that the paths name, all lessons when none is given."""
    files = []
    for path in paths or [LESSONS]:
        if not path.exists():
            raise LessonFailed(f"There is no {shown(path)}.")
        files += sorted(path.glob("*.ipynb")) if path.is_dir() else [path]
    return files


def each(paths: list[Path], work: Callable[[Path], str], *, jobs: int = 1) -> int:
    """Do the work for each lesson, some at a time; go on after a failure, and return how many failed."""
    failed = 0
    with ThreadPoolExecutor(jobs) as workers:
        for path, result in [(path, workers.submit(work, path)) for path in found(paths)]:
            try:
                print(f"{shown(path)}: {result.result()}", flush=True)
            except LessonFailed as error:
                failed += 1
                print(error, file=sys.stderr, flush=True)
            except BaseException:
                workers.shutdown(wait=False, cancel_futures=True)
                raise
    return failed


def run(options: argparse.Namespace) -> int:
    """Execute lessons and store them in normal form."""
    from reruns import run

    return each(options.paths, run, jobs=options.jobs)


def check(options: argparse.Namespace) -> int:
    """Execute lessons to memory and say what is stale."""
    from reruns import check

    return each(options.paths, check, jobs=options.jobs)


def twice(options: argparse.Namespace) -> int:
    """Run to the middle, restart, and run all with every cell two times in a row."""
    from reruns import twice, twice_if_changed

    return each(options.paths, twice_if_changed if options.changed else twice, jobs=options.jobs)


def lint(options: argparse.Namespace) -> int:
    """Say what is wrong with stored lessons, without running them."""
    import addresses
    from claims import stale
    from lint import problems, read_claims

    claims = read_claims()

    def look(path: Path) -> str:
        if faults := problems(path, claims):
            raise LessonFailed("\n".join(f"{shown(path)}: {fault}" for fault in faults))
        return "in order"

    failed = each(options.paths, look)
    elsewhere = addresses.disagreements(ROOT)
    if not failed and not options.paths and (sentence := stale(claims)):
        elsewhere.append(sentence)
    for sentence in elsewhere:
        print(sentence, file=sys.stderr)
    return failed + len(elsewhere)


def claims(options: argparse.Namespace) -> int:
    """Write notebooks/claims.md, what the lessons decide, from their stored runs."""
    from claims import TABLE, table
    from lint import read_claims

    text = table(read_claims())
    store(TABLE, text)
    print(f"{shown(TABLE)}: {text.count('| **')} claims decided")
    return 0


def workshop(options: argparse.Namespace) -> int:
    """Write workshop/: the learners' lessons without solutions, the instructors' with all of them filled in."""
    from workshops import write

    return each(options.paths, write)


def copy(options: argparse.Namespace) -> int:
    """Give learners their copies in my_lessons/, never over their work."""
    from copies import copy_lessons

    print(*copy_lessons(), sep="\n")
    return 0


def address(options: argparse.Namespace) -> int:
    """Write the repository's new address everywhere, or say what it is and who disagrees."""
    import addresses

    if options.new:
        changed = addresses.rewrite(ROOT, options.new)
        print(f"{options.new}: {', '.join(changed) or 'nothing'} changed")
        return 0
    elsewhere = addresses.disagreements(ROOT)
    print(addresses.current(ROOT), *elsewhere, sep="\n")
    return len(elsewhere)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog=".ci/lessons.py", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for act in (run, lint, check, twice, claims, copy, workshop, address):
        command = commands.add_parser(act.__name__, help=act.__doc__, description=act.__doc__)
        command.set_defaults(act=act)
        if act in (run, lint, check, twice, workshop):
            command.add_argument("paths", nargs="*", type=Path, help="notebooks or folders (default: notebooks/)")
        if act in (run, check, twice):
            command.add_argument("--jobs", type=int, default=2, help="lessons at a time (default: 2)")
        if act is twice:
            command.add_argument("--changed", action="store_true", help="only what was not yet proven on this machine")
        if act is address:
            command.add_argument("new", nargs="?", metavar="OWNER/NAME")
    return top


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    try:
        return 1 if options.act(options) else 0
    except LessonFailed as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
