# %% [markdown]
# # Defect data sets
#
# **Are industrial defects more related to each other than everyday objects?**
#
# Paper: Relation DETR (ECCV 2024), what its Figure 1 and its text say about task-specific data sets. About one minute on two CPU cores.
#
# **中文摘要。** Relation DETR 认为，任务专用（工业缺陷）数据集的框位置相关性 MC 更高，因为其中包含更多先验知识。论文所用的三个工业数据集都不能自由下载，所以这里测量两个公开的缺陷数据集，以及随本项目附带的真实血细胞照片（BCCD，同样是任务专用的数据集）。NEU-DET 的 MC 低于 COCO，DeepPCB 高于 COCO，先后顺序与框的大小一致。把每一类与它自己的随机基线相比，NEU-DET 有四类低于基线、一类持平、只有划痕高于基线。日常物体则不同：COCO 的 80 个类别中有 48 个高于各自的随机基线（超出量的中位数为 +0.099），没有一个缺陷类别达到这个中位数；VOC2012 的 20 个类别有高有低（7 类高，6 类低）。血细胞介于两个缺陷数据集之间：红细胞略低于基线（−0.013），血小板（+0.036）与基线无法区分。NEU-DET 各类的框很少重叠，而彼此避开会降低相关性：与同样少重叠的换位框相比，红细胞的差距消失，NEU-DET 的差距缩小但没有全部消失（点蚀表面从 −0.10 变为 −0.06），其余原因尚未查明。本笔记还演示如何读取常见的标注格式，并把真实的血细胞照片与程序生成的（不是拍摄的）缺陷图片并列展示。
#
# ## What you will see
#
# 1. Which industrial data sets exist, and on which terms.
# 2. Two real defect sets and one of blood cells beside two of everyday scenes: MC, the level that permuted boxes reach, and what is left.
# 3. Each class of defects and cells against its own null, why many lie below it, and the classes of everyday objects beside them.
# 4. Readers for the five kinds of files that defect sets come in, and your own data.
# 5. Real photographs of cells, and a few generated images of defects to take apart.
#
# You need to know what MC is (`20_pearson_between_boxes`) and what a null is (`21_box_correlation`).

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display
from PIL import Image

import marginalia
from marginalia import figures, style
from marginalia.boxes.blood_cells import cells
from marginalia.boxes.correlation import macroscopic_correlation
from marginalia.boxes.defects import generate_defects
from marginalia.boxes.reading import read_boxes
from marginalia.boxes.strata import excess_by_class
from marginalia.boxes.uniform import random_layout
from marginalia.exercises import check
from marginalia.explorers import BoxExplorer
from marginalia.figures.relation_detr import measured
from marginalia.plots import NEUTRAL, boxes_on, dumbbells, intervals, legend, panels
from marginalia.style import CYCLE, DATASET_COLORS, PALETTE

style.use_style()
rng = np.random.default_rng(0)

# %% tags=["parameters"]
FAST = True  # False: four times as many images behind the curve of unrelated boxes
RETRAIN = False  # nothing is trained in this notebook
SEED = 0  # of the generated images
DATA = None  # your own annotations: a file, folder or archive that read_boxes knows; None: the blood cells

