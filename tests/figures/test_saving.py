"""The look of figures, and saving them."""

from __future__ import annotations

import importlib
import re
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from marginalia import catalogue, figures, store
from marginalia import style as looks

FRAME = pd.DataFrame({"set": ["COCO", "数据"], "mc": [0.1 + 0.2, 1 / 3]})


@pytest.fixture
def style():
    """The collection's style, without a display, and nothing left of it afterwards."""
    backend = mpl.get_backend()
    plt.switch_backend("agg")
    with mpl.rc_context():
        looks.use_style()
        yield
    plt.close("all")
    plt.switch_backend(backend)


@pytest.fixture
def build(monkeypatch, tmp_path) -> Path:
    """A build folder of the test's own."""
    monkeypatch.setenv("MARGINALIA_BUILD", str(tmp_path / "build"))
    return tmp_path / "build" / "figures"


@pytest.fixture
def plant(monkeypatch, tmp_path):
    """Write a catalogue for the test, in a checkout of its own."""

    def plant(text: str) -> Path:
        path = tmp_path / "notebooks" / "figures.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(catalogue, "checkout", lambda: tmp_path)
        return path

    return plant


ROWS = """
figures:
- {id: some-paper/curve, paper: Some Paper, kind: figure, number: 2, title: A | B, status: here,
   notebook: 20_curve, function: "test_figures_plots:curve", arguments: {points: 5},
   differences: Fewer points.}
- {id: some-paper/results, paper: Some Paper, kind: table, number: null, title: Results,
   status: published numbers, notebook: 00_tour, data: [some.csv]}
- {id: other-paper/teaser, paper: Other Paper, kind: figure, title: Teaser, status: not confirmed}
"""


def line(title: str = "title") -> plt.Figure:
    figure, axes = plt.subplots()
    axes.plot([0, 1], [1, 0], label="a")
    axes.set(title=title, xlabel="x (px)", ylabel="y (px)")
    axes.legend()
    return figure


# Colours and text

# Severe dichromacy in linear RGB: Machado, Oliveira, Fernandes 2009, table 1, severity 1.0.
COLOUR_BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


LEAST = 10  # CIEDE2000; about 2 is just seen when side by side, thin lines need several times that


@pytest.mark.parametrize("eyes", COLOUR_BLINDNESS)
def test_the_colours_of_the_cycle_are_told_apart(eyes):
    from skimage.color import deltaE_ciede2000, rgb2lab

    rgb = np.array([mpl.colors.to_rgb(colour) for colour in looks.CYCLE])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(COLOUR_BLINDNESS[eyes]).T, 0, 1)
    seen = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(seen[None])[0]
    distance = deltaE_ciede2000(lab[:, None], lab[None])[~np.eye(len(lab), dtype=bool)]
    assert distance.min() > LEAST, distance.min()


def test_no_cjk_font_is_found_where_none_is(monkeypatch):
    from matplotlib import font_manager

    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    looks.cjk_font.cache_clear()
    try:
        assert looks.cjk_font() is None
        with mpl.rc_context():
            looks.use_style()
            assert mpl.rcParams["font.family"] == ["DejaVu Sans"]
    finally:
        looks.cjk_font.cache_clear()


def test_mixed_text_draws_every_character(style, build):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each missing character
        figures.save(line("框位置相关性 −1" if looks.cjk_font() else "−1"), "extra/text", FRAME)


# Saving


def test_four_files_are_written_at_the_width_asked_for(style, build):
    figure = line()
    paths = figures.save(figure, "extra/line", FRAME)
    assert paths == [build / "extra" / f"line.{form}" for form in ("svg", "png", "pdf", "csv")]
    assert all(path.stat().st_size for path in paths)
    height, width, _ = plt.imread(paths[1]).shape
    assert (width, height) == (1400, 640)  # 7 x 3.2 inches at 200 dots an inch
    assert not plt.get_fignums()  # else a notebook would show it a second time


def test_the_numbers_come_back_exactly(build, style):
    path = figures.save(line(), "extra/line", FRAME)[-1]
    pd.testing.assert_frame_equal(pd.read_csv(path), FRAME, check_exact=True)


