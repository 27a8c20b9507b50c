"""A federation on a fake SuperLink: what happens when nodes, replies and servers are not as they should be."""

import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from fake_grid import SETTINGS, FakeGrid, at_round, make_grid, make_site, run
from flwr.app import Error, Message

from prism_fleet.envelope import Reply, Request
from prism_fleet.federation import FleetError, Limits


def test_three_sites_train_a_model_and_are_numbered_as_they_were_registered(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    assert run(grid, tmp_path / "run") == undisturbed
    entries = json.loads((tmp_path / "run" / "clients.json").read_text())["clients"]
    assert [entry["name"] for entry in entries] == ["site-10", "site-11", "site-12"]
    assert [len(node.received) for node in grid.fakes.values()] == [5, 5, 5]


def test_a_one_shot_federation_asks_each_site_once_and_then_trains_without_them(tmp_path: Path) -> None:
    settings = tiny.settings(mode="one-shot")
    grid = make_grid(tmp_path, settings=settings)
    # All sites go away a moment after they answered.
    for node in grid.fakes.values():
        grid.at(3.0, lambda node=node: grid.kill(node))  # type: ignore[misc]
    assert run(grid, tmp_path / "run", settings)
    assert [len(node.received) for node in grid.fakes.values()] == [1, 1, 1]


def test_there_may_be_no_setup_or_several(tmp_path: Path) -> None:
    for settings, setups in ((tiny.settings(), 0), (SETTINGS, 2)):
        grid = make_grid(tmp_path / str(setups), settings=settings)
        run(grid, tmp_path / str(setups) / "run", settings)
        assert [len(node.received) for node in grid.fakes.values()] == [3 + setups] * 3


def test_a_node_that_dies_while_it_trains_is_asked_again_when_it_is_back(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[11]

    def die(message: Message) -> list[tuple[float, Message]]:
        grid.at(grid.now + 1, lambda: grid.kill(node))
        grid.at(grid.now + 45, lambda: grid.restart(node))
        node.on_message = None
        return [(5.0, message)]

    at_round(node, 2, die)
    assert run(grid, tmp_path / "run") == undisturbed


def test_a_node_that_died_after_it_trained_trains_again_to_the_same_bytes(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[11]

    def train_and_die(message: Message) -> list[tuple[float, Message]]:
        lost = node.genuine(message)  # The state folder is a round ahead from here on.
        grid.at(grid.now + 1, lambda: grid.restart(node))
        node.on_message = None
        return [(5.0, lost)]

    at_round(node, 2, train_and_die)
    assert run(grid, tmp_path / "run") == undisturbed
    assert len(node.received) == 6


def test_a_site_that_lost_its_state_folder_is_caught_up_by_a_snapshot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[11]

    def forget(message: Message) -> list[tuple[float, Message]]:
        shutil.rmtree(node.config["state-dir"])
        node.on_message = None
        return [(1.0, node.genuine(message))]

    at_round(node, 3, forget)
    settings = tiny.settings()
    for fake in grid.fakes.values():
        Path(fake.config["settings"]).write_text(settings)
    with caplog.at_level("INFO"):
        run(grid, tmp_path / "run", settings)
    assert "round 3: client 1 (site-11) gets a snapshot" in caplog.text
    assert "round 3/3: 3 answered" in caplog.text


def test_a_restart_that_no_heartbeat_shows_is_seen_by_the_time_of_connection(
    tmp_path: Path, undisturbed: bytes
) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[12]

    def restart(message: Message) -> list[tuple[float, Message]]:
        node.on_message = None
        grid.at(grid.now + 1, lambda: grid.restart(node))
        return []

    at_round(node, 1, restart)
    assert run(grid, tmp_path / "run") == undisturbed
    assert grid.now < 30


def test_a_live_node_that_is_called_lost_is_asked_again(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[10]

    def called_lost(message: Message) -> list[tuple[float, Message]]:
        node.on_message = None
        return [(2.0, Message(Error(5, "no heartbeat"), reply_to=message))]

    at_round(node, 1, called_lost)
    assert run(grid, tmp_path / "run") == undisturbed


def test_a_node_that_never_answers_costs_a_round_its_timeout_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path)
    at_round(grid.fakes[11], 2, lambda message: [])
    with caplog.at_level("INFO"):
        run(grid, tmp_path / "run")
    assert "round 2/3: 2 answered; client 1 (site-11): no answer within 60 s" in caplog.text
    assert "round 3/3: 3 answered" in caplog.text
    assert 60 < grid.now < 80


def test_a_late_answer_is_dropped_by_name_and_its_client_catches_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[11]
    at_round(node, 1, lambda message: [(61.0, node.genuine(message))])
    run(grid, tmp_path / "run")
    assert "client 1 (site-11): late answer to round 1 is dropped" in caplog.text


def test_a_node_that_answers_twice_counts_once(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[11]
    at_round(node, 1, lambda message: [(1.0, node.genuine(message)), (1.0, node.genuine(message))])
    assert run(grid, tmp_path / "run") == undisturbed


def test_a_second_answer_to_a_repeated_question_is_dropped(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    node, slow = grid.fakes[11], grid.fakes[12]
    slow.seconds = 5.0

    def twice(message: Message) -> list[tuple[float, Message]]:
        # The SuperLink says that the node connected anew, but the first message's answer comes all the same.
        node.connected += 1
        node.on_message = None
        return [(2.0, node.genuine(message))]

    at_round(node, 1, twice)
    assert run(grid, tmp_path / "run") == undisturbed


def test_a_node_cannot_answer_for_another_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grid = make_grid(tmp_path)
    node, victim = grid.fakes[11], grid.fakes[12]

    def forge(message: Message) -> list[tuple[float, Message]]:
        answer = Reply.unpack(node.genuine(message).content)
        content = Reply("answer", "0" * 32, answer.payload).pack()
        return [(1.0, Message(content, reply_to=message))]

    at_round(node, 1, forge)
    run(grid, tmp_path / "run")
    assert "client 1 (site-11): the reply is to another message than it says" in caplog.text
    assert len(victim.received) == 5


def test_a_damaged_update_is_refused_by_name_and_the_round_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[11]

    def damage(message: Message) -> list[tuple[float, Message]]:
        answer = Reply.unpack(node.genuine(message).content)
        content = Reply("answer", answer.nonce, answer.payload[:-1] + b"x").pack()
        return [(1.0, Message(content, reply_to=message))]

    at_round(node, 1, damage)
    run(grid, tmp_path / "run")
    assert "client 1 (site-11): refused by the server: " in caplog.text and "checksum" in caplog.text


def test_an_app_that_fails_is_named_and_the_round_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grid = make_grid(tmp_path)
    at_round(grid.fakes[11], 1, lambda message: [(1.0, Message(Error(2, "ClientApp\nraised"), reply_to=message))])
    with caplog.at_level("INFO"):
        run(grid, tmp_path / "run")
    named = "round 1/3: 2 answered; client 1 (site-11): its app failed (Flower's code 2): ClientApp raised"
    assert named in caplog.text


def test_an_app_that_crashed_once_is_asked_again(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[11]

    def crash(message: Message) -> list[tuple[float, Message]]:
        node.on_message = None
        return [(30.0, Message(Error(8, "ClientApp stopped responding."), reply_to=message))]

    at_round(node, 2, crash)
    assert run(grid, tmp_path / "run") == undisturbed


def test_an_app_that_crashes_again_and_again_is_named_and_the_round_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path)
    at_round(grid.fakes[11], 1, lambda message: [(1.0, Message(Error(8, "no heartbeat"), reply_to=message))])
    with caplog.at_level("INFO"):
        run(grid, tmp_path / "run")
    assert "round 1/3: 2 answered; client 1 (site-11): its app failed (Flower's code 8): no heartbeat" in caplog.text
    # Two of setup, three tries of round 1, two rounds.
    assert len(grid.fakes[11].received) == 2 + 3 + 2


def test_a_site_with_other_settings_is_named_with_the_table_that_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path)
    grid.fakes[11].config = make_site(tmp_path, 1, SETTINGS + "[privacy]\nepsilon = 1.0\n")
    run(grid, tmp_path / "run")
    assert (
        "client 1 (site-11): refused by the site: the server's settings are not those of this site's file"
        in caplog.text
    )
    assert "they differ in [privacy]" in caplog.text


def test_a_site_with_another_release_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[11]

    def other_release(message: Message) -> list[tuple[float, Message]]:
        request = Request.unpack(message.content)
        message.content = replace(request, release="9.9.9").pack()
        return [(1.0, node.genuine(message))]

    node.on_message = other_release
    run(grid, tmp_path / "run")
    assert "the server has prism-fl 9.9.9, this site 0.1.0: install the same release on both" in caplog.text


def test_what_a_machine_decides_for_itself_is_no_difference(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    Path(grid.fakes[11].config["settings"]).write_text(SETTINGS + '[run]\ndevice = "cpu"\n')
    assert run(grid, tmp_path / "run") == undisturbed


def test_a_site_that_refuses_a_round_is_named_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path)
    no = Reply("refused", "", reason="no").pack()
    at_round(grid.fakes[11], 2, lambda message: [(1.0, Message(no, reply_to=message))])
    with caplog.at_level("INFO"):
        run(grid, tmp_path / "run")
    assert "round 2/3: 2 answered; client 1 (site-11): refused by the site: no" in caplog.text


def test_a_full_disk_at_a_site_costs_the_round_its_answer_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[11]

    def full(message: Message) -> list[tuple[float, Message]]:
        # No file grows beyond 8 KB: the client's optimiser has 11.
        limit, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, most))
        try:
            return [(1.0, node.genuine(message))]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))

    at_round(node, 2, full)
    with caplog.at_level("INFO"):
        run(grid, tmp_path / "run")
    said = "client 1 (site-11): refused by the site: the site cannot answer (OSError); its own log says why"
    assert f"round 2/3: 2 answered; {said}" in caplog.text
    assert "round 3/3: 3 answered" in caplog.text


