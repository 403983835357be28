"""Latent features as point clouds: caught in any torch model, or read from a file."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from marginalia.record import Call, evaluating, record

# What torch.load and numpy.load raise, and what comes of files that hold something else.
UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError)


def collect_features(
    model: nn.Module,
    batches: Iterable[Any],
    layer: str,
    pool: Callable[[Any], Float[Tensor, "N D"]] | None = None,
) -> list[Float[Tensor, "N D"]]:
    """What comes out of one module of a model, a cloud of N points a batch.

    layer: dotted name as in `model.named_modules()`; "" is the model itself. batches: what the model takes,
    a tensor or a dict of keyword arguments; of a tuple or list (inputs, targets) the first. Outputs (N, D)
    are taken as they are, (N, C, h, w) are averaged over their last two axes. pool: what makes (N, D) of
    other outputs, of tokens (N, T, D) say `lambda tokens: tokens[:, 0]`. The model runs in evaluation mode,
    in which each point depends on its own input alone, and is left in the mode it was in. Raises ValueError
    for names that no module has, for outputs of other forms, and for modules that are called more or less
    than once a batch.
    """
    clouds = []
    with evaluating(model):
        for batch in batches:
            inputs = batch[0] if isinstance(batch, tuple | list) else batch
            with record(model, layer) as seen:
                model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
            clouds.append(points_of(seen, layer, pool))
    return clouds


def points_of(
    seen: Mapping[str, list[Call]], layer: str, pool: Callable | None = None
) -> Float[Tensor, "N D"]:
    """The output of the one call of a layer that `record` saw, as `collect_features` makes a cloud of it."""
    calls = seen.get(layer, ())  # a pattern is no layer's name
    if len(calls) != 1:
        raise ValueError(f"features: {layer!r} is called {len(calls)} times a batch, not once")
    output = calls[0].output if pool is None else pool(calls[0].output)
    if not isinstance(output, Tensor) or output.ndim not in (2, 4):
        form = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"features: {layer!r} gives {form}, not (N, D) or (N, C, h, w): give pool=")
    return output.mean((2, 3)) if output.ndim == 4 else output


def read_features(path: str | Path, name: str | None = None) -> Float[np.ndarray, "K N D"]:
    """Clouds of features from a `.npy`, `.npz` or `.pt` file: (K, N, D); one cloud (N, D) becomes (1, N, D).

    name: of the array, where a .npz or a dict in a .pt has several. A .npy is mapped into memory, read-only,
    so that it may be larger than memory. No code in the files runs (pickled objects are refused). Raises
    FileNotFoundError, and ValueError that names the file and what it holds.
    """
    path, names = Path(path), None
    if path.suffix not in (".npy", ".npz", ".pt", ".pth"):
        raise ValueError(f"{path}: not a .npy, .npz, .pt or .pth file")
    try:
        if path.suffix in (".pt", ".pth"):
            held = torch.load(path, map_location="cpu", weights_only=True)
        else:
            held = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(held, Mapping):
            names = list(held)
            name = names[0] if name is None and len(names) == 1 else name
            held = held[name] if name in names else None
        if isinstance(held, Tensor):  # numpy has no bfloat16
            held = (held.float() if held.dtype == torch.bfloat16 else held).detach().numpy()
        array = np.asarray(held)
    except FileNotFoundError:
        raise
    except (*UNREADABLE, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no file of arrays or tensors alone ({type(error).__name__})") from error
    if held is None:
        raise ValueError(
            f"{path}: it holds {', '.join(map(str, names))}: give name= one of these, not {name!r}"
        )
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: features are (N, D) or (K, N, D), not {array.dtype} {array.shape}")
    if not np.isfinite(array.sum((-2, -1), dtype=float)).all():  # not, as soon as one value is not
        raise ValueError(f"{path}: has NaN or infinite values")
    return array if array.ndim == 3 else array[None]
