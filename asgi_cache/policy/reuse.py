"""RFC 9111 §4: which requests may be answered from a stored response, before and after the look-up.

:func:`screen` sees the request alone; :func:`decide` sees it with what was found. Both are on the
path of every hit: they look at remembered facts and compare numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asgi_cache.fields import parse_directives
from asgi_cache.policy.decision import Action, Decision, Refusal
from asgi_cache.policy.folding import fold, fold_query, hides_credentials
from asgi_cache.policy.keys import (
    MAX_TARGET_BYTES,
    SEPARATORS_IN_KEY,
    Target,
    custom_key,
    key_of,
)
from asgi_cache.policy.scopes import required_names
from asgi_cache.settings.paths import UNSEEN
from asgi_cache.settings.plan import COOKIE, ORIGIN_PRECONDITIONS

if TYPE_CHECKING:
    from asgi_cache.fields import Directives
    from asgi_cache.model import RequestHead, StoredResponse
    from asgi_cache.settings import Settings
    from asgi_cache.settings.paths import Match
    from asgi_cache.settings.plan import CompiledRule, Shape

CLOCK_SLACK: Final = 60.0
"""Seconds that a response may seem to come from the future: beyond, a clock was put right."""

LONGEST_REMEMBERED: Final = 1024
"""Bytes of a key, or of a query, of which a key may have little; what is longer is screened anew:
bounds what a stranger makes it hold."""

CACHED_METHODS: Final = frozenset({"GET", "HEAD"})


class Screened(NamedTuple):
    """A request that may be looked up, and everything that the look-up and a fill need of it."""

    request: RequestHead
    shape: Shape
    match: Match | None
    compiled: CompiledRule | None
    authority: bytes
    query: bytes
    """Folded: what the target has."""
    target: bytes
    key: bytes
    personal: bool
    """It carries credentials, so that not every response may answer it."""
    obstacle: Refusal | None
    """What keeps this request from a fill of its own, though it may hit; ``None``: nothing."""
    asked: Directives | None
    """Its directives, where it has some and they are honoured (§5.2.1)."""
    required: tuple[bytes, ...]
    """Names of the stamps that every response to it carries."""


class Screening(NamedTuple):
    """A request that is decided without a look-up."""

    decision: Decision
    refusal: Refusal | None


METHOD: Final = Screening(Decision.METHOD, None)
OFF: Final = Screening(Decision.OFF, None)


def screen(request: RequestHead, settings: Settings) -> Screened | Screening:
    """What may be looked up, or what becomes of the request without a look-up.

    Remembered for requests of which nothing but the target and the names of the fields counts.
    """
    method, scheme, root_path, path, raw_path, query, fields = request
    host = fields.get(b"host")
    seen = (method, scheme, root_path, path, raw_path, query, host, tuple(fields))
    plan = settings.plan
    known = plan.screened.get(seen)
    if known is not None:
        # What Screened() does, without the Python call that it costs each hit.
        return tuple.__new__(Screened, (request, *known))
    return screen_anew(request, settings, seen)


def screen_anew(
    request: RequestHead, settings: Settings, seen: tuple[Any, ...]
) -> Screened | Screening:
    """As :func:`screen`, for what is not remembered under *seen*."""
    plan = settings.plan
    if request.method not in CACHED_METHODS:
        return METHOD
    raw_path = request.raw_path
    match = plan.matcher.remembered.get((raw_path, request.path), UNSEEN)
    if match is UNSEEN:
        match = plan.matcher.match(request.path, raw_path)
    if not settings.enabled or (match is not None and match.rule is None):
        return OFF
    compiled = None if match is None else plan.rules[match.template]
    host = request.fields.get(b"host", b"")
    authority = plan.hosts.get(host)
    if authority is None:
        authority = plan.authority(host)
        if authority is None:
            return Screening(Decision.BYPASS, Refusal.HOST)
    if settings.authorities and not plan.serves(authority):
        return Screening(Decision.BYPASS, Refusal.AUTHORITY)
    names = tuple(request.fields)
    shape = plan.shapes.get(names)
    if shape is None:
        shape = plan.shape(names)
    if shape.irregular:
        return Screening(Decision.BYPASS, Refusal.REQUEST_FIELDS)
    query = request.query
    if compiled is not None and compiled.folds_query:
        query = fold_query(query, compiled)
    named = Target(authority, raw_path, query)
    target = named.text
    if len(target) > MAX_TARGET_BYTES or not raw_path.startswith(b"/"):
        return Screening(
            Decision.BYPASS,
            Refusal.TARGET_TOO_LONG if raw_path.startswith(b"/") else Refusal.PATH,
        )
    # The decoded path as well: apps answer from it, and a middleware outside may have changed it.
    key = b"%b\0%b" % (
        target,
        f"{request.scheme}\0{request.root_path}\0{request.path}".encode("utf-8", "surrogatepass"),
    )
    if key.count(b"\0") != SEPARATORS_IN_KEY:
        return Screening(Decision.BYPASS, Refusal.PATH)
    personal = shape.personal or shape.authorization
    required = required_names(named, match)
    known = (shape, match, compiled, authority, query, target, key, personal, None, None, required)
    screened = tuple.__new__(Screened, (request, *known))
    if (
        shape.exceptional
        or shape.key_fields
        or shape.ranged
        or request.method == "HEAD"
        or settings.key is not None
        or (compiled is not None and compiled.looks_at_credentials and shape.credentials)
    ):
        return look_closer(screened, settings)
    # Here no value of a field but Host has had a part; a shape that is not held is a long one.
    longest = max(len(key), len(request.query))
    if longest <= LONGEST_REMEMBERED and names in plan.shapes:
        plan.remember(seen, known)
    return screened


def look_closer(screened: Screened, settings: Settings) -> Screened | Screening:
    """The part of :func:`screen` for requests that have something unusual about them."""
    request, shape, compiled = screened.request, screened.shape, screened.compiled
    fields = request.fields
    if b"transfer-encoding" in fields or fields.get(b"content-length", b"0").strip(b"0"):
        return Screening(Decision.BYPASS, Refusal.REQUEST_BODY)
    if not ORIGIN_PRECONDITIONS.isdisjoint(fields):
        return Screening(Decision.BYPASS, Refusal.PRECONDITION)
    personal = screened.personal
    if compiled is not None and shape.credentials:
        if compiled.rule.ttl is not None and not compiled.anonymous:
            return Screening(Decision.BYPASS, Refusal.CREDENTIALS)
        if compiled.anonymous and shape.credentials == (COOKIE,):
            # What the key holds of a cookie is no credential.
            personal = personal and hides_credentials(request, shape, compiled)
    key = key_of(screened.key, request, shape, compiled)
    if key is None:
        return Screening(Decision.BYPASS, Refusal.PATH)
    if settings.key is not None:
        try:
            key = custom_key(key, settings.key(fold(request, shape, compiled).head))
        except Exception:  # the user's own code: whatever it raises costs a hit, not the request
            return Screening(Decision.BYPASS, Refusal.KEY)
    return screened._replace(
        key=key,
        personal=personal,
        obstacle=obstacle_of(request, shape),
        asked=asked_by(request) if settings.honor_request_directives else None,
    )


def asked_by(request: RequestHead) -> Directives | None:
    """The request's directives; Pragma counts only without Cache-Control (§5.4)."""
    control = request.fields.get(b"cache-control")
    if control is not None:
        return parse_directives((control,))
    if "no-cache" in parse_directives((request.fields.get(b"pragma", b""),)):
        return parse_directives((b"no-cache",))
    return None


