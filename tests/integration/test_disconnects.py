"""A client that goes away: whatever it had by then, nothing short is ever stored, in every cell.

The app has sent that share of the body and waits at a gate; the client has read all of it and goes
away; then the app goes on, if the server has not ended it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.apps import bodies

if TYPE_CHECKING:
    from tests.integration.client import Response
    from tests.integration.site import Site

BODY_BYTES = 300_000

pytestmark = [
    pytest.mark.parametrize("percent", [0, 10, 50, 99, 100]),
    pytest.mark.parametrize("ending", ["reset", "close"]),
    pytest.mark.parametrize(
        ("path", "framing"),
        [("/stream", "chunked"), ("/stream", "length"), ("/ruled/stream", "length")],
    ),
]


def leave(site: Site, path: str, ending: str, *, strict: bool, **query: Any) -> None:
    """Go away at that share of the body, and wait until the app is done with the request."""
    fields = [("Cookie", "user=alice"), *([("X-Strict", "1")] if strict else [])]
    size = query["size"] * query["cut"] // 100
    with site.call("GET", path, fields, run="left", **query) as call:
        if size:
            assert call.head().status == 200
            assert len(call.read(size)) == size
        if query["cut"] < 100 or query["framing"] == "chunked":
            site.reached()
        # Else some servers say by now that the client is gone, and some apps end before the gate.
        if ending == "reset":
            call.reset()
        else:
            call.close()
    if strict:
        site.gone("left")
    site.open()
    site.ended("left")


def whole(site: Site, path: str, **query: Any) -> Response:
    """What the next client gets; an AssertionError where it is short."""
    answer = site.get(path, **query)
    assert answer.status == 200
    told = bodies.read(answer.body, query["size"])
    assert path == "/stream" or told.values("cookie") == []
    assert answer.value("content-length") in (None, str(query["size"]))
    return answer


def test_nothing_short_is_stored(
    site: Site, percent: int, ending: str, path: str, framing: str
) -> None:
    query = {"cut": percent, "framing": framing, "size": BODY_BYTES}
    leave(site, path, ending, strict=False, **query)
    whole(site, path, **query)
    assert whole(site, path, **query).is_hit


def test_nothing_short_is_stored_where_send_raises(
    site: Site, percent: int, ending: str, path: str, framing: str
) -> None:
    """ASGI 2.4: what the app sends after the client has gone raises OSError in it."""
    query = {"cut": percent, "framing": framing, "size": BODY_BYTES}
    leave(site, path, ending, strict=True, **query)
    # The fill goes on without its client where the app lets it, and is whole then.
    whole(site, path, **query)
    assert whole(site, path, **query).is_hit