# %% [markdown]
# ## 1. Which sets exist
#
# The paper shows its method on three industrial sets. None of them can simply be downloaded, and one has changed its name:
#
# | in the paper | what it is | can you get it? |
# |---|---|---|
# | **CSD** | surfaces of castings, from a partner group; segmentation labels that the authors turned into boxes | no, it may not be shared, say the authors |
# | **ESD** | by the author's word the set published later as **CSDD**: 2,100 images of 3648 × 3648, 56,356 defects (scratch 31,634, spot 10,470, rust 14,252), boxes and masks; the paper has no table for it | on request by e-mail, CC BY-NC-SA 4.0 |
# | **MSSD** | screen surfaces | not released; a public set near it is MSD: 1,200 images of 1920 × 1080 (oil, scratch, stain), masks, repository under GPL-3.0 |
#
# Mind the names: CSDD is the paper's *ESD*, not its CSD. What anybody can get:
#
# | set | images, boxes | classes | files | terms, and what to know |
# |---|---|---|---|---|
# | NEU-DET | 1,800, 4,189 | 6, hot-rolled steel | VOC XML | no licence stated; do not pass it on |
# | GC10-DET | 2,300, 3,563; other lists give other counts | 10, steel sheet | VOC XML, COCO | none stated by the origin; a mirror claims CC BY 4.0 |
# | DeepPCB | 1,500, 10,013 | 6, circuit boards | txt `x1 y1 x2 y2 type` | MIT file, but "research purpose only"; **many defects are drawn in** |
# | PKU-Market-PCB (HRIPCB) | 693 or 1,386, by mirror | 6, circuit boards | VOC XML | **defects made in Photoshop**; mirrors claim different licences |
# | Severstal | 12,568 for training, 19,958 objects | 4 without names | run lengths in CSV | Kaggle's terms |
# | KolektorSDD, SDD2 | small | 1 | masks | CC BY-NC-SA 4.0 |
# | VISION | 14 industrial sets | varies | polygons and boxes | access on request |
#
# A defect that was drawn in stands where somebody put it: its position tells about that person or program, and not about a
# production line. This project ships none of these files; it reads them if you have them.

# %% [markdown]
# ## 2. The real sets first
#
# **Claim of the paper.** Task-specific sets have a higher MC, because they carry more prior knowledge.
#
# **Predict.** NEU-DET (steel) and DeepPCB (circuit boards) stand for industry, COCO and VOC for everyday scenes, BCCD (blood cells, part of this
# collection) for a task of medicine. Order the five by MC. Which of them are above their own null, the same boxes permuted between images of similar box count?

# %%
INDUSTRIAL = ["DeepPCB", "NEU-DET"]
KINDS = dict.fromkeys(INDUSTRIAL, "industrial") | {"BCCD": "medical"} | dict.fromkeys(["COCO val2017", "VOC2012 trainval"], "everyday")
COLORS = {"industrial": PALETTE["vermilion"], "medical": PALETTE["green"], "everyday": PALETTE["blue"]}
excess = measured("excess")
by_count = excess.query("null == 'count'").drop(columns="images").sort_values("observed", ascending=False)
sets = by_count[["dataset"]].merge(measured("sizes")).merge(by_count)
sets = sets.assign(name=sets["dataset"], kind=sets["dataset"].map(KINDS))
columns = ["images", "boxes", "boxes_mean", "side", "observed", "null_mean", "excess", "low", "high", "effect_size"]
sets.set_index("name")[columns].round(3)

# %%
row = sets.set_index("name")
assert list(row.index) == ["DeepPCB", "COCO val2017", "BCCD", "VOC2012 trainval", "NEU-DET"]
assert list(row["excess"].sort_values().index) == ["BCCD", "DeepPCB", "NEU-DET", "VOC2012 trainval", "COCO val2017"]
assert (row.drop("BCCD")["low"] > 0).all() and row.loc["BCCD", "high"] < 0
figure, (left, right) = panels(2, 2, 2.5, sharey=True)
colors = sets["kind"].map(COLORS)
dumbbells(left, sets["name"], sets["observed"], sets["null_mean"], colors)
left.set_xlabel("mean MC   ● observed   ○ boxes permuted")
intervals(right, sets, "excess", "name", colors)
right.set_xlabel("excess (95 % interval)")
legend(figure, {kind: {"color": color, "marker": "o", "linestyle": ""} for kind, color in COLORS.items()}, "outside upper left")
figures.save(figure, "extra/defect-sets", sets)
figure

# %% [markdown]
# **Notice.** `images` and `boxes` are counts, `boxes_mean` is boxes in an image that has any, `side` the median of
# $\sqrt{wh / (WH)}$, the rest is MC (top left corner, pixels, crowd regions left out) beside 1,000 permutations between images of similar box
# count, with a 95 % interval over images.
#
# The two industrial sets are the two ends of the list: DeepPCB has the highest MC, NEU-DET the lowest. "Task-specific" does not predict the
# level. And where the level is high, so is that of the permuted boxes: DeepPCB's 0.77 stands over 0.75, an excess of 0.02, no more than NEU-DET's and
# half of COCO's. The cells, task-specific too, are between COCO and VOC in level and the only set *below* its null. These are three such sets, not all; the paper's own
# could not be measured.
#
# ## 3. The order is that of box sizes
#
# **Claim.** Sets with smaller boxes have the higher MC, and unrelated boxes do the same: draw images of seven boxes with sides
# uniform between 0 and $s$, at independent uniform places, and let $s$ shrink.

