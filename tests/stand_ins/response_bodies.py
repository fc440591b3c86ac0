"""What an answer of the Responses API is made of: the keys of recorded ones, in their order.

https://developers.openai.com/api/reference/resources/responses/methods/create
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from .canned_answers import PICTURE
from .chat_rules import Talk, answer_to, is_english

Item = dict[str, Any]

# The own tool of the service -> what makes the stand-in use it
WISHES = {
    "web_search": r"搜|查一查|新闻|天气|\bsearch|\bnews\b|\bweather\b",
    "image_generation": r"画|\bdraw|\bpaint|\bpicture of\b",
}
FOUND = (
    ("Python 3.14 发布说明", "https://docs.python.org/zh-cn/3/whatsnew/3.14.html"),
    ("What's new in Python 3.14", "https://docs.python.org/3/whatsnew/3.14.html"),
)


def output_of(body: Mapping[str, Any], talk: Talk, scripted: str | None) -> list[Item]:
    """What the model gives out: its thoughts, what its tools did, and a message; no tool if the words are scripted."""
    question = talk.questions[-1] if talk.questions else ""
    items = [] if effort_of(body) == "none" else [reasoning_item()]
    if scripted is not None:
        return [*items, message_item([text_part(scripted)])]
    tools = {str(tool["type"]).removesuffix("_preview") for tool in body.get("tools") or ()}
    if "web_search" in tools and re.search(WISHES["web_search"], question, re.I):
        words, source = found(question)
        sources = [source["url"]] if "web_search_call.action.sources" in (body.get("include") or ()) else None
        return [*items, search_item(question, sources), message_item([text_part(words, [source])])]
    if "image_generation" in tools and re.search(WISHES["image_generation"], question, re.I):
        said = "Here it is." if is_english(question) else "画好了。"
        return [*items, picture_item(PICTURE), message_item([text_part(said)])]
    return [*items, message_item([text_part(answer_to(talk))])]


def response_body(
    request: Mapping[str, Any],
    output: list[Item],
    *,
    incomplete: str | None = None,
    error: Mapping[str, Any] | None = None,
    asked_characters: int = 0,
) -> dict[str, Any]:
    """The body of a response to a request, of which only the model must be there. `incomplete` is the reason."""
    status = "failed" if error else "incomplete" if incomplete else "completed"
    now, given = int(time.time()), dict(request)
    written = sum(len(part.get("text", "")) for item in output for part in item.get("content") or ()) // 2 + 1
    asked = asked_characters // 2 + 1  # a token is about two characters
    searches = [item["type"] for item in output].count("web_search_call")
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": now,
        "status": status,
        "access_programs": None,
        "background": False,
        "billing": {"payer": "developer"},
        "completed_at": now if status == "completed" else None,
        "error": error,
        "frequency_penalty": 0.0,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "instructions": given.get("instructions"),
        "max_output_tokens": given.get("max_output_tokens"),
        "max_tool_calls": given.get("max_tool_calls"),
        "model": given["model"],
        "moderation": None,
        "output": output,
        "parallel_tool_calls": given.get("parallel_tool_calls") is not False,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "prompt_cache_key": given.get("prompt_cache_key"),
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
        "prompt_cache_retention": "24h",
        "reasoning": {
            "context": "all_turns",
            "effort": effort_of(given),
            "mode": "standard",
            "summary": (given.get("reasoning") or {}).get("summary"),
        },
        "safety_identifier": given.get("safety_identifier"),
        "service_tier": "default",
        "store": given.get("store") is not False,
        "temperature": 1.0 if given.get("temperature") is None else given["temperature"],
        "text": {"format": {"type": "text"}, "verbosity": "medium", **(given.get("text") or {})},
        "tool_choice": given.get("tool_choice") or "auto",
        "tool_usage": {
            "image_gen": {
                "input_tokens": 0,
                "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
                "output_tokens": 0,
                "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
                "total_tokens": 0,
            },
            "web_search": {"num_requests": searches},
        },
        "tools": [{**DEFAULTS.get(tool["type"], {}), **tool} for tool in given.get("tools") or ()],
        "top_logprobs": 0,
        "top_p": 0.98 if given.get("top_p") is None else given["top_p"],
        "truncation": given.get("truncation") or "disabled",
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + written,
        },
        "user": given.get("user"),
        "metadata": given.get("metadata") or {},
    }


ANYWHERE = {"city": None, "country": "US", "region": None, "timezone": None, "type": "approximate"}
DEFAULTS: Mapping[str, dict[str, Any]] = {  # what a response says of a tool beyond the request
    "web_search": {"filters": None, "search_context_size": "medium", "user_location": ANYWHERE},
    "image_generation": {"background": "auto", "output_format": "png", "quality": "auto", "size": "auto"},
}


def cut(body: dict[str, Any]) -> dict[str, Any]:
    """The body of a response of which the model may not write more than max_output_tokens."""
    limit, usage = body["max_output_tokens"], body["usage"]
    if limit is None or usage["output_tokens"] <= limit:
        return body
    message = body["output"][-1]
    message["content"][0]["text"] = message["content"][0]["text"][: 2 * limit - 1]  # as response_body counts
    message["status"] = body["status"] = "incomplete"
    body["completed_at"], body["incomplete_details"] = None, {"reason": "max_output_tokens"}
    usage["output_tokens"], usage["total_tokens"] = limit, usage["input_tokens"] + limit
    return body


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}{uuid.uuid4().hex[:18]}"


def reasoning_item() -> Item:
    """What only OpenAI can read."""
    return {"id": new_id("rs"), "type": "reasoning", "content": [], "encrypted_content": "gAAAAABq-ex", "summary": []}


def search_item(query: str, sources: Sequence[str] | None = None) -> Item:
    action: Item = {"type": "search", "queries": [query], "query": query}
    if sources is not None:
        action["sources"] = [{"type": "url", "url": url} for url in sources]
    return {"id": new_id("ws"), "type": "web_search_call", "status": "completed", "action": action}


def picture_item(result: str | None, status: str = "completed") -> Item:
    """A picture, in Base64."""
    return {
        "id": new_id("ig"),
        "type": "image_generation_call",
        "status": status,
        "action": "generate",
        "background": "opaque",
        "output_format": "png",
        "quality": "low",
        "result": result,
        "revised_prompt": None,
        "size": "1024x1024",
    }


def message_item(content: list[Item], phase: str = "final_answer", status: str = "completed") -> Item:
    item = {"id": new_id("msg"), "type": "message", "status": status, "content": content, "phase": phase}
    return {**item, "role": "assistant"}


def text_part(text: str, annotations: Sequence[Item] = ()) -> Item:
    return {"type": "output_text", "annotations": list(annotations), "logprobs": [], "text": text}


def citation(title: str, url: str, start: int, end: int) -> Item:
    return {"type": "url_citation", "end_index": end, "start_index": start, "title": title, "url": url}


def found(question: str) -> tuple[str, Item]:
    """What a search found, as OpenAI's models write it: the source stands in the text as a link; and its citation."""
    said, (title, url) = ("I found this:" if is_english(question) else "查到的是：", FOUND[is_english(question)])
    url = f"{url}?utm_source=openai"
    link = f"([docs.python.org]({url}))"
    text = f"{said} {title} {link}"
    return text, citation(title, url, len(text) - len(link), len(text))


def effort_of(request: Mapping[str, Any]) -> str:
    return (request.get("reasoning") or {}).get("effort") or "medium"
