# %% [markdown]
# # Box correlation of data sets
#
# **How much of a data set's box-position correlation is left after the right comparison?**
#
# Paper: Relation DETR (ECCV 2024), Figure 1. About one minute on two CPU cores.
#
# **中文摘要。** 论文图 1 显示，各数据集的宏观相关性 MC 都集中在较高的数值，并据此认为物体之间存在位置关系。本笔记在五个真实数据集上重算 MC，再把框随机换到别的图片里，作为随机基线（零模型）：大部分“高相关”在毫无关系的框上同样出现。剩下的超出量很小，大小甚至正负号都取决于随机基线的选法；任务专用的数据集也并不总是更高（NEU-DET 和 BCCD 低于 COCO）。同一张图里的框大小往往相近，这一规律在三个数据集上比 MC 的超出量明显得多。

# %% [markdown]
# ## What you will see
#
# 1. Reading boxes, yours or the embedded ones.
# 2. Figure 1 of the paper for five real data sets, and the same after the boxes changed places.
# 3. Five ways to say "no relation", and what is left over each of them, with intervals.
# 4. Where the rest sits: crowded images, coordinates, sizes.
# 5. What the relation encoder sees instead, and what there is to see.
#
# You need [20_pearson_between_boxes](20_pearson_between_boxes.ipynb): MC is a mean of $|\rho|$, its natural zero is 0.5, and small boxes reach 0.75 on their own.
#
# The real sets are COCO val2017, VOC2012, NEU-DET (steel), DeepPCB (circuit boards) and BCCD (blood cells). Their files are not part of this
# collection; what is shown was measured from them with `make measure` and kept as tables in `data/measured/`. Embedded photographs and
# your own file are measured live.

# %%
import numpy as np
import pandas as pd

import marginalia
from marginalia import figures, style
from marginalia.boxes import NULLS, excess_correlation, macroscopic_correlation, read_boxes, shuffle
from marginalia.boxes.photographs import photographs
from marginalia.boxes.plots import correlation as plots
from marginalia.boxes.plots.defects import size_and_mc
from marginalia.boxes.uniform import random_layout
from marginalia.exercises import check

style.use_style()

# %% tags=["parameters"]
DATA = None  # path of your own annotations: COCO JSON, VOC XML, YOLO txt, ...
FAST = True  # fewer shuffles of the boxes measured live
RETRAIN = False  # nothing is trained in this notebook

# %% [markdown]
# ## 1. Boxes come in
#
# Five photographs of scikit-image, segmented and cut into disjoint tiles, stand in where no data set is at hand. A `BoxTable` holds all
# boxes of a set, and says what was unusual about them.

# %%
embedded = photographs(tiles=True)
table = read_boxes(DATA) if DATA else embedded.table
SHUFFLES = 200 if FAST else 1000
mc = macroscopic_correlation(table, report={})
measured = np.isfinite(mc)
print(f"{measured.sum()} of {len(mc)} images have two boxes or more; mean MC {mc[measured].mean():.4f}")
assert ((mc[measured] >= 0) & (mc[measured] <= 1)).all()
table

# %% [markdown]
# ## 2. Figure 1, twice
#
# **Claim of the paper.** The densities of MC concentrate at high values in all data sets, so position relations exist; sets for
# one task lie further right, because they carry more prior knowledge.
#
# **Predict.** On the left is the paper's figure for our sets. For the right one, every image kept its number of boxes, but the
# boxes came from other images with similar counts. Whatever related the boxes of an image is gone. Where will the curves be?

# %%
figure, data = plots.mc_density(DATA)
figures.save(figure, "relation-detr/mc-density", data)
figure

# %% [markdown]
# **Notice.** The curves hardly move sideways. Most of the level is there without any relation between the boxes of an image, and so is the order of the data sets, but for
# COCO and BCCD, which change places. What changes is the width: COCO's curve becomes narrower, since its images differ more from each other than chance
# would make them. One by one:

# %%
figure, data = plots.mc_against_null(data)
mc_of = data.set_index("dataset")
assert (mc_of["excess"].abs() < 0.06).all()  # what shuffling takes away is small in every set
assert (mc_of.loc[["NEU-DET", "BCCD"], "observed"] < mc_of.loc["COCO val2017", "observed"]).all()
figures.save(figure, "extra/mc-against-null", data)
figure

