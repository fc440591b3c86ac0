"""The Responses API of the local OpenAI API, driven by the real SDK and judged by its types."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests
from openai.types.responses import Response

from tests.stand_ins.openai_api import OpenaiApi
from tests.stand_ins.openai_pictures import NO_VISION, SIGNATURES
from tests.stand_ins.openai_responses import tool_types
from tests.stand_ins.response_bodies import (
    citation,
    message_item,
    picture_item,
    reasoning_item,
    response_body,
    search_item,
    text_part,
)

KEY = "sk-example"
SEARCH: dict[str, Any] = {"type": "web_search"}
PAINT: dict[str, Any] = {"type": "image_generation"}
ONE_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def running() -> Iterator[OpenaiApi]:
    with OpenaiApi() as api:
        yield api


@pytest.fixture
def api(running: OpenaiApi) -> OpenaiApi:
    """One server for all tests, with nothing left of the test before."""
    running.reset()
    return running


@pytest.fixture(scope="module")
def client(running: OpenaiApi) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=running.base_url, max_retries=0, timeout=5) as client:
        yield client


def ask(client: openai.OpenAI, *texts: str, **more: Any) -> Any:
    """The response to the last of `texts`, which alternate between user and assistant, as a bot sends them."""
    said = [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]
    return client.responses.create(**{"model": "gpt-6-luna", "input": said, "store": False, **more})


def post(api: OpenaiApi, changes: dict[str, Any], key: str = KEY, **how: Any) -> requests.Response:
    """A valid question with one thing spoiled; ... leaves one out."""
    body = {"model": "gpt-6-luna", "input": "你好", "store": False, **changes}
    how.setdefault("json", {name: value for name, value in body.items() if value is not ...})
    return requests.post(api.base_url + "/responses", headers={"Authorization": f"Bearer {key}"}, timeout=5, **how)


def strictly(body: dict[str, Any]) -> Response:
    """What the openai package makes of a response if it overlooks nothing."""
    return Response.model_validate_json(json.dumps(body), strict=True)


# -- what is answered -------------------------------------------------------------------------------------------------

# Of a response of October 2026 that pydantic-ai recorded
KEYS = """
    id object created_at status access_programs background billing completed_at error frequency_penalty
    incomplete_details instructions max_output_tokens max_tool_calls model moderation output parallel_tool_calls
    presence_penalty previous_response_id prompt_cache_key prompt_cache_options prompt_cache_retention reasoning
    safety_identifier service_tier store temperature text tool_choice tool_usage tools top_logprobs top_p truncation
    usage user metadata
