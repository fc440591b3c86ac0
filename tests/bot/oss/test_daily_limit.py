"""DAILY_LIMIT: how many questions a person has today."""

from __future__ import annotations

from typing import Any

from tests.helpers import Reply, is_append
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.server import Fault


def test_count_that_loses_every_race_does_not_keep_the_answer_back(
    reply: Reply, cloud: LocalCloud, caplog: Any
) -> None:
    """A limit is no reason for silence: the question is answered and not counted."""
    reply.environment["DAILY_LIMIT"] = "1"
    in_usage = Fault(
        where=lambda received: is_append(received) and "chat-usage" in received.path,
        times=100,
        status=409,
        body=b"<Error><Code>PositionNotEqualToLength</Code></Error>",
        headers=(("x-oss-next-append-position", "5"),),
    )
    cloud.oss.plan(in_usage)
    assert reply.ask("1+1=?") == "1+1=2"
    assert "not counted" in caplog.text
