"""ChatGPT and what is compatible with it: refusals, answers, how often it is asked, what the log tells."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot import VERSION
from bot.sentences import zh
from tests.helpers import JSON, Clock, Reply, write_turns
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.odd_answers import ODD_ANSWERS
from tests.stand_ins.openai_api import field_cases
from tests.stand_ins.openai_errors import ERRORS
from tests.stand_ins.server import Fault

RETRIED = ("busy", "down")
REFUSALS = field_cases("model_errors")
FIRST_OF_CAUSE = {case["cause"]: case["id"] for case in reversed(REFUSALS)}  # the others: see test_causes.py
EACH_CAUSE_OR_ALL = [
    pytest.param(case, id=case["id"], marks=[] if case["id"] == FIRST_OF_CAUSE[case["cause"]] else pytest.mark.full)
    for case in REFUSALS
]


def case_id(case: dict[str, Any]) -> str:
    return str(case["id"])


def error(**fields: Any) -> str:
    return json.dumps({"error": fields})


def completion(finish_reason: str = "stop", **message: Any) -> str:
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **message}}
    return json.dumps({"choices": [choice]})


def sentence_of(text: str) -> str:
    """What is said of a failure, without the service's own words below it."""
    return text.partition("\n")[0]


def answer_to(reply: Reply, cloud: LocalCloud, body: str, status: int = 200) -> str:
    """What the chat shows when ChatGPT sends this body."""
    cloud.openai_api.plan(Fault(status=status, body=body))
    return reply.ask("1+1=?")


# --- refusals ---


@pytest.mark.parametrize("case", EACH_CAUSE_OR_ALL)
def test_reported_refusal_is_one_sentence_by_its_cause(
    reply: Reply, cloud: LocalCloud, clock: Clock, case: dict[str, Any]
) -> None:
    """What a service says decides, not its status; only what may pass is tried again."""
    cause = case["cause"]
    cloud.openai_api.play(case, times=3)
    message = cloud.dingtalk.message("1+1=?")
    assert reply.run(message)["result"] == f"failed: {cause}"
    (shown,) = cloud.dingtalk.shown(message)
    assert sentence_of(shown.text) == zh.FAILURES[cause]
    assert len(cloud.openai_api.received) == (3 if cause in RETRIED else 1)


@pytest.mark.parametrize("case", [case for case in REFUSALS if case["cause"] == "long"], ids=case_id)
def test_reported_refusal_of_a_long_conversation_is_asked_with_less(
    reply: Reply, cloud: LocalCloud, case: dict[str, Any]
) -> None:
    """Each service has its own words for "too long"."""
    message = cloud.dingtalk.message("1+1=?")
    write_turns(cloud, message, 4)
    cloud.openai_api.play(case)
    assert reply.run(message)["result"] == "answered"
    assert len(cloud.openai_api.asked[0]["messages"]) == 5  # two turns and the question


CAUSE_OF_ERROR = {
    "invalid_api_key": "key",
    "unsupported_country_region_territory": "region",
    "model_not_found": "model",
    "insufficient_quota": "balance",
    "credit_balance_exhausted": "balance",
    "organization_spend_limit_exceeded": "balance",
    "project_spend_limit_exceeded": "balance",
    "organization_usage_limit_exceeded": "balance",
    "rate_limit_exceeded": "busy",
    "context_length_exceeded": "long",
    "content_filter": "filtered",
    "unsupported_parameter": "options",
    "unsupported_value": "options",
    "server_error": "down",
    "overloaded": "busy",
    "bad_gateway": "down",
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_of_chatgpt_is_one_sentence_by_its_cause(
    reply: Reply, cloud: LocalCloud, clock: Clock, name: str
) -> None:
    """Each error has its own sentence; the raw error is nowhere; what was not answered is no turn."""
    cause = CAUSE_OF_ERROR[name]
    cloud.openai_api.fail_next(name, times=3)
    message = cloud.dingtalk.message("1+1=?")
    assert reply.run(message)["result"] == f"failed: {cause}"
    assert sentence_of(cloud.dingtalk.shown(message)[0].text) == zh.FAILURES[cause]
    assert len(cloud.openai_api.received) == (3 if cause in RETRIED else 1)
    assert [line.get("question") for line in cloud.journal(message)] == [None, None]


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        # shapes that no reported case has, and bodies of which only the status is understood
        (400, '"余额不足"', "balance"),
        (400, '["余额不足"]', "balance"),
        (400, error(message="x", code=["list"]), "options"),
        (400, "", "options"),
        (401, "", "address"),
        (402, "{}", "balance"),
        (403, json.dumps({"code": 30001, "message": "x", "data": None}), "forbidden"),
        (404, "null", "address"),
        (413, "<html>nginx</html>", "long"),
        (418, "[]", "options"),
        (429, "[[[[", "busy"),
        (400, "[" * 100_000, "options"),
        (400, error(message="a" * 200_000), "options"),
        (400, error(message="upstream", detail=error(message=error(message="余额不足"))), "balance"),
        (200, json.dumps({"code": 401, "message": "x"}), "key"),
        (200, "Api key is invalid", "key"),
        (200, "<html>余额不足</html>", "strange"),
        (400, error(message="Failed to download the image"), "picture"),
        (408, error(message="Request timed out"), "down"),
        (504, "upstream request timeout", "down"),
    ],
)  # fmt: skip
def test_refusal_of_any_shape_is_one_sentence(
    reply: Reply, cloud: LocalCloud, clock: Clock, status: int, body: str, cause: str
) -> None:
    """Services that are compatible with OpenAI's differ most where they refuse."""
    cloud.openai_api.plan(Fault(status=status, body=body, times=3))
    assert sentence_of(reply.ask("1+1=?")) == zh.FAILURES[cause]


