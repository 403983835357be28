"""One interactive widget per idea: a Python model with traits and a JavaScript view each, without network.

The views work in JupyterLab and, saved as a page by `save_html`, without a kernel. The names below are found
when they are first used.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attention": ["AttentionExplorer"],
        "base": ["Explorer"],
        "box": ["BoxExplorer"],
        "composition": ["CompositionExplorer"],
        "relation": ["RelationExplorer"],
        "rips": ["RipsExplorer"],
    },
)
