"""Hits, 304, HEAD, Vary, invalidation and purges, in every cell."""

from __future__ import annotations

import contextlib
import http.client
from typing import TYPE_CHECKING

import pytest

from tests.integration.apps import bodies

if TYPE_CHECKING:
    from tests.integration.site import Site


def check_hit(site: Site) -> None:
    first, made = site.told("/page")
    second, told = site.told("/page")
    assert first.cache_status == "fwd=uri-miss; stored"
    assert second.is_hit
    assert told == made
    assert second.body == first.body
    assert int(second.value("age") or 9) < 5  # seconds that a busy machine may take
    assert site.calls() == 1


def test_hit(site: Site) -> None:
    check_hit(site)
    assert site.get("/page").value("x-response-time")


@pytest.mark.needs("added")
def test_hit_by_add_middleware(site: Site) -> None:
    check_hit(site.at("added"))


@pytest.mark.needs("one-piece")
def test_hit_at_once(site: Site) -> None:
    """Who has the last byte of a response and asks again is answered from it."""
    for number in range(10):
        first = site.get_at_once("/page", number=number)
        second = site.get_at_once("/page", number=number)
        assert second.is_hit
        assert second.body == first.body
    assert site.calls() == 10


def test_not_modified(site: Site) -> None:
    first = site.get("/page")
    etag = first.value("etag")
    assert etag
    answer = site.get("/page", ("If-None-Match", etag))
    assert (answer.status, answer.body, answer.is_hit) == (304, b"", True)
    assert answer.value("etag") == etag
    assert answer.value("content-length") is None
    other = site.get("/page", ("If-None-Match", '"another"'))
    assert (other.status, other.body) == (200, first.body)
    assert site.calls() == 1


@pytest.mark.needs("one-piece")
def test_not_modified_by_a_generated_etag(site: Site) -> None:
    first = site.get("/untagged")
    etag = first.value("etag")
    assert etag
    assert etag.startswith('W/"')
    assert site.get("/untagged", ("If-None-Match", etag)).status == 304
    assert site.calls() == 1


def test_one_connection_for_all(site: Site) -> None:
    """What the cache answers is framed so that the next answer on the connection can be read."""
    connection = http.client.HTTPConnection("127.0.0.1", site.ports[0], timeout=20)
    etag = site.get("/page").value("etag")
    assert etag
    with contextlib.closing(connection):
        connection.connect()
        first = connection.sock
        for method, fields, status in (
            ("GET", {}, 200),
            ("HEAD", {}, 200),
            ("GET", {"If-None-Match": etag}, 304),
            ("GET", {}, 200),
        ):
            named = {"Host": site.host, **fields}
            connection.request(method, site.target("/page"), headers=named)
            answer = connection.getresponse()
            body = answer.read()
            assert (answer.status, bool(body)) == (status, (method, status) == ("GET", 200))
            assert "; hit" in (answer.getheader("cache-status") or "")
            assert connection.sock is first
    assert site.calls() == 1


def test_head_is_answered_from_a_stored_get(site: Site) -> None:
    stored = site.get("/page")
    head = site.ask("HEAD", "/page")
    assert (head.status, head.body, head.is_hit) == (200, b"", True)
    for name in ("content-length", "content-type", "etag", "cache-control"):
        assert head.value(name) == stored.value(name)
    assert head.value("content-length") == str(len(stored.body))
    assert site.calls() == 1


def test_head_of_nothing_stored_leaves_nothing(site: Site) -> None:
    head = site.ask("HEAD", "/page")
    assert head.body == b""
    assert head.cache_status == "fwd=uri-miss; detail=head"
    answer, told = site.told("/page")
    assert not answer.is_hit
    assert told.method == "GET"


def test_vary(site: Site) -> None:
    flavours = ["sweet", "sour", None]
    made = {}
    for flavour in flavours:
        fields = [] if flavour is None else [("X-Flavour", flavour)]
        answer, told = site.told("/flavours", *fields)
        assert not answer.is_hit
        assert told.values("x-flavour") == ([] if flavour is None else [flavour])
        made[flavour] = told
    for flavour in flavours:
        fields = [] if flavour is None else [("X-Flavour", flavour)]
        answer, told = site.told("/flavours", *fields)
        assert answer.is_hit
        assert told == made[flavour]
    assert site.calls() == 3


def test_rule(site: Site) -> None:
    first, told = site.told("/ruled/page", ("Cookie", "user=alice"))
    assert first.value("cache-control") == "max-age=60"
    assert told.values("cookie") == []
    second, same = site.told("/ruled/page", ("Cookie", "user=bob"))
    assert second.is_hit
    assert same == told


def test_post_invalidates(site: Site) -> None:
    site.told("/page")
    changed = site.ask("POST", "/page")
    assert changed.status == 200
    assert changed.cache_status == ""
    answer, told = site.told("/page")
    assert not answer.is_hit
    assert told.method == "GET"
    assert site.calls() == 3


@pytest.mark.parametrize("absolute", [True, False])
def test_purge_from_a_handler(site: Site, absolute: bool) -> None:
    _, before = site.told("/page")
    site.purge(("http://" + site.host if absolute else "") + site.target("/page"))
    answer, after = site.told("/page")
    assert not answer.is_hit
    assert after.serial > before.serial
    assert site.get("/page").is_hit


def test_purge_of_all_variants(site: Site) -> None:
    for flavour in ("sweet", "sour"):
        site.told("/flavours", ("X-Flavour", flavour))
    site.purge(site.target("/flavours"))
    for flavour in ("sweet", "sour"):
        assert not site.told("/flavours", ("X-Flavour", flavour))[0].is_hit


def test_app_knows_its_cache_only_where_it_has_one(site: Site) -> None:
    for label in ("plain", "gzip-outside", "cors-outside", "sessions", "cors-inside"):
        here = site.at(label)
        here.told("/page")
        assert here.get("/page").is_hit
        here.purge(here.target("/page"))
        assert not here.get("/page").is_hit


@pytest.mark.needs("two-workers")
def test_two_workers_share_a_redis(site: Site) -> None:
    other = site.other_worker
    _, made = site.filled("/page")
    answer, told = other.told("/page")
    assert answer.is_hit
    assert told == made
    assert told.worker == "one"
    other.purge(other.target("/page"))
    _, told = site.filled("/page")
    assert told.serial > made.serial
    assert told.worker == "one"
    assert bodies.read(other.get("/page").body) == told
    assert (site.calls(), other.calls()) == (2, 0)


@pytest.mark.parametrize("label", ["mounting", "mounted"])
def test_mounted_app(site: Site, label: str) -> None:
    here = site.at(label)
    _, made = here.told("/sub/page")
    answer, told = here.told("/sub/page")
    assert answer.is_hit
    assert told == made
    here.purge(here.target("/sub/page"), path="/sub/purge")
    answer, told = here.told("/sub/page")
    assert not answer.is_hit
    assert told.serial > made.serial
    here.purge("page?id=" + here.id, path="/sub/purge")
    assert not here.get("/sub/page").is_hit


def test_rule_of_a_mounted_app(site: Site) -> None:
    here = site.at("mounted")
    _, made = here.told("/sub/ruled/page", ("Cookie", "user=alice"))
    answer, told = here.told("/sub/ruled/page", ("Cookie", "user=bob"))
    assert answer.is_hit
    assert told == made
    assert told.values("cookie") == []
