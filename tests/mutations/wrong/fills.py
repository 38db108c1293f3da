"""Wrong versions of fills: bodies cut, mixed or kept too long, leaders and those who wait."""

from __future__ import annotations

from typing import Final

from tests.mutations.wrong.entry import Change, Wrong, one

FILLS: Final = (
    one(
        "aborted-fill-stored",
        "C06",
        "capture.py",
        "        self.drop(Refusal.INCOMPLETE)\n        await self.filling.take_back()\n",
        "        if self._stored is not None and self.phase in (Phase.STARTED, Phase.HELD):\n"
        "            from asgi_cache.admission import completed\n\n"
        "            body = self.filling._copy.joined()\n"
        "            stamps = self.filling._cache.carried(\n"
        "                self._stored, self.filling._screened, self.filling._selection\n"
        "            )\n"
        "            self.filling.complete(completed(self._stored, body, stamps, tagged=False))\n"
        "            await self._keep()\n"
        "            return\n"
        "        self.drop(Refusal.INCOMPLETE)\n"
        "        await self.filling.take_back()\n",
        "test_capture.py::test_c06_an_app_that_stops_at_the_disconnect_stores_nothing",
        "test_capture.py::test_c06_a_client_that_goes_never_leaves_a_short_response",
        named="an aborted fill stored short",
    ),
    Wrong(
        "bodies-glued",
        "C06",
        (
            Change(
                "copying.py",
                "self._chunks: list[bytes] = []",
                'self._chunks: list[bytes] = cache.__dict__.setdefault("_chunks", [])',
            ),
            Change(
                "copying.py",
                '        whole = b"".join(self._chunks)\n        self._chunks = []\n',
                '        whole = b"".join(self._chunks)\n        self._chunks.clear()\n',
            ),
        ),
        ("test_capture.py::test_two_bodies_are_never_glued_together",),
        "two bodies glued together after a cancel",
    ),
    one(
        "bytes-after-the-end-glued",
        "G03 G04",
        "capture.py",
        'elif kind == BODY and self.phase is Phase.WHOLE and not message.get("body"):',
        "elif kind == BODY and self.phase is Phase.WHOLE:",
        "test_capture.py::test_what_follows_the_promised_bytes",
    ),
    one(
        "second-end-kept",
        "G03",
        "capture.py",
        "        await self.filling.take_back()\n        await self._reply.send(message)\n",
        "        await self._reply.send(message)\n",
        "test_capture.py::test_a_second_final_message_takes_back_what_was_stored",
    ),
    one(
        "failed-after-its-bytes-kept",
        "C04 C06",
        "capture.py",
        "if self.phase is Phase.WHOLE and self.disconnected:",
        "if self.phase is Phase.WHOLE:",
        "test_capture.py::test_an_app_that_raises_after_its_bytes_stores_nothing",
    ),
    one(
        "body-without-bound",
        "D03",
        "copying.py",
        "if self.size + size > settings.max_body_bytes:",
        "if False:",
        "test_capture.py::test_a_body_over_the_bound_passes_whole",
    ),
    one(
        "fills-without-bound",
        "D04",
        "copying.py",
        "if filling.held + size > settings.fill_bytes:",
        "if False:",
        "test_capture.py::test_d04_all_fills_together_are_bounded",
    ),
    one(
        "shares-of-the-parents-fills",
        "D04 O05",
        "fill_bytes.py",
        "return self if self._pid == os.getpid() else FillBytes()",
        "return self",
        "lifecycle/test_forked.py::test_a_fork_while_the_cache_fills_and_revalidates",
    ),
    one(
        "share-of-a-fill-kept",
        "D04 O06",
        "copying.py",
        "        self._filling.held -= self.size\n",
        "",
        "test_capture.py::test_the_share_of_a_fill_is_always_given_back",
    ),
    one(
        "exception-for-all-followers",
        "C04 G14",
        "fetching.py",
        "            capture.cancelled()\n            raise\n        finally:\n",
        "            capture.cancelled()\n            raise\n"
        "        except Exception as error:\n"
        "            for told in list(flight._followers) if flight is not None else ():\n"
        "                told.set_exception(error)\n"
        "            raise\n"
        "        finally:\n",
        "test_collapsing.py::test_c04_the_leaders_exception_is_its_own",
        named="a leader's exception given to all followers",
    ),
    one(
        "cancel-for-all-followers",
        "C06",
        "fetching.py",
        "            capture.cancelled()\n            raise\n        finally:\n",
        "            capture.cancelled()\n"
        "            for told in list(flight._followers) if flight is not None else ():\n"
        "                told.cancel()\n"
        "            raise\n"
        "        finally:\n",
        "test_collapsing.py::test_c06_a_cancelled_leader_is_followed_by_one",
    ),
    one(
        "flight-of-a-dead-leader-stays",
        "C04 C06 C08",
        "collapsing.py",
        "        self._over.set()\n        self._close()\n",
        "        self._over.set()\n"
        "        if outcome.verdict is not Verdict.LEFT:\n"
        "            self._close()\n",
        "test_collapsing.py::test_c06_a_cancelled_leader_is_followed_by_one",
        "test_collapsing.py::test_c04_the_leaders_exception_is_its_own",
    ),
    one(
        "followers-wait-for-ever",
        "C08",
        "collapsing.py",
        "async with asyncio.timeout(seconds):",
        "async with asyncio.timeout(seconds * 1000):",
        "test_collapsing.py::test_c08_a_leader_that_hangs_holds_nobody_for_longer_than_the_timeout",
    ),
    one(
        "followers-without-bound",
        "D08",
        "following.py",
        "if flight.waiting >= settings.max_followers or not settings.collapse_timeout:",
        "if not settings.collapse_timeout:",
        "test_collapsing.py::test_d08_more_than_the_most_followers_run_at_once",
    ),
    one(
        "followers-in-a-queue",
        "L14",
        "filling.py",
        "            self.flight.release(refusal)",
        "            self.flight.leave()",
        "test_collapsing.py::test_l14_unusable_answers_release_all_followers_together",
    ),
    one(
        "followers-of-another-variant",
        "V02 C01",
        "following.py",
        "return stored.nominated in (values, plain_values(values))",
        "return True",
        "test_collapsing.py::test_followers_of_another_variant_go_at_the_start_of_the_leaders",
        "test_leases.py::test_variants_are_led_apart_once_they_are_known",
    ),
    one(
        "followers-get-stale",
        "C01",
        "following.py",
        "        if stored.fresh_until <= self._cache.now():\n            return False\n",
        "",
        "test_collapsing.py::test_l14_unusable_answers_release_all_followers_together",
    ),
    one(
        "condition-of-the-leader-shown",
        "R06 C01",
        "following.py",
        "if not screened.shape.conditional or anonymous:",
        "if screened.shape:",
        "test_collapsing.py::test_a_condition_that_the_app_sees_leads_nobody",
    ),
    one(
        "nobody-waits",
        "C01",
        "following.py",
        "            flight = self._flights.at(place)\n",
        "            flight: Flight | None = None\n",
        "test_collapsing.py::test_c01_a_thousand_misses_are_one_call",
    ),
    one(
        "workers-do-not-wait",
        "C02",
        "following.py",
        "if leasing is None or not follower.selection.available:",
        "if leasing is not None or not follower.selection.available:",
        "test_leases.py::test_c02_a_thousand_misses_over_four_workers_are_one_call",
    ),
    one(
        "lease-without-end",
        "O05 C09",
        "stores/leases.py",
        '[(b"SET", lease, token, b"PX", live, b"NX")]',
        '[(b"SET", lease, token, b"NX", b"KEEPTTL")] if live else []',
        "test_leases.py::test_a_leader_that_hangs_is_replaced_when_its_lease_ends",
        named="a lock whose owner died and that never expires",
    ),
    one(
        "late-finish-overwrites",
        "C09",
        "stores/fencing.py",
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n",
        "",
        "test_leases.py::test_c09_a_late_finish_overwrites_nothing",
    ),
    one(
        "late-finish-without-scripts-overwrites",
        "C09",
        "stores/leases.py",
        "            if replies[1] != [token]:\n                return UNWATCH\n"
        "            return [\n",
        "            return [\n",
        "stores/test_fencing.py::test_c09_who_has_lost_its_lease_writes_nothing",
    ),
    one(
        "late-finish-unfenced",
        "C09",
        "keeping.py",
        "        if lease is not None:\n            with contextlib.suppress(StoreRefused):",
        "        if lease is None:\n            with contextlib.suppress(StoreRefused):",
        "test_leases.py::test_c09_a_late_finish_overwrites_nothing",
    ),
    one(
        "lease-without-a-second-look",
        "C02 C09",
        "following.py",
        "            if follower.selection.is_first:\n",
        "            if follower.selection is not None:\n",
        "test_leases.py::test_a_fill_that_ended_between_look_up_and_lease_is_not_made_again",
    ),
    one(
        "lease-of-another-given-back",
        "C09",
        "stores/leases.py",
        "            if replies[1] != [token]:\n                return UNWATCH\n"
        '            return [(b"MULTI",)',
        '            return [(b"MULTI",)',
        "security/test_wrong_versions.py::test_c09_who_has_lost_a_lease_gives_back_nobody_elses",
    ),
    one(
        "lease-of-another-given-back-by-the-script",
        "C09",
        "stores/fencing.py",
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end",
        "if #ARGV > 3 and redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end",
        "security/test_wrong_versions.py::test_c09_who_has_lost_a_lease_gives_back_nobody_elses",
    ),
    Wrong(
        "lease-kept-without-a-response",
        "L14 C04",
        (
            Change(
                "collapsing.py",
                "if self.lease is not None and outcome.verdict is not Verdict.COMPLETE:",
                "if self.lease is not None and outcome.verdict is Verdict.COMPLETE:",
            ),
            Change(
                "fetching.py",
                "                if flight.lease is not None:\n",
                "                if flight.lease is None:\n",
            ),
            Change("fetching.py", "flight.lease.give_back(left=True)", "capture.abandon()"),
        ),
        (
            "test_leases.py::test_l14_an_unusable_answer_releases_the_followers_of_all_workers",
            "test_leases.py::test_c04_a_leader_that_raises_is_followed_by_another_worker",
        ),
    ),
    one(
        "late-304-overwrites",
        "C09 R06",
        "keeping.py",
        "            if before is not None and await self.is_overtaken(",
        "            if before is None and await self.is_overtaken(",
        "test_heads.py::test_a_head_that_is_overtaken_puts_nothing_back",
        "test_superseding.py::test_a_late_answer_does_no_harm_to_what_was_stored_meanwhile",
    ),
    one(
        "304-carries-what-was-purged-meanwhile",
        "C10 I12",
        "keeping.py",
        "            stamps = [name for name, _, _ in stored.stamps]\n",
        "            if before is not None:\n"
        '                _, read = await store.read(b"", b"", (), names)\n'
        "                carried = carry(names, dict(zip(names, read, strict=True)))\n"
        "                records = {at: replace(stored, stamps=carried) for at in records}\n"
        "            stamps = [name for name, _, _ in stored.stamps]\n",
        "security/test_invalidation.py::test_i_random_interleavings",
    ),
    one(
        "late-refusal-removes-what-is-newer",
        "C09",
        "keeping.py",
        "            if await self.is_overtaken(stored, screened, store):\n"
        "                return\n",
        "",
        "test_superseding.py::test_a_late_answer_does_no_harm_to_what_was_stored_meanwhile",
    ),
)
