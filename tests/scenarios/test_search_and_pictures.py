"""What comes beside the words of an answer, the whole way: sources of a search, pictures, the other form of the API."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from bot.sentences import zh
from tests.helpers import PNG, Clock, Reply, as_new, write_turns
from tests.stand_ins.dingtalk_api import TOKEN_PATH
from tests.stand_ins.dingtalk_media import UPLOAD_PATH, media_error, upload_fault
from tests.stand_ins.local_cloud import REPLY, ROOT, LocalCloud
from tests.stand_ins.openai_pictures import NO_VISION
from tests.stand_ins.server import Fault

DATA = ROOT / "tests/data"
RESPONSES = [json.loads(line) for line in (DATA / "responses.jsonl").read_text(encoding="utf-8").splitlines()]
SOURCES = [json.loads(line) for line in (DATA / "sources.jsonl").read_text(encoding="utf-8").splitlines()]
SEARCH = '{"tools": [{"type": "web_search"}, {"type": "image_generation"}]}'
URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
RETRIED = ("busy", "down")


def case_id(case: dict[str, Any]) -> str:
    return str(case["id"])


@pytest.fixture
def responding(reply: Reply, cloud: LocalCloud) -> Reply:
    """Dingtalk_ChatGPT_Reply that asks in the Responses form."""
    reply.environment["CHATGPT_BASE_URL"] = f"{cloud.openai_api.base_url}/responses"
    return reply


@pytest.fixture
def showing(reply: Reply, cloud: LocalCloud) -> Reply:
    """Dingtalk_ChatGPT_Reply with the application's key."""
    reply.environment.update(cloud.application())
    reply.module.api_tokens.clear()
    return reply


@pytest.fixture
def searching(cloud_of_each_generation: LocalCloud) -> Iterator[LocalCloud]:
    """On either generation, with search, in the Responses form, and with the key."""
    cloud = cloud_of_each_generation
    address = f"{cloud.openai_api.base_url}/responses"
    cloud.redeploy(REPLY, CHATGPT_BASE_URL=address, CHATGPT_OPTIONS=SEARCH, **cloud.application())
    yield from as_new(cloud)
    cloud.redeploy(REPLY)


def plan(cloud: LocalCloud, body: Any, status: int = 200, times: int = 1) -> None:
    cloud.openai_api.plan(Fault(status=status, body=json.dumps(body), times=times))


