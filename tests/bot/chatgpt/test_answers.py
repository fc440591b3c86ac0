"""What a completion says: its frame, its words, its end, what templates leave in it."""

from __future__ import annotations

import contextlib
import json
import re
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.chatgpt.answers import Answer, read_answer
from bot.chatgpt.marks import without_marks
from bot.chatgpt.refusals import ModelFailure, Refusal
from bot.sentences import zh


def completion(content: Any, finish_reason: Any = "stop", **message: Any) -> bytes:
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"content": content, **message}}
    return json.dumps({"choices": [choice]}).encode()


def chunk(content: Any, finish_reason: Any = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice], **more})}\n\n"


def cause(body: bytes) -> str:
    with pytest.raises(ModelFailure) as failure:
        read_answer(body)
    return failure.value.cause


# --- the frame ---


@pytest.mark.parametrize(
    "body",
    [
        completion("你好"),
        b"\xef\xbb\xbf" + completion("你好"),
        b"\n\n" + completion("你好") + b"\n\ndata: [DONE]\n\n",
        b"data: " + completion("你好") + b"\n\n",
        json.dumps(json.loads(completion("你好")), indent=2).encode() + b"\ndata: [DONE]",
        (": ping\n\n" + chunk("你") + chunk("好") + chunk(None, "stop") + "data: [DONE]\n\n").encode(),
        (chunk("你") + chunk("好")).replace("data: ", "event: message\r\nid: 1\r\ndata:").encode(),
        (chunk("你") + chunk("好") + chunk("", "stop", usage=None)).replace("\n\n", "\n").encode(),
        b'data: {"type": "response.completed", "response": {"output_text": "\xe4\xbd\xa0\xe5\xa5\xbd"}}\n\n',
    ],
)
def test_answer_is_read_in_every_frame(body: bytes) -> None:
    """Services send events although none were asked for."""
    assert read_answer(body).words == "你好"


def test_chunks_are_one_answer_with_its_end_and_its_tokens() -> None:
    """The usage stands in the last one, which has no choice."""
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    body = chunk("前半") + chunk("句", "length") + f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
    assert read_answer(body.encode()) == Answer("前半句", "3 + 4 tokens", (zh.TOO_SHORT,), unfinished=True)


def test_chunks_of_texts_and_of_parts_are_one_answer() -> None:
    """As Mistral sends them: thoughts in parts, and the words as texts."""
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "想"}]}]
    assert (
        read_answer((chunk(thought) + chunk("你") + chunk([{"type": "text", "text": "好"}])).encode()).words == "你好"
    )
    assert cause((chunk(thought) + chunk("")).encode()) == "thoughts"


def test_thoughts_in_chunks_are_no_words() -> None:
    """They come in a field of their own."""
    body = f"data: {json.dumps({'choices': [{'delta': {'reasoning_content': '想'}}]})}\n\n"
    assert cause(body.encode()) == "thoughts"


@pytest.mark.parametrize("body", [b"", b"\n\n\n", b"data:\n\n", b": ping\n\n", b"data: [DONE]\n\n"])
def test_blank_body_is_a_service_that_is_busy(body: bytes) -> None:
    """It is tried again."""
    assert cause(body) == "busy"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"null", b'"x"', b"words"])
def test_what_is_no_answer_of_a_model_is_a_refusal(body: bytes) -> None:
    """Whose words decide; else it is told that this may be no such service."""
    with pytest.raises(Refusal):
        read_answer(body)


def test_json_that_broke_off_is_tried_again() -> None:
    """The connection or a proxy gave up: the service is one."""
    assert cause(completion("你好")[:-9]) == "down"


def test_json_in_json_has_not_broken_off() -> None:
    """Some gateways pack their error twice: it is read all the same."""
    with pytest.raises(Refusal) as refusal:
        read_answer(json.dumps(json.dumps({"status": 404, "error": "Not Found"})).encode())
    assert refusal.value.codes == ["404"]


def test_many_chunks_take_no_time() -> None:
    """Each of one character."""
    body = ("data: " + json.dumps({"choices": [{"delta": {"content": "字"}}]}) + "\n\n") * 20_000
    started = time.process_time()
    assert len(read_answer(body.encode()).words) == 20_000
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"tool_calls": [{"id": "x"}]}, "tools"),
        ({"function_call": {"name": "x"}}, "tools"),
        ({"content": [{"type": "tool_use", "name": "x"}]}, "tools"),
        ({"tool_calls": [], "function_call": None, "reasoning": "想"}, "thoughts"),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "想"}]}, "thoughts"),
        ({"content": [{"type": "thinking", "thinking": "想"}]}, "thoughts"),
        ({"content": [{"thought": True, "text": "想"}]}, "thoughts"),
        ({"reasoning_content": " "}, "empty"),
        ({"content": [{"type": "text", "text": ""}]}, "empty"),
    ],
)
def test_answer_without_words_says_what_there_is_instead(message: dict[str, Any], wanted: str) -> None:
    """By the names of fields, and the kinds of parts."""
    assert cause(completion(message.pop("content", None), **message)) == wanted


