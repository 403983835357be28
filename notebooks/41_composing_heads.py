# %% [markdown]
# # Composing heads
#
# **What can attention do when its heads are mixed anew for each pair of tokens, what can it still not do, and what does it cost?**
#
# Paper: DCMHA / DCFormer (ICML 2024, arXiv 2405.08553), its Figure 2. Of the paper, only the abstract and this figure could be read; formulas are those of the figure and of the authors' code. About half a minute to run on two CPU cores, 25 minutes to read.
#
# **中文摘要。** 普通的多头注意力里，每个头的“看哪里”（QK）和“搬什么”（OV）是绑死的，头与头之间不交换信息。DCMHA 把一对词元 $(i, j)$ 的 H 个注意力分数看成一个向量，乘上一个随 $i$ 和 $j$ 变化的 H×H 矩阵，softmax 前后各做一次。
# 为了节省参数和计算，这个矩阵分两级分解：先拆成行（查询）和列（键）两部分，再各自拆成低秩加对角（门控）。本笔记先手工重组两个头，再用十几行代码写出论文的 Compose，与库的结果核对，并用真实张量画出论文图 2；
# 接着以双精度验证：矩阵固定时，softmax 前的组合等于更宽的 QK，softmax 后的组合等于更宽的 OV。此外还有：它表达不了什么、两个常见错误、参数量与计算量的公式，以及怎样用于交叉注意力和 ViT。
#
# ## What you will see
#
# 1. The attention vector of a pair of tokens.
# 2. Two heads recombined by hand.
# 3. The paper's Compose as code, equal to the library's.
# 4. Figure 2, drawn from live tensors.
# 5. Rows and columns, and what cannot be expressed.
# 6. Talking heads; before the softmax a wider QK, after it a wider OV.
# 7. Two mistakes: masking first, and taking composed weights for probabilities.
# 8. Parameters, operations, time.
# 9. Cross-attention, a trained ViT block with composed heads, decoding with a cache.
# 10. A panel with all branches.
#
# **What you need to know.** A *head* computes scores $q_i \cdot k_j / \sqrt{D_h}$ (its *QK circuit*: where to look), turns them into weights by a softmax over $j$, and adds up $v_j W_O$ with these weights (its *OV circuit*: what to move). Letters: B batch, T tokens that ask (queries), S tokens that are attended to (keys), H heads, D width, $D_h = D / H$.

# %%
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from torch import nn
from torch.nn.functional import conv2d, gelu

import marginalia
from marginalia import figures, heads, plots, style
from marginalia.controls import with_controls
from marginalia.exercises import check, check_function
from marginalia.figures import dcmha
from marginalia.heads import BRANCHES, VARIANTS, CompositionTerms, DCMHAttention, TinyTransformer, TransformerConfig, compose
from marginalia.record import evaluating, record

style.use_style()
torch.set_num_threads(1)

# %% tags=["parameters"]
FAST = True  # nothing here takes long, so it changes nothing
RETRAIN = False  # nothing here is trained
MODEL = None  # folder of a DCFormer or DCPythia checkpoint: sections 1, 3, 4, 5, 7 and 10 then show its layer
LAYER = 0  # which one
TOKENS = None  # ids for it, a list of at least four; 16 random ones without
SHAPE = None  # (D, H, T) of a model of yours, for the costs in section 8

# %% [markdown]
# ## 1. The attention vector
#
# **Claim.** For one pair of tokens $(i, j)$ the scores of all heads are a vector, $A_{ij} = (S_1(i, j), \dots, S_H(i, j)) \in \mathbb{R}^H$. Attention is a T × S grid of such vectors. In plain heads each number of the vector goes its own way.
#
# The layer below has H = 4 heads of width 8. It is *not trained*: it serves to see how the parts fit together. Its composition weights are larger than at the start of a training, so that every part shows.

# %%
if MODEL is None:
    layer, x = dcmha.example()
else:
    model = heads.load_dcformer(MODEL)
    model.layers = model.layers[: LAYER + 1]  # what comes later is not needed
    model.float()
    tokens = torch.tensor([TOKENS]) if TOKENS else torch.randint(model.config.vocab, (1, 16))
    with evaluating(model), record(model, f"layers.{LAYER}.attention") as seen:
        model(tokens)
    layer, x = model.layers[LAYER].attention, seen[f"layers.{LAYER}.attention"][0].inputs["x"]
