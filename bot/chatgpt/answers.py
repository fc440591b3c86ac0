"""What a completion says."""

from __future__ import annotations

import json
import re
from typing import Any

from bot import sentences
from bot.chatgpt.refusals import ModelFailure, Refused, read_refusal, understood
from bot.values import BLANKS, first_object, text_in

CUT_OFF = {
    "length": "TOO_SHORT", "max_tokens": "TOO_SHORT", "max_output_tokens": "TOO_SHORT",
    "model_context_window_exceeded": "TOO_SHORT", "content_filter": "TAKEN_AWAY", "sensitive": "TAKEN_AWAY",
    "safety": "TAKEN_AWAY", "recitation": "TAKEN_AWAY", "prohibited_content": "TAKEN_AWAY",
    "error": "BROKEN_OFF", "network_error": "BROKEN_OFF", "abort": "BROKEN_OFF",
    "insufficient_system_resource": "BROKEN_OFF",
}  # fmt: skip


def read_answer(content: bytes) -> str:
    """The words of a chat completion; ModelFailure if it has none, Refused if it is an error that came as a 200."""
    try:
        completion = first_object(json.loads(content))
    except (ValueError, RecursionError):
        completion = {}
    choice = first_object(completion.get("choices"))
    message = first_object(choice.get("message"))
    places = (message.get("content"), message.get("refusal"), choice.get("text"), completion.get("output_text"))
    raw = next((text for text in map(text_of, (*places, completion.get("output"))) if text.strip()), "")
    answer = without_thoughts(raw).strip(BLANKS).strip()
    cut_off = CUT_OFF.get(str(choice.get("finish_reason")).lower(), "")
    if answer:
        return f"{answer}\n\n{getattr(sentences, cut_off)}" if cut_off else answer
    refusal = read_refusal(200, content, choice.get("error"))
    if not choice or choice.get("error") or completion.get("error") or understood(refusal):
        raise Refused(refusal)
    raise ModelFailure("filtered" if cut_off == "TAKEN_AWAY" else why_empty(message, raw), "no words")


def tokens_in(content: bytes) -> list[str]:
    """['120 + 35 tokens'] for the question and the answer, [] if the service does not tell; see Run."""
    usage = first_object(first_object(json.loads(content)).get("usage"))
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return ["{} + {} tokens".format(*counts)] if all(type(count) is int for count in counts) else []


def why_empty(message: dict[str, Any], raw: str) -> str:
    """The cause of an answer without words: it was only thought, it calls a tool, or it is just empty."""
    thoughts = [raw, *(message.get(name) for name in ("reasoning_content", "reasoning", "thinking"))]
    if isinstance(message.get("content"), list):
        thoughts += [part for part in message["content"] if isinstance(part, dict) and is_thought(part)]
    if any(str(thought or "").strip() for thought in thoughts):
        return "thoughts"
    return "tools" if message.get("tool_calls") or message.get("function_call") else "empty"


def text_of(content: Any, depth: int = 0) -> str:
    """The text of a message that may come in parts; thoughts and parts of other kinds are left out."""
    if isinstance(content, str):
        return text_in({"text": content}, "text") or ""
    if isinstance(content, list) and depth < 5:
        return "".join(text_of(part, depth + 1) for part in content)
    if not isinstance(content, dict) or is_thought(content) or depth >= 5:
        return ""
    names = ("text", "content", "refusal", "value")
    return next((text for text in (text_of(content.get(name), depth + 1) for name in names) if text), "")


def is_thought(part: dict[str, Any]) -> bool:
    """Whether this part of a message is what the model thought."""
    return part.get("thought") is True or bool(re.search("think|thought|reason", str(part.get("type"))))


THOUGHT_NAMES = r"(?:\w{1,9}:)?(?:think(?:ing)?|thoughts?|reasoning|reflection|analysis)"
THOUGHT_TAG = re.compile(
    rf"(?P<block>(?:^|(?<=[>▷\]]))[ \t]*)?"  # where a tag can only be a tag; elsewhere the answer may speak of it
    rf"(?:(?P<opening><{THOUGHT_NAMES}(?:\s[^<>\n]*)?>|◁think▷|\[think\]|<\|begin_of_thought\|>|<\|start_thinking\|>)"
    rf"|(?P<closing></{THOUGHT_NAMES}>|◁/think▷|\[/think\]|<\|end_of_thought\|>|<\|end_thinking\|>))",
    re.IGNORECASE | re.MULTILINE,
)
MARKUP_TAG = re.compile("<(analysis|reflection)", re.IGNORECASE)  # which XML that was asked for may have too
CODE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(?:.*?^[ \t]*\1[`~]*[ \t]*$|.*\Z)|(?<!`)(`+)(?!`)[^\n]{0,2000}?(?<!`)\2(?!`)",
    re.MULTILINE | re.DOTALL,
)


def without_thoughts(text: str) -> str:
    """The answer without what a reasoning model thought first: <think>...</think> and its relatives, outside code."""
    text = final_channel(text)
    spans = thoughts_in(text) if THOUGHT_TAG.search(text) else []
    if not spans:
        return text
    ends = [0, *(end for _, end in spans)]
    answer = "".join(text[end:start] for end, (start, _) in zip(ends, [*spans, (len(text), 0)], strict=True))
    if not answer.strip() and MARKUP_TAG.search(text[: spans[0][1]]):
        return text  # an answer in XML, as somebody may want it
    wrapped = re.fullmatch(r"\s*<(answer|output|final_answer)>(.*?)(?:</\1>)?\s*", answer, re.DOTALL | re.IGNORECASE)
    return wrapped[2] if wrapped else answer


def thoughts_in(text: str) -> list[tuple[int, int]]:
    """Where thoughts begin and end.

    Either tag may be missing: what stands before a lone closing tag was thought, and so was all if the answer begins
    with an opening one. Further down only a block of its own was: elsewhere the answer speaks of the tag.
    """
    plain = CODE.sub(lambda code: "\0" * len(code[0]), text)
    spans: list[tuple[int, int]] = []
    start, leading, mentioned = None, True, False
    for tag in THOUGHT_TAG.finditer(plain):
        if tag["closing"] and (start is not None or not (mentioned or spans)):
            spans.append((start or 0, tag.end()))
            start = None
        elif tag["opening"] and start is None:
            leading = leading and not plain[spans[-1][1] if spans else 0 : tag.start()].strip(BLANKS)
            if leading or (tag["block"] is not None and not MARKUP_TAG.search(tag[0])):
                start = tag.start()
            mentioned = mentioned or start is None
    if start is not None and leading:  # never closed, unless in what only looks like code
        closings = (tag.end() for tag in THOUGHT_TAG.finditer(text, start) if tag["closing"])
        spans.append((start, next(closings, len(text))))
    return spans


def final_channel(text: str) -> str:
    """What gpt-oss says in its final channel, if the service left its marks in the text; '' if it did not get there."""
    if not re.match(r"\s*(<\|start\|>assistant)?<\|channel\|>|analysis\S.*assistantfinal", text, re.DOTALL):
        return text
    final = re.split(r"<\|channel\|>final[^\n|]{0,99}(?:<\|constrain\|>\w{1,20})?<\|message\|>|assistantfinal", text)
    return re.split(r"<\|(?:return|end|call|start)\|>", final[-1])[0] if len(final) > 1 else ""
