# %% [markdown]
# # Persistence diagrams
#
# **What does a persistence diagram see in a cloud of points, and how far can it be trusted?**
#
# Papers: RipsNet (arXiv 2202.01725), the left half of its Figure 1 (from a cloud to its diagram), and TopKD (ICML 2024), which reads a batch of 64 features as a cloud and takes its diagram of dimension 0. Half a minute to run on two CPU cores, 25 minutes to read.
#
# **中文摘要。** 本笔记从点云出发：逐步放大尺度得到 Rips 复形，再读出条形码和持续图，看 H0、H1、H2 各自能看到什么。接着核对三个程序库的约定（直径、半径、半径的平方），用十几行 Prim 算法验证 H0 的死亡时间就是最小生成树的边长，并展示重复点、NaN 和永不消亡的条（死亡时间为无穷）这几个陷阱。然后是稳定性定理：移动一个点会使图改变多少，为什么一个离群点能让一个环的持续时间减半。最后画出手写数字分类器各层特征（或读者自己的数据）的条形码和持续图。
#
# ## What you will see
#
# 1. From points to a complex, to bars, to a diagram; what dimensions 0, 1 and 2 see.
# 2. One cloud in three libraries: diameter, radius, squared radius.
# 3. Dimension 0 is the minimum spanning tree; three pitfalls.
# 4. Stability, and one outlier that halves a loop.
# 5. Diagrams of the features of a classifier, or of your own.
#
# You need to know what a distance is. A *simplex* is a point, an edge, a triangle, a tetrahedron; a *complex* is a set of them with all their faces. What in such diagrams is
# more than scale and covariance is measured in [35_features_beside_gaussians](35_features_beside_gaussians.ipynb).

# %%
import warnings
from itertools import combinations

import gudhi
import numpy as np
import pandas as pd
import persim
from matplotlib.collections import LineCollection, PolyCollection
from ripser import ripser
from scipy.cluster.hierarchy import linkage
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import directed_hausdorff, pdist, squareform

import marginalia
from marginalia import figures, plots, style
from marginalia.controls import with_controls
from marginalia.exercises import check, check_function
from marginalia.explorers import RipsExplorer
from marginalia.topology import collect_features, diagrams, h0_deaths, read_features
from marginalia.topology.digits import digits, train_teacher

style.use_style()
BLUE, RED, GREY = style.CYCLE[0], style.CYCLE[1], plots.NEUTRAL

# %% tags=["parameters"]
FAST = True  # nothing here is slow
RETRAIN = False  # the classifier of section 5 always learns here, in a second or two
FEATURES = None  # a .npy, .npz, .pt or .pth file with features (N, D), or K clouds (K, N, D), for section 5
ARRAY = None  # name of the array in it, where there are several

# %% [markdown]
# ## 1. From points to a diagram
#
# **Claim.** Let a length $\ell$ grow from 0. The **Vietoris-Rips complex** at $\ell$ has every simplex whose points are pairwise at most $\ell$ apart:
#
# $$R_\ell(X) = \{\sigma \subseteq X : \lVert x - y \rVert \le \ell \text{ for all } x, y \in \sigma\}.$$
#
# Components merge, loops appear and are filled. Each such feature has a **birth** $b$ and a **death** $t$, two values of $\ell$, and a persistence $t - b$.
#
# **Predict.** Below are two rings that touch, a large one and a small one. Which loop is born first, and which dies first?


# %%
def ring(count):
    """Points of the unit circle, evenly spaced."""
    angles = 2 * np.pi * np.arange(count) / count
    return np.c_[np.cos(angles), np.sin(angles)]


rng = np.random.default_rng(0)
cloud = np.concatenate([ring(18), 0.45 * ring(9) + (1.6, 0)]) + rng.normal(0, 0.05, (27, 2))
bars = diagrams([cloud])[0]  # (m, 2) births and deaths of dimension 0, and of dimension 1


