"""Clients of one worker, some of whom go away at any moment: what they got, and what was wrong."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.lifecycle.client import MOST_SECONDS, Client
from tests.security.harness import read

if TYPE_CHECKING:
    from tests.lifecycle.client import Answer

PAGES: Final = 300
CUT: Final = ("in the request", "after the request", "after the head", "in the body")


def target_of(page: int, pause: float) -> str:
    """A page; what is the same for all that ask for it follows from its number.

    A third of them is stale after a second, some are always; some say their length, some do not,
    some are under a rule, whose app is called anonymously.
    """
    folder = "ruled" if page % 5 == 0 else "page"
    says = "private" if page % 11 == 0 else f"public,max-age={(60, 60, 1)[page % 3]}"
    if page % 7 == 0:
        says += ",stale-while-revalidate=60"
    target = f"/{folder}/{page}?bytes={page % 50 * 1000}&chunks={1 + page % 6}"
    return f"{target}&length={page % 2}&says={says}&pause={pause if page % 6 else 0}"


class Traffic:
    """*share*: of the exchanges whose client goes away; *pause*: of the app between chunks."""

    def __init__(self, port: int, *, share: float, pause: float, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._port = port
        self._share = share
        self._pause = pause
        self._seed = seed
        self._left = 0

    async def run(self, exchanges: int, clients: int) -> None:
        """So many exchanges by so many clients."""
        self._left = exchanges
        await asyncio.gather(*(self._client(f"{self._seed} {one}") for one in range(clients)))

    async def _client(self, seed: str) -> None:
        draw = random.Random(seed)
        client = Client(self._port)
        while self._left > 0:
            self._left -= 1
            target = target_of(draw.randrange(PAGES), self._pause)
            fields = [("Cookie", f"user={draw.randrange(5)}")] if draw.random() < 0.3 else []
            if draw.random() < self._share:
                await self._cut(client, target, fields, draw)
                # Whoever comes next must not have what the one who left was to get.
            answer = await client.ask(target, fields)
            self.counts["hits" if answer.is_hit else "other answers"] += 1
            self._judge(target, answer)
        client.leave()

    async def _cut(
        self, client: Client, target: str, fields: list[tuple[str, str]], draw: random.Random
    ) -> None:
        where = draw.choice(CUT)
        reset = draw.random() < 0.5
        self.counts[f"left {where}, {'RST' if reset else 'FIN'}"] += 1
        if where == "in the request":
            await client.begin(target, draw.randrange(1, 40))
        else:
            await client.send(target, fields)
            if where == "after the request":
                for _ in range(draw.randrange(4)):
                    await asyncio.sleep(0)
            else:
                with contextlib.suppress(EOFError):
                    async with asyncio.timeout(MOST_SECONDS):
                        _, got = await client.head()
                        if where == "in the body" and got.get("content-length") != "0":
                            await client.some(draw.randrange(1, 20_000))
        client.leave(reset=reset)

    def _judge(self, target: str, answer: Answer) -> None:
        try:
            told = read(answer.body)
        except (AssertionError, ValueError) as error:
            self.wrong.append(f"{target}: {answer.status} {error!r}")
            return
        if answer.status != 200 or f"{told.path}?{told.query}" != target:
            self.wrong.append(f"{target}: {answer.status}, {told}")
        if told.path.startswith("/ruled") and "private" not in target and told.user is not None:
            self.wrong.append(f"{target}: made for {told.user}")

    def told(self) -> str:
        """The figures."""
        figures = ", ".join(f"{number} {name}" for name, number in sorted(self.counts.items()))
        return f"{figures}; {len(self.wrong)} wrong"
