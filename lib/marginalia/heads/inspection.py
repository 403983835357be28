"""A microscope for the heads of plain transformers: weights, composition, patterns, ablation, attribution.

Row-vector convention: W_QK = W_Q W_K^T and W_OV = W_V W_O are D x D of rank D_h, and are never formed.
`FAMILIES` says which models can be read. Head 1 lies in an earlier layer than head 2, which reads what head 1
wrote (Elhage et al. 2021, A Mathematical Framework for Transformer Circuits).
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from marginalia.record import evaluating, record

Head = tuple[int, int]  # layer, head, both from 0
Kind = Literal["q", "k", "v"]
How = Literal["mean", "zero", "resample"]


class Family(NamedTuple):
    """Where a kind of model keeps its parts, by name."""

    attention: str  # in a block
    qkv: str  # in attention: three modules, or one for all
    out: str  # in attention
    norm: str = ""  # in a block, before attention; BERT's norms stand in the residual stream
    ffn: str = ""  # in a block
    final: str = ""  # the norm before the unembedding


FAMILIES = {
    "TinyTransformer": Family("attention", "wqkv", "wo", "attention_norm", "ffn", "norm"),
    "gpt2": Family("attn", "c_attn", "c_proj", "ln_1", "mlp", "ln_f"),
    "llama": Family("self_attn", "q_proj k_proj v_proj", "o_proj", "input_layernorm", "mlp", "norm"),
    "gpt_neox": Family("attention", "query_key_value", "dense", "input_layernorm", "mlp", "final_layer_norm"),
    "bert": Family("attention", "self.query self.key self.value", "output.dense"),
    "albert": Family("attention", "query key value", "dense"),
}
FAMILIES |= {"mistral": FAMILIES["llama"], "qwen2": FAMILIES["llama"], "roberta": FAMILIES["bert"]}


class _Layout(NamedTuple):
    family: Family
    blocks: list[str]  # name of each layer's block; ALBERT's layers share theirs
    outs: list[str]  # of each layer's output projection, whose input is z of all heads
    heads: int


def _layout(model: nn.Module) -> _Layout:
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", "TinyTransformer")
    family, named = FAMILIES.get(kind), dict(model.named_modules())
    blocks = [n for n in named if family and f"{n}.{family.attention}.{family.qkv.split()[0]}" in named]
    if not blocks or config is None:
        raise TypeError(
            f"inspection: {type(model).__name__} is not a model whose heads can be read; "
            f"these can: {', '.join(FAMILIES)}"
        )
    if kind == "albert":  # L layers in G groups, and each group's blocks are used L / G times
        depth, groups = config.num_hidden_layers, config.num_hidden_groups
        inner = len(blocks) // groups
        blocks = [blocks[layer * groups // depth * inner + i] for layer in range(depth) for i in range(inner)]
    outs = [f"{name}.{family.attention}.{family.out}" for name in blocks]
    return _Layout(family, blocks, outs, getattr(config, "num_attention_heads", 0) or config.heads)


@dataclass(frozen=True)
class HeadWeights:
    """What the heads read and write, without biases: x W_Q[l, h] is the query of head h in layer l."""

    W_Q: Float[Tensor, "L H D D_h"]
    W_K: Float[Tensor, "L H D D_h"]
    W_V: Float[Tensor, "L H D D_h"]
    W_O: Float[Tensor, "L H D_h D"]


def head_weights(model: nn.Module) -> HeadWeights:
    """The weights of all heads by layer and head, in float32.

    The norm before attention is taken into W_Q, W_K and W_V, which composition scores ask for: the scale of
    an RMSNorm, and of a LayerNorm also its centring. What a norm divides by, rotary positions, a norm on
    queries and keys and composition of heads are not in it. BERT's and ALBERT's norms stand in the residual
    stream: there is nothing to take in. Heads that share keys and values (Llama) each get a copy; so do
    ALBERT's layers. Raises TypeError for other models.
    """
    family, blocks, _, H = _layout(model)

    def matrix(module: nn.Module) -> Float[Tensor, "in_ out"]:
        weight = module.weight.detach().float()
        return weight.T if isinstance(module, nn.Linear) else weight  # GPT-2's Conv1D keeps (in, out)

    layers = []
    for block in map(model.get_submodule, blocks):
        attention = block.get_submodule(family.attention)
        W_O = matrix(attention.get_submodule(family.out)).unflatten(0, (H, -1))  # (H, D_h, D)
        D_h = W_O.shape[1]
        read = [matrix(attention.get_submodule(name)) for name in family.qkv.split()]
        if len(read) == 3:
            read = [each.unflatten(1, (-1, D_h)) for each in read]  # (D, H or fewer, D_h)
            read = [each.repeat_interleave(H // each.shape[1], 1) for each in read]
        elif family.qkv == "query_key_value":  # q, k, v of a head together
            read = read[0].unflatten(1, (H, 3, D_h)).unbind(2)
        else:  # all q, then all k, all v
            read = read[0].unflatten(1, (3, H, D_h)).unbind(1)
        if family.norm:
            norm = block.get_submodule(family.norm)
            read = [each * norm.weight.detach().float()[:, None, None] for each in read]
            if isinstance(norm, nn.LayerNorm):
                read = [each - each.mean(0) for each in read]
        layers.append((*(each.transpose(0, 1) for each in read), W_O))  # (H, D, D_h) each, (H, D_h, D)
    return HeadWeights(*(torch.stack(each) for each in zip(*layers, strict=True)))


def _sides(weights: HeadWeights, kind: Kind) -> tuple[Tensor, Tensor]:
    """By which matrix head 2 reads, and the other half of its circuit, (L, H, D, D_h) both."""
    sides = {
        "q": (weights.W_Q, weights.W_K),
        "k": (weights.W_K, weights.W_Q),
        "v": (weights.W_V, weights.W_O.mT),
    }
    if kind not in sides:
        raise ValueError(f"kind is 'q', 'k' or 'v', not {kind!r}")
    return sides[kind]


def _pairs(written: Float[Tensor, "L H D_h D"], read: Float[Tensor, "L H D D_h"]) -> Float[Tensor, "L H L H"]:
    """||written_1 read_2||_F of all heads 1 and 2, NaN unless head 1 lies in an earlier layer."""
    L, H = written.shape[:2]
    found = written.new_full((L, H, L, H), math.nan)
    for layer, head in itertools.product(range(L - 1), range(H)):
        later = read[layer + 1 :]  # (L - l - 1, H, D, D_h)
        found[layer, head, layer + 1 :] = torch.linalg.matrix_norm(written[layer, head] @ later)
    return found


def composition_scores(weights: HeadWeights, kind: Kind) -> Float[Tensor, "L H L H"]:
    """How much head 2 reads of what head 1 writes: [l1, h1, l2, h2], NaN unless l1 < l2; 0 to 1.

    ||W_OV1 M2||_F / (||W_OV1||_F ||M2||_F) with M = W_QK for Q-composition, its transpose for K, W_OV for V.
    Random heads give about `random_baseline`. D_h x D_h matrices only: ||A B||_F = ||R B||_F for A = Q R.
    """
    reads, other = _sides(weights, kind)
    # W_V = Q R keeps the norm in R, and so does the far half of head 2
    written = torch.linalg.qr(weights.W_V).R @ weights.W_O  # (L, H, D_h, D)
    read = reads @ torch.linalg.qr(other).R.mT  # (L, H, D, D_h)
    written, read = (each / torch.linalg.matrix_norm(each)[..., None, None] for each in (written, read))
    return _pairs(written, read)


def random_baseline(width: int) -> float:
    """About what `composition_scores` gives heads with independent isotropic weights: 1 / sqrt(D).

    E[score^2] is 1 / D, of which this is the root.
    """
    return width**-0.5


def projection_kernel(weights: HeadWeights, kind: Kind) -> Float[Tensor, "L H L H"]:
    """Overlap of the subspace that head 1 writes to with the one that head 2 reads by W_Q, W_K or W_V.

    Sum of cos^2 over the principal angles of both, 0 to D_h, NaN unless l1 < l2. Random subspaces give about
    D_h^2 / D. It does not see how strongly a direction is used, and assumes full rank.
    """
    written = torch.linalg.qr(weights.W_O.mT).Q.mT  # (L, H, D_h, D)
    return _pairs(written, torch.linalg.qr(_sides(weights, kind)[0]).Q) ** 2


def effective_rank(matrix: Float[Tensor, "*B N M"]) -> Float[Tensor, " *B"]:
    """exp of the entropy of the singular values over their sum: N for the identity, 0 for a zero matrix.

    >>> effective_rank(torch.eye(4)).round().item()
    4.0
    """
    values = torch.linalg.svdvals(matrix)
    total = values.sum(-1)
    shares = values / total.clamp_min(torch.finfo(values.dtype).tiny)[..., None]
    return torch.special.entr(shares).sum(-1).exp() * (total > 0)


def head_similarity(maps: Float[Tensor, "B H T S"]) -> Float[Tensor, "H H"]:
    """Cosine of the flattened attention maps of two heads, over all samples, of one layer or of many."""
    flat = maps.transpose(0, 1).flatten(1)  # (H, B T S)
    flat = flat / flat.norm(dim=1, keepdim=True)
    return flat @ flat.T


def pattern_scores(A: Float[Tensor, "B H T S"], tokens: Int[Tensor, "B T"]) -> dict[str, Float[Tensor, " H"]]:
    """Attention of each head (weights, not scores) on what a known kind of head attends to, 0 to 1.

    "previous token": the token before. "duplicate token": earlier ones that equal the query's.
    "induction": those that follow such an earlier one. The mean over queries that have such a key; NaN
    where none has. Padding counts as any token: give sequences without. Raises ValueError unless A is
    (B, H, T, T) for tokens (B, T).
    """
    B, T = tokens.shape
    if A.shape[0] != B or A.shape[2:] != (T, T):
        raise ValueError(f"pattern_scores: tokens {(B, T)} need maps {(B, 'H', T, T)}, not {tuple(A.shape)}")
    j = torch.arange(T, device=tokens.device)
    i = j[:, None]
    same = tokens[:, :, None] == tokens[:, None]  # (B, T, S) key j equals query i
    before = same.roll(1, -1)  # key j - 1 equals query i, but for the first key
    keys = {
        "previous token": (j == i - 1).expand_as(same),
        "duplicate token": same & (j < i),
        "induction": before & (j > 0) & (j < i),
    }
    masses = {name: (A * wanted[:, None]).sum((0, 2, 3)) for name, wanted in keys.items()}  # (H,)
    return {name: mass / keys[name].any(-1).sum() for name, mass in masses.items()}


def _first(values: dict[str, Tensor]) -> Tensor:
    return next(iter(values.values()))


REPLACED: dict[How, Callable[[Tensor], Tensor]] = {  # of z (B, T, H, D_h)
    "mean": lambda z: z.mean((0, 1), keepdim=True).expand_as(z),
    "zero": torch.zeros_like,
    "resample": lambda z: z.roll(1, 0),
}


@contextmanager
def ablate(model: nn.Module, heads: Iterable[Head], how: How = "mean") -> Iterator[None]:
    """Inside the block, z of these (layer, head) is replaced in every pass of the model.

    mean: by its mean over samples and tokens of the batch (so give batches without padding). zero: by zero.
    resample: by that of the sample before it in the batch, which needs two or more. The hooks are gone
    after the block. Raises ValueError for heads that the model does not have, and TypeError as
    `head_weights` does.
    """
    _, _, outs, H = _layout(model)
    chosen = defaultdict(list)
    for layer, head in heads:
        if not (0 <= layer < len(outs) and 0 <= head < H):
            raise ValueError(f"ablate: heads are (layer, head) below ({len(outs)}, {H}), not {layer, head}")
        chosen[layer].append(head)
    if how not in REPLACED:
        raise ValueError(f"ablate: how is 'mean', 'zero' or 'resample', not {how!r}")

    def enter(layers: Iterator[int], module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        own = chosen.get(next(layers))
        if own is None:
            return None
        z = args[0].unflatten(-1, (H, -1)).clone()  # (B, T, H, D_h)
        if how == "resample" and len(z) < 2:
            raise ValueError("ablate: 'resample' needs a batch of two or more samples")
        z[:, :, own] = REPLACED[how](z)[:, :, own]
        return (z.flatten(-2),)

    with ExitStack() as hooks:
        for name in dict.fromkeys(outs):
            # a module that several layers share is called once for each, in their order
            layers = itertools.cycle([layer for layer, out in enumerate(outs) if out == name])
            module = model.get_submodule(name)
            hooks.callback(module.register_forward_pre_hook(partial(enter, layers)).remove)
        yield


Loss = Callable[[nn.Module], Float[Tensor, " *N"]]


def _effect(model: nn.Module, loss: Loss, how: How) -> Callable[..., Tensor]:
    before = torch.as_tensor(loss(model))

    def effect(*heads: Head) -> Tensor:
        with ablate(model, heads, how):
            return loss(model) - before

    return effect


def ablation_effects(model: nn.Module, loss: Loss, how: How = "mean") -> Float[Tensor, "L H *N"]:
    """What the loss gains when one head is ablated, for each: positive where the head helps.

    loss: runs the model and gives a number, or one for each of N samples. No gradients, no dropout.
    """
    _, _, outs, H = _layout(model)
    with evaluating(model):
        effect = _effect(model, loss, how)
        rows = [effect(head) for head in itertools.product(range(len(outs)), range(H))]
    return torch.stack(rows).unflatten(0, (len(outs), H))


def pairwise_ablation(
    model: nn.Module, loss: Loss, pairs: Sequence[tuple[Head, Head]], how: How = "mean"
) -> Float[Tensor, "P ..."]:
    """Interaction of two heads, for each pair: effect of ablating both, less the effects of each alone.

    0 where the heads do not depend on each other; negative where one alone does as much harm as both, as
    when head 2 works on what head 1 writes; positive where one can stand in for the other.
    """
    with evaluating(model):
        effect = _effect(model, loss, how)
        single = {head: effect(head) for head in {head for pair in pairs for head in pair}}
        return torch.stack([effect(a, b) - single[a] - single[b] for a, b in pairs])


@dataclass(frozen=True)
class LogitAttribution:
    """Terms whose sum is logit[correct] - logit[wrong], to rounding."""

    embedding: Float[Tensor, " B"]
    heads: Float[Tensor, "B L H"]
    ffn: Float[Tensor, "B L"]
    bias: Float[Tensor, " B"]  # of output projections and of the final norm

    def total(self) -> Float[Tensor, " B"]:
        """The sum of all terms."""
        return self.embedding + self.heads.sum((1, 2)) + self.ffn.sum(1) + self.bias


def logit_attribution(
    model: nn.Module,
    tokens: Int[Tensor, "B T"],
    correct: Int[Tensor, " B"],
    wrong: Int[Tensor, " B"],
    position: int = -1,
) -> LogitAttribution:
    """What each part adds to the difference of two logits at one position, the final norm's scale held fixed.

    For language models with a norm before each part; raises TypeError for others, BERT say. A head's term
    says nothing of what it does through later layers.
    """
    if not correct.shape == wrong.shape == tokens.shape[:1]:
        raise ValueError("logit_attribution: correct and wrong are one token for each of the B sequences")
    family, blocks, outs, H = _layout(model)
    unembedding = model.output if hasattr(model, "output") else model.get_output_embeddings()
    if not family.final or unembedding is None:
        raise TypeError(
            "logit_attribution: needs a model with logits whose norms stand before attention and FFN, "
            f"not {type(model).__name__}"
        )
    final = min((n for n, _ in model.named_modules() if n.split(".")[-1] == family.final), key=len)
    ffns = [f"{name}.{family.ffn}" for name in blocks]
    with evaluating(model), record(model, [blocks[0], final, *outs, *ffns]) as seen:
        model(tokens)
    calls = {name: each[0] for name, each in seen.items()}

    # The final norm with its scale fixed is linear: y = s (x - mean) g + b, RMSNorm without mean and b.
    norm = model.get_submodule(final)
    layer_norm = isinstance(norm, nn.LayerNorm)

    def scaled(x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        x = x.float()
        return (x - x.mean(-1, keepdim=True) if layer_norm else x) * norm.weight.detach().float()

    x, y = _first(calls[final].inputs)[:, position], calls[final].output[:, position].float()  # (B, D)
    b = norm.bias.detach().float() if layer_norm else torch.zeros_like(y[0])
    s = ((y - b) * scaled(x)).sum(-1) / scaled(x).square().sum(-1)  # (B,)
    U = unembedding.weight.detach().float()
    direction = U[correct] - U[wrong]  # (B, D)

    def term(x: Float[Tensor, "B *N D"]) -> Float[Tensor, "B ..."]:
        return torch.einsum("b...d,bd,b->b...", scaled(x), direction, s)

    z = torch.stack([_first(calls[name].inputs)[:, position].float() for name in outs], 1)  # (B, L, H D_h)
    written = torch.einsum("blhd,lhde->blhe", z.unflatten(-1, (H, -1)), head_weights(model).W_O)
    ffn = torch.stack([calls[name].output[:, position] for name in ffns], 1)  # (B, L, D)
    constant = direction @ b
    for module in map(model.get_submodule, outs):
        if module.bias is not None:
            constant = constant + term(module.bias.detach().expand_as(x))
    embedding = term(_first(calls[blocks[0]].inputs)[:, position])
    return LogitAttribution(embedding, term(written), term(ffn), constant)