# %%
rows = []
for largest in (1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03):
    layout = random_layout(7, largest, 400 if FAST else 1600, SEED)
    per_image = macroscopic_correlation(layout)
    side = np.median(np.sqrt(layout.xywh[:, 2:].prod(axis=1)))
    rows.append((side, per_image.mean(), *np.quantile(per_image, [0.05, 0.95])))
curve = pd.DataFrame(rows, columns=["side", "mean", "low", "high"])
assert curve.loc[curve["side"] < 0.2, "mean"].is_monotonic_increasing  # listed from large boxes to small ones
assert sets["side"].is_monotonic_increasing  # in the order of falling MC

# %% tags=["hide-input"]
figure, (axes,) = panels(1, 1, 3.1)
axes.fill_between(curve["side"], curve["low"], curve["high"], color=NEUTRAL, alpha=0.15, linewidth=0)
axes.semilogx(curve["side"], curve["mean"], color=NEUTRAL, label="unrelated boxes: mean, 5 to 95 % of images")
for kind, part in sets.groupby("kind"):
    axes.plot(part["side"], part["observed"], "o", color=COLORS[kind], markersize=7, label=kind)
for one in sets.itertuples():
    axes.annotate(one.name, (one.side, one.observed), (0, -15 if one.name == "NEU-DET" else 7), textcoords="offset points", ha="center", fontsize=8)
ticks = [0.02, 0.05, 0.1, 0.2, 0.5]
axes.set(xticks=ticks, xticklabels=ticks, xlabel="median side of a box, normalised to the image size", ylabel="mean MC")
axes.minorticks_off()
axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
figures.save(figure, "extra/defect-size", sets[["name", "kind", "side", "observed"]])
figure

# %% [markdown]
# **Notice.** The smaller the boxes, the higher MC: up to a fifth of the side this holds for boxes that nothing relates, and the five sets stand in the
# same order. They do not lie *on* the curve, and need not: their boxes are not spread evenly over the image, and seven an image is only the middle of the
# range. Size is not all, either: VOC and NEU-DET have equally large boxes and differ by 0.06. But whoever compares levels of MC across
# data sets compares box sizes first.
#
# ## 4. Each class against its own null
#
# **Claim.** A class of defects has a shape of its own: scratches are long and thin, pitted areas fill the image. The fair comparison for the
# scratches of one image is with scratches of other images, and for its red cells with red cells.
#
# **Predict.** How many of NEU-DET's six classes lie above their own null? And of the three kinds of cells?

# %%
CELLS = {"RBC": "red cell", "WBC": "white cell", "Platelets": "platelet"}
by_class = measured("by_class").query("null == 'free'").replace({"group": CELLS})
apart = measured("overlap").rename(columns={"class": "group"}).replace({"group": CELLS})
wide = by_class["images"] > 20  # not white cells: 14 images have two
figure, axes = panels(3, 3, 2.5, sharex=True)
for panel, name in zip(axes, ("NEU-DET", "DeepPCB", "BCCD"), strict=True):
    part = by_class[(by_class["dataset"] == name) & wide]
    own = apart[(apart["dataset"] == name) & apart["group"].isin(part["group"])]
    intervals(panel, part, "excess", "group", DATASET_COLORS[name], -0.15, part["q_value"] >= 0.05)
    intervals(panel, own, "excess_apart", "group", NEUTRAL, 0.2)
    panel.set(title=name, ylim=(5.5, -0.5))
