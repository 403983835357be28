# %% [markdown]
# # A tour of four papers
#
# **Which paper says what, what did the reading notes claim, and in which order do we read?**
#
# Papers: Conditional DETR (ICCV 2021), Relation DETR (ECCV 2024), TopKD (ICML 2024) and DCMHA (ICML 2024); the figures and tables
# whose numbers are quoted are listed in section 4. About one minute on two CPU cores.
#
# **中文摘要。** 本笔记是整个项目的导览。第一部分用一张图说明四篇论文的核心想法，图中每个数都由单元格现场算出。第二部分逐行核对最初的阅读笔记，并指出六处需要更正的地方：例如 Relation DETR 的位置关系加在解码器里，而不是编码器里；“任务专用的数据集 MC 更高”也并不普遍成立，NEU-DET 就比 COCO 低。第三部分为每篇论文安排 60 分钟和 90 分钟两条阅读路线。第四部分列出论文公布的数字：它们是引用，不是我们的测量。最后检查安装是否完整。
#
# ## What you will see
#
# 1. The four papers on one page: one drawing, four small computations.
# 2. The reading notes line by line: what each line claims, where it is shown here, and six corrections.
# 3. A path of 60 and one of 90 minutes for each paper.
# 4. The numbers that the papers print, with their sources.
# 5. A check of the installation. **If something does not work, start there.**
#
# You need to know what a softmax is and what a detector returns. Nothing is downloaded and nothing is trained.

# %%
import gudhi
import numpy as np
import pandas as pd
from gudhi.representations import PersistenceImage
from IPython.display import HTML, display
from scipy.cluster.hierarchy import linkage
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform
from scipy.special import softmax

import marginalia
from marginalia import catalogue, figures, store, style
from marginalia.figures import conditional_detr, dcmha, relation_detr, ripsnet
from marginalia.plots import boxes_on, matrix, panels
from marginalia.style import PALETTE

style.use_style()
rng = np.random.default_rng(0)

# %% tags=["parameters"]
FAST = True  # nothing here is slow: both settings do the same
RETRAIN = False  # nothing is trained in this notebook

# %% [markdown]
# ## 1. The four papers on one page
#
# | paper | the trouble | the idea | in one formula |
# |---|---|---|---|
# | **Conditional DETR** | a DETR needs 500 epochs, since one dot product has to match content and places at once | each query gets a place of its own: the positional encoding $p_s$ of one reference point, rescaled channel by channel by $\lambda$, beside its content $c_q$ | $\mathrm{softmax}_k\,(c_q \cdot c_k + (\lambda \odot p_s) \cdot p_k)$ |
# | **Relation DETR** | queries of the decoder do not know how their boxes lie to each other | a bias from the relative geometry $e$ of every pair of boxes, added inside the decoder's self-attention | $\mathrm{softmax}\,(QK^\top\!/\sqrt{d} + \max(0,\, W\,\mathrm{Embed}(e) + B))\,V$ |
# | **TopKD** | distillation compares a student with its teacher sample by sample | compare the *shape* of a batch of features: cloud, persistence diagram, persistence image | $\lVert R(F_\text{teacher}) - R(F_\text{student})\rVert^2$, where the network $R$ stands in for the image |
# | **DCMHA** | each head ties one "where to look" to one "what to move" | let the heads of a token pair mix, with weights made from the two tokens | $\tilde A_{ij} = A_{ij}\, C(i, j)$, with $A_{ij} \in \mathbb{R}^H$ and $C$ of size $H \times H$ |
#
# The first two are detectors, the third is about training, the fourth about language models. What joins them: each adds a *structure*
# (a place, a relation, a shape, a mixing of heads) to something that had to be learned from scratch before.
#
# Next come four computations, one a paper. They are small, with numbers chosen by hand where a trained model would have learned them; the drawing
# after them shows exactly these arrays. **Predict** before you scroll: what will TopKD's persistence image of 36 points in three clusters look like?

# %%
# Conditional DETR: one attention map from content, one from a place; side * side cells, 128 channels an axis
side = 24
omega = 10_000.0 ** (-np.arange(64) / 64)


def sine(v):
    """Sinusoidal positional encoding of coordinates in [0, 1]: (...) -> (..., 128)."""
    angles = 2 * np.pi * np.multiply.outer(v, omega)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(*np.shape(v), 128)


y, x = np.meshgrid(np.arange(1, side + 1) / side, np.arange(1, side + 1) / side, indexing="ij")
p_k = np.concatenate([sine(y), sine(x)], axis=-1)  # (side, side, 256), y first
p_s = np.concatenate([sine(0.30), sine(0.72)])  # encoding of the reference point
discs = np.any([np.hypot(x - u, y - v) < 0.13 for u, v in [(0.72, 0.3), (0.28, 0.35), (0.6, 0.75)]], axis=0)
content, spatial = 3.0 * discs, (5.0 * p_s * p_k).sum(axis=-1) / 8  # logits; lambda is 5 on every channel
combined = softmax(content + spatial)
product = softmax(content) * softmax(spatial)
assert np.allclose(combined, product / product.sum(), atol=1e-12)  # adding logits multiplies maps

