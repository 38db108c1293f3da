"""Wrong versions of turns: those who waited while a purge came, and what each says of it."""

from __future__ import annotations

from typing import Final

from tests.mutations.wrong.entry import one

TURNS: Final = (
    one(
        "joins-a-call-from-before-a-purge-with-the-store-away",
        "I04 X02",
        "following.py",
        "not stored.stamps and selection.purges == flight.purges",
        "not stored.stamps",
        "test_health.py::test_nor_one_that_began_before_a_purge_with_the_store_away_again",
    ),
    one(
        "overtaken-run-all-at-once",
        "C18 C17",
        "following.py",
        "        return Outcome(Verdict.OVERTAKEN)\n",
        "        return Outcome(Verdict.RELEASED)\n",
        "test_collapsing.py::test_c18_those_of_after_a_purge_make_one_further_call",
    ),
    one(
        "overtaken-have-the-leaders",
        "C18 I05",
        "following.py",
        "        if await self.holds(stored, flight):\n",
        "        if await self.holds(stored, flight) or stored.stamps:\n",
        "test_collapsing.py::test_c18_those_of_after_a_purge_make_one_further_call",
    ),
    one(
        "purged-groups-release-all",
        "C18 I05",
        "collapsing.py",
        "verdict = Verdict.OVERTAKEN if refusal in PASSING else Verdict.RELEASED",
        "verdict = Verdict.RELEASED",
        "test_collapsing.py::test_c18_groups_that_only_the_response_names",
    ),
    one(
        "another-turn-with-old-stamps",
        "C18 I01",
        "following.py",
        "        self.selection = selection\n        return None\n",
        "        return None\n",
        "test_collapsing.py::test_c18_another_turn_carries_the_stamps_of_now",
        "test_leases.py::test_c18_who_is_handed_a_lease_fills_with_the_stamps_of_now",
    ),
    one(
        "app-call-with-the-first-look-up",
        "C18 I01",
        "following.py",
        "                return turn if outcome is None else turn._replace(waited=True)\n",
        "                return turn._replace(selection=selection, waited=outcome is not None)\n",
        "test_collapsing.py::test_c18_another_turn_carries_the_stamps_of_now",
    ),
    one(
        "asked-about-what-was-purged",
        "C18 R06",
        "fetching.py",
        "child = self._child(scope, screened, standing(screened, turn.selection))",
        "assert child.scope",
        "test_collapsing.py::test_c18_another_turn_does_not_ask_about_what_is_gone_by_then",
        "test_collapsing.py::test_c18_another_turn_asks_about_what_is_stored_by_then",
    ),
    one(
        "miss-of-before-the-wait",
        "C18",
        "fetching.py",
        "                if decision is not None:\n",
        "                if decision is None:\n",
        "test_collapsing.py::test_c18_another_turn_does_not_ask_about_what_is_gone_by_then",
    ),
    one(
        "turns-without-end",
        "C18",
        "following.py",
        "MOST_TURNS_RETAKEN: Final = 2",
        "MOST_TURNS_RETAKEN: Final = 1000",
        "test_collapsing.py::test_c18_whoever_is_overtaken_again_and_again_runs_by_itself",
    ),
    one(
        "each-turn-its-own-timeout",
        "C18 C08",
        "following.py",
        "outcome = await flight.follow(follower.may_have, until - clock())",
        "outcome = await flight.follow(follower.may_have, settings.collapse_timeout)",
        "test_collapsing.py::test_c18_all_turns_together_take_no_longer_than_the_timeout",
    ),
    one(
        "spoilt-fill-keeps-its-lease",
        "C18 C08",
        "following.py",
        "                    flight.lease.give_back(left=True)\n        return",
        "                    assert flight.lease.token\n        return",
        "test_leases.py::test_c18_a_purged_fill_is_waited_for_no_longer_than_its_app_call",
    ),
    one(
        "waiting-in-vain-untold",
        "C01",
        "collapsing.py",
        "return False if self.waited else None",
        "return None",
        "test_collapsing.py::test_what_cache_status_says_of_waiting",
        "test_collapsing.py::test_what_cache_status_says_of_who_takes_a_lost_leaders_place",
    ),
    one(
        "waiting-in-vain-told-as-success",
        "C01",
        "policy/emission.py",
        'value += b"; collapsed" if collapsed else b"; collapsed=?0"',
        'value += b"; collapsed"',
        "policy/test_emission.py::test_cache_status_of_one_that_has_waited",
    ),
)
