"""What there is to ask for: kinds of pages, the rules of the cache, and the scopes of purges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from asgi_cache import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

SITES: Final = ("first", "second")
"""Two apps with the same pages, in one Redis."""
HOSTS: Final = ("a.example", "b.example")
PAGES: Final = 3
QUERIES: Final = ("", "q=1", "q=2")
USERS: Final = ("user-ann-", "user-bob-", "user-eve-")
LANGUAGES: Final = {None: None, "de": "de", "en-GB, de;q=0.5": "en", "DE , xx": "de", "fr": None}
"""What clients send, and what the rule of ``lang`` folds it to."""

SHORT: Final = 1.0
LONG: Final = 4.0


@dataclass(frozen=True)
class Kind:
    """One kind of page: what the app says of it, and the cache is told."""

    lines: tuple[tuple[str, str], ...] = ()
    rule: Rule | Literal[False] | None = None
    ttl: float = LONG
    """Seconds that an answer is fresh."""
    window: float = 0.0
    """Seconds that it may be used beyond, while it is revalidated or the app fails."""
    personal: bool = False
    """Whether the app looks at who asks."""
    shared: bool = True
    """Whether anybody but its client may ever have an answer."""
    tag: Literal["", "strong", "weak"] = ""
    large: bool = False
    weight: int = 2


def _said(text: str, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return (("cache-control", text), *more)


_PUBLIC: Final = f"public, max-age={LONG:.0f}"

KINDS: Final = {
    "plain": Kind(_said(_PUBLIC)),
    "maxage": Kind(_said(f"max-age={LONG:.0f}"), personal=True),
    "cookie": Kind(_said(_PUBLIC)),
    "vary": Kind(_said(_PUBLIC, ("vary", "X-Flavour"))),
    "varyuser": Kind(
        _said(_PUBLIC, ("vary", "cookie , Authorization")), personal=True, shared=False, weight=1
    ),
    "groups": Kind(_said(_PUBLIC)),
    "private": Kind(_said("Private, max-age=60"), personal=True, shared=False, weight=1),
    "nostore": Kind(_said("max-age=60 , NO-STORE"), personal=True, shared=False, weight=1),
    "ruled": Kind(rule=Rule(ttl=LONG, groups=["page:{n}", "pages"]), personal=True, weight=3),
    "own": Kind(rule=Rule(ttl=LONG, groups=["page:{n}"]), personal=True, shared=False),
    "lang": Kind(rule=Rule(ttl=LONG, languages=["en", "de"]), personal=True),
    "query": Kind(rule=Rule(ttl=LONG, query=["q"]), personal=True),
    "taste": Kind(rule=Rule(ttl=LONG, cookies=["taste"]), personal=True),
    "error": Kind(rule=Rule(ttl=LONG, statuses=[404]), personal=True),
    "stale": Kind(
        rule=Rule(ttl=SHORT, stale_while_revalidate=2.0, groups=["pages"]),
        ttl=SHORT,
        window=2.0,
        personal=True,
        weight=3,
    ),
    "onerror": Kind(rule=Rule(ttl=SHORT, stale_if_error=3.0), ttl=SHORT, window=3.0, personal=True),
    "etag": Kind(rule=Rule(ttl=SHORT), ttl=SHORT, personal=True, tag="strong", weight=3),
    "weak": Kind(
        _said(f"public, max-age={SHORT:.0f}, stale-while-revalidate=2"),
        ttl=SHORT,
        window=2.0,
        tag="weak",
    ),
    "bytes": Kind(rule=Rule(ttl=LONG), personal=True, tag="strong"),
    "stream": Kind(rule=Rule(ttl=SHORT), ttl=SHORT, personal=True),
    "large": Kind(rule=Rule(ttl=LONG), personal=True, large=True, weight=1),
    "off": Kind(_said(_PUBLIC), rule=False, personal=True, shared=False, weight=1),
}
DRAWN: Final = [name for name, kind in KINDS.items() for _ in range(kind.weight)]
PATHS: Final = {
    f"/{name}/{{n}}": kind.rule for name, kind in KINDS.items() if kind.rule is not None
}
GROUPS: Final = ("h0", "h1", "pages", *(f"page:{number}" for number in range(PAGES)), "nobody's")

MOST_APP_SECONDS: Final = 0.3
"""More than one call of the app ever sleeps in total."""

WAITED: Final = ("ruled", "lang", "query", "stale", "etag", "onerror", "bytes", "large")
"""Kinds whose answers are everybody's: others wait for the one call that makes them."""
FAILING: Final = "onerror"
"""That one of them whose app fails at times, which releases whoever waits."""
PROXY: Final = "evil.example"

CallKey: TypeAlias = tuple[str | None, ...]
"""What others wait for: site, kind, path, host, query, X-Forwarded-Host, language."""

Scope: TypeAlias = tuple[str, ...]
"""What is purged at once: ``(site, "all")``, ``(site, "group", name)``, ``(site, "group", name,
host)``, ``(site, "path", host, path)``, ``(site, "url", host, path, query)``."""


def all_scopes() -> Iterator[Scope]:
    """Every scope there is, each process's in the same order."""
    for site in SITES:
        yield (site, "all")
        yield from ((site, "group", name) for name in GROUPS)
        for host in HOSTS:
            yield from ((site, "group", name, host) for name in GROUPS)
            for kind in KINDS:
                for number in range(PAGES):
                    path = f"/{kind}/{number}"
                    yield (site, "path", host, path)
                    yield from ((site, "url", host, path, query) for query in QUERIES)


def all_calls() -> Iterator[CallKey]:
    """What there is to wait for, each process's in the same order."""
    for site, kind, number, host in product(SITES, WAITED, range(PAGES), HOSTS):
        languages = sorted({*LANGUAGES.values()}, key=str) if kind == "lang" else [None]
        for query, proxy, language in product(QUERIES, (None, PROXY), languages):
            yield (site, kind, f"/{kind}/{number}", host, query, proxy, language)


@cache
def scopes_of(site: str, host: str, path: str, query: str) -> tuple[Scope, ...]:
    """The scopes that an answer to *query*, as folded, belongs to."""
    _, kind, number = path.split("/")
    groups: list[str] = []
    rule = KINDS[kind].rule
    if rule:
        groups += [group.replace("{n}", number) for group in rule.groups]
    if kind == "groups":
        groups.append(f"h{int(number) % 2}")
    scopes: list[Scope] = [(site, "all")]
    scopes += [(site, "path", host, path), (site, "url", host, path, query)]
    for group in groups:
        scopes += [(site, "group", group), (site, "group", group, host)]
    return tuple(scopes)