def completion(**message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


def uploads(cloud: LocalCloud) -> int:
    return [received.path for received in cloud.dingtalk.received].count(UPLOAD_PATH)


# --- the whole way ---


def test_search_is_carried_out_by_the_service(searching: LocalCloud) -> None:
    """On both generations; the page that stands in the words is not named twice."""
    shown = searching.dingtalk.ask("搜一下 Python 的新闻")
    assert shown.count("https://docs.python.org/") == 1
    assert searching.openai_api.asked[0]["tools"][0] == {"type": "web_search"}
    assert searching.openai_api.received[-1].path == "/v1/responses"


def test_picture_that_the_model_made_is_in_the_chat(searching: LocalCloud) -> None:
    """On both generations; later the model sees that there was one."""
    message = searching.dingtalk.message("画一个红色的圆")
    searching.dingtalk.deliver(message)
    (shown,) = searching.dingtalk.wait_shown(1, message)
    (picture,) = searching.dingtalk.pictures(shown)
    assert picture.startswith(b"\x89PNG") and shown.text.startswith("画好了。")
    searching.dingtalk.ask("好看吗？")
    (said,) = [item["content"] for item in searching.openai_api.asked[1]["input"] if item["role"] == "assistant"]
    assert said == "画好了。\n\n[图片]"


# --- the Responses form ---


@pytest.mark.parametrize("case", RESPONSES, ids=case_id)
def test_recorded_response_is_shown_as_its_words(
    responding: Reply, cloud: LocalCloud, clock: Clock, case: dict[str, Any]
) -> None:
    """Or as the sentence of its cause, with the same tries as in the other form."""
    plan(cloud, case["body"], case.get("status", 200), times=3)
    message = cloud.dingtalk.message("1+1=?")
    result = responding.run(message)["result"]
    (shown,) = cloud.dingtalk.shown(message)
    if "cause" in case:
        assert result == f"failed: {case['cause']}"
        assert shown.text.startswith(zh.FAILURES[case["cause"]])
        assert len(cloud.openai_api.received) == (3 if case["cause"] in RETRIED else 1)
    else:
        assert result == "answered"
        pattern = (
            case["shown"].removeprefix("re:") if case["shown"].startswith("re:") else rf"{re.escape(case['shown'])}\Z"
        )
        assert re.search(pattern, shown.text)
        for link in case.get("links", ()):
            assert f"]({link['url']})" in shown.text


def test_request_has_everything_that_a_chat_completion_has(responding: Reply, cloud: LocalCloud) -> None:
    """The system's words, the turns, the question, the options; and the service keeps nothing."""
    responding.environment |= {"SYSTEM_PROMPT": "你是猫", "CHATGPT_OPTIONS": '{"reasoning": {"effort": "low"}}'}
    first = cloud.dingtalk.message("我叫小明")
    responding.run(first)
    assert responding.ask("我叫什么？") == "你叫小明。"
    body = cloud.openai_api.asked[-1]
    assert [(item["role"], item["content"]) for item in body["input"]] == [
        ("system", "你是猫"),
        ("user", "我叫小明"),
        ("assistant", "你好，小明！"),
        ("user", "我叫什么？"),
    ]
    assert (body["store"], body["stream"], body["reasoning"]) == (False, False, {"effort": "low"})


def test_picture_of_a_person_is_seen_in_the_responses_form(
    responding: Reply, showing: Reply, cloud: LocalCloud
) -> None:
    """As input_image."""
    responding.run(cloud.dingtalk.message(kind="picture", picture=PNG))
    words, picture = cloud.openai_api.asked[-1]["input"][-1]["content"]
    assert (words["type"], picture) == ("input_text", {"type": "input_image", "image_url": URL, "detail": "auto"})


def test_model_without_eyes_is_asked_without_the_picture(responding: Reply, showing: Reply, cloud: LocalCloud) -> None:
    """As in the other form: one sentence."""
    cloud.openai_api.blind = next(iter(NO_VISION))
    message = cloud.dingtalk.message(kind="picture", picture=PNG)
    assert responding.run(message)["result"] == "failed: vision"


def test_conversation_that_is_too_long_is_asked_with_less(responding: Reply, cloud: LocalCloud) -> None:
    """As in the other form."""
    message = cloud.dingtalk.message("1+1=?")
    write_turns(cloud, message, 4)
    body = {"error": {"code": "context_length_exceeded", "message": "Your input exceeds the context window."}}
    plan(cloud, body, 400)
    assert responding.run(message)["result"] == "answered"
    assert len(cloud.openai_api.asked[0]["input"]) == 5  # two turns and the question


def test_self_check_asks_in_the_responses_form(responding: Reply, cloud: LocalCloud) -> None:
    """With the options of a real question."""
    responding.environment["CHATGPT_OPTIONS"] = SEARCH
    report = responding.run(b"{}")
    assert "ok" in json.dumps(report, ensure_ascii=False)
    assert cloud.openai_api.received[-1].path == "/v1/responses"
    assert cloud.openai_api.received[-1].status == 200


def test_answer_in_the_responses_form_is_read_wherever_it_was_asked_for(reply: Reply, cloud: LocalCloud) -> None:
    """A gateway may pass on what it got."""
    plan(cloud, RESPONSES[0]["body"])
    assert reply.ask("你好") == "你好呀"


# --- sources ---


@pytest.mark.parametrize("case", [case for case in SOURCES if "times" not in case], ids=case_id)
def test_recorded_sources_stand_below_the_answer(reply: Reply, cloud: LocalCloud, case: dict[str, Any]) -> None:
    """Of nine services, and hostile ones."""
    plan(cloud, case["body"])
    shown = reply.ask("今天怎么样？")
    for link in case["links"]:
        assert f"]({link['url']})" in shown
    assert (zh.SOURCES in shown) is bool(case["links"])
    for text in case.get("not_contains", ()):
        assert text not in shown


def test_sources_are_not_in_the_history(reply: Reply, cloud: LocalCloud) -> None:
    """The model would take them for its own words, and pay for them again."""
    plan(cloud, {**completion(content="明天多云[1]。"), "citations": ["https://weather.example/"]})
    assert "① [weather.example](https://weather.example/)" in reply.ask("明天呢？")
    reply.ask("后天呢？")
    assert cloud.openai_api.asked[-1]["messages"][1] == {"role": "assistant", "content": "明天多云[1]。"}


def test_answer_with_sources_is_sent_again_as_it_was(reply: Reply, cloud: LocalCloud) -> None:
    """Byte for byte, after a run that could not send it."""
    plan(cloud, {**completion(content="明天多云。"), "citations": ["https://weather.example/"]})
    cloud.dingtalk.plan(Fault(status=500, times=3))
    message = cloud.dingtalk.message("明天呢？")
    with pytest.raises(reply.module.NotDelivered):
        reply.run(message)
    reply.run(message)
    (shown,) = cloud.dingtalk.shown(message)
    assert shown.text.endswith(f"{zh.SOURCES}\n- [weather.example](https://weather.example/)")
    assert len(cloud.openai_api.received) == 1


# --- pictures ---


def test_picture_in_the_words_is_shown_where_it_stands(showing: Reply, cloud: LocalCloud) -> None:
    """One upload; the history has only that there was one."""
    plan(cloud, completion(content=f"画好了：\n\n![猫]({URL})\n\n喜欢吗？"))
    message = cloud.dingtalk.message("画一只猫")
    showing.run(message)
    (shown,) = cloud.dingtalk.shown(message)
    assert cloud.dingtalk.pictures(shown) == [PNG]
    before, after = shown.text.split(f"![{zh.PICTURE}](")
    assert before.startswith("画好了：") and after.endswith("喜欢吗？")
    showing.ask("喜欢")
    assert cloud.openai_api.asked[-1]["messages"][1]["content"] == "画好了：\n\n[图片]\n\n喜欢吗？"


def test_picture_beside_no_words_is_an_answer(showing: Reply, cloud: LocalCloud) -> None:
    """It was told as an empty answer."""
    plan(cloud, completion(content="", images=[{"type": "image_url", "image_url": {"url": URL}}]))
    message = cloud.dingtalk.message("画一只猫")
    assert showing.run(message)["result"] == "answered"
    (shown,) = cloud.dingtalk.shown(message)
    assert cloud.dingtalk.pictures(shown) == [PNG]


def test_five_pictures_are_four_and_a_sentence(showing: Reply, cloud: LocalCloud) -> None:
    """Each costs a call."""
    plan(cloud, completion(content=f"五张：{f'![]({URL})' * 5}"))
    message = cloud.dingtalk.message("画五只猫")
    showing.run(message)
    (shown,) = cloud.dingtalk.shown(message)
    assert len(cloud.dingtalk.pictures(shown)) == uploads(cloud) == 4
    assert zh.PICTURES_NOT_SHOWN["unfit"] in shown.text


@pytest.mark.parametrize(
    ("environment", "why"),
    [({"DINGTALK_APP_KEY": None}, "missing"), ({"REPLY_FORMAT": "text"}, "text")],
)
def test_picture_that_cannot_be_shown_is_one_sentence(
    showing: Reply, cloud: LocalCloud, environment: dict[str, str | None], why: str
) -> None:
    """No call, and nothing of it in the chat."""
    for name, value in environment.items():
        showing.environment.pop(name, None)
        showing.environment.update({name: value} if value else {})
    plan(cloud, completion(content=f"画好了：![猫]({URL})"))
    assert showing.ask("画一只猫") == f"画好了：\n\n{zh.NOTE.format(note=zh.PICTURES_NOT_SHOWN[why])}"
    assert uploads(cloud) == 0


def test_picture_that_dingtalk_refuses_is_one_sentence(showing: Reply, cloud: LocalCloud) -> None:
    """The words are shown all the same."""
    plan(cloud, completion(content=f"画好了：![猫]({URL})"))
    cloud.dingtalk.plan(upload_fault(media_error(45009, "接口调用超过限制")))
    assert showing.ask("画一只猫") == f"画好了：\n\n{zh.NOTE.format(note=zh.PICTURES_NOT_SHOWN['failed'])}"


def test_slow_upload_does_not_cost_the_answer(showing: Reply, cloud: LocalCloud) -> None:
    """It has a share of what is left of the run."""
    plan(cloud, completion(content=f"画好了：![猫]({URL})"))
    cloud.dingtalk.plan(Fault(lambda received: received.path == UPLOAD_PATH, delay=20))
    message = cloud.dingtalk.message("画一只猫")
    assert showing.run(message, timeout=12)["result"] == "answered"
    assert zh.PICTURES_NOT_SHOWN["failed"] in cloud.dingtalk.shown(message)[0].text


def test_answer_without_a_picture_asks_for_no_token(showing: Reply, cloud: LocalCloud) -> None:
    """Nothing of all this costs a conversation that does not use it."""
    showing.ask("你好")
    assert [received.path for received in cloud.dingtalk.received if received.path in (UPLOAD_PATH, TOKEN_PATH)] == []