# %%
# Relation DETR: how N = 6 boxes (centre, width, height) lie to each other
boxes = np.array([
    (0.27, 0.35, 0.30, 0.38), (0.31, 0.39, 0.31, 0.36), (0.75, 0.35, 0.29, 0.38),
    (0.70, 0.80, 0.40, 0.20), (0.30, 0.80, 0.10, 0.12), (0.51, 0.51, 0.92, 0.92),
])  # fmt: skip


def relative(a, b, eps=1e-5):
    """Relative geometry of all pairs: (N, 4), (M, 4) -> (N, M, 4), offsets then size ratios, in logarithms."""
    a, b = a[:, None], b[None]
    offset = np.log(np.abs(a[..., :2] - b[..., :2]) / (a[..., 2:] + eps) + 1)
    return np.concatenate([offset, np.log((a[..., 2:] + eps) / (b[..., 2:] + eps))], axis=-1)


e = relative(boxes, boxes)

# %%
bias = np.maximum(0, 2.5 - 2 * np.abs(e).sum(axis=-1))  # by hand: large for near duplicates; learned there
logits = np.array([0.2, 0.1, 0.5, 0.3, -0.2, 0.4])  # what A would attend to without geometry
plain, biased = softmax(logits), softmax(logits + bias[0])
assert np.allclose(biased, plain * np.exp(bias[0]) / (plain * np.exp(bias[0])).sum(), atol=1e-12)
assert biased[0] - plain[0] > biased[1] - plain[1] > 0  # most to itself, then to its near duplicate B
assert (biased[2:] < plain[2:]).all()  # and away from the rest
print(f"attention of A: to itself {plain[0]:.2f} to {biased[0]:.2f}, to B {plain[1]:.2f} to {biased[1]:.2f}")
assert not np.allclose(e, e.swapaxes(0, 1), atol=0.1)  # what A sees of B is not what B sees of A

# %%
# TopKD: a cloud, its diagram in dimension 0, and the persistence image of that
cloud = np.concatenate([rng.normal(c, 0.22, (12, 2)) for c in [(0, 0), (2.2, 0.3), (1.0, 1.9)]])
tree = gudhi.RipsComplex(points=cloud).create_simplex_tree(max_dimension=1)
tree.persistence()
diagram = tree.persistence_intervals_in_dimension(0)
diagram = diagram[np.isfinite(diagram[:, 1])]  # one component never dies; TopKD leaves it out
deaths = np.sort(diagram[:, 1])
imager = PersistenceImage(
    bandwidth=np.quantile(pdist(diagram), 0.2),
    weight=lambda point: 10 * np.tanh(point[1]),
    resolution=[20, 20],
    im_range=[0, 0, deaths[0], deaths[-1]],
)
image = imager.fit_transform([diagram])[0].reshape(20, 20)  # rows: persistence, columns: birth

# %%
spanning = minimum_spanning_tree(squareform(pdist(cloud))).tocoo()
edges = np.column_stack([spanning.row, spanning.col])
assert np.allclose(deaths, linkage(pdist(cloud), "single")[:, 2], atol=1e-12)  # merging of clusters
assert np.allclose(deaths, np.sort(spanning.data), atol=1e-12)  # the edges of the spanning tree, nothing else
assert np.ptp(image, axis=1).max() == 0  # every birth is 0: twenty equal columns

# %%
# DCMHA: the weights of H = 4 heads over S = 6 tokens, and a matrix C that mixes heads (only its query's part)
weights = softmax([[2, 0, 1, 0, 0, 0], [0, 4, 0, 0, 0, 1], [0, 0, 0, 2, 0, 3], [1, 0, 0, 0, 2, 0]], axis=1)  # (H, S)
read = np.array([[0, 1], [1, 0], [0, -1], [0, 0.5]])  # (H, 2); a model makes both from the token
write = np.array([[1, 0, 1, 0], [0, -0.5, 0, 0.5]])  # (2, H): rank 2
gates = np.tanh([0.3, 0.2, -0.2, -0.4])
compose = np.eye(4) + read @ write + np.diag(gates)  # (H, H): the row gives, the column receives
composed = compose.T @ weights
assert np.linalg.matrix_rank(compose - np.eye(4) - np.diag(gates)) == 2
assert weights[[0, 2], 1].max() < 0.1 < 0.9 < composed[[0, 2], 1].min()  # a gift of head 2
assert composed.min() < 0 and np.abs(composed.sum(axis=1) - 1).max() > 0.1  # no longer probabilities

# %% tags=["hide-input"]
figure, axes = panels(12, 4, 1.97)
maps = [softmax(content), softmax(spatial), combined]
for panel, values in zip(axes[::4], maps, strict=True):
    panel.imshow(values)

letters = list("ABCDEF")
corners = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]])
boxes_on(axes[1], corners, color=[PALETTE["orange"]] + [PALETTE["sky"]] * 5, labels=letters)
matrix(axes[5], e[0].T, diverging=True, rows=["dx", "dy", "w", "h"], columns=letters)
for shift, color, values, name in ((-0.2, "grey", plain, "plain"), (0.2, "blue", biased, "with bias")):
    axes[9].bar(np.arange(6) + shift, values, 0.4, color=PALETTE[color], label=name, lw=0)
