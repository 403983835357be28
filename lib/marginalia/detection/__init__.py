"""How a query finds a thing: scenes, attention, decoders, matching, capture.

The names below are found when they are first used, so that pure attention maths does not load the models.
"""

from __future__ import annotations

import importlib

_HOME = {
    "scenes": ("SceneBatch", "as_boxes", "make_scenes"),
    "attention": ("AttentionMaps", "cell_positions", "conditional_logits", "detr_logits", "sine_embedding"),
    "detector": ("KINDS", "Detector", "DetectorConfig", "DetectorOutput", "build"),
    "predicting": ("predict", "predict_table"),
    "matching": ("Targets", "gather_targets", "match"),
    "losses": ("RECIPES", "set_loss"),
    "capture": ("capture_attention",),
    "loading": ("load",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE)  # noqa: PLE0605


def __getattr__(name: str):
    if name in _MODULE:
        return getattr(importlib.import_module(f".{_MODULE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted({*globals(), *__all__})
