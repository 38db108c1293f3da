"""Stale responses and ranges on real servers, in every cell.

Nothing waits for a lifetime to end: a soft purge from a handler makes a response stale at once.
"""

from __future__ import annotations

import contextlib
import email
import gzip
import http.client
import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.apps import bodies
from tests.integration.apps.kit import PAGE_BYTES
from tests.integration.apps.sites import ORIGINS
from tests.integration.client import TIMEOUT_SECONDS, Response
from tests.integration.workers import FILE_CONTENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

    from tests.integration.apps.bodies import Told
    from tests.integration.site import Site

ALICE = [("Cookie", "user=alice"), ("User-Agent", "Alice/1"), ("Accept", "text/html")]
BOB = [("Cookie", "user=bob"), ("User-Agent", "Bob/2")]

FRESHENED = re.compile(r"fwd=stale; fwd-status=304; stored; ttl=\d+")
STALE_HIT = re.compile(r"hit; ttl=-\d+")
FRESH_HIT = re.compile(r"hit; ttl=\d+")


def soften(site: Site, path: str, under: str = "") -> None:
    """Let a handler make *path* stale."""
    site.purge(site.target(under + path), under + "/purge", soft=True)


# ------------------------------------------------------------------ validation


@pytest.mark.parametrize("absolute", [True, False])
def test_a_304_freshens_what_is_stored(site: Site, absolute: bool) -> None:
    first, made = site.filled("/revised", *ALICE)
    etag = first.value("etag")
    assert etag
    site.purge(("http://" + site.host if absolute else "") + site.target("/revised"), soft=True)
    with site.storing():
        answer, told = site.told("/revised", *BOB)
    assert FRESHENED.fullmatch(answer.cache_status)
    assert (told, answer.body) == (made, first.body)
    assert int(answer.value("age") or 9) < 5  # seconds that a busy machine may take
    for name in ("content-type", "content-length", "etag", "cache-control"):
        assert answer.value(name) == first.value(name)
    assert answer.value("content-length") == str(PAGE_BYTES)
    assert [each.values("if-none-match") for each in site.seen()] == [[], [etag]]
    again = site.get("/revised")
    assert FRESH_HIT.fullmatch(again.cache_status)
    assert again.body == first.body
    assert again.value("content-length") == str(PAGE_BYTES)
    assert site.calls() == 2


def test_the_clients_condition_is_answered_from_what_was_freshened(site: Site) -> None:
    first, _ = site.filled("/revised")
    etag = first.value("etag")
    assert etag
    for theirs, status in ((etag, 304), ('"another"', 200), (f'"another", W/{etag}', 304)):
        soften(site, "/revised")
        with site.storing():
            answer = site.get("/revised", ("If-None-Match", theirs))
        assert FRESHENED.fullmatch(answer.cache_status)
        assert (answer.status, answer.body) == (status, first.body if status == 200 else b"")
        assert answer.value("etag") == etag
        if status == 304:
            assert answer.value("content-length") is None
    assert [each.values("if-none-match") for each in site.seen()] == [[], *[[etag]] * 3]
    assert site.get("/revised").is_hit


def test_a_page_that_has_changed_replaces_what_is_stored(site: Site) -> None:
    first, made = site.filled("/revised")
    site.revise()
    soften(site, "/revised")
    answer, told = site.filled("/revised", ("If-None-Match", first.value("etag") or ""))
    assert answer.cache_status == "fwd=stale; stored"
    assert told.serial > made.serial
    assert answer.value("etag") != first.value("etag")
    again = site.get("/revised")
    assert FRESH_HIT.fullmatch(again.cache_status)
    assert again.body == answer.body
    assert site.calls() == 2


def test_a_framework_that_compresses_is_validated(site: Site) -> None:
    here = site.at("gzip-inside")
    accepted = ("Accept-Encoding", "gzip")
    first = here.get("/revised", accepted)
    assert first.value("content-encoding") == "gzip"
    made = bodies.read(gzip.decompress(first.body), PAGE_BYTES)
    assert here.get("/revised", accepted).is_hit
    for _ in range(2):
        soften(here, "/revised")
        answer = here.get("/revised", accepted)
        assert FRESHENED.fullmatch(answer.cache_status)
        assert answer.value("content-encoding") == "gzip"
        assert answer.value("etag") == first.value("etag")
        assert bodies.read(gzip.decompress(answer.body)) == made
        again = here.get("/revised", accepted)
        assert again.is_hit
        assert again.body == first.body
    assert here.calls() == 3


