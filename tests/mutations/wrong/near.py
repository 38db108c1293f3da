"""Wrong versions of the near tier: what is served from memory after it has changed in the store."""

from __future__ import annotations

from typing import Final

from tests.mutations.wrong.entry import Wrong, one

TIERED = "stores/test_tiered.py::"
KILLED = "            self.tier.cells.kill([*names, *soft_names])\n"

NEAR: Final[tuple[Wrong, ...]] = (
    one(
        "purge-leaves-the-near-tier",
        "C11 I13",
        "stores/watching.py",
        "            self._cells.pushed(change.places)\n",
        "            pass\n",
        TIERED + "test_what_is_lost_far_is_lost_near",
        "stores/test_tracking.py::test_a_change_by_anybody_is_seen",
        named="a purge that leaves the near tier behind",
    ),
    one(
        "flush-leaves-the-near-tier",
        "S13",
        "stores/watching.py",
        "        if change.places is None:\n            self._cells.clear()\n        else:\n",
        "        if change.places is not None:\n",
        TIERED + "test_s13_everything_is_lost",
    ),
    one(
        "reply-after-its-push-is-held",
        "I13",
        "stores/cells.py",
        "                if last > began:\n                    continue\n",
        "",
        TIERED + "test_i13_a_read_is_answered_after_the_push_of_its_key",
        TIERED + "test_i13_a_settle_is_answered_after_the_push_of_its_key",
    ),
    one(
        "reply-over-a-reconnect-is-held",
        "I13",
        "stores/cells.py",
        "        self._floor = self._from = self._moment\n",
        "        self._from = self._moment\n",
        TIERED + "test_i13_a_read_over_a_reconnect_is_not_put",
    ),
    one(
        "cells-are-kept-over-a-reconnect",
        "I13 X19",
        "stores/cells.py",
        ", self._index = {}, {}, {}\n        self._holder.clear()\n",
        " = {}, {}\n",
        TIERED + "test_i13_no_cell_is_kept_over_a_reconnect",
    ),
    one(
        "lease-counts-from-the-answer",
        "I13 X18",
        "stores/watching.py",
        "asked_at + LEASE",
        "monotonic() + LEASE",
        TIERED + "test_i13_a_lease_counts_from_before_the_question",
    ),
    one(
        "lease-never-ends",
        "X18",
        "stores/tiered.py",
        "monotonic() < watching.lease_until and ",
        "watching.lease_until and ",
        TIERED + "test_i13_a_lease_counts_from_before_the_question",
    ),
    one(
        "evicted-cell-stays-referenced",
        "I13",
        "stores/cells.py",
        "                        self._index.pop(self._mark(other), None)\n",
        "                        pass\n",
        TIERED + "test_i13_an_evicted_cell_is_gone_for_whoever_needs_it",
    ),
    one(
        "own-purge-waits-for-its-push",
        "I13",
        "stores/tiered.py",
        KILLED,
        "            pass\n",
        TIERED + "test_i13_own_purge_has_returned_and_its_push_not_come",
    ),
    one(
        "queued-purge-leaves-the-near-tier",
        "X12",
        "stores/tiered.py",
        "        self.cells.kill([*names, *soft_names, everything])\n",
        "",
        TIERED + "test_what_is_queued_and_what_stands_for_everything_is_forgotten",
    ),
    one(
        "forked-child-believes-its-parents-cells",
        "I13",
        "stores/tiered.py",
        " and getpid() == watching.pid",
        "",
        "stores/test_tracking.py::test_a_forked_child_begins_with_nothing",
    ),
    one(
        "miss-near-is-believed",
        "I13",
        "selection.py",
        "isinstance(store, Doubted) and store.may_be_old",
        "False",
        TIERED + "test_a_contradiction_is_read_again_before_it_is_a_miss",
    ),
    one(
        "fill-reads-near",
        "I03",
        "keeping.py",
        "            store.ask_far()\n",
        "            pass\n",
        TIERED + "test_what_was_stored_elsewhere_meanwhile_is_not_overwritten",
    ),
    one(
        "epoch-is-read-near",
        "I03",
        "stores/tiered.py",
        "        self.is_far = True\n        return self._for_far()\n",
        "        return self._for_far()\n",
        TIERED + "test_once_asked_far_a_request_stays_there",
    ),
)
