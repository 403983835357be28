"""How a query finds an object: scenes, attention, decoders, matching, capture.

The names below are found when they are first used, so that pure attention maths does not load the models.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "scenes": ["as_boxes", "cell_scenes", "make_scenes"],
        "detector": ["Detector", "DetectorConfig", "build", "predict_table"],
        "matching": ["Targets", "gather_targets"],
        "capture": ["capture_attention", "capture_self_attention"],
        "loading": ["load", "prepare"],
    },
)
