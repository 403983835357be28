# %% [markdown]
# # Box correlation of data sets
#
# **How much of a data set's box-position correlation is left after the right comparison?**
#
# Paper: Relation DETR (ECCV 2024), Figure 1. About one minute on two CPU cores.
#
# **中文摘要。** 论文图 1 显示，各数据集的宏观相关性 MC 都集中在较高的数值，并据此认为物体之间存在位置关系。本笔记在五个真实数据集上重算 MC，再把框随机换到别的图片里，作为随机基线（零模型）：大部分“高相关”在毫无关系的框上同样出现。按整个数据集取平均，剩下的超出量很小（−0.034 到 +0.047），大小甚至正负号都取决于随机基线的选法；任务专用的数据集也并不总是更高（NEU-DET 和 BCCD 低于 COCO）。但平均值掩盖了差别：COCO 的 80 个类别中有 48 个高于各自的随机基线（超出量的中位数为 +0.099），框小的图片超出 +0.080，框很多的图片超出 +0.067。同一张图里的框大小往往相近，在三个数据集上这一规律十分明显。血细胞照片（BCCD）随本项目附带，可以现场测量：它在五种随机基线下都略低于基线（约 −0.009），只看红细胞也是如此。把换位后的框调整到与标注一样少重叠，差距就消失；但如果标注者漏标了重叠的细胞，也会产生同样的差距，因此无法区分是细胞还是标注造成的。六种合成布局表明，超出量并不衡量排列是否整齐。最后给出建议：哪种随机基线回答哪个问题，需要多少张图片（实测），以及 p 值很小而区间包含 0 意味着什么。
#
# ## What you will see
#
# 1. Figure 1 of the paper for five real data sets, and the same after the boxes were permuted between images.
# 2. Five ways to say "no relation", what is left over each of them, and where it sits.
# 3. What the relation encoder sees instead, on the real sets, and live on boxes whose order is known.
# 4. Real photographs, taken apart: why blood cells lie *below* chance.
# 5. Your boxes, and advice: which null, how many images, and what a small $p$ with an interval over 0 means.
#
# You need [20_pearson_between_boxes](20_pearson_between_boxes.ipynb): MC is a mean of $|\rho|$, its natural zero is 0.5, and small boxes reach 0.75 on their own.
#
# The real sets are COCO val2017, VOC2012, NEU-DET (steel), DeepPCB (circuit boards) and BCCD (blood cells). BCCD's photographs are part of this
# collection, at a quarter of their width and height, and are measured live, as your own file is. Of the others, tables that `make measure` wrote are kept in `data/measured/`.

# %%
from dataclasses import replace

import numpy as np
import pandas as pd

import marginalia
from marginalia import figures, style
from marginalia.boxes import NULLS, cells, excess_correlation, macroscopic_correlation, read_boxes, shuffle
from marginalia.boxes.geometry import iou, xywh_to_cxcywh, xywh_to_xyxy
from marginalia.boxes.similarity import kept_apart, overlap_share, pair_similarity
from marginalia.detection import as_boxes, make_scenes
from marginalia.exercises import check
from marginalia.explorers import BoxExplorer
from marginalia.figures.relation_detr import mc_density, measured
from marginalia.plots import boxes_on, dumbbells, intervals, legend, panels
from marginalia.statistics import bootstrap
from marginalia.store import read_table
from marginalia.style import CYCLE, DATASET_COLORS

style.use_style()

# %% tags=["parameters"]
DATA = None  # path of your own annotations: COCO JSON, VOC XML, YOLO txt, ...
FAST = True  # fewer shuffles of the boxes measured live
RETRAIN = False  # nothing is trained in this notebook

# %% [markdown]
# ## 1. Boxes come in
#
# Where no data set is at hand, the 364 photographs of blood cells stand in, with the boxes that people drew around red cells, white cells and
# platelets. A `BoxTable` holds all boxes of a set, and says what was unusual about them.

# %%
embedded = cells()
table = read_boxes(DATA) if DATA else embedded.table
SHUFFLES = 200 if FAST else 1000
mc = macroscopic_correlation(table, report={})
has_mc = np.isfinite(mc)
print(f"{has_mc.sum()} of {len(mc)} images have two usable boxes or more", end="; ")
print(f"mean MC {mc[has_mc].mean():.4f}" if has_mc.any() else "so there is no MC, and sections 2 and 7 leave them out")
table

# %% [markdown]
# ## 2. Figure 1, twice
#
# **Claim of the paper.** The densities of MC concentrate at high values in all data sets, so position relations exist; sets for
# one task lie further right, because they carry more prior knowledge.
#
# **Predict.** On the left is the paper's figure for our sets. For the right one, every image kept its number of boxes, but boxes were permuted
# between images with similar counts. Whatever related the boxes of an image is gone. Where will the curves be?

