"""The whole behaviour of the cache as three closed tables: what is done, and why not more.

One vocabulary for the ``Cache-Status`` field (RFC 9211), metrics, logs, the command line and the
tests. Members carry no data of a request. The attributes of a member are plain ones and its hash
is its identity's, so that the hot path pays no Python call for a look at either.
"""

from __future__ import annotations

from enum import Enum, unique


@unique
class Action(Enum):
    """What the driver does with a request: one verb each."""

    SERVE = "serve"
    SERVE_AND_REVALIDATE = "serve-and-revalidate"
    VALIDATE = "validate"
    FETCH = "fetch"
    PASS = "pass"  # noqa: S105 - the verb
    REFUSE = "refuse"


@unique
class Decision(Enum):
    """What the cache makes of a request."""

    FRESH = ("fresh", Action.SERVE, b"hit")
    """A stored response is fresh, or as stale as the client accepts (RFC 9111 §4, §5.2.1.2)."""
    STALE_WHILE_REVALIDATE = (
        "stale-while-revalidate",
        Action.SERVE_AND_REVALIDATE,
        b"hit",
    )
    """There is one that is stale, within the window of RFC 5861 §3."""
    STALE_ON_ERROR = ("stale-on-error", Action.SERVE, b"fwd=stale")
    """The app failed, and the stale one may stand in for it (RFC 5861 §4)."""
    STALE = ("stale", Action.VALIDATE, b"fwd=stale")
    """There is one, but it is stale (§4.2)."""
    REQUEST = ("request", Action.VALIDATE, b"fwd=request")
    """There is a fresh one that the request's directives do not accept (§5.2.1)."""
    URI_MISS = ("uri-miss", Action.FETCH, b"fwd=uri-miss")
    """Nothing is stored at this key that may be used."""
    VARY_MISS = ("vary-miss", Action.FETCH, b"fwd=vary-miss")
    """Responses are stored, but none for these nominated fields (§4.1)."""
    ONLY_IF_CACHED = ("only-if-cached", Action.REFUSE, None)
    """Nothing may be used, and the request wants no more (§5.2.1.7): 504."""
    BYPASS = ("bypass", Action.PASS, b"fwd=bypass")
    """The cache takes no part; a :class:`Refusal` says why."""
    METHOD = ("method", Action.PASS, None)
    """Neither GET nor HEAD; a successful unsafe one invalidates (§4.4)."""
    OFF = ("off", Action.PASS, None)
    """``paths = false`` or ``enabled = false``."""

    __hash__ = object.__hash__

    label: str
    action: Action
    cache_status: bytes | None
    """Its RFC 9211 parameters; ``None``: messages are passed on untouched."""
    index: int
    """Its place in the order of definition: where a counter stands."""

    def __init__(self, label: str, action: Action, cache_status: bytes | None) -> None:
        self.label = label
        self.action = action
        self.cache_status = cache_status
        self.index = len(type(self).__members__)


@unique
class Refusal(Enum):
    """Why a request was not answered from the cache, or its response not stored.

    The label stands in ``Cache-Status`` as ``detail=``. Those that are *noted* say something of
    the resource rather than of one exchange: for two minutes the next requests with credentials
    go straight to the application (design: the note).
    """

    # Of the request.
    HOST = ("host", False)
    """Host is missing, repeated or malformed."""
    AUTHORITY = ("authority", False)
    """It is not one of ``authorities``."""
    PATH = ("path", False)
    """The path has no leading slash, or something has a NUL that the key cannot have."""
    TARGET_TOO_LONG = ("target-too-long", False)
    """Authority, path and query are over 8 KiB."""
    REQUEST_FIELDS = ("request-fields", False)
    """A field name is not lower-case bytes."""
    REQUEST_BODY = ("request-body", False)
    """It has content, which is not part of the key."""
    PRECONDITION = ("precondition", False)
    """If-Match or If-Unmodified-Since: only the origin may evaluate them (§4.3.2)."""
    CREDENTIALS = ("credentials", False)
    """It carries credentials, and what is stored is not for everybody."""
    REQUEST_NO_STORE = ("request-no-store", False)
    """``no-store`` in the request (§5.2.1.5)."""
    RANGE = ("range", False)
    """A part of a response is not stored."""
    HEAD = ("head", False)
    """A response without its body is not stored."""
    KEY = ("key", False)
    """``Settings.key`` raised, or returned what is no key."""
    RULE = ("rule", False)
    """``Settings.rule`` raised, or returned what is no rule."""
    # Of the response, RFC 9111 §3 and §3.5.
    STATUS = ("status", False)
    """The status is not one that may be stored, or answer everybody."""
    DENIED = ("denied", True)
    """401 or 403, without a lifetime."""
    REDIRECT = ("redirect", True)
    """3xx, without a lifetime, or to a request with credentials."""
    NO_STORE = ("no-store", True)
    """``no-store`` in the response."""
    PRIVATE = ("private", True)
    """``private``, for the whole response."""
    SET_COOKIE = ("set-cookie", True)
    """Set-Cookie: never stored, whatever else is said."""
    VARY_ANY = ("vary-any", True)
    """``Vary: *``, or a Vary that names what is no field."""
    VARY_CREDENTIALS = ("vary-credentials", True)
    """Vary names a credential field."""
    VARY_TOO_MANY = ("vary-too-many", False)
    """Vary names more than eight fields."""
    NOT_SHARED = ("not-shared", False)
    """The app saw credentials and did not say that the response may be shared."""
    NO_LIFETIME = ("no-lifetime", False)
    """Nothing grants a lifetime, or nothing is left of it."""
    MEDIA_TYPE = ("media-type", False)
    """A body that does not end."""
    GROUPS = ("groups", False)
    """Cache-Groups is unreadable or too long, so that a purge could not be kept to."""
    TOO_LARGE = ("too-large", False)
    """The body is over ``max_body_bytes``."""
    # Of the messages.
    MALFORMED = ("malformed", False)
    """The status or a field is not what HTTP allows."""
    LENGTH = ("length", False)
    """Content-Length is malformed, or not the length of the body."""
    INCOMPLETE = ("incomplete", False)
    """The app ended without its last message."""
    NOT_VALIDATED = ("not-validated", False)
    """A 304 that names another validator than the one it was asked about (§4.3.4)."""
    EXTENSION = ("extension", False)
    """A message of an ASGI extension, or one out of order."""
    FAILED = ("failed", False)
    """The app raised before its response began."""
    # Of the store.
    STORE_UNAVAILABLE = ("store-unavailable", False)
    """The store did not answer."""
    FILL_BYTES = ("fill-bytes", False)
    """The fills in flight are over ``fill_bytes`` together."""
    LEADER_LATE = ("leader-late", False)
    """Somebody else's fill of this key took longer than ``collapse_timeout``."""
    OVERTAKEN = ("overtaken", False)
    """What was validated is no longer what is stored."""
    PURGED = ("purged", False)
    """A purge came between; what was read before it is not stored after it."""

    __hash__ = object.__hash__

    label: str
    noted: bool
    index: int

    def __init__(self, label: str, noted: bool) -> None:
        self.label = label
        self.noted = noted
        self.index = len(type(self).__members__)