# --- the end ---


@pytest.mark.parametrize(
    ("reason", "note"),
    [
        ("stop", None),
        ("STOP", None),
        ("end_turn", None),
        ("stop_token", None),
        (None, None),
        (5, None),
        ("some_new_reason", None),
        ("tool_calls", None),
        ("length", zh.TOO_SHORT),
        ("MAX_TOKENS", zh.TOO_SHORT),
        ("model_length", zh.TOO_SHORT),
        ("model_context_window_exceeded", zh.TOO_SHORT),
        ("content_filter: violence", zh.TAKEN_AWAY),
        ("refusal", zh.TAKEN_AWAY),
        ("guardrail_intervened", zh.TAKEN_AWAY),
        ("IMAGE_PROHIBITED_CONTENT", zh.TAKEN_AWAY),
        ("RECITATION", zh.TAKEN_AWAY),
        ("network_error", zh.BROKEN_OFF),
        ("insufficient_system_resource", zh.BROKEN_OFF),
        ("cancelled", zh.BROKEN_OFF),
    ],
)
def test_end_is_told_by_what_its_reason_is_made_of(reason: Any, note: str | None) -> None:
    """Every service has its own word for it."""
    assert read_answer(completion("前半句", reason)).notes == ((note,) if note else ())


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("stop", "empty"),
        ("length", "empty"),
        ("BLOCKLIST", "filtered"),
        ("SPII", "filtered"),
        ("error", "down"),
        ("MALFORMED_FUNCTION_CALL", "tools"),
        ("some_new_reason", "ended"),
    ],
)
def test_end_without_words_has_its_cause(reason: str, wanted: str) -> None:
    """One that nobody knows blames nothing."""
    assert cause(completion(None, reason)) == wanted


def test_unknown_end_is_named() -> None:
    """So that somebody can look it up."""
    with pytest.raises(ModelFailure) as failure:
        read_answer(completion("", "some_new_reason"))
    assert failure.value.sentence == f"{zh.FAILURES['ended']}\n{zh.SERVICE_SAID.format(said='some_new_reason')}"


# --- what broke off ---


def event(**fields: Any) -> str:
    return f"data: {json.dumps(fields)}\n\n"


DONE = "data: [DONE]\n\n"
ERROR = {"message": "overloaded", "code": "server_error"}
HALF = chunk("前半") + chunk("句")


@pytest.mark.parametrize(
    "body",
    [
        HALF + event(error=ERROR),
        HALF + event(error=ERROR) + DONE,  # https://github.com/vllm-project/vllm/pull/40986
        HALF + event(error="overloaded") + DONE,
        HALF + event(object="error", message="overloaded", code=50002) + DONE,  # FastChat
        HALF + f"event: error\n{event(code='Throttling', message='wait')}",  # Model Studio
        # https://openrouter.ai/docs/api/reference/errors-and-debugging
        HALF + chunk("", "error", error=ERROR) + DONE,
        HALF + event(choices=[{"delta": {"content": ""}, "error": ERROR, "finish_reason": "stop"}]) + DONE,
        HALF,  # https://github.com/vllm-project/vllm/issues/52852
        HALF + chunk("")[:30],
        HALF + chunk("")[:30] + "\n\n" + DONE,
        chunk("前半句"),
        event(choices=[{"text": "前半"}]) + event(choices=[{"text": "句"}]),
        json.dumps({"choices": [{"message": {"content": "前半句"}, "finish_reason": None}], "error": ERROR}),
        json.dumps({"object": "response", "status": "in_progress", "output": [{"content": "前半句"}]}),
    ],
)
def test_half_an_answer_says_that_it_is_one(body: str) -> None:
    """An error stands beside or behind its words, or nothing tells that the stream ended."""
    answer = read_answer(body.encode())
    assert (answer.words, answer.notes) == ("前半句", (zh.BROKEN_OFF,))


