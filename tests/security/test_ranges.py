"""Cases R01 to R12: parts, conditions and HEAD leave nothing behind but whole responses."""

from __future__ import annotations

import asyncio
import email
import time
from email.message import Message
from typing import TYPE_CHECKING, Any

import pytest

from tests.security.harness import SHARED, Origin, Reply, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Receive, Scope, Send

    from tests.driver import Field
    from tests.security.harness import Lines, Place, Told

EVERYWHERE = {"/{rest:path}": 60}
PAGE = bytes(range(256)) * 4
ETAG = b'"one"'
OLD: Lines = [("if-none-match", '"one"')]


class Pages:
    """An app that understands Range, If-None-Match and HEAD, as an app with files does."""

    def __init__(self, lines: Iterable[Field] = SHARED, *, length: bool = True) -> None:
        self.lines = [(str(name).encode(), str(value).encode()) for name, value in lines]
        self.length = length
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        fields = dict(scope["headers"])
        status, body, lines = 200, PAGE, [*self.lines, (b"etag", ETAG)]
        if fields.get(b"if-none-match") == ETAG:
            status, body = 304, b""
        elif b"range" in fields:
            first, _, last = fields[b"range"].removeprefix(b"bytes=").partition(b"-")
            if first.isdigit() and last.isdigit():
                status, body = 206, PAGE[int(first) : int(last) + 1]
                content_range = b"bytes %b-%b/%d" % (first, last, len(PAGE))
                lines.append((b"content-range", content_range))
        if self.length and status != 304:
            lines.append((b"content-length", b"%d" % len(body)))
        if scope["method"] == "HEAD":
            body = b""
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": body})


def settings(ruled: bool) -> dict[str, Any]:
    return {"paths": EVERYWHERE} if ruled else {}


RULED = pytest.mark.parametrize("ruled", [False, True])
LENGTH = pytest.mark.parametrize("length", [False, True])


@RULED
@LENGTH
@pytest.mark.parametrize(
    "extra",
    [
        (),
        [("cache-control", "x-no-store")],
        [("cache-control", 'x="no-store"')],
        [("cache-control", "no-store")],
        [("cache-control", "max-age=0")],
        [("if-range", '"one"')],
        [("pragma", "no-cache")],
    ],
)
async def test_r01_a_range_first_leaves_no_part(
    place: Place, ruled: bool, length: bool, extra: Lines
) -> None:
    site = place.site(Pages([] if ruled else SHARED, length=length), **settings(ruled))
    part = await site.ask(headers=[("range", "bytes=0-9"), *extra])
    assert part.status == 206
    assert part.body == PAGE[:10]
    assert "detail=" in part.cache_status
    whole = await site.ask()
    assert (whole.status, whole.body) == (200, PAGE)
    assert (await site.ask()).body == PAGE
    assert site.calls == 2


@RULED
async def test_r01_an_unasked_part_is_never_stored(place: Place, ruled: bool) -> None:
    lines = [*SHARED, ("content-range", "bytes 0-9/1024")]
    site = place.site(Origin(Reply(lines, status=206, body=PAGE[:10])), **settings(ruled))
    for _ in range(3):
        assert (await site.ask()).status == 206
    assert site.calls == 3


@RULED
async def test_r02_ranges_and_whole_pages_together(place: Place, ruled: bool) -> None:
    """Whatever comes first: the part asked for from the app, or all of it."""
    site = place.site(Pages([] if ruled else SHARED), **settings(ruled))

    async def ask(number: int) -> None:
        first, last = number, number + 9
        headers = [("range", f"bytes={first}-{last}")] if number % 2 else []
        exchange = await site.ask(headers=headers)
        if exchange.status == 206:
            assert headers
            assert exchange.body == PAGE[first : last + 1]
        else:
            assert (exchange.status, exchange.body) == (200, PAGE)

    for _ in range(3):
        await asyncio.gather(*(ask(number) for number in range(50)))
    assert (await site.ask()).body == PAGE


