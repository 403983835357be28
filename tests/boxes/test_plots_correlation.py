"""Densities of MC: a reader's own file beside the measured sets, and files too small for a density."""

from __future__ import annotations

import json
import warnings

import matplotlib
import pytest

from marginalia.boxes.plots import correlation as plots
from marginalia.boxes.reading import read_boxes

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def close():
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture
def file_of(tmp_path):
    """Writes a COCO file with so many boxes in its images."""

    def write(*counts):
        images = [{"id": i, "width": 99, "height": 99} for i in range(len(counts))]
        boxes = [
            (i, [3 + 7 * k + i, 5 + 3 * k, 8 + 2 * k, 9 + i]) for i, n in enumerate(counts) for k in range(n)
        ]
        annotations = [
            {"id": k, "image_id": i, "category_id": 1, "bbox": b} for k, (i, b) in enumerate(boxes)
        ]
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.mark.parametrize(
    "counts", [(), (0, 0), (1, 1, 1)], ids=["no images", "no annotations", "one box each"]
)
@pytest.mark.parametrize("draw", [plots.mc_density, plots.all_histograms])
def test_files_without_mc_are_named(file_of, counts, draw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="your file: no image has two usable boxes"):
            draw(file_of(*counts))


@pytest.mark.parametrize("counts", [(3,), (3, 1)], ids=["one image", "one image that counts"])
@pytest.mark.parametrize("draw", [plots.mc_density, plots.all_histograms])
def test_one_mc_is_no_density(file_of, counts, draw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            ValueError, match="your file: a density needs at least two images with different MC"
        ):
            draw(file_of(*counts))


def test_a_readers_file_stands_beside_the_measured_sets(file_of):
    figure, data = plots.mc_density(file_of(4, 4, 3, 2))
    own = data[data["dataset"] == "your file"]
    assert own["observed"].sum() == 4 and own["null"].sum() == pytest.approx(4)
    assert "your file, 4" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_mc_of_one_is_counted(file_of):
    """Two boxes that differ by a shift of all four numbers correlate fully; rounding may lift MC above 1."""
    table = read_boxes(file_of(2, 3, 4))
    shifted = table.xywh.copy()
    shifted[1] = shifted[0] + 0.1
    table = type(table)(shifted, table.image, table.image_ids, table.sizes, table.category, table.names)
    data = plots.histograms_of(table, "mine")
    assert data["observed"].sum() == 3 and data["observed"].iloc[-1] >= 1
