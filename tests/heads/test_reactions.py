"""The trained reaction model, where its wheel is here, its loader, and reactions whose maps are checked."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from marginalia.heads import reactions
from marginalia.heads.inspection import ablate, head_weights
from marginalia.heads.reactions import (
    HEAD,
    SHA256,
    WHEEL,
    amide_reactions,
    atom_hits,
    atoms,
    load_reaction_model,
    masked_loss,
    tokenise,
)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model():
    try:
        return load_reaction_model()
    except FileNotFoundError as error:
        pytest.skip(str(error))


# --- reactions


def graph(smiles: str) -> tuple[list[str], set[frozenset[int]]]:
    """Atoms and bonds of the plain SMILES used here: judges the maps made by hand."""
    elements, bonds, branches, rings, last = [], set(), [], {}, None
    for token in tokenise(smiles):
        if token[0].isalpha():
            elements.append(token)
            bonds |= {frozenset((last, len(elements) - 1))} if last is not None else set()
            last = len(elements) - 1
        elif token == "(":
            branches.append(last)
        elif token == ")":
            last = branches.pop()
        elif token == ".":
            last = None
        elif token.isdigit() and token in rings:
            bonds.add(frozenset((rings.pop(token), last)))
        elif token.isdigit():
            rings[token] = last
    return elements, bonds


def test_maps_made_by_hand_keep_elements_and_bonds():
    made = amide_reactions()
    assert len({reaction.text for reaction in made}) == 48
    for reaction in made:
        before, after = reaction.text.split(">>")
        (reactant, old), (product, new) = graph(before), graph(after)
        assert [reactant[i] for i in reaction.atoms] == product
        # of the atoms before, in their order, only the chlorine of the acyl chloride is left out
        assert sorted(reaction.atoms) == [i for i in range(len(reactant)) if i != 2] and reactant[2] == "Cl"
        nitrogen = before.split(".")[0], before.split(".")[1]
        made_bond = frozenset((1, len(graph(nitrogen[0])[0])))
        assert reactant[max(made_bond)] == "N"
        mapped = {frozenset(reaction.atoms[i] for i in bond) for bond in new}
        assert mapped == old - {frozenset((1, 2))} | {made_bond}


def test_no_symmetry_makes_two_maps_right():
    """Refining each atom's colour by those of its neighbours tells all atoms of every product apart."""
    for reaction in amide_reactions():
        colours, bonds = graph(reaction.text.split(">>")[1])
        for _ in range(len(colours)):
            near = [sorted(colours[j] for b in bonds if i in b for j in b - {i}) for i in range(len(colours))]
            keys = [str(pair) for pair in zip(colours, near, strict=True)]
            colours = [str(sorted(set(keys)).index(key)) for key in keys]
        assert len(set(colours)) == len(colours), reaction.text


def test_order_alone_gives_half_of_the_maps():
    """The product is written in the order of the reactants in every other reaction, and in no other."""
    in_order = [list(reaction.atoms) == sorted(reaction.atoms) for reaction in amide_reactions()]
    assert sum(in_order) == 24 and in_order[0] and not in_order[1]


def test_tokens():
    text = "[nH]1cc[C@H](Cl)Br.C#N>>O=C%12/C=C\\[Na+]:~*"
    tokens = tokenise(text)
    assert "".join(tokens) == text and {"[nH]", "[C@H]", "Cl", "Br", ">>", "%12", "[Na+]"} <= set(tokens)
    elements = "[nH] c c [C@H] Cl Br C N O C C C [Na+]"
    assert " ".join(tokens[i] for i in atoms(tokens)) == elements
    with pytest.raises(ValueError, match="'CCxC' is not SMILES; what is left of it is 'CCC'"):
        tokenise("CCxC")


def test_hits_of_maps_made_by_hand():
    """Heads: one that attends to the true atom both ways, one to the first token, one evenly."""
    reaction = amide_reactions()[1]  # O=C(Cl)CC.NCCOC>>COCCNC(=O)CC
    tokens = tokenise(reaction.text)
    arrow = tokens.index(">>")
    before = [i for i in atoms(tokens) if i < arrow]
    after = [i for i in atoms(tokens) if i > arrow]
    maps = torch.zeros(1, 2, len(tokens) + 2, len(tokens) + 2)
    for p, r in zip(after, (before[k] for k in reaction.atoms), strict=True):
        maps[0, 0, p + 1, r + 1] = maps[0, 0, r + 1, p + 1] = 1
    maps[0, 1, :, before[1] + 1] = 1  # the first C, which is the acyl carbon
    hits, chance = atom_hits(maps, reaction)
    assert hits.shape == (9, 1, 2) and hits[:, 0, 0].all()
    # the atoms that it may hit are all of the same element, so where it is missing the first is taken
    carbon, oxygen, nitrogen = 6, 2, 1
    elements = [tokens[i] for i in after]
    assert chance.tolist() == pytest.approx(
        [1 / {"C": carbon, "O": oxygen, "N": nitrogen}[e] for e in elements]
    )
    assert [e for e, hit in zip(elements, hits[:, 0, 1], strict=True) if hit].count("C") == 1
    back, chance_back = atom_hits(maps, reaction, "to product")
    assert back[:, 0, 0].all() and torch.equal(chance_back, chance)  # the chlorine is no candidate either way
    with pytest.raises(ValueError, match=f"the reaction has {len(tokens) + 2}"):
        atom_hits(torch.zeros(1, 2, 40, 40), reaction)


