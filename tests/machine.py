"""How long something took on a machine that others use as well.

A virtual machine whose cores do somebody else's work is late whatever a test does. The kernel
counts that time (``steal`` in ``/proc/stat``, proc(5)), to 10 ms; where nobody takes any, or nobody
counts it, what is measured here is the clock's time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/stat")
_STEAL: Final = 8  # "cpu", user, nice, system, idle, iowait, irq, softirq, steal


def stolen() -> float:
    """Seconds, over all cores, that somebody else had while this machine had work for them."""
    try:
        with _STAT.open() as stat:
            return int(stat.readline().split()[_STEAL]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


class Stopwatch:
    """Runs from its making on, and stands still where the machine is somebody else's."""

    def __init__(self) -> None:
        self._stolen = stolen()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """So far, without what was stolen."""
        elapsed = time.monotonic() - self._began
        return max(0.0, elapsed - (stolen() - self._stolen))
