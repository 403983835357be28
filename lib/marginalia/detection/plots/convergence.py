"""Pictures of how fast detectors learn: curves over seeds, steps to a level, tables beside the paper's.

Every function draws the finished runs when it is given no frame. AP of our scenes lies in [0, 1], published
AP of COCO val2017 is in percent: they never share an axis. Runs that are missing are named in the data.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from ...style import PALETTE, WIDTH
from ...store import read_table
from ..convergence import METRICS, missing_runs, ratio_text, reach, run_names, speed_up, summarise, values_at
from ..runs import GROUPS, HEADLINE, LONG, SEEDS, SMALL, histories

NAMES = {
    "detr": "DETR",
    "detr-focal": "DETR + OR + FL",
    "conditional": "Conditional DETR",
    "dab": "DAB-DETR",
}
COLORS = dict(zip(NAMES, (PALETTE[c] for c in ("vermilion", "orange", "blue", "green")), strict=True))
NEUTRAL = PALETTE["grey"]
DASHED = {"color": NEUTRAL, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1}
TITLES = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "AP50_any": "AP50, all digits one class",
    "mean_iou": "mean IoU of matched boxes",
    "iou_75": "share of matched boxes with IoU > .75",
}
SKILLS = {  # metric -> line style and what it says
    "mean_iou": ((0, (1, 1)), "fits: mean IoU of matched boxes"),
    "AP50_any": ("-", "and is found: AP50, one class"),
    "AP50": ((0, (4, 1.5)), "and is read: AP50, ten classes"),
}
LABELS = {  # rows of the tables, as the axes call them
    "CSQ-C": "CSQ-C: f",
    "CSQ-T": "CSQ-T: λ(f)",
    "CSQ-P": "CSQ-P: $p_s$",
    "CSQ-I": "CSQ-I: λ($c_q$) $p_s$",
    "CSQ": "CSQ: λ(f) $p_s$",
    "single": "single scalar",
    "block": "block a head",
    "none": "DETR",
    "OR+FL": "OR + FL",
    "OR+FL+CSQ": "OR + FL + CSQ",
    "fixed": "fixed in the middle",
    "learned": "learned parameter",
    "predicted": "predicted from $o_q$",
}


def measured(*groups: str) -> pd.DataFrame:
    """Histories of the finished runs of some of GROUPS, with its columns even when there are none."""
    frame = histories(run_names(*groups))
    text, numbers = ["run", "base"], ["seed", "step", *METRICS]
    empty = pd.DataFrame({name: pd.Series(dtype=str) for name in text})
    return frame if len(frame) else empty.assign(**{name: pd.Series(dtype=float) for name in numbers})


def published(group: str) -> dict[str, float]:
    """AP in percent as printed in the paper, by the names of the rows in GROUPS."""
    name = {
        "table_3": "spatial_query",
        "figure_5": "transformation",
        "table_4": "components",
        "reference_point": "reference_point",
    }[group]
    table = read_table(f"published/conditional_detr_{name}.csv")
    if group == "table_4":
        parts = zip(("OR", "FL", "CSQ"), table.columns[[0, 1, 2]], strict=True)
        marks = np.column_stack([np.where(table[column] == "yes", part, "") for part, column in parts])
        rows = ["+".join(filter(None, row)) or "none" for row in marks]
    else:
        rows = [text.split()[0] for text in table.iloc[:, 0]]  # "single scalar" is `single` here
    return dict(zip(rows, table["AP"].tolist(), strict=True))


# --- curves


def _curve(axis, frame: pd.DataFrame, base: str, metric: str, color: str, label: str) -> None:
    """Mean, range and dots of the seeds of one base; its label says how many there are."""
    runs = frame[frame["base"] == base] if len(frame) else frame
    if not len(runs):
        axis.plot([], [], color=color, label=f"{label} (no run yet)")
        return
    each = runs.groupby("step")[metric]
    count = runs["seed"].nunique()
    axis.fill_between(each.mean().index, each.min(), each.max(), color=color, alpha=0.18, linewidth=0)
    axis.plot(runs["step"], runs[metric], ".", color=color, markersize=3, alpha=0.6)
    axis.plot(each.mean(), color=color, label=f"{label} ({count} seed{'s' * (count > 1)})")


def _drop(axis, step: float) -> None:
    """Where the learning rate falls to a tenth."""
    axis.axvline(step, label="learning rate / 10", **DASHED)


def _kinds(axis, frame: pd.DataFrame, metric: str) -> None:
    for kind, base in GROUPS["headline"].items():
        _curve(axis, frame, base, metric, COLORS[kind], NAMES[kind])
    _drop(axis, HEADLINE.drop_at * HEADLINE.steps)
    axis.set(xlim=(0, HEADLINE.steps), ylim=(0, 1), xlabel="training steps", ylabel=TITLES[metric])


def _legend(figure, axis, columns: int = 3) -> None:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=columns)


def _tables(frame: pd.DataFrame, group: str, **others: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What is saved with curves: the runs of a group, which are missing, and what else was drawn."""
    names = run_names(group)
    own = frame[frame["run"].isin(names)] if len(frame) else pd.DataFrame(columns=["run", "step"])
    return {"runs": own, "missing": pd.DataFrame({"run": missing_runs(frame, names)}), **others}


