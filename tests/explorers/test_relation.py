"""The relation explorer in Python: the library's numbers, traits that refuse nonsense, the still picture."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
import torch
import traitlets
from torch import nn

from marginalia.boxes.correlation import pearson
from marginalia.boxes.geometry import xywh_to_cxcywh
from marginalia.detection.relation import PositionRelation
from marginalia.explorers import RelationExplorer

BOXES = [[30, 20, 70, 60], [150, 30, 60, 90], [260, 60, 80, 50], [60, 150, 90, 70]]
SIZE = (400, 300)


@pytest.fixture(scope="module")
def relation() -> PositionRelation:
    """One that does not look like a new one: four heads, another scale, weights that matter."""
    torch.manual_seed(3)
    relation = PositionRelation(4, scale=2 * np.pi)
    nn.init.normal_(relation.projection.weight, std=0.5)
    return relation


def rel_of(relation: PositionRelation, boxes=BOXES) -> np.ndarray:
    """The module's own answer, in 64 bits."""
    places = torch.tensor(xywh_to_cxcywh(np.array(boxes, float)) / np.tile(SIZE, 2))[None]
    double = PositionRelation(relation.projection.out_features)
    double.load_state_dict(relation.state_dict())
    double.frequency = relation.frequency
    return double.double()(places, places)[0].detach().numpy()


def test_relation_and_attention_are_the_library_s(relation):
    explorer = RelationExplorer(BOXES, relation, size=SIZE)
    expected = rel_of(relation)
    assert (expected > 0).any() and (expected == 0).any()
    # the module splits sines of differences: sums in another order, 64 bits
    np.testing.assert_allclose(explorer.relation, expected, atol=1e-10)
    attention = torch.tensor(expected).softmax(-1).numpy()
    np.testing.assert_allclose(explorer.attention, attention, atol=1e-10)
    explorer.boxes = BOXES[::-1]
    np.testing.assert_allclose(explorer.relation, rel_of(relation, BOXES[::-1]), atol=1e-10)


def test_random_weights_stand_beside_those_given(relation):
    explorer = RelationExplorer(BOXES, relation, size=SIZE)
    assert explorer.weights == "given" and list(explorer.projections) == ["given", "random"]
    explorer.weights = "random"
    assert explorer.relation.shape == (4, 4, 4)  # as many heads, at the same frequencies
    assert explorer.frequency == relation.frequency.tolist()
    assert np.abs(explorer.relation - rel_of(relation)).max() > 0.1


def test_random_weights_are_always_the_same_and_leave_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = RelationExplorer(BOXES)
    assert torch.equal(torch.rand(3), expected)
    assert first.projections == RelationExplorer(BOXES).projections
    assert list(first.projections) == ["random"]
    assert np.shape(first.projections["random"]) == (8, 65)


@pytest.mark.parametrize("bad", [nn.Linear(64, 8), "relation", BOXES])
def test_another_relation_is_refused(bad):
    with pytest.raises(TypeError, match=f"expected a PositionRelation.*, not {type(bad).__name__}$"):
        RelationExplorer(BOXES, bad)


@pytest.mark.parametrize("where", ["weight", "bias"])
def test_weights_that_are_not_finite_are_refused(where):
    relation = PositionRelation()
    with torch.no_grad():
        getattr(relation.projection, where)[3] = float("nan")
    with pytest.raises(ValueError, match=r"relation: .* weights that are not finite: head 3$"):
        RelationExplorer(BOXES, relation)


def test_frequencies_that_are_not_finite_are_refused():
    relation = PositionRelation()
    relation.frequency[2] = float("inf")
    with pytest.raises(ValueError, match="relation: its frequencies are not finite"):
        RelationExplorer(BOXES, relation)


@pytest.mark.parametrize(
    ("trait", "bad", "told"),
    [
        ("pair", (0, 4), r"pair: expected 0 to 3, not \(0, 4\)"),
        ("pair", (-1, 2), "pair: expected 0 to 3"),
        ("head", 8, "head: expected -1 to 7, not 8"),
        ("weights", "given", "weights: expected 'random', not 'given'"),
        ("boxes", [[1, 2, 0, 4]], "w, h > 0"),
        ("boxes", [[1, 2, 3, float("inf")]], "box 0 is"),
    ],
)
def test_what_is_not_there_is_refused(trait, bad, told):
    explorer = RelationExplorer(BOXES)
    before = getattr(explorer, trait)
    with pytest.raises(traitlets.TraitError, match=told):
        setattr(explorer, trait, bad)
    assert getattr(explorer, trait) == before


def test_bad_arguments_are_refused():
    with pytest.raises(traitlets.TraitError, match="pair: expected 0 to 3"):
        RelationExplorer(BOXES, pair=(0, 9))
    with pytest.raises(TypeError, match="colour"):
        RelationExplorer(BOXES, colour="red")


