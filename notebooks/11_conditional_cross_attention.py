# %% [markdown]
# # Conditional cross-attention
#
# **What changes when a query's content and its position are compared apart, and what can the position part draw?**
#
# Papers: Conditional DETR (ICCV 2021), Figure 3 and equations 2 to 6; DAB-DETR (ICLR 2022), Figures 6 and 7. About one minute on two CPU cores.
#
# **中文摘要。** DETR 的交叉注意力把“内容+位置”的查询与“内容+位置”的键做一次点积，展开后有四项，其中两项是内容与位置之间的交叉项。Conditional DETR 改为拼接，只剩内容与空间两项，
# 于是注意力图恰好等于内容图与空间图之积再归一化。本笔记先在 4×4 网格上手算，再看正弦编码的空间核：只依赖坐标差、横纵可分（秩为 1）、温度决定宽窄；对角变换 λ 能做什么、不能做什么。
# 然后打开一个训练好的解码层，标出每个张量的形状，并说明第一层为何不同。最后是 DAB-DETR 的宽高调制、温度混用的坑和半格偏移。
#
# ## What you will see
#
# 1. DETR's one dot product of sums on a 4 × 4 grid: four terms, and a query that loses its object.
# 2. The same with concatenation: two terms, and maps that multiply.
# 3. The sinusoidal positional encoding: a kernel that moves with its point, factorises, and has a temperature.
# 4. What $T$, the diagonal $\lambda_q$, can do to that kernel.
# 5. A real decoder layer with all its shapes, and why the first layer is different.
# 6. What trained projections keep of all this, and what not.
# 7. DAB-DETR: width and height stretch the map.
# 8. Two pitfalls: temperatures that do not mix, and the half cell by which maps seem to be off.
# 9. A panel to try it all.
#
# You need to know what softmax and a dot product are. Letters: $B$ images, $Q$ queries, $K$ keys (the cells of the feature map), $H$ heads of $D$ channels.
# The papers' $d$ is `width` $= HD$ here.

# %%
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib.patches import Rectangle

import marginalia
from marginalia import detection, figures, plots, style
from marginalia.controls import with_controls
from marginalia.detection import attention as maths
from marginalia.detection.inside import first_layer_terms, kernel_departures, watch_layer
from marginalia.exercises import check, check_function
from marginalia.figures import conditional_detr, dab_detr

style.use_style()
chance = torch.Generator().manual_seed(0)


def softmax_map(logits):
    """Attention over the cells of each map: scaled logits (..., h, w) to weights that sum to 1."""
    return logits.flatten(-2).softmax(-1).unflatten(-1, logits.shape[-2:])


def as_frame(**maps):
    """Maps of one size as columns beside `row` and `column`."""
    row, column = np.indices(next(iter(maps.values())).shape)
    return pd.DataFrame({name: np.ravel(one) for name, one in {"row": row, "column": column, **maps}.items()})


# %% tags=["parameters"]
FAST = True  # 32 images behind the measurements, else 256
RETRAIN = False  # nothing is trained in this notebook
WEIGHTS = "headline-conditional-0"  # a Conditional DETR trained here, or the path of another one

# %% [markdown]
# ## 1. Sixteen cells, and two cats
#
# **Claim.** In DETR a query and a key are sums, so their dot product has four terms, and two of them compare things of different kinds:
#
# $$(c_q + o_q)^\top (c_k + p_k) = c_q^\top c_k + c_q^\top p_k + o_q^\top c_k + o_q^\top p_k.$$
#
# $c_q$ is what the query looks for (its decoder embedding after self-attention), $o_q$ the learned object query, $c_k$ what a cell shows (the encoder's
# output), and $p_k$ the key positional encoding: where the cell is.
#
# For numbers that can be followed by hand, take one frequency a coordinate. Column $j$ of four has the coordinate $x = (j+1)/4$ and the encoding
# $(\sin 2\pi x, \cos 2\pi x)$: whole numbers. Rows have the same, and **y comes before x**. A cat is the content $(2, 0, 0, 0)$. There is one in row 1, column
# 1, and one in row 3, column 3. Our query wants *the second one*: $c_q$ is a cat, $o_q$ the encoding of row 3, column 3.
#
# **Predict.** The query has the right content *and* the right position. Which cell gets the most attention?

# %%
p_k = maths.positional_encoding(maths.cell_positions(4, 4), width=4).round()  # (K, 4): sin, cos of y, of x
cat, target = torch.tensor([2.0, 0, 0, 0]), 4 * 2 + 2
c_k = torch.zeros(16, 4)
c_k[[0, target]] = cat
c_q, o_q = cat, p_k[target]
print("encodings of columns 1 to 4:", p_k[:4, 2:].int().tolist(), "   o_q:", o_q.int().tolist())
four = {"c_q · c_k": c_k @ c_q, "c_q · p_k": p_k @ c_q, "o_q · c_k": c_k @ o_q, "o_q · p_k": p_k @ o_q}
four = {name: logits.reshape(4, 4) for name, logits in four.items()}
total = sum(four.values())
assert torch.equal(total.flatten(), (c_k + p_k) @ (c_q + o_q))
assert (total == total.max()).sum() == 3  # a tie