@pytest.mark.needs("two-workers")
def test_one_worker_freshens_for_both(site: Site) -> None:
    other = site.other_worker
    _, made = site.filled("/revised")
    soften(other, "/revised")
    with site.storing():
        answer, told = site.told("/revised")
    assert FRESHENED.fullmatch(answer.cache_status)
    assert told == made
    answer, told = other.told("/revised")
    assert FRESH_HIT.fullmatch(answer.cache_status)
    assert told == made
    assert (site.calls(), other.calls()) == (2, 0)


# ------------------------------------------------------------------ stale-while-revalidate

WINDOWED = pytest.mark.parametrize("path", ["/windowed", "/ruled/windowed"])


@WINDOWED
def test_nobody_waits_while_the_app_is_asked(site: Site, path: str) -> None:
    _, made = site.filled(path, *ALICE)
    soften(site, path)
    site.set_mode("gated")
    with contextlib.ExitStack() as stack:
        for call in [stack.enter_context(site.call("GET", path, ALICE)) for _ in range(8)]:
            answer = call.whole()
            assert STALE_HIT.fullmatch(answer.cache_status)
            assert bodies.read(answer.body) == made
    site.reached()
    for fields in (BOB, [], ALICE):
        answer, told = site.told(path, *fields)
        assert STALE_HIT.fullmatch(answer.cache_status)
        assert told == made
    with site.storing():
        site.open()
    answer, told = site.told(path, *BOB)
    assert FRESH_HIT.fullmatch(answer.cache_status)
    assert told.serial > made.serial
    assert site.calls() == 2
    check_nobodys(told)


def check_nobodys(told: Told) -> None:
    """The app saw a request of nobody in particular."""
    assert told.method == "GET"
    assert told.values("cookie") == []
    assert told.values("user-agent") == ["asgi-cache"]
    assert told.values("accept") == ["*/*"]
    assert told.values("x-run") == []


@pytest.mark.needs("two-workers")
@WINDOWED
def test_the_other_worker_has_the_refreshed_page(site: Site, path: str) -> None:
    other = site.other_worker
    _, made = site.filled(path)
    soften(other, path)
    site.set_mode("gated")
    answer, told = site.told(path)
    assert STALE_HIT.fullmatch(answer.cache_status)
    assert told == made
    site.reached()
    with site.storing():
        site.open()
    answer, told = other.told(path)
    assert FRESH_HIT.fullmatch(answer.cache_status)
    assert told.worker == "one"
    assert told.serial > made.serial
    check_nobodys(told)
    assert (site.calls(), other.calls()) == (2, 0)


def decoded(answer: Response) -> Told:
    """What a body tells, compressed or not."""
    is_gzip = answer.value("content-encoding") == "gzip"
    return bodies.read(gzip.decompress(answer.body) if is_gzip else answer.body, PAGE_BYTES)


def check_refreshed(here: Site, under: str, *fields: tuple[str, str]) -> None:
    """A page is refreshed by a request that meets the same app and reaches the same key."""
    path = under + "/windowed"
    first = here.get(path, *ALICE, *fields)
    made = decoded(first)
    assert here.get(path, *BOB, *fields).is_hit
    soften(here, "/windowed", under)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        answer = here.get(path, *BOB, *fields)
        assert answer.is_hit
        for name in ("content-encoding", "access-control-allow-origin"):
            assert answer.value(name) == first.value(name)
        told = decoded(answer)
        if told != made:
            break
        assert STALE_HIT.fullmatch(answer.cache_status)
        assert time.monotonic() < deadline
    assert FRESH_HIT.fullmatch(answer.cache_status)
    check_nobodys(told)
    assert (told.path, told.root_path) == (made.path, made.root_path)
    assert here.calls() == 2


@pytest.mark.parametrize(
    ("label", "under", "fields"),
    [
        ("mounting", "/sub", []),
        ("mounted", "/sub", []),
        ("sessions", "", []),
        ("cors-inside", "", [("Origin", ORIGINS[1])]),
        ("cors-outside", "", [("Origin", ORIGINS[1])]),
        ("gzip-inside", "", [("Accept-Encoding", "gzip")]),
    ],
)
def test_where_the_cache_stands_does_not_matter(
    site: Site, label: str, under: str, fields: list[tuple[str, str]]
) -> None:
    check_refreshed(site.at(label), under, *fields)


