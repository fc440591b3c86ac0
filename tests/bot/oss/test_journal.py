"""The journal: each line once, whatever OSS and other runs do; and what the person is told when OSS fails."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bot import sentences
from tests.helpers import Clock, Reply, deny, is_append, is_get, lose_the_commit, write_turns
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.oss import error_fault
from tests.stand_ins.server import Fault


def test_broken_journal_locks_nobody_out(reply: Reply, cloud: LocalCloud) -> None:
    """Not even a kind of object that cannot be appended to: the answer tells where to delete it."""
    reply.ask("你好")
    _, key = cloud.oss.keys()
    cloud.oss.write(key, b"\xff\x00 no journal at all", appendable=False)
    text = reply.ask("你好")
    assert "你好" in text and "ObjectNotAppendable" in text and "chat-journal/" in text
    assert "ObjectNotAppendable" in reply.ask("\\clear")
    del cloud.oss.buckets["example-bucket"].objects[key]
    assert "OSS" not in reply.ask("你好")


def test_long_journal_costs_what_a_short_one_costs(reply: Reply, cloud: LocalCloud) -> None:
    """Only its last 30 KiB are read, the partial line at their beginning is left out, and of the words one range."""
    message = cloud.dingtalk.message("你好")
    key = write_turns(cloud, message, 3000, "很长的回答" * 100)
    before = cloud.oss.read(key) or b""
    reply.run(message)
    of_journal, of_words = [received for received in cloud.oss.received if is_get(received)]
    assert of_journal.headers["Range"] == "bytes=-30720"
    assert len(of_words.answer) < 20_000
    assert len(cloud.openai_api.asked[0]["messages"]) == 21
    after = cloud.oss.read(key) or b""
    assert after.startswith(before)
    assert len(after.splitlines()) == 3002


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 5000,
        b'{"msgId": 5, "delivered": true}',
        b'{"msgId": "m"}',
        b'{"msgId": "m", "run": "r", "until": "1", "say": "x", "epoch": 0}',
        b'{"msgId": "m", "run": "r", "until": true, "say": "x", "epoch": 0}',
        b'{"msgId": "m", "run": "r", "until": 1, "say": ["x"], "epoch": 0}',
        b'{"msgId": "m", "run": "r", "until": 1, "say": "x"}',
        b'{"msgId": "m", "run": "r", "until": 1, "say": "x", "epoch": -1}',
        b'{"msgId": "m", "run": "r", "until": 1, "words": [0, 1], "turn": true}',
        b'{"msgId": "m", "run": "r", "until": 1, "words": [0, 1, "x"], "turn": true}',
        b'{"msgId": "m", "run": "r", "until": 1, "words": {}, "turn": true}',
        b'{"msgId": "m", "run": "r", "words": [0, 0, 9], "turn": true}',
        b'{"msgId": "m", "until": 1, "words": [0, 0, 9], "turn": true}',
        b'{"msgId": "m", "run": 1, "sent": 1}',
        b'{"msgId": "m", "run": "r", "sent": 1.5}',
        b'{"msgId": "m", "run": "r", "question": "x", "sent": 1}',
    ],
)
def test_bad_line_in_the_journal_is_skipped(reply: Reply, cloud: LocalCloud, line: bytes) -> None:
    """It never locks a person out, and the turns around it count."""
    message = cloud.dingtalk.message("你好", msgId="m")
    key = write_turns(cloud, message, 2)
    first, second = (cloud.oss.read(key) or b"").splitlines(keepends=True)
    cloud.oss.write(key, first + line + b"\n" + second)
    assert reply.run(message)["result"] == "answered"
    questions = [part["content"] for part in cloud.openai_api.asked[0]["messages"] if part["role"] == "user"]
    assert questions == ["问题 0", "问题 1", "你好"]


def test_spoiled_journal_costs_one_line_of_the_log(reply: Reply, cloud: LocalCloud, caplog: Any) -> None:
    """It tells how many lines make no sense, not one by one."""
    message = cloud.dingtalk.message("你好")
    cloud.oss.write(write_turns(cloud, message, 0), b"x\n" * 65_537)
    reply.run(message)
    (record,) = [record for record in caplog.records if "make no sense" in record.getMessage()]
    assert "15359 lines" in record.getMessage()
    assert len(caplog.records) == 2  # the other tells that the message was answered


def test_journal_without_final_newline_is_continued_on_a_new_line(reply: Reply, cloud: LocalCloud) -> None:
    """An object that somebody edited loses neither its last line nor the next one."""
    message = cloud.dingtalk.message("你好")
    key = write_turns(cloud, message, 1)
    cloud.oss.write(key, (cloud.oss.read(key) or b"").rstrip(b"\n"))
    reply.run(message)
    assert [line.get("question") for line in cloud.journal(message)] == ["问题 0", "你好", None]


def test_turn_of_another_run_in_between_is_kept(reply: Reply, cloud: LocalCloud) -> None:
    """Compare-and-swap: an append at a position that is no longer the end is done again at the new end."""
    message, other = cloud.dingtalk.message("1+1=?"), cloud.dingtalk.message("你好")
    cloud.openai_api.plan(Fault(then=lambda: write_turns(cloud, message, 2)))
    reply.run(message)
    assert [line.get("question") for line in cloud.journal(message)] == ["问题 0", "问题 1", "1+1=?", None]
    assert len(cloud.dingtalk.shown(message)) == 1
    assert not cloud.dingtalk.shown(other)


def test_message_recorded_by_another_run_meanwhile_is_not_sent(reply: Reply, cloud: LocalCloud) -> None:
    """Of two runs for one message only the one that recorded its answer sends it, even if the answers are the same."""
    message = cloud.dingtalk.message("\\help")
    now_ms = int(time.time() * 1000)
    line = {"msgId": message["msgId"], "run": "other", "until": now_ms + 5000, "say": sentences.HELP, "epoch": 0}
    mark = {"msgId": message["msgId"], "at": now_ms, "delivered": True}
    key = write_turns(cloud, message, 0)
    del cloud.oss.buckets["example-bucket"].objects[key]
    cloud.oss.plan(Fault(where=is_get, then=lambda: cloud.oss.write(key, json.dumps(line) + "\n")))
    cloud.oss.plan(Fault(where=is_get))  # after the append that was refused
    cloud.oss.plan(Fault(where=is_get, then=lambda: cloud.oss.write(key, f"{json.dumps(line)}\n{json.dumps(mark)}\n")))
    assert reply.run(message)["result"] == "duplicate"
    assert not cloud.dingtalk.shown(message)


@pytest.mark.parametrize(
    "fault", [Fault(where=is_append, drop=True, carry_out=True), Fault(where=is_append, drop=True)]
)
def test_append_whose_response_got_lost_is_there_once(reply: Reply, cloud: LocalCloud, fault: Fault) -> None:
    """Whether OSS did it or not, the turn is recorded once and the reply is sent once."""
    cloud.oss.plan(fault)
    message = cloud.dingtalk.message("1+1=?")
    assert reply.run(message)["result"] == "answered"
    assert [line.get("question") for line in cloud.journal(message)] == ["1+1=?", None]
    assert len(cloud.dingtalk.shown(message)) == 1


def test_mark_whose_response_got_lost_is_there_once(reply: Reply, cloud: LocalCloud) -> None:
    """The second append of a run is as careful as the first."""
    cloud.dingtalk.plan(Fault(then=lambda: cloud.oss.plan(Fault(where=is_append, drop=True, carry_out=True))))
    message = cloud.dingtalk.message("1+1=?")
    reply.run(message)
    assert [line.get("delivered") for line in cloud.journal(message)] == [None, True]


def test_delivered_message_is_not_answered_again(reply: Reply, cloud: LocalCloud) -> None:
    """A repeated message costs one read and nothing else."""
    message = cloud.dingtalk.message("1+1=?")
    reply.run(message)
    assert reply.run(message)["result"] == "duplicate"
    assert len(cloud.dingtalk.shown(message)) == len(cloud.openai_api.asked) == 1


def test_silent_oss_is_given_up_before_the_function_is_killed(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """An append that takes all of its time is not tried again, and neither is the mark."""

    def later() -> None:
        clock.ahead += 7

    cloud.oss.plan(Fault(where=is_append, drop=True, then=later, times=9))
    assert "没能存进聊天记录" in reply.ask("1+1=?")
    assert sum(map(is_append, cloud.oss.received)) == 2


def test_answer_is_given_when_the_history_cannot_be_read(reply: Reply, cloud: LocalCloud) -> None:
    """The person is answered, and told why nothing was remembered; nobody may guess where a line belongs."""
    reply.ask("我叫小明")
    deny(cloud, "GetObject")
    message = cloud.dingtalk.message("我叫什么？")
    reply.run(message)
    text = cloud.dingtalk.shown(message)[0].text
    assert text.startswith("我还不知道")
    assert "没能读取聊天记录" in text and "没有存下来" in text
    assert "AccessDenied" in text
    assert "oss:GetObject" in text
    assert [line.get("question") for line in cloud.journal(message)] == ["我叫小明", None]


def test_answer_is_given_when_only_the_words_cannot_be_read(reply: Reply, cloud: LocalCloud) -> None:
    """The journal tells where the next turn belongs."""
    reply.ask("我叫小明")
    cloud.oss.plan(error_fault("AccessDenied", where=lambda received: is_get(received) and "history" in received.path))
    message = cloud.dingtalk.message("我叫什么？")
    reply.run(message)
    text = cloud.dingtalk.shown(message)[0].text
    assert text.startswith("我还不知道") and "没能读取聊天记录" in text and "没有存下来" not in text
    assert [line.get("question") for line in cloud.journal(message)] == ["我叫小明", None, "我叫什么？", None]


def test_read_that_fails_once_costs_nothing(reply: Reply, cloud: LocalCloud) -> None:
    """It is tried again at once, however long the service asks to wait: the person is waiting too."""
    reply.ask("我叫小明")
    cloud.oss.plan(error_fault("ServiceUnavailable", where=is_get, headers={"Retry-After": "60"}))
    assert reply.ask("我叫什么？") == "你叫小明。"


def test_missing_journal_that_looks_forbidden_is_nothing_to_report(reply: Reply, cloud: LocalCloud) -> None:
    """Without permission to list, OSS may answer 403 for a missing object; the append at 0 shows which it was."""
    deny(cloud, "ListObjects")
    cloud.oss.hide_missing_keys = True
    assert reply.ask("1+1=?") == "1+1=2"
    assert reply.ask("你好") == "你好！有什么可以帮你？"


def test_answer_is_given_when_the_turn_cannot_be_saved(reply: Reply, cloud: LocalCloud, caplog: Any) -> None:
    """The person is told that it is not saved, with OSS's code and request id; the log has the same."""
    deny(cloud, "PutObject")
    text = reply.ask("1+1=?")
    assert text.startswith("1+1=2\n\n（")
    assert "没能存进聊天记录" in text
    assert "AccessDenied" in text
    request_id = text.partition("请求 ")[2].partition("：")[0]
    assert request_id
    assert request_id in caplog.text


