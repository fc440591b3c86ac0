"""The Responses API in the local OpenAI API: what it refuses of a request, and what a request asks.

The refusals are those that others saw of gpt-5.6 and gpt-6 in August and September 2026, in their order. Nothing is
remembered: no earlier response is found.

https://developers.openai.com/api/reference/resources/responses/methods/create
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .chat_rules import Talk
from .openai_errors import Refused, error_body, missing_body, unknown_parameter_body
from .openai_pictures import NO_VISION, check_picture, describe
from .openai_requests import RESPONSES, problem_of, refuse, supported, tools_problem

# What the Responses API tells of a parameter of chat completions
MOVED = {
    "messages": "input",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
}
ROLES = ("assistant", "system", "developer", "user")
EFFORTS = ("none", "low", "medium", "high", "xhigh", "max")  # of gpt-6; the types also know minimal
NOT_WHILE_IT_REASONS = ("temperature", "top_p")
SAID = ("output_text", "refusal")  # by the assistant
ASKED = ("input_text", "input_image", "input_file", "scoped_content", "input_audio")
PARTS = (*ASKED[:2], "input_audio", *SAID, "input_file", "computer_screenshot", "summary_text", "encrypted_content")
MEMBERS = {"id", "type", "status", "role", "content"}  # of a message; `phase` of one of the assistant, too
TEXTS = {"input_text": "text", "output_text": "text", "refusal": "refusal"}  # type of a part -> where its words are

Item = dict[str, Any]


# -- what is refused ------------------------------------------------------------------------------------------------


def check_request(body: dict[str, Any], models: Collection[str], blind: str) -> int:
    """Refuse what the API refuses, in its order; the number of characters that are asked about."""
    if "model" not in body:
        raise Refused(400, missing_body("model"))
    if not isinstance(body["model"], str):
        raise invalid_type("model", "a string")
    if "input" not in body:
        raise Refused(400, missing_body("input"))
    check_names(body)
    characters = check_input(body["input"], blind)
    refuse(tools_problem(body.get("tools"), tool_types()))
    for name, known in (("reasoning", members_of("reasoning")), ("text", members_of("text"))):
        for member in body[name] if isinstance(body.get(name), dict) else ():
            if member not in known:
                raise Refused(400, unknown_parameter_body(f"{name}.{member}"))
    refuse(problem_of({name: value for name, value in body.items() if name != "input"}, RESPONSES))
    check_state(body)
    if body["input"] in ("", []):
        message = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must be provided."
        raise Refused(400, error_body(message, code="missing_required_parameter"))
    if body["model"] not in models:
        message = f"The requested model '{body['model']}' does not exist."
        raise Refused(400, error_body(message, code="model_not_found", param="model"))
    check_what_the_model_can(body)
    return characters + len(body.get("instructions") or "")


def check_names(body: Mapping[str, Any]) -> None:
    for name in body:
        if name in MOVED:
            message = (
                f"Unsupported parameter: '{name}'. In the Responses API, this parameter has moved to '{MOVED[name]}'. "
                "Try again with the new parameter. See the API documentation for more information: "
                "https://platform.openai.com/docs/api-reference/responses/create."
            )
            param = None if name == "messages" else name
            raise Refused(400, error_body(message, code="unsupported_parameter", param=param))
        if name not in known_parameters():
            raise Refused(400, unknown_parameter_body(name))


@functools.cache
def known_parameters() -> frozenset[str]:
    """Of the openai package."""
    from openai.types.responses.response_create_params import ResponseCreateParamsBase

    return frozenset({*ResponseCreateParamsBase.__annotations__, "stream"})


@functools.cache
def tool_types() -> tuple[str, ...]:
    """Every `type` of a tool that the openai package knows."""
    from openai.types.responses.tool_param import ToolParam
    from typing_extensions import get_type_hints

    kinds = (get_type_hints(tool)["type"] for tool in typing.get_args(ToolParam))
    return tuple(kind for literal in kinds for kind in typing.get_args(literal))


@functools.cache
def members_of(name: str) -> frozenset[str]:
    """What the openai package knows in a parameter that is an object."""
    from openai.types.responses import response_text_config_param
    from openai.types.shared_params import reasoning

    kind = {"reasoning": reasoning.Reasoning, "text": response_text_config_param.ResponseTextConfigParam}[name]
    return frozenset(kind.__annotations__)


def invalid_value(value: object, allowed: Collection[str], where: str) -> Refused:
    message = f"Invalid value: '{value}'. {supported(allowed)}"
    return Refused(400, error_body(message, code="invalid_value", param=where))


def invalid_type(where: str, expected: str) -> Refused:
    message = f"Invalid type for '{where}': expected {expected}."
    return Refused(400, error_body(message, code="invalid_type", param=where))


def check_input(given: object, blind: str) -> int:
    """Check all that is said; the number of its characters."""
    if isinstance(given, str):
        return len(given)
    if not isinstance(given, list):
        raise invalid_type("input", "one of a string or array of input items")
    characters = 0
    for index, item in enumerate(given):
        where = f"input[{index}]"
        if not isinstance(item, dict):
            raise invalid_type(where, "an input item")
        if item.get("type", "message") != "message":
            refuse(problem_of({"input": [item]}, RESPONSES))
        else:
            characters += check_message(item, where, blind)
    return characters


def check_message(item: Item, where: str, blind: str) -> int:
    """Check one message; the number of its characters."""
    role = item.get("role", "")
    if role not in ROLES:
        raise invalid_value(role, ROLES, where)
    for member in item:
        if member not in MEMBERS and not (member == "phase" and role == "assistant"):
            raise Refused(400, unknown_parameter_body(f"{where}.{member}"))
    if "content" not in item:
        raise Refused(400, missing_body(f"{where}.content"))
    content = item["content"]
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, list):
        raise invalid_type(f"{where}.content", "one of an array of objects or string")
    allowed = SAID if role == "assistant" else ASKED
    return sum(check_part(part, allowed, f"{where}.content[{i}]", blind) for i, part in enumerate(content))


def check_part(part: object, allowed: Sequence[str], where: str, blind: str) -> int:
    """Check one part of a message; the number of its characters."""
    if not isinstance(part, dict):
        raise invalid_type(where, "an object")
    kind = part.get("type", "")
    if kind not in PARTS:
        raise invalid_value(kind, PARTS, f"{where}.type")
    if kind not in allowed:
        raise invalid_value(kind, allowed, where)
    if kind == "input_image":
        if blind:
            raise Refused(400, NO_VISION[blind])
        check_picture(part.get("image_url"), part.get("detail", "auto"), f"{where}.image_url")
        return 0
    if kind not in TEXTS:
        return 0
    if TEXTS[kind] not in part:
        raise Refused(400, missing_body(f"{where}.{TEXTS[kind]}"))
    if not isinstance(part[TEXTS[kind]], str):
        raise invalid_type(f"{where}.{TEXTS[kind]}", "a string")
    return len(part[TEXTS[kind]])


def check_state(body: Mapping[str, Any]) -> None:
    """No response, conversation or prompt is kept here."""
    conversation, prompt = body.get("conversation"), body.get("prompt")
    if conversation is not None:
        name = conversation if isinstance(conversation, str) else conversation["id"]
        raise Refused(404, error_body(f"Conversation with id '{name}' not found."))
    if prompt is not None:
        raise Refused(404, error_body(f"Prompt with id '{prompt['id']}' not found."))
    if body.get("previous_response_id") is not None:
        name = body["previous_response_id"]
        message = f"Previous response with id '{name}' not found."
        raise Refused(400, error_body(message, code="previous_response_not_found", param="previous_response_id"))


def check_what_the_model_can(body: Mapping[str, Any]) -> None:
    if body.get("background"):
        # the real API does it; nothing of ours asks for it
        raise Refused(400, error_body("The stand-in has no background.", code="unsupported_value", param="background"))
    effort = (body.get("reasoning") or {}).get("effort") or "medium"
    if effort not in EFFORTS:
        message = (
            f"Unsupported value: '{effort}' is not supported with the '{body['model']}' model. {supported(EFFORTS)}"
        )
        raise Refused(400, error_body(message, code="unsupported_value", param="reasoning.effort"))
    for name in NOT_WHILE_IT_REASONS:
        if body.get(name) not in (None, 1) and effort != "none":
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            raise Refused(400, error_body(message, param=name))
    if body.get("top_logprobs") is not None:
        message = "logprobs are not supported with reasoning models."
        raise Refused(400, error_body(message, code="unsupported_parameter", param="top_logprobs"))
    json_mode = ((body.get("text") or {}).get("format") or {}).get("type") == "json_object"
    if json_mode and "json" not in str(body["input"]).lower():
        message = (
            "Response input messages must contain the word 'json' in some form to use 'text.format' of type "
            "'json_object'."
        )
        raise Refused(400, error_body(message, param="text.format"))


def too_long_body() -> dict[str, Any]:
    message = "Your input exceeds the context window of this model. Please adjust your input and try again."
    return error_body(message, code="context_length_exceeded", param="input")


# -- what is asked --------------------------------------------------------------------------------------------------


def talk_of(body: Mapping[str, Any]) -> Talk:
    """The words of a checked request, by who said them."""
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    messages = [item for item in items if item.get("type", "message") == "message"]

    def said_by(*roles: str) -> tuple[str, ...]:
        return tuple(words(message["content"]) for message in messages if message["role"] in roles)

    last = messages[-1]["content"] if messages and isinstance(messages[-1]["content"], list) else []
    pictures = [str(part["image_url"]) for part in last if part["type"] == "input_image"]
    system = "\n".join(text for text in (body.get("instructions"), *said_by("system", "developer")) if text)
    seen = tuple(describe({"url": picture}) for picture in pictures if picture.startswith("data:"))
    return Talk(system, said_by("user"), said_by("assistant"), seen)


def words(content: str | list[Item]) -> str:
    if isinstance(content, str):
        return content.strip()
    return "\n".join(part[TEXTS[part["type"]]] for part in content if part["type"] in TEXTS).strip()
