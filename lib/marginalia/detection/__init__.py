"""How a query finds an object: scenes, attention, decoders, matching, capture.

The names below are found when they are first used, so that pure attention maths does not load the models.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "scenes": ["SceneBatch", "as_boxes", "make_scenes"],
        "attention": [
            "AttentionMaps",
            "cell_positions",
            "conditional_logits",
            "detr_logits",
            "positional_encoding",
        ],
        "detector": ["KINDS", "Detector", "DetectorConfig", "DetectorOutput", "build", "predict_table"],
        "matching": ["Targets", "gather_targets", "match"],
        "losses": ["RECIPES", "set_loss"],
        "capture": ["capture_attention"],
        "loading": ["load"],
    },
)