@pytest.mark.parametrize(
    "body",
    [
        HALF + DONE,  # https://github.com/QuantumNous/new-api/issues/7489
        HALF + chunk("", "stop"),
        HALF + chunk(None, "stop", error=None) + chunk(None, "") + event(choices=[], usage={}),
        json.dumps({"choices": [{"message": {"content": "前半句"}}]}),  # https://github.com/maximhq/bifrost/issues/1489
        json.dumps({"choices": [{"text": "前半句"}]}),
        event(choices=[{"message": {"content": "前半句"}}]) + event(choices=[], usage={}),
        event(code=0, message="Success", choices=[{"message": {"content": "前半句"}}]),  # Spark
        event(choices=[{"text": "前半"}]) + event(choices=[{"text": "句", "finish_reason": "stop"}]),
        chunk("前") + event(choices=[{"message": {"content": "前半句"}}]),
        chunk("前半句") + event(choices=[{"message": {"content": ""}, "finish_reason": "stop"}]),
    ],
)
def test_whole_answer_is_shown_without_a_note(body: str) -> None:
    """Relays leave out the reason of the end, or the end of the stream; what says more than the chunks is whole."""
    answer = read_answer(body.encode())
    assert (answer.words, answer.notes) == ("前半句", ())


def test_limit_behind_an_error_is_still_the_limit() -> None:
    """What the service says of the end is more than that there is one."""
    assert read_answer((HALF + chunk("", "length") + event(error=ERROR)).encode()).notes == (zh.TOO_SHORT,)


def test_response_that_broke_off_before_its_words_is_tried_again() -> None:
    """Its events are not read, only what they lead to."""
    response = {"object": "response", "status": "in_progress", "output": []}
    assert cause(event(type="response.created", response=response).encode()) == "down"


# --- what templates leave ---


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<|begin_of_box|>4<|end_of_box|>", "4"),
        ("答案是 <|begin_of_box|>4<|end_of_box|>，对吗", "答案是 4，对吗"),
        ("<answer>4</answer>", "4"),
        ("<think>想</think>\n<answer>\n4\n</answer>", "4"),
        ("你好。<|im_end|>", "你好。"),
        ("你好。</s>", "你好。"),
        ("你好。<eos>", "你好。"),
        ("你好。<｜end▁of▁sentence｜>", "你好。"),
        ("你好。<end_of_turn>\n<end_of_turn>", "你好。"),
        ("<|im_start|>assistant\n你好。<|im_end|>", "你好。"),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n你好。<|eot_id|>", "你好。"),
        ("<start_of_turn>model\n你好。", "你好。"),
        ("你好。<|im_end|>\n<|im_start|>user\n再见<|im_end|>\n<|im_start|>assistant\n再见。", "你好。"),
        ("你好。<｜User｜>再见", "你好。<｜User｜>再见"),
        ("你好。<|im_end|><|im_start|>user\n再见", "你好。"),
        ("<|begin_of_box|>用哪个 model\n都行<|end_of_box|>", "用哪个 model\n都行"),
        ("<think>要不要写成 <analysis>", ""),
        ("<analysis>这是 XML</analysis>", "<analysis>这是 XML</analysis>"),
        ("第一段\n<|pad|>\n第二段", "第一段\n\n第二段"),
        ("Qwen 用 <|im_start|> 开头，用 <|im_end|> 结尾。", "Qwen 用 <|im_start|> 开头，用 <|im_end|> 结尾。"),
        ("结束符是 `<|im_end|>`", "结束符是 `<|im_end|>`"),
        ("```\n<|im_start|>user\n<|im_end|>\n```", "```\n<|im_start|>user\n<|im_end|>\n```"),
        ("原价 <s>99</s>", "原价 <s>99</s>"),
        ("a <b> c", "a <b> c"),
        ("<details type='reasoning' done='true'>\n<summary>想</summary>\n> 想\n</details>\n4", "4"),
        ("<details>\n<summary>细节</summary>\n4\n</details>", "<details>\n<summary>细节</summary>\n4\n</details>"),
        ("我查一下。\n<tool_call>\n{}\n</tool_call>", "我查一下。"),
        ('<tool_call>{"a": 1}</tool_call>\n答案是 4', "答案是 4"),
        ("标签 <tool_call> 是什么", "标签 <tool_call> 是什么"),
    ],
)
def test_what_a_template_leaves_goes_and_the_words_stay(content: str, words: str) -> None:
    """By its form and its place: an answer may speak of a mark."""
    assert without_marks(content) == words


@pytest.mark.parametrize(
    "content",
    [
        '<tool_call>\n{"name": "search"}\n</tool_call>',
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="search">\n</｜DSML｜function_calls>',
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>search",
        "<|tool_calls_section_begin|><|tool_call_begin|>search",
        '[TOOL_CALLS][{"name": "search"}]',
        "<|python_tag|>search()",
        "<function=search>{}</function>",
        '<invoke name="search">\n</invoke>',
        "]<]minimax[>[<q>10]<]minimax[>[</q>",
    ],
)
def test_call_of_a_tool_as_text_is_told(content: str) -> None:
    """The parser of the service missed it; no person can read it."""
    assert cause(completion(content)) == "tools"