def convergence(frame: pd.DataFrame | None = None):
    """Conditional DETR, Figure 2: AP50 and AP against steps, the long run of DETR, published end points.

    frame: of `measured("headline")`. Returns (figure, data), data a mapping: runs, missing, published.
    """
    frame = measured("headline") if frame is None else frame
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH["page"], 5.6), layout="constrained")
    for axis, metric in zip(axes[0], ("AP50", "AP"), strict=True):
        _kinds(axis, frame, metric)
        axis.set_title(f"Here: {TITLES[metric]}, four kinds")
    long, steps = axes[1, 0], 10 * HEADLINE.steps
    for base, kind in ((LONG, "detr"), (GROUPS["headline"]["conditional"], "conditional")):
        _curve(long, frame, base, "AP", COLORS[kind], NAMES[kind])
    _drop(long, HEADLINE.drop_at * steps)
    long.set(xlim=(0, steps), ylim=(0, 1), xlabel="training steps", ylabel=TITLES["AP"])
    long.set_title("Here: DETR with ten times the steps")
    shown = read_table("published/conditional_detr_coco.csv").query("backbone == 'DC5-R50'")
    shown = shown[shown["model"].isin(["DETR", "Conditional DETR"])]
    _end_points(axes[1, 1], shown)
    _legend(figure, axes[0, 0])
    return figure, _tables(frame, "headline", published=shown)


def _end_points(axis, shown: pd.DataFrame) -> None:
    """Published AP at the end of trainings of several lengths; each is a training of its own."""
    places = {50: (-6, -3, "right"), 75: (6, -6, "left"), 108: (6, -1, "left"), 500: (-6, -3, "right")}
    for kind, marker in (("detr", "s"), ("conditional", "o")):
        part = shown[shown["model"] == NAMES[kind]]
        axis.plot(part["epochs"], part["AP"], marker, color=COLORS[kind])
        for epochs, ap in zip(part["epochs"], part["AP"], strict=True):
            *place, side = places[epochs]
            axis.annotate(f"{ap}", (epochs, ap), place, textcoords="offset points", ha=side, fontsize=7)
    axis.set(xlim=(-30, 520), ylim=(34, 47), xlabel="training epochs", ylabel="AP on COCO val2017 (%)")
    axis.set_title("Published: ends of trainings, DC5-R50")


