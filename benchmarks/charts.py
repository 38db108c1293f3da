"""The pictures beside the JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS: Final = {"uncached": "#9aa0a6", "memory": "#1a73e8", "redis": "#d93025"}
TIMES: Final = "\N{MULTIPLICATION SIGN}"
_WITHOUT, _WITH = "#9aa0a6", "#188038"


def throughput_chart(folder: Path, content: dict[str, Any], conditions: str) -> Path:
    """Requests a second and p99 of each endpoint, uncached, in memory and on Redis."""
    rows = content["rows"]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(14, 1.6 + 0.85 * len(rows)), sharey=True, width_ratios=(3, 2)
    )
    height = 0.27
    for index, (variant, color) in enumerate(COLORS.items()):
        positions = [place + (index - 1) * height for place in range(len(rows))]
        for axes, measure in ((left, "per_second"), (right, "p99_ms")):
            _bars(axes, positions, [row[variant][measure] for row in rows], height, color, variant)
        for position, row in zip(positions, rows, strict=True):
            got = row[variant]
            text = f"{got['per_second']['median']:,.0f}"
            if "times" in got:
                text += f"  ({got['times']['median']:.1f}{TIMES})"
            if row["name"] == "mixed" and variant != "uncached":
                text += f"  {got['hit_ratio']['least']:.0%}-{got['hit_ratio']['greatest']:.0%} hits"
            _label(left, got["per_second"]["greatest"], position, text)
            _label(right, got["p99_ms"]["greatest"], position, f"{got['p99_ms']['median']:,.1f}")
    left.set_yticks(range(len(rows)), [row["name"] for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    _axis(
        left,
        _of(rows, COLORS, "per_second"),
        f"requests a second ({TIMES} uncached), log scale",
        12,
    )
    _axis(right, _of(rows, COLORS, "p99_ms"), "p99 in ms, log scale", 3)
    left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return _save(
        figure,
        folder,
        "throughput",
        "A catalogue without a cache, and behind asgi_cache",
        conditions,
    )


def techniques_chart(folder: Path, content: dict[str, Any], conditions: str) -> Path:
    """Requests a second without and with each technique."""
    rows = content["rows"]
    sides = {"without": _WITHOUT, "with": _WITH}
    figure, axes = plt.subplots(figsize=(13, 1.9 + 0.95 * len(rows)))
    height = 0.36
    for index, (side, color) in enumerate(sides.items()):
        positions = [place + (index - 0.5) * height for place in range(len(rows))]
        values = [row[side]["per_second"] for row in rows]
        _bars(axes, positions, values, height, color, f"{side} the technique")
        for position, row in zip(positions, rows, strict=True):
            text = f"{row[side]['per_second']['median']:,.0f}  {row[side]['name']}"
            if side == "with":
                text = f"{row['times']['median']:.2f}{TIMES}  {text}"
            _label(axes, row[side]["per_second"]["greatest"], position, text)
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    title = "requests a second (times without), log scale"
    _axis(axes, _of(rows, sides, "per_second"), title, 12)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return _save(
        figure, folder, "techniques", "What each classic step buys on the catalogue", conditions
    )


def peers_chart(folder: Path, content: dict[str, Any], conditions: str) -> Path:
    """Requests a second and p99 of the bare app, of asgi_cache and of others."""
    rows = content["rows"]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(14, 1.6 + 0.42 * len(rows)), sharey=True, width_ratios=(3, 2)
    )
    labels = {"asgi_cache": True, "others": False}
    for label, ours in labels.items():
        places = [place for place, row in enumerate(rows) if row["ours"] is ours]
        for axes, measure in ((left, "per_second"), (right, "p99_ms")):
            spreads = [rows[place][measure] for place in places]
            _bars(
                axes, [float(p) for p in places], spreads, 0.8, _WITH if ours else _WITHOUT, label
            )
    for place, row in enumerate(rows):
        text = f"{row['per_second']['median']:,.0f}  ({row['share']['median']:.2f} of the bare app)"
        _label(left, row["per_second"]["greatest"], place, text)
        _label(right, row["p99_ms"]["greatest"], place, f"{row['p99_ms']['median']:,.2f}")
    left.set_yticks(range(len(rows)), [row["name"] for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    _axis(left, [row["per_second"] for row in rows], "requests a second, log scale", 8)
    _axis(right, [row["p99_ms"] for row in rows], "p99 in ms, log scale", 3)
    left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    title = f"asgi_cache beside others: {content['cell']['words']}"
    return _save(figure, folder, "peers", title, conditions)


def hit_chart(folder: Path, content: dict[str, Any], conditions: str) -> Path:
    """Microseconds of each kind of hit."""
    rows = content["rows"]
    figure, axes = plt.subplots(figsize=(13, 1.6 + 0.36 * len(rows)))
    colors = {"none": _WITHOUT, "memory": COLORS["memory"], "near": _WITH, "redis": COLORS["redis"]}
    for store, color in colors.items():
        places = [place for place, row in enumerate(rows) if row["store"] == store]
        label = "no cache" if store == "none" else store
        _bars(axes, [float(p) for p in places], [rows[p]["us"] for p in places], 0.8, color, label)
    for place, row in enumerate(rows):
        calls = f"{row['python_calls'] + row['c_calls']:,.0f} calls"
        _label(axes, row["us"]["greatest"], place, f"{row['us']['median']:,.1f}  ({calls})")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    _axis(axes, [row["us"] for row in rows], "microseconds, log scale", 4)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
    return _save(figure, folder, "hit", "What a hit costs, in the app's process", conditions)


def growth_chart(folder: Path, content: dict[str, Any], conditions: str) -> Path:
    """Microseconds of each cost, over the number of stored responses."""
    titles = {
        "hit": "a hit",
        "store": "a stored miss",
        "purge_group": "purge of a group",
        "purge_all": "purge of everything",
    }
    figure, plots = plt.subplots(1, len(titles), figsize=(14, 4.2), sharey=True)
    colors = {"memory": COLORS["memory"], "near": _WITH, "redis": COLORS["redis"]}
    for axes, (cost, title) in zip(plots, titles.items(), strict=True):
        for row in content["rows"]:
            counts = [cell["count"] for cell in row["cells"]]
            medians = [cell[cost]["median"] for cell in row["cells"]]
            axes.plot(counts, medians, "o-", color=colors[row["store"]], label=row["store"])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("stored responses")
        axes.grid(color="#e8eaed")
        axes.spines[["top", "right"]].set_visible(False)
    plots[0].set_ylabel("microseconds")
    plots[0].legend(frameon=False)
    return _save(figure, folder, "growth", "Costs by the number of stored responses", conditions)


def _bars(
    axes: Axes,
    positions: list[float],
    spreads: list[dict[str, float]],
    height: float,
    color: str,
    label: str,
) -> None:
    medians = [spread["median"] for spread in spreads]
    errors = [
        [spread["median"] - spread["least"] for spread in spreads],
        [spread["greatest"] - spread["median"] for spread in spreads],
    ]
    axes.barh(
        positions,
        medians,
        height * 0.92,
        color=color,
        label=label,
        xerr=errors,
        error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#3c4043"},
    )


def _label(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(
        text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5
    )


def _of(rows: list[dict[str, Any]], sides: dict[str, str], name: str) -> list[dict[str, float]]:
    return [row[side][name] for row in rows for side in sides]


def _axis(axes: Axes, values: list[dict[str, float]], title: str, room: float) -> None:
    """A logarithmic axis with *room* (a factor) for labels to the right of the bars."""
    axes.set_xscale("log")
    axes.set_xlim(
        min(value["least"] for value in values) / 2,
        max(value["greatest"] for value in values) * room,
    )
    axes.set_xlabel(title)
    axes.grid(axis="x", which="major", color="#e8eaed")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, folder: Path, name: str, title: str, conditions: str) -> Path:
    # In inches from the top, so that it looks the same whatever the number of rows.
    top = figure.get_figheight()
    figure.text(0.01, 1 - 0.15 / top, title, va="top", fontsize=14, fontweight="bold")
    figure.text(0.01, 1 - 0.48 / top, conditions, va="top", fontsize=9, color="#5f6368")
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.6 / top))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