"""
ITEM_KEYS = {
    "reasoning": "id type content encrypted_content summary",
    "web_search_call": "id type status action",
    "image_generation_call": "id type status action background output_format quality result revised_prompt size",
    "message": "id type status content phase role",
}


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, ["reasoning", "message"]),
        ({"reasoning": {"effort": "none"}}, ["message"]),
        ({"input": "搜索 Python 3.14", "tools": [SEARCH]}, ["reasoning", "web_search_call", "message"]),
        ({"input": "画一个圆", "tools": [PAINT]}, ["reasoning", "image_generation_call", "message"]),
        ({"input": "画一个圆", "tools": [SEARCH]}, ["reasoning", "message"]),
        ({"input": "你好", "tools": [SEARCH, PAINT]}, ["reasoning", "message"]),
    ],
    ids=str,
)
def test_response_has_the_keys_of_a_recorded_one(api: OpenaiApi, changes: dict[str, Any], kinds: list[str]) -> None:
    """In their order, and the types of the openai package overlook nothing."""
    body = post(api, changes).json()
    strictly(body)
    assert list(body) == KEYS.split()
    assert [item["type"] for item in body["output"]] == kinds
    assert [list(item) for item in body["output"]] == [ITEM_KEYS[kind].split() for kind in kinds]
    for item in body["output"]:
        assert all(list(part) == ["type", "annotations", "logprobs", "text"] for part in item.get("content", []))
        assert len(item["id"].partition("_")[2]) == len(body["id"].removeprefix("resp_")) == 50


def test_question_is_answered_from_its_history(api: OpenaiApi, client: openai.OpenAI) -> None:
    """As in the other form: nothing is remembered but what is sent along."""
    answer = ask(client, "我叫小明", "你好，小明！", "我叫什么？")
    assert (answer.status, answer.output_text) == ("completed", "你叫小明。")
    assert ask(client, "我叫什么？").output_text == "我还不知道你叫什么，你可以告诉我。"
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_instructions_are_told_when_asked(api: OpenaiApi, client: openai.OpenAI) -> None:
    """Together with messages of the system, and both forms of them."""
    said = [
        {"role": "developer", "content": [{"type": "input_text", "text": "简短些。"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "你是谁？"}]},
    ]
    answer = ask(client, instructions="你是一名中医。", input=said)
    assert answer.output_text == "我的设定是：「你是一名中医。\n简短些。」"


def test_text_alone_is_a_question(api: OpenaiApi, client: openai.OpenAI) -> None:
    """The short form of the input."""
    assert ask(client, input="1+1=?").output_text == "1+1=2"


def test_output_of_an_earlier_response_is_taken_back(api: OpenaiApi, client: openai.OpenAI) -> None:
    """Who keeps the history sends the items as they came."""
    first = post(api, {"input": "我叫小明"}).json()["output"]
    said = [{"role": "user", "content": "我叫小明"}, *first, {"role": "user", "content": "我叫什么？"}]
    assert ask(client, input=said).output_text == "你叫小明。"


def test_source_of_an_answer_stands_where_the_annotation_says(api: OpenaiApi, client: openai.OpenAI) -> None:
    """OpenAI's models write the link into the text, too."""
    answer = ask(client, "查一查 Python 3.14 的新闻", tools=[SEARCH], include=["web_search_call.action.sources"])
    _, search, message = answer.output
    (source,) = message.content[0].annotations
    assert answer.output_text[source.start_index : source.end_index] == f"([docs.python.org]({source.url}))"
    assert source.url == search.action.sources[0].url
    assert (search.action.query, answer.tool_usage.web_search.num_requests) == ("查一查 Python 3.14 的新闻", 1)


def test_picture_that_was_painted_is_one(api: OpenaiApi, client: openai.OpenAI) -> None:
    """In Base64, beside the words."""
    answer = ask(client, "draw a disc", tools=[PAINT])
    assert base64.b64decode(answer.output[1].result).startswith(SIGNATURES["png"])
    assert answer.output_text == "Here it is."


