"""A Redis of a test's own, to be flushed and filled up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of this test's own."""
    with RedisServer() as server:
        yield server
