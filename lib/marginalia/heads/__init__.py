"""How attention heads share work: compositions of heads, a transformer with them, tasks, inspection.

The names below are found when they are first used; `inspection`, `language` and `reactions` are imported by
their own names.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "composition": ["BRANCHES", "VARIANTS", "Compose", "Composition", "CompositionTerms", "compose"],
        "attention": ["DCMHAttention"],
        "transformer": ["TinyTransformer", "TransformerConfig"],
        "tasks": ["Retriever", "answered", "questions", "read_tasks", "train_retriever", "word_tasks"],
        "loading": ["load_dcformer"],
    },
)
