"""Case O10: old and new workers on one Redis, while one takes the other's place.

``ROLLING_FROM`` names a commit of this repository whose code the old worker runs; without it, it
runs this code with another revision of the format of its records.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import asgi_cache
from tests.conftest import keys_without_end
from tests.lifecycle.client import HOST, Client
from tests.lifecycle.processes import PATIENT, ROOT, Worker, cache_of, running

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.lifecycle.client import Answer

ROLLING_FROM: Final = os.environ.get("ROLLING_FROM")
REQUESTS: Final = 900
PAGES: Final = 20
CLIENTS: Final = 6
LANGUAGES: Final = ("de", "en", None)
NEAR_SECONDS: Final = 2.0
"""So much later than a purge has returned a worker with a near tier hears of it at the worst."""
RULE: Final[dict[str, Any]] = {"ttl": 60, "groups": ["pages"]}
NEW_RULE: Final[dict[str, Any]] = {**RULE, "ignore_query": ["utm_*"], "cookies": ["lang"]}


@pytest.fixture
def old_package(tmp_path: Path) -> Path:
    """A directory with the package as the old worker has it."""
    if ROLLING_FROM is not None:
        command = ["git", "archive", ROLLING_FROM, "asgi_cache"]
        archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(tmp_path, filter="data")
        return tmp_path
    own = tmp_path / "asgi_cache"
    shutil.copytree(Path(asgi_cache.__file__).parent, own)
    sealing = own / "stores" / "sealing.py"
    text = sealing.read_text("utf-8")
    older, found = re.subn(r"^(REVISION: Final =) \d+$", r"\1 1", text, flags=re.MULTILINE)
    assert found == 1
    assert older != text
    sealing.write_text(older, "utf-8")
    return tmp_path


class Rolling:
    """Clients of both workers; *rules* by a worker's name are what its answers are judged by."""

    def __init__(self, workers: Sequence[Worker], rules: Mapping[str, dict[str, Any]]) -> None:
        self.hits = dict.fromkeys(rules, 0)
        self.others = dict.fromkeys(rules, 0)
        """Hits whose response another worker made."""
        self.purged = 0
        self._workers = workers
        self._rules = rules
        self._left = 0

    async def run(self, requests: int) -> None:
        self._left = requests
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def heard(self, began: int) -> None:
        """Return when no worker answers with what was made before a purge that *began* then."""
        for worker in self._workers:
            for page in range(PAGES):
                async with Client(worker.port) as client:
                    while (
                        await client.ask(f"/page/{page}?bytes={page * 100}")
                    ).told.version < began:
                        pass

    async def _client(self, seed: int) -> None:
        draw = random.Random(seed)
        clients = {worker.name: Client(worker.port) for worker in self._workers}
        while self._left > 0:
            self._left -= 1
            name = draw.choice(list(clients))
            page, language = draw.randrange(PAGES), draw.choice(LANGUAGES)
            query = f"bytes={page * 100}" + draw.choice(["", "", "&utm_a=1"])
            fields = [("Cookie", f"user=ann; lang={language}")] if language else []
            least = self.purged
            answer = await clients[name].ask(f"/page/{page}?{query}", fields)
            self._judge(name, answer, page, query, language, least)
        for client in clients.values():
            client.leave()

    def _judge(
        self, name: str, answer: Answer, page: int, query: str, language: str | None, least: int
    ) -> None:
        told, rule = answer.told, self._rules[name]
        assert told.path == f"/page/{page}"
        assert told.query == (query.replace("&utm_a=1", "") if "ignore_query" in rule else query)
        kept = f"lang={language}" if language and "cookies" in rule else None
        assert told.value("cookie") == kept
        assert told.version >= least
        self.hits[name] += answer.is_hit
        self.others[name] += answer.is_hit and told.worker != name


async def judged(
    old: Worker,
    new: Worker,
    rules: Mapping[str, dict[str, Any]],
    url: str,
    namespace: str,
    *,
    is_near: bool = False,
) -> Rolling:
    """Both serve while pages are purged; what came of it, once nothing is wrong.

    *is_near*: they may hear of a purge a little later than it has returned.
    """
    with running(old, new):
        packages = [(await asyncio.to_thread(worker.state))["package"] for worker in (old, new)]
        assert packages == [worker.package for worker in (old, new)]
        rolling = Rolling([old, new], rules)
        async with cache_of(url, namespace) as cache:
            for round_ in range(3):
                await rolling.run(REQUESTS // 3)
                began = time.monotonic_ns()
                if round_ == 0:
                    await cache.purge(group="pages")
                else:
                    for page in range(PAGES):
                        where = f"http://{HOST}/page/{page}?bytes={page * 100}"
                        await cache.purge(where, all_queries=True)
                if is_near:
                    await asyncio.wait_for(rolling.heard(began), NEAR_SECONDS)
                rolling.purged = began
        for worker in (old, new):
            state = await asyncio.to_thread(worker.state)
            assert state["metrics"].get("store_failures", 0) == 0
            worker.check_log()
    assert keys_without_end(url) == []
    return rolling


WITHOUT: Final[dict[str, Any]] = {"near_bytes": 0}
"""A purge holds in all workers as soon as it has returned."""


@pytest.mark.parametrize("near", [WITHOUT, {}], ids=["far", "near"])
async def test_o10_old_and_new_code(
    redis_url: str, namespace: str, old_package: Path, near: dict[str, Any]
) -> None:
    """Each has its own revision of records: no errors, nothing mixed, purges reach both."""
    options: dict[str, Any] = {"store": redis_url, "namespace": namespace, **PATIENT, **near}
    options["paths"] = {"/page/{x}": RULE}
    old, new = Worker("old", package=old_package, **options), Worker("new", **options)
    rolling = await judged(
        old, new, {"old": RULE, "new": RULE}, redis_url, namespace, is_near=not near
    )
    print(f"O10 code: hits {rolling.hits}, of which another worker made {rolling.others}")
    assert min(rolling.hits.values()) > 0


@pytest.mark.parametrize("swapped", [False, True])
async def test_o10_old_and_new_settings(redis_url: str, namespace: str, swapped: bool) -> None:
    """A rule that folds the query and keys by a cookie, and one that does not, on one Redis."""
    options: dict[str, Any] = {"store": redis_url, "namespace": namespace, **PATIENT}
    options |= WITHOUT
    rules = {"old": NEW_RULE, "new": RULE} if swapped else {"old": RULE, "new": NEW_RULE}
    old, new = (
        Worker(name, **{**options, "paths": {"/page/{x}": rule}}) for name, rule in rules.items()
    )
    rolling = await judged(old, new, rules, redis_url, namespace)
    print(f"O10 settings: hits {rolling.hits}, of which another worker made {rolling.others}")
    assert min(rolling.others.values()) > 0
