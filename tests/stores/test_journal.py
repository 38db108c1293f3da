from __future__ import annotations

import os
import threading

from asgi_cache.stores.journal import MOST_AT_ONCE, Journal

ALL = b"n"


def add(
    journal: Journal, *names: bytes, soft: tuple[bytes, ...] = (), life: float = 60.0
) -> Journal:
    journal.add(names, soft, life, ALL)
    return journal


def test_it_is_empty_at_first() -> None:
    journal = Journal()
    assert len(journal) == 0
    assert not journal.hides(ALL)
    assert journal.batch().tokens == {}


def test_each_name_waits_once_in_the_order_in_which_it_came() -> None:
    journal = add(add(add(Journal(), b"e", b"ga"), b"e", b"gb", life=90.0), b"ga", life=7.0)
    batch = journal.batch()
    assert (batch.names, batch.soft_names, batch.life) == ([b"e", b"ga", b"gb"], [], 90.0)
    assert [journal.hides(name) for name in (b"e", b"gb", b"gc")] == [True, True, False]


def test_what_is_done_is_forgotten() -> None:
    journal = add(Journal(), b"a", b"b")
    journal.done(journal.batch())
    assert len(journal) == 0
    assert not journal.hides(b"a")
    assert add(journal, b"c", life=1.0).batch().life == 1.0


def test_what_was_added_again_meanwhile_is_not() -> None:
    """The attempt under way may have been carried out before the second invalidation began."""
    journal = add(Journal(), b"a", b"b")
    batch = journal.batch()
    add(journal, b"b")
    journal.done(batch)
    assert journal.batch().names == [b"b"]


def test_hard_wins_over_soft() -> None:
    journal = add(add(Journal(), soft=(b"a", b"b")), b"b")
    add(journal, soft=(b"b", b"c"))
    batch = journal.batch()
    assert (batch.names, batch.soft_names) == ([b"b"], [b"a", b"c"])
    journal.done(batch)
    assert add(journal, b"a").batch().names == [b"a"]


def test_too_many_become_everything() -> None:
    journal = add(Journal(most_names=2), b"a", b"b")
    assert len(journal) == 2
    add(journal, soft=(b"c",))
    batch = journal.batch()
    assert (batch.names, batch.soft_names, batch.life) == ([ALL], [], 60.0)
    assert journal.hides(ALL)
    add(journal, b"d", soft=(b"f",))
    assert list(journal.batch().tokens) == [ALL]
    # What came during the attempt is not part of it.
    journal.done(batch)
    assert journal.batch().names == [ALL]
    journal.done(journal.batch())
    assert len(journal) == 0
    assert add(journal, b"a").batch().names == [b"a"]


def test_too_long_ones_do() -> None:
    journal = add(Journal(most_bytes=10), b"12345", b"67890")
    add(journal, b"12345")
    assert journal.batch().names == [b"12345", b"67890"]
    assert add(journal, b"x").batch().names == [ALL]


def test_what_was_done_makes_room() -> None:
    journal = Journal(most_names=2, most_bytes=10)
    for _ in range(5):
        add(journal, b"12345", b"67890")
        journal.done(journal.batch())
    assert add(journal, b"12345", b"67890").batch().names == [b"12345", b"67890"]


def test_long_ones_are_replayed_in_parts() -> None:
    names = [b"%d" % number for number in range(MOST_AT_ONCE + 1)]
    journal = add(Journal(), *names)
    first = journal.batch()
    assert first.names == names[:-1]
    journal.done(first)
    assert journal.batch().names == names[-1:]


def test_threads_lose_nothing() -> None:
    journal = Journal()
    start = threading.Barrier(4)

    def work(own: int) -> None:
        start.wait(10)
        for number in range(300):
            add(journal, b"%d-%d" % (own, number))
            journal.hides(b"x")

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal) == 1200


def test_a_fork_may_happen_at_any_moment() -> None:
    """Another thread of the parent may hold the lock, and does not exist in the child."""
    journal = add(Journal(), b"a")
    with journal._lock:
        pid = os.fork()
        if pid == 0:
            add(journal, b"b")
            os._exit(0 if journal.batch().names == [b"a", b"b"] else 1)
    assert os.waitpid(pid, 0)[1] == 0