QUOTED_INPUT = {"detail": [{"loc": ["body"], "msg": "field required", "type": "missing", "input": {"a": "余额不足"}}]}


def test_question_quoted_by_the_service_does_not_decide_the_cause(reply: Reply, cloud: LocalCloud) -> None:
    """FastAPI repeats what it got: a person's words are no words of the service."""
    shown = answer_to(reply, cloud, json.dumps(QUOTED_INPUT), status=422)
    assert sentence_of(shown) == zh.FAILURES["options"]


# --- what the log tells ---


def test_code_and_type_stand_in_the_log(reply: Reply, cloud: LocalCloud, caplog: Any) -> None:
    """So that the deployer can look them up at the service."""
    cloud.openai_api.plan(Fault(status=400, body=error(code="invalid_parameter_error", type="BadRequest", message="x")))
    reply.ask("1+1=?")
    assert "HTTP 400, invalid_parameter_error BadRequest" in caplog.text


PRIVATE = (
    "confidential",  # the question, in one word
    "sk-example",  # the key
    "sk-proj-abcdefgh",
    "8f14e45fceea167a5a36dedd4bea2543",
    "AKIDz8krbsJ5yKBZQpn74WFkmLPx3",
    "13800138000",
    "10.0.0.1:8080",
    "gateway.example.com",
    "a b",
    "机密",
    "x" * 61,
)


@pytest.mark.parametrize("word", PRIVATE)
@pytest.mark.parametrize("status", [200, 400])
def test_nothing_private_reaches_the_log_as_a_code(
    reply: Reply, cloud: LocalCloud, clock: Clock, caplog: Any, status: int, word: str
) -> None:
    """Services quote prompts and keys, and not only in messages."""
    reply.environment["HISTORY_LENGTH"] = "0"
    body = error(code=word, type=word, message=word, status=word, param=word)
    cloud.openai_api.plan(Fault(status=status, body=body, headers=(("x-request-id", f"{word} {word}"),), times=3))
    reply.ask("confidential")
    assert word not in caplog.text


@given(code=st.text(max_size=80) | st.integers(), name=st.sampled_from(["code", "type", "status"]))
@example(code="insufficient_quota", name="code")
def test_any_code_leaves_one_plain_line(
    reply: Reply, cloud: LocalCloud, clock: Clock, caplog: Any, code: Any, name: str
) -> None:
    """Neither line breaks nor colours nor a long text get in."""
    caplog.clear()
    cloud.openai_api.reset()  # an example may have left faults over
    cloud.openai_api.plan(Fault(status=400, body=error(**{name: code}), times=3))
    reply.run(cloud.dingtalk.message("1+1=?"))
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert re.fullmatch(r"[^:]+: ChatGPT[a-z ]+: \w+ \(HTTP 400, [\w.: -]{1,62}, its request unknown\)", line)


