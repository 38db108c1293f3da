"""The demonstration's tables: what was asked and answered, as people read it.

What must not be here: what is asked, and how it is measured (``story``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_cache.demo.story import Answer, Comparison, Step


def story_table(steps: Sequence[Step], answers: Sequence[Answer]) -> Table:
    """The story: two lines a request."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=False)
    table.add_column("request", overflow="fold")
    table.add_column("code", no_wrap=True)
    table.add_column("decision", no_wrap=True)
    table.add_column("reason")
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for step, answer in zip(steps, answers, strict=True):
        style = "green" if answer.decision == "hit" else "yellow"
        table.add_row(
            f"[bold]{step.method} {step.path}[/]\n  [dim]{step.why}[/]",
            str(answer.status),
            f"[{style}]{answer.decision}[/]",
            answer.reason,
            answer.age,
            in_milliseconds(answer.seconds),
        )
    return table


def comparison_table(compared: Comparison, title: str) -> Table:
    """The comparison, each line with what was measured; *title* says of what."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(title)
    for name in ("cached", "uncached", "ratio"):
        table.add_column(name, justify="right")
    for name, cached, uncached in (
        ("as the client sees it", compared.cached, compared.uncached),
        ("in the server (X-Response-Time)", compared.server_cached, compared.server_uncached),
    ):
        ratio = f"{uncached / cached:.0f}x" if cached else "-"
        times = in_milliseconds(cached), in_milliseconds(uncached)
        table.add_row(name, *times, f"[bold]{ratio}[/]")
    return table


def in_milliseconds(seconds: float) -> str:
    """*seconds* with the digits that mean something."""
    return f"{seconds * 1e3:.{2 if seconds < 0.01 else 1}f} ms"
