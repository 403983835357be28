"""Where things are in an image: annotations, geometry, correlation, evaluation per image.

The names below are found when they are first used, so that reading a file does not load what draws it.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "table": ["BoxTable", "BoxWarning", "Issue"],
        "reading": ["read_boxes"],
        "correlation": ["macroscopic_correlation", "pearson"],
        "nulls": ["NULLS", "ExcessCorrelation", "excess_correlation", "shuffle"],
        "uniform": ["random_layout", "uniform_boxes"],
        "evaluation": ["evaluate", "evaluate_images", "quantile_images", "rank_images"],
        "defects": ["generate_defects"],
        "blood_cells": ["Cells", "cells"],
    },
)
