"""Marginalia: four papers taken apart and put together again, with a small library behind the notebooks.

Importing the package loads nothing heavy; a subpackage is loaded when it is first named.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_PARTS = ("boxes", "detection", "exercises", "explorers", "figures", "plots", "store", "style", "training")


def __getattr__(name: str):
    if name in _PARTS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_PARTS)}")


def __dir__():
    return sorted([*globals(), *_PARTS])


def versions(*packages: str) -> str:
    """One line with the versions of Python, of this library and of the named distributions."""
    import platform
    from importlib.metadata import version

    rows = [f"Python {platform.python_version()}", f"marginalia {__version__}"]
    return ", ".join(rows + [f"{name} {version(name)}" for name in packages])
