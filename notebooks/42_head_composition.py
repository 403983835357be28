# %% [markdown]
# # Head composition under the microscope
#
# **In trained models with composed heads: which head gives to which, what is the composition good for, and which tools find the head that matters in an ordinary transformer?**
#
# Paper: DCMHA / DCFormer (ICML 2024, arXiv 2405.08553), its Figure 2 and the claims of its abstract; of the rest of the paper nothing could be read. About one minute to run on two CPU cores, 30 minutes to read: the trainings were made before.
#
# **中文摘要。** [41](41_composing_heads.ipynb) 讲的是公式，本笔记看训练好的模型。先用十行代码写出一对词元的组合矩阵 C(i, j) 以及“哪个头给哪个头多少”，再用它看一个读 Python 代码的小语言模型：softmax 前的组合在后两层大半是所有词元对共有的固定部分，softmax 后的组合更依赖词元；原始分数的各个头几乎一样，组合之后才分开。
# 然后是 18 个等参数模型的如实结果：按这里的训练方法，DCMHA 的损失在九组对照中全部落后于普通多头注意力，归纳头（induction）也常常没有形成；在唯一形成了归纳头的那个模型里，它出现在组合之后，而不在原始分数里。所以这里不能声称任何计算倍数。
# 接着对普通模型问同样的问题：只看权重的组合分数能否预测两个头真正的相互作用？最后用一个真正训练过的化学反应模型当裁判，它的 5 号头会做原子映射：哪些工具能找到它？你也可以换上自己的 Hugging Face 模型或 DCFormer。
#
# ## What you will see
#
# 1. C(i, j) and who gives to whom, as code.
# 2. The microscope: one pair, maps before and after, what all pairs share, how alike heads are.
# 3. Do heads do recognisable things? Patterns, losses of 27 trainings, what is lost without a part.
# 4. The same questions for plain heads: do scores of weights predict interaction?
# 5. A trained reaction model with a head whose job is known.
# 6. Your own model.
# 7. The explorer.
#
# **What you need to know.** The five branches of Compose ([41](41_composing_heads.ipynb)). A *previous-token head* attends to the token before. An *induction head* at a token looks for an earlier copy of it and attends to what **followed** that copy. To *ablate* a head is to replace its output by zero or by its mean. A *nat* is the unit of cross-entropy with natural logarithms. Letters: T tokens, H heads, D width, L layers; everything counts from 0.

# %%
from itertools import product

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from tokenizers import Tokenizer

import marginalia
from marginalia import figures, heads, plots, style
from marginalia.exercises import check, check_function
from marginalia.explorers import CompositionExplorer
from marginalia.figures import dcmha
from marginalia.heads.inspection import effective_rank, head_weights, pairwise_ablation, pattern_scores
from marginalia.heads.language import BOS, load_language, load_tokenizer, repeated, token_losses
from marginalia.heads.reactions import amide_reactions, atom_hits, load_reaction_model
from marginalia.record import evaluating, record
from marginalia.statistics import rank_agreement
from marginalia.store import read_table

style.use_style()
torch.set_num_threads(1)

# %% tags=["parameters"]
FAST = True  # nothing here takes long, so it changes nothing
RETRAIN = False  # nothing is trained here: data/recipes/train_language.py did, 10 to 20 CPU minutes a run
TEXT = None  # a text of yours for the microscope (at most 127 tokens are taken)
DCFORMER = None  # folder of a published DCFormer with tokenizer.json: the microscope and the explorer show it
MODEL = None  # folder or hub name of a Hugging Face model for section 6: GPT-2, Llama, Pythia, BERT, ALBERT and kin

# %%
EXAMPLE = '''def count_words(text, counts):
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts

def count_lines(text, counts):
    for line in text.split("\\n"):
        counts[line] = counts.get(line, 0) + 1
    return counts
'''
OURS = DCFORMER is None and TEXT is None
model = load_language("language-dcmha-random-1") if DCFORMER is None else heads.load_dcformer(DCFORMER).float()
tokenizer = load_tokenizer() if DCFORMER is None else Tokenizer.from_file(f"{DCFORMER}/tokenizer.json")
ids = tokenizer.encode(TEXT or EXAMPLE).ids[:127]
labels = ["<bos>", *(tokenizer.decode([one]) for one in ids)]
tokens = torch.tensor([[BOS, *ids]])  # (1, T)
with evaluating(model), record(model, ["*.pre", "*.post"]) as seen:
    model(tokens)
