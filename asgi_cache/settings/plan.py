"""Everything derivable from :class:`~asgi_cache.settings.Settings`, derived once, at construction.

Names become lower-case bytes, rules compiled ones, and what a request's *shape* (the set of its
field names) means for the cache is worked out once per shape and remembered. The memos are
bounded and hold nothing that could not be worked out again.

What must not be here: decisions (``policy``), I/O.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asgi_cache.fields import is_host
from asgi_cache.settings.paths import Match, PathMatcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asgi_cache.settings import Rule, Settings

MEMO_LIMIT: Final = 1024
"""Shapes and authorities remembered; the memo is emptied when it is full."""
GLIMPSE_LIMIT: Final = 2048
"""Requests of which no more is known than that they have been screened."""
LONGEST_SHAPE: Final = 2048
"""Bytes of names; a longer shape is worked out anew: bounds what a stranger makes it hold."""

MAX_AUTHORITY_BYTES: Final = 255

COOKIE: Final = b"cookie"
AUTHORIZATION: Final = b"authorization"

ORIGIN_PRECONDITIONS: Final = frozenset({b"if-match", b"if-unmodified-since"})
"""Only an origin may evaluate these (RFC 9111 §4.3.2)."""
CACHE_PRECONDITIONS: Final = frozenset({b"if-none-match", b"if-modified-since"})
CONDITIONAL_FIELDS: Final = CACHE_PRECONDITIONS | {b"if-range"}
REQUEST_DIRECTIVES: Final = frozenset({b"cache-control", b"pragma"})
BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding"})


class Shape(NamedTuple):
    """What the names of a request's fields say, whatever the values."""

    credentials: tuple[bytes, ...]
    """Names of credential fields present: what an anonymous fill hides."""
    personal: bool
    """Credentials beyond Authorization: only an explicitly shared response may answer

    (``cookies = "ignore"`` leaves Cookie out)."""
    authorization: bool
    key_fields: tuple[bytes, ...]
    """Names of unkeyed inputs present, in the order of the setting."""
    conditional: bool
    """If-None-Match or If-Modified-Since."""
    ranged: bool
    exceptional: bool
    """A body, an origin's precondition or directives may be there: look at the values."""
    irregular: bool
    """A name is not in lower-case bytes, or has an underscore: what apps read there is unknown."""


class CompiledRule(NamedTuple):
    """A :class:`~asgi_cache.settings.Rule` made ready for bytes."""

    rule: Rule
    anonymous: bool
    """A TTL on this path: its fills are anonymous (design: decision 3)."""
    query: frozenset[bytes] | None
    ignored_query: re.Pattern[bytes] | None
    cookies: frozenset[bytes]
    vary: tuple[bytes, ...]
    languages: tuple[bytes, ...]
    folds_query: bool
    """Some parameters do not count."""
    looks_at_credentials: bool
    """What a request's credentials are changes its key, or whether it is looked up at all."""


def lower_names(names: Iterable[str]) -> tuple[bytes, ...]:
    """Field names as they stand in an ASGI scope."""
    return tuple(name.lower().encode("latin-1") for name in names)


def compile_rule(rule: Rule) -> CompiledRule:
    """Make *rule* ready; its values have been validated by Settings."""
    patterns = [fnmatch.translate(pattern) for pattern in rule.ignore_query]
    vary = set(lower_names(rule.vary))
    if rule.languages:
        # The languages are what the responses differ by, whether or not the app says so.
        vary.add(b"accept-language")
    return CompiledRule(
        rule=rule,
        anonymous=rule.ttl is not None and rule.anonymous,
        query=None if rule.query is None else frozenset(name.encode() for name in rule.query),
        ignored_query=re.compile("|".join(patterns).encode()) if patterns else None,
        cookies=frozenset(name.encode("latin-1") for name in rule.cookies),
        vary=tuple(sorted(vary)),
        languages=tuple(language.lower().encode("ascii") for language in rule.languages),
        folds_query=rule.query is not None or bool(patterns),
        looks_at_credentials=rule.ttl is not None and (not rule.anonymous or bool(rule.cookies)),
    )