@pytest.mark.needs("gzip-outside")
def test_refreshed_inside_gzip(site: Site) -> None:
    check_refreshed(site.at("gzip-outside"), "", ("Accept-Encoding", "gzip"))


@pytest.mark.needs("added")
def test_refreshed_by_add_middleware(site: Site) -> None:
    check_refreshed(site.at("added"), "")


# ------------------------------------------------------------------ stale-if-error


@pytest.mark.parametrize(("mode", "status"), [("raise", 500), ("503", 503)])
@pytest.mark.parametrize("path", ["/failing", "/ruled/failing"])
def test_a_stale_page_stands_in_for_an_app_that_fails(
    site: Site, path: str, mode: str, status: int
) -> None:
    first, made = site.filled(path)
    soften(site, path)
    site.set_mode(mode)
    told_of = re.compile(rf"fwd=stale; fwd-status={status}; detail=stale-if-error; ttl=-\d+")
    for fields in (ALICE, BOB):
        answer, told = site.told(path, *fields)
        assert told_of.fullmatch(answer.cache_status)
        assert told == made
        assert answer.value("content-length") == str(PAGE_BYTES)
    etag = first.value("etag")
    if etag:  # Quart's bodies get none from the cache
        answer = site.get(path, ("If-None-Match", etag))
        assert (answer.status, answer.body) == (304, b"")
        assert told_of.fullmatch(answer.cache_status)
    assert site.calls() == (4 if etag else 3)
    site.set_mode("")
    site.revise()
    answer, told = site.filled(path, *ALICE)
    assert answer.cache_status == "fwd=stale; stored"
    assert told.serial > made.serial
    answer, again = site.told(path, *BOB)
    assert FRESH_HIT.fullmatch(answer.cache_status)
    assert again == told


@pytest.mark.parametrize(("mode", "status"), [("raise", 500), ("503", 503)])
@pytest.mark.parametrize("path", ["/failing", "/ruled/failing"])
def test_what_is_purged_stands_in_for_nothing(
    site: Site, path: str, mode: str, status: int
) -> None:
    site.filled(path)
    site.purge(site.target(path))
    site.set_mode(mode)
    for fields in (ALICE, []):
        answer = site.get(path, *fields)
        assert answer.status == status
        assert "stored" not in answer.cache_status
    site.set_mode("")
    assert not site.told(path)[0].is_hit
    assert site.get(path).is_hit


# ------------------------------------------------------------------ ranges


class KeptAlive:
    """One connection for several requests: what is framed wrongly spoils the next answer."""

    def __init__(self, site: Site, connection: http.client.HTTPConnection) -> None:
        self._site = site
        self._connection = connection
        self._first = connection.sock

    def ask(self, method: str, path: str, *fields: tuple[str, str]) -> Response:
        """A request and its whole response; an AssertionError where it is not of its length."""
        named = {"Host": self._site.host, **dict(fields)}
        self._connection.request(method, self._site.target(path), headers=named)
        answer = self._connection.getresponse()
        lines = tuple((name.lower(), value) for name, value in answer.getheaders())
        response = Response(answer.status, lines, answer.read())
        assert self._connection.sock is self._first, "the server closed the connection"
        if response.is_hit and response.status != 304 and method == "GET":
            assert response.value("content-length") == str(len(response.body))
            assert response.values("transfer-encoding") == []
        return response

    def get(self, path: str, *fields: tuple[str, str]) -> Response:
        return self.ask("GET", path, *fields)


@contextlib.contextmanager
def kept_alive(site: Site) -> Iterator[KeptAlive]:
    connection = http.client.HTTPConnection("127.0.0.1", site.ports[0], timeout=TIMEOUT_SECONDS)
    with contextlib.closing(connection):
        connection.connect()
        yield KeptAlive(site, connection)


def check_whole(answer: Response, stored: Response) -> None:
    assert (answer.status, answer.body) == (200, stored.body)
    assert answer.is_hit
    assert answer.value("content-range") is None


