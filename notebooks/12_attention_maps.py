# %% [markdown]
# # Attention maps of queries
#
# **Where does each head of a detector look, and is it where the paper says?**
#
# Papers: Conditional DETR (ICCV 2021), Figures 1 and 4; DAB-DETR (ICLR 2022), Figures 4, 10 and 11. About one minute on two CPU cores.
#
# **中文摘要。** 检测器的每个注意力头到底在看哪里？本笔记用在本仓库中训练好的小模型（64 像素的手写数字场景）画出 Conditional DETR 论文的图 1 和图 4：空间注意力、内容注意力，以及二者相乘再归一化得到的真实注意力。随后把“各个头盯住物体的一条边”从一张图变成一个数：对数百个物体统计注意力峰值相对于框的位置（以半框为单位）、四分位距和熵，并与“交换框”的对照比较。接着看训练过程、温度与特征图大小的影响，再看 DAB-DETR 的锚框如何逐层移动、宽高如何拉伸注意力。最后可以换成公开的权重和自己的图片。小模型的头看的是框内靠边的小区域，而不是论文里贯穿整条边的长条，文中如实说明。
#
# ## What you will see
#
# 1. One head: content times spatial is what the model attends with.
# 2. The paper's Figures 4 and 1, with models trained here.
# 3. From one picture to a statistic: where 18 heads look, over hundreds of objects.
# 4. When that comes about in training, and what temperature and map size do to it.
# 5. DAB-DETR: anchors, their way through the layers, and maps that follow the size of the object.
# 6. A published checkpoint and your own picture; a panel to explore.
#
# You need to know how the conditional query is made: [11_conditional_cross_attention](11_conditional_cross_attention.ipynb).

# %%
import numpy as np
import pandas as pd
import torch
from IPython.display import display

import marginalia
from marginalia import figures
from marginalia.detection import capture_attention, heads, load, make_scenes, runs
from marginalia.detection.plots import anchors, attention
from marginalia.detection.plots import heads as plots
from marginalia.exercises import check, check_function
from marginalia.explorers import AttentionExplorer

figures.use_style()
torch.set_num_threads(1)
CONDITIONAL, DETR, LONG = "headline-conditional-0", "headline-detr-0", "long-detr-0"
SIDES = ["left", "right", "top", "bottom"]

# %% tags=["parameters"]
FAST = True  # nothing here is slow
RETRAIN = False  # nothing is trained in this notebook; 13_convergence has the runs
SCENE = 5  # which validation scene the pictures show
CHECKPOINT = None  # a folder or a hub name, say "microsoft/conditional-detr-resnet-50"; None: the models trained here
PICTURE = None  # your picture for it, a file
EXPLORED = "headline-conditional-0"  # the model in the panel at the end

# %% [markdown]
# ## 1. One head, one object
#
# **Claim.** In Conditional DETR a head's attention is the product of two maps, one about *what* and one about *where*.
#
# With content query $c_q$ and key $c_k$, spatial query $p_q$ and key $p_k$ (all projected, $D$ channels a head), the weight of cell $k$ is
#
# $$a_k \;\propto\; \exp\!\Big(\tfrac{c_q^\top c_k + p_q^\top p_k}{\sqrt{2D}}\Big) \;=\; \underbrace{\exp\!\Big(\tfrac{c_q^\top c_k}{\sqrt{2D}}\Big)}_{\text{content}} \cdot \underbrace{\exp\!\Big(\tfrac{p_q^\top p_k}{\sqrt{2D}}\Big)}_{\text{spatial}}.$$
#
# Logits add, so maps multiply. The picture has four handwritten digits that the model never saw; the query is the one that found the six.
#
# **Predict.** The content map alone: does it know *which* digit this query is about?

# %%
figure, data = attention.product_of_maps(CONDITIONAL, SCENE, thing=1)
figures.save(figure, "extra/attention-product", data)
rebuilt = data["content"] * data["spatial"]
assert np.allclose(data["combined"], rebuilt / rebuilt.sum(), atol=1e-6)  # the product, normalised, is the attention
figure

# %% [markdown]
# **Notice.** It does not. The content map lights up strokes of *all* digits, and weakly; the spatial map is a spot at one edge of the six; their product keeps the strokes at that edge.
# Nothing here depends on how we draw: `combined` is the weight that the model uses, to float precision.
#
# All maps come from one call, which works for the models here and for those of transformers:

# %%
model = load(CONDITIONAL)
scenes = make_scenes(1, split="val", first=SCENE)
maps = capture_attention(model, torch.from_numpy(scenes.pixels))
print("(layers, pictures, heads, queries, h, w):", tuple(maps.combined.shape))
print("content logits of each layer:", maps.content_terms)
assert torch.allclose(maps.combined.sum((-2, -1)), torch.ones(3, 1, 6, 16), atol=1e-5)

# %% [markdown]
# **Notice.** The first layer's content part also holds the object query and the cells' positions, because there is no decoder content yet. Its "content" map is therefore
# not about content alone, and we leave the first layer out of what follows unless we say so.
#
# ## 2. Figure 4: spatial, content, combined
#
# The paper shows five of eight heads for two objects: left, top, right, bottom and inside. Which head does which differs from one training to the next, so heads must be *found*: we take
# those whose peaks keep to a side over hundreds of objects (section 4), from the last two layers. The paper does not say which layer it shows.
#
# **Predict.** For the two objects, does a head keep its side?

# %%
figure, data = attention.attention_decomposition(scene=SCENE, things=(1, 2))
figures.save(figure, "conditional-detr/attention-decomposition", data)
entropy = data.groupby("map")["entropy"].median()
assert entropy["content"] > entropy["spatial"] + 1  # nats: content maps are diffuse here too
assert (data["layer"] > 0).all()
figure

# %% [markdown]
# **Notice.** The rows tell the paper's story: spatial maps pick a place at the object, content maps pick strokes anywhere, and what is left is the right stroke at the right
# place. A name in brackets means that no head keeps to that side in this model; the nearest is shown.
#
# What differs from the paper: there the spatial maps are *bands* along a whole side. Here they are spots of about the width of a stroke. A 16 x 16 map of small objects leaves little room for bands, and a spot is enough to tell a side's position.
#
# ## 3. Figure 1: the same heads in DETR
#
# DETR has no spatial query. The paper compares with $(c_q + o_q)^\top p_k$: the full query against positions only. The third row is the same DETR trained ten times as long, as in
# the paper (50 and 500 epochs there).
#
# **Predict.** Which row looks like the first one: DETR after the same number of steps, or after ten times as many?

# %%
figure, data = attention.spatial_attention_maps(scene=SCENE, thing=1)
figures.save(figure, "conditional-detr/spatial-attention-maps", data)
figure

# %% [markdown]
# **Notice.** Conditional DETR's spots sit at the six's left, top, right and bottom. DETR's are clouds, some beside the object; ten times the training makes them smaller, but not small. A name in brackets says that no head of that model keeps to this side, and that the
# nearest is shown. One object is an anecdote, though. To say more we need many.
#
# ## 4. From a picture to a number
#
# For a head and an object, take the highest cell of the spatial map of the query that found the object, and measure where it lies beside the box $(c_x, c_y, w, h)$:
#
# $$\big(\Delta x, \Delta y\big) = \Big(\frac{x_{\text{peak}} - c_x}{w / 2}, \; \frac{y_{\text{peak}} - c_y}{h / 2}\Big).$$
#
# $(0, 0)$ is the middle of the box, $\Delta x = -1$ its left side, $\Delta y = 1$ its bottom. Over all objects that are found (IoU .5 and more) in 256 validation scenes: the median says *which place*, the interquartile range *how steadily*.

# %%
looks = heads.looks_of(model, make_scenes(64, split="val"))["spatial"]
print("(layers, heads, objects, xy):", tuple(looks.offset.shape))
offset = looks.offset[2, 0].numpy()  # layer 2, head 0
low, middle, high = np.quantile(offset, [0.25, 0.5, 0.75], axis=0)
by_hand = pd.Series([*middle, *(high - low)], ["x", "y", "x_range", "y_range"])
row = heads.summarise(looks).set_index(["layer", "head"]).loc[(2, 0)]
assert np.allclose(by_hand, row[by_hand.index].astype(float), atol=1e-6)
row.to_frame().T

# %% [markdown]
# A head is called *left*, *right*, *top* or *bottom* when an axis is steady (interquartile range below 1: half of the objects lie within half a half-box of the median) and the median is beyond .5 to that side; *inside* when both axes are steady
# and neither is; *roaming* otherwise. The thresholds are ours. Each dot below is a head, its bars the interquartile ranges; the square is the box.
#
# **Predict** where the heads of DETR after 1,500 steps lie, and whether DETR after ten times as many has heads like Conditional DETR's.