def test_picture_of_the_question_is_described(api: OpenaiApi) -> None:
    """As in the other form, but the address is a text."""
    parts = [
        {"type": "input_text", "text": "这是什么？"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{ONE_PIXEL}"},
    ]
    body = post(api, {"input": [{"role": "user", "content": parts}]}).json()
    assert (
        body["output"][-1]["content"][0]["text"] == "我看到 1 张图片：PNG，1×1 像素，70 字节。你说的是「这是什么？」。"
    )


def test_answer_is_cut_at_max_output_tokens(api: OpenaiApi, client: openai.OpenAI) -> None:
    """And says so, twice."""
    answer = ask(client, "写一篇长文", max_output_tokens=16)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (answer.output[-1].status, len(answer.output_text), answer.usage.output_tokens) == ("incomplete", 31, 16)
    assert ask(client, "1+1", max_output_tokens=16).status == "completed"


def test_scripted_answer_comes_first(api: OpenaiApi, client: openai.OpenAI) -> None:
    """And the question is on record, as it was sent."""
    api.answer_next("一")
    assert ask(client, "1+1").output_text == "一"
    assert api.asked == [{"model": "gpt-6-luna", "input": [{"role": "user", "content": "1+1"}], "store": False}]


def test_options_stand_in_the_response(api: OpenaiApi) -> None:
    """What was asked for, and what holds where nothing was."""
    body = post(api, {"tools": [SEARCH], "reasoning": {"effort": "low"}, "text": {"verbosity": "low"}}).json()
    assert body["tools"][0]["search_context_size"] == "medium"
    assert (body["reasoning"]["effort"], body["reasoning"]["mode"]) == ("low", "standard")
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert (body["store"], post(api, {"store": ...}).json()["store"]) == (False, True)


def test_each_kind_of_item_passes_the_types() -> None:
    """Those that only planned answers have, too."""
    sourced = text_part("x[1]", [citation("X", "https://x.example", 1, 4)])
    refusal = {"type": "refusal", "refusal": "I can't help with that."}
    output = [reasoning_item(), search_item("x", ["https://x.example"]), message_item([sourced], phase="commentary")]
    output += [picture_item(None, "failed"), message_item([refusal])]
    strictly(response_body({"model": "m"}, output))
    for reason in ("max_output_tokens", "content_filter"):
        strictly(response_body({"model": "m"}, [], incomplete=reason))
    strictly(response_body({"model": "m"}, [], error={"code": "server_error", "message": "sorry"}))


# -- what is refused --------------------------------------------------------------------------------------------------


def message(role: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An input of one message."""
    return {"input": [{"role": role, "content": list(parts), **more}]}


HELLO = {"type": "input_text", "text": "你好"}


def unread(kind: str) -> dict[str, Any]:
    """A message of a person with a part of this kind and nothing in it."""
    return message("user", {"type": kind})


UNKNOWN, MISSING, UNSUPPORTED = "unknown_parameter", "missing_required_parameter", "unsupported_parameter"
VALUE, TYPE, TOO_SMALL = "invalid_value", "invalid_type", "integer_below_min_value"
PART, GONE = "input[0].content[0]", "previous_response_not_found"


# What others saw of the real API; where the code is None it has none, or nobody saw one
@pytest.mark.parametrize(
    ("changes", "param", "code", "words"),
    [
        ({"zzz": 1}, "zzz", UNKNOWN, "Unknown parameter: 'zzz'."),
        ({"stop": ["a"]}, "stop", UNKNOWN, "Unknown parameter: 'stop'."),
        ({"max_tokens": 16}, "max_tokens", UNKNOWN, "Unknown parameter: 'max_tokens'."),
        ({"enable_search": True}, "enable_search", UNKNOWN, "Unknown parameter: 'enable_search'."),
        ({"messages": []}, None, UNSUPPORTED, "In the Responses API, this parameter has moved to 'input'."),
        ({"reasoning_effort": "low"}, "reasoning_effort", UNSUPPORTED, "has moved to 'reasoning.effort'."),
        ({"response_format": {}}, "response_format", UNSUPPORTED, "has moved to 'text.format'."),
        ({"model": ...}, "model", MISSING, "Missing required parameter: 'model'."),
        ({"model": None}, "model", TYPE, "Invalid type for 'model'"),
        ({"model": "gpt-3.5-turbo"}, "model", "model_not_found", "'gpt-3.5-turbo' does not exist."),
        ({"input": ...}, "input", MISSING, "Missing required parameter: 'input'."),
        ({"input": ..., "zzz": 1}, "input", MISSING, "Missing required parameter: 'input'."),
        ({"input": []}, None, MISSING, "must be provided."),
        ({"input": ""}, None, MISSING, "must be provided."),
        ({"input": [], "zzz": 1}, "zzz", UNKNOWN, "Unknown parameter: 'zzz'."),
        ({"input": [], "temperature": 0.5}, None, MISSING, "must be provided."),
        ({"input": {"a": 1}}, "input", TYPE, "expected one of a string or array of input items"),
        ({"input": [7]}, "input[0]", TYPE, "expected an input item"),
        ({"input": [{}]}, "input[0]", VALUE, "Supported values are: 'assistant', 'system', 'developer', and 'user'."),
        ({"input": [{"role": "user"}]}, "input[0].content", MISSING, "Missing required parameter"),
        ({"input": [{"type": "bogus"}]}, "input", None, "Invalid value for 'input'"),
        (message("tool", HELLO), "input[0]", VALUE, "Invalid value: 'tool'."),
        (message("user", HELLO, name="x"), "input[0].name", UNKNOWN, "Unknown parameter"),
        (message("user", HELLO, phase="final_answer"), "input[0].phase", UNKNOWN, "Unknown parameter"),
        (message("assistant", HELLO), PART, VALUE, "Supported values are: 'output_text' and 'refusal'."),
        (unread("text"), f"{PART}.type", VALUE, "Invalid value: 'text'. Supported values are: 'input_text',"),
        (unread("image_url"), f"{PART}.type", VALUE, "Invalid value: 'image_url'."),
        (unread("output_text"), PART, VALUE, "Invalid value: 'output_text'. Supported values are: 'input_text',"),
        (unread("input_text"), f"{PART}.text", MISSING, "Missing required parameter"),
        ({"reasoning": {"effort": "much"}}, "reasoning", VALUE, "Invalid value for 'reasoning'"),
        ({"reasoning": {"effort": "minimal"}}, "reasoning.effort", "unsupported_value", "'high', 'xhigh', and 'max'."),
        ({"reasoning": {"bogus": 1}}, "reasoning.bogus", UNKNOWN, "Unknown parameter"),
        ({"reasoning": "low"}, "reasoning", TYPE, "Invalid value for 'reasoning'"),
        ({"text": {"zzz": 1}}, "text.zzz", UNKNOWN, "Unknown parameter"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format", None, "must contain the word 'json'"),
        ({"temperature": 0.5}, "temperature", None, "'temperature' is not supported with this model."),
        ({"temperature": "hot"}, "temperature", TYPE, "Invalid value for 'temperature'"),
        ({"top_p": 0.5}, "top_p", None, "'top_p' is not supported with this model."),
        ({"top_logprobs": 1}, "top_logprobs", UNSUPPORTED, "logprobs are not supported with reasoning models."),
        ({"tools": [{}]}, "tools[0].type", MISSING, "Missing required parameter"),
        ({"tools": [{"type": "magic"}]}, "tools[0].type", VALUE, "Invalid value: 'magic'."),
        ({"tools": [{"type": "function"}]}, "tools", MISSING, "Invalid value for 'tools'"),
        ({"tools": [{**SEARCH, "search_context_size": "x"}]}, "tools", None, "Invalid value for 'tools'"),
        ({"include": ["bogus.thing"]}, "include", VALUE, "Invalid value for 'include'"),
        ({"truncation": "bogus"}, "truncation", VALUE, "Invalid value for 'truncation'"),
        ({"max_output_tokens": 8}, "max_output_tokens", TOO_SMALL, "Expected a value >= 16, but got 8 instead."),
        ({"max_output_tokens": "x"}, "max_output_tokens", TYPE, "Invalid value for 'max_output_tokens'"),
        ({"max_tool_calls": 0}, "max_tool_calls", TOO_SMALL, "Expected a value >= 1, but got 0 instead."),
        ({"store": "yes"}, "store", TYPE, "Invalid value for 'store'"),
        ({"instructions": {"a": 1}}, "instructions", TYPE, "Invalid value for 'instructions'"),
        ({"background": True}, "background", None, "The stand-in has no background."),
        ({"stream": True}, "stream", None, "Invalid value for 'stream'"),
        ({"previous_response_id": "resp_x"}, "previous_response_id", GONE, "'resp_x' not found."),
    ],
    ids=str,
)
def test_spoiled_request_is_refused_as_the_real_one_was(
    api: OpenaiApi, changes: dict[str, Any], param: str | None, code: str | None, words: str
) -> None:
    """With status 400; nobody pays."""
    answer = post(api, changes)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert words in error["message"]
    assert code is None or error["code"] == code
    assert not api.asked


@pytest.mark.parametrize(
    "changes", [{"conversation": "conv_x"}, {"conversation": {"id": "conv_x"}}, {"prompt": {"id": "pmpt_x"}}], ids=str
)
def test_what_was_kept_is_not_found(api: OpenaiApi, changes: dict[str, Any]) -> None:
    """No conversation and no prompt is stored here."""
    answer = post(api, changes)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.5, "top_p": 0.5, "reasoning": {"effort": "none"}},
        {"temperature": 1, "stream": False, "background": False, "metadata": {"a": "1"}, "truncation": "auto"},
        {"reasoning": {"effort": "max", "summary": "auto"}, "include": ["reasoning.encrypted_content"]},
        {"text": {"format": {"type": "json_object"}}, "input": "用 JSON 回答"},
        {"tools": [{**SEARCH, "filters": {"allowed_domains": ["python.org"]}}, {"type": "web_search_preview"}]},
        {"tools": [PAINT], "tool_choice": "required", "max_output_tokens": 16, "max_tool_calls": 1},
        message("assistant", {"type": "output_text", "text": "好"}, phase="final_answer"),
        message("assistant", {"type": "refusal", "refusal": "no"}),
        message("user", HELLO, type="message", status="completed", id="msg_1"),
    ],
    ids=str,
)
def test_what_the_real_one_takes_is_answered(api: OpenaiApi, changes: dict[str, Any]) -> None:
    """The refusals begin just beyond."""
    answer = post(api, changes)
    assert answer.status_code == 200, answer.text
    strictly(answer.json())


def test_own_tools_of_the_service_are_known() -> None:
    """From the types of the openai package."""
    assert {"web_search", "web_search_preview", "image_generation", "function", "mcp"} <= {*tool_types()}


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:image/png;base64,abc", "invalid_base64_image"),
        (f"data:image/jpeg;base64,{ONE_PIXEL}", "invalid_image_format"),
        ({"url": f"data:image/png;base64,{ONE_PIXEL}"}, "invalid_type"),
    ],
)
def test_what_is_no_picture_is_refused(api: OpenaiApi, url: Any, code: str) -> None:
    """The third is the picture of a chat completion."""
    answer = post(api, message("user", HELLO, {"type": "input_image", "image_url": url}))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_blind_model_refuses_pictures(api: OpenaiApi) -> None:
    """In the words of a service."""
    api.blind = "deepseek"
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{ONE_PIXEL}"}
    assert post(api, message("user", HELLO, picture)).json() == NO_VISION["deepseek"]
    assert post(api, message("user", HELLO)).status_code == 200


@pytest.mark.parametrize(("characters", "status"), [(99, 200), (100, 200), (101, 400)])
def test_conversation_over_the_limit_is_too_long(characters: int, status: int) -> None:
    """The instructions count; unless the service may leave out the beginning."""
    changes = {"instructions": "x" * 50, **message("user", {"type": "input_text", "text": "x" * (characters - 50)})}
    with OpenaiApi(context_characters=100) as api:
        answer = post(api, changes)
        shortened = post(api, {**changes, "truncation": "auto"})
    assert (answer.status_code, shortened.status_code) == (status, 200)
    if status == 400:
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "input")


def test_wrong_key_and_wrong_body_are_refused_as_in_the_other_form(api: OpenaiApi) -> None:
    """Before anything is looked at."""
    assert post(api, {}, key="sk-wrong-0123456789").json()["error"]["code"] == "invalid_api_key"
    assert post(api, {}, json=[]).json()["error"]["message"] == "We could not parse the JSON body of your request."
    assert post(api, {}, json=None, data="{}").json()["error"]["code"] == "unsupported_content_type"


def test_planned_error_meets_the_next_request(api: OpenaiApi, client: openai.OpenAI) -> None:
    """Whatever its form."""
    api.fail_next("rate_limit_exceeded")
    with pytest.raises(openai.RateLimitError):
        ask(client, "你好")
    assert ask(client, "你好").output_text == "你好！有什么可以帮你？"
