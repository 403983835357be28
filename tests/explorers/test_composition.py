"""The composition explorer in Python: what goes to the browser, traits that refuse nonsense, the picture."""

from __future__ import annotations

import base64
import re
import warnings

import numpy as np
import pytest
import torch
import traitlets
from matplotlib.text import Text

from marginalia import heads, store
from marginalia.explorers import CompositionExplorer
from marginalia.explorers.composition import BRANCHES, BUDGET, CHOICE
from marginalia.heads import VARIANTS, Composition, TinyTransformer, TransformerConfig
from marginalia.heads.language import BOS, load_language, load_tokenizer
from marginalia.record import record

LABELS = ["def", " area", "(", "r", ")", ":", "\n", " return", " $r", " $r"]
TOKENS = [0, 1, 2, 3, 4, 5, 6, 7, 3, 3]


def lively(composition=VARIANTS["DCMHA"], **options) -> TinyTransformer:
    """Random weights, with compositions far from the identity."""
    torch.manual_seed(0)
    options = {"vocab": 200, "width": 32, "heads": 4, "layers": 2, "ffn": 16, "rotary": 4} | options
    model = TinyTransformer(TransformerConfig(composition=composition, **options))
    for name, weight in model.named_parameters():
        if name.endswith(("W_2", "W_g")):
            torch.nn.init.normal_(weight, std=0.1)
    return model


@pytest.fixture
def explorer():
    return CompositionExplorer(lively(), TOKENS, LABELS)


def floats(sent: bytes, *shape: int) -> np.ndarray:
    return np.frombuffer(sent, "<f4").reshape(shape)


def test_names_are_those_of_the_library():
    assert BRANCHES == heads.BRANCHES


def test_maps_go_to_the_browser_as_they_were_recorded(explorer):
    model = lively()
    with torch.no_grad(), record(model, "*attention.*") as seen:
        model(torch.tensor([TOKENS]))
    maps = floats(explorer.maps, 2, 2, 4, 10, 10)  # pre and post, layers, heads, queries, keys
    for where, name in enumerate(("pre", "post")):
        for layer in range(2):
            (call,) = seen[f"layers.{layer}.attention.{name}"]
            np.testing.assert_array_equal(maps[where, layer], call.inputs["A"][0])


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("groups", [1, 2])
def test_terms_add_up_to_what_composition_does(name, groups):
    composition = Composition(**{**vars(VARIANTS[name]), "groups": groups})
    explorer = CompositionExplorer(lively(composition), TOKENS, LABELS)
    for explorer.where in ("pre", "post"):
        for explorer.pair in ((9, 0), (4, 4), (7, 2)):
            all_terms = explorer.terms.pop("all")
            np.testing.assert_allclose(all_terms, sum(explorer.terms[name] for name in BRANCHES), atol=1e-6)
            before, after = explorer.heads
            # float32, two ways of adding up; numbers of up to about ten
            np.testing.assert_allclose(before + before @ all_terms, after, atol=1e-5)
        on = getattr(composition, explorer.where) and name != "MHA"
        assert bool(np.any(all_terms)) == on != explorer.facts["plain"][explorer._unit]
    assert np.any(explorer.terms["base"]) == (composition.static and composition.post)


def test_the_first_pair_is_the_one_that_composition_changes_most(explorer):
    i, j = explorer.pair
    changes = np.zeros((10, 10))
    for explorer.pair in np.argwhere(np.tri(10, k=-1)).tolist():  # of two tokens that the mask allows
        changes[explorer.pair] = abs(np.subtract(*explorer.heads)).sum()
    assert (i, j) == np.unravel_index(changes.argmax(), changes.shape)


def test_plain_heads_begin_with_their_largest_scores():
    explorer = CompositionExplorer(lively(VARIANTS["MHA"]), TOKENS, LABELS, where="post")
    means = np.where(np.tri(10, k=-1), explorer.shown, 0)
    assert explorer.map == "before" and explorer.pair == np.unravel_index(means.argmax(), (10, 10))
    assert CompositionExplorer(lively(VARIANTS["MHA"]), TOKENS, LABELS, map="after").map == "after"


def test_the_map_has_the_chosen_head_and_leaves_out_what_is_masked(explorer):
    maps = {}
    for explorer.map in ("before", "after", "change"):
        for explorer.head in range(-1, 4):
            maps[explorer.map, explorer.head] = explorer.shown
            np.testing.assert_array_equal(np.isnan(explorer.shown), ~np.tri(10, dtype=bool))
    before, after, change = (
        np.array([maps[name, head] for head in range(4)]) for name in ("before", "after", "change")
    )
    explorer.pair = (6, 2)
    np.testing.assert_array_equal([before[:, 6, 2], after[:, 6, 2]], explorer.heads)
    np.testing.assert_array_equal(change, after - before)
    np.testing.assert_allclose(maps["after", -1], after.mean(0), atol=1e-6)
    np.testing.assert_allclose(maps["change", -1], abs(change).mean(0), atol=1e-6)


