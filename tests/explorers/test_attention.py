"""The attention explorer in Python: what goes to the browser, traits that refuse nonsense, the saved page."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import traitlets
from matplotlib.figure import SubFigure
from matplotlib.text import Text

from marginalia.detection.attention import AttentionMaps
from marginalia.detection.capture import CapturedAttention, Queries, capture_attention
from marginalia.detection.detector import KINDS as DETECTORS
from marginalia.detection.detector import DetectorConfig, build
from marginalia.detection.scenes import make_scenes
from marginalia.explorers import AttentionExplorer
from marginalia.explorers.attention import BUDGET, KINDS

torch.set_num_threads(1)
NAMES = ["cup", "spoon", "</script>"]


def invented(layers=2, batch=1, heads=3, queries=5, h=4, w=6, valid=None, sharp=1.0, points=2):
    """Captured attention from random logits: scores rise with the number of the query."""
    generator = torch.Generator().manual_seed(0)
    shape = (layers, batch, heads, queries, h * w)
    logits = [sharp * torch.randn(shape, generator=generator) for _ in range(2)]
    maps = AttentionMaps.from_logits(*logits, h, w, valid)
    scores = torch.linspace(0.1, 0.9, queries).expand(batch, -1)
    found = Queries(
        references=torch.rand(layers, batch, queries, points, generator=generator),
        boxes=0.2 + 0.5 * torch.rand(batch, queries, 4, generator=generator),
        scores=scores,
        labels=torch.arange(queries).expand(batch, -1) % 3,
    )
    return CapturedAttention(
        **vars(maps),
        content_terms=("(c_q + o_q) . (c_k + p_k)",) + ("c_q . c_k",) * (layers - 1),
        spatial_terms=("p_q . p_k",) * layers,
        remainder=torch.zeros(layers),
        queries=found,
    )


@pytest.fixture
def captured():
    return invented()


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (40, 60), dtype=np.uint8)


@pytest.fixture
def explorer(captured, pixels):
    return AttentionExplorer(captured, pixels, names=NAMES)


def sent(explorer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the browser gets: levels (3, L, H, Q, h, w), peaks (3, L, H, Q) and overlaps (L, H, Q)."""
    shape = explorer.facts["shape"]
    levels = np.frombuffer(explorer.levels, np.uint8).reshape(3, *shape)
    peaks = np.frombuffer(explorer.peaks, "<f4").reshape(3, *shape[:3])
    return levels, peaks, np.frombuffer(explorer.overlaps, "<f4").reshape(shape[:3])


def bytes_sent(explorer) -> int:
    return sum(len(getattr(explorer, name)) for name in ("levels", "peaks", "overlaps", "png"))


def test_maps_go_to_the_browser_within_half_a_level(explorer, captured):
    levels, peaks, _ = sent(explorer)
    assert explorer.kept == (4, 3, 2, 1, 0)
    for k, kind in enumerate(KINDS):
        weights = getattr(captured, kind)[:, 0, :, list(explorer.kept)].numpy()
        decoded = levels[k] / 255 * peaks[k][..., None, None]
        assert (abs(decoded - weights) <= peaks[k][..., None, None] * (0.5 / 255 + 1e-6)).all()
        np.testing.assert_array_equal(peaks[k], weights.max((-1, -2)))
        assert (levels[k].max((-1, -2)) == 255).all()


@pytest.mark.parametrize("sharp", [1.0, 200.0])
def test_product_over_overlap_is_combined(pixels, sharp):
    """Also where both maps are so sharp that their product underflows in single precision."""
    captured = invented(sharp=sharp)
    explorer = AttentionExplorer(captured, pixels)
    overlaps = sent(explorer)[2].astype(float)
    kept = list(explorer.kept)
    content, spatial = (
        getattr(captured, f"{kind}_logits")[:, 0, :, kept].double().flatten(-2).softmax(-1).numpy()
        for kind in ("content", "spatial")
    )
    known = overlaps > 1e-30  # below, 32 bits hold too few digits to divide by
    product = (content * spatial)[known] / overlaps[known][:, None]
    combined = captured.combined[:, 0, :, kept].flatten(-2).numpy()[known]
    assert known.any()
    # float32: of the logits, up to 200 * 4, six digits are left
    np.testing.assert_allclose(product, combined, atol=1e-6 * max(1, 8 * sharp))


