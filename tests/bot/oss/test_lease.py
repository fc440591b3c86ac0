"""The lease: which run sends a reply, in all its cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.helpers import Clock, Reply, is_append, is_get, lose_the_commit, write_turns
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.oss import error_fault
from tests.stand_ins.server import Fault


def test_second_run_of_an_undelivered_event_only_sends(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """FC runs the event again with the same request id: the stored answer goes out, ChatGPT is not asked."""
    message = cloud.dingtalk.message("1+1=?")
    cloud.dingtalk.refuse_next(-1, "系统繁忙", times=3)
    with pytest.raises(reply.module.NotDelivered):
        reply.run(message, request_id="same")
    assert reply.run(message, request_id="same")["result"] == "answered again"
    assert len(cloud.dingtalk.shown(message)) == len(cloud.openai_api.asked) == 1
    assert reply.run(message, request_id="same")["result"] == "duplicate"


def leave_a_lease(reply: Reply, cloud: LocalCloud, message: dict[str, Any], **line: Any) -> None:
    """Another run has recorded its reply and has the lease to send it; `line` changes that."""
    now_ms = reply.module.now_ms()
    key = write_turns(cloud, message, 0)
    recorded = {
        "msgId": message["msgId"],
        "at": now_ms,
        "run": "other",
        "until": now_ms + 8000,
        "say": "二",
        "epoch": 0,
    }
    cloud.oss.write(key, json.dumps({**recorded, **line}) + "\n")


def test_other_run_waits_while_the_lease_lasts(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """A reply that another run recorded a moment ago is sent by this one only when that run must be dead."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message)
    assert reply.run(message)["result"] == "answered again"
    assert 13 <= sum(clock.slept) <= 16  # clocks may differ by 5 s
    assert [shown.text for shown in cloud.dingtalk.shown(message)] == ["二"]
    assert not cloud.openai_api.asked


