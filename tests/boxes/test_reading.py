"""Every format gives the boxes that are in the file; the real files agree with each other across formats."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from marginalia.boxes.reading import FORMATS, find_format, read_boxes
from tests.boxes.files import CORNERS, png, put, put_packed, voc


def as_sets(table) -> dict:
    """File stem -> sorted (category name, x, y, w, h), so that formats with their own ids can be compared."""
    stems = [file.rsplit("/")[-1].rsplit(".", 1)[0] for file in table.files] or list(table.image_ids)
    found = {stem: [] for stem in stems}
    for i, category, box in zip(table.image, table.category, table.xywh.tolist(), strict=True):
        found[stems[i]].append((table.names[category], *box))
    return {stem: sorted(boxes) for stem, boxes in found.items()}


@pytest.fixture
def coco_content():
    return {
        "info": {"description": "two images"},
        "images": [
            {"id": 7, "width": 640, "height": 480, "file_name": "a.jpg"},
            {"id": 3, "width": 100, "height": 50, "file_name": "b.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 2, "bbox": [1, 2, 3.5, 4], "area": 9.5, "iscrowd": 1,
             "segmentation": {"counts": [1, 2], "size": [50, 100]}},
            {"id": 2, "image_id": 3, "category_id": 5, "bbox": [5, 6, 7, 8], "iscrowd": 0},
        ],
        "categories": [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}],
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".json", ".json.gz", ".txt"])
def test_coco(tmp_path, coco_content, suffix):
    text = json.dumps(coco_content).encode()
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    table = read_boxes(path)
    np.testing.assert_array_equal(table.xywh, [[1, 2, 3.5, 4], [5, 6, 7, 8]])
    assert table.image_ids == (7, 3)
    assert table.image.tolist() == [1, 1]
    assert table.category.tolist() == [2, 5]
    assert table.names == {2: "cat", 5: "dog"}
    assert table.crowd.tolist() == [True, False]
    np.testing.assert_array_equal(table.area, [9.5, np.nan])
    np.testing.assert_array_equal(table.sizes, [[640, 480], [100, 50]])
    assert table.files == ("a.jpg", "b.jpg")
    assert {reason: issue.count for reason, issue in table.report.items()} == {"images without boxes": 1}


def test_coco_with_string_ids(tmp_path, coco_content):
    for image in coco_content["images"]:
        image["id"] = f"image-{image['id']}"
    for annotation in coco_content["annotations"]:
        annotation["image_id"] = f"image-{annotation['image_id']}"
        annotation["id"] = f"a{annotation['id']}"
    (tmp_path / "file.json").write_text(json.dumps(coco_content))
    table = read_boxes(tmp_path / "file.json")
    assert table.image_ids == ("image-7", "image-3")
    assert table.image.tolist() == [1, 1]


def test_area_is_none_where_the_file_gives_none(tmp_path, coco_content):
    del coco_content["annotations"][0]["area"]
    (tmp_path / "file.json").write_text(json.dumps(coco_content))
    assert read_boxes(tmp_path / "file.json").area is None


def test_results_on_the_images_of_their_ground_truth(tmp_path, coco_content):
    (tmp_path / "ground_truth.json").write_text(json.dumps(coco_content))
    (tmp_path / "found.json").write_text(
        json.dumps([{"image_id": 7, "category_id": 5, "bbox": [1, 1, 2, 2], "score": 0.5}])
    )
    ground_truth = read_boxes(tmp_path / "ground_truth.json")
    table = read_boxes(tmp_path / "found.json", ground_truth=ground_truth)
    assert table.image_ids == ground_truth.image_ids
    assert table.names == ground_truth.names
    assert table.score.tolist() == [0.5]
    assert table.image.tolist() == [0]


def test_no_detections_at_all(tmp_path, coco_content):
    (tmp_path / "ground_truth.json").write_text(json.dumps(coco_content))
    (tmp_path / "found.json").write_text(" [ ] ")
    table = read_boxes(tmp_path / "found.json", ground_truth=read_boxes(tmp_path / "ground_truth.json"))
    assert len(table) == 0
    assert table.score.shape == (0,)


@pytest.mark.parametrize("write", [put, put_packed])
def test_voc(tmp_path, write):
    path = write(tmp_path, {
        "sub/b.xml": voc("b", ("dog", 10, 20, 50, 90), ("cat", 1.5, 2, 3, 4)),
        "sub/a.xml": voc("a"),
        "sub/._b.xml": "not XML: a by-product of archiving",
        "notes.md": "",
    })  # fmt: skip
    table = read_boxes(path)
    assert table.image_ids == ("a", "b")
    np.testing.assert_array_equal(table.xywh, [[10, 20, 40, 70], [1.5, 2, 1.5, 2]])  # no 1 is added
    assert table.names == {1: "cat", 2: "dog"}
    assert table.category.tolist() == [2, 1]
    assert table.image.tolist() == [1, 1]
    assert table.files == ("a.jpg", "b.jpg")
    np.testing.assert_array_equal(table.sizes, [[200, 100]] * 2)


def test_one_voc_file(tmp_path):
    (tmp_path / "a.xml").write_text(voc("a", ("dog", 10, 20, 50, 90)))
    assert read_boxes(tmp_path / "a.xml").image_ids == ("a",)


YOLO = {"labels/b.txt": "1 0.5 0.5 0.2 0.4\n\n0 0.25 0.25 0.5 0.5\n", "labels/a.txt": ""}


@pytest.mark.parametrize("write", [put, put_packed])
@pytest.mark.parametrize(
    "names",
    [
        {"obj.names": "ant\nbee\n"},
        {"labels/classes.txt": "ant\nbee"},
        {"data.yaml": "names: [ant, bee]\nnc: 2"},
        {"data.yaml": "names:\n  0: ant\n  1: bee\n"},
    ],
    ids=["obj.names", "classes.txt", "yaml list", "yaml mapping"],
)
def test_yolo_in_fractions(tmp_path, write, names):
    table = read_boxes(write(tmp_path, YOLO | names))
    assert table.names == {0: "ant", 1: "bee"}
    assert table.image_ids == ("a", "b")
    np.testing.assert_allclose(table.xywh, [[0.4, 0.3, 0.2, 0.4], [0, 0, 0.5, 0.5]], atol=1e-15)  # rounding
    np.testing.assert_array_equal(table.sizes, [[1, 1], [1, 1]])
    assert table.report["images without boxes"].count == 1
    assert "normalised, image sizes unknown: 2 kept, first: image a" in repr(table)


PLACES = {  # where labels are, where their images are, which folder is read
    "beside, from above": ("labels", "images", "."),
    "beside": ("labels", "images", "labels"),
    "split inside, from above": ("labels/val", "images/val", "."),
    "split inside": ("labels/val", "images/val", "labels/val"),
    "split outside": ("val/labels", "val/images", "."),
    "in one folder": ("mixed", "mixed", "mixed"),
    "in one folder called labels": ("labels", "labels", "labels"),
}


@pytest.mark.parametrize(("labels", "images", "read"), PLACES.values(), ids=PLACES)
def test_yolo_finds_its_images(tmp_path, monkeypatch, labels, images, read):
    put(tmp_path, {f"{labels}/a.txt": "0 .5 .5 .5 .5", f"{labels}/b.txt": "", "data.yaml": "names: [ant]"})
    put(tmp_path, {f"{images}/{name}.png": png(np.zeros((10, 20))) for name in "abc"})
    table = read_boxes(tmp_path / read)
    np.testing.assert_array_equal(table.sizes, [[20, 10]] * 2)
    np.testing.assert_array_equal(table.xywh, [[5, 2.5, 10, 5]])
    assert [name.rpartition("/")[2] for name in table.files] == ["a.png", "b.png"]
    assert not [reason for reason in table.report if "sizes unknown" in reason]
    monkeypatch.chdir(tmp_path / read)
    np.testing.assert_array_equal(read_boxes(".").sizes, table.sizes)


@pytest.mark.parametrize("content", [None, b"version https://git-lfs"], ids=["absent", "a pointer"])
def test_yolo_with_an_image_missing_stays_normalised(tmp_path, content):
    put(
        tmp_path,
        YOLO | {"images/a.png": png(np.zeros((10, 20)))} | ({"images/b.png": content} if content else {}),
    )
    table = read_boxes(tmp_path)
    np.testing.assert_array_equal(table.sizes, [[1, 1]] * 2)
    assert table.files == () and table.report["normalised, image sizes unknown"].first == "image b"


def test_yolo_in_fractions_on_purpose_has_nothing_to_report(tmp_path):
    assert not read_boxes(put(tmp_path, {"a.txt": "0 .5 .5 .1 .1"}), sizes=(1, 1)).report


def test_pixels_in_whole_numbers_are_no_deeppcb_labels(tmp_path):
    table = read_boxes(put(tmp_path, {"a.txt": "0 100 120 50 40"}))
    assert table.report["above 2: pixels, not normalised?"].count == 1


def test_yolo_without_names_and_with_sizes(tmp_path):
    put(tmp_path / "set", YOLO)
    expected = [[80, 30, 40, 40], [0, 0, 100, 50]]
    table = read_boxes(tmp_path / "set", sizes=(200, 100))
    assert table.names == {0: "0", 1: "1"}
    np.testing.assert_allclose(table.xywh, expected, atol=1e-12)  # rounding at 200 pixels
    table = read_boxes(tmp_path / "set", sizes={"a": (10, 10), "b": (200, 100)})
    np.testing.assert_array_equal(table.sizes, [[10, 10], [200, 100]])
    np.testing.assert_allclose(table.xywh, expected, atol=1e-12)


def test_yolo_sizes_from_images(tmp_path):
    put(tmp_path / "set", YOLO)
    images = put(tmp_path / "images", {"a.png": png(np.zeros((10, 20)))})
    Image.new("L", (200, 100)).save(images / "b.jpg")
    table = read_boxes(tmp_path / "set", sizes=images)
    assert table.files == ("a.png", "b.jpg")
    np.testing.assert_array_equal(table.sizes, [[20, 10], [200, 100]])


def test_same_stem_in_two_folders_takes_the_longer_name(tmp_path):
    table = read_boxes(put(tmp_path, {"train/1.txt": "0 .5 .5 .1 .1", "val/1.txt": "0 .5 .5 .2 .2"}))
    assert table.image_ids == ("train/1", "val/1")


@pytest.mark.parametrize("line", ["10 20 50 90 3", "10,20,50,90,3"])
def test_deeppcb(tmp_path, line):
    table = read_boxes(
        put(tmp_path, {"b.txt": line + "\n", "a.txt": "", "trainval.txt": "x/b.jpg x/b.txt\n"})
    )
    np.testing.assert_array_equal(table.xywh, [[10, 20, 40, 70]])
    assert table.names[table.category[0]] == "mousebite"
    np.testing.assert_array_equal(table.sizes, [[640, 640]] * 2)
    assert table.image_ids == ("a", "b")
    assert table.report["text file without boxes"].first == "trainval.txt"


@pytest.mark.parametrize("header", ["ImageId,ClassId,EncodedPixels", "ImageId_ClassId,EncodedPixels"])
def test_severstal(tmp_path, header):
    # the first two columns' rows 1-3, then one pixel far away: two parts of one row
    between = "," if "ImageId," in header else "_"
    path = tmp_path / "train.csv"
    path.write_text(f"{header}\nb.jpg{between}3,1 3 257 3 25601 1\na.jpg{between}1,\n")
    table = read_boxes(path)
    np.testing.assert_array_equal(table.xywh, [[0, 0, 2, 3], [100, 0, 1, 1]])
    assert table.area.tolist() == [6, 1]
    assert table.category.tolist() == [3, 3]
    assert table.files == ("b.jpg", "a.jpg")
    np.testing.assert_array_equal(table.sizes, [[1600, 256]] * 2)


def test_severstal_images_without_a_class_keep_their_names(tmp_path):
    (tmp_path / "train.csv").write_text("ImageId_ClassId,EncodedPixels\na.jpg,\nb.jpg,\nc.jpg_1,1 3\n")
    assert read_boxes(tmp_path / "train.csv").files == ("a.jpg", "b.jpg", "c.jpg")


def test_a_voc_object_without_a_box_is_no_category(tmp_path):
    put(tmp_path, {"a.xml": voc("a", ("dog",), ("cat", 1, 1, 9, 9))})
    table = read_boxes(tmp_path)
    assert table.names == {1: "cat"} and table.report["without a box"].count == 1


@pytest.mark.parametrize("write", [put, put_packed])
def test_masks(tmp_path, write):
    mask = np.zeros((20, 30))
    mask[2:5, 3:10] = 1
    mask[5, 10] = 1  # touches by a corner only: the same part
    mask[10:12, 0:2] = 1
    mask[15:20, 25:30] = 2
    files = {"m.png": png(mask), "n.png": png(mask * 0), "classes.txt": "oil\nstain\n"}
    table = read_boxes(write(tmp_path, files))
    np.testing.assert_array_equal(table.xywh, [[3, 2, 8, 4], [0, 10, 2, 2], [25, 15, 5, 5]])
    assert table.area.tolist() == [22, 4, 25]
    assert table.category.tolist() == [1, 1, 2]
    assert table.names == {1: "oil", 2: "stain"}
    assert table.image_ids == ("m", "n")
    np.testing.assert_array_equal(table.sizes, [[30, 20]] * 2)


def test_masks_of_one_kind_may_be_255(tmp_path):
    mask = np.zeros((20, 30))
    mask[2:5, 3:10] = 255
    table = read_boxes(put(tmp_path, {"m.png": png(mask)}))
    assert table.category.tolist() == [255]
    assert not table.report


def test_images_beside_annotations_are_no_masks(tmp_path):
    put(tmp_path, {"a.xml": voc("a", ("dog", 1, 2, 3, 4)), "a.png": png(np.zeros((4, 4)))})
    assert find_format(tmp_path) == "voc"


def test_every_format_is_said_in_the_error(tmp_path):
    with pytest.raises(ValueError) as error:
        read_boxes(tmp_path)
    assert all(what in str(error.value) for _, what in FORMATS.values())


class TestRealFiles:
    """Copies of one set in two formats give the same boxes; counts are those that the makers state."""

    def test_coco_val2017_counts(self, shared_data):
        table = read_boxes(shared_data / "coco_val2017_boxes.json.gz")
        assert (len(table), table.crowd.sum(), len(table.image_ids)) == (36_781, 446, 5_000)
        assert len(table.names) == 80
        assert table.report["images without boxes"].count == 48
        assert (table.counts == 0).sum() == 48

    def test_neu_det_json_and_xml(self, shared_data):
        from_json = read_boxes(shared_data / "neu_det_boxes.json.gz")
        from_xml = read_boxes(shared_data / "neu_det_voc_xml.tar.gz")
        assert (len(from_xml), len(from_xml.image_ids)) == (4_189, 1_800)
        assert as_sets(from_json) == as_sets(from_xml)
        np.testing.assert_array_equal(from_json.sizes, from_xml.sizes)

    def test_bccd_json_and_xml(self, shared_data):
        from_json = read_boxes(shared_data / "bccd_boxes.json.gz")
        from_xml = read_boxes(shared_data / "bccd_voc_xml.tar.gz")
        assert as_sets(from_json) == as_sets(from_xml)
        assert from_xml.report["size not positive"].count == 2
        assert "BloodImage_00338.xml" in from_xml.report["size not positive"].first

    def test_deeppcb_json_and_txt(self, shared_data):
        from_json = read_boxes(shared_data / "deeppcb_boxes.json.gz")
        from_txt = read_boxes(shared_data / "deeppcb_txt.tar.gz")
        assert len(from_txt) == 10_013
        assert {k.removesuffix("_test"): v for k, v in as_sets(from_json).items()} == as_sets(from_txt)

    def test_voc100_json_and_yolo(self, shared_data):
        from_json = read_boxes(shared_data / "voc100_gt_boxes.json.gz")
        stems = [file.removesuffix(".jpg") for file in from_json.files]
        sizes = dict(zip(stems, from_json.sizes.tolist(), strict=True))
        from_yolo = read_boxes(shared_data / "voc100_yolo_gt.tar.gz", sizes=sizes)
        # The JSON turned VOC's inclusive corners from 1 on into lengths from 0 on, the YOLO files did not:
        # there x and y are larger by 1, w and h smaller by 1. A tenth of a pixel sorts equal boxes equally.
        shift = np.array([-1, -1, 1, 1])
        as_in_json = replace(from_yolo, xywh=np.round(from_yolo.xywh + shift, 1))
        assert as_sets(as_in_json) == as_sets(from_json)
        order = [np.lexsort((*np.round(t.xywh.T, 1), t.image)) for t in (as_in_json, from_json)]
        distance = from_yolo.xywh[order[0]] + shift - from_json.xywh[order[1]]
        assert np.abs(distance).max() < 1e-3  # six decimals of a side of 500 pixels, twice

    def test_coco_results(self, shared_data):
        ground_truth = read_boxes(shared_data / "coco_val2014_100_gt_boxes.json.gz")
        table = read_boxes(
            shared_data / "coco_val2014_100_fakebbox_results.json.gz", ground_truth=ground_truth
        )
        assert len(table) == 734
        assert len(np.unique(table.image)) == 99
        assert table.image_ids == ground_truth.image_ids


class TestFilesAsToolsLeaveThem:
    """What tools and people do to annotations that changes nothing about what they say."""

    @pytest.mark.parametrize("write", [put, put_packed])
    @pytest.mark.parametrize(
        "hidden", [".ipynb_checkpoints", ".git", ".idea", ".AppleDouble", "__MACOSX", "a/.b/c", "__MACOSX/a"]
    )
    def test_hidden_folders_are_passed_over(self, tmp_path, write, hidden):
        text = voc("a", ("dog", 1, 2, 30, 40))
        table = read_boxes(
            write(tmp_path, {"a.xml": text, f"{hidden}/b.xml": text, f"x/{hidden}/c.xml": text})
        )
        assert table.image_ids == ("a",)
        labels = {"labels/a.txt": "0 .5 .5 .5 .5", f"labels/{hidden}/b.txt": "0 .5 .5 .5 .5"}
        assert read_boxes(write(tmp_path / "yolo", labels)).image_ids == ("a",)

    def test_a_set_below_a_hidden_folder_is_read(self, tmp_path):
        assert (
            len(read_boxes(put(tmp_path / ".cache" / "set", {"a.xml": voc("a", ("dog", 1, 2, 3, 4))}))) == 1
        )

    def test_several_boxes_of_one_object(self, tmp_path):
        first, second = (CORNERS.format(*box) for box in ((1, 2, 3, 4), (5, 6, 9, 9)))
        text = voc("a", ("dog", 1, 2, 3, 4), ("cat", 2, 2, 3, 3)).replace(first, first + second)
        table = read_boxes(put(tmp_path, {"a.xml": text}))
        np.testing.assert_array_equal(table.xywh, [[1, 2, 2, 2], [5, 6, 4, 3], [2, 2, 1, 1]])
        assert [table.names[c] for c in table.category] == ["dog", "dog", "cat"]

    @pytest.mark.parametrize("orientation", range(1, 10))
    @pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
    def test_orientation_in_exif(self, tmp_path, orientation, kind):
        turn = Image.Exif()
        turn[0x0112] = orientation
        folder = put(tmp_path, {"labels/a.txt": "0 .5 .5 .5 .5", "images/x.txt": ""})
        Image.new("RGB", (20, 10)).save(folder / "images" / f"a.{kind}", exif=turn)
        right = [[10, 20]] if orientation in (5, 6, 7, 8) else [[20, 10]]
        assert read_boxes(folder / "labels").sizes.tolist() == right
        assert read_boxes(folder / "labels", sizes=folder / "images").sizes.tolist() == right

    def test_damaged_exif_turns_nothing(self, tmp_path):
        put(tmp_path, {"labels/a.txt": "0 .5 .5 .5 .5", "images/x.txt": ""})
        Image.new("RGB", (20, 10)).save(tmp_path / "images" / "a.jpg", exif=b"Exif\0\0no such thing")
        assert read_boxes(tmp_path / "labels").sizes.tolist() == [[20, 10]]

    @pytest.mark.parametrize("write", [put, put_packed])
    def test_endings_in_any_case(self, tmp_path, write):
        table = read_boxes(
            write(tmp_path / "a", {"a.TXT": "0 .5 .5 .5 .5", "b.Txt": "", "Classes.TXT": "cat"})
        )
        assert table.image_ids == ("a", "b") and table.names == {0: "cat"}
        assert len(read_boxes(write(tmp_path / "b", {"a.XML": voc("a"), "b.xml": voc("b")})).image_ids) == 2
        assert len(read_boxes(write(tmp_path / "c", {"a.PNG": png(np.eye(5))}))) == 1

    @pytest.mark.parametrize("line", ["1.0 .5 .5 .2 .4", "1e0 .5 .5 .2 .4", "1.000000e+00,.5,.5,.2,.4"])
    def test_whole_classes_written_as_floats(self, tmp_path, line):
        assert read_boxes(put(tmp_path, {"a.txt": line})).category.tolist() == [1]

    def test_numbers_that_other_tools_write(self, tmp_path, coco_content):
        """pandas makes floats of ids and NaN of what is missing; BlenderProc names categories by numbers."""
        for entry in (*coco_content["annotations"], *coco_content["images"], *coco_content["categories"]):
            entry |= {key: float(entry[key]) for key in ("id", "image_id", "category_id") if key in entry}
        coco_content["annotations"][0] |= {"iscrowd": float("nan"), "area": float("nan")}
        coco_content["annotations"][1] |= {"iscrowd": 1.0, "category_id": float("nan")}
        coco_content["categories"][0]["name"] = 7
        coco_content["categories"][1]["name"] = 1.5
        coco_content["images"][0]["file_name"] = 12
        table = read_boxes(put(tmp_path, ("a.json", json.dumps(coco_content))))
        assert table.image_ids == (7, 3) and all(type(i) is int for i in table.image_ids)
        assert table.crowd.tolist() == [False, True] and table.category.tolist() == [2, -1]
        assert table.names == {2: "7", 5: "1.5"} and table.files == ("12", "b.jpg")
        found = [{"image_id": 7.0, "category_id": 2.0, "bbox": [1, 1, 2, 2], "score": 1}]
        found = read_boxes(put(tmp_path, ("r.json", json.dumps(found))), ground_truth=table)
        assert found.image.tolist() == [0] and found.category.tolist() == [2]

    @pytest.mark.parametrize("encoding", ["gb2312", "gbk", "shift_jis", "utf-16", "utf-8-sig", "big5"])
    def test_encodings_that_are_declared_or_marked(self, tmp_path, encoding):
        head = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>'
        text = (head + voc("a", ("日本", 1, 2, 3, 4))).encode(encoding)
        table = read_boxes(put(tmp_path, {"a.xml": text}))
        assert table.names == {1: "日本"}

    def test_labels_in_utf16_as_windows_writes_them(self, tmp_path):
        files = {"a.txt": "0 .5 .5 .5 .5".encode("utf-16"), "classes.txt": "猫\n".encode("utf-16")}
        assert read_boxes(put(tmp_path, files)).names == {0: "猫"}

    def test_names_in_yaml_are_text(self, tmp_path):
        names = "names: [no, 1.50, 07, 2020-01-01, ~]"
        table = read_boxes(put(tmp_path, {"a.txt": "0 .5 .5 .5 .5", "data.yaml": names}))
        assert [*table.names.values()] == ["no", "1.50", "07", "2020-01-01", "~"]

    def test_anchors_in_yaml_do_not_multiply(self, tmp_path):
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
        files = {"a.txt": "0 .5 .5 .5 .5", "data.yaml": "\n".join([*lines, "names: *a0"])}
        assert len(read_boxes(put(tmp_path, files)).names) == 9

    def test_one_coco_file_in_a_folder(self, tmp_path, coco_content):
        put(tmp_path, {"_annotations.coco.json": json.dumps(coco_content), "a.png": png(np.zeros((4, 4)))})
        put(tmp_path, {"settings.json": "[1]", "package.json": '{"name": "x"}'})
        assert len(read_boxes(tmp_path)) == len(read_boxes(tmp_path, format="coco")) == 2

    def test_areas_that_some_boxes_lack(self, tmp_path, coco_content):
        coco_content["annotations"].append({**coco_content["annotations"][1], "id": 3, "area": -4})
        table = read_boxes(put(tmp_path, ("a.json", json.dumps(coco_content))))
        assert table.areas.tolist() == [9.5, 56, 56]
