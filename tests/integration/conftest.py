"""Cells as parameters, and the site under test as a fixture.

``pytest tests/integration --cells all`` runs the whole matrix; without it, what CI runs.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.integration.cells import ALL, Cell, chosen
from tests.integration.site import Site
from tests.integration.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cells", default="ci", help="ci, all, or a pattern such as 'quart-*'")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(feature): only in cells that have it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        needs = [mark.args[0] for mark in metafunc.definition.iter_markers("needs")]
        wish = metafunc.config.getoption("--cells", default="ci")
        cells = [cell for cell in chosen(wish) if all(map(cell.has, needs))]
        metafunc.parametrize("cell", cells, ids=str)


def cell_of(item: pytest.Item) -> object:
    """The cell that a test is for; ``None`` where it is for none."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("cell")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Cell by cell, so that only few servers run at a time."""
    # A test that no chosen cell can be asked gets an empty parameter from pytest.
    empty = [item for item in items if not isinstance(cell_of(item), Cell | None)]
    config.hook.pytest_deselected(items=empty)
    places: dict[object, int] = {cell: place for place, cell in enumerate([None, *ALL])}
    items[:] = sorted(
        (item for item in items if item not in empty), key=lambda item: places[cell_of(item)]
    )


@pytest.fixture(scope="session")
def workers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    named = dict.fromkeys(map(cell_of, request.session.items))
    cells = [cell for cell in named if isinstance(cell, Cell)]
    stores = {"memory": "memory://"}
    if any(cell.store == "redis" for cell in cells):
        stores["redis"] = request.getfixturevalue("redis_url")
    with Workers(tmp_path_factory.mktemp("integration"), cells, stores) as running:
        yield running


@pytest.fixture
def site(cell: Cell, workers: Workers) -> Site:
    """The plain site of a cell; every test's URLs are its own."""
    return Site(cell, [worker.port for worker in workers.of(cell)], uuid.uuid4().hex)