# %%
try:
    figure, histograms = mc_density(DATA)
except ValueError as reason:  # a reader's file with too few images
    print(f"Shown without your file: {reason}")
    figure, histograms = mc_density()
figures.save(figure, "relation-detr/mc-density", histograms)
figure

# %% [markdown]
# Drawn by [`figures.relation_detr.mc_density`](../lib/marginalia/figures/relation_detr.py).
#
# **Notice.** The curves of the five sets hardly move sideways. Most of the level is there without any relation between the boxes of an image, and so is the order of the data sets, but for
# COCO and BCCD, which change places. COCO's mean stands 0.05 above its null, BCCD's 0.01 *below*. And NEU-DET and BCCD, for one task each, lie left of COCO: "further right" is not the
# property of task-specific sets that the paper takes it for.
#
# ## 3. What is "no relation"?
#
# A null keeps some properties of the data and destroys the rest; here boxes are permuted between images, and each image keeps its number of boxes.
#
# | null | a box may go to | keeps, besides the number of boxes in an image |
# |---|---|---|
# | free | any image | nothing |
# | count | images with a similar number: 1, 2, 3-4, 5-8, 9-16, 17 and more | that crowded images hold smaller boxes |
# | category | where another box of its class was | that a class has its sizes and places |
# | size | images of exactly the same width and height | the shape of the image |
# | rescaled | any image, normalised to the image size | that boxes stay inside the image |
#
# All but the last can put a box partly outside the image that receives it. Where all images have one size (NEU-DET, DeepPCB, BCCD), free, size and rescaled are the same null.
#
# The excess is $\Delta = \overline{\mathrm{MC}} - \mathbb{E}_{\text{null}}[\overline{\mathrm{MC}}]$, means over images. Its interval comes from drawing
# *images* again with replacement: the image is the unit that is independent, never the pair. The effect size is $\Delta$ in standard deviations of
# MC over images.

# %%
moved = shuffle(embedded.table, "count", seed=0, repeat=0)
shown = [embedded.table.image_ids.index(name) for name in (84, 64, 143, 190)]
assert np.array_equal(moved.counts, embedded.table.counts)  # every image keeps its number of boxes
assert np.allclose(np.sort(moved.xywh, axis=0), np.sort(embedded.table.xywh, axis=0))  # and no box is lost
figure, axes = panels(8, 4, 1.6)
rows = []
for k, (kind, source, color) in enumerate((("own", embedded.table, CYCLE[1]), ("permuted", moved, CYCLE[0]))):
    for panel, image in zip(axes[4 * k :], shown, strict=False):
        boxes, name = source.xywh[source.image == image], source.image_ids[image]
        pixels = embedded.pixels[image] if kind == "own" else None
        boxes_on(panel, boxes, source.sizes[image], pixels, color)
        value = macroscopic_correlation(source.where(source.image == image), report={})[image]
        panel.set_title(f"{kind}: MC {value:.2f}", fontsize=8)
        rows += [(name, kind, *box) for box in boxes]
data = pd.DataFrame(rows, columns=["image", "boxes", *"xywh"])
figures.save(figure, "extra/mc-permuted", data)
figure

# %%
excess = measured("excess")
figure, axes = panels(5, 5, 2.3, sharex=True, sharey=True)
for panel, (name, part) in zip(axes, excess.groupby("dataset", sort=False), strict=True):
    intervals(panel, part, "excess", "null", DATASET_COLORS[name])
    panel.set_title(name.split()[0])
figure.supxlabel("excess of MC over the null (bars: 95 % over images)", fontsize=9)
figures.save(figure, "extra/mc-excess", excess)
by, order = excess.set_index(["dataset", "null"])["excess"], list(excess["dataset"].unique())
assert (by.drop("BCCD", level=0).drop(("NEU-DET", "category")) > 0).all()
assert (excess.query("dataset == 'BCCD'")["high"] < 0).all()  # the whole interval, under every null
assert by["NEU-DET", "category"] < -0.02 < 0.02 < by["NEU-DET", "count"]  # the sign depends on the null
assert (round(by.min(), 3), round(by.max(), 3)) == (-0.034, 0.047)
level = excess.query("null == 'count'").set_index("dataset")[["observed", "null_mean"]]
ranked = [list(level[column].sort_values().index) for column in level]  # as annotated, and permuted
assert ranked[0] == ["NEU-DET", "VOC2012 trainval", "BCCD", "COCO val2017", "DeepPCB"]
assert ranked[1] == ["NEU-DET", "VOC2012 trainval", "COCO val2017", "BCCD", "DeepPCB"]
figure

