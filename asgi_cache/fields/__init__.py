"""Field syntax: from the bytes of a field to values and back, never an exception.

``syntax`` has what fields are made of, ``directives`` those made of directives and numbers,
``dates`` HTTP-date, ``ranges`` Range, ``structured`` structured fields; ``remembering`` keeps what
a value was read as.
"""

from asgi_cache.fields.dates import format_date, parse_date
from asgi_cache.fields.directives import (
    MAX_DELTA_SECONDS,
    Directives,
    parse_age,
    parse_directives,
    parse_groups,
    parse_seconds,
    parse_targeted,
)
from asgi_cache.fields.structured import serialize_token_or_string
from asgi_cache.fields.syntax import (
    MAX_COOKIE_BYTES,
    MAX_HOST_BYTES,
    MAX_PARSED_BYTES,
    entity_tag,
    is_any,
    is_field_name,
    is_field_value,
    is_host,
    is_token,
    is_weak,
    opaque_of,
    parse_cookies,
    parse_entity_tag,
    parse_entity_tags,
    parse_forwarded,
    parse_weights,
    split_list,
)

__all__ = [
    "MAX_COOKIE_BYTES",
    "MAX_DELTA_SECONDS",
    "MAX_HOST_BYTES",
    "MAX_PARSED_BYTES",
    "Directives",
    "entity_tag",
    "format_date",
    "is_any",
    "is_field_name",
    "is_field_value",
    "is_host",
    "is_token",
    "is_weak",
    "opaque_of",
    "parse_age",
    "parse_cookies",
    "parse_date",
    "parse_directives",
    "parse_entity_tag",
    "parse_entity_tags",
    "parse_forwarded",
    "parse_groups",
    "parse_seconds",
    "parse_targeted",
    "parse_weights",
    "serialize_token_or_string",
    "split_list",
]