class Plan:
    """The derived values of one :class:`Settings`; shared by all that use it."""

    __slots__ = (
        "_authorities",
        "_cookies_ignored",
        "_credential_prefixes",
        "_credentials",
        "_glimpsed",
        "cache_status_name",
        "hosts",
        "key_fields",
        "matcher",
        "rules",
        "screened",
        "shapes",
        "targeted_fields",
        "unstored_fields",
    )

    def __init__(self, settings: Settings, cache_status_name: bytes) -> None:
        names = lower_names(settings.credential_fields)
        # RFC 9111 §3.5 is not for a setting to lift; what Cookie may do, ``cookies`` says.
        self._credentials = frozenset(
            [AUTHORIZATION, COOKIE, *(name for name in names if not name.endswith(b"*"))]
        )
        self._credential_prefixes = tuple(name[:-1] for name in names if name.endswith(b"*"))
        self._cookies_ignored = settings.cookies == "ignore"
        self._authorities = frozenset(name.lower().encode() for name in settings.authorities)
        self.key_fields = lower_names(settings.key_fields)
        self.targeted_fields = lower_names(settings.targeted_fields)
        self.unstored_fields = frozenset(lower_names(settings.unstored_fields))
        self.cache_status_name = cache_status_name
        self.matcher = PathMatcher(settings.paths)
        self.rules: Mapping[str, CompiledRule] = {
            template: compile_rule(rule)
            for template, rule in settings.paths.items()
            if rule is not False
        }
        self.shapes: dict[tuple[bytes, ...], Shape] = {}
        """Shapes seen, by the names in the order of the request."""
        self.hosts: dict[bytes, bytes] = {}
        """Authorities seen, by the value of Host: valid, in lower case."""
        self.screened: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        """What ``policy.reuse.screen`` made of plain requests, by all that it looked at."""
        self._glimpsed: set[int] = set()
        """Hashes of what was screened once: of two that share one, one is remembered early."""

    def is_credential(self, name: bytes) -> bool:
        """Whether *name* (lower case) is one of ``credential_fields``."""
        return name in self._credentials or name.startswith(self._credential_prefixes)

    def shape(self, names: tuple[bytes, ...]) -> Shape:
        """Work out what *names* mean, and remember it."""
        # WSGI, and whatever follows CGI, reads an underscore as a hyphen: x_api_key is X-API-Key.
        irregular = any(
            type(name) is not bytes or name != name.lower() or b"_" in name for name in names
        )
        present = frozenset() if irregular else frozenset(names)
        credentials = tuple(sorted(filter(self.is_credential, present)))
        shape = Shape(
            credentials=credentials,
            personal=any(
                name != AUTHORIZATION and not (name == COOKIE and self._cookies_ignored)
                for name in credentials
            ),
            authorization=AUTHORIZATION in present,
            key_fields=tuple(name for name in self.key_fields if name in present),
            conditional=not CACHE_PRECONDITIONS.isdisjoint(present),
            ranged=b"range" in present,
            exceptional=not present.isdisjoint(
                BODY_FIELDS | ORIGIN_PRECONDITIONS | REQUEST_DIRECTIVES
            ),
            irregular=irregular,
        )
        if irregular or sum(map(len, names)) > LONGEST_SHAPE:
            return shape
        if len(self.shapes) >= MEMO_LIMIT:
            self.shapes.clear()
        self.shapes[names] = shape
        return shape

    def authority(self, host: bytes) -> bytes | None:
        """The authority that *host* names, or ``None`` where it is malformed (RFC 9110 §7.2)."""
        if len(host) > MAX_AUTHORITY_BYTES or not is_host(host):
            return None
        authority = host.lower()
        if len(self.hosts) >= MEMO_LIMIT:
            self.hosts.clear()
        self.hosts[host] = authority
        return authority

    def serves(self, authority: bytes) -> bool:
        """Whether ``authorities`` admits *authority*; an empty setting admits all."""
        return not self._authorities or authority in self._authorities

    def remember(self, seen: tuple[Any, ...], screened: tuple[Any, ...]) -> None:
        """Remember in :attr:`screened` what became of a request of which *seen* was all it took.

        From the second time on: many URLs asked once must not push out the few asked often.
        """
        mark = hash(seen)
        if mark not in self._glimpsed:
            if len(self._glimpsed) >= GLIMPSE_LIMIT:
                self._glimpsed.clear()
            self._glimpsed.add(mark)
            return
        if len(self.screened) >= MEMO_LIMIT:
            self.screened.clear()
        self.screened[seen] = screened

    def compiled(self, match: Match | None) -> CompiledRule | None:
        """The compiled rule of a match; ``None`` where no rule applies."""
        return None if match is None else self.rules.get(match.template)