axes[1].set_xlabel("excess of MC (95 % over images)")
dot = {"marker": "o", "linewidth": 1.8}
names = {"upper, in colour: over permuted boxes (filled: q < 0.05)": dot | {"color": DATASET_COLORS["NEU-DET"]}, "lower, grey: over boxes kept apart": dot | {"color": NEUTRAL}}
legend(figure, names)
data = by_class[by_class["dataset"].isin([*INDUSTRIAL, "BCCD"])].merge(apart, on=["dataset", "group"], suffixes=("", "_apart"))
figures.save(figure, "extra/defect-classes", data.assign(panel=data["dataset"]))
steel, boards = (by_class[by_class["dataset"] == name].set_index("group") for name in ("NEU-DET", "DeepPCB"))
below = steel.index[steel["high"] < 0]
assert set(below) == {"crazing", "patches", "pitted_surface", "rolled-in_scale"}
assert abs(steel.loc["inclusion", "excess"]) < 0.01 and steel.loc["inclusion", "q_value"] > 0.9
assert steel.loc["scratches", "low"] > 0 and (boards["high"] > 0).all()
blood = by_class[by_class["dataset"] == "BCCD"].set_index("group")
assert blood.loc["red cell", "high"] < 0 and blood.loc["platelet", "low"] < 0 < blood.loc["platelet", "high"]
figure

# %% [markdown]
# **Notice.** (Upper marks; the lower, grey ones come next.) In NEU-DET only scratches lie above their null. Inclusions lie on it, the other four *below*: their boxes are less correlated
# than boxes of different images. DeepPCB's tiny defects show no class below. Red cells lie a little below, platelets on both sides of zero; white cells are not drawn, since only 14 images have
# two (−0.26, −0.41 to −0.09). Filled marks have $q < 0.05$: a p-value from 200 shuffles, corrected for
# the classes by Benjamini and Hochberg's rule, which bounds the share of false alarms among what is called significant. With hundreds of images small effects are
# "significant"; the interval says how large they are.
#
# **Why below?** Two defects of an image seldom lie on top of each other. Count, class by class, the pairs in one image whose boxes overlap, as annotated
# and after the same permutation: in every class of NEU-DET, annotated boxes overlap about half as often as permuted ones, or less (table below), red cells three quarters as often. What does keeping apart do to $\rho$? Take two boxes with nothing in common and keep only the
# draws in which they do not overlap: one stands left and the other right, or one above and the other below. Where one has its large
# number ($x$), the other has a small one, and the profiles drift apart.


# %%
overlap = data[data["dataset"] != "DeepPCB"].set_index("group")[["observed_apart", "permuted", "excess", "excess_apart", "low_apart", "high_apart"]]
assert (overlap.loc[steel.index, "observed_apart"] < 0.6 * overlap.loc[steel.index, "permuted"]).all()  # half as often, or less
print(overlap.rename(columns={"observed_apart": "overlap", "permuted": "overlap permuted"}).round(3).to_string())


def correlation_of_pairs(side, apart, draws=60_000):
    """|ρ| of two unrelated boxes with sides near `side`; with `apart`, only of those that do not overlap."""
    wh = side * rng.uniform(0.7, 1.3, (draws, 2, 2))  # (draws, box, axis)
    corner = rng.random(wh.shape) * (1 - wh)
    gap = np.maximum(corner[:, 0], corner[:, 1]) - np.minimum(corner[:, 0] + wh[:, 0], corner[:, 1] + wh[:, 1])
    boxes = np.concatenate([corner, wh], axis=-1)[(gap >= 0).any(axis=-1) | (not apart)]  # (pairs, 2, 4)
    a, b = np.moveaxis(boxes - boxes.mean(axis=-1, keepdims=True), 1, 0)
    return np.abs((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1))


rows = []
for kind in ("anywhere", "kept apart"):
    for side in (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45):
        rho = correlation_of_pairs(side, kind == "kept apart")
        rows.append((side, kind, rho.mean(), rho.std() / np.sqrt(len(rho))))
curves = pd.DataFrame(rows, columns=["side", "kind", "mean", "error"])
drop = -curves.pivot(index="side", columns="kind", values="mean").diff(axis=1)["kept apart"]
assert (drop[0.1:] > 0).all() and abs(drop[0.02]) < 0.01  # standard errors are below 0.004
kept = overlap.loc[below]
assert (kept["excess_apart"] > kept["excess"]).all() and (kept["excess_apart"] < 0).all()  # nearer to zero, in all four
assert (kept.loc[["crazing", "pitted_surface"], "high_apart"] < 0).all() and overlap.loc["red cell", "high_apart"] > 0

