"""Shared fixtures: where the real data lies, and what a missing tool means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real annotations, beside the checkout or where MARGINALIA_TEST_DATA points; else skip."""
    folder = Path(os.environ.get("MARGINALIA_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real data not here: set MARGINALIA_TEST_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def shared_cases(shared_data) -> Path:
    """Folder with small inputs that once went wrong, beside the real annotations; else skip."""
    folder = shared_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip("the cases are not here: they lie beside the folder with real data")
    return folder


@pytest.fixture
def rng():
    """A seeded numpy generator, new for every test."""
    import numpy as np

    return np.random.default_rng(0)