# %% [markdown]
# **Notice.** DeepPCB is on the right, NEU-DET on the left, and so are their grey curves. COCO stands 0.05 above its null, BCCD 0.01
# *below* it. "Further right" is not the property of task-specific sets that the paper takes it for.
#
# ## 3. What is "no relation"?
#
# To say that something is left over, one must say over what. A null keeps some properties of the data and destroys the
# rest; here boxes change places between images, and each image keeps its number of boxes.
#
# | null | a box may go to | keeps, besides the number of boxes in an image |
# |---|---|---|
# | free | any image | nothing |
# | count | images with a similar number: 1, 2, 3-4, 5-8, 9-16, 17 and more | that crowded images hold smaller boxes |
# | category | where another box of its class was | that a class has its sizes and places |
# | size | images of exactly the same width and height | the shape of the picture |
# | rescaled | any image, as a share of its width and height | that boxes stay inside the picture |
#
# The other four move pixels as they are, which can put a box partly outside the image that receives it. Where all images have one size (NEU-DET, DeepPCB, BCCD), free,
# size and rescaled are the same null.

# %%
moved = shuffle(embedded.table, "count", seed=0, repeat=0)
names = ("coins-1-3", "page-1-2", "hubble_deep_field-1-1", "brick-1-2")
shown = [embedded.table.image_ids.index(name) for name in names]
assert np.array_equal(moved.counts, embedded.table.counts)  # every image keeps its number of boxes
assert np.allclose(np.sort(moved.xywh, axis=0), np.sort(embedded.table.xywh, axis=0))  # and no box is lost
figure, data = plots.permuted(embedded.table, moved, shown, embedded.pictures)
figures.save(figure, "extra/mc-permuted", data)
figure

# %% [markdown]
# The excess is $\Delta = \overline{\mathrm{MC}} - \mathbb{E}_{\text{null}}[\overline{\mathrm{MC}}]$, means over images. Its interval comes from drawing
# *images* again with replacement: the image is the unit that is independent, never the pair. The effect size is $\Delta$ in standard deviations of
# MC over images.

# %%
excess = plots.measured("excess")
cells = excess.set_index(["null", "dataset"]).unstack()
order = list(NULLS), list(excess["dataset"].unique())
cells["excess"].loc[order].style.format("{:+.3f}").background_gradient(cmap="RdBu_r", vmin=-0.08, vmax=0.08, axis=None)

# %%
figure, data = plots.excess_forest(excess)
by = excess.set_index(["dataset", "null"])["excess"]
assert (by.drop("BCCD", level=0).drop(("NEU-DET", "category")) > 0).all() and (by["BCCD"] < 0).all()
assert by["NEU-DET", "category"] < -0.02 < 0.02 < by["NEU-DET", "count"]  # the sign depends on the null
assert (round(by.min(), 3), round(by.max(), 3)) == (-0.034, 0.047)
figures.save(figure, "extra/mc-excess", data)
figure

# %% [markdown]
# **Notice.**
#
# - The excess lies between $-0.034$ and $+0.047$, on a scale whose level is 0.55 to 0.77.
# - It depends on the null. COCO has 0.047 over images with similar counts and 0.016 over images of the same size.
# - It can change its sign. NEU-DET is above the free null and well *below* chance within its classes: a class has its typical size and place, and
#   once that is granted, boxes of one image are less alike than boxes of different images, perhaps because they overlap less often
#   ([24_defect_datasets](24_defect_datasets.ipynb) looks into it).
# - BCCD lies a little below every null, which for its one image size are three different ones.

# %%
effects = cells["effect_size"].loc[order]
print(effects.round(2).to_string())
assert effects.abs().to_numpy().max() < 0.25  # small effects throughout
assert (excess["p_value"] <= 0.05).all()  # and yet every one of them is "significant"

# %% [markdown]
# **Notice.** Every single p-value (the share of 1,000 shuffles that lie as far from their mean as the data, plus one) is below 0.05, and no effect exceeds a quarter of a standard
# deviation. With hundreds or thousands of images small differences are significant: report $\Delta$ and the effect size.
#
# ## 4. Where the rest sits
#
# **Predict.** Is what is left over in COCO spread evenly over its images, or does it sit in images with few boxes, or with many?

# %%
strata = plots.measured("strata").query("by == 'boxes'").rename(columns={"null_mean": "permuted"})
wanted = strata[strata["dataset"].isin(["COCO val2017", "VOC2012 trainval", "DeepPCB"])]
label = "mean MC of images by their number of boxes"
figure, data = plots.dumbbells(wanted, "group", "dataset", label, ("observed", "permuted"))
coco = strata[strata["dataset"] == "COCO val2017"].set_index("group")["excess"]
assert coco["2"] < coco["3-4"] < coco["5-8"] < min(coco["9-16"], coco["17+"])
figures.save(figure, "extra/mc-strata", data)
figure