# %%
def draw_complex(axes, points, length):
    """Points, edges and triangles of the Rips complex at a length."""
    near = squareform(pdist(points)) <= length
    for size, look in ((3, {"facecolor": style.PALETTE["yellow"]}), (2, {"edgecolor": GREY, "linewidth": 0.7})):
        faces = [list(face) for face in combinations(range(len(points)), size)]
        there = [points[face] for face in faces if near[np.ix_(face, face)].all()]
        axes.add_collection(PolyCollection(there, alpha=0.4 if size == 3 else 1, **look))
    axes.plot(*points.T, "o", color=BLUE, markersize=2.5)
    axes.set_aspect("equal")
    axes.set_axis_off()


# %%
figure, panels = plots.panels(4, 4, 1.75)
for axes, length in zip(panels, (0.25, 0.5, 0.9, 1.8), strict=True):
    draw_complex(axes, cloud, length)
    components, loops = (((each[:, 0] <= length) & (each[:, 1] > length)).sum() for each in bars)
    axes.set_title(f"length {length}\ncomponents: {components}\nloops: {loops}")
figures.save(figure, "extra/diagrams-rips", pd.DataFrame(cloud, columns=["x", "y"]))
figure


# %% tags=["hide-input"]
def slide(length=0.5):
    """One complex, and beside it the bars with the length that is chosen."""
    figure, (left, right) = plots.panels(2, 2, 2.6)
    draw_complex(left, cloud, length)
    plots.barcode(right, bars)
    right.axvline(length, color=GREY)
    return figure


with_controls(slide, length=(0, 2, 0.02))

# %% [markdown]
# **Notice.** The small ring's loop is born first, by a little (.40, the large one's .43), and filled long before the large one's (.75 and 1.74). A loop lives from the longest step along it to about the length at which triangles span it. The titles count the bars that have begun and not ended.
#
# All bars together are the **barcode**; the points $(b, t)$ are the **persistence diagram** $\mathrm{Dgm}_k$, one for each dimension $k$. What lies near the diagonal was there for a short while.
#
# **Predict.** Three groups of points, the rings, and 32 points on a *sphere*: which dimension tells each from the others?

# %%
middles = np.repeat([(0, 0), (1.5, 0.2), (0.6, 1.4)], 9, axis=0)  # (27, 2)
height = 1 - (np.arange(32) + 0.5) / 16
turn, width = np.pi * (1 + 5**0.5) * np.arange(32), np.sqrt(1 - height**2)
sphere = np.c_[width * np.cos(turn), height, width * np.sin(turn)]  # (32, 3), a spiral from pole to pole
toys = {"groups": middles + rng.normal(0, 0.15, (27, 2)), "rings": cloud, "sphere": sphere}
found = diagrams(list(toys.values()), max_dimension=2)
long = [[int((np.diff(each) > 0.3).sum()) for each in bars_of] for bars_of in found]  # bars of H0, H1, H2
assert long[0][0] == 3 and long[1][1] == 2 and [h2 for _, _, h2 in long] == [0, 0, 1]

# %%
figure, panels = plots.panels(9, 3, 2.1)
for row, (name, points), each in zip(np.reshape(panels, (3, 3)), toys.items(), found, strict=True):
    row[0].plot(*points[:, :2].T, "o", color=BLUE, markersize=3)
    row[0].set(aspect="equal", xticks=[], yticks=[], title=name)
    plots.barcode(row[1], each)
    row[1].set_xlabel("edge length")
    plots.persistence_diagram(row[2], each)
panels[2].legend(loc="lower right")
figures.save(figure, "extra/diagrams-dimensions", found.to_frame())
figure

