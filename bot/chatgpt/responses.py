"""The Responses API: a question for chat completions in its form, and its answer as a chat completion.

https://developers.openai.com/api/reference/resources/responses/methods/create
"""

from __future__ import annotations

from typing import Any

FINAL = "final_answer"  # the phase of a message; one before it is a remark on the way
# What a model calls and nobody carries out.
OURS = ("function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call")


def in_responses_form(request: dict[str, Any]) -> dict[str, Any]:
    """The request in this form: {"messages": [...], ...} -> {"input": [...], "store": False, ...}.

    The system's words are the first message of the input, as OpenAI, Volcengine, Baidu and Model Studio document it;
    in `instructions` some services drop them without a word: Model Studio, OpenRouter (in January 2026), relays.
    """
    others = {name: value for name, value in request.items() if name != "messages"}
    return {"store": False, **others, "input": [{**each, "content": parts_of(each)} for each in request["messages"]]}


def parts_of(message: dict[str, Any]) -> Any:
    """The content of a message, its parts by the names of this form."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return [
        {"type": "input_text", "text": part["text"]}
        if part["type"] == "text"
        else {"type": "input_image", "image_url": part["image_url"]["url"], "detail": "auto"}
        for part in content
    ]


def is_response(body: dict[str, Any]) -> bool:
    """Whether this is an answer in this form, wherever it was asked for."""
    return "choices" not in body and (body.get("object") == "response" or isinstance(body.get("output"), list))


def as_completion(response: dict[str, Any]) -> dict[str, Any]:
    """The response as a chat completion, in which everything else is read."""
    output = response.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    messages = [item for item in items if item.get("type", "message") == "message"]
    messages = [item for item in messages if item.get("phase") == FINAL] or messages
    calls = [item for item in items if item.get("type") in OURS]
    message = {
        "content": content_of(messages),
        "reasoning": "".join(str(item["type"]) for item in items if item.get("type") == "reasoning" and not calls),
        "tool_calls": calls,
        "images": [item.get("result") for item in items if item.get("type") == "image_generation_call"],
    }
    found = [item["action"].get("sources") for item in items if isinstance(item.get("action"), dict)]
    details, error, usage = (response.get(name) for name in ("incomplete_details", "error", "usage"))
    reason = details.get("reason") if isinstance(details, dict) else None
    failed = response.get("status") in ("failed", "cancelled")
    usage = usage if isinstance(usage, dict) else {}
    return {
        "choices": [{"message": message, "finish_reason": reason or ("error" if failed else "stop")}],
        "status": response.get("status"),
        "error": error,
        "sources": [] if has_annotations(messages) else found,  # what it read, if its words name nothing
        "usage": {"prompt_tokens": usage.get("input_tokens"), "completion_tokens": usage.get("output_tokens")},
    }


def content_of(messages: list[dict[str, Any]]) -> list[Any]:
    """The parts of all messages, with a blank line between two."""
    parts: list[Any] = []
    for message in messages:
        content = message.get("content")
        parts += [*(["\n\n"] if parts else []), *(content if isinstance(content, list) else [content])]
    return parts


def has_annotations(messages: list[dict[str, Any]]) -> bool:
    """Whether the words name their sources."""
    return any(isinstance(part, dict) and part.get("annotations") for part in content_of(messages))
