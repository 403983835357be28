"""What goes into the cross-attentions of a decoder, kept by hooks, and their logits computed again from it.

Modules are found by what they have and not by where they are: whatever has the four projections of a split
cross-attention is one, so that a library may move it (transformers 5 did, sheet 6.3).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .attention import conditional_logits, detr_logits

# Names of a part: in this project, in transformers 5 (Conditional, DAB), on decoder layers of transformers 4.
CONDITIONAL_PARTS = {
    "content_query": ("content_query", "q_content_proj", "cross_attn_query_content_proj", "ca_qcontent_proj"),
    "content_key": ("content_key", "k_content_proj", "cross_attn_key_content_proj", "ca_kcontent_proj"),
    "spatial_query": (
        "spatial_query",
        "q_pos_sine_proj",
        "cross_attn_query_pos_sine_proj",
        "ca_qpos_sine_proj",
    ),
    "spatial_key": ("spatial_key", "k_pos_proj", "cross_attn_key_pos_proj", "ca_kpos_proj"),
}
OBJECT_QUERY = ("object_query", "q_pos_proj", "cross_attn_query_pos_proj", "ca_qpos_proj")  # first layer only
DETR_PARTS = {"query": ("query", "q_proj"), "key": ("key", "k_proj")}
DETR_MODULES = ("cross_attention", "encoder_attn")  # because self-attention has the same projections
DETR_INPUTS = {
    "content": ("content", "hidden_states"),
    "objects": ("position", "position_embeddings", "object_queries"),
    "memory": ("memory", "key_value_states"),
    "cells": ("cells", "encoder_position_embeddings", "spatial_position_embeddings"),
}

Logits = Float[Tensor, "B H Q K"]


class ConditionalHooks:
    """Cross-attention whose content and spatial halves have projections of their own (Conditional, DAB)."""

    def __init__(self, module: nn.Module, heads: int):
        self.heads = heads
        self.parts = {part: _child(module, names) for part, names in CONDITIONAL_PARTS.items()}
        self.parts["object_query"] = _child(module, OBJECT_QUERY)
        self.seen: dict[str, Tensor] = {}

    @staticmethod
    def matches(name: str, module: nn.Module) -> bool:
        return all(_child(module, names) is not None for names in CONDITIONAL_PARTS.values())

    def listen(self) -> Iterator[RemovableHandle]:
        """Register the hooks; whoever asks removes them."""
        for part, module in self.parts.items():
            if module is not None:
                yield module.register_forward_hook(partial(self._keep, part))

    def _keep(self, part: str, module: nn.Module, given: tuple, output: Tensor) -> None:
        self.seen[part] = output.float()

    @property
    def first(self) -> bool:
        """Whether o_q and p_k went into the content half: they do where the object query was projected."""
        return "object_query" in self.seen

    def logits(self) -> tuple[Logits, Logits]:
        """Content and spatial logits of the last pass."""
        content_query, content_key = self.seen["content_query"], self.seen["content_key"]
        spatial_query, spatial_key = self.seen["spatial_query"], self.seen["spatial_key"]
        if self.first:
            content_query = content_query + self.seen["object_query"]
            content_key = content_key + spatial_key
        return conditional_logits(content_query, content_key, spatial_query, spatial_key, self.heads)

    def terms(self) -> tuple[str, str]:
        """Both parts as formulas."""
        return "(c_q + o_q) . (c_k + p_k)" if self.first else "c_q . c_k", "p_q . p_k"


class DetrHooks:
    """Cross-attention with positions added before one projection (DETR); spatial is (c_q + o_q) . p_k."""

    def __init__(self, module: nn.Module, heads: int):
        self.module, self.heads = module, heads
        self.seen: dict[str, Tensor] = {}

    @staticmethod
    def matches(name: str, module: nn.Module) -> bool:
        named = name.rpartition(".")[2] in DETR_MODULES
        return named and all(_child(module, names) is not None for names in DETR_PARTS.values())

    def listen(self) -> Iterator[RemovableHandle]:
        """Register the hook; whoever asks removes it."""
        yield self.module.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        for part, names in DETR_INPUTS.items():
            self.seen[part] = next(given[name] for name in names if given.get(name) is not None).float()

    def logits(self) -> tuple[Logits, Logits]:
        """Content and spatial logits of the last pass: two terms of the four each (section 3.1)."""
        query, key = (_child(self.module, names) for names in DETR_PARTS.values())
        terms = detr_logits(
            *(self.seen[part] for part in ("content", "objects", "memory", "cells")),
            (query.weight.float(), query.bias.float()),
            (key.weight.float(), key.bias.float()),
            self.heads,
        )
        return terms.content, terms.spatial

    def terms(self) -> tuple[str, str]:
        """Both parts as formulas."""
        return "(c_q + o_q) . c_k", "(c_q + o_q) . p_k"


def cross_attentions(model: nn.Module, heads: int) -> list[ConditionalHooks | DetrHooks]:
    """The places in `model` where queries meet keys of another kind, in the order of the layers."""
    return [
        kind(module, heads)
        for name, module in model.named_modules()
        for kind in (ConditionalHooks, DetrHooks)
        if kind.matches(name, module)
    ]


def _child(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    return next((child for name in names if (child := getattr(module, name, None)) is not None), None)