# %% [markdown]
# **Notice.** H0 (blue) counts components: of the groups two bars end late and one never ends, so there are three. H1 (orange-red) counts loops: the rings have two long bars. H2 (green) counts cavities: only the sphere has a long bar. Its short orange-red bars are meshes between neighbouring points. The rings' short green bars show that a Rips complex of points in the plane can have cavities that the plane has not.
#
# ## 2. Diameter, radius, squared radius
#
# **Claim.** One cloud gets different numbers from different libraries, for two reasons. The first is the unit: Rips complexes count *edge lengths* (diameters of discs that touch), alpha complexes *squared radii*. The second is the complex: alpha fills a triangle when its three *discs* have a common point, Rips as soon as its edges are there. By hand, for side 1:
#
# | | H0 deaths | H1 birth, death |
# |---|---|---|
# | triangle, Rips, edge length | 1, 1 | none: filled at once |
# | triangle, alpha, squared radius | $\frac14, \frac14$ | $\frac14, \frac13$ (circumradius $1/\sqrt3$) |
# | square, Rips, edge length | 1, 1, 1 | $1, \sqrt2$ (the diagonal) |
# | square, alpha, squared radius | $\frac14, \frac14, \frac14$ | $\frac14, \frac12$ (circumradius $1/\sqrt2$) |


# %%
def libraries(points):
    """Diagrams of dimensions 0 and 1 by three libraries; the first is the way of TopKD's code."""
    rips = gudhi.RipsComplex(points=points).create_simplex_tree(2)
    alpha = gudhi.AlphaComplex(points=points).create_simplex_tree()
    for tree in (rips, alpha):
        tree.compute_persistence()
    rips, alpha = ([tree.persistence_intervals_in_dimension(k) for k in (0, 1)] for tree in (rips, alpha))
    return {"gudhi Rips": rips, "ripser": ripser(points)["dgms"], "gudhi alpha": alpha}


# %%
BY_HAND = (  # points; H0 deaths and H1 bars of Rips; H1 bars of alpha
    ([(0, 0), (1, 0), (0.5, 0.75**0.5)], [1, 1], [], [(0.25, 1 / 3)]),
    ([(0, 0), (1, 0), (0, 1), (1, 1)], [1, 1, 1], [(1, 2**0.5)], [(0.25, 0.5)]),
)
for points, deaths, rips, alpha in BY_HAND:
    for name, (h0, h1) in libraries(np.array(points, float)).items():
        squared = name == "gudhi alpha"
        assert np.allclose(h0[:-1, 1], np.divide(deaths, 4) if squared else deaths)
        assert np.allclose(h1, np.reshape(alpha if squared else rips, (-1, 2)))
same = libraries(cloud)
assert np.allclose(np.sort(same["gudhi alpha"][0][:, 1]), np.sort(same["gudhi Rips"][0][:, 1]) ** 2 / 4)
assert np.allclose(np.sort(same["ripser"][0][:, 1]), np.sort(same["gudhi Rips"][0][:, 1]), rtol=1e-5)
longest = {name: h1[np.ptp(h1, axis=1).argmax()] for name, (_, h1) in same.items()}
table = pd.DataFrame(longest, index=["birth of the large ring's loop", "death"]).T
table["death as a length"] = table["death"].where(table.index != "gudhi alpha", 2 * table["death"] ** 0.5)
table.round(4)

# %% [markdown]
# **Notice.** In dimension 0 all three agree up to the unit, also for the rings: an alpha death is the Rips death, halved and squared (asserted). In dimension 1 no change of unit is enough: as lengths, the large ring's loop dies at different values. ripser computes in 32-bit floats.
#
# ## 3. Dimension 0 is the minimum spanning tree
#
# **Claim.** Every point is born at 0. A component dies when an edge joins it to another, and the edges that join are those of the **minimum spanning tree**: $N - 1$ deaths, its edge lengths, which are also the merge heights of single-linkage clustering. Prim's algorithm grows the tree from point 0, always by the nearest outer point:


# %%
def prim(points):
    """Edges of the minimum spanning tree of X, (N - 1, 2)."""
    d = squareform(pdist(points))  # (N, N)
    outer, nearest, neighbour = np.arange(len(d)) > 0, d[0], np.zeros(len(d), int)
    edges = []
    while outer.any():
        joined = np.flatnonzero(outer)[nearest[outer].argmin()]
        edges.append((neighbour[joined], joined))
        outer[joined] = False
        nearer = d[joined] < nearest
        nearest, neighbour = np.where(nearer, d[joined], nearest), np.where(nearer, joined, neighbour)
    return np.array(edges)