def test_other_run_stops_waiting_when_the_reply_is_out(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """As soon as the mark of the other run is there, there is nothing to do."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message)
    (key,) = cloud.oss.keys()
    mark = json.dumps({"msgId": message["msgId"], "at": 1, "delivered": True}).encode()
    cloud.oss.plan(Fault(where=is_get))
    cloud.oss.plan(Fault(where=is_get, then=lambda: cloud.oss.write(key, (cloud.oss.read(key) or b"") + mark + b"\n")))
    assert reply.run(message)["result"] == "duplicate"
    assert len(clock.slept) == 2
    assert not cloud.dingtalk.shown(message)


def test_run_that_had_to_stop_leaves_the_rest_to_the_next_at_once(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """A line releases the lease: another delivery need not wait, and goes on with the part that failed."""
    message = cloud.dingtalk.message("长回答")
    cloud.openai_api.answer_next("\n\n".join(["一二三四五六七八九十" * 150] * 5))
    cloud.dingtalk.plan(Fault())
    cloud.dingtalk.refuse_next(-1, "系统繁忙", times=3)
    with pytest.raises(reply.module.NotDelivered):
        reply.run(message)
    clock.slept.clear()
    assert reply.run(message)["result"] == "answered again"
    assert not clock.slept
    texts = [shown.text for shown in cloud.dingtalk.shown(message)]
    assert [text.partition("）")[0] for text in texts] == [f"（{n}/{len(texts)}" for n in range(1, len(texts) + 1)]


def test_lease_of_a_wrong_clock_is_over_when_no_lease_can_last(
    reply: Reply, cloud: LocalCloud, clock: Clock, caplog: Any
) -> None:
    """A clock that is years ahead elsewhere cannot make a run wait for ever; the log tells of it."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message, at=10**15, until=10**15)
    assert reply.run(message)["result"] == "answered again"
    assert 15 <= sum(clock.slept) <= 17
    assert "the clock of another instance" in caplog.text


def lease_line(message: dict[str, Any], run: str, until_ms: int) -> bytes:
    """Another run has taken the lease of this message."""
    line = {"msgId": message["msgId"], "at": 1, "run": run, "until": until_ms, "sent": 0}
    return json.dumps(line).encode() + b"\n"


def test_lease_that_cannot_be_stored_leaves_the_reply_to_the_next_run(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """Sending without it could show the reply twice: Function Compute runs the event again."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message, until=0)
    cloud.oss.plan(error_fault("InternalError", where=is_append, times=3))
    with pytest.raises(reply.module.NotDelivered, match="no lease"):
        reply.run(message)
    assert reply.run(message)["result"] == "answered again"
    assert len(cloud.dingtalk.shown(message)) == 1


def test_lease_that_another_waiting_run_took_is_waited_for(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """Of two runs that waited for a dead one, one takes its lease; the other goes on waiting."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message, until=0)
    (key,) = cloud.oss.keys()

    def third_run_takes_it() -> None:
        line = lease_line(message, "third", reply.module.now_ms() + 5000)
        cloud.oss.write(key, (cloud.oss.read(key) or b"") + line)

    cloud.oss.plan(Fault(where=is_get, then=third_run_takes_it))
    assert reply.run(message)["result"] == "answered again"
    assert 10 <= sum(clock.slept) <= 13


def test_lease_that_outlasts_this_run_leaves_the_reply_to_the_next_one(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """The other run is still sending when this one has to end."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message)
    with pytest.raises(reply.module.NotDelivered, match="still sending"):
        reply.run(message, timeout=8)
    assert not cloud.dingtalk.shown(message)


def test_journal_that_cannot_be_read_while_waiting_is_read_again(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """What was read before still holds."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message)
    cloud.oss.plan(Fault(where=is_get))
    cloud.oss.plan(error_fault("AccessDenied", where=is_get))
    assert reply.run(message)["result"] == "answered again"


def test_run_that_waits_in_a_journal_that_is_gone_gives_up(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """Somebody has deleted it: three looks, not waiting until its own end, billed, for nobody."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message)
    (key,) = cloud.oss.keys()
    cloud.oss.plan(Fault(where=is_get, then=lambda: cloud.oss.buckets["example-bucket"].objects.pop(key)))
    with pytest.raises(reply.module.NotDelivered, match="gone"):
        reply.run(message)
    assert 3 <= sum(clock.slept) <= 21  # a lease may have been there
    assert not cloud.openai_api.asked


def slow_first_part(reply: Reply, cloud: LocalCloud, clock: Clock, then: Callable[[], object]) -> dict[str, Any]:
    """A message with an answer of two parts, the first of which takes most of the lease."""
    message = cloud.dingtalk.message("请讲讲")
    cloud.openai_api.answer_next("\n\n".join(["一二三四五六七八九十" * 300] * 2))

    def after_the_first_part() -> None:
        clock.ahead += 5.5  # more than half of a lease, and less than a request may take
        then()

    cloud.dingtalk.plan(Fault(then=after_the_first_part))
    return message


def test_run_whose_lease_was_taken_stops(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """It was too slow: the other run sends the rest."""

    def other_run_takes_it() -> None:
        _, key = cloud.oss.keys()
        line = lease_line(message, "other", reply.module.now_ms() + 5000)
        cloud.oss.write(key, (cloud.oss.read(key) or b"") + line)

    message = slow_first_part(reply, cloud, clock, other_run_takes_it)
    assert reply.run(message)["result"] == "duplicate"
    assert len(cloud.dingtalk.shown(message)) == 1


def test_clear_takes_no_lease_away(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """It comes between two parts, and a new epoch is no reason not to renew: the second part is shown too."""
    clearing = cloud.dingtalk.message("\\clear")
    message = slow_first_part(reply, cloud, clock, lambda: reply.run_at_once((clearing, {})))
    assert reply.run_at_once((message, {})) == ["answered"]
    assert len(cloud.dingtalk.shown(message)) == 2
    assert [line["until"] for line in cloud.journal(message) if line.get("sent") == 1]


def test_lease_that_cannot_be_renewed_is_used_up(reply: Reply, cloud: LocalCloud, clock: Clock, caplog: Any) -> None:
    """The second part fits what is left of it."""
    message = slow_first_part(
        reply, cloud, clock, lambda: cloud.oss.plan(error_fault("InternalError", where=is_append, times=3))
    )
    assert reply.run(message)["result"] == "answered"
    assert "the lease is not renewed" in caplog.text
    assert len(cloud.dingtalk.shown(message)) == 2


@pytest.mark.parametrize("apart_ms", [-5000, 5000])
def test_clocks_that_are_five_seconds_apart_do_no_harm(
    reply: Reply, cloud: LocalCloud, clock: Clock, apart_ms: int
) -> None:
    """The other run has 8 s left by its own clock: before that nobody else sends, and not much later somebody does."""
    message = cloud.dingtalk.message("1+1=?")
    now_ms = reply.module.now_ms() + apart_ms
    leave_a_lease(reply, cloud, message, at=now_ms, until=now_ms + 8000)
    assert reply.run(message)["result"] == "answered again"
    assert 8 <= sum(clock.slept) <= 19


@pytest.mark.parametrize("carry_out", [True, False], ids=["on record", "not on record"])
def test_commit_of_which_nothing_can_be_learnt_is_looked_up_before_the_lease_is_over(
    reply: Reply, cloud: LocalCloud, clock: Clock, carry_out: bool
) -> None:
    """OSS is well again when the lease is to be renewed: what is not on record is put there, and all parts are sent."""
    message = slow_first_part(reply, cloud, clock, lambda: None)
    lose_the_commit(cloud, carry_out, times=4)
    assert reply.run(message)["result"] == "answered"
    assert len(cloud.dingtalk.shown(message)) == 2
    lines = cloud.journal(message)
    assert sum("words" in line for line in lines) == 1 and lines[-1]["delivered"]
    assert reply.run(message)["result"] == "duplicate"


def test_run_that_cannot_tell_whether_it_is_on_record_sends_no_longer_than_its_lease(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """After that the reply is for another run to send, which may have read it in the journal."""
    message = cloud.dingtalk.message("请讲讲")
    cloud.openai_api.answer_next("\n\n".join(["一二三四五六七八九十" * 300] * 2))
    cloud.dingtalk.plan(Fault(then=lambda: clock.sleep(9.5)))
    lose_the_commit(cloud, True, times=100)
    with pytest.raises(reply.module.NotDelivered, match="time is up"):
        reply.run(message)
    assert len(cloud.dingtalk.shown(message)) == 1


def test_text_that_dingtalk_refuses_is_told_once(reply: Reply, cloud: LocalCloud) -> None:
    """Also if the event runs three times at once: the sentence belongs to the message, and is sent under its lease."""
    message = cloud.dingtalk.message("1+1=?")
    cloud.dingtalk.refuse_next(430102, "内容不合规")
    assert sorted(reply.run_at_once(*[(message, {})] * 3)) == ["duplicate", "duplicate", "withheld"]
    (shown,) = cloud.dingtalk.shown(message)
    assert "430102" in shown.text


def test_sentence_for_a_refused_text_needs_the_lease(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """DingTalk refuses so late that another run has taken the reply: that one tells."""
    message = cloud.dingtalk.message("1+1=?")

    def other_run_takes_it() -> None:
        clock.ahead += 6
        keys = cloud.oss.keys()
        key = next(key for key in keys if key.startswith("chat-journal/"))
        line = lease_line(message, "other", reply.module.now_ms() + 5000)
        cloud.oss.write(key, (cloud.oss.read(key) or b"") + line)

    refusal = json.dumps({"errcode": 430102, "errmsg": "内容不合规"})
    cloud.dingtalk.plan(Fault(status=200, body=refusal, then=other_run_takes_it))
    assert reply.run(message)["result"] == "duplicate"
    assert not cloud.dingtalk.shown(message)


def test_missing_setting_is_told_once(reply: Reply, cloud: LocalCloud) -> None:
    """Where there is a journal, that knows of it."""
    reply.environment["CHATGPT_API_KEY"] = None
    message = cloud.dingtalk.message("1+1=?")
    assert sorted(reply.run_at_once(*[(message, {})] * 3)) == ["bad settings", "duplicate", "duplicate"]
    (shown,) = cloud.dingtalk.shown(message)
    assert "CHATGPT_API_KEY" in shown.text


def test_long_answer_is_sent_to_its_end_by_the_next_run(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """More than 96 KiB: all of it is on record, byte for byte."""
    message = cloud.dingtalk.message("请讲讲")
    answer = "\n\n".join(f"{number}。" + "一二三四五六七八九十" * 300 for number in range(18))
    cloud.openai_api.answer_next(answer)
    cloud.dingtalk.plan(Fault(times=3))
    cloud.dingtalk.refuse_next(-1, "系统繁忙", times=3)
    with pytest.raises(reply.module.NotDelivered):
        reply.run(message)
    assert cloud.journal(message)[0]["answer"] == answer
    assert reply.run(message)["result"] == "answered again"
    texts = [shown.text for shown in cloud.dingtalk.shown(message)]
    assert "".join(text.partition("）\n\n")[2] for text in texts).split() == answer.split()


def test_long_answers_to_the_same_person_do_not_push_a_lease_out(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """While a long answer is being sent, two others of 180 KB are recorded: all of its parts are shown."""
    message = cloud.dingtalk.message("请讲讲")
    long = "\n\n".join(["一二三四五六七八九十" * 300] * 20)
    cloud.openai_api.answer_next(long, long, long)

    def others() -> None:
        for _ in range(2):
            reply.run_at_once((cloud.dingtalk.message("请讲讲"), {}))
        until_ms = cloud.journal(message)[0]["until"]
        clock.ahead += (until_ms - reply.module.now_ms()) / 1000 - 4.5  # it is time to renew the lease

    cloud.dingtalk.plan(Fault(times=3))
    cloud.dingtalk.plan(Fault(then=others))
    assert reply.run_at_once((message, {})) == ["answered"]
    assert len(cloud.dingtalk.shown(message)) == 20
    assert reply.run(message)["result"] == "duplicate"


def test_long_answers_to_the_same_person_do_not_push_a_message_out(reply: Reply, cloud: LocalCloud) -> None:
    """Two answers of 180 KB later, a message that was delivered is neither answered nor paid again."""
    message = cloud.dingtalk.message("1+1=?")
    reply.run(message)
    for _ in range(2):
        cloud.openai_api.answer_next("\n\n".join(["一二三四五六七八九十" * 300] * 20))
        reply.run(cloud.dingtalk.message("请讲讲"))
    assert reply.run(message)["result"] == "duplicate"
    assert len(cloud.openai_api.asked) == 3


def test_huge_id_of_a_message_is_known_again(reply: Reply, cloud: LocalCloud) -> None:
    """The lines of the journal stay short, whatever somebody sends."""
    message = cloud.dingtalk.message("1+1=?", msgId="长" * 20_000)
    assert [reply.run(message)["result"] for _ in range(2)] == ["answered", "duplicate"]
    assert len(cloud.oss.everything()[-1]) < 500


def test_reply_that_another_run_committed_meanwhile_is_not_sent(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """OSS hangs when this run commits, and is well again before the first part goes out: by then it is another's."""
    message = cloud.dingtalk.message("1+1=?")
    lose_the_commit(cloud, False, times=3)
    now_ms = reply.module.now_ms()
    theirs = {"msgId": message["msgId"], "run": "other", "until": now_ms + 8000, "say": "二", "epoch": 0}
    mark = {"msgId": message["msgId"], "delivered": True}
    lines = "".join(json.dumps(line) + "\n" for line in (theirs, mark))
    key = write_turns(cloud, message, 0)
    failing = error_fault("InternalError", where=is_get)
    cloud.oss.plan(replace(failing, then=lambda: cloud.oss.write(key, lines)))
    assert reply.run(message)["result"] == "duplicate"
    assert not cloud.dingtalk.shown(message)


def test_renewal_whose_response_got_lost_is_there_once(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """The look at the journal shows it, and the second part goes out."""
    lost = Fault(where=lambda received: is_append(received) and b'"sent"' in received.body, drop=True, carry_out=True)
    message = slow_first_part(reply, cloud, clock, lambda: cloud.oss.plan(lost))
    assert reply.run(message)["result"] == "answered"
    assert len(cloud.dingtalk.shown(message)) == 2
    assert [line["sent"] for line in cloud.journal(message) if "sent" in line] == [1]


def test_reply_that_is_not_on_record_is_not_put_there_after_clear(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """Its words were deleted with the epoch: the run sends what its lease allows, and the log tells."""
    clearing = cloud.dingtalk.message("\\clear")
    message = slow_first_part(reply, cloud, clock, lambda: None)
    lose_the_commit(cloud, False, times=3)
    last = error_fault("InternalError", where=is_get)
    cloud.oss.plan(replace(last, then=lambda: reply.run_at_once((clearing, {}))))
    assert reply.run(message)["result"] == "answered"
    assert len(cloud.dingtalk.shown(message)) == 2
    assert not [line for line in cloud.journal(message) if "words" in line]
    assert reply.run(message)["result"] == "duplicate"


def test_journal_that_somebody_empties_leaves_the_reply_to_the_next_run(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """It may only look so for a moment, so the run looks three times; the next one answers anew."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message, until=0)
    (key,) = cloud.oss.keys()
    cloud.oss.plan(Fault(where=is_get, then=lambda: cloud.oss.write(key, "")))
    with pytest.raises(reply.module.NotDelivered, match="the journal is gone"):
        reply.run(message)
    assert 2 <= sum(clock.slept) <= 3
    assert reply.run(message)["result"] == "answered"
    assert len(cloud.dingtalk.shown(message)) == 1


def test_words_that_cannot_be_read_leave_the_reply_to_the_next_run(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """Three looks, each with a second try; the lease is given back."""
    message = cloud.dingtalk.message("1+1=?")
    cloud.dingtalk.refuse_next(-1, "系统繁忙", times=3)
    with pytest.raises(reply.module.NotDelivered):
        reply.run(message)
    in_words = error_fault("InternalError", where=lambda each: is_get(each) and "chat-history" in each.path, times=6)
    cloud.oss.plan(in_words)
    with pytest.raises(reply.module.NotDelivered, match="its words are not read"):
        reply.run(message)
    clock.slept.clear()
    assert reply.run(message)["result"] == "answered again"
    assert not clock.slept


def test_run_that_is_not_on_record_does_not_mark_the_reply_of_another(reply: Reply, cloud: LocalCloud) -> None:
    """OSS was out of order for this run, which told its own sentence; the other's reply has parts that are not sent."""
    message = cloud.dingtalk.message("1+1=?")
    key = write_turns(cloud, message, 0)
    theirs = {"msgId": message["msgId"], "at": 1, "run": "other", "until": 0, "say": "二", "epoch": 0}
    down = [True]
    cloud.oss.plan(error_fault("ServiceUnavailable", where=lambda received: bool(down), times=99))

    def well_again() -> None:
        down.clear()
        cloud.oss.write(key, json.dumps(theirs) + "\n")

    cloud.dingtalk.plan(Fault(then=well_again))
    assert reply.run(message)["result"] == "answered"
    assert not any("delivered" in line for line in cloud.journal(message))
    assert reply.run(message)["result"] == "answered again"
