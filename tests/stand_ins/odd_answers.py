"""The body of a chat completion, and what comes instead of one: from other services, gateways, firewalls.

Each has a short name that OpenaiApi.fail_next and openai_api.error_fault take.
"""

from __future__ import annotations

import functools
import gzip
import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .canned_answers import PICTURE
from .openai_errors import error_body
from .response_bodies import (
    Item,
    citation,
    message_item,
    picture_item,
    reasoning_item,
    response_body,
    search_item,
    text_part,
)


def completion_body(model: str, answer: str | None, asked_characters: int = 0) -> dict[str, Any]:
    """The body of an answer, in the order of the real API. With None, the content filter has removed the text."""
    prompt, completion = asked_characters // 2 + 1, len(answer or "") // 2 + 1  # a token is about two characters
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex[:29]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer, "refusal": None, "annotations": []},
                "finish_reason": "content_filter" if answer is None else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": None,
    }


# Name -> Content-Type and body of a 200 that breaks the API's promise, as relays and proxies send it.
ODD_ANSWERS: Mapping[str, tuple[str, str]] = {
    "html_page": ("text/html", "<html><body>Please log in.</body></html>"),
    "broken_json": ("application/json", '{"id":"chatcmpl-ex1","object":"chat.comp'),
    "empty_object": ("application/json", "{}"),
    "error_in_200": ("application/json", json.dumps(error_body("upstream error", kind="upstream_error"))),
    "list": ("application/json", "[]"),
    "null": ("application/json", "null"),
    "no_choices": ("application/json", json.dumps({**completion_body("gpt-6-luna", ""), "choices": []})),
    "null_content": ("application/json", json.dumps(completion_body("gpt-6-luna", None))),
    "empty_content": ("application/json", json.dumps(completion_body("gpt-6-luna", ""))),
}


# -- what other services were seen to send ------------------------------------------------------------------------


class Seen(NamedTuple):
    """An answer that was reported of some service."""

    body: str | Callable[[], bytes]  # made when it is sent, if that takes a while
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    endless: float | None = None  # seconds between the repetitions of the body, if it never ends


ANSWER = "答案是 2"  # in each answer that has words, so that a test can look for them
MODEL = "some-model"
EVENTS = "text/event-stream"
LINKS = (("第一个来源", "https://one.example/a"), ("第二个来源", "https://two.example/b?c=1"))
ELSEWHERE = (("Location", "http://localhost:9/v1/chat/completions"),)  # another host, where nobody listens
PICTURE_URL = f"data:image/png;base64,{PICTURE}"


def completion(content: str | None = ANSWER, finish_reason: str = "stop", **more: Any) -> dict[str, Any]:
    """A completion with other words; `message` has more beside the text, all else stands beside the choices."""
    body = completion_body(MODEL, content)
    body["choices"][0]["finish_reason"] = finish_reason
    body["choices"][0]["message"].update(more.pop("message", {}))
    return {**body, **more}


