"""One function for numpy arrays and torch tensors: which module to compute with, and numbers as floats."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    Array = np.ndarray | Tensor
else:
    Array = np.ndarray  # jaxtyping shapes are for the reader; torch stays unloaded until someone uses it


def module_of(array: Array) -> ModuleType:
    """numpy or torch: the module whose functions apply to the array."""
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch is loaded
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def floats(array: Array) -> Array:
    """A tensor as it is, anything else as an array; whole numbers become floats."""
    module = module_of(array)
    if module is not np:
        return array if array.is_floating_point() else array.to(module.get_default_dtype())
    array = np.asarray(array)
    return array if array.dtype.kind == "f" else array.astype(np.float64)
