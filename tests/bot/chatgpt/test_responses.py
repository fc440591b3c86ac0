"""The Responses form: what becomes of a request, and of what services answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bot.chatgpt.answers import read_answer, text_of
from bot.chatgpt.responses import as_completion, in_responses_form, is_response
from tests.stand_ins.local_cloud import ROOT

CASES = {
    case["id"]: case
    for case in map(json.loads, (ROOT / "tests/data/responses.jsonl").read_text(encoding="utf-8").splitlines())
}
PICTURE = "data:image/png;base64,iVBORw0KGgo="


def words_of(completion: dict[str, Any]) -> str:
    return text_of(completion["choices"][0]["message"]["content"]).strip()


def message_of(case: str) -> dict[str, Any]:
    message: dict[str, Any] = as_completion(CASES[case]["body"])["choices"][0]["message"]
    return message


def test_request_keeps_who_said_what_in_its_order() -> None:
    """The system's words too: in `instructions` some services drop them without a word."""
    messages = [
        {"role": "system", "content": "你是猫"},
        {"role": "user", "content": "一"},
        {"role": "assistant", "content": "二"},
        {"role": "user", "content": "三"},
    ]
    request = in_responses_form({"model": "m", "messages": messages, "stream": False})
    assert request == {"model": "m", "input": messages, "stream": False, "store": False}


def test_picture_of_a_question_is_an_input_image() -> None:
    """With its words before it."""
    parts = [{"type": "text", "text": "看"}, {"type": "image_url", "image_url": {"url": PICTURE, "detail": "auto"}}]
    (message,) = in_responses_form({"messages": [{"role": "user", "content": parts}]})["input"]
    assert message["content"] == [
        {"type": "input_text", "text": "看"},
        {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
    ]


def test_option_decides_whether_the_service_keeps_the_answer() -> None:
    """By default it does not."""
    assert in_responses_form({"messages": [], "store": True})["store"] is True


@pytest.mark.parametrize("case", [case for case in CASES if "output" in CASES[case]["body"]])
def test_recorded_answer_is_known_by_what_it_is(case: str) -> None:
    """Not by the address that was asked: a gateway may answer in another form."""
    assert is_response(CASES[case]["body"])


@pytest.mark.parametrize("body", [{"choices": [], "output": []}, {"output": {"text": "x"}}, {"error": {}}, {}])
def test_answer_in_another_form_stays_what_it_is(body: dict[str, Any]) -> None:
    """Model Studio's own form has an `output`, too."""
    assert not is_response(body)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("R01", "你好呀"),
        ("R02", "先看左，再看右。"),
        ("R04", "答案是甲。"),
        ("R05", "第一段。\n\n第二段。"),
        ("R06", "我不能帮你做这件事。"),
        ("R18", "你好呀"),
    ],
)
def test_words_of_a_response_are_those_of_its_messages(case: str, words: str) -> None:
    """Without thoughts and remarks on the way; of several messages all."""
    assert words_of(as_completion(CASES[case]["body"])) == words


@pytest.mark.parametrize(
    ("case", "reason"),
    [("R01", "completed"), ("R07", "max_output_tokens"), ("R09", "content_filter"), ("R11", "failed")],
)
def test_reason_of_the_end_is_kept(case: str, reason: str) -> None:
    """Why it is incomplete, or else its status: an answer's end is told by what its reason is made of."""
    assert as_completion(CASES[case]["body"])["choices"][0]["finish_reason"] == reason


def test_failure_keeps_what_the_service_says() -> None:
    """The cause is found in it."""
    assert as_completion(CASES["R12"]["body"])["error"]["code"] == "rate_limit_exceeded"


def test_response_without_words_tells_why() -> None:
    """It was only thought, or something is called that nobody carries out, or a picture is all."""
    assert message_of("R08")["reasoning"] and not message_of("R08")["tool_calls"]
    assert message_of("R14")["tool_calls"]
    assert message_of("R13")["images"][0].startswith("iVBORw0KGgo")
    assert not any(message_of("R17").values())


def test_tokens_of_a_response_are_counted() -> None:
    """For the log; they have other names."""
    assert read_answer(json.dumps(CASES["R01"]["body"]).encode()).tokens == "11 + 5 tokens"


@pytest.mark.parametrize(
    "body",
    [
        {"output": None, "object": "response"},
        {"output": [None, 1, "x", {"type": 5}, {"content": None}, {"content": 7}, {"content": [None, 3, {}]}]},
        {"output": [{"type": "web_search_call", "action": "x"}], "usage": 3, "incomplete_details": "x"},
    ],
)
def test_response_of_other_types_has_no_words(body: dict[str, Any]) -> None:
    """Nothing is taken for granted of what comes from outside."""
    assert words_of(as_completion(body)) == ""
