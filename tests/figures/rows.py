"""The promises in figures: what each is judged by, and what shows it, on CI and in the long run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Figure:
    """One figure of a promise, by the name under which it is told."""

    name: str
    at_most: float | None = None
    join: Callable[[Sequence[float]], float] = max
    """Of several parts that tell it: the worst, or ``sum``."""


@dataclass(frozen=True)
class Form:
    """One way to show a promise: *commands* are arguments of Python, run one after the other."""

    promise: str
    commands: Sequence[Sequence[str]]
    minutes: float
    """About how long it takes on a quiet machine of two cores."""
    environment: Mapping[str, str] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)
    """How much of a figure there must be for the promise to mean something."""


@dataclass(frozen=True)
class Row:
    """One promise."""

    name: str
    what: str
    told: str
    """Its figures in a sentence, a format."""
    figures: Sequence[Figure]
    quick: Form
    long: Form


def _tests(*names: str) -> tuple[str, ...]:
    """The command that runs some tests, each as ``file::test``."""
    return ("-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in names))


def _checker(responses: int, runs: int, promise: str, minutes: float) -> Form:
    command = ("-m", "tests.security.checker", "--responses", str(responses // runs))
    # Run by run another history, so that what went wrong in one can be seen again by its seed.
    seeds = [("--seed", str(seed)) for seed in range(1, runs + 1)] if runs > 1 else [()]
    commands = [(*command, *seed) for seed in seeds]
    return Form(promise, commands, minutes, at_least={"checked": responses})


def _interleavings(number: int, promise: str, minutes: float) -> Form:
    return Form(
        promise,
        [_tests("security/test_invalidation.py::test_i_random_interleavings")],
        minutes,
        {"INTERLEAVINGS": str(number)},
        # In memory; on Redis a quarter more. Who takes part has to be there.
        {
            "interleavings": number * 1.25,
            "followers": number / 5,
            "revalidations": number / 5,
            "not_modified": number / 5,
        },
    )


def _corrupted(number: int, promise: str, minutes: float) -> Form:
    return Form(
        promise,
        [_tests("security/test_store_trust.py::test_s03_corrupted_values_are_never_answers")],
        minutes,
        {"CORRUPTED_VALUES": str(number)},
        {"values": 2 * number},  # with a secret, and without
    )


def _purges(number: int, promise: str, minutes: float) -> Form:
    command = ("-m", "tests.faults.purges", "--purges", str(number))
    # At once, without a near tier, is what the interleavings show.
    cut_off = _tests("faults/test_near.py", "security/test_invalidation.py")
    return Form(promise, [command, cut_off], minutes, at_least={"purges": number})


_MISSES: Final = Form(
    "1 app call; at most 1 per worker with Redis down",
    [_tests("figures/test_crowds.py::test_c02_c03_a_thousand_misses_of_four_processes")],
    0.2,
    at_least={"misses": 1000},
)
_UNCACHEABLE: Final = Form(
    "all done in at most twice the app's time + 50 ms",
    [_tests("figures/test_crowds.py::test_a_hot_uncacheable_url_queues_nobody")],
    0.2,
    at_least={"clients": 100},
)
_WRONG: Final = Form(
    "the suite fails on each",
    [("-m", "tests.mutations.wrong")],
    15,
    at_least={"versions": 222},
)
_X01: Final = "faults/test_faults.py::test_x01_down_at_start"
_X02: Final = "faults/test_faults.py::test_x02_killed_under_load"
_X03: Final = "faults/test_faults.py::test_x03_hung"
_X23: Final = "faults/test_recovery.py::test_x23_flapping"
_KILLED: Final = _tests(
    "lifecycle/test_killed.py::test_o05_the_leaders_worker_is_killed",
    "lifecycle/test_killed.py::test_o05_kill_loop",
)
_DISTINCT: Final = _tests(
    "security/test_bounds.py::test_d01_distinct_urls_stay_within_the_budget",
    "security/test_bounds.py::test_d01_distinct_urls_in_redis_have_an_end",
)
_STREAMED: Final = Form(
    "at most 2 MiB extra memory, first byte at most 1 ms later",
    [_tests("lifecycle/test_memory.py::test_d03_a_long_response_costs_neither_memory_nor_time")],
    0.2,
    at_least={"mib": 1024},
)
_DISCONNECTS: Final = _tests("lifecycle/test_leaks.py::test_c06_clients_that_go_away_at_random")
_LEAKS: Final = _tests(
    "lifecycle/test_leaks.py::test_o06_many_requests_with_random_cancels_leave_nothing"
)
_HANGING: Final = (
    "at most 150 ms added to any request, at most 1 ms at p99 once the breaker is open; no errors"
)
_SEEN: Final = (
    "on return without a near tier; with one p99 at most 50 ms, at most 150 ms; at most 2 s for a "
    "worker that is cut off"
)
_LOST: Final = "0 extra 5xx; hits again within 2 s; start-up at most 250 ms longer"

ROWS: Final = (
    Row(
        "wrong bytes",
        "wrong bytes (another key's, another user's, cut, mixed), random histories over several "
        "workers, faults on",
        "{wrong:.0f} in {checked:,.0f}",
        [Figure("checked", join=sum), Figure("wrong", 0, sum)],
        _checker(100_000, 1, "0 in 100,000 checked responses", 1),
        _checker(10_000_000, 20, "0 in 10 million", 90),
    ),
    Row(
        "misses",
        "1,000 concurrent misses over 4 workers",
        "{calls:.0f} app call; {calls_a_worker_without_redis:.0f} per worker with Redis down",
        [Figure("misses"), Figure("calls", 1), Figure("calls_a_worker_without_redis", 1)],
        _MISSES,
        _MISSES,
    ),
    Row(
        "uncacheable",
        "hot uncacheable URL, 100 clients",
        "at most twice the app's time + {ms_beyond_twice_the_app_time:.0f} ms",
        [Figure("clients", join=min), Figure("ms_beyond_twice_the_app_time", 50)],
        _UNCACHEABLE,
        _UNCACHEABLE,
    ),
    Row(
        "hanging",
        "Redis hangs (SIGSTOP)",
        "{added_ms:.0f} ms added at most, {p99_once_open_ms:.2f} ms at p99 once the breaker is "
        "open, {errors:.0f} errors; {flapping_seconds:.0f} s of flapping: "
        "{flapping_p99_ms:.0f} ms added at p99, {flapping_most_ms:.0f} ms at most",
        [
            Figure("added_ms", 150),
            Figure("p99_once_open_ms", 1),
            Figure("flapping_p99_ms", 150),
            Figure("flapping_most_ms"),
            Figure("errors", 0, sum),
            Figure("flapping_seconds"),
        ],
        Form(_HANGING, [_tests(_X03, _X23)], 0.3),
        Form(
            "5 minutes of flapping: at most 150 ms added at p99, no errors",
            [_tests(_X03, _X23)],
            5.5,
            {"FLAPPING_SECONDS": "300"},
            {"flapping_seconds": 300},
        ),
    ),
    Row(
        "lost",
        "Redis is lost, and comes back",
        "{errors:.0f} extra 5xx; hits again within {seconds_to_hit:.1f} s; start-up within "
        "{start_up_ms:.0f} ms; {times_lost:.0f} times",
        [
            Figure("errors", 0, sum),
            Figure("seconds_to_hit", 2),
            Figure("start_up_ms", 250),
            Figure("times_lost"),
        ],
        Form(_LOST, [_tests(_X01, _X02)], 0.2),
        Form("20 fail-overs", [_tests(_X01, _X02)], 1, {"FAIL_OVERS": "20"}, {"times_lost": 20}),
    ),
    Row(
        "interleavings",
        "purge while fills, followers and revalidations are in flight",
        "{resurrected:.0f} resurrected in {interleavings:,.0f} (with {followers:,.0f} followers, "
        "{revalidations:,.0f} revalidations, {not_modified:,.0f} answers 304)",
        [
            Figure("resurrected", 0, sum),
            *(
                Figure(name, join=sum)
                for name in ("interleavings", "followers", "revalidations", "not_modified")
            ),
        ],
        _interleavings(500, "0 resurrected in 500 forced interleavings", 0.5),
        _interleavings(10_000, "0 in 10,000", 8),
    ),
    Row(
        "purges seen",
        "a purge is seen by every worker",
        "without a near tier as soon as it returns; with one within {p99_ms:.1f} ms at p99, "
        "{max_ms:.0f} ms at most, of {purges:,.0f}; within {seconds_cut_off:.2f} s by a worker "
        "that is cut off",
        [
            Figure("purges"),
            Figure("p99_ms", 50),
            Figure("max_ms", 150),
            Figure("seconds_cut_off", 2),
        ],
        _purges(200, _SEEN, 1),
        _purges(10_000, "10,000 purges", 7),
    ),
    Row(
        "killed",
        "the leader's worker is killed",
        "the next ones answer {seconds_to_answer:.2f} s later, what they take themselves not "
        "counted; {kills:.0f} kills: {wrong:.0f} wrong in {answers:,.0f}",
        [
            # What it takes to notice is no waiting.
            Figure("seconds_to_answer", 5.05),
            Figure("kills"),
            Figure("answers"),
            Figure("wrong", 0),
        ],
        Form("the next one answers within 5 s + app time", [_KILLED], 0.3),
        Form(
            "one killed every second for 5 minutes: 0 wrong answers",
            [_KILLED],
            5.5,
            {"KILL_SECONDS": "300"},
            {"kills": 200},
        ),
    ),
    Row(
        "distinct URLs",
        "distinct URLs",
        "{urls:,.0f} in memory: {mib_beyond_budget:.1f} MiB beyond the budget; "
        "{urls_in_redis:,.0f} in Redis: {without_end:.0f} keys without a TTL",
        [
            Figure("urls"),
            Figure("mib_beyond_budget", 16),
            Figure("urls_in_redis"),
            Figure("without_end", 0),
        ],
        Form(
            "100,000: memory within its budget + 16 MiB; no Redis key without a TTL",
            [_DISTINCT],
            0.4,
            {"DISTINCT_URLS": "100000"},
            at_least={"urls": 100_000},
        ),
        Form(
            "1 million",
            [_DISTINCT],
            20,
            {"DISTINCT_URLS": "1000000", "DISTINCT_URLS_IN_REDIS": "1000000"},
            {"urls": 1_000_000, "urls_in_redis": 1_000_000},
        ),
    ),
    Row(
        "streamed",
        "1 GiB streamed response",
        "{more_mib:.1f} MiB more, first byte {ms_later:.2f} ms later (median)",
        [Figure("mib"), Figure("more_mib", 2), Figure("ms_later", 1)],
        _STREAMED,
        _STREAMED,
    ),
    Row(
        "disconnects",
        "random client disconnects",
        "{disconnects:,.0f}: {wrong:.0f} short or wrong, {tasks:.0f} tasks and {leases:.0f} "
        "leases leaked",
        [Figure("disconnects"), *(Figure(name, 0) for name in ("wrong", "tasks", "leases"))],
        Form(
            "500: 0 short stored responses, 0 leaked tasks or leases",
            [_DISCONNECTS],
            0.1,
            at_least={"disconnects": 500},
        ),
        Form("10,000", [_DISCONNECTS], 1.5, {"DISCONNECTS": "10000"}, {"disconnects": 10_000}),
    ),
    Row(
        "leaks",
        "requests, one in ten of which is left by its client",
        "{requests:,.0f}: {tasks:.0f} tasks, {descriptors:.0f} descriptors too many, "
        "{mib:.1f} MiB more",
        [
            Figure("requests"),
            *(Figure(name, 0) for name in ("tasks", "descriptors", "wrong")),
            Figure("mib", 5),
        ],
        Form("6,000: tasks, descriptors and memory are back where they were", [_LEAKS], 0.3),
        Form("1 million", [_LEAKS], 30, {"LEAK_REQUESTS": "1000000"}, {"requests": 1_000_000}),
    ),
    Row(
        "corrupted",
        "corrupted stored values",
        "{wrong:.0f} wrong answers and {exceptions:.0f} exceptions in {values:,.0f}, "
        "{ms_each:.2f} ms each at most",
        [
            Figure("values", join=sum),
            Figure("wrong", 0, sum),
            Figure("exceptions", 0, sum),
            Figure("ms_each", 10),
        ],
        _corrupted(5_000, "5,000: 0 wrong answers, 0 exceptions, 10 ms each at most", 0.3),
        _corrupted(100_000, "100,000", 4),
    ),
    Row(
        "wrong versions",
        "every wrong version seen in the field, put back into our code",
        "the suite fails on {caught:.0f} of {versions:.0f}",
        [Figure("versions"), Figure("caught"), Figure("survived", 0)],
        _WRONG,
        _WRONG,
    ),
)