# %% [markdown]
# **Notice.**
#
# - The excess of whole sets lies between $-0.034$ and $+0.047$, on a scale whose level is 0.55 to 0.77.
# - It depends on the null. COCO has 0.047 over images with similar counts and 0.016 over images of the same size.
# - It can change its sign. NEU-DET is above the free null and well *below* chance within its classes: once it is granted that a class has its typical size and place,
#   boxes of one image are less alike than boxes of different images ([24_defect_datasets](24_defect_datasets.ipynb) looks into it).
# - BCCD lies below every null, by 0.009, with intervals that end below zero. Section 6 asks why.
#
# ## 4. Where the rest sits
#
# **Predict.** Is what is left over in COCO spread evenly over its images, or does it sit in images with few boxes, or with many?

# %%
def pairs_by(frame, group, first, second, xlabel):
    """A panel a data set: for every group, `first` (filled) and `second` (open)."""
    sets = list(frame["dataset"].unique())
    figure, axes = panels(len(sets), len(sets), 0.95 + 0.26 * frame[group].nunique(), sharex=True, sharey=True)
    for panel, name in zip(axes, sets, strict=True):
        part = frame[frame["dataset"] == name].set_index(group).reindex(frame[group].unique())
        dumbbells(panel, part.index, part[first], part[second], DATASET_COLORS[name])
        panel.set_title(name.split()[0])
    figure.supxlabel(xlabel, fontsize=9)
    dot = {"marker": "o", "linestyle": "", "color": "0.3"}
    legend(figure, {first: dot, second: dot | {"markerfacecolor": "white"}}, "outside upper right")
    return figure


strata = measured("strata").rename(columns={"null_mean": "permuted"})
by_boxes = strata.query("by == 'boxes'")
wanted = by_boxes[by_boxes["dataset"].isin(["COCO val2017", "VOC2012 trainval", "DeepPCB"])]
figure = pairs_by(wanted, "group", "observed", "permuted", "mean MC of images by their number of boxes")
figures.save(figure, "extra/mc-strata", wanted)
coco = strata[strata["dataset"] == "COCO val2017"].set_index(["by", "group"])
excess = by_boxes.set_index(["dataset", "group"])["excess"]
for grows in (excess["COCO val2017"], excess["VOC2012 trainval"]):
    assert grows["2"] < grows["3-4"] < grows["5-8"] < min(grows["9-16"], grows["17+"])
assert excess["DeepPCB", "9-16"] < excess["DeepPCB", "3-4"]
figure

# %%
classes = measured("by_class").query("null == 'free'")
sure = classes["q_value"] < 0.05
counts = classes.assign(above=sure & (classes["excess"] > 0), below=sure & (classes["excess"] < 0)).groupby("dataset")
classes_of = counts.agg(classes=("group", "size"), above=("above", "sum"), below=("below", "sum"), median=("excess", "median"))
print(coco.loc[["size", "boxes"], ["images", "excess", "low", "high", "effect_size"]].round(3), classes_of.loc[order].round(3), sep="\n\n")
assert classes_of.loc["COCO val2017"].round(3).tolist() == [80, 48, 1, 0.099]
assert coco.loc[[("size", "< 0.05"), ("boxes", "17+")], ["excess", "effect_size"]].round(2).to_numpy().tolist() == [[0.08, 0.65], [0.07, 0.66]]

# %%
forms = measured("box_formats").query("null == 'count'").rename(columns={"null_mean": "permuted"})
normalised = forms["normalized"].map({True: ", normalised", False: ", pixels"})
forms["box format"] = forms["box_format"] + normalised
figure = pairs_by(forms, "box format", "observed", "permuted", "mean MC, by the numbers that describe a box")
left = forms.set_index(["dataset", "box_format", "normalized"])["excess"]
spread = forms.groupby("dataset")["observed"].agg(lambda values: values.max() - values.min())
own = forms.query("box_format == 'xywh' and not normalized").set_index("dataset")["excess"].abs()
assert len(spread) == 5 and (spread > own[spread.index]).all()
assert left["NEU-DET", "xywh", False] > 0.02
assert (left["NEU-DET"].loc[["cxcywh", "xyxy"]] < -0.01).all()
figures.save(figure, "extra/mc-coordinates", forms)
figure

