"""One interactive widget per idea: a Python model with traits and a JavaScript view each, without network.

The views work in JupyterLab and, saved as a page by `save_html`, without a kernel.
"""

from .attention import AttentionExplorer
from .base import Explorer
from .box import BoxExplorer
from .composition import CompositionExplorer
from .relation import RelationExplorer
from .rips import RipsExplorer

__all__ = [
    "AttentionExplorer",
    "BoxExplorer",
    "CompositionExplorer",
    "Explorer",
    "RelationExplorer",
    "RipsExplorer",
]