axes[9].set_xticks(range(6), letters)
axes[9].legend(fontsize=7, handlelength=0.8, borderaxespad=0)

for i, j in edges:
    axes[2].plot(*cloud[[i, j]].T, color=PALETTE["sky"], lw=0.9)
axes[2].plot(*cloud.T, ".", color=PALETTE["blue"], ms=4)
axes[6].axline((0, 0), slope=1, color=PALETTE["grey"], lw=0.8)
axes[6].plot(*diagram.T, "o", color=PALETTE["blue"], ms=3.5, mew=0, alpha=0.6, clip_on=False)
axes[6].set(xlim=(-0.06, 1.6), ylim=(0, 1.6))
axes[10].imshow(image, origin="lower")

heads = [weights, compose, composed]
for panel, values in zip(axes[3::4], heads, strict=True):
    matrix(panel, values, limit=1.5, diverging=True, rows="1234", columns="1234" if values is compose else ())

# %% tags=["hide-input"]
captions = [
    "content: three of a kind", "six boxes, A asks", "a batch as a cloud", "4 heads attend to 6 tokens",
    "place: one point", "where the others lie for A", "diagram: born, died", "row gives, column receives",
    "both: one of them", "attention of A", "persistence image", "the heads after mixing",
]  # fmt: skip
for panel, caption in zip(axes, captions, strict=True):
    panel.set(box_aspect=1)
    panel.set_xlabel(caption, fontsize=8)
    panel.grid(False)
    panel.tick_params(length=2, labelsize=7)
for panel in (*axes[::4], axes[2], axes[10]):
    panel.set(xticks=[], yticks=[])
for panel, name in zip(axes, ("Conditional DETR", "Relation DETR", "TopKD", "DCMHA"), strict=False):
    panel.set_title(name)
for panel, step in zip(axes[::4], ("what goes in", "what is computed", "what comes out"), strict=True):
    panel.set_ylabel(step, color=PALETTE["grey"], labelpad=8)

seen = pd.DataFrame(np.hstack([boxes, e[0]]), columns=["cx", "cy", "w", "h", "e_dx", "e_dy", "e_w", "e_h"])
data = {"relation": seen.assign(attention_plain=plain, attention_with_bias=biased)}
tables = {"map-1": maps[0], "map-2": maps[1], "map-3": maps[2], "cloud": cloud, "diagram": diagram, "image": image}
tables |= {"heads-1": weights, "heads-2": compose, "heads-3": composed}
figures.save(figure, "extra/four-papers", data | {name: pd.DataFrame(values) for name, values in tables.items()})
figure

# %% [markdown]
# **Notice**, column by column.
#
# - *Conditional DETR.* Content alone lights up three discs, a place alone a blurred spot. Logits add, so maps multiply, and one disc is left.
#   The scale $\lambda = 5$ is ours; the model predicts 256 of them for each query, image and layer, which moves the spot to one side of a box
#   ([12_attention_maps](12_attention_maps.ipynb) measures where to).
# - *Relation DETR.* With the bias A attends mostly to itself (0.16 to 0.52), since nothing is nearer to a box than the box, then to B, its near duplicate (0.14 to 0.25), and
#   away from the rest, whatever their content. Red is positive, blue negative, in the matrix
#   of logarithms: $dx$, $dy$ are offsets in units of A's sides, $w$, $h$ are ratios of sides. Our bias is a rule by hand, the paper's is learned.
# - *TopKD.* All births are 0 in dimension 0, so the diagram is one vertical line and its image is one column, drawn twenty times. The two high
#   points are the gaps between three clusters. In the image, persistence grows upwards.
# - *DCMHA.* Head 2 attends to the second token and gives strongly to heads 1 and 3; after mixing, these two attend to it as well. Red is positive,
#   blue negative: mixed weights may be negative, and a row no longer sums to 1.
#
# Each paper has notebooks of its own; section 3 says in which order.

# %% [markdown]
# ## 2. The reading notes, line by line
#
# The project began as one person's reading notes in Chinese: four papers, 37 pictures without captions, and three to-dos. Below, each line
# that says something gets an answer. Six needed correcting:
#
# 1. **Encoder → decoder.** The notes put Relation DETR's position relation into DETR's encoder. Its module is *called* position relation encoder;
#    it acts in the **decoder**, as a bias on the self-attention among queries.
# 2. **Task-specific sets higher → not in general.** The notes repeat that task-specific data sets have a higher correlation (MC) than COCO.
#    NEU-DET's steel defects and BCCD's blood cells have a **lower** one; the order follows the size of the boxes.
# 3. **The level of MC is no evidence.** Four unrelated numbers give 0.5 and small unrelated boxes 0.75; boxes permuted between images keep most of it.
# 4. **No high-dimensional space.** MC sees four numbers a box, in effect a point on an ordinary sphere. Clusters in feature space are not measured.
# 5. **Connectivity only.** Persistence diagrams can show loops and scales of all kinds; TopKD's default uses dimension 0, of one batch at a time.
# 6. **Exact diagrams are cheap here.** For 64 points in dimension 0 they cost a small share of a training step.
#
# The numbers behind 2 and 3, measured with this library on the public data sets (the files are not part of the project; `make measure` writes
# this table where they are, `21_box_correlation` shows it in full, with intervals):