# %%
edges = prim(cloud)
t = np.linalg.norm(cloud[edges[:, 0]] - cloud[edges[:, 1]], axis=1)  # lengths, (N - 1,)
for others in (h0_deaths(cloud), linkage(cloud, "single")[:, 2], same["gudhi Rips"][0][:-1, 1]):
    assert np.allclose(np.sort(t), np.sort(others), rtol=1e-12)
figure, (left, right) = plots.panels(2, 2, 2.6)
rows = np.arange(len(t))[:, None]
for axes, lines in ((left, cloud[edges]), (right, np.stack([np.c_[0 * t, rows], np.c_[t, rows]], 1))):
    axes.add_collection(LineCollection(lines, array=t, cmap="cividis_r", linewidth=2.4))
left.set(aspect="equal", xticks=[], yticks=[], title="minimum spanning tree")
left.autoscale()
right.set(xlim=(0, 1.05 * t.max()), ylim=(-1, len(t)), yticks=[], xlabel="edge length", title="its edges, as Prim adds them")
figures.save(figure, "extra/diagrams-tree", pd.DataFrame(edges, columns=["from", "to"]).assign(length=t))
figure

# %% [markdown]
# **Notice.** Each bar of H0 is an edge of the tree, in the same colour. Dimension 0, TopKD's default, needs no simplices: `h0_deaths` runs Prim on many clouds at once, with gradients.
#
# **Three pitfalls**: points that occur twice, NaN, and bars that never end. **Predict** what each of the calls below returns: an error, a wrong number, a right one?

# %%
twice = np.tile(np.random.default_rng(0).normal(size=(6, 2)), (2, 1))  # six points, each of them twice
single, dense = linkage(twice, "single")[:, 2].sum(), minimum_spanning_tree(squareform(pdist(twice))).sum()
assert np.isclose(single, h0_deaths(twice).sum()) and dense > 1.01 * single
print(f"tree of duplicates: {single:.3f}; by scipy from the dense matrix {dense:.3f}")
tree = gudhi.RipsComplex(points=[[0, 0], [1, 0], [np.nan, 0]]).create_simplex_tree(1)
endless = sum(np.isinf(death) for _, (_, death) in tree.persistence())
one, two = np.array([[0, 1], [0, np.inf]]), np.array([[0, 2], [0, np.inf], [0, np.inf]])
with warnings.catch_warnings(action="ignore"):
    by_persim, by_gudhi = persim.bottleneck(one, two), gudhi.bottleneck_distance(one, two)
assert endless == 2 and by_persim == 1 and by_gudhi == np.inf
print(f"NaN: {endless} infinite bars; one infinite bar against two: {by_persim} by persim, {by_gudhi} by gudhi")

# %% [markdown]
# **Notice.** scipy's dense `minimum_spanning_tree` takes a distance of 0 for "no edge" and ties duplicates by long edges: use single linkage or `h0_deaths`. gudhi accepts NaN silently and gives that point a bar that never ends; who drops infinite bars, as TopKD's code does, never sees it (`h0_deaths` and `diagrams` raise an error). One infinite bar against two: gudhi's distance is infinite, persim leaves them out (with a warning) and says 1.
#
# ## 4. Stability
#
# **Claim.** The **bottleneck distance** $d_B$ matches the points of two diagrams, with each other or with the diagonal, so that the longest move is shortest. The **Hausdorff distance** $d_H$ is the furthest that a point of one cloud lies from the other cloud. For edge lengths and every $k$,
#
#
# $$d_B(\mathrm{Dgm}_k X, \mathrm{Dgm}_k Y) \le 2\, d_H(X, Y).$$
#
# The 2 is there because both ends of an edge may move. Below, between one and all points of a noisy ring of 30 move at random, 150 times. **Predict**: how much of the bound do they use?


# %%
def distances(x, y):
    """Hausdorff distance of two clouds; bottleneck distances of their diagrams of dimensions 0 and 1."""
    both = diagrams([x, y])
    bottleneck = [gudhi.bottleneck_distance(both[0][k], both[1][k]) for k in (0, 1)]
    assert np.allclose(bottleneck, [persim.bottleneck(*both.finite(k)) for k in (0, 1)], atol=1e-9)
    return max(directed_hausdorff(x, y)[0], directed_hausdorff(y, x)[0]), *bottleneck