# %% [markdown]
# **Notice.** In COCO and VOC the excess grows with the number of boxes: 0.02 in images with two, about 0.07 in crowded ones of COCO, where the effect is not small any
# more (0.66 standard deviations at 17 boxes and more). DeepPCB shows no such growth.
#
# The six ways to write a box down, corners or centres, pixels or shares of the image, move the level more than exchanging the boxes does:

# %%
forms = plots.measured("box_format").query("null == 'count'").rename(columns={"null_mean": "permuted"})
forms["written as"] = forms["box_format"] + forms["normalized"].map({True: ", shares", False: ", pixels"})
label = "mean MC, by the numbers that describe a box"
figure, data = plots.dumbbells(forms, "written as", "dataset", label, ("observed", "permuted"))
left = forms.set_index(["dataset", "box_format", "normalized"])["excess"]
spread = forms.groupby("dataset")["observed"].agg(lambda values: values.max() - values.min())
assert spread["NEU-DET"] > 0.1 and spread["COCO val2017"] > 0.05
assert left["NEU-DET", "xywh", False] > 0.02
assert (left["NEU-DET"].loc[["cxcywh", "xyxy"]] < -0.01).all()
figures.save(figure, "extra/mc-coordinates", data)
figure

# %% [markdown]
# **Notice.** NEU-DET is above chance in the authors' coordinates and *below* it in both others, and DeepPCB's excess vanishes with two corners. A sign that depends on how
# a box is written down is not a property of the scene.
#
# **Predict.** Order the five sets by the size of their boxes, from small to large. How does that compare with the order of their MC?

# %%
sizes = plots.measured("sizes").merge(excess.query("null == 'free'")[["dataset", "observed"]])
industrial = sizes["dataset"].isin(["NEU-DET", "DeepPCB"])
sizes = sizes.assign(name=sizes["dataset"], kind=np.where(industrial, "industrial", "other"))
sides = np.geomspace(0.05, 1, 10)
unrelated = [macroscopic_correlation(random_layout(7, s, 400, seed=2)) for s in sides]
low, high = np.quantile(unrelated, [0.05, 0.95], axis=1)
mean = np.mean(unrelated, axis=1)
curve = pd.DataFrame({"side": 0.43 * sides, "mean": mean, "low": low, "high": high})  # median of sqrt(w h): .43 s
figure, data = size_and_mc(sizes, curve)
by_side = sizes.sort_values("side")["dataset"]
assert by_side.iloc[0] == "DeepPCB" == sizes.loc[sizes["observed"].idxmax(), "dataset"]  # smallest boxes, highest MC
assert by_side.iloc[-1] == "NEU-DET" == sizes.loc[sizes["observed"].idxmin(), "dataset"]
figures.save(figure, "extra/mc-size-order", data)
figure

# %% [markdown]
# **Notice.** The set with the smallest boxes has the highest MC and the one with the largest boxes the lowest, as it is for boxes that have nothing to do with each other (line;
# the band is for single pictures of them). Five sets are few, three of them lie well above the line, and VOC2012 and NEU-DET have the same median side and differ by
# 0.06. But the order of Figure 1 is the order of box sizes; it is not that of general against task-specific sets.
#
# ## 5. What the relation encoder sees
#
# Relation DETR's encoder does not see $\rho$. It sees, for two boxes with centres and sizes as shares of the image,
#
# $$\log\Big(\frac{|x_i - x_j|}{w_i} + 1\Big),\quad \log\Big(\frac{|y_i - y_j|}{h_i} + 1\Big),\quad \log\frac{w_i}{w_j},\quad \log\frac{h_i}{h_j}.$$
#
# So ask directly: are these smaller for two boxes of one image than for boxes of different images?