SAID = (
    "bad: sk-example sk-proj-abcdefgh12345678 Bearer abc at http://127.0.0.1:1/v1 or gateway.example.com for account "
    "21001234567 of org-abc123: 机密的问题是什么？ 早先的机密 and early secrets of mine"
)


@pytest.mark.parametrize("case", [case for case in REFUSALS if case["id"] in FIRST_OF_CAUSE.values()], ids=case_id)
def test_no_secret_is_in_the_chat_or_the_log(
    reply: Reply, cloud: LocalCloud, clock: Clock, caplog: Any, case: dict[str, Any]
) -> None:
    """For each cause, with a history, whatever the service repeats."""
    message = cloud.dingtalk.message("机密的问题是什么？")
    write_turns(cloud, message, 1, answer="早先的机密 and early secrets of mine")
    words = [text for text in texts_in(case["body"]) if " " in text]
    body = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"], ensure_ascii=False)
    for text in words[:1]:
        body = body.replace(json.dumps(text, ensure_ascii=False)[1:-1], f"{text} {SAID}")
    cloud.openai_api.plan(Fault(status=case["status"], body=body, times=3))
    reply.run(message)
    told = " ".join(part.text for part in cloud.dingtalk.shown(message)) + caplog.text
    for secret in ("sk-", "Bearer abc", "127.0.0.1:1", "gateway", "21001234567", "abc123", "机密", "secrets"):
        assert secret not in told


def texts_in(value: Any) -> list[str]:
    """All texts of a JSON value."""
    if isinstance(value, (dict, list)):
        return [text for part in (value.values() if isinstance(value, dict) else value) for text in texts_in(part)]
    return [value] if isinstance(value, str) else []


def test_words_of_the_service_stand_below_the_sentence(reply: Reply, cloud: LocalCloud) -> None:
    """A guess from words can be wrong: so the person can see what it was made from."""
    cloud.openai_api.plan(Fault(status=400, body=error(message="parameter.enable_thinking must be false")))
    witness = zh.SERVICE_SAID.format(said="parameter.enable_thinking must be false")
    assert reply.ask("1+1=?") == f"{zh.FAILURES['options']}\n{witness}"


# --- answers ---


@pytest.mark.parametrize("case", field_cases("model_answers"), ids=case_id)
def test_reported_answer_is_shown_as_its_words(
    reply: Reply, cloud: LocalCloud, clock: Clock, case: dict[str, Any]
) -> None:
    """Thoughts are left out, parts are joined, an answer that was cut off says so."""
    cloud.openai_api.play(case, times=3)
    shown, wanted = reply.ask("1+1=?"), case["shown"]
    assert re.search(wanted[3:], shown) if wanted.startswith("re:") else shown == wanted


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("<think>先想想\n再想想</think>\n\n答案是二", "答案是二"),
        ("先想想</think>答案是二", "答案是二"),
        ("\n<think>答案是二</think>\n标签 <think> 是什么", "标签 <think> 是什么"),
        ("标签 <think> 是什么", "标签 <think> 是什么"),
        ("先写 `<think>推理</think>`，再回答", "先写 `<think>推理</think>`，再回答"),
        ("```xml\n<think>推理</think>\n```\n如上", "```xml\n<think>推理</think>\n```\n如上"),
        ("<THINK>想</Think>答", "答"),
        ("<seed:think>想</seed:think>答", "答"),
        ('<thinking mode="x">想</thinking>答', "答"),
        ("<reasoning>想</reasoning>\n\n答", "答"),
        ("<analysis>想</analysis>\n<reflection>再想</reflection>\n答", "答"),
        ("<analysis>这是要的 XML</analysis>", "<analysis>这是要的 XML</analysis>"),
        ("好的。\n<analysis>这是要的 XML</analysis>", "好的。\n<analysis>这是要的 XML</analysis>"),
        ("<think>一</think>\n<think>二</think>答", "答"),
        ("好的。\n<think>想</think>\n答", "好的。\n\n答"),
        ("<think>用 `</think>` 结束</think>答", "答"),
        ("<think>\n```\n没有结束的代码\n</think>\n答", "答"),
        ("<think>想</think><answer>答</answer>", "答"),
        ("\ufeff<think>想</think>\u200b答", "答"),
        ("<|begin_of_thought|>想<|end_of_thought|>答", "答"),
        ("<|START_THINKING|>想<|END_THINKING|>答", "答"),
        ("分析 analysis 和 assistantfinal", "分析 analysis 和 assistantfinal"),
    ],
)
def test_thoughts_are_not_shown(reply: Reply, cloud: LocalCloud, answer: str, shown: str) -> None:
    """What a reasoning model thinks is neither shown nor remembered; what it says about the tags is."""
    cloud.openai_api.answer_next(answer)
    message = cloud.dingtalk.message("1+1=?")
    reply.run(message)
    assert cloud.dingtalk.shown(message)[0].text == shown
    assert cloud.journal(message)[0]["answer"] == shown