# %%
figure, (axes,) = panels(1, 1, 2.7)
for (kind, part), color, marker in zip(curves.groupby("kind", sort=False), CYCLE, "os", strict=False):
    axes.errorbar(part["side"], part["mean"], 2 * part["error"], color=color, marker=marker, label=kind)
axes.axhline(0.5, color=NEUTRAL, linewidth=1, linestyle="--")
axes.set(xlabel="typical side of a box, normalised to the image size", ylabel="mean |ρ|")
axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
figures.save(figure, "extra/defect-apart", curves)
figure

# %% [markdown]
# **Notice.** Small boxes hardly ever collide, and nothing changes. From a tenth of the side upwards, staying apart costs correlation.
#
# **Is it all of it?** `boxes.similarity.kept_apart` permutes the real boxes of a class, then exchanges them between images until they overlap as seldom as annotated (grey marks above, mean of 20).
# Only that is different from the free null. *Red cells* are then at chance (−0.002; −0.008 to +0.004). *NEU-DET's* four classes come nearer to it, and not all the
# way: crazing from −0.08 to −0.03, patches from −0.035 to −0.01, pitted surfaces from −0.10 to −0.06, rolled-in scale from −0.04 to −0.03; the first and the third stay below zero with their whole intervals. What else is at work in steel is
# open. And for cells it is open who keeps them apart: annotators who skip overlapping cells would give the same ([21_box_correlation](21_box_correlation.ipynb), section 6).
#
# ## 5. Defects or everyday objects?
#
# **Predict.** The same measurement, each class against its own null, exists for COCO's 80 classes and for VOC2012's 20. The paper expects task-specific classes, defects and cells, further to the right. Are they?

# %%
compared = ["COCO val2017", "VOC2012 trainval", "NEU-DET", "DeepPCB", "BCCD"]
sure = by_class["q_value"] < 0.05
counts = by_class.assign(above=sure & (by_class["excess"] > 0), below=sure & (by_class["excess"] < 0)).groupby("dataset")
classes_of = counts.agg(classes=("group", "size"), above=("above", "sum"), below=("below", "sum"), median=("excess", "median"), largest=("excess", "max"))
print(classes_of.loc[compared].round(3).to_string())
assert classes_of.loc["COCO val2017", ["classes", "above", "below", "median"]].round(3).tolist() == [80, 48, 1, 0.099]
assert classes_of.loc[["VOC2012 trainval", "BCCD"], ["classes", "above", "below"]].to_numpy().tolist() == [[20, 7, 6], [3, 0, 2]]
assert classes_of.loc[[*INDUSTRIAL, "BCCD"], "largest"].max() < classes_of.loc["COCO val2017", "median"]
assert (by_class.loc[by_class["dataset"] == "COCO val2017", "effect_size"] > 0.25).sum() == 57

# %%
figure, (axes,) = panels(1, 1, 2.6)
for y, name in enumerate(compared):
    part = by_class[(by_class["dataset"] == name) & (by_class["images"] > 1)]
    heights = y + rng.uniform(-0.3, 0.3, len(part))
    faces = np.where(part["q_value"] < 0.05, DATASET_COLORS[name], "white")
    axes.scatter(part["excess"], heights, 22, facecolor=faces, edgecolor=DATASET_COLORS[name])
    axes.plot([classes_of.loc[name, "median"]] * 2, [y - 0.4, y + 0.4], color="black", linewidth=2)
axes.axvline(0, color=NEUTRAL, linewidth=1)
axes.set(yticks=range(5), yticklabels=compared, ylim=(4.5, -0.5), xlabel="excess over the class's own null (a dot a class, filled: q < 0.05; bar: median)")
figures.save(figure, "extra/defect-everyday-classes", by_class[by_class["dataset"].isin(compared)])
figure

