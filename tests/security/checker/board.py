"""What the processes of one run know of each other: numbers in memory that they share.

Each worker writes in a row of its own, so that none loses another's; whoever reads takes the
greatest of all rows. All instants are of :func:`~tests.security.checker.bodies.instant`.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Final

from tests.security.checker.pages import all_calls, all_scopes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.security.checker.pages import CallKey, Scope

_SCOPES: Final = {scope: index for index, scope in enumerate(all_scopes())}
_CALLS: Final = {key: index for index, key in enumerate(all_calls())}
_COUNTS: Final = ("judged", "wrong", "serial")
_TABLES: Final = ("changed", "purged", "softened", "known purged", "known softened")
"""What is ``known`` holds for every worker: the lease of a near tier has ended since."""
_HEADER: Final = 2
_CALLS_AT: Final = len(_COUNTS) + len(_TABLES) * len(_SCOPES)
_ROW: Final = _CALLS_AT + len(_CALLS)


class Board:
    """The numbers in *file*, which :meth:`make` has made for *workers*."""

    def __init__(self, file: Path, workers: int) -> None:
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 0)
        self._numbers = memoryview(self._map).cast("q")
        self.workers = workers
        self._rows = [_HEADER + _ROW * worker for worker in range(workers)]

    @staticmethod
    def make(file: Path, workers: int) -> Board:
        """A new board, all zero."""
        file.write_bytes(bytes(8 * (_HEADER + _ROW * workers)))
        return Board(file, workers)

    def close(self) -> None:
        """Let go of the file."""
        self._numbers.release()
        self._map.close()

    @property
    def stopped(self) -> bool:
        """Whether everybody is to end."""
        return bool(self._numbers[0])

    def stop(self) -> None:
        """Have everybody end."""
        self._numbers[0] = 1

    @property
    def fault(self) -> int:
        """The number of the fault that is on; 0: none."""
        return self._numbers[1]

    @fault.setter
    def fault(self, number: int) -> None:
        self._numbers[1] = number

    def count(self, worker: int, name: str, by: int = 1) -> int:
        """Add to one of *worker*'s counts; what it is then."""
        place = self._rows[worker] + _COUNTS.index(name)
        self._numbers[place] += by
        return self._numbers[place]

    def count_of(self, worker: int, name: str) -> int:
        """One of *worker*'s counts."""
        return self._numbers[self._rows[worker] + _COUNTS.index(name)]

    def total(self, name: str) -> int:
        """One count of all workers together."""
        place = _COUNTS.index(name)
        return sum(self._numbers[row + place] for row in self._rows)

    def call(self, worker: int, key: CallKey, by: int) -> int:
        """One call for *key* more or less in *worker*; how many all workers have under way then.

        0 where *key* is nothing that anybody waits for.
        """
        index = _CALLS.get(key)
        if index is None:
            return 0
        place = _CALLS_AT + index
        numbers = self._numbers
        numbers[self._rows[worker] + place] += by
        return sum(numbers[row + place] for row in self._rows)

    def note(self, worker: int, table: str, scopes: Iterable[Scope], at: int) -> None:
        """*scopes* were ``changed``, or are ``purged`` or ``softened`` by now, since *at*."""
        start = self._rows[worker] + self._offset(table)
        for scope in scopes:
            place = start + _SCOPES[scope]
            self._numbers[place] = max(self._numbers[place], at)

    def latest(self, table: str, scopes: Iterable[Scope]) -> int:
        """When any of *scopes* was last noted in *table*, by any worker."""
        offset = self._offset(table)
        numbers = self._numbers
        return max(
            numbers[row + offset + place]
            for place in [_SCOPES[scope] for scope in scopes]
            for row in self._rows
        )

    def latest_for(self, worker: int, table: str, scopes: Iterable[Scope]) -> int:
        """As :meth:`latest`, as far as *worker* has to know: at once only what it did itself."""
        start = self._rows[worker] + self._offset(table)
        scopes = list(scopes)
        own = max(self._numbers[start + _SCOPES[scope]] for scope in scopes)
        return max(own, self.latest(f"known {table}", scopes))

    @staticmethod
    def _offset(table: str) -> int:
        return len(_COUNTS) + _TABLES.index(table) * len(_SCOPES)