calls = {(int(name.split(".")[1]), name.split(".")[-1]): call for name, (call,) in seen.items()}  # (layer, where)
T, H, L = tokens.shape[1], model.config.heads, model.config.layers
print(f"{L} layers of {H} heads, {sum(p.numel() for p in model.parameters()):,} parameters; {T} tokens")

# %% [markdown]
# ## 1. Who gives to whom
#
# **Claim.** The scores of all heads for one pair of tokens, $A_{ij} \in \mathbb{R}^H$, become $A'_{ij} = A_{ij}\,C(i, j)$ with
#
# $$C(i, j) = \text{base} + \underbrace{w_{q1}(i)^\top w_{q2}(i) + \operatorname{diag} w_{qg}(i)}_{\text{decided by the token that asks}} + \underbrace{w_{k1}(j)^\top w_{k2}(j) + \operatorname{diag} w_{kg}(j)}_{\text{decided by the token that is attended to}}.$$
#
# Row $n$ of $C$ gives, column $m$ receives. So head $m$ gets $A_n (C - I)_{nm}$ from head $n$, on top of what it had. The base is the identity in the published models and here. There is one such composition before the softmax (*pre*, on scores) and one after it (*post*, on weights).


# %%
def matrix(i, j, base, w_q1, w_q2, w_qg, w_k1, w_k2, w_kg):  # reads, writes (T, R, H), gates (T, H)
    row = w_q1[i].T @ w_q2[i] + torch.diag(w_qg[i])  # (H, H)
    column = w_k1[j].T @ w_k2[j] + torch.diag(w_kg[j])
    return base + row + column


def given(A, C):  # A (H,)
    return A[:, None] * (C - torch.eye(len(A)))  # (H, H), from head n to head m


