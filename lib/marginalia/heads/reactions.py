"""A transformer trained on chemical reactions, one head of which maps atoms, and reactions to see it.

The model is the ALBERT of RXNMapper (Schwaller et al. 2021, Science Advances 7, eabe4166; MIT): 12 layers
that share their weights, 8 heads, width 256, trained to fill in masked tokens of reactions in SMILES
notation. It is read from the wheel of the package; no code of the package runs.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from transformers import AlbertForMaskedLM

WHEEL = "rxnmapper-0.4.3-py3-none-any.whl"
SHA256 = "27876a4286881aafd286fd6f24a6a56a4ca6ba22d68e035a0ea120106c541ba5"
INSIDE = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k/"
HEAD = 5  # counted from 0: the one that the package maps atoms by

# An atom in brackets or of the organic subset, a bond, a branch, a ring closure, or the arrow
TOKEN = re.compile(r"\[[^\]]+\]|Cl|Br|[BCNOPSFIbcnops]|>>|%\d\d|[-=#:/\\~.()*\d]")

# Groups by hand, none with two atoms that a symmetry swaps: R of R-C(=O)-Cl, its first atom the one bound
ACYLS = ("CC", "CCCC", "C=CC", "COC", "c1cccc(C)c1", "c1ccccc1Br", "c1ccco1", "CC(F)CC")
# Amines from the nitrogen on, to the nitrogen, and where the atoms of the second stand in the first
AMINES = (
    ("NCCC", "CCCN", (3, 2, 1, 0)),
    ("NCCOC", "COCCN", (4, 3, 2, 1, 0)),
    ("N(C)CC", "CCN(C)", (3, 2, 0, 1)),
    ("Nc1cccc(F)c1", "Fc1cccc(c1)N", (6, 5, 4, 3, 2, 1, 7, 0)),
    ("NCc1ccco1", "o1cccc1CN", (6, 5, 4, 3, 2, 1, 0)),
    ("NC1CCOC1", "C1OCCC1N", (5, 4, 3, 2, 1, 0)),
)


@dataclass(frozen=True)
class Reaction:
    """Reactants>>product, and for each atom of the product its atom of the reactants, as they are written."""

    text: str
    atoms: tuple[int, ...]


def amide_reactions() -> list[Reaction]:
    """48 reactions by rule, 8 acyl chlorides with 6 amines: the chlorine goes, acyl and nitrogen are bound.

    In every other one the product is written from the amine on, so that the order of atoms alone does not
    give the map.
    """
    made = []
    for a, acyl in enumerate(ACYLS):
        R = range(3, 3 + len(atoms(tokenise(acyl))))  # after O, C, Cl
        for b, (amine, reverse, order) in enumerate(AMINES):
            N = range(R.stop, R.stop + len(order))
            if (a + b) % 2:
                product, mapped = f"{reverse}C(=O){acyl}", [*(N[i] for i in order), 1, 0, *R]
            else:
                product, mapped = f"O=C({acyl}){amine}", [0, 1, *R, *N]
            made.append(Reaction(f"O=C(Cl){acyl}.{amine}>>{product}", tuple(mapped)))
    return made


def tokenise(smiles: str) -> list[str]:
    """The tokens of a molecule or reaction. Raises ValueError where something in it is no token."""
    tokens = TOKEN.findall(smiles)
    if "".join(tokens) != smiles:
        raise ValueError(f"tokenise: {smiles!r} is not SMILES; what is left of it is {''.join(tokens)!r}")
    return tokens


def atoms(tokens: list[str]) -> list[int]:
    """Positions of the tokens that are atoms."""
    return [i for i, token in enumerate(tokens) if token[0].isalpha() or token[0] == "["]


def _atoms_by_side(reaction: Reaction) -> tuple[list[str], list[int], list[int]]:
    """The tokens, and the positions of the atoms before and after the arrow."""
    tokens = tokenise(reaction.text)
    arrow = tokens.index(">>")
    found = atoms(tokens)
    return tokens, [i for i in found if i < arrow], [i for i in found if i > arrow]


@dataclass(frozen=True)
class ReactionModel:
    """The network, in evaluation mode, and the number of each token."""

    network: AlbertForMaskedLM
    vocabulary: dict[str, int]

    def encode(self, text: str) -> Int[Tensor, " T"]:
        """Numbers of a reaction's tokens between [CLS] and [SEP]; token i of the text is number i + 1."""
        tokens = ["[CLS]", *tokenise(text), "[SEP]"]
        return torch.tensor([self.vocabulary.get(token, self.vocabulary["[UNK]"]) for token in tokens])

    def attention(self, text: str) -> Float[Tensor, "L H T T"]:
        """Attention weights of all layers and heads for one reaction."""
        with torch.no_grad():
            return torch.cat(self.network(self.encode(text)[None], output_attentions=True).attentions)


