"""Embeddings and attention as functions: the identities of the Conditional DETR sheet, section 9."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marginalia.detection.attention import (
    AttentionMaps,
    cell_positions,
    combine_maps,
    concatenate_halves,
    conditional_logits,
    detr_logits,
    join_heads,
    marginal_product,
    modulate,
    positional_encoding,
    shift_encoding,
    sine_frequencies,
    split_heads,
    unprojected_logits,
    valid_positions,
)

torch.set_num_threads(1)
WIDTH = 256
unit = st.floats(0, 1)


@pytest.fixture
def draw():
    """Seeded normal tensors of a given shape."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape, dtype=torch.float32: torch.randn(*shape, generator=generator, dtype=dtype)


def kernel(point, h, w, temperature=10000.0, dtype=torch.float32, query=lambda encoding: encoding):
    """Unscaled logits (h, w) of a point's positional encoding against the cells', without projections."""
    key_encoding = positional_encoding(cell_positions(h, w, dtype), WIDTH, temperature)
    encoding = query(positional_encoding(torch.tensor(point, dtype=dtype), WIDTH, temperature))
    return (key_encoding @ encoding).reshape(h, w)


@given(unit, unit, st.sampled_from([2.0, 20.0, 10000.0]))
@settings(max_examples=30, deadline=None)
def test_encodings_of_all_points_have_the_same_length(x, y, temperature):
    encoding = positional_encoding(torch.tensor([x, y], dtype=torch.float64), WIDTH, temperature)
    assert encoding.shape == (WIDTH,)
    assert encoding @ encoding == pytest.approx(WIDTH / 2, abs=1e-9)


def test_encoding_is_as_defined_with_y_first():
    x, y = 0.3, 0.8
    encoding = positional_encoding(torch.tensor([x, y], dtype=torch.float64), 8, temperature=20.0)
    slow = 20.0 ** (-2 / 4)  # the second of two frequencies
    angles = [2 * math.pi * v * omega for v in (y, x) for omega in (1.0, slow)]
    expected = [f(angle) for angle in angles for f in (math.sin, math.cos)]
    np.testing.assert_allclose(encoding, expected, atol=1e-12)
    np.testing.assert_allclose(sine_frequencies(8, 20.0, torch.float64), [1.0, slow], atol=1e-12)


def test_changing_x_leaves_the_first_half_of_the_encoding_fixed():
    one, other = positional_encoding(torch.tensor([[0.2, 0.7], [0.9, 0.7]]), WIDTH)
    assert torch.equal(one[:128], other[:128])
    assert not torch.equal(one[128:], other[128:])


def test_encoding_of_a_box_is_that_of_its_centre_and_then_width_and_height():
    box = torch.tensor([0.1, 0.2, 0.3, 0.4])
    encoding = positional_encoding(box, WIDTH)
    assert torch.equal(encoding[:WIDTH], positional_encoding(box[:2], WIDTH))
    assert torch.equal(encoding[WIDTH:], positional_encoding(box[[3, 2]], WIDTH))  # w before h


@pytest.mark.parametrize(("shape", "width"), [((3, 2), 6), ((3, 3), 8)])
def test_encodings_that_cannot_be_made_are_refused(shape, width):
    with pytest.raises(ValueError, match="a multiple of 4"):
        positional_encoding(torch.zeros(shape), width)


def test_padding_does_not_count_in_cell_positions():
    valid = torch.zeros(2, 5, 6, dtype=torch.bool)
    valid[0] = True
    valid[1, :3, :4] = True
    whole, padded = valid_positions(valid)
    assert torch.equal(whole, cell_positions(5, 6))
    np.testing.assert_allclose(padded.reshape(5, 6, 2)[:3, :4].flatten(0, 1), cell_positions(3, 4), atol=1e-6)


def test_heads_split_and_join():
    tensor = torch.arange(24.0).reshape(1, 2, 12)
    split = split_heads(tensor, 3)
    assert split.shape == (1, 3, 2, 4)
    assert torch.equal(split[0, 1, 0], torch.arange(4.0, 8.0))
    assert torch.equal(join_heads(split), tensor)