# --- the loader


def small_wheel(path: Path, monkeypatch, spoil: str = "") -> Path:
    """A wheel of the same form whose hash is taken for the published one."""
    from transformers import AlbertConfig, AlbertForMaskedLM

    names = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "C",
        "O",
        "N",
        "Cl",
        "(",
        ")",
        "=",
        ".",
        ">>",
        "1",
        "c",
    ]
    shape = {"hidden_size": 256, "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 512}
    torch.manual_seed(0)
    state = AlbertForMaskedLM(AlbertConfig(vocab_size=len(names), embedding_size=128, **shape)).state_dict()
    state |= {"albert.pooler.weight": torch.zeros(2), "albert.pooler.bias": torch.zeros(2)}
    content = io.BytesIO()
    torch.save(state, content)
    with zipfile.ZipFile(path / WHEEL, "w") as wheel:
        wheel.writestr(reactions.INSIDE + "pytorch_model.bin", content.getvalue())
        wheel.writestr(reactions.INSIDE + "vocab.txt", "\n".join(names))
        wheel.writestr("rxnmapper/__init__.py", "raise SystemExit('this must not run')")
    monkeypatch.setattr(reactions, "SHA256", hashlib.sha256((path / WHEEL).read_bytes()).hexdigest())
    return path / WHEEL


def test_a_wheel_of_the_same_form(tmp_path, monkeypatch):
    small = load_reaction_model(small_wheel(tmp_path, monkeypatch))
    assert not small.network.training and "rxnmapper" not in sys.modules
    assert small.encode("CO>>F").tolist() == [2, 5, 6, 13, 1, 3]  # what it does not know is [UNK]
    maps = small.attention("CO>>OC")
    assert maps.shape == (12, 8, 7, 7) and torch.allclose(maps.sum(-1), torch.ones(12, 8, 7))


def test_the_default_place_is_below_the_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    folder = tmp_path / "share" / "marginalia"
    with pytest.raises(FileNotFoundError, match=re.escape(f'rxnmapper==0.4.3 -d "{folder}"')):
        load_reaction_model()
    folder.mkdir(parents=True)
    small_wheel(folder, monkeypatch)
    assert load_reaction_model().vocabulary["C"] == 5


def test_another_file_is_refused(tmp_path):
    (tmp_path / WHEEL).write_bytes(b"not a wheel")
    with pytest.raises(ValueError, match=f"{WHEEL} as published"):
        load_reaction_model(tmp_path / WHEEL)


def test_the_set_up_downloads_the_file_that_the_loader_wants(root):
    lines = (root / "requirements-data.txt").read_text(encoding="utf-8").splitlines()
    (pin,) = (line for line in lines if not line.startswith("#"))
    name, version, *_ = WHEEL.split("-")
    assert pin == f"{name}=={version} --hash=sha256:{SHA256}"
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    assert "pip download" in makefile and "-r requirements-data.txt -d .venv/share/marginalia" in makefile


# --- the trained model


def test_head_5_maps_atoms(model):
    """Measured 98 to 99 % in layers 6 to 11 on the 48 reactions; here on every fourth or so."""
    chosen = amide_reactions()[::5]
    hits, chance = zip(*(atom_hits(model.attention(r.text), r) for r in chosen), strict=True)
    accuracy = torch.cat(hits).float().mean(0)  # (L, H)
    assert (accuracy[6:, HEAD] > 0.95).all()
    others = [h for h in range(8) if h != HEAD]
    assert accuracy[6:, others].max() < accuracy[6:, HEAD].min() - 0.2
    assert accuracy.median() < torch.cat(chance).mean() + 0.1


def test_masked_atoms_are_filled_in_and_head_5_is_needed_late(model):
    loss = masked_loss(model, amide_reactions()[3])
    with torch.no_grad():
        before = loss(model.network)
        assert before < 1  # nat; guessing one of 591 tokens costs 6.4
        with ablate(model.network, [(layer, HEAD) for layer in range(12)]):
            assert loss(model.network) > before
        assert loss(model.network) == before


def test_layers_share_their_heads(model):
    weights = head_weights(model.network)
    assert weights.W_Q.shape == (12, 8, 256, 32) and torch.equal(weights.W_O[0], weights.W_O[7])
