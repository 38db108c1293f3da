"""Records for the tests of stores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from asgi_cache.fields import entity_tag
from asgi_cache.model import (
    NONCE_BYTES,
    CarriedStamp,
    NominatedFields,
    Record,
    StoredResponse,
)

NONCE = bytes(range(NONCE_BYTES))


def stored_response(discard_at: float = 2_000_000_000.0, **changes: Any) -> StoredResponse:
    values: dict[str, Any] = {
        "status": 200,
        "lines": ((b"content-type", b"text/plain"), (b"x-a", b"1"), (b"x-a", b"2")),
        "body": b"hello",
        "generated_at": 1.5,
        "fresh_until": 2.5,
        "revalidate_until": 3.5,
        "error_until": 4.5,
        "may_be_stale": True,
        "discard_at": discard_at,
        "etag": b'W/"abc"',
        "last_modified": 1.0,
        "explicitly_shared": False,
        "authorized_reuse": False,
        "browser_ttl": None,
        "emitted": 1,
        "nominated": ((b"accept-language", b"en"), (b"origin", None)),
        "groups": ("product:1",),
        "stamps": (CarriedStamp(b"n", NONCE, NONCE[::-1]),),
    }
    return StoredResponse(**(values | changes))


def nominated_fields(
    discard_at: float = 2_000_000_000.0, names: tuple[bytes, ...] = (b"accept-language", b"origin")
) -> NominatedFields:
    return NominatedFields(names, ("product:1", "products"), discard_at)


_instants = st.floats(min_value=-1e12, max_value=1e12)
_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~", min_size=1).map(str.encode)
_NEVER = (b"set-cookie", b"age", b"te", b"trailer", b"upgrade", b"connection")
_line_names = _names.filter(lambda name: name not in _NEVER)
_values = st.binary(max_size=40).map(lambda value: value.translate(None, b"\r\n\0"))
_groups = st.lists(st.text(max_size=12), max_size=4).map(tuple)
_nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)
_etags = st.builds(entity_tag, st.booleans(), _values.map(lambda v: v.replace(b'"', b"")))

stored_responses: st.SearchStrategy[Record] = st.builds(
    StoredResponse,
    status=st.integers(200, 599).filter(lambda status: status not in (206, 304)),
    lines=st.lists(st.tuples(_line_names, _values), max_size=12).map(tuple),
    body=st.binary(max_size=300),
    generated_at=_instants,
    fresh_until=_instants,
    revalidate_until=_instants,
    error_until=_instants,
    may_be_stale=st.booleans(),
    discard_at=_instants,
    etag=st.none() | _etags,
    last_modified=st.none() | _instants,
    explicitly_shared=st.booleans(),
    authorized_reuse=st.booleans(),
    browser_ttl=st.none() | st.floats(min_value=0, max_value=1e12),
    emitted=st.just(0),
    nominated=st.lists(st.tuples(_names, st.none() | st.binary()), max_size=8).map(tuple),
    groups=_groups,
    stamps=st.lists(st.builds(CarriedStamp, st.binary(), _nonces, _nonces), max_size=5).map(tuple),
).flatmap(
    lambda response: st.integers(0, len(response.lines)).map(
        lambda emitted: replace(response, emitted=emitted)
    )
)
nominated_fields_records: st.SearchStrategy[Record] = st.builds(
    NominatedFields,
    names=st.sets(_names, max_size=8).map(lambda names: tuple(sorted(names))),
    groups=_groups,
    discard_at=_instants,
)
records = stored_responses | nominated_fields_records
