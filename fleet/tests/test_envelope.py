"""What travels."""

from collections.abc import Callable

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from prism_fleet.envelope import MAX_REASON, NOTE, PAYLOAD, BadEnvelope, Reply, Request, differing_tables, digests


def test_what_is_packed_is_unpacked() -> None:
    request = Request("round", 7, b"\x00\xff" * 9, "nonce", "0.1.0", ("a:1", "b:2"))
    assert Request.unpack(request.pack()) == request
    for reply in (Reply("answer", "n", b"bytes"), Reply("needs-snapshot", "n"), Reply("refused", "n", reason="no")):
        assert Reply.unpack(reply.pack()) == reply


def test_a_hostile_reply_is_refused_or_made_harmless() -> None:
    good = Reply("answer", "n", b"bytes").pack()
    spoilers: list[Callable[[RecordDict], object]] = [
        lambda c: c.pop(NOTE),
        lambda c: c.config_records[NOTE].update({"version": 0}),
        lambda c: c.config_records[NOTE].update({"kind": "command"}),
        lambda c: c.config_records[NOTE].update({"nonce": 5}),
        lambda c: c.update({PAYLOAD: ConfigRecord({"bytes": b"bytes"})}),
        lambda c: c.update({PAYLOAD: ArrayRecord({"other": Array("uint8", (1,), "prism.bytes/1", b"x")})}),
        lambda c: c.update({PAYLOAD: ArrayRecord({"bytes": Array("uint8", (1,), "numpy.ndarray", b"x")})}),
        lambda c: c.update({PAYLOAD: ArrayRecord({"bytes": Array("uint8", (2,), "prism.bytes/1", b"x")})}),
    ]
    for spoil in spoilers:
        content = RecordDict(
            {NOTE: ConfigRecord(dict(good.config_records[NOTE])), PAYLOAD: good.array_records[PAYLOAD]}
        )
        Reply.unpack(content)
        spoil(content)
        with pytest.raises(BadEnvelope):
            Reply.unpack(content)
    long = Reply.unpack(Reply("refused", "n", reason="\x1b[31m\n" * 1000).pack())
    assert long.reason.isprintable() and len(long.reason) <= MAX_REASON


def test_settings_are_compared_table_by_table_and_a_machines_own_are_left_out() -> None:
    ours = digests("[model]\nngf = 8\n[privacy]\nepsilon = 1.0\n[run]\nthreads = 2\n")
    same = digests("# order and comments say nothing\n[privacy]\nepsilon = 1.0\n[model]\nngf = 8\n[run]\nthreads = 3\n")
    other = digests("[model]\nngf = 8\n[privacy]\nepsilon = 2.0\n[wire]\nalpha = 0.5\n")
    assert ours == same
    assert differing_tables(ours, other) == ["privacy", "wire"]
