"""The command line: `python -m marginalia figure|figures|deaths|data`. Imports of what is heavy are late."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

COCO = "coco2017-annotations"


def run(options: argparse.Namespace) -> None:
    """Run one command and print what it gives."""
    if options.command == "figure":
        from marginalia.figures import draw

        print(*draw(options.id, options.data, options.out), sep="\n")
    elif options.command == "figures":
        from marginalia.catalogue import catalogue

        for row in catalogue():
            print(f"{row.id:48} {row.status:32} {row.notebook or ''}".rstrip())
    elif options.command == "deaths":
        import numpy as np

        from marginalia.topology import h0_deaths, read_features

        out = Path(options.out)  # what is wrong with it is said before the work, not after it
        if out.is_dir() or not out.absolute().parent.is_dir():
            raise FileNotFoundError(f"{out}: a folder, or in a folder that is not there; name a file")
        if out.exists() and out.samefile(options.features):
            raise ValueError(f"{out}: is FILE itself, which would be lost")
        if not os.access(out if out.exists() else out.absolute().parent, os.W_OK):
            raise PermissionError(f"{out}: cannot be written to; name another file")
        deaths = h0_deaths(read_features(options.features))
        with open(out, "wb") as file:  # under this name: np.save may add .npy
            np.save(file, deaths)
        print(f"{out}: {deaths.shape[0]:,} clouds, {deaths.shape[1]} deaths each, {deaths.dtype}")
    else:
        from marginalia.store import fetch

        print(fetch(options.name))


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m marginalia", description="Marginalia's command line")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    figure = commands.add_parser("figure", help="draw one figure of notebooks/figures.yml into files")
    figure.add_argument("id", metavar="ID", help="as `figures` lists them")
    figure.add_argument("--data", metavar="PATH", help="draw it from this file or folder")
    figure.add_argument("--out", metavar="DIR", help="folder (build/figures)")
    commands.add_parser("figures", help="list every figure and table of the papers, and where it is drawn")
    deaths = commands.add_parser("deaths", help="deaths of dimension 0 of many point clouds, file to file")
    deaths.add_argument(
        "features", metavar="FILE", help=".npy, .npz or .pt with (N, D) or (K, N, D) features"
    )
    deaths.add_argument("out", metavar="OUT", help="the .npy to write, (K, N - 1)")
    data = commands.add_parser("data", help="download a data set into the cache")
    data.add_argument("name", nargs="?", default=COCO, metavar="NAME", help=f"which one ({COCO})")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it went well, 2 with one line on what was wrong."""
    options = parser().parse_args(arguments)
    try:
        run(options)
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"marginalia {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
