"""Streamed responses, events, files, WebSockets, failures and background tasks, in every cell."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import h11
import pytest
from websockets.sync.client import connect

from tests.integration.apps import bodies
from tests.integration.apps.kit import PAGE_BYTES
from tests.integration.workers import FILE_CONTENT

if TYPE_CHECKING:
    from tests.integration.site import Site

STREAMS = ["/stream", "/ruled/stream"]


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("path", STREAMS)
def test_first_piece_arrives_before_the_second_is_made(site: Site, path: str, framing: str) -> None:
    with site.call("GET", path, run="fill", framing=framing) as call:
        assert call.head().status == 200
        first = call.read(PAGE_BYTES // 2)
        assert len(first) == PAGE_BYTES // 2
        site.reached()
        site.open()
        whole = call.whole_body()
    told = bodies.read(whole, PAGE_BYTES)
    site.ended("fill")
    answer, again = site.told(path, framing=framing)
    assert answer.is_hit
    assert again == told
    assert answer.value("content-length") == str(PAGE_BYTES)


def test_events_are_neither_stored_nor_held_back(site: Site) -> None:
    with site.call("GET", "/events", run="first") as call, site.call("GET", "/events") as other:
        streams = [(call, call.head()), (other, other.head())]
        for _, head in streams:
            assert (head.value("content-type") or "").startswith("text/event-stream")
            assert head.cache_status.startswith("fwd=")
            assert "stored" not in head.cache_status
        for number in range(3):
            for each, _ in streams:
                while f"no. {number}".encode() not in each.body:
                    each.read(len(each.body) + 1)
                assert f"no. {number + 1}".encode() not in each.body
            site.open(f".{number}")
        assert site.calls() == 2
        call.reset()
        other.reset()
        site.open(".3")
        site.open(".4")
        site.ended("first")
    with site.call("GET", "/events") as call:
        assert not call.head().is_hit
        call.reset()


def test_file(site: Site) -> None:
    with site.call("GET", "/file", run="fill") as call:
        first = call.whole()
        sent = site.ended("fill")
    assert (first.status, first.body) == (200, FILE_CONTENT)
    second = site.get("/file")
    assert (second.status, second.body) == (200, FILE_CONTENT)
    assert second.value("content-length") == str(len(FILE_CONTENT))
    if site.cell.sends_paths:
        assert "http.response.pathsend" in sent["offered"]
        assert sent["sent"] == ["http.response.start", "http.response.pathsend"]
        assert "hit" not in second.cache_status
        assert site.calls() == 2
    else:
        assert "http.response.pathsend" not in sent["sent"]
        assert second.is_hit
        assert site.calls() == 1


def test_not_modified_file(site: Site) -> None:
    first = site.get("/file")
    etag = first.value("etag")
    modified = first.value("last-modified")
    if etag:
        assert site.get("/file", ("If-None-Match", etag)).status in answers_to_a_condition(site)
    if modified:
        again = site.get("/file", ("If-Modified-Since", modified))
        assert again.status in answers_to_a_condition(site)


def answers_to_a_condition(site: Site) -> set[int]:
    """The cache answers 304; where files are not stored the app does, and Starlette's says 200."""
    return {200} if site.cell.sends_paths else {304}


@pytest.mark.needs("websocket")
def test_websocket(site: Site) -> None:
    connection = socket.create_connection(("127.0.0.1", site.ports[0]))
    with connect(f"ws://{site.host}/echo", sock=connection, proxy=None) as echo:
        for text in ("one", "two", "ü" * 1000):
            echo.send(text)
            assert echo.recv(timeout=20) == f"echo {text}"


def test_exception(site: Site) -> None:
    for _ in range(2):
        answer = site.get("/boom")
        assert answer.status == 500
        assert "stored" not in answer.cache_status
    assert site.calls() == 2
    assert site.get("/page").status == 200


def test_exception_in_the_body(site: Site) -> None:
    for run in ("one", "two"):
        with site.call("GET", "/late-boom", run=run) as call:
            with contextlib.suppress(h11.RemoteProtocolError, ConnectionError):
                call.whole()  # whether the client can tell that it is cut is the server's affair
            assert len(call.body) <= PAGE_BYTES // 2
            site.ended(run)
    assert site.calls() == 2


@pytest.mark.needs("background")
@pytest.mark.parametrize("path", ["/background", "/ruled/background"])
def test_background_task_keeps_nobody_waiting(site: Site, path: str) -> None:
    with site.call("GET", path, [("Cookie", "user=alice")], run="fill") as call:
        told = bodies.read(call.whole().body)
    site.reached()
    answer = site.get_at_once(path)
    assert answer.is_hit
    assert bodies.read(answer.body) == told
    assert site.calls() == 1
    site.open()
    site.ended("fill")