# %% [markdown]
# **Notice.** They do not. 48 of COCO's 80 classes lie above their own null and one below, with a median of +0.099 (three classes that have a single image with two boxes are not drawn). No class of
# defects or cells reaches that median; the highest is DeepPCB's *short* with +0.048. **Cells** are less related than everyday objects, and stand between the defects: red cells (−0.013) below all of DeepPCB's classes, nearer to
# chance than the four of NEU-DET (−0.03 to −0.10); platelets (+0.036) cannot be told from chance. In 57 of COCO's classes the effect is above a quarter of a standard deviation. VOC2012's
# everyday classes are mixed, 7 above and 6 below, so the line does not run between a task and everyday objects either; what it depends on was not measured. (A class is measured over few
# images: 45 in COCO at the median, fewer than ten for seven classes. The open marks may be chance.)
#
# **The sign depends on the null.** NEU-DET as a whole had an excess of +0.02, and nearly all of its classes have none or a negative one. Both signs are right:

# %%
steel_nulls = excess[excess["dataset"] == "NEU-DET"].set_index("null")
print(steel_nulls[["excess", "low", "high"]].round(3).to_string())
assert (steel_nulls.drop("category")["low"] > 0).all() and steel_nulls.loc["category", "high"] < 0

# %% [markdown]
# **Notice.** The nulls answer different questions. *Any box for any box* (`free`) asks whether the boxes of an image resemble each other more than
# boxes of the whole set. They do: nearly every NEU-DET image shows one class, and a class has its typical shape. *Same class* (`category`) takes
# that away and asks about what is left. "The excess of NEU-DET" without naming the null means nothing. [21_box_correlation](21_box_correlation.ipynb) draws all five nulls for all five sets.
# (All NEU-DET images have one size, so `free`, `size` and `rescaled` are the same thing there.)

# %% [markdown]
# ## 6. Files as people have them
#
# Defect sets come as VOC XML, YOLO text, DeepPCB text, run lengths in a CSV (Severstal) or masks. `read_boxes` looks at the
# files and finds out. Here the same three boxes are written five times into a folder that is deleted afterwards, and read back.

# %%
WIDTH, HEIGHT = 1600, 256  # Severstal's size, which its CSV does not state
GROUND_TRUTH = {"a": [(1, 100, 40, 60, 30), (2, 400, 100, 20, 80)], "b": [(1, 900, 10, 300, 50)]}  # class, x, y, w, h


def voc(boxes):
    corners = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
    one = f"<object><name>{{}}</name>{corners}</object>"
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    objects = "".join(one.format(c, x, y, x + w, y + h) for c, x, y, w, h in boxes)
    return f"<annotation>{size}{objects}</annotation>"