base, moves = ring(30) + rng.normal(0, 0.1, (30, 2)), []
for size in rng.uniform(0.02, 0.5, 150):
    chosen = rng.permutation(30)[:, None] < rng.integers(1, 31)  # one to all of them
    moves.append(distances(base, base + chosen * rng.normal(0, size, (30, 2))))
moves = pd.DataFrame(moves, columns=["Hausdorff", "H0", "H1"])
share = moves[["H0", "H1"]].div(2 * moves["Hausdorff"], axis=0)
assert len(share) == 150 and (share <= 1 + 1e-9).all(axis=None)
print(f"largest share of the bound that a move used: {share.max().round(2).to_dict()}")

# %%
figure, (axes,) = plots.panels(1, 1, 2.8)
for name, color in (("H0", BLUE), ("H1", RED)):
    axes.scatter(moves["Hausdorff"], moves[name], 10, color=color, alpha=0.7, label=name)
axes.axline((0, 0), slope=2, color=GREY, label="2 × Hausdorff distance")
axes.set(xlim=(0, None), ylim=(0, 1.2 * moves["H1"].max()))
axes.set(xlabel="Hausdorff distance of the clouds", ylabel="bottleneck distance\nof the diagrams")
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
figures.save(figure, "extra/diagrams-stability", moves)
figure

# %% [markdown]
# **Notice.** Every move stays below the line, as it must, and most stay far below; the largest share used is .43 in H0 and .66 in H1 (printed). gudhi and persim agree on all of them (asserted).
#
# **Claim.** The bound looks at the *worst* point, and one point can be enough. 100 points lie evenly on a circle of radius 1. Their loop is born at $2\sin\frac{\pi}{100}$ and dies at $2\sin\frac{34\pi}{100}$, when three edges span it: persistence 1.69. **Predict** what is left of it when *one* of the points has walked to the centre.

# %%
angles = np.random.default_rng(0).uniform(0, 2 * np.pi, (10, 100))
circles = [ring(100), *np.stack([np.cos(angles), np.sin(angles)], -1)]
radii = np.linspace(1, 0, 11)
walks = [circle * np.r_[radius, np.ones(99)][:, None] for circle in circles for radius in radii]
loops = np.reshape([np.ptp(bars, axis=1).max() for bars in diagrams(walks).finite(1)], (11, 11))
ends = 2 * np.sin(0.34 * np.pi) - 2 * np.sin(np.pi / 100), 1 - 2 * np.sin(np.pi / 50)  # by hand, evenly spaced
assert np.allclose(loops[0, [0, -1]], ends)
left_over = loops[:, -1] / loops[:, 0]
print(f"left over: even {left_over[0]:.2f}, ten random {left_over[1:].min():.2f} to {left_over[1:].max():.2f}")

# %%
figure, (left, right) = plots.panels(2, 2, 2.6)
left.plot(*walks[10].T, "o", color=BLUE, markersize=2.5)
left.annotate("", (0.04, 0), (0.97, 0), arrowprops={"arrowstyle": "->", "color": RED})
left.set(aspect="equal", xticks=[], yticks=[], title="one of 100 points walks")
right.plot(radii, loops[1:].T, color=GREY, linewidth=0.7)
right.plot(radii, loops[0], "o-", color=BLUE)
right.set(xlim=(1.03, -0.03), ylim=(0, 1.8), xlabel="its distance from the centre", ylabel="largest persistence of H1")
right.legend(right.lines[-2:], ["ten random circles", "even circle"], loc="lower left")
figures.save(figure, "extra/diagrams-outlier", pd.DataFrame(loops.T, index=pd.Index(radii, name="radius")))
figure

