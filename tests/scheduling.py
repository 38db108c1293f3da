"""Which tests stay together when several processes run them (``-n``, pytest-xdist)."""

from __future__ import annotations

from typing import Final

from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.integration.cells import ALL

_CELLS: Final = tuple(map(str, ALL))


class ScopeScheduling(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """A file's tests stay together, those of tests/integration by the servers of their cell."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if not file.startswith("tests/integration/"):
            return file
        parameters = test.partition("[")[2]
        return next((cell for cell in _CELLS if parameters.startswith(cell)), file)
