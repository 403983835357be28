"""The small language models that were trained here, and the sequences that show what their heads do.

They read Python code in tokens of two to three characters: data/recipes/train_language.py made them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy

from .. import store, training
from .composition import Composition
from .transformer import TinyTransformer, TransformerConfig

FOLDER = "weights/composition"  # of the data folder
BOS = 0  # the token that each window begins with
LENGTH = 128  # T of training


def load_tokenizer() -> Tokenizer:
    """Byte pairs learned on the models' text: `encode(text).ids` and `decode(ids)`. BOS is not added."""
    return Tokenizer.from_file(str(store.data_path(f"{FOLDER}/tokenizer.json")))


def load_language(name: str) -> TinyTransformer:
    """A model of data/weights/composition, `language-dcmha-random-1` say, in evaluation mode."""
    store.data_path(f"{FOLDER}/{name}.json")  # the card is read too
    weights, card = training.load(store.data_path(f"{FOLDER}/{name}.safetensors"))
    made = dict(card["transformer"])
    composition, windows = Composition(**made.pop("composition")), tuple(made.pop("windows"))
    model = TinyTransformer(TransformerConfig(**made, composition=composition, windows=windows))
    model.load_state_dict(weights)
    return model.eval()


def windows(
    stream: Int[Tensor, " N"], starts: Int[Tensor, " B"], length: int = LENGTH
) -> Int[Tensor, "B T+1"]:
    """Pieces of a stream of tokens behind a BOS each: inputs without the last token, targets without BOS."""
    pieces = stream[starts[:, None] + torch.arange(length)]  # (B, T)
    return torch.cat([torch.full((len(starts), 1), BOS), pieces], 1).long()


def repeated(pieces: Int[Tensor, "B P"], length: int = LENGTH) -> Int[Tensor, "B T+1"]:
    """Each piece again and again behind a BOS, T tokens in all: what induction heads are seen on."""
    times = -(-length // pieces.shape[1])
    start = torch.full((len(pieces), 1), BOS)
    return torch.cat([start, pieces.repeat(1, times)[:, :length]], 1).long()


def token_losses(model: TinyTransformer, sequences: Int[Tensor, "B T+1"]) -> Float[Tensor, "B T"]:
    """Cross-entropy in nats of each token given those before it."""
    logits = model(sequences[:, :-1])
    return cross_entropy(logits.transpose(1, 2), sequences[:, 1:], reduction="none")