def test_a_named_index_is_kept_and_another_is_not(build, style):
    named, sliced = FRAME.set_index("set"), FRAME[FRAME.mc > 0.31]
    *_, first, second = figures.save(line(), "extra/two", {"by-set": named, "some": sliced})
    assert (first.name, second.name) == ("two-by-set.csv", "two-some.csv")
    assert first.read_text(encoding="utf-8").splitlines()[0] == "set,mc"
    assert second.read_text(encoding="utf-8").splitlines()[0] == "set,mc"


def test_the_same_figure_gives_the_same_bytes(style, tmp_path):
    once, again = (figures.save(line(), "extra/line", FRAME, tmp_path / name) for name in ("a", "b"))
    for a, b in zip(once, again, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    assert not re.search(rb"<dc:date>|matplotlib\.org", once[0].read_bytes())


@pytest.mark.parametrize("id", ["line", "extra/Line", "../line", "extra/a/b", "extra/", "extra/a b"])
def test_an_id_that_is_no_id_is_refused(id, style, build):
    with pytest.raises(ValueError, match="figure id"):
        figures.save(line(), id, FRAME)
    assert not build.exists()


def test_an_unknown_id_is_told_the_near_ones(style, build, plant):
    plant(ROWS)
    with pytest.raises(ValueError, match=r"no figure 'some-paper/curv'.*near it: some-paper/curve"):
        figures.save(line(), "some-paper/curv", FRAME)
    assert len(figures.save(line(), "some-paper/curve", FRAME)) == 4


def test_without_a_build_folder_the_checkouts_is_used(monkeypatch, tmp_path):
    monkeypatch.delenv("MARGINALIA_BUILD", raising=False)
    assert figures._build() == store.checkout() / "build"
    monkeypatch.setattr(figures, "checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert figures._build() == tmp_path / "build"


# Drawing by id

PLOTS = """
import pandas as pd
from matplotlib import pyplot as plt

def curve(points, data=None):
    frame = pd.DataFrame({"y": range(points)}) if data is None else data
    figure, axes = plt.subplots()
    axes.plot(frame["y"])
    return figure, frame
"""


@pytest.fixture
def plots(monkeypatch, tmp_path, plant):
    """A catalogue and the module that its rows name."""
    (tmp_path / "test_figures_plots.py").write_text(PLOTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return plant(ROWS)


def test_a_figure_is_drawn_with_its_arguments(plots, style, build, tmp_path):
    *_, numbers = figures.draw("some-paper/curve")
    assert pd.read_csv(numbers)["y"].tolist() == [0, 1, 2, 3, 4]
    *_, numbers = figures.draw("some-paper/curve", data=pd.DataFrame({"y": [3, 1]}), out=tmp_path / "mine")
    assert numbers == tmp_path / "mine" / "some-paper" / "curve.csv"
    assert pd.read_csv(numbers)["y"].tolist() == [3, 1]


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("some-paper/curv", "near it: some-paper/curve"),
        ("other-paper/teaser", "its status is: not confirmed"),
        ("extra/mine", "not in the catalogue"),
    ],
)
def test_what_cannot_be_drawn_says_why(plots, id, message):
    with pytest.raises(ValueError, match=message):
        figures.draw(id)


def test_a_folder_that_cannot_be_written_to_is_said_before_the_work(plots, tmp_path, monkeypatch):
    monkeypatch.setattr("test_figures_plots.curve", lambda **_: pytest.fail("work was begun"))
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(OSError, match=r"file\S* cannot be written to .*name another folder, with --out"):
            figures.draw("some-paper/curve", out=out)

    def refused(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(figures, "TemporaryFile", refused)
    with pytest.raises(OSError, match=r"some-paper cannot be written to \(Read-only file system\)"):
        figures.draw("some-paper/curve", out=tmp_path)


def test_a_function_that_takes_no_data_is_named(plots, plant):
    plant(ROWS.replace("test_figures_plots:curve", "math:sqrt"))
    with pytest.raises(ValueError, match="takes no data"):
        figures.draw("some-paper/curve", data=1)
