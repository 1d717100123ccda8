"""Sharding: every element in exactly one key, sizes balanced, buckets within their size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakdown.errors import ConfigError, WireError
from breakdown.ps.plan import ParameterSpec, Part, Plan, make_plan

SIZES = st.lists(st.integers(0, 5000), min_size=1, max_size=12)
SHARDINGS = st.sampled_from(["round_robin", "balanced", "split"])


def specs(*sizes: int) -> list[ParameterSpec]:
    return [ParameterSpec(f"p{index}", numel, 4) for index, numel in enumerate(sizes)]


def servers_of(plan: Plan) -> dict[str, int]:
    return {shard.name: shard.server for shard in plan.shards}


@given(SIZES, st.integers(1, 5), SHARDINGS, st.integers(0, 8000), st.integers(0, 30_000))
def test_every_element_is_in_exactly_one_key(sizes: list[int], servers: int, sharding: str, bound: int, bucket: int) -> None:
    plan = make_plan(specs(*sizes), servers, sharding, bound, bucket)
    covered = sorted(part for shard in plan.shards for part in shard.parts)
    expected = 0
    for index, size in enumerate(sizes):
        stop = 0
        for part in (part for part in covered if part.parameter == index):
            assert part.start == stop < part.stop
            stop = part.stop
            expected += 1
        assert stop == size
    assert len(covered) == expected
    assert [shard.key for shard in plan.shards] == list(range(len(plan.shards)))
    assert len({shard.name for shard in plan.shards}) == len(plan.shards)
    assert all(0 <= shard.server < servers for shard in plan.shards)


@given(SIZES, st.integers(1, 5), SHARDINGS, st.integers(0, 8000), st.integers(1, 30_000))
def test_buckets_keep_their_size_and_server(sizes: list[int], servers: int, sharding: str, bound: int, bucket: int) -> None:
    single = make_plan(specs(*sizes), servers, sharding, bound)
    home = {part: shard.server for shard in single.shards for part in shard.parts}
    for shard in make_plan(specs(*sizes), servers, sharding, bound, bucket).shards:
        assert len(shard.parts) == 1 or shard.nbytes <= bucket
        assert {home[part] for part in shard.parts} == {shard.server}
        assert sorted(shard.parts, reverse=True) == list(shard.parts), "backward order"


@given(SIZES, st.integers(1, 5), SHARDINGS, st.integers(0, 30_000))
def test_plan_travels_as_json(sizes: list[int], servers: int, sharding: str, bucket: int) -> None:
    plan = make_plan(specs(*sizes), servers, sharding, 1000, bucket)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.digest == plan.digest


def test_digest_tells_plans_apart() -> None:
    assert make_plan(specs(10, 20), 2, "balanced").digest != make_plan(specs(20, 10), 2, "balanced").digest


def test_round_robin_takes_turns() -> None:
    assert servers_of(make_plan(specs(1, 1, 1, 1, 1), 2, "round_robin")) == {"p0": 0, "p1": 1, "p2": 0, "p3": 1, "p4": 0}


def test_balanced_gives_the_biggest_first_to_the_least_loaded() -> None:
    # 100 -> 0; 60 -> 1; 50 -> 1 (60 < 100); 30 -> 0 (100 < 110)
    assert servers_of(make_plan(specs(30, 100, 50, 60), 2, "balanced")) == {"p0": 0, "p1": 0, "p2": 1, "p3": 1}


def test_split_cuts_only_above_the_bound() -> None:
    plan = make_plan(specs(100, 101, 3), 2, "split", split_bound_bytes=400)
    assert servers_of(plan) == {"p0": 0, "p1[0:50]": 0, "p1[50:101]": 1, "p2": 1}
    assert plan.shards[2].parts == (Part(1, 50, 101),)


def test_one_server_splits_nothing() -> None:
    assert servers_of(make_plan(specs(1000), 1, "split", split_bound_bytes=4)) == {"p0": 0}


def test_buckets_join_neighbours_in_backward_order() -> None:
    plan = make_plan(specs(10, 10, 10, 1000, 10), 1, "balanced", bucket_bytes=80)
    assert [(shard.name, [part.parameter for part in shard.parts]) for shard in plan.shards] == [
        ("p0", [0]),
        ("bucket-2", [2, 1]),
        ("p3", [3]),
        ("p4", [4]),
    ]


def test_an_unknown_sharding_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="balanced, round_robin, split"):
        make_plan(specs(1), 1, "blanced")


@pytest.mark.parametrize(
    "data", [None, {}, {"servers": 1}, {"servers": 1, "shards": [["a", 0]]}, {"servers": "x", "shards": []}]
)
def test_a_broken_plan_from_a_peer_is_a_wire_error(data: object) -> None:
    with pytest.raises(WireError, match="shard plan"):
        Plan.from_json(data)
