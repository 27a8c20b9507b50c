"""Who is which client."""

import json
from pathlib import Path

import pytest

from prism_fleet.roster import Node, Roster, RosterError


def node(number: int, key: bytes = b"", registered: str = "") -> Node:
    return Node(number, key or b"key %d" % number, f"site-{number}", registered)


def test_numbers_follow_registration_and_outlive_the_superlinks_database(tmp_path: Path) -> None:
    roster = Roster(tmp_path, 2)
    assert roster.enrol([node(5, registered="2"), node(9, registered="1")]) == []
    assert (roster.client_of(node(9)), roster.client_of(node(5))) == (0, 1)
    # Registered anew, in another order: other node ids, the same keys.
    again = Roster(tmp_path, 2)
    assert again.enrol([node(1, b"key 5", "1"), node(2, b"key 9", "2")]) == []
    assert (again.client_of(node(2, b"key 9")), again.client_of(node(1, b"key 5"))) == (0, 1)


def test_a_number_is_given_once(tmp_path: Path) -> None:
    roster = Roster(tmp_path, 2)
    roster.enrol([node(1)])
    late = node(3)
    assert roster.enrol([node(1), node(2), late]) == [late]
    assert roster.client_of(late) is None and roster.full
    assert roster.label(1) == "client 1 (site-2)"


def test_an_operator_may_decide_the_numbers_before_the_first_run(tmp_path: Path) -> None:
    entry = {"client": 1, "identity": node(7).identity, "name": "first"}
    (tmp_path / "clients.json").write_text(json.dumps({"version": 1, "clients": [entry]}))
    roster = Roster(tmp_path, 2)
    roster.enrol([node(6), node(7)])
    assert (roster.client_of(node(6)), roster.client_of(node(7))) == (0, 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "cannot be read"),
        ('{"version": 2, "clients": []}', "version 2 instead of 1"),
        ('{"version": 1, "clients": [{"client": 2, "identity": "a"}]}', "has client 2, but the settings allow 2"),
        ('{"version": 1, "clients": [{"client": 0, "identity": "a"}, {"client": 0, "identity": "b"}]}', "twice"),
        ('{"version": 1, "clients": [{"client": 0, "identity": "a"}, {"client": 1, "identity": "a"}]}', "twice"),
    ],
)
def test_a_file_that_cannot_be_right_stops_the_run(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "clients.json").write_text(text)
    with pytest.raises(RosterError, match=sentence):
        Roster(tmp_path, 2)