call, (i, j) = calls[L - 1, "pre"], (T - 1, T // 2)
terms, A = call.inputs["terms"], call.inputs["A"][0, :, i, j]
base = torch.eye(H) if terms.base is None else terms.base
C = matrix(i, j, base, *(part[0] for part in terms[1:7]))
assert torch.allclose(C, terms.matrix(i, j)[0], atol=1e-5)
assert torch.allclose(A + given(A, C).sum(0), call.output[0, :, i, j], atol=1e-4)

# %% [markdown]
# ## 2. The microscope
#
# The model below reads Python code, in tokens of two to three characters: 3 layers of 8 heads, width 128, 927,744 parameters, trained here on Python's own standard library for 2,600 steps. In its training 4 of 16 rows were random tokens repeated with a period of 8 to 64. Of nine trainings of DCMHA it is the **one** in which induction formed (section 3), so this section shows what a composition *can* do; what holds for all nine is said where it does.
#
# **One pair.** The text holds two functions of the same form. Of all pairs in which the key follows an earlier copy of the query, we take the one with the largest weight in the last layer.
#
# **Predict.** Will C − I be dense, or will a few heads talk to each other?

# %%
copies = [(i, j) for i in range(T) for j in range(1, i) if tokens[0, j - 1] == tokens[0, i]]
pairs = torch.tensor(copies or [(i, j) for i in range(T) for j in range(i)])  # (P, 2) of query and key
weights = calls[L - 1, "post"].inputs["A"][0][:, pairs[:, 0], pairs[:, 1]]  # (H, P)
i, j = pairs[weights.mean(0).argmax()].tolist()
print(f"query {i} {labels[i]!r}, key {j} {labels[j]!r},", f"which follows {labels[j - 1]!r}" if copies else "as no token comes twice")
figure, data = dcmha.composition_of_pair(calls[L - 1, "pre"], calls[L - 1, "post"], i, j)
figures.save(figure, "extra/composition-of-a-pair", data)
before, after, last = (each[0, :, i, j] for each in (calls[L - 1, "pre"].inputs["A"], calls[L - 1, "pre"].output, calls[L - 1, "post"].output))
assert not OURS or ((after > before + 1).all() and (last < 0).sum() >= 3 and (abs(data["entry"]) > 0.1).mean() > 0.6)
figure

# %% [markdown]
# Drawn by [`figures.dcmha.composition_of_pair`](../lib/marginalia/figures/dcmha.py).
#
# **Notice.** The upper rows are $C - I$ of this pair in the last layer and the terms that it is the sum of, each row on its own colour scale; below, the numbers of all heads before and after, with what flows between them (red: gives, blue: takes away; flows under 30 % of the largest are left out). With the built-in text, the colon of `split("\n"):` attends to the line break that followed the first `):`, where a function's body begins. C − I is dense: most of its 64 entries are above .1 in size. Before composition no score is above 2.5; after it all eight have risen, head 2's from −1.5 to 12, mostly on what heads 1 and 4 give and on the *negative* entry with which head 2 turns its own sign. After the softmax, post-compose gathers the weight in head 6 (.86 to 3.3) and makes it negative in heads 0, 2, 4 and 7.
#
# **Maps before and after.** The same layer as whole maps: from raw scores ($\operatorname{softmax}$ without pre-compose), after pre-compose (the weights), and after post-compose. Composed weights may be negative and do not add up to 1: a row is shown divided by its sum of sizes, $\sum_j |P'_{ij}|$. That sum, the *gain*, is printed.


# %%
def maps(layer):
    """Attention (H, T, T) from raw scores, after pre, after post; gain (H, T) of composed rows."""
    pre, post = calls[layer, "pre"], calls[layer, "post"]
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    raw = pre.inputs["A"][0].masked_fill(future, -torch.inf).softmax(-1)
    gain = post.output[0].abs().sum(-1)
    return {"raw": raw, "after pre": post.inputs["A"][0], "after post": post.output[0] / gain[..., None]}, gain


found, gain = maps(L - 1)
chosen = weights[:, weights.mean(0).argmax()].topk(4).indices.sort().values.tolist()
figure, axes = plots.panels(12, 4, 1.75)
for panel, (name, head) in zip(axes, product(found, chosen), strict=True):
    shown = plots.matrix(panel, found[name][head].numpy(), 0.5, diverging=True)
    panel.set(title=f"{name}, head {head}", box_aspect=1)
figure.colorbar(shown, ax=axes, label="attention, clipped at ±0.5", shrink=0.5)
figures.save(figure, "extra/composed-maps", pd.DataFrame({"head": range(H), "gain": gain.mean(1)}))
score = {name: pattern_scores(one[None], tokens)["induction"].abs().max().item() for name, one in found.items()}
print("best induction score:", {k: round(v, 2) for k, v in score.items()}, f"; gain {gain.mean():.2f} on average, at most {gain.max():.1f}")
assert not OURS or score["after pre"] > 3 * score["raw"]
figure

# %% [markdown]
# **Notice.** The four heads with most weight at the pair above, in columns; query downwards, key to the right. With the built-in text, raw maps wash over the past. After pre-compose heads 1 and 6 pick out single tokens nearby, and heads 2 and 4 single tokens along oblique lines: what followed copies. Post-compose gives these lines to all four heads, with either sign.
#
# **Static and dynamic.** How much of C − I is the same for all pairs? Split it into its mean over all pairs and the rest; the *shared* part is $\lVert \overline{C - I} \rVert^2 / \overline{\lVert C - I \rVert^2}$. At 100 % one fixed matrix would do: talking heads.
#
# **Predict.** Which composition depends more on the tokens, the one on scores or the one on weights?

# %%
figure, axes = plots.panels(6, 3, 2.1)
lower, shared = torch.tril_indices(T, T), []
for panel, (where, layer) in zip(axes, product(("pre", "post"), range(L - 3, L)), strict=True):
    change = calls[layer, where].inputs["terms"].matrix(*lower)[0] - torch.eye(H)  # (P, H, H)
    mean = change.mean(0)
    share = (mean.square().sum() / change.square().sum((1, 2)).mean()).item()
    shared.append({"layer": layer, "where": where, "shared": share, "effective_rank": effective_rank(change[::13]).mean().item()})
    figure.colorbar(plots.matrix(panel, mean.numpy(), diverging=True), ax=panel)
    panel.set(title=f"{where}, layer {layer}: {share:.0%}", box_aspect=1)
axes[3].set(ylabel="gives", xlabel="receives")
figures.save(figure, "extra/mean-composition", pd.DataFrame(shared))

spectra = dcmha.language_table("spectra")
everywhere = spectra[spectra["pairs"] == "all"].pivot(index="run", columns=["where", "layer"], values="static")
assert len(everywhere) == 9 and everywhere["pre"][[1, 2]].min(axis=None) > 0.6
assert everywhere["post"][2].max() < 0.5 and everywhere[[("pre", 0), ("post", 0)]].max(axis=None) < 0.5
assert spectra[spectra["pairs"] == "all"]["effective_rank"].between(4.3, 6.5).all()
own = spectra[(spectra["run"] == "language-dcmha-random-1") & (spectra["layer"] == 2)].set_index(["where", "pairs"])
sigma = own[["sigma_1", "sigma_2", "sigma_3", "effective_rank", "static"]]
ratio = own["sigma_1"] / own["sigma_2"]
assert ratio["pre", "induction"] > 5 and ratio["post", "induction"] > 10 and ratio.xs("all", level="pairs").max() < 3
assert np.allclose(own.xs("induction", level="pairs")["sigma_1"], own.xs("other", level="pairs")["sigma_1"], rtol=0.15)
display(figure, everywhere.agg(["min", "max"]).round(2), sigma.round(1))

# %% [markdown]
# **Notice.** The pictures are means of C − I over all pairs of this text, with the shared part above each; the first table has the shared part on held-out text, its range over all **nine** trainings. In layers 1 and 2 more than 60 % of pre-compose is one fixed matrix, in every training. Post-compose of layer 2 depends more on the tokens (23 to 47 % shared), and so do both compositions of layer 0 (14 to 45 %). The *effective rank* (exponential of the entropy of the singular values) of a single C − I is 4.4 to 6.4 of 8: gates are diagonal and have full rank.
#
# The second table is this model alone, layer 2. On sequences of random tokens that come twice, the mean C is near rank one, with a first singular value of 16 and 32 where text has 5 and 3. But this is the same at pairs without induction ("other"): the composition has learned a *regime* for such sequences, and does not single out the pairs.
#
# **How alike are heads?** The mean cosine of two heads' maps, on held-out text, 18 trainings. "Plain heads" are the twins of equal size.
#
# **Predict.** Are the raw maps of a composed model more alike than plain heads, or less?

# %%
figure, data = dcmha.head_diversity()
figures.save(figure, "dcmha/head-diversity", data)
alike = data.pivot(index=["heads", "repeats", "seed", "layer"], columns="map", values="similarity")
composed, plain = alike.loc["DCMHA"], alike.loc["MHA"]["weights"].groupby("layer")
assert len(composed) == 27 and (composed["raw"] > composed["weights"]).all() and (composed["weights"] > composed["composed"]).all()
assert (composed["raw"].groupby("layer").min() > plain.max()).all()
assert (composed["composed"].groupby("layer").max() < plain.min()).all()
figure

# %% [markdown]
# Drawn by [`figures.dcmha.head_diversity`](../lib/marginalia/figures/dcmha.py).
#
# **Notice.** A point is one training. In every layer of every training, raw maps of composed models are more alike than plain heads ever are, and each composition makes them less alike. The heads' own queries and keys do less: the difference between heads has moved into the composition. (After post-compose maps have signs, which plain maps do not, so that part of the last step is the sign.) More different heads are not better ones, as the next section shows.
#
# ## 3. Do heads do recognisable things?
#
# **Claim.** 18 models, plain and DCMHA at equal parameters (plain heads have a wider feed-forward network), three seeds, with no repeats in the training, with random tokens repeated, and with pieces of text repeated. In each, take the best of its 24 heads at attending to the token before, and at induction.
#
# **Predict.** In how many of the nine DCMHA models is there an induction head?

# %%
figure, data = dcmha.head_patterns()
figures.save(figure, "extra/head-patterns", data)
best = data.pivot(index=["heads", "repeats", "seed"], columns="map", values=["previous", "induction"])
plain, composed = best.loc["MHA"]["induction", "weights"], best.loc["DCMHA"]
assert len(plain) == 9 and plain["random repeats"].min() > 0.75 and plain["text repeats"].between(0.35, 0.45).all() and plain["no repeats"].max() < 0.15
has = composed["induction", "weights"] > 0.3
assert len(has) == 9 and has.sum() == 1 and has["random repeats", 1] and composed["induction", "raw"]["random repeats", 1] < 0.05
assert (composed["previous", "weights"] > 2 * composed["previous", "raw"]).all()
figure

# %% [markdown]
# Drawn by [`figures.dcmha.head_patterns`](../lib/marginalia/figures/dcmha.py).
#
# **Notice.** Plain heads: induction on random tokens in all six trainings with repeats (.80 to .84 and .39 to .40), weak in the three without. DCMHA: in one of nine, and there it is .94 after pre-compose and .04 in the raw scores. The previous-token pattern is in all nine DCMHA models (.48 to .82 after pre-compose), and in each pre-compose makes it more than twice as strong as the raw scores have it. So a tool that reads only queries and keys sees little of what such a model does.
#
# **Loss.** All 27 trainings: nine of plain heads, nine of DCMHA, and nine of DCMHA whose compositions learned at a third of the rate. (That rate was chosen among four on a seed of its own, by the mean of the table below: 1,000 steps each. These nine were broken off at step 2,400, and no weights were kept.)
#
# **Predict.** The paper's abstract reports the loss of models with 1.7 to 2.0 times the computing. What do you expect of DCMHA with 0.9 M parameters?

# %%
figure, data = dcmha.language_training()
figures.save(figure, "extra/language-training", data)
rates = read_table("measured/composition/language_rates.csv").pivot(index="composition_rate", columns="repeats", values="held_out")
assert rates.mean(axis=1).idxmin() == 1e-3 and len(rates) == 4
end, same = (dcmha.loss_differences(step) for step in (2600, 2400))
assert len(end) == len(same) == 9 and (end["DCMHA − MHA"] > 0).all()  # in all nine pairs
slow, formed = same["DCMHA, lower rate − MHA"], same["induction, lower rate"] > 0.3
assert formed.sum() == 2 and formed["random repeats", 1] and formed["text repeats", 1] and (slow[formed] < 0).all()
assert (slow[~formed].drop("no repeats") > 0.15).all() and slow["no repeats"].min() > 0.05
display(figure, end.dropna(axis=1).round(3).T, same.round(3).T, rates)

# %% [markdown]
# Drawn by [`figures.dcmha.language_training`](../lib/marginalia/figures/dcmha.py).
#
# **Notice.** Upper row: loss on held-out text; lower row: on random tokens that come a second time, which falls at once when induction forms. With this recipe **DCMHA is behind in all nine pairs** (by .03 to .20 nats at step 2,600; all seeds are in the first table, the second has step 2,400, the third the trial of rates). With the lower rate it is *ahead* of plain heads at the same step in the two trainings in which induction formed (2.783 against 2.823, 2.765 against 2.793), and .15 to .18 behind in the four with repeats in which it did not.
#
# So at this size the loss goes with whether and when induction forms, and composed heads form it less reliably here. That is two trainings against four; it is not shown that induction is the cause. No multiple of computing can be claimed, in either direction: the paper's models have 405 M parameters and more, and 7 billion tokens and more.
#
# **What is lost without a part.** For each of the 18 models, by how much the loss grows when its most important head is ablated (by zero), and when a whole composition is left out (C = I).

# %%
lost = dcmha.what_is_lost()
text, random = (lost.xs(name, level="text") for name in ("held_out", "random"))
assert len(text.loc["DCMHA"]) == 9 and (text.loc["DCMHA"]["pre, layer 2"] > text.loc["DCMHA"]["best head"]).all()
assert (text.loc["DCMHA"]["best head"] < text.loc["MHA"]["best head"]).sum() == 8  # of nine pairs
parts = dcmha.language_table("ablations").query("layer == 2 and text == 'held_out' and part.str.startswith('pre: ') and part != 'pre: all'")
assert (parts.loc[parts.groupby("run")["effect"].idxmax(), "part"] == "pre: query low rank").to_numpy().sum() == 9
one, plain = (random.loc[name, "random repeats", 1] for name in ("DCMHA", "MHA"))
assert one["pre, layer 2"] > 5 and one["best head of layer 2"] < 0.5 and plain["best head"] > 2
shown = {"text, least of nine": text.groupby("heads").min(), "text, most of nine": text.groupby("heads").max()}
shown["random tokens: random repeats, seed 1"] = pd.DataFrame({"DCMHA": one, "MHA": plain}).T
pd.concat(shown).round(2)

# %% [markdown]
# **Notice.** On text, in every one of nine DCMHA models, leaving out pre-compose of layer 2 costs more than the most important of all 24 heads does (.39 to .56 nats against .10 to .23), and in eight of nine pairs the most important head costs less than that of its plain twin: single heads are more dispensable, the composition is not. Of its four branches the query's low rank is worth most, in all nine. (C = I puts every layer behind it into a state that it never saw, so that such an ablation may overstate.)
#
# On random tokens, in the one model that has induction, pre-compose of layer 2 is worth 7.6 nats and no head of that layer more than .3, while a single plain head is worth 3.4: **the composition carries the induction**, and all heads have it.
#
# ## 4. The same questions for plain heads
#
# **Claim.** In a plain transformer heads compose only across layers: head 2 of a later layer reads what head 1 has written. From weights alone (Elhage et al. 2021), with $W_{QK} = W_Q W_K^\top$ and $W_{OV} = W_V W_O$,
#
# $$\text{K-composition} = \frac{\lVert W_{OV}^{1}\, W_{QK}^{2\top} \rVert_F}{\lVert W_{OV}^{1} \rVert_F\, \lVert W_{QK}^{2} \rVert_F},$$
#
# with $W_{QK}^2$ for Q and $W_{OV}^2$ for V. Random heads give about $1 / \sqrt D$. The *projection kernel* compares the subspaces only: $\sum \cos^2$ of the principal angles between what head 1 writes and what head 2 reads.

# %%
twin = load_language("language-mha-random-1")
figure, data = dcmha.composition_score_maps(head_weights(twin))
figures.save(figure, "extra/composition-scores", data)
assert {(*row,) for row in data.head(4)[["kind", "head 1", "head 2"]].to_numpy()} == set(product("K", ("1.6", "1.2"), ("2.5", "2.6")))
again = repeated(torch.randint(1, 1024, (8, 64), generator=torch.Generator().manual_seed(0)))  # 64 random tokens, twice
live = [((1, 6), (2, 5)), ((1, 7), (2, 5))]
found = pairwise_ablation(twin, lambda model: token_losses(model, again)[:, 64:].mean(), live)
print("interaction on random tokens, second time:", dict(zip(live, [round(value, 3) for value in found.tolist()], strict=True)))
display(data.head(6).round(2), figure)

# %% [markdown]
# **Notice.** The four largest scores are K-compositions of heads 6 and 2 of layer 1 with heads 5 and 6 of layer 2. In this model these are the two best previous-token heads (.81, .62) and the two induction heads (.82, .84): the textbook circuit of induction, in which the second head's key is what the first one brought from the token before, found from weights alone.
#
# **Do such scores predict interaction?** Users of TransformerLens ask whether they do. The *interaction* of two heads is what ablating both costs, less what each costs alone: 0 where neither depends on the other. Live for two pairs above: one that stands out and one that does not. Now from a table of all 192 pairs of nine models: the rank correlation of each score with the size of the interaction, *within* pairs of layers (scores and interactions both grow with depth, which would look like prediction).
#
# **Predict.** Which of the six scores predicts best, and how well?

# %%
figure, data = dcmha.score_predictions()
figures.save(figure, "extra/score-predictions", data)
assert len(data) == 9 * 2 * 6 and data["rho"].max() < 0.3
largest = dcmha.largest_interactions()
assert len(largest) == 9 and largest["previous to induction"].all() and (largest["rank of largest by K"] <= 2).all()
display(figure, largest.round(4))

# %% [markdown]
# **Notice.** Over all pairs the answer is **no**: no score has a rank correlation above .27 in any of nine models; most intervals hold 0; on random tokens V-composition goes the *wrong* way (down to −.5). The projection kernel is no better than the scores.
#
# At the very top the answer is **yes**, in all nine models: the pair with the largest K-composition leads from one of the two best previous-token heads to one of the two best induction heads, and the pair with the largest interaction (a hundred to thousands of times the median) is among the two largest of 192 by K-composition. So read such scores as a detector of outliers, for K, and not as a measure of how much heads interact. These are models of three layers with a strong circuit; what holds in larger ones was not measured.
#
# ## 5. A head whose job is known
#
# **Claim.** RXNMapper (Schwaller et al. 2021) is an ALBERT trained to fill in masked tokens of chemical reactions, with 12 layers that *share* their weights, 8 heads each. Nobody told it which atom of the product was which atom of the reactants, and head 5 shows just that. A head with a known job can judge tools. We take 48 reactions made by rule, so that the true map is known, half of them with the product written in another order.
#
# The weights are read out of the package's wheel, which `make` downloads next to the environment.

# %%
accuracy = read_table("measured/composition/reactions_accuracy.csv").query("direction == 'to reactants'")
known = accuracy[accuracy["product"] == "all"].pivot(index="layer", columns="head", values="accuracy")
baselines = read_table("measured/composition/reactions_baselines.csv").query("direction == 'to reactants'").set_index("product")
assert known[5].loc[6:].min() > 0.97 and known.drop(columns=5).max(axis=None) < 0.7
assert baselines.loc["amine first", "order"] < 0.2 < 0.95 < baselines.loc["amine first", "best"]
try:
    reaction_model = load_reaction_model()
    reactions = amide_reactions()
    hits = torch.cat([atom_hits(reaction_model.attention(one.text), one)[0] for one in reactions]).float().mean(0)  # (L, H)
    assert np.allclose(hits, known, atol=0.01)
    print(f"live, {len(reactions)} reactions: layer 7, head 5 maps {hits[7, 5]:.1%} of the atoms; the median head {hits.median():.1%}")
except FileNotFoundError:
    print("The model is not here (`make` fetches it: rxnmapper 0.4.3, 3 MB), so that all below comes from tables.")
figure, data = dcmha.atom_mapping()
figures.save(figure, "extra/atom-mapping", data)
display(figure, baselines[["atoms", "chance", "order", "median", "worst", "best"]].round(3))

# %% [markdown]
# Drawn by [`figures.dcmha.atom_mapping`](../lib/marginalia/figures/dcmha.py).
#
# **Notice.** The reaction of the maps is written in another order in the product, and head 5 follows it. It maps 83 % of the atoms in layer 1 and 98 to 99 % from layer 6 on (layer 7: 98.5 %, bootstrap over reactions 97.2 to 99.5); because layers share their weights, "the head of layer 7" is in truth head 5 of all layers. Chance is 28 % (atoms of the same element), the median head 30 %. A rule that knows only order gets 59 % (100 % where the product is written as the reactants are, 17 % where not), so that the table's second line is no evidence and the third is. Head 2 reaches 69 %.
#
# **Predict.** You did not know about head 5. Which tool would have led you to it: how unlike other heads it is, composition scores, the projection kernel, ablation in one layer, ablation in all layers at once?

# %%
tools = read_table("measured/composition/reactions_tools.csv")
five, size = tools[tools["head"] == 5].groupby("tool", sort=False), tools.groupby("tool", sort=False).size()
table = pd.DataFrame({"best rank of head 5": five["rank"].min(), "among": size, "rank of (7, 5)": five["rank"].apply(lambda one: one.iloc[7] if len(one) == 12 else np.nan)})
alone = tools[tools["tool"] == "ablation in all layers"].set_index("head")
assert alone.loc[5, "low"] > 2 * alone["high"].drop(5).max() and table["rank of (7, 5)"].dropna().tolist() == [6, 6]
needed = read_table("measured/composition/reactions_needed.csv").pivot(index="tool", columns="reactions", values="head_5_first")
assert needed.loc["ablation in all layers"].min() > 0.95 and needed.drop("ablation in all layers").max(axis=None) < 0.8
up = read_table("measured/composition/reactions_upstream.csv").query("head != 5")
display(table, needed.round(2), rank_agreement(up["q_composition"], -up["accuracy"]))

# %% [markdown]
# **Notice.** Tables: ranks of head 5; then the share of draws of 1 to 48 reactions in which head 5 of some layer comes first. One trained network; intervals are over reactions.
#
# - *Unlike other heads*: no. The best head 5 is 2nd of 96 and that of layer 7 is 6th; with all 48 reactions a head 5 is first in .4 % of draws.
# - *Composition scores and projection kernel*: as a **reader** head 5 is first of eight in Q and K, by both scores, and far from it in V; as a **writer** it is *last* in Q and K, and first in V by one score. But twelve rankings were looked at, each with a chance of 1 in 8 for any head, and nothing in them says that reading matters.
# - *Ablation in one layer*: half. The first place is head 5 of layer 9, and (7, 5) is 6th: with shared weights the other layers stand in.
# - *Ablation in all layers at once*: yes. Without head 5 the masked-atom loss grows by 1.55 nats (1.41 to 1.67), without the next head by .39, and **one** reaction is enough in 98 % of draws.
#
# And do scores say which heads head 5 *needs*? Among the other seven the rank correlation of Q-composition with the accuracy lost is .61, and with seven heads 420 of 5,040 random orders, one of twelve, do as well.
#
# ## 6. Your own model
#
# Set `MODEL` to the folder or the hub name of a Hugging Face model of these families: GPT-2, Llama (Mistral, Qwen2), GPT-NeoX (Pythia), BERT (RoBERTa), ALBERT. Then this section shows the same views: composition scores over random, how alike its heads are, and, where its tokenizer is found, the best heads by pattern on `TEXT` (or the example).
#
# ## 7. The explorer
#
# The picture below is section 2 in one view: the map of the last layer with the pair of section 2, C − I in its terms, and the flows (here the entries of C − I; in section 2, times the number of the head that gives). In JupyterLab it is interactive: choose another pair by a click or the arrow keys, another layer (L), scores or weights (P), a term (T), a head (H). Tokens are shown on hover, and it works at once in the browser.

# %%
if MODEL is None:
    print("No MODEL is set: this section is skipped.")
else:
    figure, largest, scores = dcmha.heads_of(MODEL, TEXT or EXAMPLE)
    display(figure, largest.head(10).round(2), scores.round(2))
    for name in scores:
        print(f"{name}: {', '.join(f'{layer}.{head} {value:.2f}' for (layer, head), value in scores[name].nlargest(5).items())}")

# %%
room = min(T, int((6e6 / (8 * L * H)) ** 0.5))  # tokens for whose maps there is room in a page
CompositionExplorer(model, tokens[:, :room], labels[:room], **({"pair": (i, j)} if i < room else {}))

# %% [markdown]
# ## Here and in the paper
#
# | | here | paper and other sources |
# |---|---|---|
# | Compose | as in Figure 2, its authors' code | Figure 2 |
# | gain at equal size | none: behind in 9 of 9 pairs (0.9 M parameters, 5.3 M tokens with repeats, 3 seeds each) | abstract: as good as transformers with 1.7 to 2.0 times the computing, at 405 M parameters and more |
# | heads more different | yes after composition, in every layer of 9 models | its figure could not be read |
# | best public evidence at small scale | | post-compose in one layer of a nanoGPT speed-run: 3.2783 ± .0013 against 3.2823 ± .0009, n = 10 each (Lisennlp/modded-nanogpt) |
# | atoms mapped by head 5 | 98.5 % in layer 7, 48 reactions by rule | its package maps by head 5 |
#
# **Not checked:** larger models, longer trainings, other rates for plain heads (both used the same rates for what they share), why induction forms less often, induction with more seeds.
#
# ## Exercises
#
# **1.** A head asks with scores $A = (2, -1)$ and $C = \begin{pmatrix} 1 & 0.5 \\ -1 & 0.2 \end{pmatrix}$. What is the composed score of head 1 (the second)?
#
# **2.** How large is the shared part of C − I if half of all pairs have C = 2 I and the other half C = I?
#
# **3.** Write `interaction(loss, loss_a, loss_b, loss_ab)`, from the losses of the whole model, without head a, without head b, and without both.

# %%
answer = None  # exercise 1
check(answer, 0.8, hints={-2.2: "Row n gives, column m receives.", -0.2: "What head 0 gives is missing, or the identity, which C holds, is added again.", 1: "What head 1 keeps is missing."})
answer = None  # exercise 2
check(answer, 0.5, hints={1: "The mean is I / 2, not I.", 0.25: "Divide by the mean squared norm, not by the largest."})
interaction = None  # exercise 3
check_function(interaction, {"independent": ((2.0, 2.5, 2.25, 2.75), 0), "one path": ((2.0, 3.0, 3.0, 3.0), -1), "backup": ((2.0, 2.0, 2.0, 4.0), 2)})

# %% [markdown]
# <details><summary>Solutions</summary>
#
# **1.** $2 \cdot 0.5 + (-1) \cdot 0.2 = 0.8$.
#
# **2.** One half: the mean of C − I is I / 2 with squared norm H / 4, the mean squared norm is H / 2.
#
# **3.** `lambda loss, a, b, ab: (ab - loss) - (a - loss) - (b - loss)`. Negative where both lie on one path, positive where one stands in for the other.
# </details>
#
# ## Questions for the group
#
# 1. Pre-compose is mostly one fixed matrix in layers 1 and 2. What would you train to find out whether the rest is needed?
# 2. Raw heads of a composed model are nearly alike. Which of the usual tools (scores of weights, maps, ablation) still mean something there?
# 3. What would you have to measure before you say "composition made the model better", and how many seeds?
#
# ## Summary
#
# Composed heads move the difference between heads out of queries and keys: raw maps are nearly alike, and pre-compose, in layers 1 and 2 mostly one fixed matrix, makes them differ, finds the token before and, where it forms, carries the induction. With this recipe and size DCMHA does not pay: it is behind plain heads in all nine pairs, and induction forms in one of nine; with a lower rate it is ahead in the two trainings in which induction forms. For plain heads, scores of weights do not rank pairs by interaction, but their largest K-composition found the induction circuit in nine models of nine. In the reaction model only the ablation of a head in all layers finds head 5 without doubt.
#
# **Next:** [43_retrieval_and_tasks](43_retrieval_and_tasks.ipynb) has the task that composed heads solve and plain ones do not.
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
# @article{elhage2021mathematical,
#   title   = {A Mathematical Framework for Transformer Circuits},
#   author  = {Elhage, Nelson and Nanda, Neel and Olsson, Catherine and others},
#   journal = {Transformer Circuits Thread},
#   year    = {2021}
# }
# @article{schwaller2021rxnmapper,
#   title   = {Extraction of organic chemistry grammar from unsupervised learning of chemical reactions},
#   author  = {Schwaller, Philippe and Hoover, Benjamin and Reymond, Jean-Louis and Strobelt, Hendrik and Laino, Teodoro},
#   journal = {Science Advances},
#   volume  = {7},
#   number  = {15},
#   pages   = {eabe4166},
#   year    = {2021}
# }
# ```

# %%
print(marginalia.versions("numpy", "torch", "transformers", "tokenizers"))
