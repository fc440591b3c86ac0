"""A message's whole way: DingTalk, Dingtalk_Conversation, the queue, Dingtalk_ChatGPT_Reply, OSS, ChatGPT, the chat."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator

import pytest

from tests.helpers import PNG, as_new, asked
from tests.stand_ins.dingtalk import XIAODING, XIAOMING
from tests.stand_ins.fork_server import fork_servers
from tests.stand_ins.function_compute import is_invoke
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, LocalCloud
from tests.stand_ins.runtimes import EACH_RUNTIME, Runtime
from tests.stand_ins.server import Fault


@pytest.fixture
def cloud(cloud_of_each_runtime: LocalCloud) -> Iterator[LocalCloud]:
    """In this module every test runs on every runtime."""
    yield from as_new(cloud_of_each_runtime)


def test_private_message_is_answered(cloud: LocalCloud) -> None:
    """A person writes, DingTalk has an empty answer at once, and the reply comes through the session webhook."""
    message = cloud.dingtalk.message("你好")
    delivery = cloud.dingtalk.deliver(message, timeout=30)
    assert (delivery.status, delivery.json) == (200, {"msgtype": "empty"})
    (shown,) = cloud.dingtalk.wait_shown(1, message)
    assert (shown.text, shown.by_http_answer) == ("你好！有什么可以帮你？", False)


def test_group_message_is_answered_in_the_group(cloud: LocalCloud) -> None:
    """A person @-s the bot in a group, and the group sees the reply."""
    message = cloud.dingtalk.message("1+1=?", group="测试群")
    cloud.dingtalk.deliver(message)
    (shown,) = cloud.dingtalk.wait_shown(1, message)
    assert "2" in shown.text
    assert shown.conversation_id == message["conversationId"]


def test_second_question_is_asked_with_the_first_turn(cloud: LocalCloud) -> None:
    """The bot remembers what was said, in order."""
    cloud.dingtalk.ask("我叫小明")
    assert cloud.dingtalk.ask("我叫什么？") == "你叫小明。"
    assert [part["content"] for part in cloud.openai_api.asked[1]["messages"]] == [
        "我叫小明",
        "你好，小明！",
        "我叫什么？",
    ]


def test_people_in_one_group_have_their_own_history(cloud: LocalCloud) -> None:
    """What one person told the bot in a group is not told to another, nor to the same person elsewhere."""
    cloud.dingtalk.ask("我叫小明", person=XIAOMING, group="测试群")
    assert "不知道" in cloud.dingtalk.ask("我叫什么？", person=XIAODING, group="测试群")
    assert "不知道" in cloud.dingtalk.ask("我叫什么？", person=XIAOMING, group="另一个群")
    assert "不知道" in cloud.dingtalk.ask("我叫什么？", person=XIAOMING)
    assert cloud.dingtalk.ask("我叫什么？", person=XIAOMING, group="测试群").endswith("你叫小明。")


@pytest.mark.parametrize("group", [None, "测试群"])
def test_clear_forgets_the_conversation(cloud: LocalCloud, group: str | None) -> None:
    """After the command the bot knows nothing, and no object holds any of the words."""
    message = cloud.dingtalk.message("我叫小明", group=group)
    cloud.dingtalk.deliver(message)
    cloud.dingtalk.wait_shown(1, message)
    assert "忘掉" in cloud.dingtalk.ask("\\clear", group=group)
    cloud.function_compute.wait_idle(30)
    assert "小明".encode() not in b"".join(cloud.oss.everything())
    assert "不知道" in cloud.dingtalk.ask("我叫什么？", group=group)


def test_repeated_message_is_accepted_once_and_answered_once(cloud: LocalCloud) -> None:
    """DingTalk repeats a message: Function Compute itself refuses the second one, DingTalk is told all is well."""
    message = cloud.dingtalk.message("你好")
    first, second = cloud.dingtalk.deliver(message), cloud.dingtalk.redeliver(message)[0]
    assert first.json == second.json == {"msgtype": "empty"}
    cloud.function_compute.wait_idle(30)
    assert len(cloud.dingtalk.shown(message)) == len(cloud.openai_api.asked) == 1
    assert [received.status for received in cloud.function_compute.received if is_invoke(received)] == [202, 409]


def test_request_budget_of_an_answer_is_kept(cloud: LocalCloud) -> None:
    """Seven requests: read the journal and the words, ask, keep the words, commit, send, mark; on kept connections."""
    cloud.dingtalk.ask("你好")
    cloud.function_compute.wait_idle(30)
    stand_ins = (cloud.oss, cloud.openai_api, cloud.dingtalk)
    for stand_in in stand_ins:
        stand_in.received.clear()
    cloud.dingtalk.ask("1+1=?")
    cloud.function_compute.wait_idle(30)
    requests = [(type(s).__name__, received.method) for s in stand_ins for received in s.received]
    assert [method for name, method in requests if name == "Oss"] == ["GET", "GET", "POST", "POST", "POST"]
    assert requests[5:] == [("OpenaiApi", "POST"), ("Dingtalk", "POST")]


def test_request_budget_of_a_command_is_kept(cloud: LocalCloud) -> None:
    """Four requests: read the journal, commit, send, mark."""
    cloud.dingtalk.ask("你好")
    cloud.function_compute.wait_idle(30)
    for stand_in in (cloud.oss, cloud.dingtalk):
        stand_in.received.clear()
    cloud.dingtalk.ask("\\help")
    cloud.function_compute.wait_idle(30)
    assert [received.method for received in cloud.oss.received] == ["GET", "POST", "POST"]
    assert len(cloud.dingtalk.received) == 1


def test_refused_message_shows_why_in_the_chat(cloud: LocalCloud) -> None:
    """When Function Compute does not take the message, its answer to DingTalk says who can do what."""
    cloud.function_compute.denied_actions.add("fc:InvokeFunction")
    message = cloud.dingtalk.message("你好")
    cloud.dingtalk.deliver(message)
    (shown,) = cloud.dingtalk.shown(message)
    assert shown.by_http_answer
    assert "fc:InvokeFunction" in shown.text


def test_console_test_event_returns_the_self_check(cloud: LocalCloud) -> None:
    """The console's default test event is no message: it runs the checks and sends nothing."""
    report = cloud.invoke(REPLY, b'{"key": "value"}')
    assert report["OSS"] == report["ChatGPT"] == "ok"
    assert not cloud.dingtalk.shown()
    assert cloud.oss.keys() == []