def test_call_of_a_tool_below_the_words_is_told_below_them() -> None:
    """The words may promise what does not come."""
    answer = read_answer(completion("我查一下。\n<tool_call>{}</tool_call>"))
    assert (answer.words, answer.notes) == ("我查一下。", (zh.TOOL_CALLED,))


SLOW = [
    "<think>想</think><answer>" + " " * 50_000,
    "<think>想</think><answer>" + "\n" * 50_000 + "x",
    "<answer>" + " " * 50_000 + "x",
    "<think>" * 10_000,
    "`<think> ``" * 10_000,
    "</think>\n<think>\n" * 10_000,
    "> " * 45_000 + "<think>",
    " " * 50_000 + "<think>",
    "<|im_end|>" * 10_000,
    "<|im_start|>" * 10_000,
    "a <|user|>" * 10_000,
    "<|begin_of_a|><|end_of_a|>" * 4_000,
    "<s>" * 15_000 + "</s>",
    "<tool_call>" * 10_000,
    "\n<tool_call></a>" * 5_000,
    "<details type=reasoning>" * 4_000,
    "<details " * 10_000,
    "analysis" + "assistantfinal" * 5_000,
    "<|channel|>final" * 5_000,
    "[THINK]" * 10_000,
    "```\n" * 15_000,
    "~~~" * 15_000,
    "`" * 50_000,
    "` " * 25_000,
    "<｜" * 25_000,
    "\u200b" * 50_000 + "x",
]


@pytest.mark.parametrize("text", SLOW, ids=lambda text: repr(text[:24]))
def test_answer_of_a_model_that_loops_is_read_in_time(text: str) -> None:
    """The time grows with the length only: these patterns run outside every deadline."""
    started = time.process_time()
    without_marks(text)
    assert time.process_time() - started < 1


@given(st.lists(st.sampled_from([*"<>|/`\n ", "think", "im_end", "答", "<|", "|>", "</", "```"])).map("".join))
@example("<<|```<```|><")
def test_words_without_marks_have_none_to_lose(text: str) -> None:
    """What was cleaned is not shorter than nothing, and nothing is made up."""
    words = without_marks(text)
    assert len(words) <= len(text)
    assert not re.sub(r"\s", "", words) or all(sign in text for sign in words)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_body_is_an_answer_or_a_failure(body: bytes) -> None:
    """Nothing else leaves the room."""
    try:
        assert isinstance(read_answer(body), Answer)
    except (ModelFailure, Refusal):
        pass


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(completion("`a` " * 1_000_000), id="code", marks=pytest.mark.full),
        pytest.param(
            completion("data:image/png;base64,iVBORw0KGgo= " + "`a` " * 1_000_000),
            id="code and pictures",
            marks=pytest.mark.full,
        ),
        pytest.param(completion("<s>" * 1_000_000 + "</s>"), id="marks", marks=pytest.mark.full),
        pytest.param(completion("<|im_end|>" * 400_000), id="turns", marks=pytest.mark.full),
        pytest.param(b"[" + b"{}," * 1_300_000 + b"{}]", id="values"),
    ],
)
def test_long_body_takes_little_memory(body: bytes) -> None:
    """Of its 4 MB little is ever shown; 16 MB are allowed, and an instance has 512."""
    tracemalloc.start()
    with contextlib.suppress(ModelFailure, Refusal):
        read_answer(body)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 12 * len(body)


def test_large_picture_in_the_words_is_whole_and_the_words_behind_it_are_kept() -> None:
    """The limit of what is read counts no pictures."""
    picture = "iVBORw0KGgo" + "A" * 3_000_000
    answer = read_answer(completion(f"猫：![猫](data:image/png;base64,{picture}) 画好了"))
    assert answer.pictures == (picture,)
    assert answer.shown([], "").startswith("猫： 画好了")


def test_json_that_is_deep_and_wide_is_looked_through_in_time() -> None:
    """Only so many values, and so many levels, whatever there is beside the words."""
    beside = "1"
    for _ in range(200):
        beside = f"[{beside}{',1' * 5000}]"
    body = f'{{"choices": [{{"message": {{"content": "http"}}}}], "beside": {beside}}}'.encode()
    started = time.process_time()
    assert read_answer(body).words == "http"
    assert time.process_time() - started < 3