def test_a_window_masks_too():
    explorer = CompositionExplorer(lively(windows=(3,)), TOKENS, LABELS)
    seen = np.tri(10, dtype=bool) & ~np.tri(10, k=-3, dtype=bool)
    np.testing.assert_array_equal(np.isnan(explorer.shown), ~seen)


def test_what_no_head_attends_to_is_not_masked():
    """Scores so far apart that weights underflow."""
    model = lively()
    for layer in model.layers:
        layer.attention.wqkv.weight.data *= 100
    explorer = CompositionExplorer(model, TOKENS, LABELS, where="post", map="before")
    np.testing.assert_array_equal(np.isnan(explorer.shown), ~np.tri(10, dtype=bool))
    assert (explorer.shown == 0).any()


def test_without_a_mask_all_pairs_are_there():
    explorer = CompositionExplorer(lively(causal=False), TOKENS, LABELS)
    assert np.isfinite(explorer.shown).all()


@pytest.mark.parametrize(
    ("name", "bad", "told"),
    [
        ("layer", 2, "layer: expected 0 to 1, not 2"),
        ("head", -2, "head: expected -1 to 3, not -2"),
        ("pair", (0, 10), r"pair: expected 0 to 9, not \(0, 10\)"),
        ("pair", (1,), "pair"),
        ("threshold", float("nan"), "threshold: expected 0 to 1, not nan"),
        ("term", "gate", "term"),
        ("where", "after", "where"),
        ("map", "mean", "map"),
    ],
)
def test_what_cannot_be_chosen_is_refused(explorer, name, bad, told):
    before = getattr(explorer, name)
    with pytest.raises(traitlets.TraitError, match=told):
        setattr(explorer, name, bad)
    assert getattr(explorer, name) == before
    with pytest.raises(traitlets.TraitError, match=told):
        CompositionExplorer(lively(), TOKENS, LABELS, **{name: bad})


def test_too_much_to_show_is_refused():
    with pytest.raises(ValueError, match="at most 128 can be shown, not 129"):
        CompositionExplorer(lively(), range(129), ["a"] * 129)
    with pytest.raises(ValueError, match="9 layers of 8 heads leave room for 102, not 103"):
        CompositionExplorer(lively(layers=9, heads=8), range(103), ["a"] * 103)
    explorer = CompositionExplorer(lively(layers=9, heads=8), range(102), ["a"] * 102)
    assert len(explorer.maps) <= BUDGET


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="labels: expected one for each of 10 tokens, not 9"):
        CompositionExplorer(lively(), TOKENS, LABELS[:9])
    with pytest.raises(ValueError, match="no module is called"):
        CompositionExplorer(torch.nn.Linear(2, 2), TOKENS, LABELS)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "attention.wqkv.weight",
            "scores before composition are not finite, first at layer 1, head 0, query 0",
        ),
        (
            "attention.pre",
            "scores after composition are not finite, first at layer 1, head 0, query 0, key 0",
        ),
        ("attention.post", "weights after composition are not finite, first at layer 1"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(name, told):
    model = lively()
    for parameter, weight in model.layers[1].named_parameters():
        if parameter.startswith(name):
            weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=f"^model: {told}"):
        CompositionExplorer(model, TOKENS, LABELS)


def test_the_choice_can_be_given_and_the_model_stays_as_it_is():
    model, choice = lively().train(), {"layer": 0, "where": "post", "pair": (5, 1), "term": "query gate"}
    explorer = CompositionExplorer(model, torch.tensor([TOKENS]), LABELS, **choice)
    assert explorer.given == choice | {"map": "change", "head": -1, "threshold": 0.3}
    assert tuple(explorer.given) == CHOICE
    assert model.training


