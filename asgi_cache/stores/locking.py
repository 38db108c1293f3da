"""A lock between the threads of one process, which a forked child does not inherit as held."""

from __future__ import annotations

import os
import threading


class ProcessLock:
    """To be held for a few instructions, by ``with``; never across an await."""

    __slots__ = ("_lock", "_pid")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def __enter__(self) -> None:
        if self._pid != os.getpid():  # another thread of the parent may have held it
            self._pid, self._lock = os.getpid(), threading.Lock()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
