"""`python -m tests.playground`, run as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.stand_ins.local_cloud import ROOT
from tests.stand_ins.openai_api import OpenaiApi

HOME = dict(os.environ)  # as it was before the tests emptied it


def play(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The finished playground."""
    return subprocess.run(
        [sys.executable, "-m", "tests.playground", *arguments],
        cwd=ROOT,
        env={**HOME, "PYTHONIOENCODING": "utf-8", **environment},
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )


@pytest.fixture
def real_model() -> Iterator[OpenaiApi]:
    """A server somewhere that is compatible with OpenAI's."""
    with OpenaiApi(keys=("sk-mine",), models=("my-model",)) as model:
        yield model


def test_say_prints_the_answer_and_ends() -> None:
    """The README's first command: the second answer needs the memory of the first question."""
    played = play("--say", "我叫小明", "--say", "我叫什么？")
    assert (played.returncode, played.stderr) == (0, "")
    assert played.stdout.splitlines() == [
        "小钉> 我叫小明",
        "机器人> 你好，小明！",
        "小钉> 我叫什么？",
        "机器人> 你叫小明。",
    ]


def test_chat_in_the_terminal_changes_person_and_place() -> None:
    """/as, /group, /private, /send and /quit; what is typed after the end is not said."""
    lines = [
        "我叫小明",
        "/as 李四",
        "/group 测试群",
        "我叫什么？",
        "/private",
        "/send picture",
        "/send nothing",
        "",
        "/quit",
        "x",
    ]
    played = play(stdin="\n".join(lines) + "\n")
    assert (played.returncode, played.stderr) == (0, "")
    assert "你好，小明！" in played.stdout
    assert "[测试群] 李四 @机器人> " in played.stdout
    assert "我还不知道你叫什么" in played.stdout
    assert "图片、视频和文件还读不了" in played.stdout
    assert "没有这样的消息" in played.stdout


def test_end_of_input_ends_the_chat() -> None:
    """Ctrl-D."""
    played = play(stdin="1+1=?\n")
    assert (played.returncode, played.stderr) == (0, "")
    assert "1+1=2" in played.stdout


def test_setting_in_the_environment_can_be_tried() -> None:
    """A deployer sees what a setting does before using it."""
    played = play("--say", "你好", "--say", "1+1=?", DAILY_LIMIT="1", REPLY_FORMAT="markdown")
    assert "【markdown：你好！有什么可以帮你？】" in played.stdout
    assert "DAILY_LIMIT" in played.stdout


def test_key_in_the_environment_asks_that_model(real_model: OpenaiApi) -> None:
    """With CHATGPT_API_KEY, and here the address of another service, the stand-in for ChatGPT is not asked."""
    real_model.answer_next("这是真的模型。")
    played = play(
        *("--say", "你好"),
        CHATGPT_API_KEY="sk-mine",
        CHATGPT_BASE_URL=real_model.url,
        CHATGPT_MODEL="my-model",
        SYSTEM_PROMPT="简短回答。",
    )
    assert "这是真的模型。" in played.stdout
    assert [part["role"] for part in real_model.asked[0]["messages"]] == ["system", "user"]
    assert json.dumps(real_model.asked[0]).count("my-model") == 1
