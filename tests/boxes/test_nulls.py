"""Permuting boxes between images: what stays, what depends on what, and whether p-values are honest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from marginalia.boxes import similarity
from marginalia.boxes.correlation import macroscopic_correlation
from marginalia.boxes.geometry import iou, xywh_to_xyxy
from marginalia.boxes.nulls import (
    NULLS,
    Permutation,
    excess_correlation,
    null_correlations,
    shuffle,
)
from marginalia.boxes.similarity import FEATURES, kept_apart, overlap_share, pair_similarity
from marginalia.boxes.strata import count_strata, excess_by, excess_by_class, size_strata
from marginalia.boxes.table import BoxTable, BoxWarning


def random_table(rng, images=40, largest=20) -> BoxTable:
    """Unrelated boxes of three categories in images of three sizes, 0 to `largest` in each, some crowd."""
    count = rng.integers(0, largest + 1, images)
    image = rng.permutation(np.repeat(np.arange(images), count))
    n = len(image)
    sizes = np.array([(640.0, 480), (480, 640), (500, 333)])[rng.integers(3, size=images)]
    wh = rng.uniform(1, 0.3 * sizes[image])
    corner = rng.uniform(size=(n, 2)) * (sizes[image] - wh)
    return BoxTable(
        xywh=np.hstack([corner, wh]),
        image=image,
        image_ids=tuple(f"image {k}" for k in range(images)),
        sizes=sizes,
        category=rng.integers(1, 4, n),
        names={1: "a", 2: "b", 3: "c"},
        crowd=rng.uniform(size=n) < 0.1,
        score=rng.uniform(size=n),
        area=wh.prod(axis=1),
    )


def rows(table: BoxTable) -> set[tuple]:
    columns = (*table.xywh.T, table.category, table.crowd, table.score, table.area)
    return set(zip(*(np.asarray(c).tolist() for c in columns), strict=True))


@given(st.integers(0, 2**32), st.integers(0, 1000), st.sampled_from([n for n in NULLS if n != "rescaled"]))
def test_shuffling_keeps_the_boxes_and_every_count(seed, repeat, null):
    table = random_table(np.random.default_rng(seed), images=12)
    shuffled = shuffle(table, null, seed, repeat)
    assert rows(shuffled) == rows(table)
    np.testing.assert_array_equal(shuffled.image, table.image)
    np.testing.assert_array_equal(shuffled.counts, table.counts)
    assert shuffled.image_ids == table.image_ids


def test_boxes_move_only_where_the_null_lets_them(rng):
    table = random_table(rng)
    table = replace(table, score=np.arange(len(table), dtype=float))  # marks every box
    came_from = {null: shuffle(table, null, 3, 0).score.astype(int) for null in NULLS}
    np.testing.assert_array_equal(table.category, table.category[came_from["category"]])
    sizes = table.sizes[table.image]
    np.testing.assert_array_equal(sizes, sizes[came_from["size"]])
    stratum = np.digitize(table.counts, (2, 3, 5, 9, 17))[table.image]
    np.testing.assert_array_equal(stratum, stratum[came_from["count"]])
    for null, source in came_from.items():
        assert (source != np.arange(len(table))).mean() > 0.8, null
    assert (table.category != table.category[came_from["free"]]).any()


def test_rescaled_boxes_stay_inside_and_keep_their_part_of_the_image(rng):
    table = random_table(rng)
    outside = shuffle(table, "free", 0, 0)
    assert (outside.xywh[:, :2] + outside.xywh[:, 2:] > outside.sizes[outside.image]).any()
    inside = shuffle(table, "rescaled", 0, 0)
    room = inside.sizes[inside.image]
    # one rounding of a sum of two products
    assert (inside.xywh[:, :2] + inside.xywh[:, 2:] <= room * (1 + 1e-14)).all()
    old = table.xywh / np.tile(table.sizes[table.image], 2)
    new = inside.xywh / np.tile(room, 2)
    np.testing.assert_allclose(np.sort(new, axis=0), np.sort(old, axis=0), rtol=1e-14)
    np.testing.assert_allclose(inside.area, inside.xywh[:, 2:].prod(axis=1))


def test_orders_are_even(rng):
    """Every box reaches every place equally often, and each of the 24 orders of four boxes comes up."""
    table = random_table(rng)
    permutation = Permutation.under("free", table.where(np.arange(len(table)) < 4))
    orders = np.array([permutation.source(7, repeat) for repeat in range(24_000)])
    _, often = np.unique(orders, axis=0, return_counts=True)
    assert len(often) == 24
    assert (abs(often - 1000) < 5 * 31).all()  # five standard deviations of a binomial count


def test_a_shuffle_depends_on_seed_and_repeat_alone(rng):
    table = random_table(rng)
    for null in NULLS:
        alone = [macroscopic_correlation(replace(shuffle(table, null, 5, r), crowd=None)) for r in range(12)]
        together = list(null_correlations(table, null, range(12), seed=5))
        parts = [*null_correlations(table, null, range(7, 12), seed=5)]
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(parts, together[7:])
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda r: shuffle(table, "count", 5, r).xywh, range(12)))
    for r, boxes in enumerate(at_once):
        np.testing.assert_array_equal(boxes, shuffle(table, "count", 5, r).xywh)
    assert (shuffle(table, "free", 5, 0).xywh != shuffle(table, "free", 6, 0).xywh).any()
    assert (shuffle(table, "free", 5, 0).xywh != shuffle(table, "free", 5, 1).xywh).any()


def test_the_record_is_what_its_fields_say(rng):
    table = random_table(rng)
    plain = table.where(~table.crowd)
    record = excess_correlation(table, "free", shuffles=30, seed=2)
    observed = macroscopic_correlation(plain)
    null = np.array([macroscopic_correlation(shuffle(plain, "free", 2, r)) for r in range(30)])
    means = np.nanmean(null, axis=1)
    assert record.observed == pytest.approx(np.nanmean(observed), abs=1e-13)
    assert record.null_mean == pytest.approx(means.mean(), abs=1e-13)
    assert record.null_std == pytest.approx(means.std(ddof=1), abs=1e-13)
    assert record.excess == pytest.approx(record.observed - record.null_mean, abs=1e-13)
    np.testing.assert_allclose(record.per_image, observed - null.mean(axis=0), rtol=0, atol=1e-12)
    assert np.nanmean(record.per_image) == pytest.approx(record.excess, abs=1e-12)
    assert record.effect_size == pytest.approx(record.excess / np.nanstd(observed, ddof=1))
    far = np.abs(means - means.mean()) >= abs(record.excess)
    assert record.p_value == (1 + far.sum()) / 31
    assert record.images == np.isfinite(observed).sum() and record.shuffles == 30
    assert record.interval[0] < record.excess < record.interval[1]
    again = excess_correlation(table, "free", shuffles=30, seed=2)
    assert again.interval == record.interval and again.null_mean == record.null_mean
    with pytest.raises(AttributeError):
        record.excess = 0


def test_normalised_boxes_are_permuted_as_such(rng):
    table = random_table(rng)
    parts = replace(
        table, xywh=table.xywh / np.tile(table.sizes[table.image], 2), sizes=np.ones_like(table.sizes)
    )
    for null in ("free", "count", "category"):
        here = excess_correlation(table, null, shuffles=5, normalized=True, box_format="cxcywh")
        there = excess_correlation(parts, null, shuffles=5, box_format="cxcywh")
        assert here.null_mean == pytest.approx(there.null_mean, abs=1e-13)
    free, rescaled = (excess_correlation(table, n, shuffles=5, normalized=True) for n in ("free", "rescaled"))
    assert free.null_mean == rescaled.null_mean


@pytest.mark.parametrize("null", NULLS)
def test_p_values_are_uniform_when_the_boxes_are_exchangeable(null):
    """Unrelated boxes of one size of image: under every null, p must be as likely anywhere."""
    shuffles, values = 39, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        boxes = rng.uniform(size=(40, 4))
        table = BoxTable(
            boxes, np.repeat(np.arange(10), 4), tuple(range(10)), np.ones((10, 2)), np.zeros(40), {}
        )
        values.append(excess_correlation(table, null, shuffles=shuffles, bootstrap=0, seed=seed).p_value)
    values = np.array(values)
    assert values.min() >= 1 / (shuffles + 1) and values.max() <= 1
    # p takes 40 values; spread inside its step it would be continuous
    spread = values - np.random.default_rng(0).uniform(size=len(values)) / (shuffles + 1)
    assert kstest(spread, "uniform").pvalue > 0.01


def test_boxes_that_follow_their_image_are_found(rng):
    """Images whose boxes share a position have an excess, and the interval covers it in repeated samples."""
    base = np.repeat(rng.uniform(size=(60, 4)), 4, axis=0)
    boxes = base + 0.05 * rng.normal(size=base.shape)
    table = BoxTable(
        boxes, np.repeat(np.arange(60), 4), tuple(range(60)), np.ones((60, 2)), np.zeros(240), {}
    )
    record = excess_correlation(table, "free", shuffles=99)
    assert record.excess > 0.2 and record.interval[0] > 0.1 and record.p_value == 0.01
    assert record.effect_size > 1


def test_nothing_to_permute_is_no_excess(rng):
    """All boxes in one image: every shuffle gives the same value, so p is 1 and not a matter of rounding."""
    table = BoxTable(rng.uniform(size=(7, 4)), np.zeros(7), ("only",), [(1, 1)], np.zeros(7), {})
    record = excess_correlation(table, "free", shuffles=50)
    assert record.p_value == 1 and record.excess == pytest.approx(0, abs=1e-15)
    assert np.isnan(record.effect_size) and np.isnan(record.interval).all()


def test_a_box_that_loses_its_variance_on_the_way_is_left_out_there(rng):
    # the first box, half as wide and a quarter as high as its image, is (32, 32, 32, 32) in the tall one
    boxes = np.array(
        [[0.5, 0.25, 0.5, 0.25], [0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.2, 0.6], [0.3, 0.3, 0.4, 0.1]]
    )
    sizes = np.array([(64.0, 64), (64, 128)])
    table = BoxTable(boxes * 64, [0, 0, 1, 1], ("square", "tall"), sizes, np.zeros(4), {})
    runs = list(null_correlations(table, "rescaled", range(40)))
    plain = [macroscopic_correlation(shuffle(table, "rescaled", 0, r), report={}) for r in range(40)]
    np.testing.assert_allclose(runs, plain, rtol=0, atol=1e-13)
    assert any(np.isnan(run).any() for run in runs)
    assert np.isfinite(excess_correlation(table, "rescaled", shuffles=40).excess)


def test_boxes_without_variance_are_left_out_with_a_warning(rng):
    table = random_table(rng)
    flat = replace(table, xywh=np.vstack([np.full((1, 4), 5.0), table.xywh[1:]]), crowd=None)
    with pytest.warns(BoxWarning, match="zero variance"):
        record = excess_correlation(flat, shuffles=5)
    without = flat.where(np.arange(len(flat)) > 0)
    assert record.observed == pytest.approx(excess_correlation(without, shuffles=5).observed, abs=1e-15)


def test_bad_arguments_are_named(rng):
    table = random_table(rng)
    with pytest.raises(ValueError, match=r"null must be one of free, count, .*, not 'counts'"):
        shuffle(table, "counts", 0, 0)
    unknown = replace(table, sizes=np.full_like(table.sizes, np.nan))
    for null in ("size", "rescaled"):
        with pytest.raises(ValueError, match=rf"null '{null}' needs image sizes.*first 'image "):
            excess_correlation(unknown, null)
    assert np.isfinite(excess_correlation(unknown, "count", shuffles=2).excess)
    with pytest.raises(ValueError, match="no image has two usable boxes"):
        excess_correlation(table.where(np.zeros(len(table), bool)))


def test_strata_are_measured_against_themselves(rng):
    table = random_table(rng, images=80)
    plain = table.where(~table.crowd)
    labels = count_strata(plain)
    for count, label in zip(plain.counts, labels, strict=True):
        expected = [np.nan, "2", "3-4", "5-8", "9-16", "17+"][np.digitize(count, (2, 3, 5, 9, 17))]
        assert label == expected or count < 2
    frame = excess_by(table, labels, shuffles=10, seed=1)
    assert frame["group"].tolist() == ["2", "3-4", "5-8", "9-16", "17+"]
    assert frame["images"].sum() == np.isfinite(macroscopic_correlation(plain)).sum()
    inside = np.array([label == "5-8" for label in labels])
    alone = excess_correlation(table.where(inside[table.image]), shuffles=10, seed=1)
    row = frame[frame["group"] == "5-8"].iloc[0]
    assert (row["excess"], row["low"], row["high"]) == (alone.excess, *alone.interval)
    assert (frame["q_value"] >= frame["p_value"]).all() and (frame["q_value"] <= 1).all()
    with pytest.raises(ValueError, match="3 labels for 80 images"):
        excess_by(table, ["a", "b", "c"])


def test_size_strata_are_named_by_the_middle_box():
    sides = {"a": [0.01, 0.02, 0.3], "b": [0.08, 0.3], "c": [0.5, 0.45, 0.1], "d": [0.1], "e": []}
    image = np.repeat(np.arange(5), [len(s) for s in sides.values()])
    side = np.concatenate([np.array(s, float) for s in sides.values()])
    boxes = np.stack([0 * side, 0 * side, side * 200, side * 100], axis=1)
    table = BoxTable(boxes, image, tuple(sides), np.tile([200.0, 100], (5, 1)), 0 * image, {})
    strata = size_strata(table)
    assert strata.tolist()[:3] == ["< 0.05", "0.1-0.2", "0.4+"] and strata.isna().tolist()[3:] == [True, True]
    boxes = np.random.default_rng(0).uniform(size=(8, 4))
    pairs = BoxTable(boxes, np.repeat(np.arange(4), 2), tuple("abcde"), np.ones((5, 2)), np.zeros(8), {})
    order = excess_by(pairs, ["night", "day", "night", "dusk", None], shuffles=2)["group"].tolist()
    assert order == ["day", "dusk", "night"]


def test_classes_are_measured_against_themselves(rng):
    table = random_table(rng)
    frame = excess_by_class(table, null="free", shuffles=10)
    assert frame["group"].tolist() == ["a", "b", "c"]
    own = excess_correlation(table.where(table.category == 2), "free", shuffles=10)
    assert frame["excess"][1] == own.excess and frame["images"][1] == own.images


def test_pair_similarity_by_two_loops(rng):
    table = random_table(rng, images=12, largest=6)
    plain = table.where(~table.crowd)
    total, pairs = np.zeros(4), 0
    for image in range(12):
        here = plain.image == image
        x, y, w, h = (plain.xywh[here] / np.tile(plain.sizes[image], 2)).T
        x, y = x + w / 2, y + h / 2
        for i in range(here.sum()):
            for j in range(here.sum()):
                if i != j:
                    offsets = np.log(abs(x[i] - x[j]) / w[i] + 1), np.log(abs(y[i] - y[j]) / h[i] + 1)
                    total += [*offsets, abs(np.log(w[i] / w[j])), abs(np.log(h[i] / h[j]))]
                    pairs += 1
    found = pair_similarity(table, shuffles=4)
    assert tuple(f.feature for f in found) == FEATURES
    np.testing.assert_allclose([f.within for f in found], total / pairs)
    assert {f.pairs for f in found} == {pairs}


def test_pair_similarity_sees_alike_sizes_only_where_they_are(rng):
    plain = random_table(rng, images=100)
    for feature in pair_similarity(plain, null="rescaled"):
        assert abs(feature.within - feature.between) < 4 * feature.between_std  # nothing planted
    scale = np.exp(rng.normal(size=100))[plain.image]
    alike = replace(plain, xywh=plain.xywh * np.stack([1 + 0 * scale, 1 + 0 * scale, scale, scale], axis=1))
    for feature in pair_similarity(alike)[2:]:
        assert feature.within < feature.between and feature.interval[1] < 0


def test_overlap_share_by_iou(rng):
    table = random_table(rng, images=12, largest=6)
    kept = table.where(~table.crowd)
    found = []
    for image in range(12):
        corners = xywh_to_xyxy(kept.xywh[kept.image == image])
        found += list(iou(corners, corners)[np.triu_indices(len(corners), 1)] > 0)
    observed, permuted = overlap_share(table, shuffles=4)
    assert observed == pytest.approx(np.mean(found))
    assert 0 < permuted < 1
    with pytest.raises(ValueError, match="no image has two boxes"):
        overlap_share(table.where(np.arange(len(table)) == 0))


def test_boxes_kept_apart_overlap_as_seldom_as_before(rng):
    # one box in each quarter: no two of an image overlap, and permuted ones do
    quarter = np.tile([(0, 0), (50, 0), (0, 50), (50, 50)], (20, 1))
    wh = rng.uniform(20, 40, quarter.shape)
    xywh = np.hstack([quarter + rng.uniform(size=wh.shape) * (50 - wh), wh])
    image, score = np.repeat(np.arange(20), 4), rng.uniform(size=80)
    table = BoxTable(xywh, image, tuple(range(20)), [(100, 100)] * 20, image % 3, {}, score=score)
    moved = kept_apart(table, seed=1)
    assert overlap_share(table, shuffles=1)[0] == 0 == overlap_share(moved, shuffles=1)[0]
    assert overlap_share(table, shuffles=1)[1] > 0.1
    # every box is there once, with what belongs to it, and in another place
    assert np.array_equal(moved.image, table.image) and not np.allclose(moved.xywh, table.xywh)
    back = np.argsort(moved.score)[np.argsort(np.argsort(score))]
    assert np.array_equal(moved.xywh[back], table.xywh) and np.array_equal(
        moved.category[back], table.category
    )
    # the same numbers, the same boxes
    assert np.array_equal(kept_apart(table, seed=1).xywh, moved.xywh)
    assert not np.array_equal(kept_apart(table, seed=2).xywh, moved.xywh)


def test_boxes_are_kept_apart_out_of_a_dead_end():
    # only 0 1, 1 2, 2 3, 3 4 and 4 5 do not overlap; from 0 5, 1 2, 3 4 no single exchange makes it better
    left, right = [2, 0, 4, 0, 0, 0], [9, 1, 9, 3, 9, 9]
    top, bottom = [0, 0, 0, 2, 0, 2], [9, 9, 9, 9, 1, 9]
    xywh = np.transpose([left, top, np.subtract(right, left), np.subtract(bottom, top)])
    table = BoxTable(xywh, [0, 0, 1, 1, 2, 2], ("a", "b", "c"), [(9, 9)] * 3, range(6), {})
    for seed in range(60):
        assert overlap_share(kept_apart(table, seed), shuffles=1)[0] == 0


def test_boxes_that_cannot_be_kept_apart(rng, monkeypatch):
    table = BoxTable([(0, 0, 9, 9), (50, 0, 9, 9)] * 2, [0, 0, 1, 1], ("a", "b"), [(99, 99)] * 2, [1] * 4, {})
    monkeypatch.setattr(similarity, "shuffle", lambda table, *rest: replace(table, xywh=[(0, 0, 9, 9)] * 4))
    with pytest.raises(ValueError, match="no exchange"):
        kept_apart(table)
