"""Where things are in a picture: annotations, geometry, correlation, evaluation per image.

The names below are found when they are first used, so that reading a file does not load what draws it.
"""

from __future__ import annotations

import importlib

_HOME = {
    "table": ("BoxTable", "BoxWarning", "Finding"),
    "reading": ("read_boxes",),
    "correlation": ("macroscopic_correlation", "pearson"),
    "nulls": ("NULLS", "ExcessCorrelation", "excess_correlation", "shuffle"),
    "uniform": ("random_layout", "uniform_band", "uniform_boxes"),
    "evaluation": ("evaluate", "evaluate_images", "quantile_images", "rank_images"),
    "photographs": ("detect_photographs",),  # photographs() itself: from its module, which has the same name
    "defects": ("generate_defects",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE)  # noqa: PLE0605


def __getattr__(name: str):
    if name in _MODULE:
        return getattr(importlib.import_module(f".{_MODULE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted({*globals(), *__all__})