# %% [markdown]
# **Notice.** The mean over a data set hides its strata. In COCO and VOC the excess grows with the number of boxes up to 9-16: 0.02 in images with two, +0.067 (0.66 standard deviations)
# in COCO's images with 17 and more. DeepPCB shows no such growth. COCO's excess falls with the size of the boxes (first table): +0.080 where the median side is below 0.05 of the
# image (0.65 standard deviations), and nothing is left where it is above 0.4. And **48 of COCO's 80 classes lie above their own null** (boxes of the class only, free null,
# $q < 0.05$), one below, with a median excess of +0.099 (second table). So *whole sets* have a small excess, and *small boxes, crowded images and most of COCO's classes*
# a clear one. It is not so everywhere: of VOC2012's 20 classes 7 lie above and 6 below.
#
# The six box formats (last figure) move the level more than permuting the boxes does in the authors' format (top left corner, pixels), in each of five sets. NEU-DET is above chance in
# that format and *below* it in both others: such a sign is not a property of the scene.
#
# ## 5. What the relation encoder sees
#
# Relation DETR's encoder does not see $\rho$. It sees, for two boxes with centres and sizes normalised to the image size,
#
# $$\log\Big(\frac{|x_i - x_j|}{w_i} + 1\Big),\quad \log\Big(\frac{|y_i - y_j|}{h_i} + 1\Big),\quad \log\frac{w_i}{w_j},\quad \log\frac{h_i}{h_j}.$$
#
# So ask directly: are they smaller for two boxes of one image than for boxes of different images? By hand first, on the blood cells; then for all five sets.

# %%
def geometry(boxes):
    """The four features of every two boxes, N boxes cx, cy, w, h in [0, 1]: (N, 4) -> (N, N, 4)."""
    centre, side = np.split(boxes, 2, axis=1)
    offset = np.log(abs(centre[:, None] - centre) / side[:, None] + 1)
    return np.concatenate([offset, np.log(side[:, None] / side)], axis=2)


boxes = embedded.table
unit = xywh_to_cxcywh(boxes.xywh) / np.tile(boxes.sizes, 2)[boxes.image]
sums = sum(abs(geometry(unit[boxes.image == image])).sum(axis=(0, 1)) for image in np.unique(boxes.image))
assert np.allclose(sums / (boxes.counts * (boxes.counts - 1)).sum(), [one.within for one in pair_similarity(boxes)])

# %%
similarity = measured("similarity").eval("ratio = within / between")
ratio = similarity.pivot(index=["null", "feature"], columns="dataset", values="ratio")[order].round(2)
print(ratio.loc[["free", "count"]].to_string())
alike = ratio[["COCO val2017", "VOC2012 trainval", "NEU-DET"]]
widths, places = [[(null, feature) for null in ("free", "count") for feature in some] for some in (["|log w ratio|"], ["x offset", "y offset"])]
assert alike.loc[widths + places].to_numpy().tolist() == [[0.71, 0.7, 0.5], [0.81, 0.82, 0.58], [1.08, 1.4, 1.2], [0.85, 0.99, 1.28], [0.94, 1.0, 1.02], [0.75, 0.73, 1.12]]
figure = pairs_by(wanted := similarity.query("null == 'free'"), "feature", "within", "between", "mean over pairs of boxes (free null)")
figures.save(figure, "extra/mc-similarity", wanted)
figure

# %% [markdown]
# **Notice.** In COCO, VOC2012 and NEU-DET, boxes of one image have similar sizes: under the free null, which the figure shows, their log width ratio is 0.71, 0.70 and 0.50 of that
# between images, and under the count null 0.81, 0.82 and 0.58. A prior on relative geometry can use this. In DeepPCB and BCCD all boxes have similar sizes, so there is little to see.
#
# *Places* depend on the null. Under the free null, of these three sets only COCO's boxes lie clearly closer in height than boxes of different images (0.85), and in $x$ all three lie farther
# apart (1.08, 1.40, 1.20). Among images with similar counts COCO and VOC2012 agree in height (0.75 and 0.73) and not from left to right (0.94 and 1.00), while NEU-DET's boxes lie apart
# still (1.12 in height, 1.02 across). The method may well be right where the statistic that motivates it is weak: [22_position_relation](22_position_relation.ipynb) and
# [23_query_groups](23_query_groups.ipynb) are about the method itself.
#
# Now live, where we know the order: generated scenes of digits in six layouts. *Overlapping* boxes are independent; *scattered* ones too, but that scenes with an overlap are left out; *loose* and
# *arranged* ones stand in rows, columns and blocks, at nearly equal heights in one image; *centred* and *smallest* ones without any deviation, in the middle of the image, or of one height in all images.
#
# **Predict.** Does the excess of MC rise with the strictness of the order?

