"""Whether another process took time away while something was measured, as /proc/stat tells."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

STEAL_ALLOWED: Final = 0.03
"""Of the time of the cores: what the machine below gave to others."""
FOREIGN_ALLOWED: Final = 0.08
"""Of the time of the cores: what processes had that are not ours."""
RATE_ALLOWED: Final = 0.9
"""Of the median of the bare app's throughput."""
_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Disturbance:
    """Shares of the cores' time between two looks."""

    steal: float
    foreign: float


@dataclass(frozen=True)
class Look:
    """Seconds of processor time so far, over all cores."""

    at: float
    cores: int
    busy: float
    steal: float
    own: float

    @classmethod
    def now(cls, proc: Path = _PROC) -> Self | None:
        """``None`` where there is no /proc."""
        try:
            lines = (proc / "stat").read_text().splitlines()
        except OSError:
            return None
        cores = sum(line.startswith("cpu") for line in lines) - 1
        user, nice, system, _, _, _, _, steal, *_ = map(int, lines[0].split()[1:])
        busy = (user + nice + system) / _TICKS
        return cls(time.monotonic(), cores, busy, steal / _TICKS, used_by(os.getpid(), proc))

    def since(self, earlier: Look) -> Disturbance:
        """What happened between *earlier* and this look."""
        available = max(self.at - earlier.at, 1e-9) * self.cores
        foreign = (self.busy - earlier.busy) - (self.own - earlier.own)
        steal = (self.steal - earlier.steal) / available
        return Disturbance(round(steal, 4), round(max(0.0, foreign) / available, 4))


def used_by(root: int, proc: Path = _PROC) -> float:
    """Seconds of processor time of *root* and what it started, ended children included.

    0 where there is no /proc.
    """
    if not proc.exists():
        return 0.0
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name, in parentheses, may hold spaces.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        ticks[pid] = sum(map(int, fields[11:15]))  # utime, stime, and those of ended children
    ours = {root}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(ticks.get(pid, 0) for pid in ours) / _TICKS


def disturbed(rates: Sequence[float], seen: Sequence[Disturbance | None]) -> list[str]:
    """For each round why it does not count, or an empty text.

    *rates*: the bare app's throughput in each. One that is slower than the others had less of the
    machine, whatever /proc says.
    """
    usual = statistics.median(rates)
    reasons = []
    for rate, disturbance in zip(rates, seen, strict=True):
        said = []
        if rate < RATE_ALLOWED * usual:
            said.append(f"the bare app had {rate / usual:.0%} of its median throughput")
        if disturbance is not None and disturbance.steal > STEAL_ALLOWED:
            said.append(f"{disturbance.steal:.0%} of the time was stolen")
        if disturbance is not None and disturbance.foreign > FOREIGN_ALLOWED:
            said.append(f"other processes had {disturbance.foreign:.0%} of the time")
        reasons.append("; ".join(said))
    return reasons
