"""The command line: what it prints, and how it says no."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from marginalia.__main__ import main, parser


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m marginalia ")
    for name in ("figure", "figures", "deaths", "data"):
        assert f"\n    {name}" in text


def test_no_command_is_an_error(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2 and "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["figure", "relation-detr/no-such-figure"], "relation-detr/no-such-figure"),
        (["figure", "Not an ID"], "Not an ID"),
        (["data", "nothing"], "nothing"),
        (["deaths", "no-such-file.npy", "out.npy"], "no-such-file.npy"),
        (["deaths", "features.npy", "no-such-folder/out.npy"], "no-such-folder/out.npy"),
        (["deaths", "features.npy", "."], "name a file"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, said, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err
    assert err.startswith(f"marginalia {arguments[0]}: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["figures"], ["figure", "conditional-detr/convergence"], ["figure", "no/such", "--data", "mine.json"]],
)
def test_what_needs_a_checkout_says_so(arguments, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("marginalia.catalogue.checkout", lambda: None)  # as in an installed wheel
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "run from a checkout" in capsys.readouterr().err and not any(tmp_path.iterdir())


@pytest.fixture
def drawn():
    """The style of a drawing, and nothing left of it afterwards."""
    import matplotlib as mpl

    with mpl.rc_context():
        yield


MAPS = "conditional-detr/spatial-attention-maps"
CHECKPOINTS = {
    "ckpt_lfs": "model.safetensors is a pointer of git-lfs",
    "ckpt_lfsbin": "pytorch_model.bin is a pointer of git-lfs",
    "ckpt_trunc": "model.safetensors is cut off or damaged",
    "ckpt_cfgbroken": "config.json is no JSON object",
    "ckpt_Detr_shard": None,  # it opens
    "ckpt_cond_mh": None,
}


@pytest.mark.parametrize(("name", "said"), CHECKPOINTS.items(), ids=CHECKPOINTS)
def test_checkpoints_that_once_went_wrong(name, said, shared_cases, tmp_path, capsys, drawn):
    pytest.importorskip("transformers")
    image, out = tmp_path / "image.png", tmp_path / "out"
    Image.new("RGB", (300, 200)).save(image)
    arguments = ["figure", MAPS, "--out", str(out), "--data", f"{shared_cases / name},{image}"]
    assert main(arguments) == (2 if said else 0)
    printed, err = capsys.readouterr()
    if said:
        assert printed == "" and f"{shared_cases / name}" in err and said in err and err.count("\n") == 1
    else:
        assert printed.count("\n") == 4 and all(file.stat().st_size for file in (out / MAPS).parent.iterdir())


def test_what_is_not_installed_is_one_line(monkeypatch, tmp_path, capsys, drawn):
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text("{}")
    assert main(["figure", MAPS, "--out", str(tmp_path), "--data", f"{tmp_path},image.png"]) == 2
    err = capsys.readouterr().err
    assert "pip install 'transformers>=5'" in err and err.count("\n") == 1


def test_figures_lists_the_catalogue(capsys):
    from marginalia.catalogue import catalogue

    assert main(["figures"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [row.id for row in catalogue()]


def test_figure_draws_into_a_folder(tmp_path, monkeypatch, capsys):
    """The id goes to `draw` with the reader's data and folder; the files that it wrote are printed."""
    import marginalia.figures

    asked = []

    def draw(*arguments):
        asked.append(arguments)
        return [tmp_path / "a.svg", tmp_path / "a.csv"]

    monkeypatch.setattr(marginalia.figures, "draw", draw)
    assert main(["figure", "a/b", "--data", "mine.json", "--out", str(tmp_path)]) == 0
    assert asked == [("a/b", "mine.json", str(tmp_path))]
    assert capsys.readouterr().out == f"{tmp_path / 'a.svg'}\n{tmp_path / 'a.csv'}\n"


def test_data_is_coco_unless_named():
    assert parser().parse_args(["data"]).name == "coco2017-annotations"


@pytest.mark.parametrize("shape", [(7, 5, 3), (5, 3)])
def test_deaths_from_file_to_file(shape, tmp_path, capsys):
    from marginalia.topology import h0_deaths

    clouds = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    given, out = tmp_path / "features.npy", tmp_path / "deaths"
    np.save(given, clouds)
    assert main(["deaths", str(given), str(out)]) == 0
    found = np.load(out)
    assert found.dtype == np.float32 and (found == h0_deaths(clouds.reshape(-1, 5, 3))).all()
    assert capsys.readouterr().out == f"{out}: {len(found)} clouds, 4 deaths each, float32\n"


def test_deaths_of_what_is_no_cloud_leave_no_file(tmp_path, capsys):
    given, out = tmp_path / "features.npy", tmp_path / "deaths.npy"
    np.save(given, np.full((2, 5, 3), np.nan))
    assert main(["deaths", str(given), str(out)]) == 2
    assert f"{given}: has NaN or infinite values" in capsys.readouterr().err
    assert not out.exists()


def test_where_deaths_cannot_be_written_is_said_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("marginalia.__main__.os.access", lambda *_: False)
    assert main(["deaths", str(tmp_path / "there-is-none.npy"), str(tmp_path / "deaths.npy")]) == 2
    assert f"{tmp_path / 'deaths.npy'}: cannot be written to" in capsys.readouterr().err


def test_deaths_do_not_replace_the_features(tmp_path, capsys):
    given = tmp_path / "features.npy"
    np.save(given, np.zeros((2, 5, 3)))
    before = given.read_bytes()
    assert main(["deaths", str(given), str(tmp_path / "." / "features.npy")]) == 2
    assert "FILE itself" in capsys.readouterr().err and given.read_bytes() == before