# %%
layouts = ["overlapping", "scattered", "loose", "arranged", "centred", "smallest"]
sets = {layout: as_boxes(make_scenes(500, layout)) for layout in layouts} | {"BCCD": embedded.table}
rows = []
for name, one in (sets if DATA is None else sets | {"your file": table}).items():
    try:
        found, pairs = excess_correlation(one, "count"), pair_similarity(one, "count")
        rows.append((name, "excess of MC", found.excess, *found.interval))
        rows += [(name, pair.feature, pair.within - pair.between, *pair.interval) for pair in pairs]
    except ValueError as reason:
        print(f"{name} is left out: {reason}")
live = pd.DataFrame(rows, columns=["boxes", "quantity", "difference", "low", "high"])
of = live.set_index(["quantity", "boxes"])
mc_of, height_of, x_of = (of.loc[quantity] for quantity in ("excess of MC", "|log h ratio|", "x offset"))
assert (mc_of.loc[["scattered", "centred", "BCCD"], "high"] < 0).all() and mc_of["difference"].idxmax() == "smallest"
assert (height_of.loc[["loose", "arranged", "centred"], "high"] < -0.05).all() and height_of.loc["smallest", "low"] > -0.05
assert x_of.loc["centred", "low"] < 0 < x_of.loc["centred", "high"] and x_of.loc["smallest", "high"] < -0.3

# %% tags=["hide-input"]
colors = [DATASET_COLORS.get(name, CYCLE[0]) for name in live["boxes"].unique()]
figure, axes = panels(5, 5, 2.5, sharey=True)
for panel, (quantity, part) in zip(axes, live.groupby("quantity", sort=False), strict=True):
    intervals(panel, part, "difference", "boxes", colors)
    panel.set_title(quantity)
figure.supxlabel("as made or annotated, minus permuted (count null; features below 0: alike; bars: 95 % over images)", fontsize=9)
figures.save(figure, "extra/mc-layouts", live)
figure

# %% [markdown]
# **Notice.** It does not. *Centred* scenes are in strict order and lie below chance, as *scattered* ones do, which only keep apart; *smallest* ones, as strict, have the highest
# excess. Nor is one feature enough: heights show *loose*, *arranged* and *centred*, and hardly *smallest*; the $x$ offset shows *smallest* and not *centred*. What all images have in
# common (one height, one place) the permuted boxes have as well: an excess says how much more boxes of one image share than boxes of different images, not how regular an image is.
#
# ## 6. Blood cells: why below chance?
#
# Annotated boxes of cells overlap less often than permuted ones: 10 % of the pairs of red cells, against 13 %. With the free null:
#
# - *A mixture of classes?* Leave out the platelets, or all but red cells.
# - *Missing labels?* In each of twenty photographs looked at, red cells have no box. Leave out 10 to 30 % of the boxes more, at random.
# - *Boxes that keep apart?* `kept_apart` permutes boxes, then exchanges them between images until no more pairs overlap than in the
#   annotation. All else is as under the null: the boxes, and how many an image has.
#
# **Predict.** Which of the three takes the gap of $-0.009$ away?

# %%
kind = np.array([boxes.names[number] for number in boxes.category])
parts = {"as annotated": boxes, "without platelets": boxes.where(kind != "platelet"), "red cells only": boxes.where(kind == "red cell")}
found = {case: excess_correlation(part, "free") for case, part in parts.items()}
gaps = pd.DataFrame({case: (one.excess, *one.interval) for case, one in found.items()}, ["excess", "low", "high"]).T
assert (gaps["high"] < 0).all()
overlap = pd.DataFrame({case: overlap_share(part) for case, part in parts.items()}, ["annotated", "permuted"]).T
print("share of pairs that overlap:", overlap.round(3), sep="\n")
assert overlap.loc["red cells only"].round(2).tolist() == [0.10, 0.13]

# %%
def at_random(seed, share):
    return boxes.where(np.random.default_rng(seed).random(len(boxes)) >= share)


def habit(seed, level):
    """Permuted boxes without those whose IoU with an earlier box of their image is above `level`."""
    moved = shuffle(boxes, "free", seed, 0)
    corners = [xywh_to_xyxy(moved.xywh[moved.image == image]) for image in range(len(moved.image_ids))]
    late = [np.triu(iou(own, own) > level, 1).any(axis=0) for own in corners]  # an earlier box is in the way
    return moved.where(~np.concatenate(late))