# %%
figure, data = plots.where_heads_look()
figures.save(figure, "extra/attention-where-heads-look", data)
late = data[data["layer"] > 0]
names = late.groupby("run")["side"].value_counts().unstack(fill_value=0).reindex(columns=heads.SIDES, fill_value=0)
names["map width"] = late.groupby("run")[["x_width", "y_width"]].median().mean(axis=1).round(3)
display(names.loc[list(plots.SHOWN)])
assert names.loc[CONDITIONAL, "roaming"] <= 2 < names.loc[LONG, "roaming"] < names.loc[DETR, "roaming"]
assert names.loc[LONG, SIDES].sum() >= 6 > names.loc[DETR, SIDES].sum()
assert names.loc[LONG, "map width"] > 1.5 * names.loc[CONDITIONAL, "map width"]
steady = late[(late["run"] == CONDITIONAL) & (late["side"] != "roaming")]
chance = steady[["x_exchanged", "y_exchanged"]].mean().to_numpy()
assert (chance > 3 * steady[["x_range", "y_range"]].mean()).all()
figure

# %% [markdown]
# **Notice.** In Conditional DETR all but one of the twelve heads of the last two layers keep their place on objects of any size: near a side, a little *within* the box rather than on its edge, or inside. After as many steps, seven of DETR's twelve roam. Ten times the training
# gives it as many heads that keep a side as Conditional DETR has, so the paper's picture holds as a statistic: the spatial query gives early what DETR needs long training for. It does not give the same thing, though. The long-trained DETR's heads look further out, its maps are twice as
# wide, three still roam, and yet it detects *better* than the briefly trained Conditional DETR ([13_convergence](13_convergence.ipynb)). Small maps at the sides are a way to be fast, not a condition for being good.
#
# Heads of the first layer (pale) know least: there the spatial query has not seen the picture.
#
# Is "steady" worth anything? The last assert deals the boxes out to other objects and measures again: the ranges of the steady heads become more than three times as wide. A head that stares at a fixed place would be as steady as before.

# %% [markdown]
# ## 5. When does it come about?
#
# The same statistic at six moments of every training: three seeds of each of four models with equal parameters, data and steps. **Predict**: do the heads find their sides before or after AP rises?

# %%
figure, data = plots.heads_over_training()
figures.save(figure, "extra/attention-heads-over-training", data)
last = data[data["step"] == data["step"].max()].groupby("base")[["watching a side", "roaming", "width"]].mean()
assert last.loc["headline-conditional", "width"] < 0.6 * last.loc["headline-detr", "width"]
display(last.round(2))
if data.attrs["missing"]:
    print("not trained here yet:", ", ".join(data.attrs["missing"]))
figure

# %% [markdown]
# **Notice.** Conditional DETR's maps are narrow from the first measurement on, and its heads have their places after 500 steps, when its AP50 passes .8 ([13_convergence](13_convergence.ipynb)). DETR's maps narrow slowly, all through training.
#
# ## 6. Temperature and map size
#
# The sine code of the positions has a temperature: 10000 in Conditional DETR, 20 in DAB-DETR. A low one makes the kernel narrower before any learning. Does that decide how wide the *learned* maps are? A smaller model (48-pixel
# scenes, 12 x 12 cells), and the same with 64 pixels (16 x 16 cells), three seeds each.
#
# **Predict**: at which temperature are learned maps narrowest, and does AP care?

# %%
figure, data = plots.widths_by_temperature()
figures.save(figure, "extra/attention-temperature", data)
means = data.groupby(["map", "temperature"])[["width", "cells", "AP", "watching"]].mean()
display(means.round(3))
figure

# %% [markdown]
# **Notice.** NOTE-TEMPERATURE
#
# ## 7. DAB-DETR: boxes as queries
#
# DAB-DETR's query is an anchor $(x, y, w, h)$. Its spatial query is that of Conditional DETR with the $x$ half multiplied by $w_{\text{ref}} / w$ and the $y$ half by $h_{\text{ref}} / h$, so that a large object should get a wide map.
# Its Figure 4 compares the *positional* maps: what the query says about place against the position codes, before $T$ and before any projection.
#
# **Predict** for each row: one spot, several, or none? Stretched or round?

# %%
figure, data = anchors.positional_maps()
figures.save(figure, "dab-detr/positional-maps", data)
width = data.groupby("model")[["x_width", "y_width"]]
assert (width.std().loc[CONDITIONAL] < 0.01).all()  # the same round spot for every query
assert (width.mean().loc["headline-dab-0"] < width.mean().loc[CONDITIONAL]).all()
figure