# %%
excess = relation_detr.measured("excess").pivot(index="dataset", columns="null")
table = pd.DataFrame({
    "mean MC": excess["observed"]["count"],
    "MC of permuted boxes": excess["null_mean"]["count"],
    "excess, similar counts": excess["excess"]["count"],
    "excess, same class": excess["excess"]["category"],
    "median box side, % of image": 100 * relation_detr.measured("sizes").set_index("dataset")["side"],
}).sort_values("mean MC", ascending=False).rename_axis("data set").reset_index()  # fmt: skip
HTML(table.to_html(index=False, border=0, float_format="{:.3f}".format))

# %%
mc = table.set_index("data set")
assert mc["mean MC"].is_monotonic_decreasing and mc["median box side, % of image"].is_monotonic_increasing
assert (mc["MC of permuted boxes"] > 0.9 * mc["mean MC"]).all()  # permuted boxes keep most of the level
assert (mc["excess, similar counts"].drop("BCCD") > 0).all() and mc.loc["BCCD", "excess, similar counts"] < 0
assert mc.loc["NEU-DET", "excess, same class"] < 0 < mc.loc["NEU-DET", "excess, similar counts"]

# %% [markdown]
# **Notice.** The first column is what the paper's Figure 1 shows; the third is what is left of it when boxes are permuted between images with similar
# numbers of boxes, and for whole data sets it is small; single classes, small boxes and crowded images of COCO have more ([21](21_box_correlation.ipynb)). Permuted within its
# six classes, NEU-DET falls below chance. The order of the data sets by MC is their order by the size of
# their boxes, from small to large.

# %% [markdown]
# **Conditional DETR, and Relation DETR.** Under each note its translation.
#
# | the note | verdict | what holds | shown in |
# |---|---|---|---|
# | Conditional DETR for Fast Training Convergence, ICCV 2021 <br> (six pictures, no words) | right | To add: the spatial query starts from one reference point, computed once from the object query and the same for every image and layer; only its rescaling follows the image. The first layer is different: nothing is rescaled, and content and position are added as well. | sections 1, 4; [11](11_conditional_cross_attention.ipynb), [12](12_attention_maps.ipynb), [13](13_convergence.ipynb) |
# | 对比DAB-DETR <br> *compared with DAB-DETR* | right | Published after 50 epochs with a ResNet-50: 42.2 AP against 40.9. In the authors' code the temperature 20 holds for the keys only, while the queries keep 10000; the author calls that likely a bug. | section 4; [11](11_conditional_cross_attention.ipynb), [13](13_convergence.ipynb), [14](14_anchor_boxes.ipynb) |
# | 在DETR编码器中引入了位置关系编码器来建模两个边界框之间的所有成对交互 <br> *a position relation encoder in DETR's encoder models all pairwise interactions between two boxes* | **corrected** | In the decoder: layers 2 to 6, the first has none. It relates all pairs of $N$ boxes, not two boxes; rows are boxes of one layer and columns those of the next, so the bias is not symmetric. It has 520 parameters. | section 1; [22](22_position_relation.ipynb) |
# | 物体在目标检测任务中真的相关吗？ <br> *are objects in detection really related?* | a question | In whole data sets a little, and it depends on what one compares with: see the table above. In 48 of COCO's 80 classes, in small boxes and in crowded images clearly. | [20](20_pearson_between_boxes.ipynb), [21](21_box_correlation.ipynb) |
# | 基于皮尔逊系数的位置相关性度量 <br> *a measure of position correlation from Pearson's coefficient* | right, with a limit | MC is the mean *absolute* correlation over pairs. The authors' code takes the top left corner, width and height in raw pixels; other box formats give other values. One layout gives .51 or .97, depending on where it stands. | [20](20_pearson_between_boxes.ipynb) |
# | 所有这些数据集都表明MC的分布集中在高数值附近，分布中心更接近上限 <br> *in all these data sets MC gathers at high values, nearer the upper limit* | right, with a limit | High compared with 0, but the natural zero is 0.5. NEU-DET lies close to it. | [20](20_pearson_between_boxes.ipynb), [21](21_box_correlation.ipynb) |
# | 这证明了对象位置关系的存在和统计意义 <br> *this proves that position relations exist and are significant* | **corrected** | The level proves nothing: permuted boxes keep most of it. What is left of whole sets is small, not zero, and its sign depends on the null. | [21](21_box_correlation.ipynb) |
# | 特定于任务的数据集…具有更高的 MC 值 <br> *task-specific sets have higher MC than general ones such as COCO* | **corrected** | NEU-DET and BCCD lie below COCO, DeepPCB above. The paper's own sets (CSD, ESD, MSSD) cannot be checked. | [21](21_box_correlation.ipynb), [24](24_defect_datasets.ipynb) |
# | …在高维特征空间中显示更多的先验知识和更清晰的聚类模式 <br> *more prior knowledge and clearer clusters in a high-dimensional feature space* | **corrected** | MC sees four numbers a box. Without their mean and length, that is a point on a sphere in three dimensions. | [20](20_pearson_between_boxes.ipynb) |
# | 相对位置embeding <br> *relative position embedding* | right | To add: a constant of $10^{-5}$ in the code makes tiny boxes depend on scale; scale 100 was chosen ad hoc; the projection ends in a plain ReLU. | section 1; [22](22_position_relation.ipynb) |
# | 添加到注意力中 <br> *added to the attention* | right, with a limit | To the logits, before the softmax, so it multiplies the weights. The code divides by $\sqrt{32}$, the width of a head, where the paper writes the model's width. | section 1; [22](22_position_relation.ipynb) |
# | 为了解决非重复预测和充分的正向监督之间的冲突，引入了两个并行查询集：匹配查询$Q_m$和混合$Q_h$ <br> *against the conflict between unique predictions and enough positive supervision, two parallel query sets* | right, with a limit | Parallel means two calls of the same decoder: 900 matching queries with relation, 1500 hybrid ones without, each target six times. Hybrid queries exist in training only. The line leaves out a third set, the denoising queries. | [23](23_query_groups.ipynb) |
# | coco数据集上 <br> *on COCO* | right, with a limit | Confirmed: 51.7 and 52.1 AP after 12 and 24 epochs (ResNet-50). The paper's baselines could not be confirmed, and the gap to DINO is not the relation's alone: loss, hybrid branch, encoder and learning rate differ too. | section 4 |
# | 特定任务的缺陷检测数据集CSD上 <br> *on the task-specific defect set CSD* | cannot be checked | CSD is not shared, so no number here. A trap: the later set CSDD is the paper's "ESD", not its "CSD". | [24](24_defect_datasets.ipynb) |

