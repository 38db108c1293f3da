"""Rows of medians with spread, the goals, and the table on the terminal."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.peers.goals import judge
from benchmarks.peers.targets import BARE
from benchmarks.report import Spread, in_words, ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.rounds import Round
    from benchmarks.peers.targets import Cell, Target
    from benchmarks.placement import Placement

MEASURES = ("per_second", "p50_ms", "p99_ms")


def summarize(
    cell: Cell,
    targets: Sequence[Target],
    taken: Sequence[Round],
    counted: Sequence[Round],
    placement: Placement | None,
) -> dict[str, Any]:
    """One cell: what was *taken*, and the figures of the rounds that *counted*."""
    figures = {
        target.name: {
            measure: [getattr(one.measured[target.name].sample, measure) for one in counted]
            for measure in MEASURES
        }
        for target in targets
    }
    rows = []
    for target in targets:
        of_target = figures[target.name]
        rounds = [one.measured[target.name] for one in counted]
        requests = sum(one.sample.requests for one in rounds)
        row: dict[str, Any] = {
            "name": target.name,
            "what": target.what,
            "ours": target.ours,
        }
        row |= {measure: asdict(Spread.of(of_target[measure])) for measure in MEASURES}
        row["share"] = asdict(ratios(of_target["per_second"], figures[BARE]["per_second"]))
        row["p99_share"] = asdict(ratios(of_target["p99_ms"], figures[BARE]["p99_ms"]))
        cpu = [one.cpu_us for one in rounds]
        row["cpu_us"] = asdict(Spread.of(cpu))
        of_bare = [one.measured[BARE].cpu_us for one in counted]
        row["cpu_share"] = asdict(ratios(of_bare, cpu)) if all(cpu) else None
        row["requests"] = requests
        row["app_calls"] = sum(one.app_calls for one in rounds)
        row["redis_commands_a_request"] = sum(one.redis_commands for one in rounds) / requests
        row["rounds"] = [asdict(one) for one in rounds]
        rows.append(row)
    return {
        "cell": asdict(cell) | {"words": cell.in_words()},
        "pinned": placement.in_words() if placement else "not: this system cannot",
        "taken": [
            {"reason": one.reason, "disturbance": one.disturbance and asdict(one.disturbance)}
            for one in taken
        ],
        "disturbed_that_count": sum(bool(one.reason) for one in counted),
        "rows": rows,
        "goals": judge(figures),
    }


def show(content: dict[str, Any]) -> None:
    """The tables, and which goals were reached."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 150)
    for cell in (content, *content["cells"]):
        console.print(_table(cell, in_words(content)))
        if cell["disturbed_that_count"]:
            console.print(
                f"{cell['disturbed_that_count']} of these rounds were disturbed: "
                + "; ".join(one["reason"] for one in cell["taken"] if one["reason"])
            )
    for name, why in content["missing"].items():
        console.print(f"not measured: {name}: {why}", highlight=False)
    for goal in content["goals"]:
        reached = "reached" if goal["reached"] else "NOT REACHED"
        console.print(f"{goal['text']}: {goal['figure']:.2f}, {reached}", highlight=False)


def _table(cell: dict[str, Any], conditions: str) -> Any:
    from rich.table import Table

    title = f"Beside others: {cell['cell']['words']}\n{conditions}"
    table = Table(title=title, title_justify="left")
    table.add_column("target")
    for column in ("requests/s", "of bare", "p50 ms", "p99 ms", "p99 of bare", "CPU us", "by CPU"):
        table.add_column(column, justify="right")
    table.add_column("a request: app calls,\nRedis commands", justify="right")
    for row in cell["rows"]:
        table.add_row(
            row["name"],
            f"{Spread(**row['per_second']):,.0f}",
            f"{Spread(**row['share']):.2f}",
            f"{row['p50_ms']['median']:.2f}",
            f"{row['p99_ms']['median']:.2f}",
            f"{Spread(**row['p99_share']):.1f}",
            f"{row['cpu_us']['median']:.0f}",
            f"{row['cpu_share']['median']:.2f}" if row["cpu_share"] else "?",
            f"{row['app_calls'] / row['requests']:.3f}, {row['redis_commands_a_request']:.2f}",
        )
    return table
