"""Sites that are behind: what comes too late is let go, what was lost is given again."""

import shutil
from pathlib import Path

import prism_fl
import pytest
from fake_grid import SETTINGS, at_round, make_grid, run
from flwr.app import Message

from prism_fleet.envelope import digests
from prism_fleet.exchange import Errand, Fleet
from prism_fleet.roster import Roster


def test_a_late_answer_is_not_taken_for_one_to_a_later_exchange_of_the_same_title(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid, node = make_grid(tmp_path), 10
    server = prism_fl.Server(SETTINGS, str(tmp_path / "run"))
    roster = Roster(tmp_path / "run", server.clients)
    fleet = Fleet(grid, roster, digests(SETTINGS), 0, poll=1.0, clock=lambda: grid.now, sleep=grid.sleep)
    server.exchange()
    answered: list[int] = []
    errand = Errand("exchange", "keys", server.request, lambda client, payload: answered.append(client))
    grid.fakes[node].seconds = 25.0
    assert fleet.exchange(errand, [0], 20.0).missing == {0: "no answer within 20 s"}
    grid.fakes[node].seconds = 10.0
    assert fleet.exchange(errand, [0], 20.0).answered == [0] == answered
    assert grid.now >= 30
    assert "client 0 (site-10): late answer to keys is dropped" in caplog.text


def test_a_site_that_lost_its_folder_takes_part_in_the_same_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[11]

    def without_state(message: Message) -> list[tuple[float, Message]]:
        if not lost.exists():
            lost.touch()
            shutil.rmtree(node.config["state-dir"])
        return [(1.0, node.genuine(message))]

    lost = tmp_path / "lost"
    at_round(node, 2, without_state)
    with caplog.at_level("INFO"):
        run(grid, tmp_path / "run")
    assert "round 2: client 1 (site-11) gets a snapshot" in caplog.text
    assert "round 2/3: 3 answered" in caplog.text