@RULED
@pytest.mark.parametrize("value", ["bytes=9-0", "lines=1-2", "bytes", "", "bytes=a-b", "bytes=0-"])
async def test_r04_what_is_no_part_gets_all_of_it(place: Place, ruled: bool, value: str) -> None:
    """``bytes=0-`` is a part, and all of it."""
    site = place.site(Pages([] if ruled else SHARED), **settings(ruled))
    await site.ask()
    for extra in ((), [("if-range", ETAG)], [("if-range", '"two"')]):
        exchange = await site.ask(headers=[("range", value), *extra])
        whole = value == "bytes=0-" and extra != [("if-range", '"two"')]
        assert (exchange.status, exchange.body) == (206 if whole else 200, PAGE)
        assert exchange.field("content-length") == str(len(PAGE))
    assert site.calls == 1


@RULED
@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=-5", 1019, 1023),
        ("bytes=1020-", 1020, 1023),
        ("bytes=7-7", 7, 7),
        ("bytes=1000-9999", 1000, 1023),
        ("BYTES=0-9\t", 0, 9),
        ("bytes=0-9,9999-", 0, 9),
    ],
)
async def test_r05_a_part_of_a_stored_page_is_exact(
    place: Place, ruled: bool, value: str, first: int, last: int
) -> None:
    site = place.site(Pages([] if ruled else SHARED), **settings(ruled))
    whole = await site.ask()
    for extra, part in (
        ((), True),
        ([("if-range", ETAG)], True),
        ([("if-range", b"W/" + ETAG)], False),
        ([("if-range", '"two"')], False),
        ([("if-range", "Tue, 14 Nov 2023 20:00:00 GMT")], False),
    ):
        exchange = await site.ask(headers=[("range", value), *extra])
        expected = (206, PAGE[first : last + 1]) if part else (200, PAGE)
        assert (exchange.status, exchange.body) == expected
        assert exchange.field("content-length") == str(len(exchange.body))
        told = f"bytes {first}-{last}/{len(PAGE)}" if part else None
        assert exchange.field("content-range") == told
        assert exchange.field("etag") == whole.field("etag")
        assert exchange.hit
    assert site.calls == 1


@RULED
async def test_r04_beyond_the_end(place: Place, ruled: bool) -> None:
    site = place.site(Pages([] if ruled else SHARED), **settings(ruled))
    await site.ask()
    exchange = await site.ask(headers=[("range", "bytes=1024-")])
    assert (exchange.status, exchange.body) == (416, b"")
    assert exchange.field("content-range") == "bytes */1024"
    assert exchange.values("cache-control") == []
    assert exchange.hit


