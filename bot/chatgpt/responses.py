"""The Responses API: a question for chat completions in its form, and its answer as a chat completion.

https://developers.openai.com/api/reference/resources/responses/methods/create
"""

from typing import Any

from bot.values import first_object

FINAL = "final_answer"  # the phase of a message; one before it is a remark on the way
# What a model calls and nobody carries out.
OURS = ("function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call")


def in_responses_form(request: dict[str, Any]) -> dict[str, Any]:
    """The request in this form: {"messages": [...], ...} -> {"input": [...], "store": False, ...}.

    The system's words are the first message of the input, as OpenAI, Volcengine, Baidu and Model Studio document it;
    in `instructions` some services drop them without a word: Model Studio, OpenRouter (in January 2026), relays.
    """
    messages = [
        {**each, "content": each["content"] if isinstance(each["content"], str) else [*map(part_of, each["content"])]}
        for each in request["messages"]
    ]
    return {"store": False, **{name: request[name] for name in request if name != "messages"}, "input": messages}


def part_of(part: dict[str, Any]) -> dict[str, Any]:
    """A part of a message by the names of this form."""
    if part["type"] == "text":
        return {**part, "type": "input_text"}
    return {"type": "input_image", "image_url": part["image_url"]["url"], "detail": "auto"}


def is_response(body: dict[str, Any]) -> bool:
    """Whether this is an answer in this form, wherever it was asked for."""
    return "choices" not in body and (body.get("object") == "response" or isinstance(body.get("output"), list))


def as_completion(response: dict[str, Any]) -> dict[str, Any]:
    """The response as a chat completion, in which everything else is read."""
    output = response.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    messages = [item for item in items if item.get("type", "message") == "message"]
    messages = [item for item in messages if item.get("phase") == FINAL] or messages
    message = {
        "content": [part for item in messages for part in (item.get("content"), "\n\n")],
        "reasoning": [item for item in items if item.get("type") == "reasoning"],
        "tool_calls": [item for item in items if item.get("type") in OURS],
        "images": [item.get("result") for item in items if item.get("type") == "image_generation_call"],
    }
    reason = first_object(response.get("incomplete_details")).get("reason") or response.get("status")
    searches = [item["action"].get("sources") for item in items if isinstance(item.get("action"), dict)]
    kept = {name: response.get(name) for name in ("status", "error", "usage")}
    return {"choices": [{"message": message, "finish_reason": reason, "sources": searches}], **kept}
