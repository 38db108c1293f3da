"""What asgi_cache promises beside others, and whether a run kept it."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.peers.targets import BARE, TARGETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Goal:
    """*one* is to have *limit* times what *other* has of *measure*, at least or at most."""

    one: str
    other: str
    limit: float
    measure: str = "per_second"
    above: bool = False
    """More than *limit*, not just as much."""

    @property
    def text(self) -> str:
        """What is promised."""
        if self.measure == "p99_ms":
            return f"{self.one}: p99 at most {self.limit:g} x that of {self.other}"
        how = "more than" if self.above else "at least"
        return f"{self.one}: {how} {self.limit:g} x {self.other}"

    def met_by(self, figure: float) -> bool:
        """Whether *figure* keeps the promise."""
        if self.measure == "p99_ms":
            return figure <= self.limit
        return figure > self.limit if self.above else figure >= self.limit


def _against_peers() -> list[Goal]:
    limits = {"memory": 2.0, "redis": 4.0}
    found = []
    for target in TARGETS:
        if target.peer and target.peer != "litestar":
            ours = "redis" if target.asks_redis else "memory"
            found.append(Goal(ours, target.name, limits[ours], above=True))
    return found


GOALS: Final = (
    Goal("memory", BARE, 0.82),
    Goal("near", BARE, 0.78),
    Goal("redis", BARE, 0.60),
    Goal("redis", "plain GET", 1.7),
    Goal("pass-through", BARE, 0.93),
    Goal("stored miss", BARE, 0.3),
    Goal("memory", BARE, 1.5, "p99_ms"),
    Goal("near", BARE, 1.5, "p99_ms"),
    Goal("redis", BARE, 2.5, "p99_ms"),
    Goal("memory", "litestar memory", 1.7),
    Goal("redis", "litestar redis", 2.0),
    *_against_peers(),
)


def judge(figures: Mapping[str, Mapping[str, Sequence[float]]]) -> list[dict[str, Any]]:
    """Each goal whose targets were measured, with the median ratio and whether it was reached.

    *figures*: by the name of the target, for each measure its rounds; ratios are taken round by
    round, as rounds are neighbours in time.
    """
    judged = []
    for goal in GOALS:
        if goal.one not in figures or goal.other not in figures:
            continue
        pairs = zip(figures[goal.one][goal.measure], figures[goal.other][goal.measure], strict=True)
        figure = statistics.median(one / other for one, other in pairs)
        judged.append(
            {**asdict(goal), "text": goal.text, "figure": figure, "reached": goal.met_by(figure)}
        )
    return judged
