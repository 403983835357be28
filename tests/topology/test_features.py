"""Features from models and files."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from marginalia.topology import collect_features, read_features


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4).eval(), nn.Flatten(), nn.Linear(4 * 36, 5), nn.Dropout()
    )


def test_features_of_batches(model):
    images = [torch.randn(6, 1, 8, 8), torch.randn(3, 1, 8, 8)]
    clouds = collect_features(model, [(images[0], torch.zeros(6)), images[1]], "3")
    assert [tuple(cloud.shape) for cloud in clouds] == [(6, 5), (3, 5)]
    assert model.training and not model[1].training and not clouds[0].requires_grad  # each as it was
    model.eval()
    assert torch.allclose(clouds[0], model(images[0]))  # in evaluation mode, without the dropout
    assert torch.allclose(collect_features(model, images, "0")[1], model[0](images[1]).mean((2, 3)))
    named = collect_features(model, [{"input": images[1]}], "3")
    assert torch.equal(named[0], clouds[1])


def test_what_is_no_cloud(model):
    images = [torch.randn(2, 1, 8, 8)]
    with pytest.raises(ValueError, match="no module is called 'fc'"):
        collect_features(model, images, "fc")
    with pytest.raises(ValueError, match=r"'0' gives \(2, 7, 4\), not \(N, D\)"):
        collect_features(nn.Sequential(nn.Linear(3, 4)), [torch.zeros(2, 7, 3)], "0")
    unused = nn.Linear(2, 2)
    unused.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="'extra' is called 0 times a batch"):
        collect_features(unused, [torch.zeros(3, 2)], "extra")
    assert unused.training  # as it was, also after an error


@pytest.mark.parametrize("form", ["npy", "npz", "pt", "pth"])
def test_files(rng, tmp_path, form):
    clouds, path = rng.normal(size=(3, 7, 2)).astype(np.float32), tmp_path / f"features.{form}"
    for array in (clouds, clouds[0]):
        if form == "npy":
            np.save(path, array)
        elif form == "npz":
            np.savez(path, features=array)
        else:
            torch.save(torch.tensor(array), path)
        assert (read_features(path) == array.reshape(-1, 7, 2)).all()


def test_files_that_hold_something_else(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.zeros((4, 2)), b=np.ones((5, 2)))
    assert read_features(tmp_path / "two.npz", "b").shape == (1, 5, 2)
    np.save(tmp_path / "flat.npy", np.zeros(4))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.ones((4, 2), complex))
    np.save(tmp_path / "nan.npy", np.full((4, 2), np.nan))
    torch.save({"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}, tmp_path / "two.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    torch.save(torch.ones(4, 2, dtype=torch.complex64), tmp_path / "complex.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "two.pt").read_bytes()[:500])
    for form in ("npz", "pt"):
        (tmp_path / f"text.{form}").write_text("hello")
    (tmp_path / "a.csv").write_text("1,2")
    for name, message in {
        "two.npz": "it holds a, b: give name=",
        "two.pt": "it holds a, b: give name=",
        "flat.npy": r"features are \(N, D\) or \(K, N, D\), not float64 \(4,\)",
        "complex.npy": r"not complex128 \(4, 2\)",
        "objects.npy": "no file of arrays or tensors alone",
        "nan.npy": "has NaN or infinite values",
        "model.pt": "no file of arrays or tensors alone",
        "text.npz": "no file of arrays or tensors alone",
        "text.pt": "no file of arrays or tensors alone",
        "half.pt": "no file of arrays or tensors alone",
        "complex.pt": r"not complex64 \(4, 2\)",
        "a.csv": "not a .npy, .npz, .pt or .pth file",
    }.items():
        with pytest.raises(ValueError, match=f"{name}: .*{message}"):
            read_features(tmp_path / name)
    with pytest.raises(ValueError, match="it holds a, b: give name= one of these, not 'c'"):
        read_features(tmp_path / "two.npz", "c")
    with pytest.raises(FileNotFoundError):
        read_features(tmp_path / "none.npy")


def test_a_file_is_mapped_and_not_read_whole(rng, tmp_path):
    """What is mapped takes none of the process's own memory, and cannot change the file."""
    np.save(tmp_path / "many.npy", rng.normal(size=(200, 64, 64)))
    tracemalloc.start()
    features = read_features(tmp_path / "many.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert features.shape == (200, 64, 64) and not features.flags.writeable
    assert peak < features.nbytes / 20
    np.save(tmp_path / "half.npy", np.full((2, 64, 64), 100, np.float16))  # the sum is beyond float16
    assert read_features(tmp_path / "half.npy").dtype == np.float16


def test_tensors_keep_their_precision(tmp_path):
    x = 1e3 + 1e-4 * torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    torch.save(x, tmp_path / "double.pt")
    assert (read_features(tmp_path / "double.pt")[0] == x.detach().numpy()).all()
    torch.save(x.bfloat16(), tmp_path / "half.pt")
    assert (read_features(tmp_path / "half.pt")[0] == x.bfloat16().float().detach().numpy()).all()


def test_a_function_pools_tokens():
    model, tokens = nn.Sequential(nn.Linear(3, 4)), torch.randn(5, 7, 3)
    (cloud,) = collect_features(model, [tokens], "0", pool=lambda out: out[:, 0])
    assert torch.equal(cloud, model(tokens)[:, 0])