@pytest.mark.parametrize(
    ("answer", "cause"), [("<think>没想完", "thoughts"), ("<think>想完了</think>\n", "thoughts"), (" \n", "empty")]
)
def test_answer_without_words_says_why(reply: Reply, cloud: LocalCloud, answer: str, cause: str) -> None:
    """Also when the thoughts were cut off."""
    cloud.openai_api.answer_next(answer)
    assert sentence_of(reply.ask("1+1=?")) == zh.FAILURES[cause]


@pytest.mark.parametrize(
    "text", ["<think>" * 20_000, "`<think> ``" * 20_000, "</think>\n<think>\n" * 20_000, "> " * 90_000 + "<think>"]
)
def test_hostile_thoughts_are_read_in_time(reply: Reply, text: str) -> None:
    """The time grows with the length only."""
    started = time.process_time()
    reply.module.without_thoughts(text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ({"content": None, "refusal": "我不能帮你做这件事。"}, "我不能帮你做这件事。"),
        ({"content": [{"type": "text", "text": "答"}, {"type": "image_url"}, "案", 5]}, "答案"),
        ({"content": [{"type": "reasoning", "text": "想"}, {"type": "text", "text": {"value": "答案"}}]}, "答案"),
        ({"content": [{"text": "想", "thought": True}, {"text": "答案"}]}, "答案"),
    ],
)  # fmt: skip
def test_words_are_found_in_every_form_of_a_message(
    reply: Reply, cloud: LocalCloud, message: dict[str, Any], shown: str
) -> None:
    """A refusal of the model, parts of several kinds; what is no text is left out."""
    assert answer_to(reply, cloud, completion(**message)) == shown


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"text": "答案", "finish_reason": "stop"}]},
        {"output_text": "答案"},
        {"output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": [{"text": "答案"}]}]},
    ],
)
def test_answer_of_another_interface_is_read(reply: Reply, cloud: LocalCloud, body: dict[str, Any]) -> None:
    """Legacy completions, and responses."""
    assert answer_to(reply, cloud, json.dumps(body)) == "答案"


CAUSE_OF_ODD_ANSWER = {
    "null_content": "filtered",
    "empty_content": "empty",
    "no_choices": "empty",
    "error_in_200": "down",
    "broken_json": "down",
}


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_answer_that_the_api_does_not_promise_is_told(reply: Reply, cloud: LocalCloud, clock: Clock, name: str) -> None:
    """An HTTP 200 that is no chat completion is a failure with a sentence; it is asked again only if it may pass."""
    cause = CAUSE_OF_ODD_ANSWER.get(name, "strange")
    cloud.openai_api.fail_next(name, times=3)
    assert sentence_of(reply.ask("1+1=?")) == zh.FAILURES[cause]
    assert len(cloud.openai_api.received) == (3 if cause in RETRIED else 1)


CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "message": st.fixed_dictionaries({}, optional={"content": JSON, "refusal": JSON, "reasoning_content": JSON}),
        "finish_reason": JSON,
        "error": JSON,
    },
)
BODY = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("error", "code", "type", "message", "detail", "base_resp", "output"), JSON)
)


SECRETS = ("sk-example", "127.0.0.1:", "机密的问题", "早先的机密")
BODIES = (
    (JSON | BODY | BODY.map(lambda body: {"error": body}) | st.fixed_dictionaries({"choices": st.lists(CHOICE)}))
    .map(json.dumps) | st.text() | st.binary()
)  # fmt: skip