def chunk(text: str, finish_reason: str | None = None) -> str:
    """One event of a stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n"


def page(title: str, text: str) -> str:
    return f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{text}</h1></body></html>\n"


def said(content: str | None = ANSWER, finish_reason: str = "stop", **more: Any) -> Seen:
    return Seen(json.dumps(completion(content, finish_reason, **more)))


def refused(status: int, body: Any, *headers: tuple[str, str]) -> Seen:
    return Seen(json.dumps(body), status, headers=headers)


def response(*output: Item, **how: Any) -> Seen:
    """An answer of the Responses API."""
    return Seen(json.dumps(response_body({"model": MODEL}, list(output), **how)))


@functools.cache
def bomb() -> bytes:
    """A whole answer, and 64 MB of blanks behind it, in 64 KB."""
    return gzip.compress(json.dumps(completion()).encode() + b" " * 64_000_000)


GEMINI_BUSY = [
    {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details.\n* Quota exceeded "
            "for metric: generate_content_free_tier_requests, limit: 10\nPlease retry in 1.1s.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}],
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"},
            ],
        }
    }
]
QUOTA = error_body("You exceeded your current quota, please wait.", code="rate_limit_exceeded", kind="requests")
FINISHED: Mapping[str, str | None] = {  # a reason to end that OpenAI does not have -> what was said until then
    "refusal": "前半句",
    "model_length": "前半句",
    "BLOCKLIST": None,
    "SPII": None,
    "IMAGE_PROHIBITED_CONTENT": None,
    "guardrail_intervened": None,
    "content_filter: violence": None,
    "some_new_reason": None,
}
ZHIPU = [{"title": title, "link": url, "content": "……", "media": "", "refer": "ref_1"} for title, url in LINKS]
CITED = [
    {"type": "url_citation", "url_citation": {"end_index": 4, "start_index": 0, "title": title, "url": url}}
    for title, url in LINKS
]

SEEN: Mapping[str, Seen] = {
    # a 200 in another frame
    "events": Seen(
        ": PROCESSING\n\n" + chunk("答案") + chunk("是 2") + chunk("", "stop") + "data: [DONE]\n\n", 200, EVENTS
    ),
    "whole_event": Seen(f"data: {json.dumps(completion())}\n\n", 200, EVENTS),
    "answer_and_done": Seen(json.dumps(completion()) + "\n\ndata: [DONE]\n\n", 200, EVENTS),
    "stream_only": refused(400, error_body("Stream must be set to true")),
    "blank_lines": Seen("\n\n\n\n\n"),
    "nothing": Seen(""),
    "wrong_encoding": Seen(json.dumps(completion()), headers=(("Content-Encoding", "gzip"),)),
    "bomb": Seen(bomb, headers=(("Content-Encoding", "gzip"),)),
    "endless": Seen(chunk("啊" * 1000), 200, EVENTS, endless=0),
    "endless_blanks": Seen("\n", endless=0.2),
    # what stands between
    "firewall_page": Seen(page("Attention Required! | Cloudflare", "Sorry, you have been blocked"), 403, "text/html"),
    "firewall_text": Seen("Your request was blocked.", 403, "text/plain"),
    "firewall_code": Seen("error code: 1010", 403, "text/plain"),
    "redirect_307": Seen("", 307, headers=ELSEWHERE),
    "redirect_308": Seen("", 308, headers=ELSEWHERE),
    # refusals that need another look
    "quota_retry_info": refused(429, GEMINI_BUSY),
    "quota_retry_after": refused(429, QUOTA, ("Retry-After", "1")),
    "no_system_role": refused(400, error_body("Only user and assistant roles are supported!", kind="BadRequestError")),
    "no_developer_role": refused(
        400, [{"error": {"code": 400, "message": "Developer instruction is not enabled for models/some-model"}}]
    ),
    # marks in the words
    "box": said(f"<|begin_of_box|>{ANSWER}<|end_of_box|>"),
    "answer_tag": said(f"<answer>{ANSWER}</answer>"),
    "end_mark": said(f"{ANSWER}<|im_end|>"),
    "tool_call_text": said('<tool_call>\n{"name": "search", "arguments": {"q": "天气"}}\n</tool_call>'),
    "details": said(
        f'<details type="reasoning" done="true">\n<summary>Thought</summary>\n> 一加一\n</details>\n{ANSWER}'
    ),
    "html_table": said("<table><tr><td>型号</td><td>价格</td></tr><tr><td>A1</td><td>99</td></tr></table>"),
    # pictures
    "picture_in_text": said(f"{ANSWER}\n\n![image]({PICTURE_URL})"),
    "picture_beside": said("", message={"images": [{"type": "image_url", "image_url": {"url": PICTURE_URL}}]}),
    # sources: of OpenRouter, of Perplexity (two ways), of Zhipu
    "annotations": said(message={"annotations": CITED}),
    "citations": said(f"{ANSWER}[1][2]。", citations=[url for _, url in LINKS]),
    "search_results": said(search_results=[{"title": title, "url": url, "date": None} for title, url in LINKS]),
    "web_search": said(web_search=ZHIPU),
    # of the Responses API
    "response_long": response(message_item([text_part("前半句")], status="incomplete"), incomplete="max_output_tokens"),
    "response_thoughts": response(reasoning_item(), incomplete="max_output_tokens"),
    "response_filtered": response(incomplete="content_filter"),
    "response_failed": response(error={"code": "server_error", "message": "An error occurred. Please retry."}),
    "response_refusal": response(message_item([{"type": "refusal", "refusal": "很抱歉，这件事我帮不了你。"}])),
    "response_messages": response(
        reasoning_item(), message_item([text_part("我先算一算。")], "commentary"), message_item([text_part(ANSWER)])
    ),
    "response_sources": response(
        search_item("1+1"), message_item([text_part(ANSWER, [citation(*link, 0, 4) for link in LINKS])])
    ),
    "response_picture": response(picture_item(PICTURE)),
    **{f"finish_{reason.split(':')[0]}": said(words, reason) for reason, words in FINISHED.items()},
}
