"""Compression, CORS and sessions around the cache or inside it, in every cell."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from tests.integration.apps import bodies
from tests.integration.apps.kit import PAGE_BYTES
from tests.integration.apps.sites import ORIGINS

if TYPE_CHECKING:
    from tests.integration.client import Response
    from tests.integration.site import Site

ACCEPTED = {
    "gzip": [("Accept-Encoding", "gzip, deflate")],
    "identity": [("Accept-Encoding", "identity")],
    "br-only": [("Accept-Encoding", "br")],
    "none": [],
    "garbage": [("Accept-Encoding", ";;q=,,=/zip, *?")],
}


def decoded(answer: Response, client: str) -> bytes:
    """The body as that client sees it; an AssertionError where it cannot read it."""
    encoding = answer.value("content-encoding")
    if encoding is None:
        return answer.body
    assert (encoding, client) == ("gzip", "gzip")
    return gzip.decompress(answer.body)


def check_every_client(here: Site, path: str, first: str) -> None:
    """Whoever asks first, each kind of client can read what it gets, made for it or stored."""
    outside = here.label == "gzip-outside"
    # Litestar says Vary only where it compresses, so what was stored plain is for all clients.
    plain_for_all = here.cell.framework == "litestar" and not outside
    for client in [first, *ACCEPTED, *ACCEPTED]:
        answer = here.get(path, *ACCEPTED[client])
        bodies.read(decoded(answer, client), PAGE_BYTES)
        if client == "gzip" and not plain_for_all:
            assert answer.value("content-encoding") == "gzip"
            assert "accept-encoding" in (answer.value("vary") or "").lower()
    for client in ACCEPTED:
        assert here.get(path, *ACCEPTED[client]).is_hit
    # Outside there is one stored response for all; inside one for each way of encoding.
    if not plain_for_all:
        assert here.calls() == (1 if outside else 2)


@pytest.mark.parametrize("first", ACCEPTED)
def test_gzip_inside(site: Site, first: str) -> None:
    check_every_client(site.at("gzip-inside"), "/page", first)


@pytest.mark.needs("gzip-outside")
@pytest.mark.parametrize("first", ACCEPTED)
def test_gzip_outside(site: Site, first: str) -> None:
    check_every_client(site.at("gzip-outside"), "/page", first)


@pytest.mark.parametrize("first", ACCEPTED)
@pytest.mark.parametrize("label", ["gzip-inside", "gzip-outside"])
def test_gzip_of_a_streamed_body(site: Site, label: str, first: str) -> None:
    site.open()
    check_every_client(site.at(label), "/stream", first)


def test_gzipped_body_can_be_validated(site: Site) -> None:
    here = site.at("gzip-inside")
    for client in ("gzip", "identity"):
        etag = here.get("/page", *ACCEPTED[client]).value("etag")
        assert etag
        again = here.get("/page", ("If-None-Match", etag), *ACCEPTED[client])
        assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("label", ["cors-inside", "cors-outside"])
def test_every_origin_gets_its_own_permission(site: Site, label: str) -> None:
    here = site.at(label)
    allowed = {origin: origin for origin in ORIGINS}
    for number in range(2):
        for origin in [*ORIGINS, "https://evil.example", None]:
            fields = [] if origin is None else [("Origin", origin)]
            answer, _ = here.told("/page", *fields)
            granted = answer.value("access-control-allow-origin")
            if origin is not None:
                assert granted == allowed.get(origin)
            assert number == 0 or answer.is_hit


@pytest.mark.parametrize("label", ["cors-inside", "cors-outside"])
def test_preflight_reaches_the_cors_middleware(site: Site, label: str) -> None:
    here = site.at(label)
    asked = [("Origin", ORIGINS[0]), ("Access-Control-Request-Method", "GET")]
    for _ in range(2):
        answer = here.ask("OPTIONS", "/page", asked)
        assert answer.status in (200, 204)
        assert answer.value("access-control-allow-origin") == ORIGINS[0]
        assert answer.cache_status == ""
    assert here.calls() == 0


def signed_in(site: Site, user: str) -> tuple[str, str]:
    """The Cookie line of a user's session."""
    answer = site.ask("POST", "/login", user=user)
    assert answer.status == 204
    pairs = [line.partition(";")[0] for line in answer.values("set-cookie")]
    assert pairs
    return ("Cookie", "; ".join(pairs))


def test_public_page_is_shared_by_all_sessions(site: Site) -> None:
    here = site.at("sessions")
    _, made = here.told("/page", signed_in(here, "alice"))
    for fields in ([signed_in(here, "bob")], []):
        answer, told = here.told("/page", *fields)
        assert answer.is_hit
        assert told == made


def test_page_not_called_public_is_nobody_elses(site: Site) -> None:
    here = site.at("sessions")
    alice, bob = signed_in(here, "alice"), signed_in(here, "bob")
    for _ in range(2):
        for fields, user in (([alice], "alice"), ([bob], "bob"), ([], None)):
            for path in ("/me", "/personal"):
                answer, told = here.told(path, *fields)
                assert told.user == (user if path == "/me" else None)
                assert told.values("cookie") == [value for _, value in fields]
                assert not (fields and answer.is_hit)


def test_rule_never_shows_one_user_to_another(site: Site) -> None:
    """Everybody gets the page that was made for nobody, or is answered by a run of their own.

    Which of them depends on whether the framework says Vary: Cookie, or sets a cookie.
    """
    here = site.at("sessions")
    alice, bob = signed_in(here, "alice"), signed_in(here, "bob")
    for _ in range(2):
        for fields, user in (([alice], "alice"), ([bob], "bob"), ([], None)):
            answer, told = here.told("/greeting", *fields)
            if answer.cache_status == "fwd=bypass" or told.user is not None:
                assert told.user == user
                assert not answer.is_hit
            if answer.is_hit:
                assert told.values("cookie") == []
                assert answer.values("set-cookie") == []
