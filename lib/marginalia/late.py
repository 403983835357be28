"""Names of a subpackage that are found when they are first used, so that importing it loads nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def late_names(
    package: str, home: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package (PEP 562); home: module -> the names it has."""
    module_of = {name: module for module, names in home.items() for name in names}
    public = sorted(module_of)

    def find(name: str) -> object:
        if name in module_of:
            return getattr(importlib.import_module(f".{module_of[name]}", package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(public)}")

    return find, lambda: public, public