# %% [markdown]
# **Notice.** The three rows are those of the paper. DETR's learned vectors say little about where: wide blobs and a band, beside their objects. Conditional DETR has the same round spot for every query, near its object. DAB-DETR's spots
# sit on their objects, since the anchors have been moved there by two layers, and are fitted to them: small for the small threes, higher than wide where the box is.
#
# Where do queries start? DAB-DETR's Figure 10 shows anchors after training.

# %%
figure, data = anchors.learned_anchors()
figures.save(figure, "dab-detr/learned-anchors", data)
points = data[data["run"] == CONDITIONAL].sort_values("y")
rows = np.split(points["y"].to_numpy(), np.flatnonzero(np.diff(points["y"]) > 0.1) + 1)
assert [len(row) for row in rows] == [5, 5, 6] or sorted(len(row) for row in rows) == [5, 5, 6]
figure

# %% [markdown]
# **Notice.** Nobody told Conditional DETR to, but its sixteen points stand in three even rows of five, five and six: objects are equally likely everywhere, so this is the best cover. DAB-DETR's anchors keep no such order and are larger
# than any digit (at most .45 high): the first layer makes them small.
#
# Every layer moves an anchor and hands it on; Conditional DETR's point stays, and each layer's box is a new offset to it. DAB-DETR's Figure 11 shows boxes layer by layer. **Predict**: whose first-layer boxes are closer?

# %%
figure, data = anchors.boxes_per_layer()
figures.save(figure, "dab-detr/boxes-per-layer", data)
overlap = data["iou"].pivot(index="model", columns="layer", values="mean_iou")
assert overlap.loc["headline-dab-0", 0] < overlap.loc[CONDITIONAL, 0] - 0.05  # DAB-DETR begins further away
assert overlap.loc["headline-dab-0", 2] > overlap.loc[CONDITIONAL, 2] - 0.01  # and ends no worse
display(overlap.round(3))
figure

# %% [markdown]
# **Notice.** In the first layer DAB-DETR's boxes are further off; from layer to layer they move in, and in the last they fit as well as Conditional DETR's. Conditional DETR's do not jump about here, as the paper's
# figure shows them to: our three layers gain little after the first. These are queries that answer for an object in the *last* layer; which query would answer in the first is another question.
#
# And does the map follow the size of the object? If modulation does its work, DAB-DETR's maps widen with the box. Conditional DETR has no such factor, but its diagonal $T$ may do the same.

# %%
figure, data = anchors.width_by_box()
figures.save(figure, "extra/attention-width-by-box", data)
rho = data.set_index(["model", "axis"])
assert (rho.loc["headline-dab-0", "low"] > rho.loc[CONDITIONAL, "high"]).all()  # intervals do not touch
display(data.round(2))
figure

# %% [markdown]
# **Notice.** They follow it in both, and in DAB-DETR far more closely: rank correlations of about .85 against .4, with intervals over objects that are far apart. One seed each. So modulation does what it is meant to, though
# $w_{\text{ref}}$ is supervised by nothing but the boxes and classes. The vertical stripes are our scenes: boxes end on whole pixels.
#
# ## 8. A published checkpoint, your own picture
#
# Set `CHECKPOINT` (a folder, or a hub name when you have a network) and `PICTURE` in the parameters cell: DETR, Conditional DETR and DAB-DETR with a ResNet open without timm. The same
# two figures follow. Queries with a score of .5 and more count as objects; heads are named by these objects alone, so take a picture with many. Without a checkpoint the cell shows another scene of ours.

# %%
own = f"{CHECKPOINT},{PICTURE}" if CHECKPOINT else None
figure, data = attention.attention_decomposition(own, scene=SCENE if own else 35)
figures.save(figure, "extra/attention-own-picture", data)
figure

# %% [markdown]
# With a large picture (800 pixels and more) the maps of 300 queries take some hundred megabytes; `attention.open_checkpoint(..., side=480)` is the default for that reason. The paper's bands are best seen there.
#
# ## 9. Explore
#
# First as a still picture, then to play with: hover over the picture or use the arrow keys to choose a query, up and down for the layer; click a head. **Look for** a query without an object: what do its heads watch?

# %%
explored, shown = load(EXPLORED), make_scenes(1, split="val", side=256, first=SCENE)
captured = capture_attention(explored, torch.from_numpy(scenes.pixels))
explorer = AttentionExplorer(captured, shown.pixels[0, 0])
explorer