# %% [markdown]
# **Notice.** One percent of the points halves the loop: from the centre, edges of length 1 reach everything, so that it is filled at 1. The Hausdorff distance is 1 here, and the bound would allow even more. RipsNet averages over points, and its authors present it as robust against this; an exact diagram is not.
#
# ## 5. Diagrams of features
#
# TopKD's cloud is a batch: 64 images are 64 points, the coordinates are what a layer gives. Below are 64 test images of digits as pixels, and as what comes out of the layers of a classifier (256 and 64 units with ReLU, ten logits). With `FEATURES` the first four of your clouds are shown, at most 200 points each. **Predict** where the largest numbers are, and whether there are long loops.

# %%
if FEATURES is None:
    model, (_, test) = train_teacher(steps=320)[0], digits()
    layers = {"layer 1": "1", "layer 2": "3", "logits": "4"}
    clouds = {"pixels": test.x[:64]}
    clouds |= {name: collect_features(model, [test.x[:64]], layer)[0] for name, layer in layers.items()}
    clouds = {name: points.double().numpy() for name, points in clouds.items()}
    print(f"test accuracy of the classifier (one seed): {test.accuracy(model):.3f}")
else:
    clouds = {f"your cloud {i}": points for i, points in enumerate(read_features(FEATURES, ARRAY)[:4, :200].astype(float))}

# %%
found = diagrams(list(clouds.values()))
figure, panels = plots.panels(2 * len(clouds), len(clouds), 2)
for place, (name, bars_of) in enumerate(zip(clouds, found, strict=True)):
    plots.barcode(panels[place], bars_of)
    panels[place].set(title=f"{name}\n{len(clouds[name])} points, D = {clouds[name].shape[1]}", xlabel="edge length")
    plots.persistence_diagram(panels[place + len(clouds)], bars_of)
plots.legend(figure, {"H0": {"color": BLUE}, "H1": {"color": RED}})
figures.save(figure, "extra/diagrams-features", found.to_frame().assign(name=lambda f: np.take(list(clouds), f["cloud"])))
figure

# %%
rows = []
for name, (h0, h1) in zip(clouds, found, strict=True):
    deaths, persistence = h0[np.isfinite(h0[:, 1]), 1], np.ptp(h1, axis=1)
    assert np.isclose(deaths.sum(), h0_deaths(clouds[name]).sum())
    mean = pdist(clouds[name]).mean()
    rows.append((name, mean, deaths.mean() / mean, deaths.max() / mean, len(h1), persistence.max(initial=0) / mean))
columns = ["cloud", "mean distance", "H0: mean death / it", "longest / it", "H1: bars", "longest / it "]
pd.DataFrame(rows, columns=columns).set_index("cloud").round(3)

# %% [markdown]
# **Notice.** The classifier's clouds differ first in scale: read the axes. Divided by the mean distance, deaths of H0 still fall from the pixels to the logits, which may be covariance (few directions) or shape (tight classes). Loops are short in all of them. Which of these differences a Gaussian cloud of the same covariance has too is the question of [35_features_beside_gaussians](35_features_beside_gaussians.ipynb), with five seeds.
#
# ## Here and in the paper
#
# | | here | TopKD's code | why they differ |
# |---|---|---|---|
# | cloud | 64 test images, evaluation mode | 64 training images; the teacher in training mode when RipsNet's targets are made | each point should depend on its own image alone |
# | features | 64, small classifier of digits | 64 or 128 after pooling, CIFAR-100 | must run on a laptop |
# | dimension | 0 and 1 | 0; 1 is an option | |
# | diagram | Prim for H0, gudhi for H1 | gudhi, one simplex tree a cloud | equal to rounding (sections 2, 3); made for many clouds at once |
#
# RipsNet's Figure 1 goes on from the diagram to an image: see [32_persistence_images](32_persistence_images.ipynb). Not checked: CIFAR-100, wide networks, batches in training mode. The text of the TopKD paper could not be read; what is said of it is from its code.
#
# ## Points of your own
#
# Below, points can be added, dragged and deleted, by mouse, touch or keys; complex, bars, diagram and image follow. Can you halve the loop with one point? Can you make a second one that dies later than the first?

# %%
RipsExplorer(points=cloud)