def training_curves(frame: pd.DataFrame | None = None):
    """DAB-DETR, Figure 3: learned queries, learned queries that are fixed, and anchor boxes.

    frame: of `measured("dab_figure_3")`. Returns (figure, data), data a mapping: runs, missing.
    """
    frame = measured("dab_figure_3") if frame is None else frame
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH["page"], 3.1), layout="constrained")
    colors = {"learned": "orange", "fixed learned": "purple", "anchors": "green"}
    for axis, metric in zip(axes, ("AP", "mean_iou"), strict=True):
        for row, base in GROUPS["dab_figure_3"].items():
            _curve(axis, frame, base, metric, PALETTE[colors[row]], row)
        _drop(axis, SMALL.drop_at * SMALL.steps)
        axis.set(xlim=(0, SMALL.steps), ylim=(0, 1), xlabel="training steps", ylabel=TITLES[metric])
    _legend(figure, axes[0], 4)
    return figure, _tables(frame, "dab_figure_3")


def dab_convergence(frame: pd.DataFrame | None = None):
    """DAB-DETR, Figure 13: its AP beside its predecessors', its lead seed by seed, and published AP.

    frame: of `measured("headline")`. Returns (figure, data), data a mapping: runs, missing, lead, published.
    """
    frame = measured("headline") if frame is None else frame
    figure, axes = plt.subplots(
        1, 3, figsize=(WIDTH["page"], 3.3), width_ratios=(1.1, 1.1, 1.15), layout="constrained"
    )
    _kinds(axes[0], frame, "AP")
    lead = _lead(frame, GROUPS["headline"]["dab"], GROUPS["headline"]["conditional"])
    if not len(lead):
        axes[1].text(0.5, 0.6, "no pair of runs yet", transform=axes[1].transAxes, ha="center", color=NEUTRAL)
    for _, part in lead.groupby("seed"):
        axes[1].plot(part["step"], part["AP"], "o-", color=NEUTRAL, linewidth=0.7, markersize=2.5)
    axes[1].plot(lead.groupby("step")["AP"].mean(), color=COLORS["dab"], linewidth=2)
    axes[1].axhline(0, color="black", linewidth=0.8)
    _drop(axes[1], HEADLINE.drop_at * HEADLINE.steps)
    axes[1].set(xlim=(0, HEADLINE.steps), xlabel="training steps", ylabel="AP of DAB − AP of Conditional")
    shown = _predecessors()
    _dots(axes[2], shown["AP"].to_numpy())
    axes[2].set_yticks(range(len(shown)), shown.index, fontsize=7)
    axes[2].set(xlim=(33.5, 44.9))
    axes[2].set_xlabel("AP on COCO (%), 50 epochs,\nResNet-50; *: three patterns", fontsize=7.5)
    for axis, title in zip(axes, ("Here", "Here: the lead of each seed", "Published"), strict=True):
        axis.set_title(title)
    _legend(figure, axes[0])
    data = _tables(frame, "headline", lead=lead, published=shown.reset_index())
    return figure, data


def _lead(frame: pd.DataFrame, upper: str, lower: str) -> pd.DataFrame:
    """Differences of AP between two bases at each step, for the seeds that both have."""
    if not len(frame):
        return pd.DataFrame({"seed": [], "step": [], "AP": []})
    wide = frame[frame["base"].isin([upper, lower])].pivot(
        index=["seed", "step"], columns="base", values="AP"
    )
    wide = wide.reindex(columns=[upper, lower])
    return (wide[upper] - wide[lower]).dropna().rename("AP").reset_index()


def _predecessors() -> pd.DataFrame:
    """Published AP after 50 epochs with a ResNet-50, oldest first; the star: three patterns an anchor."""
    old, new = (read_table(f"published/{name}_coco.csv") for name in ("conditional_detr", "dab_detr"))
    old = old[(old["model"] == "DETR") & (old["backbone"] == "R50") & (old["epochs"] == 50)]
    new = new[new["backbone"] == "R50"]
    label = new["model"] + np.where(new["three_patterns"] == "yes", " *", "")
    rows = pd.concat([old.set_index("model"), new.set_index(label)])[["AP", "AP50", "AP75", "source"]]
    order = ["DETR", "Conditional DETR", "Anchor DETR *", "DAB-DETR", "DAB-DETR *"]
    return rows.loc[order].rename_axis("model")


