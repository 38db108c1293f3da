"""How long something took on a machine that others use as well.

A virtual machine whose cores do somebody else's work is late whatever a test does. The kernel
counts that time (``steal`` in ``/proc/stat``, proc(5)), to 10 ms; where nobody takes any, or nobody
counts it, what is measured here is the clock's time.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/stat")
_STEAL: Final = 8  # "cpu", user, nice, system, idle, iowait, irq, softirq, steal


def stolen() -> list[float]:
    """Seconds that somebody else had each core while this machine had work for it."""
    try:
        lines = [line.split() for line in _STAT.read_text().splitlines()]
        ticks = [int(line[_STEAL]) for line in lines if re.fullmatch(r"cpu\d+", line[0])]
    except (OSError, IndexError, ValueError):
        return []
    return [count / os.sysconf("SC_CLK_TCK") for count in ticks]


class Stopwatch:
    """Runs from its making on, and stands still where the machine is somebody else's."""

    def __init__(self) -> None:
        self._stolen = stolen()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """So far, without what was stolen of the core that lost most: never more than passed."""
        elapsed = time.monotonic() - self._began
        lost = [now - before for now, before in zip(stolen(), self._stolen, strict=False)]
        return max(0.0, elapsed - max(lost, default=0.0))