with evaluating(layer), record(layer, ["pre", "post"]) as seen:
    layer(x)
(pre,), (post,) = seen.values()
S, P = pre.inputs["A"], post.inputs["A"]  # (B, H, T, S) both
H, T = S.shape[1:3]
i, j = T - 1, T // 2  # the pair that is looked at: the last token asks, one in the middle is attended to
print(f"scores {tuple(S.shape)}; A_ij for i = {i}, j = {j}: {S[0, :, i, j].numpy().round(2)}")

# %% [markdown]
# ## 2. Two heads recombined by hand
#
# **Claim.** One number of a token is enough to make two heads exchange what they found.
#
# Three records: a red circle, a green square, a blue star. Head "colour" looks for the record of the same colour and tells a colour; head "shape" looks for the same shape and tells a shape. Two tokens ask, both with *red* and *square*. Plain heads repeat what the token knew. To learn the **shape** of the **red** record, the token needs the QK of one head with the OV of the other.
#
# Composition multiplies the vector of weights by a matrix, $A'_{ij} = A_{ij}\, C(i)$; here
#
# $$C(i) = I + w_1^\top w_2(i), \qquad w_1 = (1, -1), \quad w_2(i) = f_i\,(-1, 1),$$
#
# where $f_i$ is a flag of the token that asks. Row $n$ of $C$ says what head $n$ gives, column $m$ what head $m$ receives.
#
# **Predict.** What is $C$ for $f = 1$?

# %%
COLOURS, SHAPES = ("red", "green", "blue"), ("circle", "square", "star")
records = torch.eye(3).repeat(1, 2)[None]  # (B, S, 6): colour and shape of each, one-hot
asking = torch.tensor([1.0, 0, 0, 0, 1, 0]).expand(1, 2, -1)  # (B, T, 6): red and square, twice
flag = torch.tensor([0.0, 1.0])  # keep, swap
q, k = (each.unflatten(-1, (2, 3)).transpose(1, 2) for each in (asking, records))  # (B, H, T or S, 3)
weights = (6 * q @ k.mT).softmax(-1)  # (B, H, T, S)
w_1 = torch.tensor([1.0, -1.0]).expand(1, 2, 1, 2)  # (B, T, R, H)
swap = CompositionTerms(w_q1=w_1, w_q2=flag[:, None, None] * -w_1)
composed = compose(weights, swap)
tells = (composed @ k).argmax(-1)[0]  # (H, T); the values are the records' own colours and shapes
answers = pd.DataFrame({"colour": [COLOURS[n] for n in tells[0]], "shape": [SHAPES[n] for n in tells[1]]}, ["keep", "swap"])
assert answers.to_numpy().tolist() == [["red", "square"], ["green", "circle"]]
assert torch.equal(weights[:, :, 0], weights[:, :, 1])  # a matrix without i cannot tell the two tokens apart
answers

# %%
names = [f"{colour} {shape}" for colour, shape in zip(COLOURS, SHAPES, strict=True)]
figure, axes = plots.panels(6, 3, 1.6)
for t, (left, middle, right) in enumerate(np.reshape(axes, (2, 3))):
    tells = [f"{head}:\ntells {answers[head].iloc[t]}" for head in answers]
    plots.matrix(left, weights[0, :, t].T, 1, digits=1, rows=names, columns=answers.columns)
    plots.matrix(middle, swap.matrix(t, 0)[0], 1, digits=1, rows=("from colour", "from shape"), columns=("to colour", "to shape"))
    plots.matrix(right, composed[0, :, t].T, 1, digits=1, rows=names, columns=tells)
    left.set_title(f"{answers.index[t]}, f = {t}: weights")
    middle.set_title("C(i)")
    right.set_title("composed weights")
    plots.joined((left, middle, right), "×=", 1.2)
figures.save(figure, "extra/composing-two-heads", answers)
figure