def show_grids(grids, signs):
    """Numbers of 4 x 4 cells: logits from -6 to 6, maps ("... %") from 0 to 40; the cat we want is framed."""
    figure, axes = plots.panels(len(grids), len(grids), height=6.4 / len(grids) + 0.35)
    for panel, (name, values) in zip(axes, grids.items(), strict=True):
        logits = "%" not in name
        plots.matrix(panel, values if logits else 100 * values, 6 if logits else 40, logits, digits=0)
        panel.add_patch(Rectangle((1.5, 1.5), 1, 1, fill=False, edgecolor=style.GROUND_TRUTH, linewidth=2))
        panel.set(box_aspect=1, title=f"${name}$" if "·" in name else name)
    plots.joined(axes, signs)
    return figure


weights = softmax_map(total * 4**-0.5)
figure = show_grids(four | {"sum": total, "attention, %": weights}, "+++=→")
figures.save(figure, "extra/conditional-four-terms", as_frame(**four, sum=total, attention=weights))
figure

# %% [markdown]
# **Notice.** Three cells tie: the cat we want, the other cat, and an empty cell. Content matches (first map) and position matches (fourth), but the two terms
# between them know nothing and take it all away: "cat" happens to look like "row 1" and unlike row 3, where our cat is. (These numbers were chosen to show it.
# Nothing in the formula prevents it.)
#
# DETR's projections can *learn* to keep the two apart, by sending content and position to different channels. They have to find that during training, in the
# same $D$ channels and with an $o_q$ that does not depend on the image. The paper's reading: finding the edges of a box then falls on the content, whose
# embeddings need long training to become that good.
#
# ## 2. Concatenate instead of adding
#
# **Claim.** With $[c_q; p_q]$ and $[c_k; p_k]$, content above position, the cross terms are gone:
#
# $$[c_q; p_q]^\top [c_k; p_k] = c_q^\top c_k + p_q^\top p_k.$$
#
# $p_q$ is the spatial query. The scale is now one over the square root of *twice* the channels.

# %%
query, keys = torch.cat((c_q, o_q)), torch.cat((c_k, p_k), dim=1)  # (8,), (K, 8)
two = {"c_q · c_k": four["c_q · c_k"], "p_q · p_k": four["o_q · p_k"]}
total = sum(two.values())
assert torch.equal(total.flatten(), keys @ query) and total.flatten().topk(2).values.tolist() == [6, 2]
weights = softmax_map(total * 8**-0.5)
figure = show_grids(two | {"sum": total, "attention, %": weights}, "+=→")
figures.save(figure, "extra/conditional-two-terms", as_frame(**two, sum=total, attention=weights))
figure

# %% [markdown]
# **Notice.** The right cat has 6, nothing else more than 2. (We keep $o_q$ as the spatial query here; section 4 makes a better one.)
#
# **Claim.** Logits add, so maps multiply. With softmax over all cells $k$,
#
# $$\mathrm{softmax}_k(c_q^\top c_k + p_q^\top p_k) \;=\; \frac{\mathrm{softmax}_k(c_q^\top c_k)\;\mathrm{softmax}_k(p_q^\top p_k)}{\sum_{k'} \mathrm{softmax}_{k'}(c_q^\top c_{k'})\;\mathrm{softmax}_{k'}(p_q^\top p_{k'})},$$
#
# because the exponential of a sum is a product. This is exact, whatever the scale. The paper shows these three maps in its Figure 4.

# %%
scaled = [term.double() * 8**-0.5 for term in (*two.values(), total)]
content, spatial, combined = (softmax_map(logits) for logits in scaled)
product = content * spatial
assert torch.allclose(combined, product / product.sum(), atol=1e-12)
assert torch.allclose(combined, maths.combine_maps(content, spatial), atol=1e-12)
three = {"content": content, "spatial": spatial, "combined": combined}
figure = show_grids({f"{name} map, %": one for name, one in three.items()}, "×∝")
figures.save(figure, "extra/conditional-product", as_frame(**three))
figure

# %% [markdown]
# **Notice.** Content alone cannot tell the cats apart. Position alone is a broad hill. The product is neither. So a head's content may be vague and its
# position rough; attention keeps what both like. (The library multiplies in log space: the product of two sharp maps can be 0 everywhere in floating point.)
#
# ## 3. The positional encoding, and the hill it draws
#
# **Claim.** With $F$ = `width`/4 frequencies $\omega_i = \tau^{-i/F}$ a coordinate ($i = 0, \dots, F-1$; $\tau$ is the temperature, 10000 in Conditional DETR's
# code; the papers write $T$, which here is the transformation of section 4), the positional encoding of a point has the channels $\sin(2\pi\omega_i v)$,
# $\cos(2\pi\omega_i v)$, first for $v = y$, then for $v = x$. By $\cos(a - b) = \cos a \cos b + \sin a \sin b$, the dot product of two encodings is
#
# $$p_s^\top p_k = \sum_i \cos(2\pi\omega_i (x - x')) + \sum_i \cos(2\pi\omega_i (y - y')).$$
#
# So all encodings are equally long ($\lVert p_s \rVert^2 = $ `width`/2), the product depends on *differences* only, and x and y do not meet.

