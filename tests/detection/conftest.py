"""What the tests of detectors share: figures are drawn without a screen, and closed."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def close():
    """Close the figures that a test has drawn."""
    yield
    import sys

    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
