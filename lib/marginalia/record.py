"""What goes in and out of the named modules of any torch model, while it runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only  # reaches tensors in tuples, dicts and outputs of transformers

from .store import near


@dataclass
class Call:
    """One call of a module."""

    inputs: dict[str, Any]  # by the names of forward's parameters, given by position or by keyword
    output: Any = None  # None also where the call has not ended, or ended with an error


@contextmanager
def record(
    model: nn.Module, names: str | Iterable[str] | None = None, gradients: bool = False
) -> Iterator[dict[str, list[Call]]]:
    """Calls of modules of `model` in all passes made inside the block, by the module's name, in their order.

    names: dotted names as in `model.named_modules()`, or patterns such as `decoder.layers.*.norm` (a star
    goes past dots too; "" is the model itself); None takes all of them. A module that was not called has an
    empty list. Tensors are detached copies, as they were at that moment; with `gradients` they are the
    tensors themselves, in their graph, and operations in place change them. The hooks are gone after the
    block, also after an error. ValueError for a name that no module has.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    >>> with record(model, "0") as seen:
    ...     _ = model(torch.zeros(5, 2))
    >>> seen["0"][0].inputs["input"].shape, seen["0"][0].output.shape
    (torch.Size([5, 2]), torch.Size([5, 3]))
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    wanted = ["*"] if names is None else [names] if isinstance(names, str) else names
    seen = {name: [] for pattern in wanted for name in _matching(pattern, modules)}

    def keep(value: Any) -> Any:
        return value if gradients else tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), value)

    def enter(calls: list[Call], module: nn.Module, args: tuple, kwargs: dict) -> None:
        calls.append(Call(keep(inspect.signature(module.forward).bind(*args, **kwargs).arguments)))

    def leave(calls: list[Call], module: nn.Module, args: tuple, output: Any) -> None:
        calls[-1].output = keep(output)

    with ExitStack() as hooks:
        for name, calls in seen.items():
            module = modules[name]
            hooks.callback(module.register_forward_pre_hook(partial(enter, calls), with_kwargs=True).remove)
            hooks.callback(module.register_forward_hook(partial(leave, calls)).remove)
        yield seen


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No gradients and no dropout; afterwards each module is in its own former mode."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    found = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
    if not found:
        raise ValueError(f"record: no module is called {pattern!r}; {near(pattern, filter(None, names))}")
    return found
