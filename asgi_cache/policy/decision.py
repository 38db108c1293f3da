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
    FETCH = "fetch"
    PASS = "pass"


@unique
class Decision(Enum):
    """What the cache makes of a request."""

    FRESH = ("fresh", Action.SERVE, b"hit")
    """A stored response is fresh and may be used (RFC 9111 §4)."""
    STALE = ("stale", Action.FETCH, b"fwd=stale")
    """There is one, but it is stale (§4.2)."""
    URI_MISS = ("uri-miss", Action.FETCH, b"fwd=uri-miss")
    """Nothing is stored at this key that may be used."""
    VARY_MISS = ("vary-miss", Action.FETCH, b"fwd=vary-miss")
    """Responses are stored, but none for these nominated fields (§4.1)."""
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
    AUTHORITY = ("authority", False)
    PATH = ("path", False)
    TARGET_TOO_LONG = ("target-too-long", False)
    REQUEST_FIELDS = ("request-fields", False)
    REQUEST_BODY = ("request-body", False)
    PRECONDITION = ("precondition", False)
    CREDENTIALS = ("credentials", False)
    REQUEST_NO_STORE = ("request-no-store", False)
    RANGE = ("range", False)
    HEAD = ("head", False)
    KEY = ("key", False)
    RULE = ("rule", False)
    # Of the response, RFC 9111 §3 and §3.5.
    STATUS = ("status", False)
    DENIED = ("denied", True)
    REDIRECT = ("redirect", True)
    NO_STORE = ("no-store", True)
    PRIVATE = ("private", True)
    SET_COOKIE = ("set-cookie", True)
    VARY_ANY = ("vary-any", True)
    VARY_CREDENTIALS = ("vary-credentials", True)
    VARY_TOO_MANY = ("vary-too-many", False)
    NOT_SHARED = ("not-shared", False)
    NO_LIFETIME = ("no-lifetime", False)
    MEDIA_TYPE = ("media-type", False)
    GROUPS = ("groups", False)
    TOO_LARGE = ("too-large", False)
    # Of the messages.
    MALFORMED = ("malformed", False)
    LENGTH = ("length", False)
    INCOMPLETE = ("incomplete", False)
    EXTENSION = ("extension", False)
    FAILED = ("failed", False)
    # Of the store.
    STORE_UNAVAILABLE = ("store-unavailable", False)
    FILL_BYTES = ("fill-bytes", False)
    PURGED = ("purged", False)

    __hash__ = object.__hash__

    label: str
    noted: bool
    index: int

    def __init__(self, label: str, noted: bool) -> None:
        self.label = label
        self.noted = noted
        self.index = len(type(self).__members__)