# %% [markdown]
# ## Here and in the paper
#
# | | here | in the paper | why they differ |
# |---|---|---|---|
# | models | three decoder layers, six heads, 0.74 M parameters, 64-pixel scenes | six layers, eight heads, 44 M, COCO | must train on a laptop |
# | backbone before training | learnt to read digits in given boxes | ImageNet | no network needed |
# | Figure 4, spatial maps | small regions near the sides | bands along the sides | objects are 3 to 7 cells high, and the spatial map of a head is a product of one curve in $x$ and one in $y$: bands need one of them flat |
# | which heads watch what | a statistic over about 600 objects, three seeds | five heads on one photograph | the paper gives no statistic |
# | Figure 1, DETR trained ten times as long | 15,000 against 1,500 steps, one seed | 500 against 50 epochs | same ratio |
# | DAB-DETR Figure 4 | one scene, last layer | four queries a model; layer not stated | chosen so that $T$ takes part |
#
# Not checked: whether bands appear in a published checkpoint; none could be opened without a network. The panel above and section 8 draw them when you have one.
#
# ## Exercises
#
# **1.** Write `offset(peak, box)`: from a peak $(x, y)$ and a box $(c_x, c_y, w, h)$ the offset in half-boxes.
#
# **2.** A head's spatial map has the marginals $f(x)$ and $g(y)$, and the map is their product. Its entropy is $H(f) + H(g)$. What is the entropy (nats) of a perfect horizontal band, one row of a 16 x 16 map with even weights?
#
# **3.** Content and spatial maps of three cells are $(.5, .3, .2)$ and $(.1, .1, .8)$. What is the combined weight of the last cell?

# %%
offset = None  # exercise 1
check_function(offset, {
    "in the middle": (((0.5, 0.5), (0.5, 0.5, 0.2, 0.4)), (0.0, 0.0)),
    "on the right side": (((0.6, 0.5), (0.5, 0.5, 0.2, 0.4)), (1.0, 0.0)),
    "above the top left corner": (((0.3, 0.1), (0.5, 0.5, 0.2, 0.4)), (-2.0, -2.0)),
})  # fmt: skip
answer = None  # exercise 2
check(answer, np.log(16), hints={np.log(256): "That is the flat map. A band is flat along x only."})
answer = None  # exercise 3
check(answer, 2 / 3, hints={0.16: "That is the product; the three do not sum to 1 yet.", 0.5: "Logits add, so maps multiply."})

# %% [markdown]
# <details><summary>Solutions</summary>
#
# **1.** `lambda peak, box: tuple((p - c) / (side / 2) for p, c, side in zip(peak, box[:2], box[2:]))`
#
# **2.** $\log 16 = 2.77$: $H(f) = \log 16$ along the row and $H(g) = 0$. Our steady heads have about 2.5, as little as a band, but spread evenly over both axes.
#
# **3.** The products are .05, .03, .16; divided by .24: .208, .125, .667. The second map decides, because it is the sharper one.
# </details>
#
# ## Questions for the group
#
# 1. A head of DETR is steady after long training although it has no spatial query. Where must that information sit?
# 2. The paper calls the regions *extremities*. Our heads stay a little inside the box. What would the box head need to know to extrapolate?
# 3. Content maps light up all digits. Is that a weakness, or is it what content is for when place is given?
#
# ## Summary
#
# Content times spatial is the attention, to float precision. In small Conditional DETRs most late heads keep to a place near one side or inside the box, whatever the object, from a few hundred steps on; DETR's
# roam, and learn it slowly, with wider maps that serve it well in the end. DAB-DETR is steadier still, and its maps follow the size of the object. They are regions, not bands.
#
# **Next:** [13_convergence](13_convergence.ipynb): what this buys in training time.
#
# **References**
#
# ```bibtex
# @inproceedings{meng2021conditional,
#   title     = {Conditional DETR for Fast Training Convergence},
#   author    = {Meng, Depu and Chen, Xiaokang and Fan, Zejia and Zeng, Gang and Li, Houqiang and Yuan, Yuhui and Sun, Lei and Wang, Jingdong},
#   booktitle = {International Conference on Computer Vision},
#   year      = {2021}
# }
# @inproceedings{liu2022dab,
#   title     = {DAB-DETR: Dynamic Anchor Boxes are Better Queries for DETR},
#   author    = {Liu, Shilong and Li, Feng and Zhang, Hao and Yang, Xiao and Qi, Xianbiao and Su, Hang and Zhu, Jun and Zhang, Lei},
#   booktitle = {International Conference on Learning Representations},
#   year      = {2022}
# }
# ```

# %%
print(marginalia.versions("numpy", "torch", "matplotlib", "anywidget"))
