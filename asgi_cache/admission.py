"""Between a fill and ``policy``: whether its response may be stored, and what it is once whole.

What must not be here: messages, and anything that is sent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from asgi_cache.model import StoredResponse, with_body
from asgi_cache.policy.decision import Refusal
from asgi_cache.policy.emission import generated_etag, with_length
from asgi_cache.policy.freshness import caching_of, corrected_initial_age
from asgi_cache.policy.storing import (
    Exchange,
    admit,
    authorized,
    declared_length,
    said_shared,
    status_refusal,
    stored_lines,
)
from asgi_cache.policy.validation import readmit
from asgi_cache.settings import Rule

if TYPE_CHECKING:
    from asgi_cache.cache import Cache
    from asgi_cache.model import CarriedStamp, ResponseHead
    from asgi_cache.policy.folding import Folded
    from asgi_cache.policy.reuse import Screened
    from asgi_cache.selection import Selection
    from asgi_cache.settings import Settings


class Admission:
    """What :func:`admit` must know of one fill, from the moment its app is called."""

    __slots__ = (
        "_cache",
        "_folded",
        "_hidden",
        "_request_time",
        "_screened",
        "_selection",
        "anonymous",
        "personal",
    )

    def __init__(
        self,
        cache: Cache,
        screened: Screened,
        selection: Selection,
        folded: Folded,
        *,
        hidden: bool,
    ) -> None:
        self.anonymous = screened.compiled is not None and screened.compiled.anonymous
        self.personal = not self.anonymous and screened.personal
        """The app sees credentials, so that its answer may be one user's."""
        self._cache = cache
        self._screened = screened
        self._selection = selection
        self._folded = folded
        self._hidden = hidden
        self._request_time = cache.now()

    def judge(self, head: ResponseHead) -> StoredResponse | Refusal:
        """Whether this response may be stored, and given to this client."""
        rule = self._rule(head)
        if isinstance(rule, Refusal):
            return rule
        outcome = admit(self._exchange(), head, self._cache.settings, rule)
        if isinstance(outcome, StoredResponse) and self._hidden and not outcome.explicitly_shared:
            # Fine for the anonymous, but it may look different to this user.
            return status_refusal(head.status)
        return outcome

    def judge_again(
        self, said: ResponseHead, head: ResponseHead, before: StoredResponse
    ) -> StoredResponse | Refusal:
        """Whether *before*, with its freshened *head*, may stay stored (RFC 9111 §4.3.4).

        Where the app saw credentials, what it *said* now must be called shared by itself.
        """
        settings = self._cache.settings
        caching = caching_of(said, settings)
        if self.personal and not (said_shared(caching) and authorized(caching, settings)):
            return Refusal.NOT_SHARED
        rule = self._rule(head)
        if isinstance(rule, Refusal):
            return rule
        return readmit(self._exchange(), head, self._cache.settings, rule, before)

    def shown(self, head: ResponseHead, before: StoredResponse) -> StoredResponse:
        """*before* with its freshened *head*, for one client: it is not to be stored any more."""
        settings, now = self._cache.settings, self._cache.now()
        generated_at = now - corrected_initial_age(head, self._request_time, now)
        return replace(
            before,
            lines=stored_lines(head, caching_of(head, settings), settings),
            emitted=0,
            browser_ttl=None,
            generated_at=generated_at,
            fresh_until=generated_at,
        )

    def _exchange(self) -> Exchange:
        """This fill, as seen when its response has come."""
        cache, screened = self._cache, self._screened
        compiled, shape = screened.compiled, screened.shape
        nominated = self._selection.nominated
        return Exchange(
            request=self._folded.head,
            compiled=compiled,
            params={} if screened.match is None else screened.match.params,
            anonymous=self.anonymous,
            personal=shape.personal and not self.anonymous,
            authorization=shape.authorization and not self.anonymous,
            known_names=() if nominated is None else nominated.names,
            request_time=self._request_time,
            response_time=cache.now(),
            draw=cache.draw(),
        )

    def _rule(self, head: ResponseHead) -> Rule | Refusal | None:
        """The rule of the path, or what the setting ``rule`` makes of this response."""
        compiled, function = self._screened.compiled, self._cache.settings.rule
        if function is not None:
            try:
                made = function(self._folded.head, head)
            except Exception as error:  # the user's own code: it costs a fill, not the answer
                self._cache.log("the rule function", error)
                return Refusal.RULE
            if isinstance(made, Rule):
                return made
            if made is not None:
                wrong = TypeError(f"the setting rule returned {type(made).__name__}, not a Rule")
                self._cache.log("the rule function", wrong)
                return Refusal.RULE
        return None if compiled is None else compiled.rule


def may_tag(stored: StoredResponse, head: ResponseHead, settings: Settings) -> bool:
    """Decision 9: whether to wait for the body and generate an entity tag from it."""
    return (
        settings.etag
        and 200 <= stored.status <= 299
        and declared_length(head) is not None
        and not head.values(b"etag")
        and not head.values(b"last-modified")
    )


def completed(
    stored: StoredResponse, body: bytes, stamps: tuple[CarriedStamp, ...], *, tagged: bool
) -> StoredResponse:
    """*stored* with its *body*, *stamps*, and what follows from it: a length, and a tag where

    *tagged*.
    """
    lines = with_length(stored.lines, stored.status, len(body))
    tag = stored.etag
    if tagged:
        line = generated_etag(body)
        tag, lines = line[1], (*lines, line)
    return with_body(stored, lines, body, tag, stamps)
