"""Batcher: tiles are counted, not requests; calls are shared fairly; nothing is lost or classified twice."""

from hypothesis import given
from hypothesis import strategies as st

from inference_server.batcher import Batcher

SHAPE = (224, 224)


def calls(batcher: Batcher) -> list[dict[str, int]]:
    made = []
    while shares := batcher.next():
        made.append({share.job_id: share.stop - share.start for share in shares})
    return made


def test_small_slides_share_one_call() -> None:
    batcher = Batcher(32)
    for number in range(32):
        batcher.add(f"j{number}", 1, SHAPE)
    assert [sum(call.values()) for call in calls(batcher)] == [32]


def test_a_large_slide_does_not_keep_a_small_one_waiting() -> None:
    batcher = Batcher(32)
    batcher.add("large", 1000, SHAPE)
    batcher.add("small", 20, SHAPE)
    made = calls(batcher)
    assert made[0] == {"large": 16, "small": 16} and made[1] == {"large": 28, "small": 4}
    assert all(sum(call.values()) == 32 for call in made[:-1])


def test_what_one_slide_leaves_goes_to_the_others() -> None:
    batcher = Batcher(10)
    for name, count in (("a", 100), ("b", 1), ("c", 100)):
        batcher.add(name, count, SHAPE)
    first = {share.job_id: share.stop - share.start for share in batcher.next()}
    assert first["b"] == 1 and sorted((first["a"], first["c"])) == [4, 5]


def test_more_slides_than_room_take_turns() -> None:
    batcher = Batcher(2)
    for name in "abc":
        batcher.add(name, 2, SHAPE)
    assert [set(call) for call in calls(batcher)] == [{"a", "b"}, {"c", "a"}, {"b", "c"}]


def test_tiles_of_another_shape_get_their_own_call_in_turn() -> None:
    batcher = Batcher(4)
    batcher.add("a", 8, (224, 224))
    batcher.add("b", 4, (256, 256))
    assert [set(call) for call in calls(batcher)] == [{"a"}, {"b"}, {"a"}]


def test_a_cancelled_slide_is_forgotten() -> None:
    batcher = Batcher(4)
    batcher.add("a", 8, SHAPE)
    batcher.next()
    batcher.remove("a")
    assert not batcher and batcher.next() == []


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(1, 100), st.sampled_from([224, 256])), max_size=12))
def test_every_tile_is_in_exactly_one_call_and_no_call_is_too_large(limit: int, jobs: list) -> None:
    batcher = Batcher(limit)
    for number, (count, side) in enumerate(jobs):
        batcher.add(str(number), count, (side, side))
    seen: dict[str, list[int]] = {str(number): [] for number in range(len(jobs))}
    while shares := batcher.next():
        assert 1 <= sum(s.stop - s.start for s in shares) <= limit
        assert len({jobs[int(s.job_id)][1] for s in shares}) == 1
        for share in shares:
            seen[share.job_id] += range(share.start, share.stop)
    assert all(seen[str(number)] == list(range(count)) for number, (count, _) in enumerate(jobs))
