"""The command line: `python -m marginalia COMMAND`. Everything heavy is imported when its command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

COCO = "coco2017-annotations"


def _notebooks(options: argparse.Namespace) -> int:
    from marginalia.notebooks import find, run

    sources = find(options.names)
    failed = [result.name for result in run(sources, options.out, options.jobs) if result.error]
    print(f"{len(sources) - len(failed)} of {len(sources)} notebooks ran; they are in {options.out}")
    return 1 if failed else 0


def _outputs(options: argparse.Namespace) -> int:
    from marginalia.notebooks import find, refresh

    results = refresh(find(options.names), options.out, options.all, options.jobs)
    return 1 if any(result.error for result in results) else 0


def _sync(options: argparse.Namespace) -> int:
    from marginalia.notebooks import find, sync

    for source in find(options.names):
        print(f"{'written' if sync(source) else 'same':8}{source.stem}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from marginalia.notebooks import find
    from marginalia.notebooks.checks import check, large

    bad = 0
    for source in find(options.names):
        problems, notebook = check(source), source.with_suffix(".ipynb")
        bad += bool(problems)
        print(f"{'bad' if problems else 'good':6}{source.stem}")
        for problem in problems:
            print(f"      {problem}")
        for remark in large(notebook) if notebook.is_file() else []:
            print(f"      (a remark: {remark})")
    return 1 if bad else 0


def _figure(options: argparse.Namespace) -> int:
    from marginalia.figures import draw

    for path in draw(options.id, options.data, options.out):
        print(path)
    return 0


def _figures(options: argparse.Namespace) -> int:
    from marginalia.catalogue import catalogue

    for row in catalogue():
        print(f"{row.id:48} {row.status:32} {row.notebook or ''}".rstrip())
    return 0


def _gallery(options: argparse.Namespace) -> int:
    from marginalia.catalogue import write_gallery
    from marginalia.notebooks.pairing import project

    write_gallery(project() / "README.md")
    return 0


def _data(options: argparse.Namespace) -> int:
    from marginalia.store import fetch

    print(fetch(options.name))
    return 0


def _measure(options: argparse.Namespace) -> int:
    from marginalia.boxes import measure

    measure.main()
    return 0


def _train(options: argparse.Namespace) -> int:
    from marginalia.detection.train import main as train

    return 1 if train(options.names, options.jobs) else 0


def _site(options: argparse.Namespace) -> int:
    from marginalia.notebooks import find, page_missing, run
    from marginalia.notebooks.pages import write_site

    waiting = [source for source in find() if page_missing(source, options.out)]
    if any(result.error for result in run(waiting, options.out, options.jobs)):
        return 1
    print(write_site(options.out))
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m marginalia", description="Marginalia's command line")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, does: Callable[[argparse.Namespace], int], text: str, *kinds: str):
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(does=does)
        if "names" in kinds:
            one.add_argument("names", nargs="*", metavar="NAME", help="notebooks, by how their names begin")
        if "runs" in kinds:
            one.add_argument("--jobs", type=int, default=2, metavar="N", help="notebooks at a time (2)")
        if "builds" in kinds:
            one.add_argument("--out", type=Path, default=Path("build"), metavar="DIR", help="folder (build)")
        return one

    command("notebooks", _notebooks, "run notebooks into the build folder", "names", "runs", "builds")
    outputs = command("outputs", _outputs, "refresh stale committed outputs", "names", "runs", "builds")
    outputs.add_argument("--all", action="store_true", help="refresh fresh ones as well")
    command("sync", _sync, "write each .ipynb from its .py, keeping outputs", "names")
    command("check", _check, "say what is wrong with the committed notebooks", "names")
    figure = command("figure", _figure, "draw one figure of notebooks/figures.yml into files")
    figure.add_argument("id", metavar="ID", help="as `figures` lists them")
    figure.add_argument("--data", metavar="PATH", help="draw it from this file or folder")
    figure.add_argument("--out", metavar="DIR", help="folder (build/figures)")
    command("figures", _figures, "list every figure and table of the papers, and where it is drawn")
    command("gallery", _gallery, "write the README's gallery from notebooks/figures.yml")
    data = command("data", _data, "download a data set into the cache")
    data.add_argument("name", nargs="?", default=COCO, metavar="NAME", help=f"which one ({COCO})")
    command("measure", _measure, "write the tables of data/measured from the real data sets")
    train = command("train", _train, "train the detectors that are missing from data/measured/detection")
    train.add_argument("names", nargs="*", metavar="NAME", help="runs, by name or pattern (all)")
    train.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at a time (2)")
    text = "run the notebooks whose page is missing or old, and put all pages behind one index"
    command("site", _site, text, "runs", "builds")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it went well, 1 when notebooks failed, 2 with one line on what was wrong."""
    options = parser().parse_args(arguments)
    try:
        return options.does(options)
    except (ValueError, TypeError, OSError, SyntaxError) as error:
        print(f"marginalia {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
