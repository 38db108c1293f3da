"""Wrong versions of invalidation: what survives a purge, comes back after it, or joins before."""

from __future__ import annotations

from typing import Final

from tests.mutations.wrong.entry import Change, Wrong, one

MISSING = "        if stamp is None or stamp.nonce != nonce:\n"
ZERO = "Stamp(bytes(NONCE_BYTES), bytes(NONCE_BYTES), 0.0)"

PURGES: Final = (
    one(
        "evicted-stamp-is-valid",
        "I07 S12",
        "selection.py",
        MISSING,
        "        if stamp is None:\n            continue\n        if stamp.nonce != nonce:\n",
        "security/test_resources.py::test_s13_emptied_in_mid_fill",
        "security/test_wrong_versions.py::test_s12_an_evicted_stamp_proves_nothing",
        named="a version key evicted and read as 0",
    ),
    one(
        "evicted-stamp-is-zero-in-memory",
        "I06 S12",
        "stores/memory.py",
        "                    stamp = _new_stamp()\n",
        f"                    stamp = {ZERO}\n",
        "contract/test_store_contract.py::test_i06_a_stamp_made_again_is_another",
        named="a version key evicted and read as 0",
    ),
    one(
        "evicted-stamp-is-zero-in-redis",
        "I06 S12",
        "stores/redis.py",
        'commands.append((b"SET", place, new_stamp(), b"PX", live, *condition))',
        'commands.append((b"SET", place, bytes(40), b"PX", live, *condition))',
        "contract/test_store_contract.py::test_i06_a_stamp_made_again_is_another",
        named="a version key evicted and read as 0",
    ),
    one(
        "evicted-epoch-proves-all",
        "I07",
        "keeping.py",
        "return epoch is not None and noted is not None and epoch.nonce == noted.nonce",
        "return epoch is None or noted is None or epoch.nonce == noted.nonce",
        "security/test_invalidation.py::test_i07_an_evicted_epoch_forbids_storing",
    ),
    one(
        "record-without-stamps-is-valid",
        "P11 S08",
        "selection.py",
        "    if not carried.issuperset(required):\n        return Validity(False, (), None)\n",
        "",
        "security/test_poisoning.py::test_p11_a_record_without_stamps_is_not_served",
    ),
    one(
        "stale-copy-survives",
        "C10 C11",
        "selection.py",
        "        if not state.holds:\n            return False\n",
        "        if not state.holds and stored.fresh_until > store.now():\n"
        "            return False\n",
        "test_stale.py::test_a_purged_response_does_not_stand_in",
        named="a purge that leaves the stale copy behind",
    ),
    one(
        "purge-is-soft",
        "C11 I12",
        "cache.py",
        "hard, soft_names = (first, names) if soft else (first + names, [])",
        "hard, soft_names = first, names",
        "test_stale.py::test_a_purged_response_does_not_stand_in",
    ),
    one(
        "variants-survive",
        "C11",
        "selection.py",
        "        if not state.holds:\n            return False\n",
        "        if not state.holds and not stored.nominated:\n            return False\n",
        "security/test_wrong_versions.py::test_c11_a_purge_takes_every_variant",
        named="a purge that leaves a variant behind",
    ),
    one(
        "page-without-query-survives",
        "C11",
        "policy/scopes.py",
        '            names.append(target_stamp(target._replace(query=b"").text))\n',
        "",
        "test_wrap.py::test_a_purge_of_all_queries_from_a_handler",
    ),
    Wrong(
        "groups-of-a-rule-survive",
        "C12",
        (
            Change(
                "policy/scopes.py",
                "        names += group_names(rule_groups(match.rule, match.params), authority)\n",
                "        assert authority\n",
            ),
            Change(
                "policy/grouping.py",
                "    groups = rule_groups(rule, params)\n",
                "    groups: list[str] = []\n",
            ),
        ),
        ("security/test_wrong_versions.py::test_c11_a_purge_takes_every_variant",),
    ),
    one(
        "groups-of-a-response-survive",
        "C12",
        "keeping.py",
        "return tuple(dict.fromkeys((*screened.required, *groups)))",
        "return tuple(dict.fromkeys((*screened.required, *groups[:0])))",
        "test_middleware.py::test_groups_that_only_the_response_names",
    ),
    one(
        "groups-of-another-origin-purged",
        "P13",
        "policy/invalidation.py",
        "group_stamps(group, authority)[1] for group",
        "group_stamps(group, authority)[0] for group",
        "policy/test_invalidation.py::test_groups_of_this_authority_after_the_epoch",
        "security/test_poisoning.py::test_p13_a_group_is_invalidated_at_its_own_origin_only",
    ),
    one(
        "another-host-spoiled",
        "P14",
        "policy/invalidation.py",
        "if target is not None and target.authority == authority:",
        "if target is not None:",
        "policy/test_invalidation.py::test_locations",
        "security/test_poisoning.py::test_p14_an_unsafe_answer_spoils_nothing_of_another_host",
    ),
    one(
        "stamps-read-when-storing",
        "C10 I01",
        "keeping.py",
        "            records = self._placed(stored, selection)\n",
        "            anew = dict(zip(names, await store.settle(names, self._life), strict=True))\n"
        "            stored = replace(stored, stamps=carry(names, anew))\n"
        "            records = self._placed(stored, selection)\n",
        "test_middleware.py::test_a_purge_while_the_app_runs_keeps_its_answer_out",
        "security/test_invalidation.py::test_i_a_purge_at_every_moment_of_a_fill",
    ),
    one(
        "group-found-missing-afterwards",
        "I03",
        "keeping.py",
        "return epoch is not None and noted is not None and epoch.nonce == noted.nonce",
        "return epoch is not None or noted is not None",
        "security/test_wrong_versions.py::test_i03_a_group_made_anew_after_a_purge_of_it",
    ),
    one(
        "epoch-second",
        "I08",
        "cache.py",
        "hard, soft_names = (first, names) if soft else (first + names, [])",
        "hard, soft_names = (first, names) if soft else (names + first, [])",
        "security/test_invalidation.py::test_i08_a_group_purge_replaces_the_epoch_first",
    ),
    one(
        "joined-after-a-purge",
        "I05 C11",
        "following.py",
        "        return all(\n            (stamp",
        "        return not stored.stamps or any(\n            (stamp",
        "test_collapsing.py::test_a_request_after_a_purge_does_not_join_a_fill_from_before_it",
    ),
    one(
        "joined-without-asking-for-groups",
        "I05",
        "following.py",
        "            stamps = {**await self._read_together(others, flight), **stamps}\n",
        "            return bool(others)\n",
        "security/test_wrong_versions.py::"
        "test_i05_who_begins_after_a_purge_does_not_get_what_is_being_written",
    ),
    one(
        "two-missing-stamps-are-equal",
        "I06",
        "following.py",
        "(stamp := stamps.get(name)) is not None\n            and (stamp.nonce",
        "(stamp := stamps.get(name)) is None\n            or (stamp.nonce",
        "security/test_wrong_versions.py::"
        "test_i05_who_begins_after_a_purge_does_not_get_what_is_being_written",
    ),
    one(
        "purge-sent-again",
        "I09",
        "stores/connections.py",
        "            replies = await self._of_this_loop().pooled.exchange(commands, then)\n",
        "            try:\n"
        "                replies = await self._of_this_loop().pooled.exchange(commands, then)\n"
        "            except Exception:\n"
        "                replies = await self._of_this_loop().pooled.exchange(commands, then)\n",
        "stores/test_connections.py::test_i09_nonces_are_sent_once_whatever_happens",
        "security/test_invalidation.py::test_i09_a_purge_without_an_answer_is_not_sent_again",
    ),
    one(
        "soft-purge-opens-a-window",
        "I12",
        "selection.py",
        "end + window if window > 0 else stale.fresh_until for window in windows",
        "end + window for window in windows",
        "test_stale.py::test_a_soft_purge_by_a_clock_that_is_ahead_opens_no_window",
    ),
    Wrong(
        "soft-purge-by-read-and-write",
        "I10",
        (
            Change(
                "stores/redis.py",
                "            place = self.stamp_place(name)\n            soft_part",
                "            place = self.stamp_place(name)\n"
                '            ((old,),) = await self._connections.exchange("replace", '
                '[(b"MGET", place)])\n'
                "            soft_part",
            ),
            Change(
                "stores/redis.py",
                '                (b"SET", place, new_stamp(), b"PX", live, b"NX"),\n'
                '                (b"SETRANGE", place, b"%d" % NONCE_BYTES, soft_part),\n',
                '                (b"SET", place, (old or new_stamp())[:NONCE_BYTES] + soft_part, '
                'b"PX", live),\n',
            ),
        ),
        ("security/test_invalidation.py::test_i10_a_soft_purge_does_not_undo_a_hard_one",),
    ),
    one(
        "soft-purge-makes-the-same-stamp-twice",
        "I11",
        "stores/redis.py",
        '                (b"SET", place, new_stamp(), b"PX", live, b"NX"),\n',
        '                (b"SET", place, bytes(40), b"PX", live, b"NX"),\n',
        "contract/test_store_contract.py::"
        "test_i11_soft_purges_of_an_evicted_stamp_make_different_ones",
        "security/test_invalidation.py::test_i11_a_soft_purge_of_an_evicted_stamp_makes_a_new_one",
    ),
    one(
        "soft-purge-leaves-it-fresh",
        "I12",
        "selection.py",
        "fresh_until=min(end, now, stored.generated_at),",
        "fresh_until=stored.fresh_until,",
        "test_stale.py::test_a_soft_purge_opens_the_window",
        "security/test_invalidation.py::"
        "test_i12_after_a_soft_purge_a_new_fill_is_fresh_and_an_old_one_is_not",
    ),
    one(
        "soft-purge-for-ever",
        "I12",
        "selection.py",
        "        if stamp.soft_nonce != soft_nonce:\n",
        "        if stamp.soft_at:\n",
        "security/test_invalidation.py::"
        "test_i12_after_a_soft_purge_a_new_fill_is_fresh_and_an_old_one_is_not",
        "test_validation.py::test_i12_after_a_soft_purge_a_304_makes_it_fresh_again",
    ),
    one(
        "page-starved-by-purges",
        "I14",
        "keeping.py",
        "        self._notes.groups.put(screened.key, extra, store.now())\n",
        "        assert extra\n",
        "security/test_invalidation.py::test_i14_purges_of_other_groups_cannot_starve_a_page",
    ),
    one(
        "unsafe-answer-seen-before-its-effect",
        "C11",
        "passing.py",
        "            if names:\n"
        "                # Whoever is cancelled meanwhile has changed something all the same.\n"
        "                await cache.shielded(cache.invalidate(names, store))\n",
        "",
        "test_middleware.py::test_whoever_has_the_start_sees_the_effect",
    ),
    one(
        "work-after-an-unsafe-answer",
        "C11",
        "passing.py",
        "        if names:\n            await cache.shielded(cache.invalidate(names, store))\n",
        "        assert names is not None\n",
        "test_middleware.py::test_work_after_the_response_invalidates_again",
    ),
    one(
        "error-of-an-unsafe-method-spoils",
        "P14",
        "policy/invalidation.py",
        "if not 200 <= head.status <= 399 or authority is None:",
        "if authority is None:",
        "policy/test_invalidation.py::test_an_error_spoils_nothing",
    ),
    one(
        "failed-purge-untold",
        "I09 X02",
        "cache.py",
        "            elif isinstance(error, StoreError):\n                raise\n",
        "            elif isinstance(error, StoreError):\n"
        '                self.failed("purge", error)\n',
        "security/test_invalidation.py::test_i09_a_purge_without_an_answer_is_not_sent_again",
    ),
)