def yolo(boxes):
    parts = [(c - 1, (x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT) for c, x, y, w, h in boxes]
    return "\n".join(" ".join(map(str, line)) for line in parts)


def deeppcb(boxes):
    return "".join(f"{x} {y} {x + w} {y + h} {c}\n" for c, x, y, w, h in boxes)


def mask(boxes):
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for c, x, y, w, h in boxes:
        pixels[y : y + h, x : x + w] = c
    return Image.fromarray(pixels)


# %%
def write_all(folder, ground_truth):
    """The boxes of `ground_truth` in five formats below `folder`."""
    for name, text, ending in (("voc", voc, "xml"), ("yolo", yolo, "txt"), ("deeppcb", deeppcb, "txt")):
        (folder / name).mkdir()
        for image, boxes in ground_truth.items():
            (folder / name / f"{image}.{ending}").write_text(text(boxes))
    (folder / "masks").mkdir()
    rows = ["ImageId,ClassId,EncodedPixels"]
    for image, boxes in ground_truth.items():
        mask(boxes).save(folder / "masks" / f"{image}.png")
        for c, x, y, w, h in boxes:  # runs go down the columns and count from 1
            runs = " ".join(f"{column * HEIGHT + y + 1} {h}" for column in range(x, x + w))
            rows.append(f"{image}.jpg,{c},{runs}")
    (folder / "severstal.csv").write_text("\n".join(rows))


expected = np.array([box[1:] for boxes in GROUND_TRUTH.values() for box in boxes])
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    write_all(folder, GROUND_TRUTH)
    for source in sorted(folder.iterdir()):
        sizes = {"sizes": (WIDTH, HEIGHT)} if source.name in ("yolo", "deeppcb") else {}
        table = read_boxes(source, **sizes)
        assert np.allclose(table.xywh, expected, atol=1e-9) and table.image.tolist() == [0, 0, 1]
        print(f"{source.name:13} {table.xywh.round().astype(int).tolist()}  {list(table.names.values())}")

# %% [markdown]
# The boxes are the same up to rounding; the *names* are not. VOC writes them into its files, DeepPCB's are known to the reader, the
# others have numbers, YOLO's from 0. Two conventions to know: a
# width is `xmax - xmin` without a 1 added, and in masks and run lengths every connected component counts as one box, so that two
# defects that touch become one.
#
# Labels contain mistakes. What cannot be used is dropped and counted, what is only odd is kept and counted. The first cell below plants two.
#
# **Your own file.** Set `DATA` in the parameters cell to a file, folder or archive, and the second cell below shows its classes against their own
# nulls. Without one it measures the real boxes of this collection, blood cells, anew: the numbers of section 4 come out again.

# %%
mistakes = {"c": [(1, 50, 60, 0, 20), (3, 1500, 200, 150, 40)]}  # no width; beyond the right border
with tempfile.TemporaryDirectory() as name:
    write_all(Path(name), GROUND_TRUTH | mistakes)
    with_mistakes = read_boxes(Path(name) / "voc")
assert len(with_mistakes) == 4 and with_mistakes.report["size not positive"].count == 1
with_mistakes

# %%
mine = cells().table if DATA is None else read_boxes(DATA)
own = excess_by_class(mine, null="free", shuffles=200)
assert DATA or np.allclose(own["excess"], blood.loc[own["group"], "excess"], atol=1e-5)  # the same boxes, the same seed
title = "BCCD" if DATA is None else Path(DATA).name
print(mine)
if len(own):
    figure, (axes,) = panels(1, 1, 0.9 + 0.22 * len(own))
    color = DATASET_COLORS["BCCD" if DATA is None else "your file"]
    intervals(axes, own, "excess", "group", color, open=own["q_value"] >= 0.05)
    axes.set(title=title, xlabel="excess over the class's own null (95 % interval)")
    figures.save(figure, "extra/defect-own", own.assign(panel=title))
    display(figure)
else:
    print("No class has an image with two usable boxes, so there is nothing to compare.")

# %% [markdown]
# ## 7. Photographs, and generated images
#
# **Above, photographs of blood cells with the boxes of their annotators. Below, everything was drawn by a program.** `generate_defects` makes images with the classes of NEU-DET, to try readers and explorers
# on. How many defects there are, how large and where was chosen by hand, so nothing measured on them says anything about steel.

# %%
table, pixels = generate_defects(6, SEED)
real, some = cells(), range(3, 360, 60)
shown = [("photograph", real.table, i, real.pixels[i]) for i in some] + [("drawn", table, i, pixels[i]) for i in range(6)]
figure, axes = panels(12, 6, 1.35)
for panel, (kind, source, image, photo) in zip(axes, shown, strict=True):
    here = source.image == image
    boxes_on(panel, source.xywh[here], source.sizes[image], photo, np.take(CYCLE, source.category[here] - 1), linewidth=1)
    panel.set_title(f"{kind}\n{source.image_ids[image] if kind == 'photograph' else source.names[source.category[here][0]]}", fontsize=7)
figures.save(figure, "extra/defect-generated", pd.concat([real.table.where(np.isin(real.table.image, some)).to_frame(), table.to_frame()]))
figure

# %% [markdown]
# One of the generated ones to take apart: drag a box over another and watch MC. The image stays, only the boxes move.

# %%
one = int(table.counts.argmax())
explorer = BoxExplorer(table, one, pixels=pixels[one])
explorer

# %% [markdown]
# ## Here and in the paper
#
# | question | here | in the paper | why they differ |
# |---|---|---|---|
# | Is MC higher in task-specific sets? | not in general: DeepPCB highest, NEU-DET lowest of five, cells between COCO and VOC | yes, for its own sets | other sets; the paper's could not be had, and it compares levels, which follow box size |
# | Is there a relation beyond chance? | +0.02 in both defect sets over permuted boxes of similar count; NEU-DET −0.03 within classes; cells −0.01 | read off the level | the paper uses no null |
# | More than in everyday objects? | no: no class of defects or cells reaches the median of COCO's 80 classes (+0.099); VOC2012's are mixed | task-specific sets have more | classes beside their own null, not levels |
# | What is behind it? | keeping apart lowers it: all of it for red cells, a part for NEU-DET; the rest is open | "more prior knowledge" | |
# | AP on CSD and MSSD | not possible without the data | a table each | the rows could not be confirmed, so none is printed here |
#
# ## Exercises
#
# **1.** Six classes have the p-values 0.005, 0.005, 0.005, 0.02, 0.02 and 0.97. What is the q-value of the fourth, after Benjamini and Hochberg?
# (Sorted, $q_k$ is the smallest of $6\,p_j / j$ over all $j \ge k$.)
#
# **2.** The YOLO line `2 0.5 0.25 0.1 0.2` belongs to an image of 200 × 200 pixels. At which $y$ does its box begin?

# %%
answer_1, answer_2 = None, None
hints = {0.03: "Look at the later ones too: the fifth gives less.", 0.12: "That is Bonferroni's."}
check(answer_1, 0.024, tolerance=1e-4, hints=hints)
hints = {50: "That is the centre.", 10: "Take half of the height off, not all.", 0.15: "In pixels, please."}
check(answer_2, 30, hints=hints)

# %% [markdown]
# <details><summary>Solutions</summary>
#
# 1. The fourth alone gives $6 \cdot 0.02 / 4 = 0.03$, the fifth $6 \cdot 0.02 / 5 = 0.024$, the sixth 0.97: the smallest is 0.024.
# 2. The line says class, centre, size, normalised to the image size. The centre is at $0.25 \cdot 200 = 50$, the height is 40, so it begins at 30.
# </details>
#
# **3.** A machine punches a hole into every sheet, always at the same two places. What do MC and its excess within the class say about these holes?
#
# <details><summary>Solution</summary>
#
# MC is whatever the two places give. The excess is zero: each sheet's holes can be swapped for any other sheet's without changing a
# number. A null of permuted boxes removes everything that is the same in all images, also the strongest position prior there is. Excess
# measures relation *within* an image beyond what all images share.
# </details>
#
# ## Questions for the group
#
# 1. Which of your defects may overlap in the labels, and who decided where one ends and the next begins? What does that do to MC?
# 2. A detector's decoder learns from relations between boxes. Would "keep apart" alone help it, and is that not what non-maximum suppression does?
# 3. Drawn-in defects: which conclusions about positions are safe on DeepPCB, and which are not?
#
# ## Summary
#
# The paper's industrial sets cannot be downloaded; of two public ones, DeepPCB has a higher MC than COCO and NEU-DET a lower one, in the order of box
# sizes. Against its own null a class of NEU-DET is mostly *less* correlated than chance. Boxes that keep apart explain part of it, not all; for red cells, a little below chance too, they explain all. COCO's everyday classes are the ones that
# stand above their nulls, 48 of 80; VOC2012's are mixed. The sign of a whole set's excess depends on the null.
#
# **Next:** `25_high_ap_images` asks on which images a detector does well.
#
# **References.** The set that the paper calls ESD: doi 10.1109/JAS.2025.125228.
#
# ```bibtex
# @inproceedings{hou2024relation,
#   title     = {Relation DETR: Exploring Explicit Position Relation Prior for Object Detection},
#   author    = {Hou, Xiuquan and Liu, Meiqin and Zhang, Senlin and Wei, Ping and Chen, Badong and Lan, Xuguang},
#   booktitle = {European Conference on Computer Vision},
#   year      = {2024},
#   doi       = {10.1007/978-3-031-72973-7_6}
# }
# ```

# %%
print(marginalia.versions("numpy", "scipy", "pandas", "matplotlib", "ipywidgets", "anywidget"))