def test_oss_out_of_order_costs_three_tries(reply: Reply, cloud: LocalCloud) -> None:
    """A server error may pass: an append is tried three times, not for ever."""
    cloud.oss.plan(error_fault("ServiceUnavailable", where=is_append, times=3))
    assert "ServiceUnavailable" in reply.ask("1+1=?")
    assert sum(map(is_append, cloud.oss.received)) == 4  # the mark, too


def test_journal_under_constant_change_is_given_up(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """Even losing every race has an end, and the answer is not lost."""
    cloud.oss.plan(
        error_fault(
            "PositionNotEqualToLength", where=is_append, times=10**6, headers={"x-oss-next-append-position": "5"}
        )
    )
    assert "同时" in reply.ask("1+1=?")


def test_line_that_only_mentions_a_message_is_not_about_it(reply: Reply, cloud: LocalCloud) -> None:
    """An id that is also the name of a field stands in every line."""
    reply.ask("1+1=?")
    assert reply.run(cloud.dingtalk.message("1+2=?", msgId="answer"))["result"] == "answered"


def test_of_two_replies_on_record_the_first_counts(reply: Reply, cloud: LocalCloud) -> None:
    """Two runs that could not read the journal recorded one each."""
    message = cloud.dingtalk.message("1+1=?")
    key = write_turns(cloud, message, 0)
    lines = [{"msgId": message["msgId"], "run": run, "until": 0, "say": run, "epoch": 0} for run in ("一", "二")]
    cloud.oss.write(key, "".join(json.dumps(line) + "\n" for line in lines))
    assert reply.run(message)["result"] == "answered again"
    assert [shown.text for shown in cloud.dingtalk.shown(message)] == ["一"]


def test_append_of_which_nothing_can_be_learnt_is_given_up(reply: Reply, cloud: LocalCloud) -> None:
    """It may have been carried out: appended again without a look at the journal, the turn could be there twice."""
    message = cloud.dingtalk.message("1+1=?")
    lose_the_commit(cloud, True, times=4)
    assert reply.run(message)["result"] == "answered"
    assert "不一定存进了聊天记录" in cloud.dingtalk.shown(message)[0].text
    assert sum("question" in line for line in cloud.journal(message)) == 1


def test_commands_do_not_push_the_history_out_of_what_is_read(reply: Reply, cloud: LocalCloud) -> None:
    """The help is the longest sentence in the journal; a person who plays with it is still known afterwards."""
    first = cloud.dingtalk.message("我叫小明")
    reply.run(first)
    for _ in range(25):
        reply.ask("\\help")
    assert reply.ask("我叫什么？") == "你叫小明。"
    assert reply.run(first)["result"] == "duplicate"


def test_turn_that_may_be_saved_is_not_told_as_lost(reply: Reply, cloud: LocalCloud) -> None:
    """Nothing could be read, and the answer of the commit is lost: it is on record, and nobody can know."""
    message = cloud.dingtalk.message("1+1=?")
    cloud.oss.plan(error_fault("ServiceUnavailable", where=is_get, times=2))
    lose_the_commit(cloud, True, times=99)
    reply.run(message)
    assert "可能没有存下来" in cloud.dingtalk.shown(message)[0].text
    assert any("question" in line for line in cloud.journal(message))


def test_journal_of_unknown_length_is_not_read(reply: Reply, cloud: LocalCloud) -> None:
    """A Content-Range may end in /* (RFC 9110, section 14.4); what stands between may send it."""
    message = cloud.dingtalk.message("1+1=?")
    write_turns(cloud, message, 1)
    headers = (("Content-Range", "bytes 0-1/*"), ("Content-Type", "text/plain"))
    cloud.oss.plan(Fault(where=is_get, status=206, body=b"{}", headers=headers, times=9))
    assert reply.run(message)["result"] == "answered"
    assert "没能读取聊天记录" in cloud.dingtalk.shown(message)[0].text
