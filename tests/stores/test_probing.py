from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from asgi_cache.stores import probing
from asgi_cache.stores.probing import Probing
from tests.stores.wire import until

if TYPE_CHECKING:
    from collections.abc import Callable

HERE: contextvars.ContextVar[str] = contextvars.ContextVar("HERE", default="nowhere")


class Probe:
    """Fails *failures* times; counts."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.times: list[float] = []
        self.contexts: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> bool:
        self.times.append(time.monotonic())
        self.contexts.append(HERE.get())
        await self.gate.wait()
        return len(self.times) > self.failures

    def called(self, times: int = 1) -> Callable[[], bool]:
        return lambda: len(self.times) >= times


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "INTERVAL", 0.05)
    monkeypatch.setattr(probing, "JITTER", 0.0)


def scheduled() -> list[Any]:
    loop: Any = asyncio.get_running_loop()
    return [handle for handle in loop._scheduled if not handle.cancelled()]


async def test_nothing_happens_unasked() -> None:
    probe = Probe()
    Probing(probe)
    assert scheduled() == []
    assert probe.times == []


async def test_it_probes_at_once_and_until_all_is_well() -> None:
    probe = Probe(failures=3)
    probing_ = Probing(probe)
    began = time.monotonic()
    for _ in range(10):
        probing_.ensure()
    await until(probe.called(4))
    assert probe.times[0] - began < 0.05
    gaps = [after - before for before, after in zip(probe.times, probe.times[1:], strict=False)]
    assert all(gap >= 0.049 for gap in gaps)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
    # Only a timer that never comes to be is left.
    assert probe.times[4:] == []


async def test_asked_again_it_keeps_the_interval() -> None:
    probe = Probe()
    probing_ = Probing(probe)
    for times in (1, 2, 3):
        probing_.ensure()
        await until(probe.called(times))
        await until(lambda: len(asyncio.all_tasks()) == 1)
    gaps = [after - before for before, after in zip(probe.times, probe.times[1:], strict=False)]
    assert all(gap >= 0.049 for gap in gaps)


async def test_it_has_nothing_of_the_request_that_asked() -> None:
    probe = Probe()
    token = HERE.set("a request")
    Probing(probe).ensure()
    HERE.reset(token)
    await until(probe.called())
    assert probe.contexts == ["nowhere"]


async def test_stopping_cancels_the_timer() -> None:
    probe = Probe(failures=9)
    probing_ = Probing(probe)
    probing_.ensure()
    await until(probe.called())
    await until(lambda: len(asyncio.all_tasks()) == 1)
    await probing_.stop()
    await probing_.stop()
    assert len(asyncio.all_tasks()) == 1
    assert [handle for handle in scheduled() if handle._callback.__name__ == "_start"] == []
    probing_.ensure()
    await until(probe.called(2))
    await probing_.stop()


async def test_stopping_cancels_a_probe_under_way() -> None:
    probe = Probe()
    probe.gate.clear()
    probing_ = Probing(probe)
    probing_.ensure()
    await until(probe.called())
    await probing_.stop()
    assert len(asyncio.all_tasks()) == 1


def test_a_loop_that_ends_leaves_nothing_and_the_next_takes_over(
    recwarn: pytest.WarningsRecorder,
) -> None:
    probe = Probe(failures=2)
    probing_ = Probing(probe)

    async def ask(times: int) -> None:
        probing_.ensure()
        await until(probe.called(times))

    for times in (1, 2, 3):
        asyncio.run(ask(times))
    assert list(recwarn) == []


def test_a_loop_that_stands_still_is_not_waited_for() -> None:
    probe = Probe(failures=1)
    probing_ = Probing(probe)

    async def ask(times: int) -> None:
        probing_.ensure()
        await until(probe.called(times))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(ask(1))  # and then it is neither closed nor running
    asyncio.run(ask(2))
    # Back again, its timer finds that another loop is responsible, or has been.
    loop.run_until_complete(asyncio.sleep(0.1))
    loop.close()
    assert len(probe.times) == 2


def test_one_loop_probes_for_all_and_any_may_stop_it() -> None:
    probe = Probe(failures=1000)
    probing_ = Probing(probe)
    asked, stopped = threading.Barrier(2), threading.Event()

    async def one() -> None:
        probing_.ensure()
        await until(probe.called())
        await asyncio.to_thread(asked.wait, 10)
        await asyncio.to_thread(stopped.wait, 10)
        await asyncio.sleep(0.1)

    async def other() -> int:
        await asyncio.to_thread(asked.wait, 10)
        for _ in range(20):
            probing_.ensure()
        assert len(asyncio.all_tasks()) == 1
        await probing_.stop()
        await asyncio.sleep(0.06)
        count = len(probe.times)
        stopped.set()
        return count

    thread = threading.Thread(target=asyncio.run, args=(one(),))
    thread.start()
    count = asyncio.run(other())
    thread.join()
    assert len(probe.times) == count
