"""What is held near of a far store, and what keeps it right: nothing put after a push of it.

Values and pushes travel on different connections. A value that was read before a change may come
after the push that told of it; so whoever reads notes the moment it began (:meth:`Cells.began`),
and the value is put only where nothing that was pushed since names its place. Places that have
been pushed lately are remembered for that; who began before what is remembered puts nothing.

A push names a place (what the far store calls it); a look-up names a cell. The way from one to the
other is an index of hashes: where two places share one, too much is forgotten, never too little.

What must not be here: connections, clocks, and how long what is held may be trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_cache.stores.locking import ProcessLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asgi_cache.model import Record, Stamp
    from asgi_cache.stores.capabilities import Cell, Holder, Watched

MOST_REMEMBERED: Final = 8192
"""Places pushed lately, twice: at some thousand changes a second, longer than a read may take."""
INDEX_BYTES: Final = 160
"""What the index costs for each cell: a hash, a share of a dict just after it has grown."""
NEVER: Final = -1
"""Said of a read whose values cannot be put."""


class Cells:
    """The cells of one near tier, for all threads; closed at first."""

    __slots__ = (
        *("_floor", "_from", "_holder", "_index", "_is_open", "_lock", "_moment"),
        *("_older", "_recent", "_watched", "get"),
    )

    def __init__(self, holder: Holder, watched: Watched) -> None:
        self.get: Callable[[Any], Any] = holder.get
        """What a cell holds, or ``None``; to be believed only while the channel is alive."""
        self._holder = holder
        self._watched = watched
        self._index: dict[int, Cell] = {}
        self._lock = ProcessLock()
        self._is_open = False
        self._moment = 0
        """How much has been pushed or lost so far."""
        self._floor = 0
        """Who began before this moment puts nothing."""
        self._recent: dict[int, int] = {}
        """The moment of its last push, by the hash of a place, since the moment :attr:`_from`."""
        self._older: dict[int, int] = {}
        self._from = 0

    def began(self) -> int:
        """The moment a read begins: to be asked for before it is sent."""
        return self._moment if self._is_open else NEVER

    def put(self, began: int, values: Iterable[tuple[Cell, Record | Stamp]]) -> None:
        """Hold what a read gave that *began* then, as far as it may still be so."""
        if began < self._floor:
            return
        marked = [(self._mark(cell), cell, value) for cell, value in values]
        with self._lock:
            if began < self._floor:
                return
            for mark, cell, value in marked:
                last = self._recent.get(mark) or self._older.get(mark, NEVER)
                if last > began:
                    continue
                if type(cell) is bytes and _is_same(self.get(cell), value):
                    continue
                self._forget(mark)  # also where another cell's place has the same hash
                gone = self._holder.hold(cell, value)
                if gone is not None:
                    self._index[mark] = cell
                    for other in gone:
                        self._index.pop(self._mark(other), None)

    def pushed(self, places: Iterable[bytes]) -> None:
        """Something else lies at these *places* now, or nothing."""
        self._change([hash(place) for place in places])

    def kill(self, cells: Iterable[Cell]) -> None:
        """As :meth:`pushed`: what this process has changed itself is as good as pushed."""
        self._change([self._mark(cell) for cell in cells])

    def clear(self) -> None:
        """Anything may have changed, up to now."""
        with self._lock:
            self._lose()

    def open(self) -> None:
        """From now on every change is pushed."""
        with self._lock:
            self._lose()
            self._is_open = True

    def close(self) -> None:
        """From now on nothing is known of changes."""
        with self._lock:
            self._is_open = False
            self._lose()

    def _change(self, marks: list[int]) -> None:
        with self._lock:
            self._moment += 1
            for mark in marks:
                self._forget(mark)
                self._recent[mark] = self._moment
            if len(self._recent) > MOST_REMEMBERED:
                self._floor = max(self._floor, self._from)
                self._older, self._recent, self._from = self._recent, {}, self._moment

    def _forget(self, mark: int) -> None:
        cell = self._index.pop(mark, None)
        if cell is not None:
            self._holder.forget(cell)

    def _lose(self) -> None:
        self._moment += 1
        self._floor = self._from = self._moment
        self._recent, self._older, self._index = {}, {}, {}
        self._holder.clear()

    def _mark(self, cell: Cell) -> int:
        if isinstance(cell, bytes):
            return hash(self._watched.stamp_place(cell))
        return hash(self._watched.record_place(*cell))


def _is_same(held: Any, stamp: Any) -> bool:
    """Whether *held* is *stamp* in the same bytes: one that many responses share is read often."""
    return held == stamp and held[0] is stamp[0]