# %% [markdown]
# **TopKD, DCMHA, and the to-dos.**
#
# | the note | verdict | what holds | shown in |
# |---|---|---|---|
# | TopKD … 考虑了潜在空间的全局拓扑 <br> *considers the global topology of the latent space* | right, with a limit | Of one batch at a time: 64 feature vectors as a cloud. Nothing spans batches. | section 1; [34](34_topological_distillation.ipynb) |
# | PD … 捕获全面的几何结构，例如分布形状、多尺度结构和连通性 <br> *diagrams capture comprehensive geometry: shape, scales, connectivity* | **corrected** | In general they can. TopKD's default is dimension 0: connectivity alone, the edge lengths of a minimum spanning tree (asserted in section 1). | section 1; [31](31_persistence_diagrams.ipynb) |
# | 用于教授这些知识的拓扑蒸馏损失 <br> *a topological distillation loss teaches it* | right, with a limit | Mean squared difference of two *predicted* images, beside cross-entropy and Hinton's loss. In the authors' logs it is at most 1.8 % of an epoch's loss; a control without it is missing there, and is here. | [34](34_topological_distillation.ipynb) |
# | 连通分支、空洞（循环）、空腔 <br> *connected components, holes (loops), cavities* | right, with a limit | Dimensions 0, 1 and 2 of the feature, not of the space: a loop need not lie in a plane. | [31](31_persistence_diagrams.ipynb) |
# | PD … 表示空间中拓扑特征随尺度变化 … 出现和消失 <br> *at which scale features appear and vanish* | right | In dimension 0 all are born at 0 and one never dies; TopKD drops that one. | section 1; [31](31_persistence_diagrams.ipynb) |
# | 构造PD <br> *construction of the diagram* | right | Conventions differ: Rips counts edge lengths, alpha complexes squared radii. | [31](31_persistence_diagrams.ipynb) |
# | 对构造的PD向量化，得到PI <br> *the diagram as a vector: the persistence image* | right, with a limit | By default all births are 0, so the 20 × 20 image holds at most 20 different numbers (asserted in section 1). | section 1; [32](32_persistence_images.ipynb) |
# | $w(u)$是权重函数，$g_u(z)$是高斯函数 <br> *$w$ is the weight, $g_u$ a Gaussian* | right, with a limit | The weight has to vanish at persistence 0, or images are not stable; TopKD's does so in dimension 0 only. gudhi samples the Gaussian at nodes, persim integrates it over pixels. | [32](32_persistence_images.ipynb) |
# | 准确计算每批的 PD 和 PI 需要大量的计算量 <br> *exact diagrams and images of each batch cost much* | **corrected** | Not for 64 points in dimension 0: timed the way TopKD does it, 1.1 ms for a diagram with its image, beside 32 to 50 ms for a training step in the authors' logs. It holds for loops and large clouds. | [34](34_topological_distillation.ipynb) |
# | TopKD 使用 RipsNet 近似 PI <br> *RipsNet approximates the image* | right, with a limit | One network, trained on the *teacher's* features and frozen, serves the student too. On batches of digits, which are alike, it explains at most 3 % of the variance after 2,000 steps (five seeds), and 11 % after 4,000 (one fit), no more than the size of the clouds does. | [33](33_ripsnet.ipynb), [34](34_topological_distillation.ipynb) |
# | 通过动态组合注意力头来提高模型的表达能力 <br> *heads composed dynamically make the model more expressive* | right | The mixing is linear in the heads' scores of a token pair, once before and once after the softmax. The abstract claims what plain models reach with 1.7 to 2 times the compute. Here one composed layer learns to answer questions that a plain one of equal size answers only in part; small composed language models are behind plain ones in nine pairs of nine. | section 1; [41](41_composing_heads.ipynb), [42](42_head_composition.ipynb), [43](43_retrieval_and_tasks.ipynb) |
# | Compose 的计算相当于对 W 进行两级分解，以减少参数和提高计算效率 <br> *Compose amounts to a two-level decomposition of W, for fewer parameters and speed* | right, with a limit | Cheaper than a free $H \times H$ matrix for each pair, slower than plain attention: .76 to .88 of the training steps a second in the first author's own comments. | section 4; [41](41_composing_heads.ipynb) |
# | 先沿着行和列进行分解，再低秩和对角分解 <br> *first along rows and columns, then low rank and diagonal* | right, with a limit | Rows and columns of the grid of tokens, not of the $H \times H$ matrix. It is a sum, and the line leaves out its first term, the identity. Each of the two parts has rank 2 plus a diagonal. | section 1; [41](41_composing_heads.ipynb) |
# | To do 1. query分组 <br> *query grouping* | answered | A group is a block of queries, its mask says which blocks see which, and only the matching queries stay at inference. | [23](23_query_groups.ipynb) |
# | To do 2. 工业缺陷检测数据集？ <br> *industrial defect data sets?* | answered | Which exist, on which terms, and what their boxes look like. Blood cells, a real task-specific set, lie below chance, because their boxes overlap too seldom. | [24](24_defect_datasets.ipynb) |
# | To do 3. high_map images of coco <br> *images of COCO with a high mAP* | the method; the images need your files | mAP belongs to a data set; an image has an AP, with traps of its own. Shown on photographs of blood cells; no image of COCO is here: give the notebook your COCO files and detections. | [25](25_high_ap_images.ipynb) |
#
# The pictures of the notes are links to an image host. They were not opened, so nothing is said about what each of them shows.