def test_the_pair_follows_what_is_selected_and_what_is_left():
    explorer = RelationExplorer(BOXES)
    assert explorer.pair == (0, 1)
    explorer.selected = 3
    assert explorer.pair == (3, 0)
    explorer.selected = 3
    explorer.selected = -1
    assert explorer.pair == (3, 0)
    explorer.boxes = BOXES[:2]
    assert explorer.pair == (1, 0)
    explorer.boxes = []
    assert explorer.pair == (0, 0)


def test_the_sentence_has_the_numbers(relation):
    explorer = RelationExplorer(BOXES, relation, size=SIZE, pair=(1, 2), head=3)
    rel = rel_of(relation)
    weight = torch.tensor(rel).softmax(-1)[3, 1, 2]
    bias = rel[:, 1, 2]
    rho = pearson(np.array(BOXES, float))[1, 2]
    assert explorer.summary() == (
        f"Relation explorer: 4 boxes, given weights; box 1 attends to box 2 with {weight:.1%} (head 3; "
        f"uniform: 25.0%), Rel {bias.min():.2f} to {bias.max():.2f}, correlation {rho:.2f}, IoU 0.00"
    )


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_boxes(count):
    explorer = RelationExplorer(BOXES[:count])
    assert explorer.summary().endswith("random weights; a pair needs two boxes")
    (picture,) = explorer.static().axes
    assert picture.get_title("left") == "A pair needs two boxes" and len(picture.patches) == count


def test_boxes_without_a_correlation_have_none_in_the_sentence():
    assert "Rel 0.00 to 1.07, no correlation, IoU 1.00" in RelationExplorer([[40] * 4] * 2).summary()


def test_the_output_is_a_sentence_and_a_picture():
    data, _ = RelationExplorer(BOXES)._repr_mimebundle_()
    assert data["text/plain"].startswith("Relation explorer: 4 boxes, random weights; box 0 attends to box 1")
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")


def test_the_still_picture_shows_the_pair(relation):
    pixels = np.zeros((300, 400), np.uint8)
    explorer = RelationExplorer(BOXES, relation, pixels=pixels, labels=["cup", ""], pair=(1, 0))
    layout, bars, cells, beside, embedding = explorer.static().axes
    mean = torch.tensor(rel_of(relation)).softmax(-1)[:, 1].mean(0)
    names = ["cup", "1", "2", "3"]
    assert {t.get_text() for t in layout.texts} == {f"{n}: {w:.0%}" for n, w in zip(names, mean, strict=True)}
    np.testing.assert_allclose(
        [bar.get_width() for bar in bars.patches], rel_of(relation)[:, 1, 0], atol=1e-10
    )
    np.testing.assert_allclose(cells.images[0].get_array()[-1], 100 * mean, atol=1e-8)
    np.testing.assert_allclose(beside.images[0].get_array()[0, 0], pearson(np.array(BOXES, float))[1, 0])
    assert embedding.images[0].get_array().shape == (4, 16)
    assert embedding.get_yticklabels()[2].get_text() == f"log(w / w′) = {np.log(60 / 70):.2f}".replace(
        "-", "−"
    )


def test_nothing_in_the_still_picture_runs_together(rng):
    boxes = np.column_stack([rng.uniform(0, 700, (8, 2)), rng.uniform(20, 300, (8, 2))])
    figure = RelationExplorer(boxes, size=(1000, 1000)).static()
    figure.draw_without_rendering()
    layout, bars, cells, beside, embedding = figure.axes
    cell = cells.get_window_extent().width / 8
    assert max(text.get_window_extent().width for text in cells.texts + beside.texts) < 0.95 * cell
    assert layout.get_tightbbox().x1 < bars.get_tightbbox().x0
    assert bars.get_tightbbox().x1 < cells.get_tightbbox().x0
    assert embedding.get_tightbbox().y1 < min(layout.get_tightbbox().y0, beside.get_tightbbox().y0)
    whole = figure.bbox
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1


def test_of_many_boxes_the_pair_lies_on_top_and_has_its_tags(rng):
    boxes = np.column_stack([rng.uniform(0, 700, (150, 2)), rng.uniform(20, 300, (150, 2))])
    boxes[[140, 3], :2] = (0, 0), (950, 990)  # where tags would leave the image
    figure = RelationExplorer(boxes, size=(1000, 1000), pair=(140, 3), labels=["long name"] * 150).static()
    figure.draw_without_rendering()
    layout = figure.axes[0]
    last = [patch.get_bbox().bounds for patch in layout.patches[-2:]]
    np.testing.assert_allclose(last, boxes[[3, 140]])
    assert len(layout.texts) == 2 and all(text.get_text().startswith("long name: ") for text in layout.texts)
    frame = layout.get_window_extent().padded(1)
    assert all(frame.count_contains(tag.get_window_extent().corners()) == 4 for tag in layout.texts)
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


def test_a_saved_page_holds_everything(tmp_path, relation):
    page = RelationExplorer(BOXES, relation).save_html(tmp_path / "relation.html")
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 1
    assert not re.search(r"https?://|\bsrc=|\bimport ", text)