def test_the_output_is_a_sentence_and_a_picture(explorer):
    explorer.pair = (9, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that does not fit is a warning
        data, _ = explorer._repr_mimebundle_()
    number = r"-?\d[\d.]*"
    told = (
        rf"Composition explorer: layer 1, scores, query 9 \(' \$r'\), key 3 \('r'\): norm of C - I {number}, "
        rf"its largest term is (query|key) (low rank|gate) \({number}\); head \d changes most, from {number} "
        rf"to {number}"
    )
    assert re.fullmatch(told, data["text/plain"])
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"]


def test_plain_heads_are_told():
    explorer = CompositionExplorer(lively(VARIANTS["MHA"]), TOKENS, LABELS)
    assert explorer.summary().endswith(": plain heads, C = I")
    assert "flows: largest 0" in {axes.get_title("center") for axes in explorer.static().axes}


def test_the_still_picture_shows_terms_bars_and_flows(explorer):
    explorer.term, explorer.threshold = "key low rank", 0.5
    cloud, *matrices, left, middle, right = explorer.static().axes
    shown = [axes.images[0].get_array() for axes in matrices if axes.images]
    np.testing.assert_allclose(shown, list(explorer.terms.values()))
    matrix, (before, _) = explorer.terms["key low rank"], explorer.heads
    np.testing.assert_allclose([bar.get_width() for bar in left.patches], before, rtol=1e-6)
    np.testing.assert_allclose(
        [bar.get_width() for bar in right.patches], before + before @ matrix, rtol=1e-6
    )
    assert len(middle.patches) == (abs(matrix) >= 0.5 * abs(matrix).max()).sum()
    ends = {tuple(patch.get_path().vertices[[0, -1], 1].astype(int)) for patch in middle.patches}
    assert ends == set(map(tuple, np.argwhere(abs(matrix) >= 0.5 * abs(matrix).max())))
    np.testing.assert_array_equal(cloud.images[0].get_array().filled(np.nan), explorer.shown)


def test_nothing_in_the_still_picture_runs_together():
    explorer = CompositionExplorer(
        lively(heads=16, rotary=2), [*TOKENS] * 6, [*LABELS] * 6, term="query low rank", pair=(59, 0)
    )
    figure = explorer.static()
    figure.draw_without_rendering()
    drawn = [axes.get_tightbbox() for axes in figure.axes if axes.get_title() or axes.images]
    for k, one in enumerate(drawn):
        assert one.x0 >= 0 and one.y0 >= 0 and one.x1 <= figure.bbox.x1 and one.y1 <= figure.bbox.y1
        assert not any(one.overlaps(other) for other in drawn[:k])
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7


@pytest.mark.parametrize("label", ["a token that is very long indeed", "很长很长很长很长很长的中文标签"])
@pytest.mark.parametrize("pair", [(9, 0), (0, 0), (9, 9), (5, 4)])
def test_long_labels_do_not_meet(pair, label):
    figure = CompositionExplorer(lively(), TOKENS, [label] * 10, pair=pair).static()
    figure.draw_without_rendering()
    (key,), (query,) = (axis.get_ticklabels() for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis))
    key, query, frame = (each.get_window_extent() for each in (key, query, figure.axes[0]))
    assert not key.overlaps(query)
    assert frame.x0 <= key.x0 and key.x1 <= frame.x1 and frame.y0 <= query.y0 and query.y1 <= frame.y1


def test_showing_leaves_the_reader_s_style_alone(explorer):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    explorer.static()
    assert dict(mpl.rcParams) == before


def test_a_saved_page_holds_everything(tmp_path):
    explorer = CompositionExplorer(lively(), TOKENS, [*LABELS[:9], "</script>"], head=2)
    text = explorer.save_html(tmp_path / "composition.html").read_text(encoding="utf-8")
    assert text.count("</script>") == 1  # a token cannot end the script
    assert '"head": 2' in text
    assert not re.search(r"https?://|\bsrc=|\bimport ", text)


def test_what_the_readme_says_of_its_picture():
    """The model, text and pair of notebooks/composition_explorer.png, and the four numbers in its caption."""
    if (home := store.checkout()) is None:
        pytest.skip("not a checkout")
    ids = load_tokenizer().encode("for row in rows:\n    print(row)\n" * 2).ids
    labels = ["BOS", *(load_tokenizer().decode([one]) for one in ids)]
    shown = CompositionExplorer(load_language("language-dcmha-random-1"), [BOS, *ids], labels, pair=(23, 9))
    assert (labels[23], labels[8]) == (":", ":") and labels[9].startswith(
        "\n"
    )  # what followed the first colon
    before, after = shown.heads
    caption = re.search(
        r"between −([\d.]+) and ([\d.]+) in the eight heads, after it between ([\d.]+) and (\d+)",
        (home / "README.md").read_text("utf-8"),
    )
    said = [float(number) for number in caption.groups()]
    assert [-before.min(), before.max(), after.min()] == pytest.approx(said[:3], abs=0.05)
    assert after.max() == pytest.approx(said[3], abs=0.5)