# %% [markdown]
# ## 3. Sixty or ninety minutes for each paper
#
# Minutes an item, for reading alone or aloud in a group.
#
# **Relation DETR** (six notebooks here)
#
# | | 60 min | 90 min |
# |---|---|---|
# | this page: its column in the drawing, its lines in section 2 | 5 | 5 |
# | [20_pearson_between_boxes](20_pearson_between_boxes.ipynb): by hand, MC, the level of chance | 10 | 15 |
# | [21_box_correlation](21_box_correlation.ipynb): the paper's Figure 1 with its nulls | 10 | 15 |
# | [22_position_relation](22_position_relation.ipynb): the equations in code, Figures 2 and 5, whether it helps (90: with the explorer) | 20 | 25 |
# | [23_query_groups](23_query_groups.ipynb): the masks, one image matched in two ways | 10 | 15 |
# | [24_defect_datasets](24_defect_datasets.ipynb) or [25_high_ap_images](25_high_ap_images.ipynb): the measured tables, or the traps | – | 10 |
# | three questions for the group (below) | 5 | 5 |
#
# **Conditional DETR** (four notebooks here)
#
# | | 60 min | 90 min |
# |---|---|---|
# | this page: its column in the drawing, its lines in section 2 | 5 | 5 |
# | the paper: abstract, Figures 1 and 2. What exactly converges faster? | 5 | 10 |
# | [11_conditional_cross_attention](11_conditional_cross_attention.ipynb): the 4 x 4 grid, the kernel, the real layer (90: with $T$ and the panel) | 20 | 30 |
# | [12_attention_maps](12_attention_maps.ipynb): Figures 4 and 1, then where heads look, on cells and on digits (90: with the explorer) | 15 | 20 |
# | [13_convergence](13_convergence.ipynb): the curves beside the paper's (90: with Tables 3 and 4) | 10 | 10 |
# | [14_anchor_boxes](14_anchor_boxes.ipynb): the modulated map, DAB-DETR's Figure 4 | – | 5 |
# | section 4 below: AP against epochs, beside the paper's Table 1 | – | 5 |
# | questions | 5 | 5 |
#
# **TopKD, with RipsNet** (five notebooks here; [35_features_beside_gaussians](35_features_beside_gaussians.ipynb), 25 minutes, comes after both paths)
#
# | | 60 min | 90 min |
# |---|---|---|
# | this page: its column in the drawing, its lines in section 2 | 5 | 5 |
# | [31_persistence_diagrams](31_persistence_diagrams.ipynb): from points to bars, the spanning tree (90: stability, and diagrams of latent features) | 15 | 20 |
# | [32_persistence_images](32_persistence_images.ipynb): the formula, the twenty equal columns (90: the gradient) | 10 | 15 |
# | the paper: the method and its loss | 10 | 10 |
# | [33_ripsnet](33_ripsnet.ipynb): exact beside learned, and the control of six numbers | 5 | 15 |
# | [34_topological_distillation](34_topological_distillation.ipynb): students over seeds, the control with delta = 0 | 10 | 20 |
# | questions | 5 | 5 |
#
# **DCMHA**
#
# | | 60 min | 90 min |
# |---|---|---|
# | this page: its column in the drawing, its lines in section 2 | 5 | 5 |
# | the paper: abstract and Figure 2. Name its five branches | 5 | 10 |
# | [41_composing_heads](41_composing_heads.ipynb): the same branches as code, and what they cost | 20 | 25 |
# | [43_retrieval_and_tasks](43_retrieval_and_tasks.ipynb): train the effect, live | 15 | 20 |
# | [42_head_composition](42_head_composition.ipynb): a language model, and a head whose job is known | 10 | 25 |
# | questions | 5 | 5 |