seeds = range(5)
drawn = {f"{100 * share:.0f} % left out at random": [excess_correlation(at_random(seed, share), "free").excess for seed in seeds] for share in (0.1, 0.2, 0.3)}
apart = np.stack([macroscopic_correlation(kept_apart(boxes, seed), report={}) for seed in seeds])  # (seeds, I)
gap = macroscopic_correlation(boxes, report={}) - apart  # (seeds, I)
drawn["over boxes kept apart"] = np.nanmean(gap, axis=1)
for level in (0.2, 0.1):
    drawn[f"unrelated, IoU > {level} left out"] = [excess_correlation(habit(seed, level), "free").excess for seed in seeds]
low, high = bootstrap(np.mean, gap.mean(axis=0)[np.isfinite(gap[0])])
gaps.loc["over boxes kept apart"] = gap[:, np.isfinite(gap[0])].mean(), low, high
print(gaps.round(4).to_string())
assert low < 0 < high and (np.nanmean(apart, axis=1) < found["as annotated"].null_mean).all()  # every seed
assert all(max(values) < 0 for case, values in drawn.items() if "left out" in case)  # every seed

# %% tags=["hide-input"]
every = pd.DataFrame([(case, seed, value) for case, values in drawn.items() for seed, value in zip(seeds, values)], columns=["case", "seed", "excess"])
lines, color = [*found, *drawn], DATASET_COLORS["BCCD"]
figure, (axes,) = panels(1, 1, 2.9)
intervals(axes, gaps, "excess", color=color, order=lines)
axes.plot(every["excess"], every["case"].map(lines.index), "o", color=color, markersize=5, markerfacecolor="white")
axes.set(xticks=[-0.015, -0.01, -0.005, 0], xlabel="excess of MC (filled: with 95 % over images; open: one of five seeds)")
figures.save(figure, "extra/mc-cells", pd.concat([gaps.rename_axis("case").reset_index(), every]))
figure

# %% [markdown]
# **Notice.** The gap is no mixture: red cells alone have $-0.013$. Boxes that are missing *at random* do not explain it: with up to 30 % fewer, all five seeds stay below zero. Over boxes that are **kept apart**, nothing is left ($-0.000$; $-0.008$ to $+0.007$ over images). So what lowers the
# MC of blood cells is that their boxes overlap too seldom.
#
# *Who* keeps them apart is another matter. In the photographs of section 3 many cells without a box lie in clumps. Take unrelated, permuted boxes and leave out each one that overlaps an earlier one with
# an IoU above 0.2 (last lines of the figure): they fall just as far below chance, and farther with 0.1. Cells that push each other aside and people who skip overlapping cells look the same here.
#
# ## 7. Your boxes
#
# With `DATA` set in the parameters cell this is your file in place of the blood cells, whose row of section 3 comes out again; its features are in the last row of the figure of
# layouts. Below stands one of the images, to move its boxes about: drag, pull corners, N adds, Delete removes.

# %%
name = "BCCD" if DATA is None else "your file"
records = []
for null in NULLS:
    try:
        records.append(excess_correlation(table, null, shuffles=SHUFFLES))
    except ValueError as reason:  # no image size, say, or no image with two boxes
        print(f"{null} is left out: {reason}")
columns = ["null", "images", "observed", "null_mean", "excess", "effect_size", "p_value"]
mine = pd.DataFrame([vars(record) for record in records], columns=columns)
mine[["low", "high"]] = np.reshape([record.interval for record in records], (-1, 2))
mine["for 0.02"] = ((1.65 * (mine["high"] - mine["low"]) / 2 / 0.02) ** 2 * mine["images"]).round()  # images: section 8
print(mine.round(3).to_string(index=False))
assert DATA or np.allclose(mine["excess"], by["BCCD"][list(NULLS)], atol=1e-3)  # as in the table, from other shuffles
figure, (axes,) = panels(1, 1, 2)
intervals(axes, mine, "excess", "null", DATASET_COLORS[name])
axes.set(xlabel="excess of MC over the null (bars: 95 % over images)", title=name)
figures.save(figure, "extra/mc-excess-own", mine.assign(dataset=name))
figure

# %%
one = int(np.abs(table.counts - 6).argmin())
BoxExplorer(table, one, pixels=embedded.pixels[one] if DATA is None else None)

# %% [markdown]
# ## 8. Advice
#
# **Which null?** The one that destroys what you ask about, and keeps what you grant. Say which.
#
# | you ask whether boxes of one image are related | null |
# |---|---|
# | at all | free, where all images are of one kind and hold similar numbers |
# | beyond crowded images holding smaller boxes | count: take it first |
# | beyond each class having its sizes and places | category, or each class by itself (section 4) |
# | with images of several shapes, in pixels | size, where many share a shape; else rescaled |
# | in their places, whatever their sizes | places permuted, sizes stay (exercise 2) |
# | at all, or only by being boxes | each of the four columns permuted by itself: a floor, since places and sizes no longer fit |
#
# **How many images?** From each set 25, 50, ... 800 images with two boxes or more were drawn (at most half of them), 100 times each. Did the interval leave 0 out, on
# the side of the whole set's excess?
#
# **Predict.** VOC2012 has an excess of 0.033 over the count null. How many of its images show it nine times out of ten?

