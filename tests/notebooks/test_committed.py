"""All checks on all notebooks of the collection."""

from __future__ import annotations

import pytest

from tools.pair import ROOT, find

from .checks import check

SOURCES = find()


@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_committed_notebook(source):
    assert check(source) == []


def test_no_notebook_without_a_source():
    pages = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert pages <= {source.stem for source in SOURCES}
