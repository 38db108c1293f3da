"""One run: a Redis, relays, worker processes, faults; and what all that came to."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis

from tests.security.checker.board import Board
from tests.security.checker.faults import Faults
from tests.security.checker.pages import FAILING
from tests.security.checker.relay import Relay
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[3]
LOOK_SECONDS: Final = 0.1
ENDING_SECONDS: Final = 60.0
SILENT_SECONDS: Final = 60.0
"""Where nothing has been judged for so long, a worker has ended or hangs."""
MOST_WRONG: Final = 20
"""So many are enough to look at."""
HISTORY_SECONDS: Final = 12.0
HISTORY_EVENTS: Final = 60
HIT_FLOOR: Final = 0.2
"""Share of hits below which a run has shown nothing."""


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    seconds: float | None = None
    responses: int | None = None
    workers: int = 4
    clients: int = 10
    """In each worker."""
    seed: int = 1
    faults: bool = True


@dataclass
class Outcome:
    """What came of it."""

    figures: dict[str, Any]
    wrong: dict[str, int]
    shown: list[dict[str, Any]]
    """The first wrong answers, each with its history."""
    problems: list[str]
    """What was not right beside the answers."""

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.wrong and not self.problems


def run(plan: Plan, tell: Callable[[int], None] = lambda judged: None) -> Outcome:
    """Carry out *plan*; *tell* is told now and then how many answers have been judged."""
    factory = None
    if has_uvloop():  # the relays pass a lot
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_run(plan, tell))


def has_uvloop() -> bool:
    """Whether it is installed."""
    return find_spec("uvloop") is not None


async def _run(plan: Plan, tell: Callable[[int], None]) -> Outcome:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="checker-")))
        server = stack.enter_context(RedisServer())
        board = Board.make(folder / "board", plan.workers)
        stack.callback(board.close)
        relays = [
            await stack.enter_async_context(Relay(server.port, f"{plan.seed} {worker}"))
            for worker in range(plan.workers)
        ]
        urls = [f"redis://127.0.0.1:{one.port}/0" if plan.faults else server.url for one in relays]
        workers = [await _started(plan, worker, url, folder) for worker, url in enumerate(urls)]
        reading = [asyncio.ensure_future(worker.communicate()) for worker in workers]
        faults = Faults(relays, server, board, plan.seed)
        problems: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: problems.append(
                f"{context['message']}: {context.get('exception')!r}"
            )
        )
        raging = asyncio.ensure_future(faults.run() if plan.faults else asyncio.sleep(0))
        try:
            seconds = await _watched(plan, board, reading, tell)
        finally:
            board.stop()
            while not raging.done():  # once may be lost in a library, which ran for ever then
                raging.cancel()
                await asyncio.wait({raging}, timeout=1)
            faults.end()
            _, late = await asyncio.wait(reading, timeout=ENDING_SECONDS)
            for worker in workers:
                if worker.returncode is None:
                    worker.kill()
            outputs = await asyncio.gather(*reading)
        problems += [f"{len(late)} workers did not end"] * bool(late)
        if not raging.cancelled() and raging.exception() is not None:
            problems.append(f"the faults ended: {raging.exception()!r}")
        immortal = _keys_without_end(server.url)
        problems += [f"keys without an end: {immortal[:5]}"] * bool(immortal)
        return _outcome(plan, seconds, outputs, faults, problems)


async def _started(plan: Plan, worker: int, url: str, folder: Path) -> asyncio.subprocess.Process:
    config = {
        "worker": worker,
        "workers": plan.workers,
        "clients": plan.clients,
        "seed": plan.seed,
        "redis": url,
        "board": str(folder / "board"),
        # Every other one runs on asyncio's own loop.
        "uvloop": worker % 2 == 0 and has_uvloop(),
    }
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ASGI_CACHE_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.security.checker.worker", json.dumps(config)),
        cwd=ROOT,
        env=kept,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _watched(
    plan: Plan, board: Board, reading: Sequence[asyncio.Future[Any]], tell: Callable[[int], None]
) -> float:
    """Wait until enough is judged; the seconds that took, from the first answer on."""
    began = changed = time.monotonic()
    before = 0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        judged = board.total("judged")
        now = time.monotonic()
        if not before:
            began = now
        if judged != before:
            before, changed = judged, now
            tell(judged)
        enough = plan.responses is not None and judged >= plan.responses
        enough = enough or (plan.seconds is not None and now - began >= plan.seconds)
        silent = now - changed > SILENT_SECONDS
        if enough or silent or board.total("wrong") >= MOST_WRONG or any(map(_done, reading)):
            return now - began


def _done(reading: asyncio.Future[Any]) -> bool:
    return reading.done()


def _outcome(
    plan: Plan,
    seconds: float,
    outputs: Sequence[tuple[bytes, bytes]],
    faults: Faults,
    problems: list[str],
) -> Outcome:
    problems = [*dict.fromkeys(problems)][:20]
    counts: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    metrics: Counter[str] = Counter()
    added: dict[str, Counter[int]] = {"hit": Counter(), "other": Counter()}
    shown: list[dict[str, Any]] = []
    events: list[Any] = list(faults.events)
    at_once: Counter[str] = Counter()
    calls = Counter({"waited_for": 0, "beyond": 0})
    stalls = [0]
    for worker, (out, said) in enumerate(outputs):
        lines = out.decode().splitlines()
        text = said.decode("utf-8", "replace").strip()
        if text:
            problems.append(f"worker {worker} said:\n{text[-3000:]}")
        if not lines:
            problems.append(f"worker {worker} did not report")
            continue
        report = json.loads(lines[-1])
        counts.update(report["counts"])
        wrong.update(report["wrong"])
        metrics.update(report["metrics"])
        for name, counter in report["added"].items():
            added[name].update({int(ms): number for ms, number in counter.items()})
        shown += report["shown"]
        events += report["events"]
        stalls.append(report["longest_stall_ms"])
        for kinds in report["at_once"]:
            at_once |= Counter(kinds)
        calls.update({name: report[name] for name in calls})
        problems += [f"worker {worker} left behind {one}" for one in report["left"]]
        problems += [f"worker {worker} complained: {one}" for one in report["complaints"]]
    shown.sort(key=lambda one: int(one["at"]))
    for one in shown:
        one["history"] = _history(one, events)
    judged = sum(number for name, number in counts.items() if name.startswith("status "))
    if not plan.faults:
        problems += crowds(plan.workers, at_once)
    ratio = counts["hits"] / judged if judged else 0.0
    if ratio < HIT_FLOOR:
        problems.append(f"only {ratio:.1%} of {judged} answers were hits: nothing is shown by that")
    figures = {
        "workers": plan.workers,
        "seed": plan.seed,
        "faults": plan.faults,
        "seconds": round(seconds, 1),
        "checked": judged,
        "wrong": sum(wrong.values()),
        "per_second": round(judged / seconds) if seconds else 0,
        "hit_ratio": round(ratio, 3),
        "added_ms": {
            name: {"p99": _quantile(counter, 0.99), "max": max(counter, default=0)}
            for name, counter in added.items()
        },
        "longest_stall_of_a_worker_ms": max(stalls),
        "app_calls_at_once_for_a_key": dict(at_once),
        "app_calls_others_may_wait_for": calls["waited_for"],
        "of_them_beyond_one_a_worker": calls["beyond"],
        "faults_injected": dict(sorted(faults.counts.items())),
        "seconds_under_faults": round(faults.seconds, 1),
        "counts": dict(sorted(counts.items())),
        "metrics": dict(sorted(metrics.items())),
    }
    return Outcome(figures, dict(wrong), shown, problems)


def crowds(workers: int, at_once: Mapping[str, int]) -> list[str]:
    """The kinds of which more calls were under way for one key than a store that answers allows.

    That is one a worker, and one more where a purge came in between.
    """
    return [
        f"{calls} calls of the app at once for one key of {kind!r}"
        for kind, calls in at_once.items()
        if kind != FAILING and calls > workers + 1
    ]


def _history(one: dict[str, Any], events: list[Any]) -> list[str]:
    """What happened before, and what concerns the place of the wrong answer *one*."""
    wanted = one["place"].split(" ")
    since = one["at"] - int(HISTORY_SECONDS * 1e9)
    mine = []
    for at, place, text in sorted(events, key=lambda event: int(event[0])):
        parts = place.split(" ")
        concerns = parts[:2] == [wanted[0], "all"] or parts[:2] == [wanted[0], "group"]
        concerns = concerns or (parts[0] == wanted[0] and parts[2:4] == wanted[2:4])
        if since < at < one["at"] + 10**9 and (place == "-" or concerns):
            mine.append(f"{(at - one['at']) / 1e6:+.1f} ms {text} ({place})")
    return mine[-HISTORY_EVENTS:]


def _quantile(counter: Counter[int], share: float) -> int:
    """The least value that *share* of all do not exceed."""
    left = share * counter.total()
    for value in sorted(counter):
        left -= counter[value]
        if left <= 0:
            return value
    return 0


def _keys_without_end(url: str) -> list[str]:
    with redis.Redis.from_url(url) as client:
        return [key.decode("latin-1") for key in client.scan_iter() if client.ttl(key) == -1]