def test_the_first_choice_is_the_highest_score_the_last_layer_and_the_head_at_the_box(explorer, captured):
    assert (explorer.query, explorer.layer, explorer.kind) == (4, 1, "combined")
    x, y, w, h = captured.queries.boxes[0, 4].tolist()
    rows, columns = captured.combined.shape[-2:]
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    inside = [(i, j) for i, j in cells
              if abs((j + 0.5) / columns - x) <= w / 2 and abs((i + 0.5) / rows - y) <= h / 2]  # fmt: skip
    assert 0 < len(inside) < len(cells)
    weights = [sum(maps[i, j].item() for i, j in inside) for maps in captured.combined[1, 0, :, 4]]
    assert explorer.head == int(np.argmax(weights))
    assert torch.equal(torch.tensor(explorer.weights), captured.combined[1, 0, explorer.head, 4])
    explorer.kind, explorer.query, explorer.layer, explorer.head = "spatial", 2, 0, 1
    assert torch.equal(torch.tensor(explorer.weights), captured.spatial[0, 0, 1, 2])


def test_a_choice_can_be_given_by_name(captured, pixels):
    place = {"query": 2, "layer": 0, "head": 1, "kind": "spatial"}
    choice = place | {"cell": 7, "pinned": place | {"query": 4}, "threshold": 0.6, "opacity": 0.5}
    explorer = AttentionExplorer(captured, pixels, **choice)
    assert {name: getattr(explorer, name) for name in choice} == choice == explorer.given
    with pytest.raises(traitlets.TraitError, match="head: expected -1 to 2, not 9"):
        AttentionExplorer(captured, pixels, head=9)


@pytest.mark.parametrize(
    ("name", "bad", "told"),
    [
        ("query", 5, r"query: expected one of those kept \(0, 1, 2, 3, 4\), not 5"),
        ("query", -1, "query: expected one of those kept"),
        ("layer", 2, "layer: expected 0 to 1, not 2"),
        ("head", 3, "head: expected -1 to 2, not 3"),
        ("head", -2, "head: expected -1 to 2, not -2"),
        ("cell", 24, "cell: expected -1 to 23, not 24"),
        ("threshold", 1.1, "threshold: expected 0 to 1, not 1.1"),
        ("opacity", float("nan"), "opacity: expected 0 to 1, not nan"),
        ("pinned", {"query": 2}, "pinned: expected {}, or query, layer, head, kind, not {'query': 2}"),
        ("pinned", {"query": 2, "layer": 2, "head": 0, "kind": "spatial"}, "pinned: expected"),
        ("kind", "mean", "content"),
        ("layer", "last", "int"),
    ],
)
def test_choices_that_are_not_there_are_refused(explorer, name, bad, told):
    before = getattr(explorer, name)
    with pytest.raises(traitlets.TraitError, match=told):
        setattr(explorer, name, bad)
    assert getattr(explorer, name) == before


def test_queries_with_the_highest_scores_are_kept_and_the_others_counted(captured, pixels):
    explorer = AttentionExplorer(captured, pixels, queries=2)
    assert explorer.kept == (4, 3)
    assert explorer.facts["left_out"] == 3
    assert explorer.facts["best_left_out"] == pytest.approx(0.5)
    assert explorer.summary().endswith("2 of 5 queries kept")
    with pytest.raises(traitlets.TraitError, match="ask for more `queries`"):
        explorer.query = 0


def test_published_sizes_stay_under_the_budget(rng):
    """25 x 34 cells, 8 heads, 6 layers, 300 queries; a photograph is larger than what is shown of it."""
    captured = invented(layers=6, heads=8, queries=300, h=25, w=34)
    photograph = rng.integers(0, 256, (600, 1200, 3), dtype=np.uint8) // 64 * 64  # noise hardly compresses
    explorer = AttentionExplorer(captured, photograph, queries=100)
    assert 10 < len(explorer.kept) < 25 and bytes_sent(explorer) <= BUDGET
    assert explorer.facts["left_out"] == 300 - len(explorer.kept)
    assert explorer.facts["size"] == [1200, 600]
    assert explorer.kept[0] == 299
    with pytest.raises(ValueError, match=r"one query take 4\.0 MB.*smaller pixels"):
        AttentionExplorer(invented(layers=6, heads=8, queries=1, h=200, w=139), photograph[:9, :9])