# %% [markdown]
# ## Exercises
#
# **1.** Six points are the corners of a regular hexagon of side 1. When does the loop of its Rips complex die?
#
# **2.** $X = \{0, 1\}$ and $Y = \{-0.1, 1.1\}$ lie on a line. What share of the bound $2 d_H$ does the bottleneck distance of their H0 diagrams use?
#
# **3.** Write `components(deaths, length)`: how many components has the Rips complex at a length, given the finite deaths of H0?

# %%
answer = None  # exercise 1
assert np.isclose(diagrams([ring(6)])[0][1][0, 1], 3**0.5)
check(answer, 3**0.5, hints={1: "That is its birth.", 2: "At 2 opposite corners meet; it is filled before."})
answer = None  # exercise 2
assert np.allclose(distances(np.array([[0.0], [1]]), np.array([[-0.1], [1.1]]))[:2], (0.1, 0.2))
check(answer, 1, hints={0.5: "The bound is twice d_H, and d_H is 0.1.", 0.2: "That is the distance: divide by the bound."})
components = None  # exercise 3
check_function(components, {
    "before any edge": ((np.array([1.0, 1, 2]), 0.5), 4),
    "an edge enters at its length": ((np.array([1.0, 1, 2]), 1.0), 2),
    "connected": ((np.array([1.0, 1, 2]), 9.0), 1),
    "a single point": ((np.array([]), 1.0), 1),
})  # fmt: skip

# %% [markdown]
# <details><summary>Solutions</summary>
#
# **1.** $\sqrt3 = 1.732$, the side of the two triangles of every second corner; with them all triangles are there.
#
# **2.** All of it: the one finite death goes from 1 to 1.2, so $d_B = 0.2$, and $d_H = 0.1$. The bound is tight.
#
# **3.** `lambda deaths, length: 1 + int((deaths > length).sum())`. Each death up to the length has merged two components.
# </details>
#
# ## Questions for the group
#
# 1. An outlier halves a loop, and a bound on the worst point is all that the theorem gives. Which clouds of yours have outliers, and would you drop points before you take a diagram?
# 2. TopKD compares H0 diagrams of teacher and student. Which changes of the student's features does H0 not see at all?
# 3. Rips or alpha, diameter or radius: which would you print in a paper, so that nobody has to ask?
#
# ## Summary
#
# A diagram lists when components, loops and cavities begin and end. In dimension 0 it is a list of tree edges, and a dozen lines compute it. Libraries agree once unit and complex are named; duplicates, NaN and infinite bars need care. A diagram is stable, but against the worst point: one of a hundred halves a loop.
#
# **Next:** [32_persistence_images](32_persistence_images.ipynb) makes a grid of a diagram; [35_features_beside_gaussians](35_features_beside_gaussians.ipynb) asks what in a diagram is shape.
#
# **References**
#
# ```bibtex
# @inproceedings{kim2024topkd,
#   title     = {Do Topological Characteristics Help in Knowledge Distillation?},
#   author    = {Kim, Jungeun and You, Junwon and Lee, Dongjin and Kim, Ha Young and Jung, Jae-Hun},
#   booktitle = {International Conference on Machine Learning},
#   year      = {2024}
# }
# @article{desurrel2022ripsnet,
#   title   = {{RipsNet}: a general architecture for fast and robust estimation of the persistent homology of point clouds},
#   author  = {de Surrel, Thibault and Hensel, Felix and Carri{\`e}re, Mathieu and Lacombe, Th{\'e}o and Ike, Yuichi and Kurihara, Hiroaki and Glisse, Marc and Chazal, Fr{\'e}d{\'e}ric},
#   journal = {arXiv:2202.01725},
#   year    = {2022}
# }
# @article{chazal2014persistence,
#   title   = {Persistence stability for geometric complexes},
#   author  = {Chazal, Fr{\'e}d{\'e}ric and de Silva, Vin and Oudot, Steve},
#   journal = {Geometriae Dedicata},
#   year    = {2014}
# }
# ```

# %%
print(marginalia.versions("numpy", "scipy", "torch", "gudhi", "ripser", "persim", "ipywidgets"))
