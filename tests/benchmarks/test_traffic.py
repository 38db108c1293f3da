"""What the benchmarks ask: the same on every machine, and distributed as they say."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.traffic import CATEGORIES, MIX, PRODUCTS, endpoints, mixed, zipf_weights


def kind_of(path: str) -> str:
    return {
        "/me": "per-user page",
        "/about": "static page",
        "/dashboard": "dashboard",
    }.get(path) or path.strip("/").replace("products/", "product/").partition("/")[0].partition(
        "?"
    )[0]


def test_zipf_weights_are_one_over_the_rank() -> None:
    assert zipf_weights(4, 1.0) == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert zipf_weights(2, 2.0) == pytest.approx([1, 1 / 4])


def test_mixed_load_keeps_its_shares() -> None:
    requests = mixed(20_000, seed=3)
    shares = {
        kind: count / 20_000 for kind, count in Counter(kind_of(r.path) for r in requests).items()
    }
    assert shares == pytest.approx(MIX, abs=0.01)


def test_popular_products_are_asked_for_as_zipf_says() -> None:
    asked = Counter(r.path for r in mixed(50_000, seed=3) if r.path.startswith("/products/"))
    (_, first), (_, second), *_ = asked.most_common()
    total = asked.total()
    harmonic = sum(zipf_weights(PRODUCTS, 1.0))
    assert first / total == pytest.approx(1 / harmonic, rel=0.1)
    assert second / total == pytest.approx(1 / 2 / harmonic, rel=0.15)


def test_mixed_load_is_the_same_for_every_variant_and_another_in_each_round() -> None:
    assert mixed(500, seed=1) == mixed(500, seed=1)
    assert mixed(500, seed=1) != mixed(500, seed=2)


def test_only_per_user_pages_carry_a_cookie() -> None:
    for request in mixed(2_000, seed=1):
        assert bool(request.fields) == (request.path == "/me")


def test_endpoints_cover_what_is_reported() -> None:
    found = endpoints()
    assert {e.name for e in found} == set(MIX) | {"primary key"}
    assert [e.name for e in found if e.database] == [
        *("products", "product", "primary key", "search", "users")
    ]
    assert len({request.path for request in found[0].requests}) == 32 <= 4 * CATEGORIES