@RULED
async def test_r04_several_parts(place: Place, ruled: bool) -> None:
    site = place.site(Pages([] if ruled else SHARED), **settings(ruled))
    await site.ask()
    exchange = await site.ask(headers=[("range", "bytes=0-9,20-29")])
    assert exchange.status == 206
    kind = exchange.field("content-type") or ""
    message = email.message_from_bytes(
        b"content-type: " + kind.encode() + b"\r\n\r\n" + exchange.body
    )
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert [part["content-range"] for part in parts if isinstance(part, Message)] == [
        "bytes 0-9/1024",
        "bytes 20-29/1024",
    ]
    for first in (0, 20):
        assert PAGE[first : first + 10] in exchange.body
    # Overlapping, or too many: all of it.
    for value in ("bytes=0-9,5-12", "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 40, 2))):
        exchange = await site.ask(headers=[("range", value)])
        assert (exchange.status, exchange.body) == (200, PAGE)
    assert site.calls == 1


async def test_r04_ten_thousand_ranges_cost_nothing(place: Place) -> None:
    site = place.site(Pages())
    await site.ask()
    value = "bytes=" + ",".join("0-500" for _ in range(17_000))
    spent = []
    for _ in range(5):
        began = time.process_time()
        exchange = await site.ask(headers=[("range", value)])
        spent.append(time.process_time() - began)
        assert (exchange.status, exchange.body) == (200, PAGE)
    assert min(spent) < 0.01
    assert site.calls == 1


@RULED
async def test_r06_a_condition_on_a_miss_leaves_the_page(place: Place, ruled: bool) -> None:
    site = place.site(Pages([] if ruled else SHARED), **settings(ruled))
    assert (await site.ask(headers=OLD)).status == 304
    for _ in range(2):
        exchange = await site.ask()
        assert (exchange.status, exchange.body) == (200, PAGE)
    assert site.calls == (1 if ruled else 2)
    assert (await site.ask(headers=OLD)).status == 304
    assert (await site.ask(headers=[("if-none-match", '"two"')])).body == PAGE
    assert site.calls == (1 if ruled else 2)


async def test_r06_a_304_is_only_for_who_asked_a_condition(place: Place) -> None:
    site = place.site(Pages())
    await site.ask()
    fields: list[tuple[str, int]] = [
        ('"one"', 304),
        ('W/"one"', 304),
        ('"two", "one"', 304),
        ("*", 304),
        ('"two"', 200),
        ("one", 200),
        ("", 200),
        ('"one', 200),
    ]
    for value, status in fields:
        exchange = await site.ask(headers=[("if-none-match", value)])
        assert (exchange.status, exchange.body) == (status, b"" if status == 304 else PAGE)
        plain = await site.ask()
        assert (plain.status, plain.body) == (200, PAGE)
    assert site.calls == 1


async def test_r06_an_etag_of_another_page_is_no_condition_met(place: Place) -> None:
    """A tag is looked up at its URL, not anywhere."""
    site = place.site(Origin(Reply(SHARED)))
    one, two = await site.ask("/one"), await site.ask("/two")
    assert one.field("etag") != two.field("etag")
    exchange = await site.ask("/two", headers=[("if-none-match", one.field("etag") or "")])
    assert (exchange.status, exchange.body) == (200, two.body)


async def test_r06_a_generated_etag_is_the_same_on_every_worker(place: Place) -> None:
    sites = [
        place.site(Origin(Reply(SHARED, body=PAGE)), namespace=f"{place.namespace}-{number}")
        for number in range(2)
    ]
    tags = [(await site.ask()).field("etag") for site in sites]
    assert tags[0] is not None
    assert tags[0] == tags[1] == (await sites[0].ask()).field("etag")


@RULED
async def test_r08_an_unasked_304_is_passed_on_and_not_stored(place: Place, ruled: bool) -> None:
    answers = [Reply([*SHARED, ("etag", '"one"')], status=304, body=b"", length=False)]

    def answer(told: Told) -> Reply:
        return answers[0] if told.serial <= 2 else Reply(SHARED)

    site = place.site(Origin(answer), **settings(ruled))
    for _ in range(2):
        exchange = await site.ask()
        assert (exchange.status, exchange.body) == (304, b"")
    assert read((await site.ask()).body).serial == 3
    assert read((await site.ask()).body).serial == 3


@RULED
@LENGTH
@pytest.mark.parametrize(
    "extra",
    [
        (),
        [("cache-control", "x-no-store")],
        [("cache-control", "no-storey")],
        [("cache-control", "no-store")],
        [("x-http-method-override", "GET")],
    ],
)
async def test_r11_head_first_leaves_no_empty_page(
    place: Place, ruled: bool, length: bool, extra: Lines
) -> None:
    site = place.site(Pages([] if ruled else SHARED, length=length), **settings(ruled))
    head = await site.ask(method="HEAD", headers=extra)
    assert (head.status, head.body) == (200, b"")
    for headers in (extra, ()):
        page = await site.ask(headers=headers)
        assert (page.status, page.body) == (200, PAGE)


@RULED
@LENGTH
async def test_r12_head_on_a_stored_page(place: Place, ruled: bool, length: bool) -> None:
    site = place.site(Pages([] if ruled else SHARED, length=length), **settings(ruled))
    await site.ask()
    head = await site.ask(method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.values("content-length") == [str(len(PAGE))]
    page = await site.ask()
    assert page.body == PAGE
    own = {b"x-response-time", b"age", b"cache-status"}
    assert [line for line in head.headers if line[0] not in own] == [
        line for line in page.headers if line[0] not in own
    ]
    conditional = await site.ask(method="HEAD", headers=OLD)
    assert (conditional.status, conditional.body) == (304, b"")
    assert site.calls == 1
