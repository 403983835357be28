"""The shape of a point cloud: connected components, loops, their diagrams and images.

The names below are found when they are first used, so that reading a diagram does not load torch.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "components": ["h0_deaths"],
        "diagrams": ["Diagrams", "diagrams"],
        "images": ["PersistenceImage", "PersistenceProfile", "persistence_image", "persistence_profile"],
        "features": ["collect_features", "read_features"],
        "references": ["gaussian_references"],
        "ripsnet": ["RipsNet", "fit_ripsnet", "load_ripsnet", "size_features"],
    },
)
