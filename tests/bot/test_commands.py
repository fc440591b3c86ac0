"""\\model and \\prompt: what a conversation chooses for itself, on record in OSS beside its journal."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from bot.dingtalk.message import COMMANDS, Command, command_in
from bot.sentences import zh
from tests.helpers import Clock, Reply
from tests.stand_ins.dingtalk import numbered_person
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.server import Fault

OTHER = numbered_person(2)
TWO = "gpt-6-luna, gpt-6-sol"


@pytest.fixture
def two(reply: Reply) -> Reply:
    """The bot with two models."""
    reply.environment["CHATGPT_MODEL"] = TWO
    return reply


def asked_model(cloud: LocalCloud) -> str:
    return str(cloud.openai_api.asked[-1]["model"])


def system_words(cloud: LocalCloud) -> list[str]:
    """What the model was told to be, in the last request."""
    return [str(each["content"]) for each in cloud.openai_api.asked[-1]["messages"] if each["role"] == "system"]


def stored(cloud: LocalCloud) -> list[str]:
    """The names of all objects."""
    return cloud.oss.keys()


def choices(cloud: LocalCloud) -> list[str]:
    """The names of the objects with what conversations have chosen."""
    return [key for key in stored(cloud) if key.startswith("chat-settings/")]


# --- what is a command ---


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("\\model", Command("model")),
        ("/Model 2", Command("model", "2")),
        ("模型", Command("model")),
        ("模型 2", Command("model", "2")),
        ("、模型 gpt-6-luna", Command("model", "gpt-6-luna")),
        ("＼ｍｏｄｅｌ：2", Command("model", "2")),
        ("\\prompt 你是翻译。\n只说英文！", Command("prompt", "你是翻译。\n只说英文！")),
        ("\\prompt\n你是翻译", Command("prompt", "你是翻译")),
        ("角色 你是翻译", Command("prompt", "你是翻译")),
        ("角色 取消", Command("prompt", "off")),
        ("\\prompt Off。", Command("prompt", "off")),
        ("清除。", Command("clear")),
        ("帮助！", Command("help")),
        ("状态 。", Command("status")),
        ("模型 怎么选才好", None),
        ("角色：资深律师\n任务：审合同", None),
        ("角色 资深律师\n任务：审合同", None),
        ("清除 缓存", None),
        ("\\clear 之前的", None),
        ("清除？", Command("clear")),
        ("\\", None),
        ("", None),
    ],
)
def test_command_is_known_by_its_word_and_takes_the_rest(text: str, command: Command | None) -> None:
    """A question that begins with such a word stays a question."""
    assert command_in(text) == command


# --- links that send ---

LINKS = re.compile(r"\[([^]]*)\]\(dtmd://dingtalkclient/sendMessage\?content=([^)]*)\)")


def test_help_in_a_private_chat_can_be_tapped(reply: Reply) -> None:
    """Each command is a link that sends it; its words are there where a client does not know such links."""
    shown = reply.ask("\\help")
    links = LINKS.findall(shown)
    assert [unquote(sent) for _, sent in links] == [words for words, _ in links]
    assert {command_in(words).name for words, _ in links} == set(COMMANDS.values())  # type: ignore[union-attr]
    assert shown.count("\n- ") == len(links)


@pytest.mark.parametrize("reply_format", ["auto", "text"])
def test_help_has_no_links_where_they_would_not_work(reply: Reply, cloud: LocalCloud, reply_format: str) -> None:
    """In a group what a tap sends has no @; in plain text there are none."""
    reply.environment["REPLY_FORMAT"] = reply_format
    message = cloud.dingtalk.message("\\help", group="项目群" if reply_format == "auto" else None)
    reply.run(message)
    assert "dtmd:" not in cloud.dingtalk.shown(message)[0].text


@pytest.mark.parametrize(("group", "offered"), [(None, True), ("项目群", False)])
def test_answer_that_was_cut_off_offers_to_go_on(
    reply: Reply, cloud: LocalCloud, group: str | None, offered: bool
) -> None:
    """At its end, and not in what the model sees later."""
    choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "很久很久以前"}}
    cloud.openai_api.plan(Fault(status=200, body=json.dumps({"choices": [choice]})))
    message = cloud.dingtalk.message("讲个故事", group=group)
    reply.run(message)
    links = LINKS.findall(cloud.dingtalk.shown(message)[0].text)
    assert [(words, unquote(sent)) for words, sent in links] == ([("继续", "继续")] if offered else [])
    reply.run(cloud.dingtalk.message("继续", group=group))
    assert "dtmd" not in json.dumps(cloud.openai_api.asked[-1])


# --- models ---


def test_models_are_shown_with_numbers_and_the_one_in_use(two: Reply) -> None:
    """The first is asked until somebody chooses."""
    shown = two.ask("\\model")
    assert "1. gpt-6-luna（正在使用）" in shown and "2. gpt-6-sol" in shown


@pytest.mark.parametrize("name", ["2", "gpt-6-sol", "GPT-6-Sol"])
def test_model_is_chosen_by_number_or_name_for_this_conversation(two: Reply, cloud: LocalCloud, name: str) -> None:
    """From the next question on, and nowhere else."""
    assert "gpt-6-sol" in two.ask(f"\\model {name}")
    two.ask("1+1=?")
    assert asked_model(cloud) == "gpt-6-sol"
    assert "模型：gpt-6-sol" in two.ask("\\status")
    two.ask("1+1=?", person=OTHER)
    assert asked_model(cloud) == "gpt-6-luna"


@pytest.mark.parametrize("name", ["3", "0", "gpt-4", "99999999999999999999"])
def test_unknown_model_is_refused_with_the_list(two: Reply, cloud: LocalCloud, name: str) -> None:
    """And nothing is kept."""
    shown = two.ask(f"\\model {name}")
    assert shown.startswith("没有这个模型") and "2. gpt-6-sol" in shown
    assert choices(cloud) == []


def test_model_that_the_deployer_took_away_is_asked_no_more(two: Reply, cloud: LocalCloud) -> None:
    """The first of the list takes its place."""
    two.ask("\\model 2")
    two.environment["CHATGPT_MODEL"] = "gpt-6-luna"
    two.ask("1+1=?")
    assert asked_model(cloud) == "gpt-6-luna"


def test_choosing_the_first_model_leaves_nothing_to_remember(two: Reply, cloud: LocalCloud) -> None:
    """The conversation costs no more requests than before."""
    two.ask("\\model 2")
    two.ask("\\model 1")
    before = len(cloud.oss.received)
    two.ask("1+1=?")
    assert not [each for each in cloud.oss.received[before:] if "chat-settings" in each.path]
    assert asked_model(cloud) == "gpt-6-luna"


def test_self_check_asks_every_model(two: Reply, cloud: LocalCloud) -> None:
    """A name that does not exist is found before anybody chooses it."""
    two.environment["CHATGPT_MODEL"] = "gpt-6-luna, gpt-none"
    report = two.run(b"{}")
    assert report["ChatGPT gpt-6-luna"] == "ok"
    assert report["ChatGPT gpt-none"].startswith(zh.FAILURES["model"])


@pytest.mark.parametrize(("spent_seconds", "asked"), [(200, 1), (114, 2)])
def test_model_that_was_not_asked_or_had_no_time_is_not_told_as_slow(
    two: Reply, cloud: LocalCloud, clock: Clock, spent_seconds: float, asked: int
) -> None:
    """The models before it took the time of the function; TIMEOUT is not to blame."""
    two.environment.update(cloud.application())
    cloud.openai_api.plan(Fault(then=lambda: clock.sleep(spent_seconds)))
    cloud.openai_api.plan(Fault(delay=10))
    report = two.run(b"{}")
    assert len(cloud.openai_api.received) == asked
    assert report["ChatGPT gpt-6-sol"] == zh.NO_TIME_TO_CHECK
    assert report["ChatGPT gpt-6-luna"] == report["DingTalk 图片和文件"] == "ok"


# --- roles ---


def test_role_stands_below_the_system_prompt(reply: Reply, cloud: LocalCloud) -> None:
    """The deployer's words first."""
    reply.environment["SYSTEM_PROMPT"] = "Be brief."
    assert reply.ask("\\prompt 你是翻译") == zh.PROMPT_SET
    reply.ask("1+1=?")
    assert system_words(cloud) == ["Be brief.\n\n你是翻译"]