# %%
points = torch.rand(2, 50, 2, generator=chance, dtype=torch.float64)
p_s, p_k = maths.positional_encoding(points, width=256)  # 50 encodings each
omega = maths.sine_frequencies(256, dtype=torch.float64)
cosines = (2 * torch.pi * (points[0] - points[1])[..., None] * omega).cos().sum((-2, -1))
assert torch.allclose((p_s * p_k).sum(-1), cosines, atol=1e-9)
assert torch.allclose((p_s**2).sum(-1), torch.tensor(128.0).double(), atol=1e-9)
figure, data = conditional_detr.sine_encoding(width=32)
figures.save(figure, "extra/conditional-sine-code", data)
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.sine_encoding`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** On the left, half of the channels hardly change over the whole image: at temperature 10000 most waves are far longer than the image, and only
# the first few pairs say where something is. On the right, equal values run along the diagonals: difference is all that counts.
#
# **Predict.** The logit is a function of x plus a function of y. What does that make of the attention map?

# %%
s = torch.tensor([0.31, 0.7], dtype=torch.float64)
p_s = maths.positional_encoding(s, width=256, temperature=20.0)
attention = softmax_map(maths.unprojected_logits(p_s, 20, 30, temperature=20.0) / 8)
assert torch.allclose(attention, torch.outer(attention.sum(1), attention.sum(0)), atol=1e-12)  # rank 1
assert torch.allclose(attention, maths.marginal_product(attention), atol=1e-12)
figure, data = conditional_detr.outer_product(attention, s)
figures.save(figure, "extra/conditional-outer-product", data)
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.outer_product`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** $e^{f(x) + g(y)} = e^{f(x)} e^{g(y)}$: the map is the outer product of its row sums and column sums, a matrix of rank 1. Keep that in mind for
# section 6. (The cross is the reference point. Why the brightest cell lies up and left of it: section 8.)
#
# **Claim.** The temperature sets the width of the hill: near its top, along one axis,
# $\sum_i \cos(2\pi\omega_i\delta) \approx F - \tfrac12 (2\pi)^2 S\,\delta^2$ with $S = \sum_i \omega_i^2$.
#
# **Predict.** DAB-DETR turns the temperature from 10000 down to 20. Does the map get wider or narrower? And at 1, when all frequencies are 1?

# %%
figure, data = dab_detr.temperature_maps(temperatures=(1, 10, 20, 10000))
S = {t: (maths.sine_frequencies(256, t, torch.float64) ** 2).sum().item() for t in (20, 10000)}
assert np.isclose(S[20] / S[10000], 2.79, atol=0.005)
kernel = data["kernel"].set_index("delta")
assert np.isclose(kernel.loc[1, "temperature_1"], 64)  # periodic: δ = 1 is as good as 0
steps = kernel["temperature_20"].diff()[1:]
assert (steps[:-7] < 0).all() and (steps[-7:] > 0).all() and np.isclose(steps[-7:].sum(), 0.061, atol=5e-4)
figures.save(figure, "dab-detr/temperature-maps", data)
figure

# %% [markdown]
# Drawn by [`figures.dab_detr.temperature_maps`](../lib/marginalia/figures/dab_detr.py).
#
# **Notice.** Lower temperature, higher frequencies, narrower hill: $S$ grows 2.79 times from 10000 to 20. At temperature 1 the hill comes back at the opposite
# border, because one cosine is periodic. The kernel of temperature 20 falls as far as $\delta = .93$; from there to the opposite border it rises again, but by
# .06 of 64 only. Readers have asked why such kernels have no second hill, although each part is periodic: within the image a *sum* of waves of many lengths
# never comes back into step.
#
# ## 4. What $T$ can do
#
# Conditional DETR makes the spatial query from the encoding of a reference point, $p_q = T p_s$, with $T$ predicted from the decoder embedding $f$. In the paper's
# main form $T$ is diagonal: $p_q = \lambda_q \odot p_s$. Of one frequency with the encoding $(\sin u, \cos u)$, factors $a$, $b$ and a key $(\sin v, \cos v)$ this
# makes
#
# $$a \sin u \sin v + b \cos u \cos v = \tfrac{a+b}{2} \cos(u - v) + \tfrac{b-a}{2} \cos(u + v).$$
#
# With $a = b$ only the first part is left: a narrower, wider or inverted hill on the reference point. With $a \ne b$ a second wave joins that depends on the
# *sum*, so it runs backwards when the point moves. To push the hill aside by $\delta$ from *every* point, each pair would have to be **rotated** by
# $2\pi\omega_i\delta$, and a diagonal cannot rotate.
#
# **Predict.** Which of these five forms of $T$ move along when the reference moves by (4, 2) cells?