def test_concatenated_dot_product_is_the_sum_of_two(draw):
    cq, sq, ck, sk = draw(2, 5, 64), draw(2, 5, 64), draw(2, 9, 64), draw(2, 9, 64)
    heads = 4
    content, spatial = conditional_logits(cq, ck, sq, sk, heads)
    whole = concatenate_halves(cq, sq, heads) @ concatenate_halves(ck, sk, heads).mT
    # sums of 32 products of unit normals: float32 rounding is below 1e-5
    torch.testing.assert_close(content + spatial, whole * 32**-0.5, atol=1e-5, rtol=0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(content + spatial, whole * 16**-0.5, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("sharpness", [1.0, 30.0])
def test_combined_map_is_the_normalised_product(draw, dtype, tolerance, sharpness):
    content, spatial = draw(3, 2, 4, 6, 35, dtype=dtype), draw(3, 2, 4, 6, 35, dtype=dtype) * sharpness
    maps = AttentionMaps.from_logits(content, spatial, 5, 7)
    torch.testing.assert_close(
        maps.combined, combine_maps(maps.content, maps.spatial), atol=tolerance, rtol=0
    )
    ones = torch.ones(3, 2, 4, 6, dtype=dtype)
    for field in (maps.content, maps.spatial, maps.combined):
        torch.testing.assert_close(field.sum((-2, -1)), ones)


def test_padded_cells_weigh_nothing(draw):
    valid = torch.ones(2, 4, 5, dtype=torch.bool)
    valid[1, 3:] = valid[1, :, 2:] = False
    maps = AttentionMaps.from_logits(draw(1, 2, 3, 6, 20), draw(1, 2, 3, 6, 20), 4, 5, valid)
    for field in (maps.content, maps.spatial, maps.combined):
        assert (field[:, 1][..., ~valid[1]] == 0).all()
        torch.testing.assert_close(field[:, 1][..., valid[1]].sum(-1), torch.ones(1, 3, 6))


def test_combined_logits_stand_in_for_the_sum(draw):
    content, spatial, combined = draw(3, 1, 1, 2, 3, 20)
    maps = AttentionMaps.from_logits(content, spatial, 4, 5, combined_logits=combined)
    assert torch.equal(maps.combined.flatten(-2), combined.softmax(-1))
    assert torch.equal(maps.spatial_logits.flatten(-2), spatial)


@pytest.mark.parametrize("temperature", [20.0, 10000.0])
def test_without_projections_the_map_peaks_at_the_reference(temperature):
    h, w = 25, 34
    for i, j in [(0, 0), (12, 16), (24, 33), (3, 30)]:
        logits = kernel([(j + 1) / w, (i + 1) / h], h, w, temperature)
        assert logits.argmax() == i * w + j
        assert logits.max() == pytest.approx(128, abs=1e-4)  # 1e-6 in the cells' denominators


def test_half_cell_offset_of_a_point_in_the_middle():
    logits = kernel([0.5, 0.5], 25, 34, dtype=torch.float64)
    assert logits.sum(0).argmax() == 16  # the point is the border between columns 16 and 17
    # the rows on both sides of the middle row's centre tie up to the 1e-6 in the cells' denominators
    assert float(logits.sum(1)[11]) == pytest.approx(float(logits.sum(1)[12]), abs=1e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 1e-4)])