# %%
similarity = plots.measured("similarity").query("null == 'free'")
means = similarity.set_index(["feature", "dataset"])
ratio = (means["within"] / means["between"]).unstack()[order[1]]
print(ratio.round(2).to_string())
assert (ratio.loc["|log w ratio|", order[1][:3]] < 0.75).all()
counted = plots.measured("similarity").query("null == 'count'").set_index(["feature", "dataset"])
counted = (counted["within"] / counted["between"]).unstack()[order[1][:3]]
assert counted.loc["|log w ratio|"].between(0.575, 0.825).all()
assert counted.loc[["y offset", "x offset"]].round(2).iloc[:, :2].to_numpy().tolist() == [[0.75, 0.73], [0.94, 1.0]]
label = "mean over pairs of boxes"
figure, data = plots.dumbbells(similarity, "feature", "dataset", label, ("within", "between"))
figures.save(figure, "extra/mc-similarity", data)
figure

# %% [markdown]
# **Notice.** In COCO, VOC2012 and NEU-DET, boxes of one image have similar sizes: their log width ratio is a half to three quarters of that between any images, and 0.58 to 0.82 of that
# between images with similar counts. A prior on relative geometry can use this. Places agree in height, not from left to right: against images with similar counts the $y$ offset is 0.75 (COCO) and
# 0.73 (VOC2012) of that between images, the $x$ offset 0.94 and 1.00. In DeepPCB and BCCD all boxes have similar sizes, so there is little to see. The method may well be right where the statistic that motivates it is weak; the
# notebooks on the method itself are planned.
#
# ## 6. Your boxes
#
# With `DATA` set in the parameters cell this is your file in place of the embedded photographs. Tiles of one photograph are alike, so
# the interval for them is narrower than one for new photographs would be.

# %%
records = [excess_correlation(table, null, shuffles=SHUFFLES) for null in NULLS]
columns = ["null", "observed", "null_mean", "excess", "effect_size", "p_value"]
mine = pd.DataFrame([vars(record) for record in records])[columns]
mine[["low", "high"]] = [record.interval for record in records]
print(mine.round(3).to_string(index=False))
figure, data = plots.excess_forest(mine.assign(dataset="your file" if DATA else "photographs (tiles)"))
figures.save(figure, "extra/mc-excess-own", data)
figure

# %% [markdown]
# One of the embedded pictures, to move its boxes about: drag, pull corners, N adds, Delete removes.

# %%
from marginalia.explorers import BoxExplorer

one = embedded.table.image_ids.index("page-1-2")
BoxExplorer(embedded.table.where(embedded.table.image == one).xywh, picture=embedded.pictures[one])

# %% [markdown]
# ## Here and in the paper
#
# | | here | in the paper | why they differ |
# |---|---|---|---|
# | data sets | COCO val2017, VOC2012, NEU-DET, DeepPCB, BCCD, photographs | COCO and others, among them CSD, ESD, MSSD | the industrial sets of the paper are not public |
# | crowd boxes | left out | counted in the authors' code | makes 0.0016 on COCO val2017 |
# | densities | seaborn; scaled to each set's peak in the first figure | rescaled for display | |
# | null | five | none | the paper reads the level |
# | conclusion | the level is no evidence; the excess is small, depends on the null, and can be negative | relations exist; task-specific sets have more | |
#
# ## Exercises
#
# **1.** A data set of two-box images has mean MC 0.56. What would four unrelated numbers give?

# %%
answer = None
hints = {0.0: "That is the zero of a correlation, not of its absolute value.", 0.56: "That is the observed value."}
check(answer, 0.5, hints=hints)

# %% [markdown]
# <details><summary>Solution</summary>
#
# 0.5, for any number of boxes; only the spread depends on it.
# </details>
#
# **2.** Shuffle the embedded tiles under the free null with seed 1 and repeat 0. What is the mean MC of the result, to three digits?

# %%
answer = None
free = macroscopic_correlation(shuffle(embedded.table, "free", 1, 0), report={})
check(answer, np.nanmean(free), tolerance=6e-4, hints={np.nanmean(mc): "That is the mean before shuffling."})

# %% [markdown]
# <details><summary>Solution</summary>
#
# `np.nanmean(macroscopic_correlation(shuffle(embedded.table, "free", 1, 0), report={}))`
# </details>
#
# **3.** Which null would you choose for pictures of shelves, where every picture shows one product? Write down what it must keep, then see which of the five
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
# Mean MC runs from 0.55 to 0.77 over five real data sets, and boxes dealt out to other images give nearly the same. What is left is between $-0.034$ and
# $+0.047$, depends on the null, and is negative for blood cells under every null and for steel defects within their classes. Box size, not the task, orders
# the data sets. Boxes of one image have similar sizes in three of the five sets.
#
# **Next:** [24_defect_datasets](24_defect_datasets.ipynb) looks at the industrial sets class by class.
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
