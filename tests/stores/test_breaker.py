from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from asgi_cache.errors import StoreUnavailable
from asgi_cache.stores.breaker import LIMIT, Breaker

if TYPE_CHECKING:
    from collections.abc import Callable

ERROR = StoreUnavailable("read: OSError: refused")


@pytest.fixture
def waiting() -> list[bytes]:
    return []


@pytest.fixture
def breaker(waiting: list[bytes]) -> Breaker:
    return Breaker(waits=lambda: bool(waiting))


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, logger="asgi_cache")
    return lambda: [record.levelname for record in caplog.records]


def fail(breaker: Breaker, times: int) -> list[bool]:
    return [breaker.failed(ERROR, counts=True) for _ in range(times)]


def test_it_is_closed_at_first(breaker: Breaker) -> None:
    assert (breaker.is_open, breaker.troubled, breaker.last_error) == (False, False, None)


def test_failures_in_a_row_open_it_once(breaker: Breaker, logged: Callable[[], list[str]]) -> None:
    made = breaker.since
    assert fail(breaker, LIMIT - 1) == [False] * (LIMIT - 1)
    assert (breaker.is_open, breaker.troubled) == (False, True)
    assert fail(breaker, 3) == [True, False, False]
    assert (breaker.is_open, breaker.troubled) == (True, True)
    assert breaker.since > made
    assert breaker.last_error == str(ERROR)
    assert logged() == ["WARNING"]


def test_a_failure_without_a_text_is_named_by_its_type(
    breaker: Breaker, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(LIMIT):
        breaker.failed(StoreUnavailable(), counts=True)
    assert breaker.last_error == "StoreUnavailable"
    assert "does not answer (StoreUnavailable); " in caplog.text


def test_an_answer_takes_one_failure_away(breaker: Breaker) -> None:
    fail(breaker, LIMIT - 1)
    breaker.answered()
    assert fail(breaker, 2) == [False, True]


def test_one_that_fails_less_than_every_other_time_stays_closed(breaker: Breaker) -> None:
    for _ in range(100):
        assert fail(breaker, 1) == [False]
        breaker.answered()
        breaker.answered()
    assert not breaker.troubled


def test_without_failures_hits_need_not_look(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.answered()
    assert breaker.troubled
    breaker.answered()
    assert not breaker.troubled


def test_what_says_nothing_about_the_store_does_not_count(breaker: Breaker) -> None:
    for _ in range(LIMIT):
        assert not breaker.failed(ERROR, counts=False)
    assert (breaker.troubled, breaker.last_error) == (False, str(ERROR))


def test_one_line_for_one_cause(breaker: Breaker, caplog: pytest.LogCaptureFixture) -> None:
    """Which names it, whether that opens the breaker or not."""
    fail(breaker, LIMIT)
    breaker.say()
    (line,) = caplog.records
    assert line.getMessage().startswith(f"the store does not answer ({ERROR}); requests go on")
    breaker.close()
    caplog.clear()
    fail(breaker, 2)
    assert (breaker.is_silent, caplog.records) == (False, [])
    for _ in range(2):
        breaker.say()
    assert [record.getMessage() for record in caplog.records] == [f"the store failed: {ERROR}"]


def test_answers_that_come_late_do_not_close_it(breaker: Breaker) -> None:
    fail(breaker, LIMIT)
    for _ in range(LIMIT):
        breaker.answered()
    assert breaker.is_open


def test_it_closes_and_counts_anew(breaker: Breaker, logged: Callable[[], list[str]]) -> None:
    fail(breaker, LIMIT)
    opened = breaker.since
    breaker.close()
    assert (breaker.is_open, breaker.troubled) == (False, False)
    assert breaker.since > opened
    assert breaker.last_error == str(ERROR)
    assert fail(breaker, LIMIT) == [False] * (LIMIT - 1) + [True]
    assert logged() == ["WARNING", "INFO", "WARNING"]


def test_closing_what_is_closed_forgives_nothing(
    breaker: Breaker, logged: Callable[[], list[str]]
) -> None:
    fail(breaker, LIMIT - 1)
    since = breaker.since
    breaker.close()
    assert breaker.since == since
    assert logged() == []
    assert fail(breaker, 1) == [True]


def test_what_waits_keeps_hits_looking(breaker: Breaker, waiting: list[bytes]) -> None:
    waiting.append(b"n")
    breaker.alarm()
    assert breaker.troubled
    breaker.answered()
    breaker.close()
    assert breaker.troubled
    waiting.clear()
    breaker.answered()
    assert not breaker.troubled
