"""`python3 -m tests.playground`, run as a person runs it; the page itself is used in test_page.py."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
import requests

from tests.helpers import png
from tests.playground import way
from tests.playground.chat import Chat
from tests.playground.page import Page
from tests.stand_ins.local_cloud import ROOT, LocalCloud
from tests.stand_ins.openai_api import OpenaiApi

pytestmark = pytest.mark.xdist_group("playground")  # one playground for most of them
HOME = dict(os.environ)  # as it was before the tests emptied it
WAIT_SECONDS = 60


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.playground", *arguments]


def environment(**more: str) -> dict[str, str]:
    return {**HOME, "PYTHONIOENCODING": "utf-8", **more}


def play(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The finished playground."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=WAIT_SECONDS,
        check=False,
    )


@contextlib.contextmanager
def started(*arguments: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running playground and the address that it prints; the block is to end it."""
    with subprocess.Popen(
        command(*arguments), cwd=ROOT, env=environment(**more), stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            assert process.stdout
            found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
            assert found, "the first line has the address"
            yield process, found[0]
        finally:
            process.kill()


def send(url: str, **message: str) -> None:
    sent = requests.post(
        f"{url}api/send", json={"person": "小钉", "place": "private", "kind": "text", **message}, timeout=5
    )
    assert sent.status_code == 200, sent.text


def wait_for_answer(url: str) -> str:
    """The text of the first bubble of the bot."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        state = requests.get(f"{url}api/state", timeout=5).json()["state"]
        answers = [bubble["text"] for bubble in state["bubbles"] if not bubble["from"]]
        if answers:
            return str(answers[0])
        time.sleep(0.05)
    raise AssertionError("no answer")


@pytest.fixture
def real_model() -> Iterator[OpenaiApi]:
    """A server somewhere that is compatible with OpenAI's."""
    with OpenaiApi(keys=("sk-mine",), models=("my-model",)) as model:
        yield model


@pytest.mark.full  # .ci/run says the same
def test_say_prints_the_answer_and_ends() -> None:
    """The second answer needs the memory of the first question."""
    played = play("--say", "我叫小明", "--say", "我叫什么？")
    assert (played.returncode, played.stderr) == (0, "")
    assert played.stdout.splitlines() == [
        "小钉> 我叫小明",
        "机器人> 你好，小明！",
        "小钉> 我叫什么？",
        "机器人> 你叫小明。",
    ]


@pytest.mark.full
def test_generation_can_be_chosen() -> None:
    """The same chat on Function Compute 3.0, and the same steps on the page."""
    with started("--no-browser", "--fc", "3") as (_, url):
        send(url, text="1+1=?")
        assert wait_for_answer(url) == "1+1=2"
        (message,) = requests.get(f"{url}api/state", timeout=5).json()["state"]["messages"]
        kinds = [step["kind"] for step in message["steps"]]
        assert kinds[:8] == ["push", "invoke", "queue", "run", "oss_journal", "chatgpt", "oss_words", "oss_turn"]
        invoke = requests.get(f"{url}api/step/1/1", timeout=30).json()
        assert "POST /2023-03-30/functions/Dingtalk_ChatGPT_Reply/invocations" in invoke["request"]
        assert "x-acs-security-token: •••" in invoke["request"]


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal like Ctrl-C for one process")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ending_leaves_no_process_behind(ending: int) -> None:
    """Ctrl-C, also in the middle of an answer: exit status 0, and every instance of a function is gone."""
    with started("--no-browser") as (process, url):
        assert "<h1" in requests.get(url, timeout=5).text
        send(url, text="你好")
        wait_for_answer(url)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 2
        process.send_signal(ending)
        assert process.wait(10) == 0
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive


@pytest.mark.full
def test_port_can_be_chosen() -> None:
    """For a bookmark."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with started("--no-browser", "--port", str(port)) as (_, url):
        assert url == f"http://127.0.0.1:{port}/"


@pytest.mark.full
def test_busy_port_is_told() -> None:
    """A sentence that says what to do, and no stack trace."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        played = play("--no-browser", "--port", str(port))
    assert (played.returncode, played.stdout) == (1, "")
    assert played.stderr == (
        f"端口 {port} 已被占用，请用 --port 换一个，或者不写 --port。\n"
        f"Port {port} is in use: choose another one with --port, or leave --port out.\n"
    )


@pytest.mark.parametrize(("seconds", "slow"), [(2.49, False), (2.5, False), (2.51, True)])
def test_push_that_dingtalk_would_not_wait_for_is_slow(seconds: float, slow: bool) -> None:
    """It waits 2.5 seconds."""
    (row,) = way.summary([way.Step("push", 0.0, seconds)])
    assert row["slow"] == slow


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ({"msgId": "m", "at": 1, "question": "q", "answer": "a"}, "oss_words"),
        ({"msgId": "m", "at": 1, "run": "r", "until": 9, "words": [0, 0, 9], "turn": True}, "oss_turn"),
        ({"msgId": "m", "at": 1, "run": "r", "until": 9, "say": "s", "epoch": 0}, "oss_say"),
        ({"msgId": "m", "at": 1, "run": "r", "until": 9, "say": "s", "epoch": 1, "clear": True}, "oss_forget"),
        ({"msgId": "m", "at": 1, "run": "r", "until": 9, "sent": 1}, "oss_lease"),
        ({"msgId": "m", "at": 1, "run": "r", "sent": 0}, "oss_give_back"),
        ({"msgId": "m", "at": 1, "delivered": True}, "oss_mark"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_line_of_the_journal_is_named_for_what_it_is(line: dict[str, object], kind: str) -> None:
    """Also behind the newline that ends a line which somebody edited."""
    assert way.line_kind(b"\n" + json.dumps(line).encode() + b"\n") == kind


@pytest.mark.full
def test_refused_answer_is_not_said_to_be_delivered() -> None:
    """After three tries its run gives the lease back, and the next run takes it over."""
    with started("--no-browser") as (_, url):
        requests.post(f"{url}api/switch", json={"names": ["webhook_refuses"]}, timeout=5).raise_for_status()
        send(url, text="1+1=?")
        kinds = wait_for_step(url, "oss_take_over")
        assert "oss_give_back" in kinds and "oss_mark" not in kinds
        requests.post(f"{url}api/switch", json={"names": []}, timeout=5).raise_for_status()
        kinds = wait_for_step(url, "oss_mark")
        assert kinds.count("oss_turn") == kinds.count("chatgpt") == 1


def wait_for_step(url: str, kind: str) -> list[str]:
    """The kinds of the steps of the first message, as soon as one is of this kind."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        state = requests.get(f"{url}api/state", timeout=5).json()["state"]
        kinds = [step["kind"] for step in state["messages"][0]["steps"]]
        if kind in kinds:
            return kinds
        time.sleep(0.05)
    raise AssertionError("no such step")


@pytest.mark.parametrize(
    "port", ["65536", "http", *(pytest.param(port, marks=pytest.mark.full) for port in ("99999", "-1"))]
)
def test_port_that_is_none_is_refused(port: str) -> None:
    """Before anything starts, and without a stack trace."""
    played = play("--no-browser", f"--port={port}")
    assert (played.returncode, played.stdout) == (2, "")
    assert "端口是 0 到 65535 的数字" in played.stderr and "Traceback" not in played.stderr


@pytest.mark.full
def test_setting_in_the_environment_can_be_tried() -> None:
    """A deployer sees what a setting does before using it."""
    played = play("--say", "你好", "--say", "1+1=?", DAILY_LIMIT="1")
    assert "DAILY_LIMIT" in played.stdout


@pytest.mark.full
def test_key_in_the_environment_asks_that_model(real_model: OpenaiApi) -> None:
    """With CHATGPT_API_KEY, and here the address of another service, the page chats with that."""
    real_model.answer_next("这是真的模型。")
    settings = {"CHATGPT_API_KEY": "sk-mine", "CHATGPT_BASE_URL": real_model.url, "CHATGPT_MODEL": "my-model"}
    with started("--no-browser", SYSTEM_PROMPT="简短回答。", **settings) as (_, url):
        send(url, text="你好")
        assert wait_for_answer(url) == "这是真的模型。"
        state = requests.get(f"{url}api/state", timeout=5).json()["state"]
        assert state["real_model"]
        assert "chatgpt" in [step["kind"] for step in state["messages"][0]["steps"]]
        settings_shown = requests.get(f"{url}api/settings", timeout=30).text
        assert "my-model" in settings_shown and "sk-mine" not in settings_shown
    assert [part["role"] for part in real_model.asked[0]["messages"]] == ["system", "user"]
    assert json.dumps(real_model.asked[0]).count("my-model") == 1


@pytest.mark.full
def test_error_of_a_real_model_is_shown_with_its_cause(real_model: OpenaiApi) -> None:
    """Its requests are not on our record; the function's log says what it answered."""
    settings = {"CHATGPT_API_KEY": "sk-other", "CHATGPT_BASE_URL": real_model.url, "CHATGPT_MODEL": "my-model"}
    with started("--no-browser", **settings) as (_, url):
        send(url, text="你好")
        assert "API 密钥无效" in wait_for_answer(url)
        step = chatgpt_step(url)
        assert (step["outcome"], step["problem"]) == ("HTTP 401", True)
        assert "invalid_api_key" in str(step["cause"])


@pytest.mark.full
def test_answer_of_a_real_model_is_shown_as_such(real_model: OpenaiApi) -> None:
    """What was appended to the history is an answer."""
    settings = {"CHATGPT_API_KEY": "sk-mine", "CHATGPT_BASE_URL": real_model.url, "CHATGPT_MODEL": "my-model"}
    with started("--no-browser", **settings) as (_, url):
        send(url, text="你好")
        wait_for_answer(url)
        step = chatgpt_step(url)
        assert (step["outcome"], step["problem"], step["cause"]) == ("HTTP 200", False, "")


def chatgpt_step(url: str) -> dict[str, object]:
    """The step to ChatGPT of the only message, when all is over."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        (message,) = requests.get(f"{url}api/state", timeout=5).json()["state"]["messages"]
        if message["over"]:
            (step,) = [step for step in message["steps"] if step["kind"] == "chatgpt"]
            return dict(step)
        time.sleep(0.05)
    raise AssertionError("not over")


@pytest.mark.full
@pytest.mark.parametrize(("setting", "shown"), [({}, False), ({"THINKING": "on"}, True)])
def test_emoji_is_on_the_message_only_with_thinking(setting: dict[str, str], shown: bool) -> None:
    """And only until the answer is there; by itself DingTalk shows nothing."""
    with started("--no-browser", **setting) as (_, url):
        requests.post(f"{url}api/switch", json={"names": ["chatgpt_slow"]}, timeout=5).raise_for_status()
        send(url, text="你好")
        until = time.monotonic() + WAIT_SECONDS
        seen: set[str] = set()
        wanted = {"chatgpt", "api_reply"} if shown else {"chatgpt"}
        while time.monotonic() < until and not wanted <= seen:
            (message,) = requests.get(f"{url}api/state", timeout=5).json()["state"]["messages"]
            seen = {step["kind"] for step in message["steps"] if step["kind"] == "chatgpt" or step["ms"] is not None}
        assert message["thinking"] == shown
        wait_for_answer(url)
        chatgpt_step(url)  # all is over
        (message,) = requests.get(f"{url}api/state", timeout=5).json()["state"]["messages"]
        assert not message["thinking"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a running playground."""
    with started("--no-browser") as (_, address):
        yield address


@pytest.mark.parametrize(
    ("place", "kind"), [("private", "picture"), pytest.param("group", "picture", marks=pytest.mark.full)]
)
def test_posted_picture_goes_with_the_message(url: str, place: str, kind: str) -> None:
    """The bot gets its bytes; the page shows them, and the calls of DingTalk's API without token and key."""
    picture = png(7, 5)
    requests.post(f"{url}api/start_over", json={}, timeout=30).raise_for_status()
    send(url, place=place, kind=kind, attachment=base64.b64encode(picture).decode())
    assert f"我看到 1 张图片：PNG，7×5 像素，{len(picture)} 字节" in wait_for_answer(url)
    assert requests.get(f"{url}api/picture?number=1", timeout=5).content == picture
    (message,) = requests.get(f"{url}api/state", timeout=5).json()["state"]["messages"]
    kinds = [step["kind"] for step in message["steps"]]
    calls = ["api_token", "api_download", "api_file"]
    assert [each for each in kinds if each.startswith("api_")] == calls
    token = requests.get(f"{url}api/step/1/{kinds.index('api_token')}", timeout=30).json()
    assert '"accessToken": "•••"' in token["answer"] and '"appSecret": "•••"' in token["request"]
    assert '"appKey": "•••"' in token["request"]


def test_uploaded_picture_has_an_address() -> None:
    """What is no picture, or was not uploaded, has none."""
    chat = Chat(LocalCloud())
    chat.cloud.dingtalk.api.media.update({"@lADPex": png(7, 5), "@lADPno": b"<html>"})
    with Page(chat) as page:
        answers = [
            requests.get(f"{page.url}api/media", {"id": name}, timeout=5) for name in ("@lADPex", "@lADPno", "@x")
        ]
    assert [answer.status_code for answer in answers] == [200, 404, 404]
    assert (answers[0].content, answers[0].headers["Content-Type"]) == (png(7, 5), "image/png")


@pytest.mark.parametrize(
    ("name", "body", "problem"),
    [
        ("send", {"person": "小钉", "place": "private", "kind": "picture", "attachment": "?"}, "请求有误"),
        ("send", {"person": "小钉", "place": "private", "kind": "picture", "attachment": "AAAA" * 2097153}, "6 MB"),
        ("send", {"person": "小钉", "place": "private", "kind": "text", "text": "a", "attachment": "AAAA"}, "不带图片"),
        ("send", {"person": "小钉", "place": "private", "kind": "text", "text": " "}, "请先输入要说的话"),
        ("send", {"person": "小钉", "place": "group", "kind": "voice", "text": "a"}, "群里的这种消息"),
        ("send", {"person": "谁", "place": "private", "kind": "text", "text": "a"}, "没有这样的消息"),
        ("send", {"person": ["小钉"], "place": "private", "kind": "text", "text": "a"}, "请求有误"),
        ("send", {"person": "小钉", "place": "private", "kind": "text", "text": "a", "times": 11}, "一次最多十条"),
        ("again", {"number": 99}, "没有这样的消息"),
        ("switch", {"names": ["earthquake"]}, "没有这样的故障"),
        ("set", {"Dingtalk_Conversation": {"PATH": "x"}}, "没有这样的设置"),
        ("set", {"Dingtalk_ChatGPT_Reply": {"SYSTEM_PROMPT": "x" * 5000}}, "函数计算不接受这些环境变量"),
    ],
)
def test_what_cannot_be_done_is_told(url: str, name: str, body: dict[str, object], problem: str) -> None:
    """In a sentence, and the playground goes on as before."""
    answer = requests.post(f"{url}api/{name}", json=body, timeout=30)
    assert (answer.status_code, problem in answer.json()["problem"]) == (400, True)
    assert requests.get(f"{url}api/state", timeout=5).status_code == 200


def test_setting_that_is_taken_back_is_as_at_the_start(url: str) -> None:
    """The playground's own application too: the bot goes on looking at pictures."""
    for value, is_set in (("", False), (None, True)):
        given = {"Dingtalk_ChatGPT_Reply": {"DINGTALK_APP_KEY": value}}
        requests.post(f"{url}api/set", json=given, timeout=30).raise_for_status()
        rows = requests.get(f"{url}api/settings", timeout=30).json()
        assert [row["set"] for row in rows if row["name"] == "DINGTALK_APP_KEY"] == [is_set]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Host": "evil.example"}, "{}"),  # a name that somebody points at 127.0.0.1
        ({"Content-Type": "text/plain"}, '{"Dingtalk_ChatGPT_Reply": {"CHATGPT_BASE_URL": "https://evil.example"}}'),
    ],
)
def test_other_page_in_the_browser_is_refused(url: str, headers: dict[str, str], body: str) -> None:
    """Another site must not be able to send this machine's key to an address of its own."""
    given = {"Content-Type": "application/json", **headers}
    assert requests.post(f"{url}api/set", data=body, headers=given, timeout=5).status_code == 403


def test_page_needs_nothing_from_another_host(url: str) -> None:
    """It works without a network: every address in its files is its own, and the policy says so too."""
    page = requests.get(url, timeout=5)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert requests.get(url + name, timeout=5).status_code == 200
    for name in ("index.html", "page.css", "page.js"):
        code = re.sub(r"(?m)^\s*//.*$|// .*$|/\*.*?\*/", "", requests.get(url + name, timeout=5).text)
        assert "//" not in code.replace("dtmd://dingtalkclient/", "")  # leads to DingTalk's client, if to anything