@pytest.mark.parametrize(
    ("wish", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-299", 100, 299),
        ("bytes=1990-", 1990, 1999),
        ("bytes=1990-9999", 1990, 1999),
        ("bytes=-50", 1950, 1999),
        ("bytes=-5000", 0, 1999),
        ("bytes=5000-5001,7-8", 7, 8),
    ],
)
def test_range_of_a_stored_page(site: Site, wish: str, first: int, last: int) -> None:
    whole, _ = site.filled("/page")
    with kept_alive(site) as client:
        for _ in range(2):
            answer = client.get("/page", ("Range", wish))
            assert answer.status == 206
            assert answer.is_hit
            assert answer.body == whole.body[first : last + 1]
            assert answer.value("content-range") == f"bytes {first}-{last}/{PAGE_BYTES}"
            assert answer.value("content-type") == whole.value("content-type")
            assert answer.value("etag") == whole.value("etag")
            check_whole(client.get("/page"), whole)
    assert site.calls() == 1


def test_several_ranges_of_a_stored_page(site: Site) -> None:
    whole, _ = site.filled("/page")
    with kept_alive(site) as client:
        answer = client.get("/page", ("Range", "bytes=0-9, 500-599, -1"))
        assert answer.status == 206
        assert answer.is_hit
        kind = answer.value("content-type") or ""
        assert kind.startswith("multipart/byteranges; boundary=")
        parsed = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + answer.body)
        parts: list[Message] = list(parsed.walk())[1:]
        for part, (first, last) in zip(parts, [(0, 9), (500, 599), (1999, 1999)], strict=True):
            assert part["content-range"] == f"bytes {first}-{last}/{PAGE_BYTES}"
            assert part["content-type"] == whole.value("content-type")
            assert part.get_payload(decode=True) == whole.body[first : last + 1]
        check_whole(client.get("/page", ("Range", "bytes=0-1999,0-1999")), whole)
    assert site.calls() == 1


def test_if_range(site: Site) -> None:
    whole, _ = site.filled("/page")
    etag = whole.value("etag")
    assert etag
    wish = ("Range", "bytes=10-19")
    with kept_alive(site) as client:
        for _ in range(2):
            answer = client.get("/page", wish, ("If-Range", etag))
            assert (answer.status, answer.body) == (206, whole.body[10:20])
            for other in ('"another"', f"W/{etag}", "Tue, 14 Nov 2023 20:00:00 GMT"):
                check_whole(client.get("/page", wish, ("If-Range", other)), whole)
            answer = client.get("/page", wish, ("If-None-Match", etag))
            assert (answer.status, answer.body) == (304, b"")
    assert site.calls() == 1


def test_range_beyond_the_end(site: Site) -> None:
    whole, _ = site.filled("/page")
    with kept_alive(site) as client:
        for wish in (f"bytes={PAGE_BYTES}-", "bytes=5000-6000", "bytes=-0"):
            answer = client.get("/page", ("Range", wish))
            assert (answer.status, answer.body, answer.is_hit) == (416, b"", True)
            assert answer.value("content-range") == f"bytes */{PAGE_BYTES}"
            assert answer.value("etag") is None
            check_whole(client.get("/page"), whole)
    assert site.calls() == 1


def test_what_is_no_range(site: Site) -> None:
    whole, _ = site.filled("/page")
    with kept_alive(site) as client:
        for wish in ("bytes=9-1", "bytes=", "lines=1-2", "bytes=x-", "bytes=1-2,,x"):
            check_whole(client.get("/page", ("Range", wish)), whole)
        head = client.ask("HEAD", "/page", ("Range", "bytes=0-9"))
        assert (head.status, head.body, head.is_hit) == (200, b"", True)
        assert head.value("content-length") == str(PAGE_BYTES)
        check_whole(client.get("/page"), whole)
    assert site.calls() == 1


def test_range_of_nothing_stored_is_the_apps(site: Site) -> None:
    """Nothing of it is stored, whether the framework cuts files by itself or not."""
    wish = ("Range", "bytes=1000-1999")
    for _ in range(2):
        answer = site.get("/file", wish)
        part = FILE_CONTENT[1000:2000] if answer.status == 206 else FILE_CONTENT
        assert answer.status in (200, 206)
        assert answer.body == part
        assert answer.cache_status == "fwd=uri-miss; detail=range"
    assert site.get("/file").body == FILE_CONTENT
    with kept_alive(site) as client:
        for _ in range(2):
            answer = client.get("/file", wish)
            if not site.cell.sends_paths:
                assert answer.is_hit
                assert answer.status == 206
            if answer.status == 206:
                assert answer.value("content-range") == f"bytes 1000-1999/{len(FILE_CONTENT)}"
                assert answer.body == FILE_CONTENT[1000:2000]
    assert site.calls() == (5 if site.cell.sends_paths else 3)


