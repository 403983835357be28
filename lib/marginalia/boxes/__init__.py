"""Where things are in a picture: annotations, geometry, correlation, evaluation per image.

The names below are found when they are first used, so that reading a file does not load what draws it.
"""

from __future__ import annotations

from ..late import late_names

__getattr__, __dir__, __all__ = late_names(
    __name__,
    {
        "table": ("BoxTable", "BoxWarning", "Issue"),
        "reading": ("read_boxes",),
        "correlation": ("macroscopic_correlation", "pearson"),
        "nulls": ("NULLS", "ExcessCorrelation", "excess_correlation", "shuffle"),
        "uniform": ("random_layout", "uniform_band", "uniform_boxes"),
        "evaluation": ("evaluate", "evaluate_images", "quantile_images", "rank_images"),
        "photographs": ("detect_photographs",),  # photographs(): in the module of that name
        "defects": ("generate_defects",),
    },
)