# %%
needed, goal = measured("images_needed"), by.xs("count", level="null")
wholes, drawn = (needed[chosen].set_index("dataset") for chosen in (needed["draws"] == 1, needed["draws"] > 1))
rule = (wholes["half_width"] * wholes["images"] ** 0.5).to_frame("c")
for name, size in (("its own", goal), ("0.02", 0.02), ("0.04", 0.04)):
    rule[f"images to see {name}"] = ((1.65 * rule["c"] / size) ** 2).round()
print(rule.round(2).to_string())
part_of_rule = drawn["half_width"] * drawn["images"] ** 0.5 / rule["c"][drawn.index]
assert part_of_rule[drawn["images"] >= 100].between(0.9, 1.1).all() and part_of_rule.max() < 1.1
enough = drawn["images"] / rule["images to see its own"][drawn.index]
assert (drawn["found"][enough > 1] > 0.9).all() and (drawn["found"][enough < 0.5] < 0.5).all()
assert (drawn["wrong"] == 0).all() and drawn["covered"].min() >= 0.94 and drawn["draws"].sum() == 2500
figure, (width, share) = panels(2, 2, 2.9)
for name, part in drawn.groupby("dataset", sort=False):
    color, reach = DATASET_COLORS[name], np.array([25, wholes["images"][name]])
    width.plot(part["images"], part["half_width"], "o", color=color)
    width.plot(reach, rule["c"][name] / np.sqrt(reach), color=color, linewidth=1)
    width.plot(reach[1], wholes["half_width"][name], "s", color=color, markerfacecolor="white")
    share.plot(part["images"], 100 * part["found"], "o-", color=color)
for panel, ticks in ((width, [25, 100, 400, 1600, 6400]), (share, [25, 50, 100, 200, 400, 800])):
    panel.set(xscale="log", xlabel="images with two boxes or more")
    panel.set_xticks(ticks, ticks)
    panel.minorticks_off()
width.set(yscale="log", ylabel="half-width of the 95 % interval")
width.set_yticks([0.005, 0.01, 0.02, 0.04, 0.08], ["0.005", "0.01", "0.02", "0.04", "0.08"])
share.set(ylabel="draws that find the excess, %", ylim=(-3, 103))
legend(figure, {f"{name} ({mean:+.3f})".replace("-0", "−0"): {"color": DATASET_COLORS[name], "marker": "o"} for name, mean in goal.items()}, ncols=3)
figures.save(figure, "extra/mc-images-needed", needed)
figure

# %% [markdown]
# **Notice.** The half-width is $c / \sqrt{n}$ (lines, through the whole sets' squares), from 100 images on within a tenth; $c$, 1.96 standard deviations of an image's excess, lies between 0.11 (BCCD) and 0.45 (VOC2012, NEU-DET).
# Nine intervals of ten leave 0 out from $n = (1.65\, c / \Delta)^2$ on: about 160 images for COCO's 0.047, 220 for DeepPCB's 0.022, 510 for VOC's 0.033, 1000 for NEU-DET's 0.024, and for BCCD's $-0.009$ more than it has.
# With half as many, fewer than half of the draws did. For an excess of 0.02 count on 80 to 1400 images (your boxes: last column in section 7), for 0.04 on a quarter. None of the 2500 intervals lay on the wrong side.
#
# **A small $p$ with an interval over 0.** Here is a case, the first 100 images of COCO val2014, and the effect sizes of section 3.

# %%
every = read_table("measured/excess.csv").eval("spread = (high - low) / 2 / 1.96")  # of the mean, over images drawn again
case = every.query("dataset == 'coco_val2014_100_gt' and null == 'free'").squeeze()
five = every[every["dataset"].isin(style.DATASETS)]
print(case[["images", "excess", "p_value", "low", "high", "null_std", "spread"]].to_string())
print(five.pivot(index="null", columns="dataset", values="effect_size").loc[list(NULLS)].round(2).to_string())
assert case["p_value"] < 0.05 and case["low"] < 0 < case["high"]
assert [round(case["excess"] / case[column], 1) for column in ("null_std", "spread")] == [2.1, 1.7]
assert (five["spread"] / five["null_std"]).round(1).between(1, 1.6).all() and five["effect_size"].abs().max() < 0.25
assert drawn[drawn["images"] == 50].loc[["COCO val2017", "DeepPCB"], "p_alone"].tolist() == [0.23, 0.38]