def load_reaction_model(wheel: str | Path | None = None) -> ReactionModel:
    """Weights and vocabulary out of the wheel, by default where `make` has put it, below the environment.

    The file must be the published one (SHA-256). Raises FileNotFoundError where there is none, saying how to
    get it, and ValueError for another file.
    """
    folder = Path(sys.prefix, "share", "marginalia")
    path = Path(wheel) if wheel else folder / WHEEL
    if not path.is_file():
        how = f'python -m pip download --no-deps rxnmapper==0.4.3 -d "{folder}"'
        raise FileNotFoundError(f"load_reaction_model: no {path}. To get it: {how}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"load_reaction_model: {path} is not {WHEEL} as published (its SHA-256 is another)")
    from transformers import AlbertConfig, AlbertForMaskedLM

    with zipfile.ZipFile(io.BytesIO(content)) as inside:
        weights = io.BytesIO(inside.read(INSIDE + "pytorch_model.bin"))
        names = inside.read(INSIDE + "vocab.txt").decode().split()
    weights = torch.load(weights, map_location="cpu", weights_only=True)
    shape = {"hidden_size": 256, "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 512}
    config = AlbertConfig(vocab_size=len(names), embedding_size=128, hidden_act="gelu", **shape)
    config._attn_implementation = "eager"  # the only one that gives attention weights
    network = AlbertForMaskedLM(config)
    network.load_state_dict({k: v for k, v in weights.items() if ".pooler." not in k})
    return ReactionModel(network.eval(), {name: i for i, name in enumerate(names)})


def atom_hits(
    maps: Float[Tensor, "L H T T"],
    reaction: Reaction,
    direction: Literal["to reactants", "to product"] = "to reactants",
) -> tuple[Bool[Tensor, "N L H"], Float[Tensor, " N"]]:
    """For each atom of the product, whether a head's largest attention hits its atom, and the chance level.

    to reactants: from the atom of the product, among atoms of its element in the reactants; to product: from
    its atom in the reactants, among those of the element in the product. Chance: one over their number.
    """
    tokens, reactant, product = _atoms_by_side(reaction)
    if maps.shape[-1] != len(tokens) + 2:
        raise ValueError(f"atom_hits: maps of {maps.shape[-1]} tokens, the reaction has {len(tokens) + 2}")
    maps = maps[..., 1:-1, 1:-1]  # without [CLS] and [SEP]
    pairs = [(i, reactant[k]) for i, k in zip(product, reaction.atoms, strict=True)]
    if direction == "to product":
        pairs, reactant = [(k, i) for i, k in pairs], product
    hits, chance = [], []
    for query, true in pairs:
        same = [j for j in reactant if tokens[j].upper() == tokens[query].upper()]  # c is an aromatic C
        hits.append(maps[:, :, query, same].argmax(-1) == same.index(true))
        chance.append(1 / len(same))
    return torch.stack(hits), torch.tensor(chance)


def masked_loss(
    model: ReactionModel, reaction: Reaction, copies: int = 4
) -> Callable[[AlbertForMaskedLM], Float[Tensor, ""]]:
    """A loss for `ablation_effects`: cross-entropy, in nats, of masked atoms of the product.

    Copy c of the reaction has every atom c + n * copies masked, so that each is masked once.
    """
    ids = model.encode(reaction.text)
    _, _, product = _atoms_by_side(reaction)
    masked = torch.zeros(copies, len(ids), dtype=torch.bool)
    for place, i in enumerate(product):
        masked[place % copies, i + 1] = True
    given = ids.expand(copies, -1).masked_fill(masked, model.vocabulary["[MASK]"])

    def loss(network: AlbertForMaskedLM) -> Float[Tensor, ""]:
        return cross_entropy(network(given).logits[masked], ids.expand(copies, -1)[masked])

    return loss
