"""One load on one target, and the proof that it was what the target says it is."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.commandstats import commands
from benchmarks.disturbance import used_by
from benchmarks.load import Sample, put_load
from benchmarks.peers.pages import calls_in
from benchmarks.placement import pinned
from benchmarks.processes import NotAHitError
from benchmarks.traffic import BROWSER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from benchmarks.peers.targets import Target
    from benchmarks.placement import Placement
    from benchmarks.traffic import Request

HITS: Final = 0.99
"""Of what is called cached, at least."""
COMMANDS_ALLOWED: Final = 0.01
"""A request, of what is answered without Redis."""
COMMANDS_OF_A_LAPSE: Final = 10
"""In any case: where the machine stood still the near tier's lease has ended, and it asks."""
WARM_SECONDS: Final = 1
SECONDS_TO_SETTLE: Final = 0.1


class Served(NamedTuple):
    """Where a target is asked, and where its app counts its calls."""

    port: int
    calls: str
    """The folder of the counters."""
    pid: int
    """Its server's first process."""
    workers: int = 1


@dataclass(frozen=True)
class Measured:
    """What one load did, and what happened behind the cache meanwhile."""

    sample: Sample
    app_calls: int
    redis_commands: int
    writes: int
    cpu_us: float
    """Processor time of the server a request, which other processes disturb least."""

    @property
    def commands_a_request(self) -> float:
        return self.redis_commands / self.sample.requests


def ask(port: int, requests: Sequence[Request]) -> list[tuple[int, dict[str, str], int]]:
    """Status, fields (names in lower case) and length of the response to each of *requests*."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seen = []
    for request in requests:
        connection.request("GET", request.path, headers=BROWSER | dict(request.fields))
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        seen.append((response.status, fields, len(response.read())))
    connection.close()
    return seen


def settled(folder: str, redis: Redis) -> tuple[int, tuple[int, int]]:
    """The app's calls and the commands when what a load left behind has ended.

    Requests whose connection is gone are still worked on, of this target or of the last one.
    """
    before = calls_in(folder), commands(redis)
    while True:
        time.sleep(SECONDS_TO_SETTLE)
        if (now := (calls_in(folder), commands(redis))) == before:
            return now
        before = now


def measure(
    target: Target,
    served: Served,
    redis: Redis,
    requests: Sequence[Request],
    how: tuple[str, float, int],
    placement: Placement | None,
) -> Measured:
    """A load by a tool, for some seconds, over some connections (*how*); proved."""
    tool, seconds, connections = how
    cores = placement.load if placement else None
    if target.expects != "store":
        warm(target, served, requests)
        if served.workers > 1:
            # Which worker answers is chance, and each may have a memory of its own.
            with pinned(cores):
                put_load(tool, served.port, requests, WARM_SECONDS, connections)
        check_fields(target, ask(served.port, requests[:4]))
    cpu = used_by(served.pid)
    calls, (asked, writes) = settled(served.calls, redis)
    with pinned(cores):
        sample = put_load(tool, served.port, requests, seconds, connections)
    calls_after, (asked_after, writes_after) = settled(served.calls, redis)
    got = Measured(
        sample,
        calls_after - calls,
        asked_after - asked,
        writes_after - writes,
        (used_by(served.pid) - cpu) / sample.requests * 1e6,
    )
    prove(target, got, connections)
    if target.expects == "store":
        # The first that was sent is one of two: wrk asks its script for one more than it sends.
        seen = ask(served.port, requests[:2])
        hits = [one for one in seen if "; hit" in one[1].get("cache-status", "")]
        check_fields(target, hits or seen)
    return got


def warm(target: Target, served: Served, requests: Sequence[Request]) -> None:
    """Ask everything once, and a hit again: a store may answer late on a busy machine."""
    ask(served.port, requests)
    if target.expects == "hit":
        ask(served.port, requests)


def check_fields(target: Target, seen: Sequence[tuple[int, dict[str, str], int]]) -> None:
    """Each response is good, and says what became of its request where the target can say it."""
    # What a load has stored is a hit afterwards.
    said = {"pass": ("cache-status", "fwd="), "store": ("cache-status", "; hit")}
    name, text = said.get(target.expects) or target.field or ("", "")
    for status, fields, length in seen:
        if status != 200 or not length:
            raise NotAHitError(f"{target.name} answered {status} with {length} bytes")
        if text not in fields.get(name, ""):
            raise NotAHitError(
                f"{target.name}: {name} is {fields.get(name)!r}; {text!r} was to be in it"
            )


def prove(target: Target, got: Measured, connections: int) -> None:
    """:class:`NotAHitError` where the counters say that it was something else."""
    requests = got.sample.requests
    if target.expects == "hit" and got.app_calls > (1 - HITS) * requests:
        raise NotAHitError(
            f"{target.name} was to be cached, but the app was called {got.app_calls} times in "
            f"{requests} requests"
        )
    least = {"app": requests, "pass": requests, "store": HITS * requests}.get(target.expects, 0)
    if got.app_calls < least:
        raise NotAHitError(
            f"{target.name} was to call the app for each request, but it was called "
            f"{got.app_calls} times in {requests} requests"
        )
    if target.expects == "store" and got.writes < HITS * requests:
        raise NotAHitError(
            f"{target.name} was to store each response, but Redis had {got.writes} SETs in "
            f"{requests} requests"
        )
    # As many requests at most share a round trip as there are connections.
    if target.asks_redis and got.redis_commands < requests / connections:
        raise NotAHitError(
            f"{target.name} was to ask Redis, which had {got.redis_commands} commands in "
            f"{requests} requests"
        )
    if not target.asks_redis and got.redis_commands > max(
        COMMANDS_OF_A_LAPSE, COMMANDS_ALLOWED * requests
    ):
        raise NotAHitError(
            f"{target.name} was to be answered without Redis, which had {got.redis_commands} "
            f"commands in {requests} requests"
        )