# %% [markdown]
# **Notice.** A row of the outer matrices is one record, with its vector $A_{ij}$; a column is one head. With $f = 1$ the matrix $C$ is the exchange of the two heads: head "shape" now gets the weights that head "colour" had found, and tells *circle*, the shape of the red record. Both tokens have the same weights, so no matrix that is the same for all tokens could serve both: here $C$ has to depend on the token. The exchange is the identity plus a matrix of rank one.
#
# ## 3. Compose
#
# **Claim.** DCMHA makes such matrices for every pair, from the vectors of both tokens. The paper's symbols: $Q_i, K_j \in \mathbb{R}^D$ are the **token vectors** that enter the layer (after the norm), *not* the projected $q, k$ of a head. Then
#
# $$A'_{ij} = A_{ij}\, C(i, j), \qquad C(i, j) = \underbrace{I}_{\text{base}} + \underbrace{w_{q1} w_{q2}}_{\text{query, low rank}} + \underbrace{\operatorname{diag}(w_{qg})}_{\text{query, gate}} + \underbrace{w_{k1} w_{k2}}_{\text{key, low rank}} + \underbrace{\operatorname{diag}(w_{kg})}_{\text{key, gate}}$$
#
# with $w_{q1} \in \mathbb{R}^{H \times R}$ (reads R numbers from the heads), $w_{q2} \in \mathbb{R}^{R \times H}$ (writes them back) and gates $w_{qg} \in \mathbb{R}^H$, all functions of $Q_i$; the same with $k$ and $K_j$. In the published models R = 2. They come from
#
# $$[w_1, w_2] = \operatorname{GELU}(x W_1)\, W_2, \qquad w_1 \leftarrow w_1 / \sqrt{\operatorname{mean}_{\text{heads}}(w_1^2) + 10^{-6}}, \qquad w_g = \tanh(x W_g).$$
#
# Four such sets of weights: for query and key, before and after the softmax.


