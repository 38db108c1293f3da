"""One site of a cell, as a test talks to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from .apps import bodies
from .client import Call, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .apps.bodies import Told
    from .cells import Cell

    Fields = Iterable[tuple[str, str]]


_runs: Iterator[int] = count()


@dataclass(frozen=True)
class Site:
    """A host of a cell's workers. *id* stands in every URL, so that no test meets another's."""

    cell: Cell
    ports: list[int]
    id: str
    label: str = "plain"
    worker: int = 0

    def at(self, label: str) -> Site:
        """The site that is put together in another way."""
        return replace(self, label=label)

    @property
    def other_worker(self) -> Site:
        """The same site in the second process."""
        return replace(self, worker=1)

    @property
    def host(self) -> str:
        return f"{self.label}.example"

    def target(self, path: str, **query: object) -> str:
        return f"{path}?{urlencode({'id': self.id, **query})}"

    def call(
        self, method: str, path: str, fields: Fields = (), *, run: object = None, **query: object
    ) -> Call:
        """Begin a request; *run*: a name to watch it by (see :meth:`ended`)."""
        lines = [*fields, *([] if run is None else [("X-Run", f"{self.id}{run}")])]
        target = self.target(path, **query)
        return Call(self.ports[self.worker], method, target, self.host, lines)

    def ask(self, method: str, path: str, fields: Fields = (), **query: object) -> Response:
        """A request and its whole response; the app and the store are done with it."""
        run = next(_runs)
        with self.call(method, path, fields, run=run, **query) as call:
            response = call.whole()
            self.ended(run)
        return response

    def get(self, path: str, *fields: tuple[str, str], **query: object) -> Response:
        return self.ask("GET", path, fields, **query)

    def get_at_once(self, path: str, *fields: tuple[str, str], **query: object) -> Response:
        """A GET whose response is here, whatever the app and the store still do."""
        with self.call("GET", path, fields, **query) as call:
            return call.whole()

    def told(self, path: str, *fields: tuple[str, str], **query: object) -> tuple[Response, Told]:
        """A GET whose body describes itself, and what that says."""
        response = self.get(path, *fields, **query)
        assert response.status == 200
        return response, bodies.read(response.body)

    def purge(self, url: str, path: str = "/purge") -> None:
        """Let a handler purge *url*."""
        assert self.ask("POST", path, url=url).status == 204

    # ------------------------------------------------------------------ the control

    def calls(self) -> int:
        """How often this test's URLs have reached the app, in this worker."""
        told: int = self._control("/calls", self.id)
        return told

    def stores(self) -> int:
        """How many responses this worker's plain site has stored."""
        told: int = self._control("/stores", "")
        return told

    def reached(self, gate: str = "") -> None:
        """Wait until the app stands at a gate of this test."""
        self._control("/reached", self.id + gate)

    def open(self, gate: str = "") -> None:
        """Let the app go on."""
        self._control("/open", self.id + gate)

    def gone(self, run: object) -> None:
        """Wait until the server knows that a strictly watched request's client has gone."""
        self._control("/gone", f"{self.id}{run}")

    def ended(self, run: object) -> dict[str, Any]:
        """Wait until a watched request is over, on the server's side of the cache."""
        told: dict[str, Any] = self._control("/ended", f"{self.id}{run}")
        return told

    def _control(self, path: str, name: str) -> Any:
        target = f"{path}?name={quote(name)}"
        with Call(self.ports[self.worker], "GET", target, "control") as call:
            response = call.whole()
        assert response.status == 200, f"{self.cell}: {target}"
        return json.loads(response.body)
