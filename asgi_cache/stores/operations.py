"""The operations of a store, each handed to one method of whoever stands in front of it.

What must not be here: what is done about a store that does not answer (``guarded``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from asgi_cache.model import Record, Stamp
    from asgi_cache.stores.base import Store

_T = TypeVar("_T")


class Budget:
    """How many seconds one request may still spend on waiting for its store."""

    __slots__ = ("remaining",)

    def __init__(self, seconds: float) -> None:
        self.remaining = seconds


class Operations:
    """The operations of *store*, each handed to :meth:`_run`."""

    store: Store
    now: Callable[[], float]

    @property
    def corrupt_records(self) -> int:
        """As the store's; 0 for one that does not count them."""
        return getattr(self.store, "corrupt_records", 0)

    async def _run(
        self, operation: str, method: Callable[..., Awaitable[_T]], *arguments: Any
    ) -> _T:
        raise NotImplementedError

    async def read(
        self, target: bytes, key: bytes, slots: Sequence[int], stamps: Sequence[bytes]
    ) -> tuple[Sequence[Record | None], Sequence[Stamp | None]]:
        """As the store's, in time."""
        return await self._run("read", self.store.read, target, key, slots, stamps)

    async def write(
        self,
        target: bytes,
        key: bytes,
        records: Mapping[int, Record],
        stamps: Sequence[bytes],
    ) -> None:
        """As the store's, in time."""
        await self._run("write", self.store.write, target, key, records, stamps)

    async def remove(self, target: bytes, key: bytes, slot: int) -> None:
        """As the store's, in time."""
        await self._run("remove", self.store.remove, target, key, slot)

    async def settle(self, names: Sequence[bytes], life: float) -> Sequence[Stamp]:
        """As the store's, in time."""
        return await self._run("settle", self.store.settle, names, life)

    async def replace(
        self, names: Sequence[bytes], soft_names: Sequence[bytes], life: float
    ) -> None:
        """As the store's, in time."""
        await self._run("replace", self.store.replace, names, soft_names, life)

    async def aclose(self) -> None:
        """As the store's, in time."""
        await self._run("aclose", self.store.aclose)