# %% [markdown]
# **Notice.** They ask different things.
#
# - The *p-value* keeps these images and permutes their boxes: do they hold them as if by chance? The excess is 2.1 times the spread over shuffles (0.016): hardly, $p = 0.028$.
# - The *interval* keeps each image as it is and draws images again: would other images of the kind have an excess, too? It is 1.7 times the spread over images (0.020):
#   not sure, $-0.006$ to $+0.071$.
#
# The second spread is the larger one, by a factor of up to 1.6 in the five sets, because images differ more from each other than permuted boxes make them. Between the two lies this case: boxes of
# *these* images look related, and there are too few of *such* images to tell. It is common: 23 of 100 draws of 50 images of COCO, 38 of DeepPCB. Take more images.
#
# Nor do p-values rank anything: with 1000 shuffles they cannot be below 1/1001. No effect of a whole set exceeds a quarter of a standard deviation; report $\Delta$, its interval and the effect size.
#
# ## Here and in the paper
#
# | | here | in the paper | why they differ |
# |---|---|---|---|
# | data sets | COCO val2017, VOC2012, NEU-DET, DeepPCB, BCCD | COCO and others, among them CSD, ESD, MSSD | the industrial sets of the paper are not public |
# | crowd boxes | left out | counted in the authors' code | makes 0.0016 on COCO val2017 |
# | densities | seaborn; scaled to each set's peak in the first figure | rescaled for display | |
# | null | five | none | the paper reads the level |
# | conclusion | the level is no evidence; the excess of whole sets is small, depends on the null, and can be negative; small boxes, crowded images and 48 of COCO's 80 classes have a clear one | relations exist; task-specific sets have more | |
#
# ## Exercises
#
# **1.** A data set of two-box images has mean MC 0.56. What would four unrelated numbers give?
#
# **2.** A null of your own: permute the places (x, y) of the blood cells' boxes between all boxes with `np.random.default_rng(0).permutation`, and let
# every box keep its width and height (`replace(table, xywh=...)`). What is the mean MC, to three digits?

# %%
answer_1, answer_2 = None, None
hints = {0.0: "That is the zero of a correlation, not of its absolute value.", 0.56: "That is the observed value."}
check(answer_1, 0.5, hints=hints)
places = boxes.xywh[np.random.default_rng(0).permutation(len(boxes)), :2]
own = replace(boxes, xywh=np.hstack([places, boxes.xywh[:, 2:]]))
before, after = (np.nanmean(macroscopic_correlation(one, report={})) for one in (boxes, own))
check(answer_2, after, tolerance=6e-4, hints={before: "That is the mean before permuting."})

# %% [markdown]
# <details><summary>Solutions</summary>
#
# 1. 0.5, for any number of boxes; only the spread depends on it.
# 2. `places = boxes.xywh[np.random.default_rng(0).permutation(len(boxes)), :2]`, then
#    `np.nanmean(macroscopic_correlation(replace(boxes, xywh=np.hstack([places, boxes.xywh[:, 2:]])), report={}))`
# </details>
#
# **3.** Which null would you choose for images of shelves, where every image shows one product? Write down what it must keep, then see which of the five
# does. (There is no single right answer; `"category"` keeps a product's size, `"count"` keeps full shelves full.)
#
# ## Questions for the group
#
# 1. The free null mixes portraits of one object with crowds. Is what it destroys a relation between boxes?
# 2. NEU-DET's excess changes sign between two nulls. Which one answers the question that the paper asks?
# 3. If same-size neighbours are the real regularity, would you build the prior on sizes alone? How would you test that?
#
# ## Summary
#
# Mean MC runs from 0.55 to 0.77 over five real data sets, and boxes permuted between images give nearly the same. What is left of *whole sets* is between $-0.034$ and
# $+0.047$, depends on the null, and is negative for blood cells, whose boxes overlap too seldom (the cells, or the people who labelled them), and for steel defects within their classes.
# *Within COCO* it is larger: 48 of 80 classes lie above their own null (median excess +0.099), images with small boxes have +0.080, crowded ones +0.067.
# Boxes of one image have similar sizes in three of the five sets. An excess does not measure order, and it takes hundreds of images to see one of a whole set.
#
# **Next:** [22_position_relation](22_position_relation.ipynb) takes the relation itself apart; [24_defect_datasets](24_defect_datasets.ipynb) looks at the industrial sets class by class.
#
# **References**
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
print(marginalia.versions("numpy", "pandas", "seaborn", "matplotlib"))