def obstacle_of(request: RequestHead, shape: Shape) -> Refusal | None:
    """What keeps a request that may hit from a fill of its own; ``None``: nothing."""
    control = request.fields.get(b"cache-control", b"")
    if b"no-store" in control.lower() and "no-store" in parse_directives((control,)):
        return Refusal.REQUEST_NO_STORE
    if request.method == "HEAD":
        return Refusal.HEAD
    return Refusal.RANGE if shape.ranged else None


def is_hiding(screened: Screened) -> bool:
    """Whether an anonymous fill for this request would hide a credential from its app."""
    compiled = screened.compiled
    if compiled is None or not compiled.anonymous:
        return False
    return hides_credentials(screened.request, screened.shape, compiled)


def decide(screened: Screened, stored: StoredResponse, now: float) -> Decision:
    """What becomes of a request for which *stored* was selected; *now* in the store's clock."""
    if (
        now >= stored.fresh_until
        or stored.generated_at > now + CLOCK_SLACK
        or screened.asked is not None
    ):
        return decide_closer(screened, stored, now)
    if screened.personal and not may_answer(screened.shape, stored):
        return Decision.BYPASS
    return Decision.FRESH


def decide_closer(screened: Screened, stored: StoredResponse, now: float) -> Decision:
    """The part of :func:`decide` for what is stale, and for requests that ask for more or less."""
    left = stored.fresh_until - now
    permitted = not screened.personal or may_answer(screened.shape, stored)
    if stored.generated_at > now + CLOCK_SLACK or not permitted:
        return Decision.STALE if left <= 0 or permitted else Decision.BYPASS
    asked = screened.asked
    if asked is not None and not accepts(asked, now - stored.generated_at, left):
        return Decision.REQUEST if left > 0 else Decision.STALE
    if left > 0:
        return Decision.FRESH
    if stored.may_be_stale:
        if asked is not None and accepts_stale(asked, -left):
            return Decision.FRESH
        # Who names a greatest age wants nothing stale unless it says so (§5.2.1.1).
        if now < stored.revalidate_until and (asked is None or "max-age" not in asked):
            return Decision.STALE_WHILE_REVALIDATE
    return Decision.STALE