def test_people_write_while_an_answer_is_under_way(cloud: LocalCloud) -> None:
    """A second person is answered by another instance and need not wait for the first one's model."""
    answer_now = threading.Event()
    cloud.openai_api.plan(Fault(then=lambda: answer_now.wait(30)))
    slow = cloud.dingtalk.message("你好")
    waiting = threading.Thread(target=cloud.dingtalk.deliver, args=(slow,))
    waiting.start()
    while not cloud.openai_api.received:
        time.sleep(0.01)
    cloud.dingtalk.ask("你好", person=XIAOMING)
    assert not cloud.dingtalk.shown(slow)
    answer_now.set()
    cloud.dingtalk.wait_shown(1, slow)
    waiting.join()


def test_picture_is_looked_at_while_the_emoji_is_there(cloud: LocalCloud) -> None:
    """With the application's key and THINKING=on: a picture in a group, and a text file in private."""
    cloud.redeploy(REPLY, THINKING="on", **cloud.application())
    try:
        message = cloud.dingtalk.message("这是什么？", kind="rich_text", picture=PNG, group="测试群")
        cloud.dingtalk.deliver(message)
        (shown,) = cloud.dingtalk.wait_shown(1, message)
        assert "我看到 1 张图片：PNG，2×1 像素" in shown.text and "这是什么？" in shown.text
        cloud.dingtalk.say(file=("价格.csv", "苹果,3\n".encode("gb18030")))
        cloud.dingtalk.wait_shown(2)
        assert "> [文件 价格.csv]\n> 苹果,3\n" in asked(cloud)
        cloud.function_compute.wait_idle(20)
        assert [emotion.verb for emotion in cloud.dingtalk.api.emotions] == ["reply", "recall"] * 2
    finally:
        cloud.function_compute.wait_idle(20)
        cloud.redeploy(REPLY)