def found_and_read(frame: pd.DataFrame | None = None):
    """Three skills of each kind: boxes that fit, scores that pick them (found), and the right class (read).

    frame: of `measured("headline")`. Returns (figure, data), data a mapping: runs, missing.
    """
    frame = measured("headline") if frame is None else frame
    figure, axes = plt.subplots(1, 4, figsize=(WIDTH["page"], 2.8), sharey=True, layout="constrained")
    for axis, (kind, base) in zip(axes, GROUPS["headline"].items(), strict=True):
        runs = frame[frame["base"] == base] if len(frame) else frame
        axis.set(title=NAMES[kind], xlim=(0, HEADLINE.steps), ylim=(0, 1), xlabel="steps")
        if not len(runs):
            axis.text(0.5, 0.5, "no run yet", transform=axis.transAxes, ha="center", color=NEUTRAL)
            continue
        means = runs.groupby("step")[list(SKILLS)].mean()
        for metric, (style, _) in SKILLS.items():
            axis.plot(means[metric], color=COLORS[kind], linestyle=style)
        _drop(axis, HEADLINE.drop_at * HEADLINE.steps)
    axes[0].set_ylabel("mean of seeds")
    lines = [Line2D([], [], color=NEUTRAL, linestyle=style) for style, _ in SKILLS.values()]
    figure.legend(lines, [name for _, name in SKILLS.values()], loc="outside upper left", ncols=3)
    return figure, _tables(frame, "headline")


# --- steps to a level


def steps_to_level(frame: pd.DataFrame | None = None, metric: str = "AP50", threshold: float = 0.8):
    """Curves with a level across them, and how many steps each kind needs to get there.

    frame: of `measured("headline")`. A hollow triangle is a run that ended below the level; the ratios are to
    Conditional DETR with the same seed. Returns (figure, data), data a row a run: kind, base, seed, steps
    (NaN: not reached), trained, ratio, bound.
    """
    frame = measured("headline") if frame is None else frame
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH["page"], 3.2), width_ratios=(1, 1.25), layout="constrained"
    )
    _kinds(left, frame, metric)
    left.axhline(threshold, color="black", linewidth=0.9)
    left.set_title(f"Where is {threshold:g} crossed?")
    reached = reach(frame, metric, threshold)
    rows = {NAMES[kind]: (base, COLORS[kind]) for kind, base in GROUPS["headline"].items()}
    rows = {"DETR, 10 times\nthe steps": (LONG, COLORS["detr"]), **rows}
    parts = []
    for y, (name, (base, color)) in enumerate(rows.items()):
        ratios = speed_up(reached, base, GROUPS["headline"]["conditional"])
        own = reached[reached["base"] == base].assign(kind=name.replace("\n", " "))
        parts.append(own.merge(ratios[["seed", "ratio", "bound"]], on="seed", how="left"))
        _arrivals(right, y, own, color)
        text = "1, by definition" if name == NAMES["conditional"] and len(own) else ratio_text(ratios)
        right.text(1.02, y, text, transform=right.get_yaxis_transform(), va="center", fontsize=7)
    right.text(
        1.02, -0.75, "times the steps\nof Conditional", transform=right.get_yaxis_transform(), fontsize=7
    )
    right.set_yticks(range(len(rows)), list(rows), fontsize=7.5)
    for label, (_, color) in zip(right.get_yticklabels(), rows.values(), strict=True):
        label.set_color(color)
    right.set(
        xscale="log",
        xlim=(90, 20_000),
        ylim=(len(rows) - 0.5, -0.6),
        xlabel="steps to get there; hollow: training ended below",
    )
    right.set_xticks([100, 300, 1000, 3000, 10_000], ["100", "300", "1000", "3000", "10,000"])
    right.minorticks_off()
    return figure, pd.concat(parts, ignore_index=True)