def decide_again(
    screened: Screened,
    stored: StoredResponse | None,
    decision: Decision,
    miss: Decision,
    now: float,
) -> Decision:
    """What *decision* is for a request that has waited since, where *stored* is selected now.

    *miss*: where nothing is. The app is to be asked in any case, so that nothing else changes.
    """
    if stored is None:
        return miss
    again = decide(screened, stored, now)
    if again.action is Action.VALIDATE:
        return again
    return Decision.STALE if again.action is Action.SERVE_AND_REVALIDATE else decision


def accepts(asked: Directives, age: float, left: float) -> bool:
    """Whether a request's directives accept a response of this *age*, fresh for *left* seconds.

    §5.2.1.1, §5.2.1.3, §5.2.1.4. What is stale by no more than ``max-stale`` is the business of
    :func:`accepts_stale`.
    """
    if "no-cache" in asked:
        return False
    max_age, min_fresh = asked.seconds("max-age"), asked.seconds("min-fresh")
    if max_age is not None and age > max_age:
        return False
    return min_fresh is None or left >= min_fresh


def accepts_stale(asked: Directives, seconds: float) -> bool:
    """Whether ``max-stale`` (§5.2.1.2) covers *seconds*; without an argument it covers any."""
    if asked.is_bare("max-stale"):
        return True
    max_stale = asked.seconds("max-stale")
    return max_stale is not None and seconds <= max_stale


def as_asked(screened: Screened, decision: Decision) -> Decision:
    """*decision*, or the refusal of a request that wants nothing but what is stored (§5.2.1.7)."""
    asked = screened.asked
    if asked is None or "only-if-cached" not in asked:
        return decision
    forwards = decision.action in (Action.FETCH, Action.VALIDATE, Action.PASS)
    return Decision.ONLY_IF_CACHED if forwards else decision


def may_answer(shape: Shape, stored: StoredResponse) -> bool:
    """Whether *stored* may answer a request with these credentials (§3.5, decisions 3 and 4)."""
    if shape.authorization and not stored.authorized_reuse:
        return False
    return stored.explicitly_shared or not shape.personal