@given(
    body=BODIES,
    status=st.sampled_from([200, 200, 302, 400, 401, 403, 404, 409, 413, 422, 451, 499]),
    content_type=st.sampled_from(["application/json", "text/event-stream", "text/html", "", "a/b; charset=utf-16"]),
    encoding=st.sampled_from(["", "", "gzip", "br"]),
    quoted=st.booleans(),
)
def test_any_answer_of_the_api_is_survived(
    reply: Reply,
    cloud: LocalCloud,
    caplog: Any,
    body: bytes | str,
    status: int,
    content_type: str,
    encoding: str,
    quoted: bool,
) -> None:
    """The person gets an answer or one true sentence, once; nothing of theirs, and no key, is in it or in the log."""
    caplog.clear()
    cloud.openai_api.reset()
    if quoted:
        quotation = " ".join([*SECRETS, cloud.openai_api.url])
        body = body + quotation.encode() if isinstance(body, bytes) else body + quotation
    headers = (("Content-Type", content_type), *([("Content-Encoding", encoding)] if encoding else []))
    cloud.openai_api.plan(Fault(status=status, body=body, headers=headers, times=3))
    message = cloud.dingtalk.message("机密的问题是什么？")
    write_turns(cloud, message, 1, "早先的机密")
    result = reply.run(message)["result"]
    (shown,) = [part.text for part in cloud.dingtalk.shown(message)]
    assert result == "answered" or sentence_of(shown) == zh.FAILURES[result.removeprefix("failed: ")]
    told = caplog.text if result == "answered" else shown + caplog.text
    assert not [secret for secret in SECRETS if secret in told]


# --- how often it is asked ---


@pytest.mark.parametrize(("times", "answered"), [(1, True), (2, True), (3, False)])
def test_passing_error_is_tried_again(
    reply: Reply, cloud: LocalCloud, clock: Clock, times: int, answered: bool
) -> None:
    """Three tries in all, with pauses in between."""
    cloud.openai_api.fail_next("overloaded", times=times)
    assert (reply.ask("1+1=?") == "1+1=2") == answered
    assert clock.slept == [0.5, 2][:times]


@pytest.mark.parametrize(("retry_after", "tries"), [("3", 2), ("600", 1), ("soon", 2), ("9" * 5000, 2)])
def test_retry_after_is_kept_if_there_is_time(
    reply: Reply, cloud: LocalCloud, clock: Clock, retry_after: str, tries: int
) -> None:
    """A wait that TIMEOUT does not allow ends the tries at once, and the cause is still: too often."""
    cloud.openai_api.fail_next("rate_limit_exceeded", retry_after=retry_after)
    text = reply.ask("1+1=?")
    assert text == ("1+1=2" if tries == 2 else zh.FAILURES["busy"])
    assert len(cloud.openai_api.received) == tries
    assert clock.slept == {"3": [3], "600": []}.get(retry_after, [0.5])


@pytest.mark.parametrize("fault", [Fault(delay=5), Fault(byte_seconds=0.2)])
def test_slow_chatgpt_ends_at_the_time_out(reply: Reply, cloud: LocalCloud, fault: Fault) -> None:
    """TIMEOUT counts in all: no answer at all, and an answer of a byte now and then."""
    reply.environment["TIMEOUT"] = "1"
    cloud.openai_api.plan(fault)
    started = time.monotonic()
    assert reply.ask("1+1=?") == zh.FAILURES["timeout"]
    assert time.monotonic() - started < 4  # far from the 5 s and more that the answer takes
    assert reply.ask("1+1=?") == "1+1=2"


def test_time_out_of_the_function_is_kept_too(reply: Reply, cloud: LocalCloud) -> None:
    """With the console's short time-out of the function the person gets a sentence, not silence."""
    reply.context_changes["timeout"] = 6
    cloud.openai_api.plan(Fault(delay=5))
    assert reply.ask("1+1=?") == zh.FAILURES["timeout"]