def _arrivals(axis, y: float, runs: pd.DataFrame, color: str) -> None:
    """A dot for each run that arrived, a hollow triangle where the others ended."""
    if not len(runs):
        axis.text(100, y, "no run yet", va="center", fontsize=7, color=NEUTRAL)
    shift = (runs["seed"] - 1) * 0.16
    never = runs["steps"].isna()
    axis.plot(runs["steps"], y + shift, "o", color=color)
    axis.plot(runs["trained"][never], (y + shift)[never], ">", color=color, markerfacecolor="white")


# --- tables


def _dots(axis, values) -> None:
    """Published numbers as labelled dots, a row each, the first on top."""
    axis.plot(values, range(len(values)), "D", color=NEUTRAL)
    for y, value in enumerate(values):
        place = {"textcoords": "offset points", "va": "center", "fontsize": 7}
        axis.annotate(f"{value:.1f}", (value, y), (6, 0), **place)
    axis.set_ylim(len(values) - 0.5, -0.5)


def _beside(group: str, frame: pd.DataFrame | None):
    """AP at the end of training, a row a row of the table, beside the published AP."""
    frame = measured(group) if frame is None else frame
    rows, printed = GROUPS[group], published(group)
    values = values_at(frame, rows)
    summary = summarise(values).assign(published=pd.Series(printed))
    height = 0.36 * len(rows) + 1.0
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH["page"], height), sharey=True, width_ratios=(1.5, 1), layout="constrained"
    )
    for y, (row, own) in enumerate(summary.iterrows()):
        dots = values[values["row"] == row]
        left.plot([own["low"], own["high"]], [y, y], color=PALETTE["blue"], linewidth=1.2)
        left.plot(dots["value"], y + (dots["seed"] - 1) * 0.17, "o", color=PALETTE["blue"], markersize=3.5)
        left.plot(own["mean"], y, "|", color="black", markersize=13, markeredgewidth=1.8)
    _dots(right, summary["published"].to_numpy())
    right.margins(x=0.22)
    left.set_yticks(range(len(rows)), [_label(row, count) for row, count in summary["seeds"].items()])
    if values["value"].isna().all():
        left.set(xlim=(0, 1))
    left.set(xlabel="AP on our scenes, at the end")
    left.set_title("Here: dots are seeds, the bar their mean")
    right.set(xlabel="AP on COCO val2017 (%)", title="Published")
    return figure, {"runs": values, "rows": summary.reset_index()}


def _label(row: str, seeds: int) -> str:
    few = {0: "\nno run yet", len(SEEDS): ""}.get(seeds, f"\n{seeds} of {len(SEEDS)} seeds")
    return LABELS.get(row, row) + few


def spatial_query_forms(frame: pd.DataFrame | None = None):
    """Conditional DETR, Table 3: what the spatial query is made from, ours beside the published column.

    frame: of `measured("table_3")`. Returns (figure, data), data a mapping: runs (row, base, seed, value),
    rows (mean, low, high, seeds, missing, published).
    """
    return _beside("table_3", frame)


def transformation_forms(frame: pd.DataFrame | None = None):
    """Conditional DETR, Figure 5: the form of T, ours beside the published bars; as `spatial_query_forms`."""
    return _beside("figure_5", frame)


def components(frame: pd.DataFrame | None = None):
    """Conditional DETR, Table 4: offset regression (OR), focal loss (FL), conditional spatial query (CSQ).

    As `spatial_query_forms`.
    """
    return _beside("table_4", frame)


def reference_points(frame: pd.DataFrame | None = None):
    """Conditional DETR, section 4.3: where the reference point comes from; as `spatial_query_forms`."""
    return _beside("reference_point", frame)