def test_a_tiny_model_is_far_below_three_megabytes():
    scenes = make_scenes(1, split="val")
    captured = capture_attention(build(DetectorConfig()), torch.from_numpy(scenes.pixels))
    assert bytes_sent(AttentionExplorer(captured, scenes.pixels[0, 0])) < 300_000


@pytest.mark.parametrize("kind", DETECTORS)
def test_all_kinds_of_detectors(kind):
    scenes = make_scenes(2, split="val")
    captured = capture_attention(build(DetectorConfig(kind=kind)), torch.from_numpy(scenes.pixels))
    explorer = AttentionExplorer(captured, scenes.pixels[1, 0], image=1)
    references = explorer.facts["references"]
    if kind == "detr":
        assert references is None  # the middle is no reference
    else:
        assert np.shape(references) == (3, 16, 4 if kind == "dab" else 2)
    assert explorer.facts["scores"] == sorted(explorer.facts["scores"], reverse=True)
    assert explorer.facts["terms"][0] == list(captured.content_terms)
    assert base64.b64decode(explorer._repr_mimebundle_()[0]["image/png"]).startswith(b"\x89PNG")


def test_padding_is_cut_off(pixels):
    valid = torch.zeros(2, 4, 6, dtype=torch.bool)
    valid[0] = True
    valid[1, :3, :5] = True
    captured = invented(batch=2, valid=valid)
    explorer = AttentionExplorer(captured, pixels, image=1)
    assert explorer.facts["shape"][3:] == [3, 5]
    np.testing.assert_allclose(explorer.weights.sum(), 1, atol=1e-6)  # float32
    with pytest.raises(ValueError, match="image 2 of a batch of 2"):
        AttentionExplorer(captured, pixels, image=2)


@pytest.mark.parametrize("pixels", [np.zeros((4, 5)), np.zeros((4, 5, 2), np.uint8), [[0, 1]]])
def test_other_pixels_are_refused(captured, pixels):
    with pytest.raises(ValueError, match="pixels: expected"):
        AttentionExplorer(captured, pixels)


def test_names_and_numbers_that_cannot_be(captured, pixels):
    for names in (NAMES[:2], np.array(NAMES[:2])):
        assert "2" in AttentionExplorer(captured, pixels, names=names).facts["names"]
    with pytest.raises(ValueError, match="queries: expected 1 or more"):
        AttentionExplorer(captured, pixels, queries=0)
    assert AttentionExplorer(captured, pixels, names={0: "a", 1: "b", 2: "c"}).facts["names"][0] == "b"


def test_the_output_is_a_sentence_and_a_picture(explorer):
    data, _ = explorer._repr_mimebundle_()
    told = (
        r"Attention explorer: query 4 \('spoon', score 0\.90\), layer 1, head \d: combined attention peaks "
        r"at 0\.\d+ = \d[\d.]*× the uniform weight over 24 cells; 5 of 5 queries kept"
    )
    assert re.fullmatch(told, data["text/plain"])
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"]


def test_showing_leaves_the_reader_s_style_alone(explorer):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    explorer.static()
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("layer", [0, 1])
def test_nothing_runs_together_in_the_drawing(explorer, layer):
    """Captions of neighbouring maps stay apart, titles inside the figure; the first layer's are longest."""
    explorer.layer = layer
    figure = explorer.static()
    figure.draw_without_rendering()
    captions = [axes.xaxis.label.get_window_extent() for axes in figure.axes[-3:]]
    assert all(a.x1 < b.x0 for a, b in pairwise(captions)) and captions[-1].x1 < figure.bbox.x1
    for part in figure.findobj(lambda one: getattr(one, "_suptitle", None) is not None):
        assert part._suptitle.get_window_extent().x1 < figure.bbox.x1
    assert min(text.get_fontsize() for text in figure.findobj(Text)) >= 7