def test_moving_the_reference_moves_the_map(draw, dtype, tolerance):
    h, w, a, b = 12, 16, 3, 2
    i, j = 4, 5
    here, there = [(j + 1) / w, (i + 1) / h], [(j + 1 + a) / w, (i + 1 + b) / h]
    paired = draw(WIDTH // 2, dtype=dtype).repeat_interleave(2)
    for query in (lambda encoding: encoding, lambda encoding: encoding * paired):
        one, other = (kernel(point, h, w, dtype=dtype, query=query) for point in (here, there))
        torch.testing.assert_close(one[:-b, :-a], other[b:, a:], atol=tolerance, rtol=0)
    free = draw(WIDTH, dtype=dtype)
    one, other = (
        kernel(point, h, w, dtype=dtype, query=lambda encoding: encoding * free) for point in (here, there)
    )
    assert (one[:-b, :-a] - other[b:, a:]).abs().max() > 1


def test_identity_map_is_an_outer_product():
    for point in ([0.31, 0.77], [0.9, 0.05]):
        attention = (kernel(point, 20, 30).flatten() / 16).softmax(-1).reshape(20, 30)
        product = torch.outer(attention.sum(1), attention.sum(0))
        torch.testing.assert_close(attention, product, atol=1e-7, rtol=0)


@pytest.mark.parametrize("temperature", [2.0, 20.0, 10000.0])
def test_unprojected_logits_are_the_cosines_of_the_difference(temperature):
    h, w, x, y = 6, 9, 0.37, 0.81
    encoding = positional_encoding(torch.tensor([[x, y]], dtype=torch.float64), WIDTH, temperature)
    frequencies = 2 * math.pi * sine_frequencies(WIDTH, temperature, torch.float64)
    difference = cell_positions(h, w, torch.float64) - torch.tensor([x, y], dtype=torch.float64)
    expected = (difference[..., None] * frequencies).cos().sum((-2, -1)).reshape(h, w)
    torch.testing.assert_close(
        unprojected_logits(encoding, h, w, temperature)[0], expected, atol=1e-10, rtol=0
    )


def test_marginal_product_is_the_map_itself_where_rows_and_columns_are_independent(draw):
    rows, columns = draw(2, 5, 1, dtype=torch.float64), draw(2, 1, 7, dtype=torch.float64)
    independent = (rows + columns).flatten(1).softmax(-1).reshape(2, 5, 7)
    torch.testing.assert_close(marginal_product(independent), independent, atol=1e-15, rtol=0)
    entangled = torch.eye(4, dtype=torch.float64) / 4
    torch.testing.assert_close(marginal_product(entangled), torch.full((4, 4), 1 / 16, dtype=torch.float64))


@given(unit, unit, st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.sampled_from([20.0, 10000.0]))
@settings(max_examples=30, deadline=None)
def test_rotating_each_frequency_moves_the_point(x, y, dx, dy, temperature):
    point, step = (torch.tensor(v, dtype=torch.float64) for v in ([x, y], [dx, dy]))
    moved = positional_encoding(point + step, WIDTH, temperature)
    rotated = shift_encoding(positional_encoding(point, WIDTH, temperature), step, temperature)
    torch.testing.assert_close(rotated, moved, atol=1e-12, rtol=0)


def test_a_constant_on_all_keys_changes_no_map_but_one_on_queries_does(draw):
    cq, sq, ck, sk = (draw(1, n, 32, dtype=torch.float64) for n in (4, 4, 12, 12))
    constant = draw(32, dtype=torch.float64)
    usual = AttentionMaps.from_logits(*(t[None] for t in conditional_logits(cq, ck, sq, sk, 2)), 3, 4)
    keys = AttentionMaps.from_logits(
        *(t[None] for t in conditional_logits(cq, ck + constant, sq, sk + constant, 2)), 3, 4
    )
    queries = AttentionMaps.from_logits(
        *(t[None] for t in conditional_logits(cq + constant, ck, sq + constant, sk, 2)), 3, 4
    )
    for name in ("content", "spatial", "combined"):
        torch.testing.assert_close(getattr(keys, name), getattr(usual, name), atol=1e-12, rtol=0)
        assert (getattr(queries, name) - getattr(usual, name)).abs().max() > 1e-3


def test_four_terms_of_detr_sum_to_its_logits(draw):
    heads, width = 4, 64
    content, learned, memory, key_encoding = (
        draw(2, 5, width),
        draw(1, 5, width),
        draw(2, 9, width),
        draw(1, 9, width),
    )
    matrices, biases = draw(2, width, width), draw(2, width)

    def query(x):
        return x @ matrices[0] + biases[0]

    def key(x):
        return x @ matrices[1] + biases[1]

    terms, combined = detr_logits(content, learned, memory, key_encoding, query, key, heads)
    queries, keys = query(content + learned), key(memory + key_encoding)
    logits = split_heads(queries, heads) @ split_heads(keys, heads).mT / 4
    size = logits.abs().max()
    assert torch.equal(combined, logits)
    torch.testing.assert_close(sum(terms) / size, logits / size, atol=1e-6, rtol=0)
    torch.testing.assert_close((terms.content + terms.spatial) / size, logits / size, atol=1e-6, rtol=0)
    bare, _ = detr_logits(content, learned * 0, memory, key_encoding * 0, query, key, heads)
    assert bare.content_content.abs().max() > 1
    assert not any(term.any() for term in bare[1:])


def test_width_below_the_anchors_widens_x_only():
    """Sheet 5.1: multipliers 3, 1 and 1/3 give a standard deviation along x of 0.081, 0.149 and 0.230."""
    h, w = 25, 34
    cells = cell_positions(h, w)
    keys = positional_encoding(cells, WIDTH, 20.0)
    encoding = positional_encoding(torch.tensor([[[0.5, 0.5]]]), WIDTH, 20.0)
    spreads = {}
    for factor in (3.0, 1.0, 1 / 3):
        size, wished = torch.tensor([[[0.2, 0.4]]]), torch.tensor([[[0.2 * factor, 0.4]]])
        attention = (keys @ modulate(encoding, size, wished)[0, 0] / 8).softmax(0)
        mean = attention @ cells
        spreads[factor] = (attention @ (cells - mean) ** 2).sqrt()
    assert [float(spreads[f][0]) for f in (3.0, 1.0, 1 / 3)] == pytest.approx([0.081, 0.149, 0.230], abs=1e-3)
    for spread in spreads.values():
        assert spread[1] == pytest.approx(0.149, abs=1e-3)
    assert torch.equal(
        modulate(encoding, size, size), encoding
    )  # equal sizes: Conditional DETR's spatial query


def test_temperature_20_gives_a_narrower_kernel_than_10000():
    sums = {t: float((sine_frequencies(WIDTH, t, torch.float64) ** 2).sum()) for t in (20.0, 10000.0)}
    assert sums == pytest.approx({20.0: 11.16, 10000.0: 4.00}, abs=5e-3)
    assert sums[20.0] / sums[10000.0] == pytest.approx(2.79, abs=5e-3)
    widths = [int((kernel([0.5, 0.5], 1, 100, t) > 110).sum()) for t in (20.0, 10000.0)]
    assert widths[0] < widths[1]
