"""Marginalia: four papers taken apart and put together again, with a small library behind the notebooks.

Importing the package loads nothing heavy; a part is loaded when it is first named.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.8.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "boxes",
        "catalogue",
        "controls",
        "detection",
        "exercises",
        "explorers",
        "figures",
        "heads",
        "plots",
        "record",
        "statistics",
        "store",
        "style",
        "topology",
        "training",
    ],
)


def versions(*packages: str) -> str:
    """One line with the versions of Python, of this library and of the named distributions."""
    import platform
    from importlib.metadata import version

    rows = [f"Python {platform.python_version()}", f"marginalia {__version__}"]
    return ", ".join(rows + [f"{name} {version(name)}" for name in packages])
