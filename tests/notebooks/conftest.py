"""Fixtures of the notebook tests."""

from __future__ import annotations

import pytest
from nbformat import v4


@pytest.fixture
def notebook_of():
    """Makes a notebook of one code cell with the given outputs."""

    def make(*outputs, source="1 + 1", metadata=None, **state):
        cell = v4.new_code_cell(source, outputs=list(outputs), execution_count=1, metadata=metadata or {})
        return v4.new_notebook(cells=[cell], metadata=state)

    return make
