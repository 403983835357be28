"""Latent features as point clouds: caught in any torch model, or read from a file."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from marginalia.record import evaluating, record


def collect_features(model: nn.Module, batches: Iterable[Any], layer: str) -> list[Float[Tensor, "N D"]]:
    """What comes out of one module of a model, a cloud of N points a batch.

    layer: dotted name as in `model.named_modules()`; "" is the model itself. batches: what the model takes,
    a tensor or a dict of keyword arguments; of a tuple or list (inputs, targets) the first. Outputs (N, D)
    are taken as they are, (N, C, h, w) are averaged over places. The model runs in evaluation mode, in which
    each point depends on its own input alone, and is left in the mode it was in. Raises ValueError for names
    that no module has, for outputs of other forms, and for modules that are called more or less than once a
    batch.
    """
    clouds = []
    with evaluating(model):
        for batch in batches:
            inputs = batch[0] if isinstance(batch, tuple | list) else batch
            with record(model, layer) as seen:
                model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
            (calls,) = seen.values()
            if len(calls) != 1:
                raise ValueError(f"features: {layer!r} is called {len(calls)} times a batch, not once")
            clouds.append(as_points(calls[0].output, layer))
    return clouds


def as_points(output: Float[Tensor, "N D *places"], layer: str) -> Float[Tensor, "N D"]:
    """The output of a layer as a cloud, averaged over places. ValueError for other forms."""
    if not isinstance(output, Tensor) or output.ndim not in (2, 4):
        form = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"features: {layer!r} gives {form}, not (N, D) or (N, C, h, w)")
    return output.mean((2, 3)) if output.ndim == 4 else output


def read_features(path: str | Path, name: str | None = None) -> Float[np.ndarray, "K N D"]:
    """Clouds of features from a `.npy`, `.npz` or `.pt` file: (K, N, D); one cloud (N, D) becomes (1, N, D).

    name: of the array, where a .npz or a dict in a .pt has several. A .npy is mapped into memory, read-only,
    so that it may be larger than memory. No code in the files runs (pickled objects are refused). Raises
    FileNotFoundError, and ValueError that names the file and what it holds.
    """
    path = Path(path)
    try:
        if path.suffix in (".pt", ".pth"):
            held = torch.load(path, map_location="cpu", weights_only=True)
        elif path.suffix in (".npy", ".npz"):
            held = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            raise ValueError("not a .npy, .npz, .pt or .pth file")
        if isinstance(held, Mapping):
            name = next(iter(held)) if name is None and len(held) == 1 else name
            if name not in held:
                names = ", ".join(map(str, held))
                raise ValueError(f"it holds {names}: give name= one of these, not {name!r}")
            held = held[name]
        array = np.asarray(held.float() if isinstance(held, Tensor) else held)
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error!s:.300}") from error
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: features are (N, D) or (K, N, D), not {array.dtype} {array.shape}")
    if not np.isfinite(array.sum((-2, -1), dtype=float)).all():  # not, as soon as one value is not
        raise ValueError(f"{path}: has NaN or infinite values")
    return array if array.ndim == 3 else array[None]
