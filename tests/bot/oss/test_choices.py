"""What a conversation has chosen for itself."""

from __future__ import annotations

import pytest

from tests.helpers import Reply, is_append, is_get
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


@pytest.mark.parametrize("said", ["\\model 2", "\\prompt 你是海盗"])
def test_choice_whose_line_is_not_recorded_is_not_promised(reply: Reply, cloud: LocalCloud, said: str) -> None:
    """The journal tells whether there are choices: without its line the next question does not know of them."""
    reply.environment["CHATGPT_MODEL"] = "gpt-6-luna,gpt-6-sol"
    cloud.oss.plan(error_fault("InternalError", where=is_append, times=99))
    shown = reply.ask(said)
    assert "InternalError" in shown and not shown.startswith("好的")


def test_choice_whose_line_is_not_recorded_is_kept_where_there_are_choices(reply: Reply, cloud: LocalCloud) -> None:
    """The lines before say that there are some, so the next question finds it."""
    reply.environment["CHATGPT_MODEL"] = "gpt-6-luna,gpt-6-sol"
    reply.ask("\\prompt 你是海盗")
    cloud.oss.plan(error_fault("InternalError", where=is_append, times=6))
    assert reply.ask("\\model 2").startswith("好的")
    reply.ask("你好")
    assert cloud.openai_api.asked[-1]["model"] == "gpt-6-sol"


@pytest.mark.parametrize("said", ["\\status", "\\prompt", "\\model"])
def test_what_cannot_be_read_is_not_told_as_nothing(reply: Reply, cloud: LocalCloud, said: str) -> None:
    """A role is set and turns are kept, but OSS is out of order: no turns and no role would be a lie."""
    reply.ask("\\prompt 你是海盗")
    cloud.oss.plan(error_fault("ServiceUnavailable", where=is_get, times=99))
    assert "ServiceUnavailable" in reply.ask(said)