def test_a_node_too_many_is_ignored_by_name(
    tmp_path: Path, undisturbed: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    grid = make_grid(tmp_path, sites=4)
    assert run(grid, tmp_path / "run") == undisturbed
    assert "site-13 is ignored: all 3 client numbers are taken" in caplog.text
    assert grid.fakes[13].received == []


def test_a_site_that_is_late_for_the_start_takes_part_in_the_setup(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[12]
    node.online = False
    grid.at(40.0, lambda: grid.restart(node))
    assert run(grid, tmp_path / "run") == undisturbed


def test_a_run_without_enough_clients_ends_with_a_sentence_and_resumes(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    node = grid.fakes[12]
    limits = Limits(min_clients=3, join=20.0, setup=60.0, round=60.0)
    at_round(node, 2, lambda message: [])
    with pytest.raises(FleetError, match="round 2: 2 of at least 3 clients answered .*site-12.*; nothing is lost"):
        run(grid, tmp_path / "run", limits=limits)
    node.on_message = None
    assert run(grid, tmp_path / "run", limits=limits) == undisturbed


def test_a_minimum_that_cannot_be_reached_is_refused_at_once(tmp_path: Path) -> None:
    grid = make_grid(tmp_path)
    with pytest.raises(FleetError, match="min-clients is 4 and the settings have 3 clients"):
        run(grid, tmp_path / "run", limits=Limits(min_clients=4))
    assert grid.now == 0


def test_a_server_that_was_killed_resumes_to_the_same_bytes_with_the_same_numbers(
    tmp_path: Path, undisturbed: bytes
) -> None:
    class Killed(BaseException):
        pass

    for moment in ("subclasses", "1", "2", "3"):
        grid = make_grid(tmp_path / moment)

        def kill(message: Message, moment: str = moment, grid: FakeGrid = grid) -> list[tuple[float, Message]]:
            if message.metadata.group_id != moment:
                return [(1.0, grid.fakes[11].genuine(message))]
            grid.fakes[11].on_message = None
            raise Killed

        grid.fakes[11].on_message = kill
        with pytest.raises(Killed):
            run(grid, tmp_path / moment / "run")
        grid.fakes = dict(reversed(grid.fakes.items()))
        assert run(grid, tmp_path / moment / "run") == undisturbed


def test_a_finished_run_only_says_where_its_model_is(tmp_path: Path, undisturbed: bytes) -> None:
    grid = make_grid(tmp_path)
    run(grid, tmp_path / "run")
    grid.fakes = {}
    before = grid.now
    assert run(grid, tmp_path / "run") == undisturbed
    assert grid.now == before
