"""wrk's report, and the requests as they go over the wire."""

from __future__ import annotations

import shutil

import pytest

from benchmarks import load
from benchmarks.load import BrokenError, Sample, as_text, choose, parse_wrk, put_load
from benchmarks.processes import MissingError
from benchmarks.traffic import Request

REPORT = """Running 1s test @ http://127.0.0.1:8000
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.29ms    1.87ms  14.64ms   87.93%
    Req/Sec    14.05k     1.10k   15.60k    70.00%
  Latency Distribution
     50%    2.19ms
     75%    2.50ms
     90%    3.00ms
     99%    {p99}
  29310 requests in 2.10s, 50.00MB read
{errors}Requests/sec:  13957.14
Transfer/sec:     23.81MB
"""


@pytest.mark.parametrize(
    ("p99", "expected"), [("4.25ms", 4.25), ("890.00us", 0.89), ("1.26s", 1260.0), ("1.00m", 60000)]
)
def test_reads_a_report(p99: str, expected: float) -> None:
    sample = parse_wrk(REPORT.format(p99=p99, errors=""))
    assert sample == Sample(29310, 13957.14, 2.19, expected, 0)


@pytest.mark.parametrize(
    ("line", "errors"),
    [
        ("  Non-2xx or 3xx responses: 17\n", 17),
        ("  Socket errors: connect 1, read 2, write 3, timeout 4\n", 10),
    ],
)
def test_counts_errors(line: str, errors: int) -> None:
    assert parse_wrk(REPORT.format(p99="1ms", errors=line)).errors == errors


@pytest.mark.parametrize("report", ["", "unable to connect", REPORT.partition("29310")[0]])
def test_refuses_what_is_no_report(report: str) -> None:
    with pytest.raises(BrokenError, match="unexpected"):
        parse_wrk(report)


def test_errors_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "generate", lambda *_: Sample(5, 1.0, 1.0, 1.0, 2))
    with pytest.raises(BrokenError, match="2 errors in 5 requests"):
        put_load("builtin", 1, [Request("/")], 1, 1)


@pytest.mark.parametrize(("found", "tool"), [("/usr/bin/wrk", "wrk"), (None, "builtin")])
def test_takes_wrk_where_present(
    monkeypatch: pytest.MonkeyPatch, found: str | None, tool: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: found)
    assert choose("auto") == tool
    assert choose("builtin") == "builtin"


def test_says_that_wrk_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingError, match="wrk is not on PATH"):
        choose("wrk")


def test_a_request_as_text() -> None:
    text = as_text(Request("/me", (("Cookie", "user=1"),)), 80)
    head, _, rest = text.partition("\r\n")
    assert head == "GET /me HTTP/1.1"
    assert {"Host: 127.0.0.1:80", "Cookie: user=1"} <= set(rest.split("\r\n"))
    assert text.endswith("\r\n\r\n")


def test_a_load_without_an_answer_is_put_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """And given up in the end."""
    asked = []

    def generate(port: int, requests: object, seconds: float, connections: int) -> Sample:
        asked.append(seconds)
        return Sample(int(seconds >= enough), 1.0, 1.0, 1.0, 0)

    monkeypatch.setattr(load, "generate", generate)
    enough = 0.5
    assert put_load("builtin", 1, [Request("/")], 0.125, 1).requests == 1
    assert asked == [0.125, 0.25, 0.5]
    enough = 60
    with pytest.raises(BrokenError, match="0 errors in 0 requests"):
        put_load("builtin", 1, [Request("/")], 1, 1)
    assert asked[3:] == [1, 2, 4, 8]