def test_role_is_shown_and_taken_away(reply: Reply, cloud: LocalCloud) -> None:
    """Alone the command shows it; off, or the Chinese word, ends it."""
    assert reply.ask("角色") == zh.PROMPT_IS_NOT_SET
    reply.ask("\\prompt 你是翻译")
    assert "你是翻译" in reply.ask("\\prompt")
    assert reply.ask("角色 取消") == zh.PROMPT_TAKEN_AWAY
    reply.ask("1+1=?")
    assert system_words(cloud) == []


def test_clear_keeps_the_role(reply: Reply, cloud: LocalCloud) -> None:
    """It forgets what was said, not what was chosen."""
    reply.ask("\\prompt 你是翻译")
    reply.ask("\\clear")
    reply.ask("1+1=?")
    assert system_words(cloud) == ["你是翻译"]


@pytest.mark.parametrize(("length", "kept"), [(2000, True), (2001, False)])
def test_role_has_an_end(reply: Reply, cloud: LocalCloud, length: int, kept: bool) -> None:
    """It is paid with every question."""
    shown = reply.ask("\\prompt " + "想" * length)
    assert (shown == zh.PROMPT_SET) == kept == bool(choices(cloud))


def test_role_of_a_group_that_shares_its_history_is_that_of_the_group(reply: Reply, cloud: LocalCloud) -> None:
    """Whoever asks next speaks with it."""
    reply.environment["HISTORY_SCOPE"] = "group"
    message = cloud.dingtalk.message("\\prompt 你是翻译", group="项目群")
    reply.run(message)
    reply.run(cloud.dingtalk.message("1+1=?", group="项目群", person=OTHER))
    assert system_words(cloud) == ["你是翻译"]


