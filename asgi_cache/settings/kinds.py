"""The kinds of values that settings and rules have: type, check, and how text becomes one.

What must not be here: the settings themselves (``settings``, ``rules``).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator

from asgi_cache.settings import allowed, sources
from asgi_cache.settings.sources import FromText

MOST_VARY_NAMES: Final = 8
MOST_BYTES: Final = 2**62
MOST_SECRETS: Final = 8
LEAST_SECRET: Final = 16
"""Characters of a secret."""
_ALWAYS_CREDENTIALS: Final = ("cookie", "authorization", "proxy-authorization")
_LONGEST: Final = allowed.LONGEST_SECONDS
_NUMBER: Final = FromText(sources.read_number)
_TEXT: Final = FromText(str)
_JSON: Final = FromText(sources.read_list)


def _vary(value: object) -> list[str]:
    names = allowed.several("field names", allowed.is_token, MOST_VARY_NAMES)(value)
    for name in names:
        if name == "*":
            raise ValueError("a list of field names; '*' would make every response unusable")
        if name.lower() in _ALWAYS_CREDENTIALS:
            raise ValueError(
                f"a list of field names without credentials; {name!r} carries them "
                "(single cookies can be named in 'cookies')"
            )
    return names


def _statuses(value: object) -> list[int]:
    what = "a list of status codes from 200 to 599 other than 206 and 304"
    status = allowed.whole(what, lambda code: 200 <= code <= 599 and code not in (206, 304))
    if not isinstance(value, list | tuple):
        raise ValueError(what)
    return [status(code) for code in value]


def _authorities(value: object) -> list[str]:
    what = "hosts as in a Host field ('shop.example', 'shop.example:8080')"
    return [host.lower() for host in allowed.several(what, allowed.is_authority)(value)]


def _secrets(value: object) -> list[str]:
    each = allowed.printable("", 200, " ")
    try:
        if not isinstance(value, list | tuple) or len(value) > MOST_SECRETS:
            raise ValueError
        if any(len(each(one)) < LEAST_SECRET for one in value):
            raise ValueError
    except ValueError:
        # Raised out here so that no context keeps one.
        pass
    else:
        return list(value)
    raise ValueError(
        f"a list (in the environment JSON) of at most {MOST_SECRETS}, each {LEAST_SECRET} to 200 "
        "printable characters without white space"
    )


def _read_secrets(text: str) -> object:
    """As JSON; what is none is refused where the value is checked, which quotes nothing."""
    try:
        return sources.read_list(text)
    except ValueError:
        return text


seconds: Final = allowed.number(
    f"a number of seconds from 0 to {_LONGEST}", lambda value: 0 <= value <= _LONGEST
)
_above_zero: Final = allowed.number(
    f"a number of seconds above 0 and up to {_LONGEST}", lambda value: 0 < value <= _LONGEST
)
_field_names: Final = allowed.several("field names", allowed.is_token)
_field_patterns: Final = allowed.several(
    "field names, a last '*' standing for any ending", allowed.is_field_pattern
)
_parameters: Final = allowed.several("names of query parameters", allowed.is_visible)
_parameter_patterns: Final = allowed.several(
    "glob patterns of query parameters", allowed.is_visible
)
_groups: Final = allowed.several(
    "groups (printable ASCII; braces only as in 'product:{id}')", allowed.is_group
)
_namespace: Final = allowed.printable(
    "1 to 100 printable characters without white space and braces", 100, " {}"
)
_debug_token: Final = allowed.secret(
    "debug_token",
    allowed.optional(
        allowed.printable(
            "1 to 200 printable characters of ASCII without white space", 200, " ", ascii_only=True
        )
    ),
)
_name: Final = allowed.printable("1 to 100 printable characters of ASCII", 100, ascii_only=True)

Seconds: TypeAlias = Annotated[float, BeforeValidator(seconds), _NUMBER]
SecondsAboveZero: TypeAlias = Annotated[float, BeforeValidator(_above_zero), _NUMBER]
OptionalSeconds: TypeAlias = Annotated[
    float | None, BeforeValidator(allowed.optional(seconds)), _NUMBER
]
Share: TypeAlias = Annotated[
    float,
    BeforeValidator(allowed.number("a share from 0 to 1", lambda value: 0 <= value <= 1)),
    _NUMBER,
]
ShareBelowOne: TypeAlias = Annotated[
    float,
    BeforeValidator(allowed.number("a share from 0 to below 1", lambda value: 0 <= value < 1)),
    _NUMBER,
]
Bytes: TypeAlias = Annotated[
    int,
    BeforeValidator(
        allowed.whole("a whole number of bytes from 0 to 2**62", lambda n: 0 <= n <= MOST_BYTES)
    ),
    _NUMBER,
]
BytesAboveZero: TypeAlias = Annotated[
    int,
    BeforeValidator(
        allowed.whole("a whole number of bytes from 1 to 2**62", lambda n: 1 <= n <= MOST_BYTES)
    ),
    _NUMBER,
]
Count: TypeAlias = Annotated[
    int,
    BeforeValidator(
        allowed.whole("a whole number from 0 to 1000000", lambda n: 0 <= n <= 1_000_000)
    ),
    _NUMBER,
]
Switch: TypeAlias = Annotated[
    bool, BeforeValidator(allowed.one_of(True, False)), FromText(sources.read_switch)
]
StoreChoice: TypeAlias = Annotated[Any, BeforeValidator(allowed.store), _TEXT]
Namespace: TypeAlias = Annotated[str, BeforeValidator(_namespace), _TEXT]
CacheName: TypeAlias = Annotated[str, BeforeValidator(_name), _TEXT]
DebugToken: TypeAlias = Annotated[str | None, BeforeValidator(_debug_token), _TEXT]
Secrets: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(allowed.secret("secret", _secrets)), FromText(_read_secrets)
]
FieldNames: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_field_names), _JSON]
FieldPatterns: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_field_patterns), _JSON]
Authorities: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_authorities), _JSON]
CookiePolicy: TypeAlias = Annotated[
    Literal["explicit", "ignore"], BeforeValidator(allowed.one_of("explicit", "ignore")), _TEXT
]
TimeUnit: TypeAlias = Annotated[
    Literal["ms", "s", False],
    BeforeValidator(allowed.one_of("ms", "s", False)),
    FromText(sources.read_text_or_false),
]

Parameters: TypeAlias = Annotated[
    tuple[str, ...] | None, BeforeValidator(allowed.optional(_parameters))
]
ParameterPatterns: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_parameter_patterns)]
VaryNames: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_vary)]
Languages: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(allowed.several("language tags", allowed.is_language))
]
Groups: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_groups)]
Statuses: TypeAlias = Annotated[tuple[int, ...], BeforeValidator(_statuses)]
CookieNames: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(allowed.several("cookie names", allowed.is_token))
]
