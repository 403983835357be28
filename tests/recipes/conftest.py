"""The recipes are scripts of one folder that import each other: that folder goes on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "data" / "recipes"))
torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder, a build folder of its own, and few scenes to measure on."""
    import measure_heads
    import pretraining
    import runs
    import train

    monkeypatch.setenv("MARGINALIA_DATA", str(tmp_path))
    monkeypatch.setattr(runs, "BUILD", tmp_path / "build")
    for module in (train, pretraining):
        monkeypatch.setattr(module, "VALIDATION", 8)
    monkeypatch.setattr(measure_heads, "SCENES", 4)
    return tmp_path