def test_words_of_a_role_are_in_no_log_and_in_no_journal(reply: Reply, cloud: LocalCloud, caplog: Any) -> None:
    """They lie in the object of the settings alone."""
    reply.environment["VERBOSE"] = "DEBUG"
    reply.ask("\\prompt 绝密的角色")
    reply.ask("1+1=?")
    assert "绝密" not in caplog.text
    told = [key for key in stored(cloud) if "绝密".encode() in (cloud.oss.read(key) or b"")]
    assert told == choices(cloud)


# --- faults ---


def test_conversation_without_choices_costs_no_request(reply: Reply, cloud: LocalCloud) -> None:
    """Nobody asks OSS for an object that was never made."""
    reply.ask("1+1=?")
    reply.ask("\\clear")
    reply.ask("1+1=?")
    assert not [each for each in cloud.oss.received if "chat-settings" in each.path]


def test_help_needs_nothing_that_was_chosen(two: Reply, cloud: LocalCloud) -> None:
    """It costs no request for the choices, and comes where they cannot be read."""
    two.ask("\\model 2")
    before = len(cloud.oss.received)
    two.ask("\\help")
    assert not [each for each in cloud.oss.received[before:] if "chat-settings" in each.path]


def test_choice_that_oss_does_not_keep_is_told(two: Reply, cloud: LocalCloud) -> None:
    """And nothing changes."""
    cloud.oss.plan(Fault(lambda received: received.method == "PUT", status=503))
    assert two.ask("\\model 2").startswith("没能保存")
    two.ask("1+1=?")
    assert asked_model(cloud) == "gpt-6-luna"


def test_choice_is_not_made_over_choices_that_nobody_could_read(two: Reply, cloud: LocalCloud) -> None:
    """Without the journal nobody knows that there is a role, and it would be lost."""
    two.ask("\\prompt 你是翻译")
    cloud.oss.plan(Fault(lambda received: received.method == "GET", status=503, times=2))  # oss2 asks once more
    assert two.ask("\\model 2").startswith("没能保存")
    two.ask("1+1=?")
    assert (asked_model(cloud), system_words(cloud)) == ("gpt-6-luna", ["你是翻译"])


def test_clear_is_tried_again_when_the_journal_was_not_read(reply: Reply, cloud: LocalCloud) -> None:
    """What passes costs the person no second \\clear."""
    reply.ask("我叫小明")
    cloud.oss.plan(Fault(lambda received: received.method == "GET", status=503, times=2))
    assert reply.ask("\\clear") == zh.CLEARED
    reply.ask("我叫什么？")
    assert "小明" not in json.dumps(cloud.openai_api.asked[-1], ensure_ascii=False)


@pytest.mark.parametrize("spoiled", [b" ", b"[]", b"{", b'{"model": 7, "prompt": null}', b'{"model": "x"}', b"\xff"])
def test_spoiled_choices_are_no_choices(two: Reply, cloud: LocalCloud, spoiled: bytes) -> None:
    """Somebody edited the object: the person is answered as if nothing was chosen."""
    two.ask("\\model 2")
    (key,) = choices(cloud)
    cloud.oss.write(key, spoiled)
    assert two.ask("1+1=?") == "1+1=2"
    assert asked_model(cloud) == "gpt-6-luna"


def test_choices_that_somebody_deleted_are_no_choices(two: Reply, cloud: LocalCloud) -> None:
    """As a lifecycle rule may."""
    two.ask("\\model 2")
    (key,) = choices(cloud)
    cloud.oss.buckets["example-bucket"].objects.pop(key)
    assert two.ask("1+1=?") == "1+1=2"
