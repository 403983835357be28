"""Where things are in a picture: annotations, geometry, correlation, evaluation per image."""

from .table import BoxTable, BoxWarning, Finding

__all__ = ["BoxTable", "BoxWarning", "Finding"]
