"""Questions drawn at random: who asks, in which variant, for which part, on which condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tests.security.checker.exchange import Asked
from tests.security.checker.pages import LANGUAGES, PROXY, USERS

if TYPE_CHECKING:
    import random

    from tests.security.checker.bodies import Told

Place: TypeAlias = tuple[str, str, str, str]
"""Site, host, path, query."""
Tags: TypeAlias = "dict[Place, tuple[str, Told]]"
"""The entity tags that clients remember, and what had them."""
TO_THE_END = 10**9


def question(
    draw: random.Random, ask: str, tags: Tags, place: Place
) -> tuple[Asked, list[tuple[str, str]]]:
    """A question for what is at *place*, and the fields that ask it."""
    site, host, path, query = place
    kind = path.split("/")[1]
    lines = [("x-ask", ask)]
    user = draw.choice([None, None, *USERS])
    taste = draw.choice([None, "sweet"]) if kind == "taste" else None
    cookies = [f"user={user}"] if user and draw.random() < 0.7 else []
    if user and not cookies:
        lines.append(("authorization", f"Bearer {user}"))
    if taste:
        cookies.insert(draw.randrange(2), f"taste={taste}")
    if cookies:
        lines.append(("cookie", "; ".join(cookies)))
    proxy = PROXY if draw.random() < 0.1 else None
    flavour = draw.choice([None, "x", "y"]) if kind == "vary" or draw.random() < 0.1 else None
    language = draw.choice([*LANGUAGES]) if kind == "lang" or draw.random() < 0.1 else None
    inputs = [("x-forwarded-host", proxy), ("x-flavour", flavour), ("accept-language", language)]
    lines += [(name, value) for name, value in inputs if value is not None]
    if draw.random() < 0.05:
        text = draw.choice(["no-cache", "no-store", "max-age=0", "only-if-cached"])
        lines.append(("cache-control", text))
    tag, told, wanted, if_range = None, None, None, None
    known = tags.get(place)
    if known is not None and draw.random() < 0.15:
        tag, told = known
        lines.append(("if-none-match", tag))
    elif kind in ("bytes", "large", "ruled") and draw.random() < 0.4:
        wanted, text = _part(draw)
        lines.append(("range", text))
        if known is not None and draw.random() < 0.4:
            if_range = known[0]
            lines.append(("if-range", if_range))
    asked = Asked(
        ask=ask,
        site=site,
        host=host,
        path=path,
        query=query,
        sent=_sent(draw, kind, query),
        method="HEAD" if draw.random() < 0.04 else "GET",
        user=user,
        taste=taste,
        flavour=flavour,
        language=language,
        proxy=proxy,
        range=wanted,
        tag=tag,
        tagged=told,
        if_range=if_range,
    )
    return asked, lines


def _part(draw: random.Random) -> tuple[tuple[int, int], str]:
    """A range that every body has something of."""
    first = draw.randrange(300)
    last = draw.choice([first, first + 9, first + 200, TO_THE_END])
    return (first, last), f"bytes={first}-{'' if last == TO_THE_END else last}"


def _sent(draw: random.Random, kind: str, query: str) -> str:
    """*query*, with something that does not count where the rule says so."""
    if kind != "query" or draw.random() > 0.6:
        return query
    junk = f"junk={draw.randrange(1000)}"
    return "&".join(filter(None, draw.choice([(query, junk), (junk, query)])))
