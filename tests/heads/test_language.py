"""Sequences for language models, and models that come back from their files."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch.nn.functional import cross_entropy

from marginalia import store, training
from marginalia.heads import VARIANTS, Composition, TinyTransformer, TransformerConfig
from marginalia.heads.language import BOS, load_language, load_tokenizer, repeated, token_losses, windows


def test_windows_begin_with_bos():
    stream = torch.arange(100, 200)
    out = windows(stream, torch.tensor([0, 7]), length=5)
    assert out.tolist() == [[BOS, 100, 101, 102, 103, 104], [BOS, 107, 108, 109, 110, 111]]


def test_pieces_come_again_and_again():
    out = repeated(torch.tensor([[5, 6, 7]]), length=8)
    assert out.tolist() == [[BOS, 5, 6, 7, 5, 6, 7, 5, 6]]


def test_losses_of_each_token():
    torch.manual_seed(0)
    model = TinyTransformer(TransformerConfig(11, 16, 2, 1, 16, rotary=4))
    sequences = torch.randint(11, (3, 7))
    with torch.no_grad():
        losses, logits = token_losses(model, sequences), model(sequences[:, :-1])
    expected = [[cross_entropy(logits[b, t], sequences[b, t + 1]) for t in range(6)] for b in range(3)]
    assert torch.allclose(losses, torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("composition", [VARIANTS["MHA"], Composition(static=True, groups=2, rank=1)])
def test_models_come_back(tmp_path, monkeypatch, composition):
    monkeypatch.setenv("MARGINALIA_DATA", str(tmp_path))
    config = TransformerConfig(11, 16, 4, 2, 16, composition, rotary=2, windows=(3, None))
    model = TinyTransformer(config)
    training.save(model, tmp_path / "weights/composition/some.safetensors", {"transformer": asdict(config)})
    again = load_language("some")
    assert again.config == config and not again.training
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].half().float())
    with pytest.raises(FileNotFoundError, match=r"no weights/composition/sme\.json .*near it: .*some"):
        load_language("sme")


def test_the_tokenizer_keeps_code_as_it_is():
    if store.checkout() is None:
        pytest.skip("the tokenizer is in the data folder of a checkout")
    tokenizer, code = load_tokenizer(), "class A:\n    def f(self, x=1.5):\n        return f'{x!r}'  # ok\n"
    assert tokenizer.get_vocab_size() == 1024 and tokenizer.token_to_id("<bos>") == BOS
    assert tokenizer.decode(tokenizer.encode(code).ids) == code