def test_range_of_what_is_being_refreshed(site: Site) -> None:
    whole, made = site.filled("/windowed")
    soften(site, "/windowed")
    site.set_mode("gated")
    with kept_alive(site) as client:
        for _ in range(2):
            answer = client.get("/windowed", ("Range", "bytes=-10"))
            assert (answer.status, answer.body) == (206, whole.body[-10:])
            assert STALE_HIT.fullmatch(answer.cache_status)
        site.reached()
        with site.storing():
            site.open()
        answer = client.get("/windowed")
        assert bodies.read(answer.body).serial > made.serial
        part = client.get("/windowed", ("Range", "bytes=-10"))
        assert (part.status, part.body) == (206, answer.body[-10:])
    assert site.calls() == 2
    assert site.seen()[-1].values("range") == []


def test_range_of_something_stale_is_the_apps(site: Site) -> None:
    """Its answer leaves what is stored as it is: stale, and to be validated by the next GET."""
    whole, made = site.filled("/revised")
    soften(site, "/revised")
    with kept_alive(site) as client:
        answer = client.get("/revised", ("Range", "bytes=-10"))
        assert answer.status == 200  # these frameworks' plain responses know no ranges
        assert answer.cache_status == "fwd=stale; detail=range"
        assert bodies.read(answer.body).serial > made.serial
        with site.storing():
            answer = client.get("/revised")
        assert FRESHENED.fullmatch(answer.cache_status)
        assert answer.body == whole.body
        part = client.get("/revised", ("Range", "bytes=-10"))
        assert (part.status, part.body) == (206, whole.body[-10:])
    assert site.calls() == 3


# ------------------------------------------------------------------ HEAD


def test_head_of_something_stale_freshens_it(site: Site) -> None:
    first, _ = site.filled("/revised")
    soften(site, "/revised")
    with kept_alive(site) as client:
        with site.storing():
            head = client.ask("HEAD", "/revised")
        assert (head.status, head.body) == (200, b"")
        assert head.cache_status == "fwd=stale; detail=head"
        assert head.value("etag") == first.value("etag")
        assert head.value("content-length") in (None, str(PAGE_BYTES))
        check_whole(client.get("/revised"), first)
        head = client.ask("HEAD", "/revised")
        assert head.is_hit
        assert head.value("content-length") == str(PAGE_BYTES)
        check_whole(client.get("/revised"), first)
    assert [each.method for each in site.seen()] == ["GET", "HEAD"]


def test_head_of_what_has_changed_takes_it_out(site: Site) -> None:
    first, _ = site.filled("/revised")
    soften(site, "/revised")
    site.revise()
    head = site.ask("HEAD", "/revised")
    assert (head.status, head.body) == (200, b"")
    assert head.value("etag") not in (None, first.value("etag"))
    answer, told = site.told("/revised")
    assert answer.cache_status == "fwd=uri-miss; stored"
    assert told.method == "GET"
    assert site.seen()[-1].values("if-none-match") == []
    assert site.get("/revised").is_hit


def test_head_that_fails_leaves_what_is_stored(site: Site) -> None:
    """Whether the app fails, or the framework has no HEAD for a route that has GET."""
    first, made = site.filled("/failing")
    soften(site, "/failing")
    for mode, status in (("raise", 500), ("503", 503)):
        site.set_mode(mode)
        head = site.ask("HEAD", "/failing")
        assert (head.status, head.body) == (200, b"")
        assert f"fwd-status={status}" in head.cache_status
        assert "detail=stale-if-error" in head.cache_status
        answer, told = site.told("/failing")
        assert answer.cache_status.startswith(f"fwd=stale; fwd-status={status}; detail=stale-if-er")
        assert (told, answer.body) == (made, first.body)

    site.filled("/page")
    soften(site, "/page")
    head = site.ask("HEAD", "/page")
    assert head.status in (200, 405)
    answer, told = site.told("/page")
    # Where there is an answer it is of another page: this one changes with each call.
    left = "fwd=stale; stored" if head.status == 405 else "fwd=uri-miss; stored"
    assert answer.cache_status == left
    assert told.method == "GET"