@pytest.mark.full
@pytest.mark.parametrize("runtime", EACH_RUNTIME)
def test_true_cold_start_answers(runtime: Runtime) -> None:
    """Both functions in processes that import the packages themselves, as Function Compute starts them."""
    with fork_servers(used=False), LocalCloud(**runtime.settings()) as cloud:
        assert cloud.dingtalk.ask("1+1=?", timeout=60) == "1+1=2"


SECRETS = ("example-app-secret", "sk-example", "example-secret", "example-token")
WORDS = ("机密的问题", "你说的是", "小明")


@pytest.mark.parametrize("runtime", EACH_RUNTIME)
def test_logs_at_debug_hold_no_secret_and_no_word(runtime: Runtime) -> None:
    """At VERBOSE=DEBUG, with the root logger at DEBUG too, whatever fails: no key, token, address or word is logged."""
    debug = {"VERBOSE": "DEBUG"}
    seeing = {**debug, "DINGTALK_APP_KEY": "dingexamplerobot01", "DINGTALK_APP_SECRET": SECRETS[0], "THINKING": "on"}
    with LocalCloud(debug, seeing, root_log_level="DEBUG", max_instances=1, **runtime.settings()) as cloud:
        cloud.function_compute.retry_seconds = 0.01
        cloud.dingtalk.ask("机密的问题")
        cloud.dingtalk.ask("我叫小明", group="测试群")
        cloud.openai_api.fail_next("invalid_api_key")
        cloud.dingtalk.ask("机密的问题")
        for status, name in itertools.product((200, 400), ("code", "type", "message", "detail")):  # services quote both
            quoting = {name: f"sk-example: 机密的问题 {status}"}
            cloud.openai_api.plan(Fault(status=status, body=json.dumps({"error": quoting, name: "sk-example"})))
            cloud.dingtalk.ask("机密的问题", person=XIAODING)
        cloud.openai_api.plan(Fault(drop=True, times=3))
        cloud.dingtalk.ask("机密的问题")
        cloud.oss.plan(Fault(drop=True, times=2))
        cloud.dingtalk.ask("机密的问题")
        cloud.dingtalk.plan(Fault(drop=True))
        cloud.dingtalk.plan(Fault(status=302, headers=(("Location", cloud.oss.url),)))
        cloud.dingtalk.ask("机密的问题")
        cloud.dingtalk.refuse_next(-1, "系统繁忙", times=3)
        cloud.dingtalk.ask("机密的问题", timeout=20)
        cloud.dingtalk.refuse_next(300001, "session 不存在")
        cloud.dingtalk.say("机密的问题")
        cloud.dingtalk.deliver(cloud.dingtalk.message("机密的问题"), secret="another")
        cloud.dingtalk.deliver(cloud.dingtalk.message("机密的问题"), body=b'{"text": "\xe6\x9c\xba')
        cloud.dingtalk.say(kind="picture")
        cloud.dingtalk.ask(kind="picture", picture=PNG)
        tokens = list(cloud.dingtalk.api.tokens)
        cloud.function_compute.wait_idle(20)
        cloud.function_compute.throttle()
        cloud.dingtalk.say("机密的问题")
        cloud.function_compute.plan(Fault(where=is_invoke, drop=True))
        cloud.dingtalk.say("机密的问题")
        cloud.function_compute.wait_idle(20)
        logs = cloud.function_compute.logs()
        sent = [received for received in cloud.dingtalk.received if "sendBySession" in received.path]
        sessions = {received.query["session"] for received in sent}
    assert logs.count("[INFO]") >= 10
    assert logs.count("[ERROR]") >= 4
    assert sessions and tokens
    found = [
        word
        for word in (
            *SECRETS,
            *WORDS,
            *sessions,
            *tokens,
            "/files/",
            "mIofN681YE3f",
            "sendBySession",
            "session=",
            "Signature=",
        )
        if word in logs
    ]
    assert not found


def test_conversation_answers_warm_in_time(cloud: LocalCloud) -> None:
    """A warm instance answers DingTalk long before it would repeat the message."""
    cloud.dingtalk.ask("你好")
    assert cloud.dingtalk.say("你好").seconds < 2
    assert len(cloud.function_compute.instances(CONVERSATION)) == 1
