"""Figure 1 of Relation DETR with a reader's own file beside the measured sets, and files too small for it."""

from __future__ import annotations

import json

import pytest

from marginalia.figures import relation_detr


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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "counts",
    [(), (0, 0), (1, 1, 1), (3,), (3, 1)],
    ids=["no images", "no annotations", "one box each", "one image", "one image that counts"],
)
def test_files_without_a_density_are_named(file_of, counts):
    usable = sum(n > 1 for n in counts)
    with pytest.raises(ValueError, match=f"your file: a density needs .* {usable} of its images"):
        relation_detr.mc_density(file_of(*counts))


def test_a_readers_file_stands_beside_the_measured_sets(file_of):
    figure, data = relation_detr.mc_density(file_of(4, 4, 3, 2))
    own = data[data["dataset"] == "your file"]
    assert own["observed"].sum() == 4 and own["null"].sum() == pytest.approx(4)
    assert "your file, 4" in [text.get_text() for text in figure.legends[0].get_texts()]