def test_a_cell_tells_the_queries_that_look_at_it(explorer, captured):
    with pytest.raises(ValueError, match="cell is -1: choose the cell first"):
        explorer.looks  # noqa: B018
    explorer.cell, explorer.layer, explorer.head = 8, 0, 1
    np.testing.assert_array_equal(explorer.looks, captured.combined[0, 0, 1, list(explorer.kept), 1, 2])
    explorer.head = -1
    mean = captured.combined[0, 0, :, list(explorer.kept), 1, 2].numpy().mean(0)
    np.testing.assert_allclose(explorer.looks, mean, rtol=1e-6)  # float32, summed in another order
    best = explorer.kept[int(mean.argmax())]
    told = f"cell at row 1, column 2, layer 0, mean of heads: combined attention; most from query {best} "
    assert told in explorer.summary()
    np.testing.assert_allclose(
        explorer.weights, captured.combined[0, 0, :, explorer.query].mean(0), rtol=1e-6
    )


@pytest.mark.parametrize("scores", [(0.05, 0.1, 0.2), (0.3, 0.5, 0.9)])
def test_the_first_threshold_leaves_the_best_boxes(pixels, scores):
    captured = invented(queries=3)
    captured = replace(captured, queries=replace(captured.queries, scores=torch.tensor([scores])))
    assert AttentionExplorer(captured, pixels).threshold == (0.1 if max(scores) < 0.6 else 0.3)


@pytest.mark.parametrize("part", ["scores", "boxes", "references", "content", "spatial", "combined"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(captured, pixels, part, value):
    holder = captured if part in KINDS else captured.queries
    bad = getattr(holder, part).clone()
    bad.flatten()[-1] = value
    bad = replace(holder, **{part: bad})
    captured = bad if part in KINDS else replace(captured, queries=bad)
    with pytest.raises(ValueError, match=f"captured: {part}( maps)? with numbers that are not finite"):
        AttentionExplorer(captured, pixels)


@pytest.mark.parametrize("state", [{"cell": 7}, {"head": -1}, {"cell": 7, "head": -1}, {}])
def test_the_still_picture_shows_what_the_view_shows(captured, pixels, state):
    pinned = {"query": 2, "layer": 0, "head": -1, "kind": "content"}
    explorer = AttentionExplorer(captured, pixels, names=NAMES, pinned=pinned, **state)
    figure = explorer.static()
    titles = [part._suptitle.get_text() for part in figure.findobj(SubFigure) if part._suptitle]
    assert ("Queries that look at the cell at row 1, column 1" in titles[0]) == ("cell" in state)
    assert ("Mean of heads of each kind" in titles) == ("head" in state)
    first, second = figure.axes[-2:]
    assert first.images[0].get_clim() == second.images[0].get_clim()
    most = max(explorer.weights.max(), captured.content[0, 0, :, 2].mean(0).max())
    assert first.images[0].get_clim()[1] == pytest.approx(most)


def test_the_drawing_has_the_boxes_from_the_threshold_on_and_names_a_place_once(explorer, captured):
    explorer.threshold, explorer.query = 0.6, 0
    image = explorer.static().axes[0]
    drawn = {tuple(np.round(patch.get_bbox().bounds, 6)) for patch in image.patches}
    x, y, w, h = captured.queries.boxes[0, [0, 3, 4]].double().T
    assert drawn == {
        tuple(np.round(box, 6)) for box in torch.stack((x - w / 2, y - h / 2, w, h), -1).tolist()
    }
    places = [tuple(np.round(text.get_position(), 1)) for text in image.texts if text.get_text()]
    assert len(places) == len(set(places)) and "spoon 0.90" in {text.get_text() for text in image.texts}


def test_a_saved_page_holds_everything(explorer, tmp_path):
    explorer.head = 2
    text = explorer.save_html(tmp_path / "attention.html").read_text(encoding="utf-8")
    assert text.count("</script>") == 1  # a name cannot end the script
    assert '"head": 2' in text
    assert not re.search(r"https?://|\bsrc=|\bimport ", text)


def test_explorers_open_without_torch():
    code = "import sys, marginalia.explorers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