# %% [markdown]
# ## 4. Numbers that the papers print
#
# Everything in this section is **quoted, not measured by us**. A number stands here only where it could be read in the paper, in the authors' repository or
# in a second publication; the source stands with each table. What could not be confirmed is left out. Click a line to unfold its table.

# %%
def published(*papers):
    """The quoted tables of some papers, each folded under what it shows."""
    labels = {}
    for row in catalogue.catalogue():
        for name in row.data if row.paper in papers else ():
            labels.setdefault(name, [row.paper]).append(f"{row.kind} {row.number or ''}".strip())
    parts = []
    for name, label in labels.items():
        frame = store.read_table(f"published/{name}")
        title, *remarks = frame.attrs["source"].split("\n")
        number, sources = pd.factorize(frame["source"])
        remarks += [f"Source {k}: {source}" for k, source in enumerate(sources, 1)]
        frame = frame.assign(source=number + 1).rename(columns=lambda column: column.replace("_", " "))
        table = frame.to_html(index=False, border=0, na_rep="")
        summary = f"<b>{', '.join(dict.fromkeys(label))}</b>: {title}"
        parts.append(f"<details><summary>{summary}</summary>{'<br>'.join(remarks)}{table}</details>")
    return HTML("".join(parts))


# %%
figure, coco = conditional_detr.coco()
figures.save(figure, "conditional-detr/coco", coco)
ap = coco.pivot(index="epochs", columns=["model", "backbone"], values="AP")
lead = ap["Conditional DETR"] - ap["DETR"].loc[500]
assert (lead.loc[75] > 0).all() and set(lead.columns[lead.loc[50] > 0]) == {"DC5-R50", "DC5-R101"}
display(published("Conditional DETR", "DAB-DETR"), figure)

# %% [markdown]
# Drawn by [`figures.conditional_detr.coco`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** Conditional DETR passes at 75 epochs what DETR reaches at 500, with every backbone; at 50 epochs it does so with the two finer
# feature maps (DC5) only. DETR's dotted line joins two points: the paper gives nothing between them. All AP are on COCO val2017.

# %%
figure, data = relation_detr.convergence()
figures.save(figure, "relation-detr/convergence", data)
ap = data.pivot(index="epoch", columns="model", values="AP")
lead = ap["Relation DETR"] - ap["DINO"]
assert np.allclose(lead.loc[[1, 12]], [5.9, 1.5], atol=0.01) and lead.idxmax() == 1
display(published("Relation DETR"), figure)

# %% [markdown]
# Drawn by [`figures.relation_detr.convergence`](../lib/marginalia/figures/relation_detr.py).
#
# **Notice.** The lead over DINO is 5.9 AP after one epoch and 1.5 after twelve: most of it is a faster start. The curves were read by eye from the
# repository's picture (the bands are the reading error of 0.3 AP), there are no seeds or error bars, and Relation DETR differs from
# DINO in more than the relation.

# %%
figure, data = ripsnet.accuracy()
figures.save(figure, "extra/ripsnet-modelnet", data)
accuracy = data.pivot(index="noise_share", columns="method", values="accuracy")
assert (accuracy["RipsNet"] > accuracy["Gudhi"]).all()
assert list(accuracy.index[accuracy["RipsNet"] > accuracy["PointNet"]]) == [0.1, 0.15, 0.25, 0.5]
assert list(store.read_table("published/topkd_cifar100.csv")["student_accuracy"]) == [71.74, 76.40]
display(published("TopKD", "RipsNet"), figure)

# %% [markdown]
# Drawn by [`figures.ripsnet.accuracy`](../lib/marginalia/figures/ripsnet.py).
#
# **Notice.** On ModelNet10, RipsNet beats the exact persistence images that it approximates (Gudhi) at every level of noise, and a network on the points
# (PointNet) once a tenth of them is noise, clearly so from a quarter on. That is RipsNet's paper. Of TopKD's own tables no cell could be confirmed; two training
# logs of its authors give 71.74 % (ResNet-56 to ResNet-20) and 76.40 % (WRN-40-2 to ShuffleNetV1), best epochs chosen on test data, with stronger
# teachers than those of the usual baselines.

