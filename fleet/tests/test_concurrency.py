"""How many sites work at the same time: the run decides, and nobody loses its time to those before it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_grid import LIMITS, FakeGrid, at_round, make_grid, run
from flwr.app import Message


def watch(grid: FakeGrid) -> list[int]:
    """Gathers how many sites work whenever another one begins."""
    ends: list[float] = []
    found: list[int] = []

    def begin(message: Message) -> list[tuple[float, Message]]:
        node = grid.fakes[message.metadata.dst_node_id]
        ends.append(grid.now + node.seconds)
        found.append(sum(end > grid.now for end in ends))
        return [(node.seconds, node.genuine(message))]

    for node in grid.fakes.values():
        node.on_message = begin
    return found


@pytest.mark.parametrize("concurrency", [0, 1, 2])
def test_no_more_sites_work_at_a_time_than_the_run_allows(tmp_path: Path, undisturbed: bytes, concurrency: int) -> None:
    grid = make_grid(tmp_path)
    working = watch(grid)
    assert run(grid, tmp_path / "run", limits=replace(LIMITS, concurrency=concurrency)) == undisturbed
    assert max(working) == (concurrency or 3)


def test_a_site_whose_turn_comes_late_has_all_its_time(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    for node in grid.fakes.values():
        node.seconds = 50.0
    assert LIMITS.round < 3 * 50
    assert run(grid, tmp_path / "run", limits=replace(LIMITS, concurrency=1)) == undisturbed


def test_a_silent_site_keeps_the_others_waiting_for_its_timeout_and_no_longer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path)
    at_round(grid.fakes[10], 2, lambda message: [])
    with caplog.at_level("INFO"):
        run(grid, tmp_path / "run", limits=replace(LIMITS, concurrency=1))
    assert "round 2/3: 2 answered; client 0 (site-10): no answer within 60 s" in caplog.text
    assert "round 3/3: 3 answered" in caplog.text


def test_a_site_that_is_away_takes_no_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[10]

    def die(message: Message) -> list[tuple[float, Message]]:
        grid.at(grid.now + 1, lambda: grid.kill(node))
        return []

    at_round(node, 2, die)
    with caplog.at_level("INFO"):
        run(grid, tmp_path / "run", limits=replace(LIMITS, concurrency=1))
    assert "round 2/3: 2 answered; client 0 (site-10): not connected within 60 s" in caplog.text
    assert "round 3/3: 2 answered; client 0 (site-10): not connected when the round began" in caplog.text
    missing = [json.loads(line).get("missing") for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert missing == [None, [0], [0]]
    others = [node for node in grid.fakes.values() if node.node_id != 10]
    assert [len(node.received) for node in others] == [5, 5]
