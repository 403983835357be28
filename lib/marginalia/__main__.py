"""The command line: `python -m marginalia COMMAND`. Everything heavy is imported when its command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

COCO = "coco2017-annotations"


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


def _data(options: argparse.Namespace) -> int:
    from marginalia.store import fetch

    print(fetch(options.name))
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m marginalia", description="Marginalia's command line")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, does: Callable[[argparse.Namespace], int], text: str):
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(does=does)
        return one

    figure = command("figure", _figure, "draw one figure of notebooks/figures.yml into files")
    figure.add_argument("id", metavar="ID", help="as `figures` lists them")
    figure.add_argument("--data", metavar="PATH", help="draw it from this file or folder")
    figure.add_argument("--out", metavar="DIR", help="folder (build/figures)")
    command("figures", _figures, "list every figure and table of the papers, and where it is drawn")
    data = command("data", _data, "download a data set into the cache")
    data.add_argument("name", nargs="?", default=COCO, metavar="NAME", help=f"which one ({COCO})")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it went well, 2 with one line on what was wrong."""
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