# %%
def dynamic(x, W_1, W_2, W_g):  # x: token vectors (B, N, D)
    w_1, w_2 = (gelu(x @ W_1) @ W_2).unflatten(-1, (-1, W_g.shape[1])).chunk(2, dim=2)  # (B, N, R, H) each
    w_1 = w_1 / (w_1.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return w_1, w_2, torch.tanh(x @ W_g)  # the gate: (B, N, H)


def by_hand(A, base, query, key):  # A (B, T, S, H)
    (w_q1, w_q2, w_qg), (w_k1, w_k2, w_kg) = query, key
    B_1 = A @ base
    B_2 = torch.einsum("btsn,btrn,btrm->btsm", A, w_q1, w_q2)
    B_3 = A * w_qg[:, :, None]
    B_4 = torch.einsum("btsn,bsrn,bsrm->btsm", A, w_k1, w_k2)
    B_5 = A * w_kg[:, None]
    return B_1 + B_2 + B_3 + B_4 + B_5


with torch.no_grad():
    for part, call in ((layer.pre, pre), (layer.post, post)):
        base = torch.eye(H) if part.W_b is None else torch.eye(H) + part.W_b
        made = [dynamic(x, side.W_1[:, 0], side.W_2[0].flatten(1), side.W_g) for side in (part.query, part.key)]
        ours = by_hand(call.inputs["A"].permute(0, 2, 3, 1), base, *made).permute(0, 3, 1, 2)
        assert torch.allclose(ours, call.output, rtol=1e-4, atol=1e-5 * call.output.abs().max().item())
print("The lines above and the library agree, before and after the softmax.")

# %% [markdown]
# ## 4. Figure 2
#
# **Claim.** The layer is a plain one with two boxes more, and both boxes see the token vectors. Everything drawn went through the layer: (a) maps of all heads, (b) the five branches for the framed pair. What a branch holds stands above, what it adds to the heads below.
#
# **Predict.** The first scores are not masked, although the layer is causal. Why not?

# %%
figure, data = dcmha.architecture(layer, x, i, j)
figures.save(figure, "dcmha/architecture", data)
assert np.allclose(data["branches"].iloc[:5].sum(), data["branches"].loc["S′"], rtol=1e-4, atol=1e-5)
figure

# %% [markdown]
# Drawn by [`figures.dcmha.architecture`](../lib/marginalia/figures/dcmha.py).
#
# **Notice.** Red is positive, blue negative. The two low-rank branches pass through two numbers only, whatever H is. A gate scales a head by what it is itself, between −1 and 1. The composed weights on the right have negative entries; zeros stay zero, because no branch has a bias. Scores are masked *after* the first Compose: section 7 shows what happens otherwise.
#
# ## 5. Rows and columns, and what cannot be expressed
#
# **Claim.** DCMHA's C(i, j) − I is decomposed twice. First into a part of the row and a part of the column: T + S matrices in place of T · S. Then each of these into a low rank and a diagonal: 2RH + H numbers in place of H².

# %%
terms = pre.inputs["terms"]


def side(name, i, j):
    branches = terms.branches(i, j)
    return (branches[f"{name} low rank"] + branches[f"{name} gate"])[0]


tiles = {"": torch.zeros(H, H)} | {f"key {b}": side("key", T - 1, b) for b in range(4)}
for a in range(T - 3, T):
    tiles[f"query {a}"] = side("query", a, 0)
    for b in range(4):
        tiles[f"i = {a}, j = {b}"] = terms.without("base").matrix(a, b)[0] - torch.eye(H)
        assert torch.allclose(tiles[f"i = {a}, j = {b}"], side("query", a, 0) + tiles[f"key {b}"], rtol=1e-4, atol=1e-5)
limit = max(tile.abs().max().item() for tile in tiles.values())
figure, axes = plots.panels(20, 5, 1.05)
for ax, (title, tile) in zip(axes, tiles.items(), strict=True):
    plots.matrix(ax, tile, limit, diverging=True)
    ax.set_title(title, fontsize=7.5, color="0" if "=" in title else "C1" if "key" in title else "C0")
axes[0].axis("off")
axes[0].images[0].remove()
figures.save(figure, "extra/rows-and-columns", pd.DataFrame({name: tile.flatten() for name, tile in tiles.items()}))
figure

# %% [markdown]
# **Notice.** Each inner matrix is the sum of the blue-titled one of its row and the vermilion-titled one of its column, on one scale of colours. What a key adds is the same whoever asks. This bounds what can be expressed, whatever the weights:
#
# - no *product* of what query and key say ("exchange two heads only if I am a verb **and** you are a noun") within one Compose;
# - nothing that is not linear in $A_{ij}$;
# - beside the diagonal, no more than rank 2R = 4 for a pair. To swap two heads takes rank 1. To pass the scores of 8 heads around in a circle takes rank 7, whatever the gates do.

# %%
mixed = terms.matrix(T - 1, 0) - terms.matrix(T - 2, 0) - terms.matrix(T - 1, 1) + terms.matrix(T - 2, 1)
assert mixed.abs().max() < 1e-4 * limit  # no product of query and key
circle = torch.eye(8).roll(1, 1) - torch.eye(8)  # what must be added to the identity
without_gates = circle[:-1, 1:]  # without first column and last row the diagonal lies below that of the ones
assert torch.equal(without_gates.triu(), torch.eye(7))  # so its determinant is 1, whatever the gates are
exchange = swap.branches(1, 0)["query low rank"][0]  # of section 2
print({len(one): int(torch.linalg.matrix_rank(one)) for one in (exchange, circle)}, "heads: rank")
print(f"T = S = 2,048, H = 32: {2048**2 * 32**2:,} numbers for all C, {2 * 2048 * (4 * 32 + 32):,} for the factors")

# %% [markdown]
# ## 6. A wider QK, a wider OV
#
# **Claim.** *Talking heads* (Shazeer et al., 2020) are the static case, a base matrix alone: $C = I + W_b$ for all pairs, a convolution of size 1 over heads. With $W_b = 0$ it is plain attention.
#
# **Claim.** For a fixed C, composing is the same as having wider heads. In row vectors, $W_{QK}^n = W_Q^n W_K^{n\top} / \sqrt{D_h}$ and $W_{OV}^n = W_V^n W_O^n$ are D × D matrices of rank $D_h$. Before the softmax,
#
# $$S'_m(i, j) = \sum_n S_n(i, j)\, C_{nm} = x_i \Big( \sum_n C_{nm} W_{QK}^n \Big) x_j^\top,$$
#
# and after it, with weights $P_n$,
#
# $$\text{out} = \sum_m \Big(\sum_n P_n C_{nm}\Big) x\, W_{OV}^m = \sum_n P_n\, x \Big( \sum_m C_{nm} W_{OV}^m \Big).$$
#
# A head's QK, or what a head's weights move, is a sum of H matrices of rank $D_h$. (With rotary positions this holds for each distance $i - j$.)
#
# **Predict.** Take H = 4, $D_h$ = 8 and D = 32. How many singular values of the composed QK of one head are not zero?

# %%
torch.manual_seed(0)
static, x_static = DCMHAttention(32, 4, VARIANTS["talking heads"]).double(), torch.randn(1, 6, 32, dtype=torch.float64)
with torch.no_grad(), record(static, ["pre", "post"]) as seen_static:
    out = static(x_static)
(scores,), (weighted,) = seen_static.values()
C_pre, C_post = (call.inputs["terms"].base for call in (scores, weighted))
assert torch.allclose(conv2d(scores.inputs["A"], C_pre.T[:, :, None, None]), scores.output)

W_Q, W_K, W_V = static.wqkv.weight.detach().unflatten(0, (3, 4, 8)).mT.unbind(0)  # (H, D, D_h)
W_QK = W_Q @ W_K.mT / 8**0.5  # (H, D, D)
W_OV = W_V @ static.wo.weight.detach().T.unflatten(0, (4, 8))
wider_QK = torch.einsum("nde,nm->mde", W_QK, C_pre)
wider_OV = torch.einsum("mde,nm->nde", W_OV, C_post)
moved = weighted.inputs["A"] @ x_static[:, None] @ wider_OV  # (B, H, T, D)
errors = [(x_static @ wider_QK @ x_static.mT - scores.output[0]).abs().max(), (moved.sum(1) - out).abs().max()]
print(f"largest differences: {errors[0]:.1e} in the scores, {errors[1]:.1e} in the output")
assert max(errors) < 1e-12

# %%
circuits = {"QK, plain": W_QK[0], "QK, composed": wider_QK[0], "OV, plain": W_OV[0], "OV, composed": wider_OV[0]}
spectra = pd.DataFrame({name: torch.linalg.svdvals(W).numpy() for name, W in circuits.items()}, range(1, 33))
assert (spectra > 1e-10).sum().tolist() == [8, 32, 8, 32]
figure, axes = plots.panels(2, 2, 2.2)
for ax, name, marker, kind in zip(np.repeat(axes, 2), spectra, ("o", ".") * 2, ("MHA", "talking heads") * 2, strict=True):
    ax.plot(spectra[name].where(spectra[name] > 1e-10), marker, mfc="none", ls="", label=name, color=dcmha.VARIANT_COLORS[kind])
    ax.set(yscale="log", ylim=(1e-7, 1), xlabel="number", ylabel="singular value, head 1")
    ax.legend()
figures.save(figure, "extra/expanded-circuits", spectra)
figure

# %% [markdown]
# **Notice.** All 32: rank 8 has become rank 32, the width of the model. The values after the eighth are smaller; $W_b$ is that of the start of a training, small beside I. A plain head of width 8 compares tokens in eight directions at most, a composed one in all. In DCMHA C differs from pair to pair, so the same holds with another sum for each pair.
#
# ## 7. Two mistakes
#
# **Claim.** A mask must come strictly after the first Compose. A masked score of −∞ times a coefficient is not a number as soon as heads are mixed. The lowest finite number in its place is worse: where the coefficients that a head receives add up to less than zero, it becomes the largest score of all, silently.
#
# **Claim.** Composed weights are not probabilities: they can be negative, and a row does not add up to 1. They must be neither clipped nor normalised, and pictures of them need a scale with zero in its middle.

# %%
future = ~torch.ones(T, T, dtype=torch.bool).tril()
infinite = compose(S.masked_fill(future, -torch.inf), terms)[..., future]
lowest = compose(S.masked_fill(future, torch.finfo(S.dtype).min / 100), terms).softmax(-1)  # / 100: sums stay finite
share = (lowest * future).sum(-1)  # (B, H, T): attention paid to the future
turned = (compose(torch.ones_like(S), terms) < 0) & future  # sums of coefficients below zero
print(f"-inf first: {infinite.isnan().float().mean():.0%} of masked places are not a number")
print(f"lowest number first: {(share > 0.5).float().mean():.0%} of rows attend to the future")
assert (P[..., future] == 0).all() and infinite.isnan().any() and torch.equal(share > 0.5, turned.any(-1))

# %%
rows, negative = post.output.sum(-1).flatten(), post.output.clamp(max=0).abs().sum() / post.output.abs().sum()
print(f"composed weights: sums of rows from {rows.min():.2f} to {rows.max():.2f}; {negative:.0%} of the mass is negative")
assert (post.output[..., future] == 0).all() and (MODEL or (rows.min() < 0 and rows.max() > 1.5))

# %% [markdown]
# ## 8. What it costs
#
# **Claim.** Per layer, DCMHA with rank R adds $8RDH + 4DH$ parameters for the token vectors and $16R^2H^2$ behind them: $20DH + 64H^2$ for R = 2. Beside the $12D^2$ of a layer that is about
#
# $$\frac{20DH}{12D^2} = \frac{5}{3 D_h},$$
#
# so it depends on the *width of a head* alone. A token costs twice these parameters in operations, and $40HS$ to compose with S keys (before and after the softmax), beside $24D^2 + 4DS$.
#
# **Predict.** A head in DCPythia-6.9B is 128 wide, here 8 or 16. What share do the compositions take there, what here?

# %%
with torch.device("meta"):  # shapes only
    for D, n in dcmha.SHAPES.values():
        count = [sum(p.numel() for p in DCMHAttention(D, n, VARIANTS[name]).parameters()) for name in ("MHA", "DCMHA")]
        assert count[1] - count[0] == 20 * D * n + 64 * n**2
figure, data = dcmha.costs(SHAPE)
figures.save(figure, "extra/dcmha-costs", data)
dcpythia = data.set_index("model").loc["DCPythia-6.9B", ["parameters", "cache", "cache_dense"]]
assert dcpythia.astype(float).round(3).tolist() == [0.013, 0.039, 0.25]
display(data.round(3), figure)

# %% [markdown]
# Drawn by [`figures.dcmha.costs`](../lib/marginalia/figures/dcmha.py); every number is a count.
#
# **Notice.** DCMHA adds 1.3 % of parameters to a layer of DCPythia-6.9B, 2.7 % where heads are 64 wide, but 12.5 % in the language model of notebook 42 and 29 % in the retrieval model of notebook 43: small widths exaggerate the cost. That is why notebooks 42 and 43 compare with a *twin*: plain heads, and feed-forward networks that are wider by as many parameters (`TransformerConfig.plain_twin`). In operations the twin remains cheaper, by $40HS$ a token. Nothing measured at such widths says how much computing DCMHA saves.
#
# Time grows more than operations: the scores of all heads are read and written again, and kernels that never write them (flash attention) do not fit. One layer on this machine, and what the first author noted of large models on TPUs:

# %%
figure, data = dcmha.speed()
figures.save(figure, "dcmha/speed", data)
published, quoted = dcmha.training_speed()
figures.save(published, "extra/dcmha-speed", quoted)
assert quoted["ratio"].between(0.75, 0.89).all()
display(data.pivot(index="tokens", columns="heads", values="ratio").round(2), figure, published)

# %% [markdown]
# Drawn by [`figures.dcmha.speed` and `figures.dcmha.training_speed`](../lib/marginalia/figures/dcmha.py).
#
# **Notice.** The lower figure quotes whole models, in which attention is a part; the upper one times an attention alone. In the committed run most of DCMHA's added time is the key side's: a query-wise layer is much nearer to plain heads. Times vary from run to run; `make bench` measures more carefully.
#
# ## 9. Cross-attention, a ViT, a cache
#
# **Claim.** Users asked three times how to use DCMHA in encoder–decoders and vision transformers (issues 4, 12 and 14 of Caiyun-AI/DCFormer). Compose does not know about masks or positions, so only this changes: in cross-attention the query's part comes from the decoder's tokens and the key's part from the encoder's; in a ViT there is no mask at all.
#
# A *trained* block can be taken over. Where $w_2$ and the gates are zero, C is exactly I, and the layer is the old one. So set $W_g$ and the half of $W_2$ that makes $w_2$ to zero. With all of $W_2$ zero, $w_1$ is zero as well, no part of $W_2$ has a gradient, and the low rank never learns.
#
# A cell later, **decoding**. What the key side needs of earlier tokens does not change, so a decoder keeps it beside keys and values. The authors' code keeps finished matrices, $2H^2$ numbers a token. The factors do as well, and are $2(2R + 1)H$: 3.9 % more than keys and values alone where $D_h = 128$, and not 25 %. A query-wise composition needs none.

# %%
torch.manual_seed(0)
block = nn.TransformerEncoderLayer(64, 8, 256, batch_first=True, norm_first=True, activation="gelu").eval()
patches = torch.randn(2, 17, 64)  # 16 patches and a class token
old, new = block.self_attn, DCMHAttention(64, 8, bias=True, out_bias=True)
taken = {"wqkv.weight": old.in_proj_weight, "wqkv.bias": old.in_proj_bias, "wo.weight": old.out_proj.weight, "wo.bias": old.out_proj.bias}
new.load_state_dict(taken, strict=False)
sides = [side for part in (new.pre, new.post) for side in (part.query, part.key)]
for side in sides:
    side.W_g.data.zero_()
    side.W_2.data[:, :, 2:].zero_()  # (G, K, 2R, H): the first R rows make w_1, the others w_2
assert torch.allclose(new(patches), old(patches, patches, patches)[0], atol=1e-6)
new(patches).square().mean().backward()
assert all(side.W_2.grad[:, :, 2:].any() and side.W_g.grad.any() for side in sides)  # it can learn from there

decoder, encoder = torch.randn(2, 5, 64), patches
padding = torch.arange(17) < torch.tensor([17, 12])[:, None, None, None]  # (B, 1, 1, S): True may be attended to
print("cross-attention:", tuple(new(decoder, memory=encoder, mask=padding).shape), "from T = 5 to S = 17")

# %%
text = torch.randint(100, (1, 20))
for name in ("DCMHA", "query-wise"):
    decoder = TinyTransformer(TransformerConfig(100, width=64, heads=8, layers=2, composition=VARIANTS[name])).eval()
    with torch.no_grad():
        whole, cache = decoder(text), decoder.new_cache()
        pieces = torch.cat([decoder(part, cache) for part in text.split([12] + [1] * 8, dim=1)], dim=1)
    kept = sum(each[0, 0].numel() for key, each in cache[0].items() if key not in "kv")
    assert torch.allclose(pieces, whole, atol=1e-4) and kept == (10 * 8 if name == "DCMHA" else 0)
    print(f"{name}: a prompt of 12 and 8 single tokens give the logits of the whole; {kept} numbers a token beside {2 * 64}")

# %% [markdown]
# ## 10. A panel
#
# First a picture of one pair with all branches. Then the same with sliders for the pair (i asks, j is attended to), scores or weights, and a switch for each branch.


# %%
def panel(where="scores", i=i, j=j, **on):
    call = {"scores": pre, "weights": post}[where]
    branches = call.inputs["terms"].branches(i, j)
    C = sum(float(on[name]) * branches[name][0] for name in BRANCHES)
    before = call.inputs["A"][0, :, i, j]
    data = pd.DataFrame({"before": before, "after": before @ C}, range(1, H + 1))
    figure, axes = plots.panels(3, 3, 2)
    reach = 1.1 * data.abs().max(axis=None) + 1e-9
    for ax, (name, values), color in zip(axes[::2], data.items(), (plots.NEUTRAL, style.CYCLE[0]), strict=True):
        ax.bar(values.index, values, color=color)
        ax.set(title=f"{where} {name}, i = {i}, j = {j}", xlabel="head", ylim=(-reach, reach))
    figure.colorbar(plots.matrix(axes[1], C.numpy(), diverging=True), ax=axes[1])
    axes[1].set(title="C(i, j), chosen branches", xlabel="to", ylabel="from")
    return figure, data


every = dict.fromkeys(BRANCHES, True)
figure, data = panel(**every)
figures.save(figure, "extra/composition-panel", data)
assert np.allclose(data["after"], pre.output[0, :, i, j], rtol=1e-4, atol=1e-4)
display(figure)
with_controls(panel, where=["scores", "weights"], i=(0, T - 1), j=(0, T - 1), **every)

# %% [markdown]
# ## Here and in the paper
#
# | | here | paper and authors' code |
# |---|---|---|
# | Compose, its five branches, where it stands | as in Figure 2, equal to a dozen lines to float precision | Figure 2 |
# | wider QK and OV | rank 8 → 32, differences below 1e-12 | could not be read |
# | parameters | $20DH + 64H^2$, counted | shapes in the authors' code |
# | gain | none claimed from this notebook: its layer is not trained | abstract: the performance of models with 1.7 to 2.0 times the compute |
# | speed | one layer on a CPU | .76 to .88 of the training steps a second, comments of the first author; the paper's table could not be read |
# | cache | factors | finished matrices |
#
# **Not checked:** anything about training ([42](42_head_composition.ipynb) and [43](43_retrieval_and_tasks.ipynb) do that), GPU kernels, half precision.
#
# ## Exercises
#
# **1.** With R = 2, how many separate pairs of heads can one query token swap, by its low rank alone?
#
# **2.** A model has D = 768, H = 12 and R = 2. How many parameters do the compositions add to a layer?
#
# **3.** Write `matrix(w_q1, w_q2, w_qg, w_k1, w_k2, w_kg)`, which returns C (H, H) of one pair from arrays of shapes (R, H), (R, H), (H,) twice.

# %%
answer = None  # exercise 1
check(answer, 2, hints={1: "Each swap takes one rank.", 4: "That is with the key's low rank."})
answer = None  # exercise 2
check(answer, 193536, 0.5, hints={184320: "What stands behind GELU is missing.", 96768: "There are two compositions."})
matrix = None  # exercise 3
one = [torch.randn(size, dtype=torch.float64) for size in [(2, 4), (2, 4), (4,)] * 2]
expected = CompositionTerms(None, *(each[None, None] for each in one)).matrix(0, 0)[0]
cases = {"all zero": ([0 * each.numpy() for each in one], np.eye(4)), "random": ([each.numpy() for each in one], expected)}
check_function(matrix, cases)

# %% [markdown]
# <details><summary>Solutions</summary>
#
# **1.** Two: a swap of heads a and b is the identity plus the outer product of $e_a - e_b$ and $e_b - e_a$, rank 1. With the key's part, four.
#
# **2.** 193,536: $20 \cdot 768 \cdot 12 + 64 \cdot 144$, 2.7 % of $12 \cdot 768^2$.
#
# **3.** `lambda q1, q2, qg, k1, k2, kg: np.eye(len(qg)) + q1.T @ q2 + k1.T @ k2 + np.diag(qg + kg)`
# </details>
#
# ## Questions for the group
#
# 1. Which would you give up first, query or key side, low rank or gates? What would you measure to decide?
# 2. After post-compose, what does "head 3 attends to the verb" still mean? Whose weights would you show?
# 3. A wider head would also raise the rank of its QK. What does composing add to that, and at what price?
#
# ## Summary
#
# DCMHA multiplies the vector of all heads' scores, and later of their weights, by a matrix for each pair of tokens: the identity, plus a low rank and a diagonal from the query, plus the same from the key. With it a token can put the QK of one head before the OV of another. A fixed matrix makes heads wider, up to the rank of the model's width; products of query and key, and more than rank 2R beside the gates, are out of reach. Parameters are about 5 / (3 $D_h$) of a layer, little at published widths and much at ours; time grows more. Masks come after the first Compose, and composed weights are not probabilities.
#
# **Next:** [42_head_composition](42_head_composition.ipynb) looks into trained models, [43_retrieval_and_tasks](43_retrieval_and_tasks.ipynb) trains a task like the example of section 2.
#
# **References**
#
# ```bibtex
# @inproceedings{xiao2024dcmha,
#   title     = {Improving Transformers with Dynamically Composable Multi-Head Attention},
#   author    = {Xiao, Da and Meng, Qingye and Li, Shengping and Yuan, Xingyuan},
#   booktitle = {International Conference on Machine Learning},
#   series    = {PMLR},
#   volume    = {235},
#   year      = {2024},
#   note      = {arXiv 2405.08553}
# }
# @misc{shazeer2020talking,
#   title  = {Talking-Heads Attention},
#   author = {Shazeer, Noam and Lan, Zhenzhong and Cheng, Youlong and Ding, Nan and Hou, Le},
#   year   = {2020},
#   note   = {arXiv 2003.02436}
# }
# ```

# %%
print(marginalia.versions("numpy", "torch", "matplotlib", "ipywidgets"))
