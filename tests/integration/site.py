"""One site of a cell, as a test talks to it."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from .apps import bodies
from .client import TIMEOUT_SECONDS, Call, Response

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

    def purge(self, url: str, path: str = "/purge", *, soft: bool = False) -> None:
        """Let a handler purge *url*; *soft*: it is stale at once."""
        query: dict[str, object] = {"url": url, **({"soft": "1"} if soft else {})}
        assert self.ask("POST", path, (), **query).status == 204

    @contextlib.contextmanager
    def storing(self) -> Iterator[None]:
        """Go on when something more is in this worker's store: apps may end before it is."""
        assert self.label == "plain"
        before = self.stores()
        yield
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.stores() == before:
            assert time.monotonic() < deadline, "nothing was stored"

    def filled(self, path: str, *fields: tuple[str, str], **query: object) -> tuple[Response, Told]:
        """As :meth:`told`, of a response of the app's that is in the store now."""
        with self.storing():
            response, told = self.told(path, *fields, **query)
        assert not response.is_hit
        return response, told

    # ------------------------------------------------------------------ the control

    def calls(self) -> int:
        """How often this test's URLs have reached the app, in this worker."""
        told: int = self._control("/calls", self.id)
        return told

    def stores(self) -> int:
        """How many responses this worker's plain site has stored."""
        told: int = self._control("/stores", "")
        return told

    def seen(self) -> list[Told]:
        """What this test's calls of the pages of ``kit.REVISED`` saw, in this worker."""
        return [bodies.from_json(told) for told in self._control("/seen", self.id)]

    def revise(self) -> None:
        """Let this test's pages be others from now on, in this worker."""
        self._control("/revise", self.id)

    def set_mode(self, mode: str) -> None:
        """Let this test's pages do that from now on, in this worker (see ``kit.modes``)."""
        self._control("/mode", self.id, mode=mode)

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

    def _control(self, path: str, name: str, **query: str) -> Any:
        target = f"{path}?{urlencode({'name': name, **query})}"
        with Call(self.ports[self.worker], "GET", target, "control") as call:
            response = call.whole()
        assert response.status == 200, f"{self.cell}: {target}"
        return json.loads(response.body)
