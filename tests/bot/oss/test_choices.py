"""What a conversation has chosen for itself."""

from __future__ import annotations

import pytest

from tests.helpers import Reply
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.oss import error_fault


@pytest.mark.parametrize("edited", [b"[]", b"{", b'{"prompt": 1}'])
def test_choices_that_somebody_spoiled_are_none(reply: Reply, cloud: LocalCloud, edited: bytes) -> None:
    """The question is answered as in a conversation without choices."""
    reply.ask("\\prompt 你是翻译")
    keys = cloud.oss.keys()
    (key,) = (key for key in keys if key.startswith("chat-settings/"))
    cloud.oss.write(key, edited)
    assert reply.ask("1+1=?") == "1+1=2"
    assert [said["role"] for said in cloud.openai_api.asked[-1]["messages"]] == ["user"]


def test_choices_that_cannot_be_read_do_not_keep_the_answer_back(reply: Reply, cloud: LocalCloud) -> None:
    """The person is told why the answer may be unlike the others."""
    reply.ask("\\prompt 你是翻译")
    cloud.oss.plan(error_fault("AccessDenied", where=lambda received: "chat-settings" in received.path))
    assert reply.ask("1+1=?").startswith("1+1=2\n\n")
    cloud.oss.plan(error_fault("AccessDenied", where=lambda received: "chat-settings" in received.path))
    assert "AccessDenied" in reply.ask("\\prompt")
