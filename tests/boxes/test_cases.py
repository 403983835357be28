"""Small inputs of `../shared/cases` that once went wrong: read rightly, or refused in clear words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marginalia.boxes import BoxTable, evaluate, macroscopic_correlation, read_boxes


def found(table: BoxTable) -> dict[str, object]:
    """What a case is checked by."""
    return {
        "boxes": len(table),
        "images": len(table.image_ids),
        "sizes": table.sizes.tolist(),
        "names": dict(table.names),
        "classes": table.category.tolist(),
        "crowd": int(table.crowd.sum()),
        "report": set(table.report),
        "MC": macroscopic_correlation(table).round(4).tolist(),
    }


NORMALISED = "normalised, image sizes unknown"
READ = {  # what is right about them
    "voc_ipynb_checkpoints": {"boxes": 2, "images": 1},
    "yolo_ipynb_checkpoints": {"boxes": 2, "images": 1},
    "voc_several_bndbox_in_one_object": {"boxes": 3, "classes": [1, 1, 1], "MC": [0.3820]},
    "yolo_exif_orientation_6": {"sizes": [[40, 100]], "MC": [0.3419]},
    "yolo_uppercase_TXT_mixed": {"boxes": 2, "images": 2},
    "coco_iscrowd_nan": {"crowd": 0, "MC": [0.4121]},
    "coco_float_ids": {"boxes": 1, "classes": [1], "report": set()},
    "coco_category_name_int": {"boxes": 1, "names": {0: "7"}, "report": set()},
    "yolo_savetxt_float_class": {"boxes": 1, "classes": [1]},
    "voc_devkit_root_with_ImageSets": {"boxes": 1, "images": 1, "report": set()},
    "voc_difficult_unspecified": {"boxes": 1, "report": {"difficult is no number"}},
    "yolo_train_txt_numeric_ids": {
        "boxes": 1,
        "images": 1,
        "report": {NORMALISED, "text file without boxes"},
    },
    "voc_gb2312": {"boxes": 1, "names": {1: "划痕"}},
    "voc_utf16": {"boxes": 1, "names": {1: "cat"}},
    "coco_cvat_all_crowd": {"boxes": 3, "crowd": 3, "report": {"all boxes are crowd"}},
}
REFUSED = {  # what the error says besides the name of the file
    "yolo_classes_txt_gbk": r"classes\.txt, line 1: not text in UTF-8; save the file as UTF-8",
    "yolo_yaml_names_string": r"data\.yaml: names must be a list of names, or lines `0: name`",
    "coco_annotations_null": "annotations are a list of objects, and here is null",
    "bdd_list": "a JSON list, but not of detections, which have image_id",
    "coco_gbk_category_name": r"category number 1 \(id 1\) holds text that is not UTF-8",
}


def place(cases: Path, name: str) -> Path:
    """The file of a case, or its folder."""
    places = [cases / name / "a.json", cases / name / "VOC2007"]
    return next((path for path in places if path.exists()), cases / name)


@pytest.mark.parametrize(("name", "right"), READ.items(), ids=READ)
def test_case_is_read(shared_cases, name, right):
    table = found(read_boxes(place(shared_cases, name)))
    assert {key: table[key] for key in right} == right


@pytest.mark.parametrize(("name", "says"), REFUSED.items(), ids=REFUSED)
def test_case_is_refused(shared_cases, name, says):
    path = place(shared_cases, name)
    with pytest.raises(ValueError, match=says) as error:
        read_boxes(path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) < 4


def test_a_folder_with_one_coco_file_is_read(shared_cases):
    assert len(read_boxes(shared_cases / "coco_float_ids")) == 1


def test_exif_orientation_with_sizes_from_a_folder(shared_cases):
    folder = shared_cases / "yolo_exif_orientation_6"
    table = read_boxes(folder / "labels", sizes=folder / "images")
    assert table.sizes.tolist() == [[40, 100]]
    assert macroscopic_correlation(table).round(4).tolist() == [0.3419]


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("eval_area_missing_in_some", {"AP_small": 1.0, "AP_medium": np.nan}),
        ("eval_zero_size_detection", {"AP": 0.5}),
    ],
)
def test_case_is_evaluated(shared_cases, name, right):
    truth = read_boxes(shared_cases / name / "t.json")
    found = read_boxes(shared_cases / name / "r.json", ground_truth=truth)
    np.testing.assert_allclose(evaluate(truth, found)[[*right]], [*right.values()], atol=1e-12)
