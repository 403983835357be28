"""Run the notebooks, keep their committed outputs, and check both."""

from __future__ import annotations

from .pairing import find, sync
from .refreshing import page_missing, refresh
from .running import Result, run

__all__ = ["Result", "find", "page_missing", "refresh", "run", "sync"]
