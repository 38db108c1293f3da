"""How many bytes the fills in flight of one process hold together.

What must not be here: what follows where they are too many.
"""

from __future__ import annotations

import os


class FillBytes:
    """A number, and the process that it is of."""

    __slots__ = ("_pid", "held")

    def __init__(self) -> None:
        self.held = 0
        self._pid = os.getpid()

    def here(self) -> FillBytes:
        """This one, or in a forked child a new one: the parent's fills end in the parent."""
        return self if self._pid == os.getpid() else FillBytes()