# %%
figure, data = dcmha.training_speed()
figures.save(figure, "extra/dcmha-speed", data)
ratio = data["ratio"]
assert [round(ratio.min(), 2), round(ratio.max(), 2)] == [0.76, 0.88]
display(published("DCMHA"), figure)

# %% [markdown]
# Drawn by [`figures.dcmha.training_speed`](../lib/marginalia/figures/dcmha.py).
#
# **Notice.** Mixing heads costs an eighth to a quarter of the training speed, by the first author's comments in a registry of experiments. The
# parameters hardly grow: by one to three per cent for heads 128 to 64 wide, counted from the shapes. The paper's own result tables could not be confirmed, so none is quoted.
#
# ## 5. Is everything here?
#
# The first cell imports every package that the project asks for. It fails only if one is missing; then `make notebooks` sets the environment up again.
# The second looks at what is useful but can be absent, and says what to do then; it does not fail.

# %%
import re
import sys
import textwrap
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path
from shutil import which

called = {"pillow": "PIL", "pyyaml": "yaml", "scikit-image": "skimage", "scikit-learn": "sklearn"}
asked = [line for line in requires("marginalia-notebooks") if "extra ==" not in line]
packages = [re.match(r"[\w.-]+", line)[0] for line in asked]
for name in packages:
    import_module(called.get(name, name).replace("-", "_"))
print(textwrap.fill(f"All {len(packages)} packages can be imported: {marginalia.versions(*packages)}", 110))

# %%
from marginalia.boxes import cells

browsers = ("chromium", "google-chrome", "chromium-browser")
extensions = Path(sys.prefix) / "share" / "jupyter" / "labextensions"
checks = {
    "printed numbers": ((store.root() / "published").is_dir(), "set MARGINALIA_DATA to the folder data"),
    "measured numbers": ((store.root() / "measured").is_dir(), "set MARGINALIA_DATA to the folder data"),
    "photographs with boxes": (len(cells().table) > 0, "set MARGINALIA_DATA to the folder data"),
    "sliders in JupyterLab": ((extensions / "@jupyter-widgets").is_dir(), "pip install ipywidgets"),
    "explorers in JupyterLab": ((extensions / "anywidget").is_dir(), "pip install anywidget"),
    "a Chinese font": (style.cjk_font() is not None, "figures use English; install Noto Sans CJK"),
    "chromium (tests only)": (any(map(which, browsers)), "browser tests are skipped; install chromium"),
}
for what, (there, remedy) in checks.items():
    print(f"{'yes' if there else 'no':4}{what}" + ("" if there else f": {remedy}"))

# %% [markdown]
# ## Questions for the group
#
# 1. Each of the four papers adds a structure by hand to something learned. Which of the four could a larger model learn by itself, given enough data?
# 2. The notes took "task-specific sets have higher MC" from a paper and passed it on. What would you have had to look at to catch it?
# 3. Two of the four papers have result tables that could not be read for this page. What may a summary say about such a paper, and what not?
#
# ## Summary
#
# Four papers: a place for each query, a bias between boxes, a shape for each batch, heads that mix. Of the notes' lines most hold, many with a
# limit, and six needed correcting; the two that matter most are that Relation DETR's relation acts in the decoder, and that task-specific data
# sets do not have higher box correlation in general.
#
# **Next:** [11_conditional_cross_attention](11_conditional_cross_attention.ipynb), which begins with sixteen cells, or
# [20_pearson_between_boxes](20_pearson_between_boxes.ipynb), which needs nothing but a mean and a standard deviation.
#
# **References**
#
# ```bibtex
# @inproceedings{conditionaldetr2021,
#   title     = {Conditional DETR for Fast Training Convergence},
#   booktitle = {International Conference on Computer Vision},
#   year      = {2021},
#   note      = {arXiv 2108.06152}
# }
# @inproceedings{hou2024relation,
#   title     = {Relation DETR: Exploring Explicit Position Relation Prior for Object Detection},
#   author    = {Hou and Liu and Zhang and Wei and Chen and Lan},
#   booktitle = {European Conference on Computer Vision},
#   year      = {2024},
#   doi       = {10.1007/978-3-031-72973-7_6},
#   note      = {arXiv 2407.11699}
# }
# @inproceedings{kim2024topkd,
#   title     = {Do Topological Characteristics Help in Knowledge Distillation?},
#   booktitle = {International Conference on Machine Learning},
#   series    = {PMLR},
#   volume    = {235},
#   pages     = {24674--24693},
#   year      = {2024}
# }
# @inproceedings{xiao2024dcmha,
#   title     = {Improving Transformers with Dynamically Composable Multi-Head Attention},
#   booktitle = {International Conference on Machine Learning},
#   series    = {PMLR},
#   volume    = {235},
#   year      = {2024},
#   note      = {arXiv 2405.08553}
# }
# ```

# %%
print(marginalia.versions("numpy", "matplotlib", "gudhi"))