def test_unreachable_chatgpt_is_a_matter_of_the_network(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """Nobody listens at CHATGPT_BASE_URL."""
    cloud.openai_api.stop()
    assert reply.ask("1+1=?") == zh.FAILURES["network"]
    assert clock.slept == [0.5, 2]


@pytest.mark.parametrize(
    ("times", "questions"),
    [(1, ["问题 4", "问题 5", "问题 6", "你好"]), (2, ["你好"])],
)
def test_conversation_that_is_too_long_is_shortened(
    reply: Reply, cloud: LocalCloud, clock: Clock, times: int, questions: list[str]
) -> None:
    """The older half is left out, then all of it: the third try, which is the last, should not fail for the history."""
    message = cloud.dingtalk.message("你好")
    write_turns(cloud, message, 7)
    cloud.openai_api.fail_next("context_length_exceeded", times=times)
    reply.run(message)
    asked = [part["content"] for part in cloud.openai_api.asked[0]["messages"] if part["role"] == "user"]
    assert asked == questions
    assert clock.slept == []


def test_question_that_is_too_long_by_itself_is_told(reply: Reply, cloud: LocalCloud) -> None:
    """When there is nothing left to drop, the person can shorten it."""
    message = cloud.dingtalk.message("你好")
    write_turns(cloud, message, 3)
    cloud.openai_api.fail_next("context_length_exceeded", times=3)
    reply.run(message)
    assert cloud.dingtalk.shown(message)[0].text == zh.FAILURES["long"]
    assert len(cloud.openai_api.received) == 3


def test_three_tries_are_all_whatever_they_are_for(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """An overload and a conversation that is too long share them."""
    message = cloud.dingtalk.message("你好")
    write_turns(cloud, message, 4)
    for name in ("overloaded", "context_length_exceeded", "overloaded"):
        cloud.openai_api.fail_next(name)
    assert reply.run(message)["result"] == "failed: busy"
    assert (len(cloud.openai_api.received), clock.slept) == (3, [0.5])


@pytest.mark.parametrize(("times", "asked", "answered"), [(1, 2, True), (3, 2, False)])
@pytest.mark.parametrize("status", [200, 400, 422])
def test_refusal_that_is_not_understood_is_asked_once_with_less(
    reply: Reply, cloud: LocalCloud, status: int, times: int, asked: int, answered: bool
) -> None:
    """It may be one more way to say "too long"."""
    message = cloud.dingtalk.message("你好")
    write_turns(cloud, message, 4)
    cloud.openai_api.plan(Fault(status=status, body=error(message="装不下了", code="E42"), times=times))
    result = reply.run(message)["result"]
    assert result == ("answered" if answered else "failed: strange" if status == 200 else "failed: options")
    assert len(cloud.openai_api.received) == asked
    assert len(json.loads(cloud.openai_api.received[1].body)["messages"]) == 5


@pytest.mark.parametrize("case", ["E15", "E20", "E21", "E32", "E01", "E39"])
def test_refusal_that_is_understood_is_asked_once(reply: Reply, cloud: LocalCloud, case: str) -> None:
    """With a history too: leaving some of it out would change nothing."""
    message = cloud.dingtalk.message("你好")
    write_turns(cloud, message, 4)
    cloud.openai_api.play(next(refusal for refusal in REFUSALS if refusal["id"] == case), times=3)
    reply.run(message)
    assert len(cloud.openai_api.received) == 1


# --- the request ---


def test_system_prompt_and_options_reach_the_model(reply: Reply, cloud: LocalCloud) -> None:
    """SYSTEM_PROMPT comes first; CHATGPT_OPTIONS is added to the request; nothing else is."""
    reply.environment.update(
        SYSTEM_PROMPT="你是猫。", CHATGPT_OPTIONS='{"reasoning_effort": "low"}', CHATGPT_MODEL="gpt-6-sol"
    )
    reply.ask("你好")
    (asked,) = cloud.openai_api.asked
    assert asked == {
        "model": "gpt-6-sol",
        "messages": [{"role": "system", "content": "你是猫。"}, {"role": "user", "content": "你好"}],
        "reasoning_effort": "low",
        "stream": False,
    }


def test_options_that_cannot_be_sent_are_told(reply: Reply, cloud: LocalCloud) -> None:
    """JSON as Python reads it knows NaN; JSON as services read it does not."""
    reply.environment["CHATGPT_OPTIONS"] = '{"temperature": NaN}'
    assert "CHATGPT_OPTIONS" in reply.ask("1+1=?")
    assert not cloud.openai_api.received


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_base_url_is_taken_in_every_form(reply: Reply, cloud: LocalCloud, ending: str) -> None:
    """With or without /v1 or a trailing slash."""
    reply.environment["CHATGPT_BASE_URL"] = cloud.openai_api.url + ending
    assert reply.ask("1+1=?") == "1+1=2"


@pytest.mark.parametrize("path", ["/api/v3", "/api/paas/v4", "/v1beta/openai"])
def test_base_url_with_another_version_is_left_alone(reply: Reply, path: str) -> None:
    """Other services number their versions in their own way."""
    client = reply.module.openai_client("sk-example", "https://example.com" + path)
    assert str(client.base_url) == f"https://example.com{path}/"


def test_address_of_the_interface_itself_is_taken_as_it_is(reply: Reply, cloud: LocalCloud) -> None:
    """The only way to a service that has no version in its address."""
    reply.environment["CHATGPT_BASE_URL"] = cloud.openai_api.url + "/ai/chat/completions"
    reply.ask("1+1=?")
    assert cloud.openai_api.received[-1].path == "/ai/chat/completions"


def test_request_tells_nothing_of_the_package_that_sends_it(reply: Reply, cloud: LocalCloud) -> None:
    """Firewalls of services and relays refuse OpenAI/Python and its headers; a body is packed as we can unpack it."""
    reply.ask("你好")
    headers = {name.lower(): value for name, value in cloud.openai_api.received[-1].headers.items()}
    assert headers["user-agent"] == f"dingtalk-chatgpt/{VERSION}"
    assert headers["accept-encoding"] == "gzip, deflate"
    assert not [name for name in headers if name.startswith("x-stainless")]


# --- what other services do ---


SEEN_OUTCOMES = {
    **dict.fromkeys(["events", "whole_event", "answer_and_done", "wrong_encoding"], "答案是 2"),
    **dict.fromkeys(["box", "answer_tag", "end_mark", "details"], "答案是 2"),
    **dict.fromkeys(["blank_lines", "nothing", "quota_retry_info", "quota_retry_after"], "busy"),
    **dict.fromkeys(["firewall_page", "firewall_text", "firewall_code", "redirect_307", "redirect_308"], "address"),
    **dict.fromkeys(["no_system_role", "no_developer_role"], "options"),
    **dict.fromkeys(["bomb", "endless"], "strange"),
    "tool_call_text": "tools",
    "finish_some_new_reason": "ended",
    **dict.fromkeys(
        ["finish_BLOCKLIST", "finish_SPII", "finish_IMAGE_PROHIBITED_CONTENT", "finish_content_filter"], "filtered"
    ),
    "finish_guardrail_intervened": "filtered",
}


@pytest.mark.parametrize("name", SEEN_OUTCOMES)
def test_what_other_services_send_has_its_outcome(reply: Reply, cloud: LocalCloud, clock: Clock, name: str) -> None:
    """Frames, firewalls, redirects, bodies without end: an answer, or the one sentence that is true."""
    outcome = SEEN_OUTCOMES[name]
    cloud.openai_api.fail_next(name, times=3)
    assert sentence_of(reply.ask("1+1=?")) == zh.FAILURES.get(outcome, outcome)


@pytest.fixture
def any_way(reply: Reply) -> Iterator[None]:
    """What was learnt of a service is forgotten: the others of this process think that they are the first."""
    ways = reply.module.rooms["bot.chatgpt.asking"].ways
    ways.clear()
    yield
    ways.clear()


@pytest.mark.parametrize("name", ["no_system_role", "no_developer_role"])
def test_refused_system_role_is_asked_with_its_words_before_the_first_question(
    reply: Reply, cloud: LocalCloud, any_way: None, name: str
) -> None:
    """And so from then on, without another refusal."""
    reply.environment["SYSTEM_PROMPT"] = "你是猫。"
    cloud.openai_api.fail_next(name)
    message = cloud.dingtalk.message("你好")
    write_turns(cloud, message, 1)
    reply.run(message)
    reply.ask("1+1=?", senderStaffId="another")
    first, second = cloud.openai_api.asked
    assert [part["content"] for part in first["messages"]] == ["你是猫。\n\n问题 0", "好", "你好"]
    assert second["messages"] == [{"role": "user", "content": "你是猫。\n\n1+1=?"}]
    assert len(cloud.openai_api.received) == 3


def test_service_that_only_streams_is_asked_for_a_stream(reply: Reply, cloud: LocalCloud, any_way: None) -> None:
    """Its events are read as well."""
    cloud.openai_api.fail_next("stream_only")
    cloud.openai_api.fail_next("events", times=2)
    assert (reply.ask("1+1=?"), reply.ask("1+1=?")) == ("答案是 2", "答案是 2")
    assert [json.loads(received.body)["stream"] for received in cloud.openai_api.received] == [False, True, True]


def test_refused_role_without_a_system_prompt_is_asked_once(reply: Reply, cloud: LocalCloud) -> None:
    """There is nothing to ask in another way."""
    cloud.openai_api.fail_next("no_system_role", times=3)
    assert sentence_of(reply.ask("1+1=?")) == zh.FAILURES["options"]
    assert len(cloud.openai_api.received) == 1


def test_hint_to_retry_is_kept_whatever_else_is_said(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """A limit of a minute speaks of quotas and of billing."""
    cloud.openai_api.fail_next("quota_retry_info")
    assert reply.ask("1+1=?") == "1+1=2"
    assert clock.slept == [1.1]


# --- the self-check ---


def test_self_check_asks_the_model_with_the_real_options(reply: Reply, cloud: LocalCloud) -> None:
    """One tiny question, as a person's: what it costs is next to nothing."""
    reply.environment.update(SYSTEM_PROMPT="你是猫。", CHATGPT_OPTIONS='{"reasoning_effort": "low"}')
    assert reply.run(b"{}")["ChatGPT"] == "ok"
    (asked,) = cloud.openai_api.asked
    assert asked["reasoning_effort"] == "low"
    assert [part["content"] for part in asked["messages"]] == ["你是猫。", "1+1=?"]
    assert [received.method for received in cloud.openai_api.received] == ["POST"]


def test_self_check_quotes_what_the_service_says(reply: Reply, cloud: LocalCloud) -> None:
    """The option that a service wants stands in its message only."""
    cloud.openai_api.play(next(case for case in REFUSALS if case["id"] == "E21"))
    report = reply.run(b"{}")["ChatGPT"]
    assert "CHATGPT_OPTIONS" in report
    assert "parameter.enable_thinking must be set to false" in report


def test_self_check_quotes_in_short_and_without_the_key(reply: Reply, cloud: LocalCloud) -> None:
    """What a service says may be long, of several lines, and quote the key."""
    said = "bad key sk-example\nor sk-proj-0123456789abcdefghij " + "x y " * 1000
    cloud.openai_api.plan(Fault(status=400, body=error(message=said)))
    report = reply.run(b"{}")["ChatGPT"]
    assert "sk-" not in report
    assert "\n" not in report
    assert len(report) < 400


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (Fault(status=200, body="<html>"), "CHATGPT_BASE_URL"),
        (Fault(status=404, body="<html>"), "CHATGPT_BASE_URL"),
        (Fault(status=200, body=completion(content=None, reasoning_content="想")), "CHATGPT_OPTIONS"),
    ],
)
def test_self_check_says_what_to_change(reply: Reply, cloud: LocalCloud, fault: Fault, hint: str) -> None:
    """A page is no model; thoughts are no answer."""
    cloud.openai_api.plan(fault)
    assert hint in reply.run(b"{}")["ChatGPT"]


def test_options_with_half_a_character_are_told(reply: Reply, cloud: LocalCloud) -> None:
    """Half a surrogate pair is JSON, but no text that a request can hold."""
    reply.environment["CHATGPT_OPTIONS"] = '{"user": "\\ud800"}'
    assert reply.ask("1+1=?") == zh.FAILURES["options"]
    assert not cloud.openai_api.received


def test_history_that_a_service_quotes_after_it_was_left_out_is_not_shown(reply: Reply, cloud: LocalCloud) -> None:
    """What is refused for no reason that is understood is asked again without the history; its words stay private."""
    message = cloud.dingtalk.message("1+1=?")
    write_turns(cloud, message, 1, "早先的机密")
    cloud.openai_api.plan(Fault(status=400, body='{"error": {"message": "早先的机密 is odd"}}', times=3))
    reply.run(message)
    assert len(cloud.openai_api.received) == 2
    assert "早先" not in cloud.dingtalk.shown(message)[0].text


def test_refusal_in_another_encoding_than_it_names_is_no_fault_of_the_options(reply: Reply, cloud: LocalCloud) -> None:
    """It cannot be read; what the deployer set is not to blame."""
    headers = (("Content-Type", "text/plain; charset=utf-16"),)
    cloud.openai_api.plan(Fault(status=400, body=b"abcd", headers=headers, times=3))
    assert sentence_of(reply.ask("1+1=?")) == zh.FAILURES["strange"]