# %%
s = torch.tensor([[5 / 16, 6 / 16], [9 / 16, 8 / 16]], dtype=torch.float64)
delta = torch.tensor([3 / 16, -2 / 16], dtype=torch.float64)
encoding = maths.positional_encoding(s, 256, 20.0)  # (2, 256)
of_pairs = 2 * torch.rand(128, generator=chance, dtype=torch.float64).repeat_interleave(2)
spatial_queries = {
    "identity": encoding,
    "λ equal in each\nsin, cos pair": of_pairs * encoding,
    "random λ": torch.randn(256, generator=chance, dtype=torch.float64) * encoding,
    "rotation by δ\n(not diagonal)": maths.shift_encoding(encoding, delta.expand_as(s), 20.0),
    "λ made for\nthis s and δ": maths.positional_encoding(s[0] + delta, 256, 20.0) / encoding[0] * encoding,
}
(figure, axes), rows = plots.panels(10, 5, height=1.7), []
for k, (name, p_q) in enumerate(spatial_queries.items()):
    logits = maths.unprojected_logits(p_q, 16, 16, 20.0)  # (2, h, w)
    departs = (logits[0, :14, :12] - logits[1, 2:, 4:]).abs().max().item()  # where both are defined
    for panel, weights, at in zip(axes[k::5], softmax_map(logits / 8), s, strict=True):
        plots.map_over(panel, weights, point=at)
    axes[k].set_title(name, fontsize=8, loc="center")
    axes[5 + k].set_xlabel(f"departs by {departs:.0f}", fontsize=8.5)
    peak = logits.flatten(1).argmax(1)  # below: where its key is, from the reference, in cells
    offsets = torch.stack((peak % 16 + 1, peak // 16 + 1), -1) - 16 * s
    rows.append((name.replace("\n", " "), departs, *offsets.flatten().tolist()))
axes[0].set_ylabel("reference s")
axes[5].set_ylabel("s moved by (4, 2)")
data = pd.DataFrame(rows, columns=["form", "departure", "peak_x_0", "peak_y_0", "peak_x_1", "peak_y_1"])
figures.save(figure, "extra/conditional-transformations", data)
assert (data["departure"] < 1e-4).tolist() == [True, True, False, True, False]
peaks = data.filter(like="peak").to_numpy()
assert np.allclose(peaks[3], [3, -2, 3, -2], atol=1e-9) and np.allclose(peaks[4, :2], [3, -2], atol=1e-9)
figure

# %% [markdown]
# **Notice.** Below each column stands by how much (in logits of at most 128) the second map differs from the first one moved. Zero for identity, for equal
# factors and for the rotation, which also puts the peak exactly $\delta$ away. A random diagonal does anything but follow.
#
# The last column is worth a thought. For *one* known point a diagonal can put the hill anywhere: divide the encoding of the wished place by that of $s$,
# channel by channel. The same $\lambda$ fails at the next point. So the displacement is either in a $\lambda_q$ that knows where its reference is, or in the
# learned projections around it, which can rotate; the model has both.
#
# ## 5. The real decoder layer
#
# Now a Conditional DETR that was trained here, on images with drawn digits. Every number below is the shape of a tensor in the forward pass that the cell
# makes.

# %%
model = detection.load(WEIGHTS)
ours = WEIGHTS == "headline-conditional-0"  # what was measured on it is not asserted of another model
figure, data = conditional_detr.decoder_layer(model)
shape = data.set_index("tensor")["shape"]
assert shape["q"][-1] == 2 * shape["v"][-1]  # content and position: twice the channels of a head
figures.save(figure, "conditional-detr/decoder-layer", data)
figure

# %% [markdown]
# Drawn by [`figures.conditional_detr.decoder_layer`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** $s$ and $p_s$ have no $B$ axis of their own: the reference point comes from $o_q$, a parameter, so it is the same for every image and layer.
# $\lambda_q$ comes from $f$ and therefore knows the image. The MLP that predicts it is the same in all layers; the linear projections are not.
#
# **Claim.** For each head, one dot product of $2D$ channels is the sum of two of $D$, and *both* are divided by $\sqrt{2D}$: here $\sqrt{32}$, in the published
# model $\sqrt{64}$.
#
# The cell also asserts that attention computed in this way gives what the layer really returned, and that DETR's $\sqrt{D}$, or one half alone, does not.
#
# A wrong scale does not only fail an assert, it shows other maps. The best known script for DETR's maps divides by the root of the whole *width* instead of
# a head's channels. **Predict**: are its maps sharper or softer?

# %%
pixels = torch.from_numpy(detection.make_scenes(32 if FAST else 256, split="val").pixels)
heads, D = model.config.heads, model.config.width // model.config.heads
x = watch_layer(model, pixels, layer=1)
content, spatial = maths.conditional_logits(x["q_c"], x["k_c"], x["q_s"], x["k_s"].expand_as(x["k_c"]), heads)
whole = x["q"] @ x["k"].mT  # (B, H, Q, K), unscaled
output = model.decoder.layers[1].cross_attention.output


@torch.no_grad()
def gap(weights):
    """How far the layer would be from what it really returned if these were its weights."""
    return (output(maths.join_heads(weights @ x["v"])) - x["attended"]).abs().max().item()


assert torch.allclose(x["p_q"], x["lambda_q"] * x["p_s"], atol=1e-5)
assert torch.allclose(whole * (2 * D) ** -0.5, content + spatial, atol=1e-4)
assert gap((content + spatial).softmax(-1)) < 1e-4  # the weights that were used
assert min(gap(part.softmax(-1)) for part in (content, spatial, whole * D**-0.5)) > 0.1
entropies = []
for name, n in {"√D": D, "√(2D), the model's own": 2 * D, "√width": model.config.width}.items():
    weights = (whole * n**-0.5).softmax(-1)
    entropies.append(-torch.xlogy(weights, weights).sum(-1).median().item())
    print(f"divided by {name}: median entropy {entropies[-1]:.2f} nats")
assert sorted(entropies) == entropies

# %% [markdown]
# **Notice.** Uniform attention over 256 cells has $\ln 256 = 5.55$ nats. Smaller divisor, sharper maps; larger, softer (medians over all queries and heads of
# this layer). Maps whose scale is not the model's are not the model's attention.
#
# ### The first layer is different
#
# Before the first layer there is no decoder embedding: $f = 0$. Three things follow. $\lambda_q$ cannot be predicted, so $T$ is the identity. Self-attention
# takes its values from $f$ only, so all queries come out of it *equal*. And so $c_q$ alone could not tell queries apart; the published code adds the projected
# $o_q$ to it and the projected $p_k$ to the content key. Later layers have $f$ and need no such projection; there the code sets it to `None` (`ca_qpos_proj`),
# a line that readers have asked about. The first layer thus has DETR's four terms and a fifth:
#
# $$(c_q + o_q)^\top (c_k + p_k) + p_q^\top p_k \qquad \text{(all projected; the same } p_k \text{ twice).}$$
#
# **Predict.** Which of the five terms varies most over the cells, in a trained model? In every head?

# %%
maps = detection.capture_attention(model, pixels)  # (L, B, H, Q, h, w) each
found = maps.queries.scores > 0.5  # (B, Q): queries that found something
first = watch_layer(model, pixels, layer=0)
five = first_layer_terms(first, heads)
assert first["f"].abs().max() == 0 and (first["c_q"] - first["c_q"][:1, :1]).abs().max() < 1e-5
assert torch.allclose(sum(five.values()).softmax(-1), maps.combined[0].flatten(-2), atol=1e-5)
# standard deviation over the cells for each term, query that counts and head
size = torch.stack([term.std(-1).expand(len(found), -1, -1).mT[found] for term in five.values()])
low, median, high = size.flatten(1).quantile(torch.tensor([0.05, 0.5, 0.95]), dim=1).numpy()
data = pd.DataFrame({"term": list(five), "low": low, "median": median, "high": high})
each = pd.DataFrame(size.quantile(0.5, dim=1).numpy(), pd.Index(five, name="term")).add_prefix("head ")
print("varies most:", ", ".join(f"{head} {term}" for head, term in each.idxmax().items()))
figure, (left, right) = plots.panels(2, 2, height=2.4)
plots.intervals(left, data, "median", "term", reference=None)
left.set(title="all heads", xlim=(0, None), yticklabels=[f"${name}$" for name in five])
plots.matrix(right, each, digits=1, columns=range(heads))
right.set(title="median of each head", xlabel="head")
figure.supxlabel("standard deviation over the cells (scaled logits)", fontsize=9)
figures.save(figure, "extra/conditional-first-layer", {"": data, "heads": each})
if ours:
    assert data["median"].idxmax() == 4 and (each.idxmax() == "p_q · p_k").sum() == 5
    assert each["head 1"].idxmax() == "c_q · c_k"
figure

# %% [markdown]
# **Notice.** Dots are medians over the queries that found something (left: and over all heads), lines their 5 to 95 % range; one model, so no spread over
# seeds. Over all heads the fifth term, the one with the reference point, varies most. But look at the heads one by one: heads 0, 2, 3 and 5 look at a place,
# head 4 does so faintly, and **head 1 does not**: there what the cells show, $c_q^\top c_k$, varies more than any term with a position.
#
# ## 6. What the projections keep
#
# The unprojected hill has two properties: it is an outer product, and it moves with its point. Between $p_q$ and the dot product, dense learned matrices mix
# all channels, y with x, sine with cosine, fast with slow.
#
# **Predict.** Which of the two properties survives training: outer product, shift, both or none? The cell measures the shift like this: keep each query's
# $\lambda_q$, move its reference two cells right and down, compare the maps where both are defined. Then move it to the right only, and see whether the *row*
# sums change, which they could not without projections.

# %%
gaps = [(m - maths.marginal_product(m)).abs().max().item() for m in (maps.spatial, maps.combined)]
assert gaps[0] < 1e-5 and gaps[1] > 0.05  # over all layers, heads, queries and images
measured = {layer: kernel_departures(model, pixels, layer, maps.spatial.shape[-2:]) for layer in (1, 2)}
figure, data = conditional_detr.trained_kernels(measured, found)
shift = data.query("measure == 'shift'")["median"]
assert not ours or (shift.min() > 0.05 and (shift < 0.25).sum() == 11)  # of 12 heads
figures.save(figure, "extra/conditional-trained-heads", data)
figure


# %% [markdown]
# Drawn by [`figures.conditional_detr.trained_kernels`](../lib/marginalia/figures/conditional_detr.py).
#
# **Notice.** *Every* spatial map is an outer product, in every head, trained or not. The key is a linear map of $[\text{PE}(y); \text{PE}(x)]$ (PE: positional encoding of a coordinate), so it is
# something of y plus something of x, and so is its dot product with any query whatever:
#
# $$q^\top (W [\text{PE}(y); \text{PE}(x)] + b) = q^\top W_y\, \text{PE}(y) + q^\top W_x\, \text{PE}(x) + q^\top b.$$
#
# That limits what position alone can draw: bands along a side, blobs, several blobs on a lattice; never a diagonal.
# What is no outer product in the combined map comes from content. The same holds for DETR's $(c_q + o_q)^\top p_k$.
#
# The shift survives approximately. Dots are medians, lines 5 to 95 % of the queries that found something and have room to move; one model. Left, the standard deviation of the error over that of the logits: 0 is a perfect shift.
# Eleven of the twelve heads follow their reference with an error of less than a quarter, head 2 of the last layer hardly does, none does exactly. Right: when
# the reference moves along x, heads look at other *rows*, because the query's projection has mixed its halves. Where a head looks relative to its box is the
# next notebook's subject.
#
# ## 7. DAB-DETR: width and height stretch the map
#
# **Claim.** DAB-DETR's query is an anchor $(x, y, w, h)$. Two numbers $(w_{ref}, h_{ref})$, predicted from the decoder embedding, scale the halves of the
# spatial query:
#
# $$\text{PE}(x)^\top \text{PE}(x_{ref}) \cdot \frac{w_{ref}}{w} + \text{PE}(y)^\top \text{PE}(y_{ref}) \cdot \frac{h_{ref}}{h}.$$
#
# A factor below one flattens the logits along its axis. **Predict** the map of an anchor three times as wide with the same $w_{ref}$.

# %%
figure, data = dab_detr.modulated_attention()
equal, wide, tall, slim = data.itertuples()
assert slim.std_x < equal.std_x < wide.std_x and np.isclose(wide.std_y, equal.std_y, atol=1e-9)
assert np.allclose([slim.std_x, equal.std_x, wide.std_x], [0.081, 0.149, 0.230], atol=1e-3)
figures.save(figure, "dab-detr/modulated-attention", data)
figure

# %% [markdown]
# Drawn by [`figures.dab_detr.modulated_attention`](../lib/marginalia/figures/dab_detr.py).
#
# **Notice.** Wide anchor (frame), wide map; the other axis does not move. These encodings are not projected. In the published code the factors multiply the *input* of a dense
# projection. By section 6 the map stays an outer product, but the axes are no longer independent: changing $w$ changes the rows too, as moving x did above.
# Nothing but the detection loss supervises $w_{ref}$. What it does in a trained model: [14_anchor_boxes](14_anchor_boxes.ipynb).
#
# ## 8. Two pitfalls
#
# **Two temperatures do not mix.** DAB-DETR's paper sets the temperature to 20. In its code this holds for the keys only; the query's encoding has 10000 written
# into it. The author has called it likely a bug (issue 21 of the repository), and transformers reproduces it. **Predict**: where along one axis is the best key
# of a query at .5?
#
# **Half a cell.** Keys are numbered from one: column $j = 0, 1, \dots$ of $w$ stands for the coordinate $(j + 1)/w$, its *right* border, while boxes and
# reference points use the plain coordinate. **Predict**: where does a perfect hill on the middle of the image seem to lie?

# %%
middle, v = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.linspace(0, 1, 101, dtype=torch.float64)
along_y = {t: maths.positional_encoding(torch.stack((0 * v, v), -1), 256, t)[:, :128] for t in (20, 10000)}
figure, (line, *axes) = plots.panels(3, 3, height=2.6, width_ratios=(0.8, 1, 1))
best = pd.DataFrame({"v": v.numpy()})
for query, key, pattern in ((20, 20, "-"), (10000, 10000, ":"), (10000, 20, "-")):
    best[f"{query}, {key}"] = v[(along_y[query] @ along_y[key].T).argmax(1)].numpy()
    line.plot(v, best.iloc[:, -1], pattern, label=best.columns[-1])
line.set(xlabel="query's coordinate", ylabel="its best key", box_aspect=1)
line.legend(title="temperatures of query, key", loc="upper center", bbox_to_anchor=(0.5, -0.3))
assert np.allclose(best.iloc[:, 1:3].T, v, atol=1e-9)
assert best["10000, 20"][50] < 0.3 and best["10000, 20"].max() < 0.4
corners, half_cell = maths.cell_positions(5, 8, torch.float64), torch.tensor([0.5 / 8, 0.5 / 5])
both = {"corner": corners, "middle": corners - half_cell}
for panel, (name, keys) in zip(axes, both.items(), strict=True):
    logits = maths.positional_encoding(keys, 256, 20.0) @ maths.positional_encoding(middle, 256, 20.0)
    both[name] = softmax_map(logits.reshape(5, 8) / 8)
    shown = plots.map_over(panel, both[name], point=middle)
    panel.plot(*keys.T, "o", color=style.PALETTE["sky"], markersize=3, clip_on=False)
    panel.set_title(f"keys at the {name} of their cell", fontsize=8)
figure.colorbar(shown, ax=axes, label="weight of a cell")
logits = maths.unprojected_logits(maths.positional_encoding(middle, 256), 25, 34)  # a usual size at stride 32
assert logits.sum(0).argmax() == 16  # the point is the border between columns 16 and 17
assert torch.isclose(logits.sum(1)[11], logits.sum(1)[12], atol=1e-3)  # it is the centre of row 12
figures.save(figure, "extra/conditional-pitfalls", {"temperatures": best, "half-cell": as_frame(**both)})
figure

# %% [markdown]
# **Notice.** Left: with equal temperatures the best key is the query's own coordinate (two lines, one on the other). With two temperatures it is not, and no query looks past the first 40 %
# of an axis, as long as nothing is learned. Learned projections can repair much: the published models work well. But statements about the kernel (width, place,
# symmetry) hold for equal temperatures only, which is what the models trained here have.
#
# The two maps: the cross is the middle of the image, dots are where the keys think their cells are. On the first map column 4 wins, although the point is the border
# of columns 4 and 5; rows 2 and 3 tie, although the point is the centre of row 3. When you lay a map over an image, put cell $j$ on $[j, j+1]/w$ and expect
# this shift. It is half a stride: 16 pixels at stride 32.
#
# ## 9. Try it
#
# Move the reference and turn four knobs of $\lambda$: a factor for each axis (DAB-DETR's modulation), one for all cosines (it breaks the pairs), one for the
# fast frequencies. First as a still picture. Can you move the peak away from the cross? Does it follow when you move the cross?


# %%
def show_query(x=0.35, y=0.6, factor_x=1.0, factor_y=1.0, cosine=0.3, fast=1.0, temperature=20.0):
    """The map of p_q = λ p_s for a λ made of four factors, and that λ (64 channels)."""
    of_frequency = fast ** torch.linspace(1, 0, 16)  # (F,): fades to 1 at the slowest
    of_axis, of_pair = torch.tensor([factor_y, factor_x]), torch.tensor([1, cosine])  # y first; sin, cos
    scale = (of_axis[:, None, None] * of_frequency[:, None] * of_pair).flatten()
    p_q = scale * maths.positional_encoding(torch.tensor([x, y]), 64, temperature)
    figure, (left, right) = plots.panels(2, 2, height=2.8, width_ratios=(1, 1.5))
    logits = maths.unprojected_logits(p_q, 24, 24, temperature) / 2  # 4 times fewer channels than 256
    figure.colorbar(
        plots.map_over(left, softmax_map(logits), point=(x, y)), ax=left, label="weight of a cell"
    )
    right.plot(range(0, 64, 2), scale[::2], "o", range(1, 64, 2), scale[1::2], "s", markersize=3.5)
    right.legend(["sin", "cos"], loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    right.axvline(31.5, color=plots.NEUTRAL)
    right.set(
        xlabel="channel (y half, then x half)", ylabel="λ", ylim=(min(-0.1, *scale), max(1, *scale) * 1.15)
    )
    return figure, scale


figure, scale = show_query()
figures.save(figure, "extra/conditional-panel", pd.DataFrame({"channel": range(64), "scale": scale.numpy()}))
display(figure)
factors = {"factor_x": (-1, 3, 0.25), "factor_y": (-1, 3, 0.25), "cosine": (-1, 2, 0.1), "fast": (0.25, 4, 0.25)}
temperatures = [1.0, 2.0, 10.0, 20.0, 100.0, 10000.0]
with_controls(show_query, x=(0, 1, 0.05), y=(0, 1, 0.05), **factors, temperature=temperatures)

# %% [markdown]
# ## Here and in the paper
#
# | | here | in the paper | why they differ |
# |---|---|---|---|
# | decoder layer, Figure 3 | shapes of a live pass: width 96, 6 heads, 16 queries, 256 cells | a diagram; width 256, 8 heads, 300 queries in the code | a model that a laptop trains |
# | scale of the logits | $1/\sqrt{32}$ | $1/\sqrt{64}$ (code) | both are $1/\sqrt{2D}$ |
# | temperature | 20 on both sides in trained models; stated beside each figure | 10000 (Conditional DETR, code); 20 (DAB-DETR, text), 20 and 10000 (its code) | one kernel with its properties intact |
# | Figure 6 of DAB-DETR | labelled by anchor and by factor; unprojected encodings, scale 1/8 | labelled by H and W | readers disagree on what H and W are |
# | Figure 7 of DAB-DETR | temperatures 1, 10, 20, 10000; the reference near a border | copies we could read show 1, 10, 10000 | 20 is the paper's choice; the border shows the period |
# | spatial maps | outer products, exactly, in every head | not mentioned in what we could read | follows from the linear projection of the keys |
# | gain from temperature 20 | not measured here | 39.5 to 40.1 AP from 10000 to 20 (DAB-DETR, Table 6) | [14_anchor_boxes](14_anchor_boxes.ipynb) has temperatures of small models |
#
# Not checked here: how the measurements of sections 5 and 6 vary over training seeds, and whether a published checkpoint agrees; both need other weights in
# `WEIGHTS`.
#
# ## Exercises
#
# **1.** How large can the unprojected spatial logit of a whole point encoding get, after scaling, in a model of width 256 whose logits are divided by $\sqrt{64}$,
# if one head had all the channels?
#
# **2.** Write `rotate(sine, cosine, omega, delta)`, which turns the encoding $(\sin 2\pi\omega v, \cos 2\pi\omega v)$ into that of $v + \delta$ without knowing
# $v$.
#
# **3.** Could a head's *spatial* map have two equal peaks, in the upper left and the lower right corner of a box, and nothing in the other two corners?

# %%
answer = None  # exercise 1
check(answer, 16, hints={
    128: "That is before scaling.",
    128 / 32**0.5: "That is DETR's divisor, the root of D; concatenated heads have 2D channels.",
    32: "The encoding's squared length is width / 2: a sine and a cosine share one unit.",
})  # fmt: skip
rotate = None  # exercise 2
cases = {}
for v, omega, delta in ((0.2, 1.0, 0.1), (0.7, 0.3, -0.4), (0.0, 0.5, 0.5)):
    now, then = 2 * np.pi * omega * v, 2 * np.pi * omega * (v + delta)
    given, wanted = (np.sin(now), np.cos(now), omega, delta), (np.sin(then), np.cos(then))
    cases[f"v = {v}, omega = {omega}, delta = {delta}"] = given, wanted
check_function(rotate, cases)

# %% [markdown]
# <details><summary>Solutions</summary>
#
# **1.** At coincidence the product is the squared length, $256/2 = 128$. Divided by 8: 16.
#
# **2.** With $a = 2\pi\omega\delta$: `(sine * cos(a) + cosine * sin(a), cosine * cos(a) - sine * sin(a))`. A diagonal has only products with the channel
# itself; the mixed ones are what it lacks.
#
# **3.** No. An outer product with weight in rows $i_1, i_2$ and columns $j_1, j_2$ has it at all four crossings. Two opposite corners need content, or two
# heads.
# </details>
#
# ## Questions for the group
#
# 1. The spatial map is always an outer product. What would you add to the key so that a head could follow a diagonal object, and what would it cost?
# 2. The first layer keeps DETR's four terms. What would you expect if one left them out, and how would you test it in an afternoon?
# 3. A mixture of temperatures got into a well-known code base and the models work. How would you have noticed?
#
# ## Summary
#
# A dot product of sums has four terms, and a query can lose its object to the two that mix. Concatenation leaves two; attention is then the normalised product
# of a content map and a spatial map. The positional encoding gives a hill that follows its point, factorises over x and y, and narrows with lower temperature. A diagonal
# $\lambda$ reshapes it but shifts it from one known point only; learned projections do the rest. They keep the factorisation, always, and the shift approximately.
#
# **Next:** [12_attention_maps](12_attention_maps.ipynb) looks at these maps over images, head by head.
#
# **References**
#
# ```bibtex
# @inproceedings{meng2021conditional,
#   title     = {Conditional DETR for Fast Training Convergence},
#   author    = {Meng, Depu and Chen, Xiaokang and Fan, Zejia and Zeng, Gang and Li, Houqiang and Yuan, Yuhui and Sun, Lei and Wang, Jingdong},
#   booktitle = {IEEE/CVF International Conference on Computer Vision},
#   year      = {2021}
# }
# @inproceedings{liu2022dab,
#   title     = {{DAB-DETR}: Dynamic Anchor Boxes are Better Queries for {DETR}},
#   author    = {Liu, Shilong and Li, Feng and Zhang, Hao and Yang, Xiao and Qi, Xianbiao and Su, Hang and Zhu, Jun and Zhang, Lei},
#   booktitle = {International Conference on Learning Representations},
#   year      = {2022}
# }
# @inproceedings{carion2020end,
#   title     = {End-to-End Object Detection with Transformers},
#   author    = {Carion, Nicolas and Massa, Francisco and Synnaeve, Gabriel and Usunier, Nicolas and Kirillov, Alexander and Zagoruyko, Sergey},
#   booktitle = {European Conference on Computer Vision},
#   year      = {2020}
# }
# ```

# %%
print(marginalia.versions("torch", "numpy", "matplotlib", "ipywidgets"))
