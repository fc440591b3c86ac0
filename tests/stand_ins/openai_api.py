"""Local OpenAI API: chat completions, responses and models, answering from a few rules instead of a model.

What the real API refuses is refused here, with its status and its body. They come from
https://developers.openai.com/docs/guides/error-codes, from the SDK's source, and from error texts in public issues.
Only the model, the messages and the own tools of the service shape the answer.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from . import openai_responses, response_bodies
from .chat_rules import Talk, answer_to
from .odd_answers import ODD_ANSWERS, SEEN, Seen, completion_body
from .openai_errors import (
    ERRORS,
    ONLY_THE_DEFAULT,
    UNSUPPORTED_PARAMETER_BODY,
    Refused,
    error_body,
    json_body,
    missing_body,
    too_long_body,
    unknown_model_body,
    unknown_parameter_body,
    unsupported_value_body,
    wrong_key_body,
    wrong_type,
)
from .openai_pictures import check_pictures, describe, pictures_in
from .openai_requests import problem_of, refuse, supported, tools_problem
from .server import Answer, Fault, Received, StandIn, json_answer

# Every top-level parameter of openai 3.54.0's CompletionCreateParams: the real API refuses any other one.
PARAMETERS = """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
    metadata modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier
    stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity
    web_search_options
"""
KNOWN_PARAMETERS = frozenset(PARAMETERS.split())
# the real API also knows function, which nothing of ours sends
ROLES = ("system", "developer", "user", "assistant", "tool")
MODEL_PATH = re.compile(r"/v1/models/([^/]+)")
TOOL_TYPES = ("function", "custom")
PART_TYPES = ("text", "image_url", "input_audio", "file", "refusal")
SEARCH_MODELS = ("gpt-5-search-api",)  # the only ones that search in a chat completion
EFFORTS = ("none", "low", "medium", "high", "xhigh")  # of gpt-6; the types also know minimal and max
FIELD = Path(__file__).parents[1] / "data/field"  # the bodies of other services, as their users report them


# -- the server ---------------------------------------------------------------------------------------------


class OpenaiApi(StandIn):
    """api.openai.com while its `with` block lasts.

    `asked` holds the bodies of the questions that were carried out, of both forms: what a real account would have paid
    for.
    """

    def __init__(
        self,
        keys: Collection[str] = ("sk-example",),
        models: Collection[str] = ("gpt-6-luna", "gpt-6-sol", *SEARCH_MODELS),
        think_seconds: float = 0.0,
        context_characters: int = 400_000,
    ) -> None:
        super().__init__()
        self.keys = keys
        self.models = models
        self.think_seconds = think_seconds
        self.context_characters = context_characters
        self.asked: list[dict[str, Any]] = []
        self.blind = ""  # how this service says that its model does not look at pictures: a key of NO_VISION
        self._scripted: deque[str] = deque()

    @property
    def base_url(self) -> str:
        return self.url + "/v1"

    def answer_next(self, *answers: str) -> None:
        """Answer the next questions with these, in order; after them the rules answer again."""
        with self._lock:
            self._scripted.extend(answers)

    def fail_next(self, name: str, times: int = 1, retry_after: str | None = None) -> None:
        """Answer the next requests, whatever they ask, with an entry of ERRORS, ODD_ANSWERS or SEEN."""
        self.plan(error_fault(name, times=times, retry_after=retry_after))

    def play(self, case: Mapping[str, Any], times: int = 1) -> None:
        """Answer the next requests, whatever they ask, as a case of tests/data/field says."""
        self.plan(field_fault(case, times=times))

    def reset(self) -> None:
        super().reset()
        with self._lock:
            self.asked.clear()
            self._scripted.clear()
        self.blind = ""

    # -- one request --------------------------------------------------------------------------------------

    def respond(self, received: Received) -> Answer:
        model = MODEL_PATH.fullmatch(received.path)
        try:
            if (received.method, received.path) == ("POST", "/v1/chat/completions"):
                answer = json_answer(self._complete(received))
            elif (received.method, received.path) == ("POST", "/v1/responses"):
                answer = json_answer(self._create_response(received))
            elif received.method == "GET" and model:
                answer = json_answer(self._describe(received, unquote(model[1])))
            else:  # assumed: also where only the method is wrong
                raise Refused(404, error_body(f"Invalid URL ({received.method} {received.path})"))
        except Refused as refused:
            answer = json_answer(refused.body, refused.status)
        return answer.with_header("x-request-id", new_request_id())

    def _complete(self, received: Received) -> dict[str, Any]:
        """The body of a chat completion."""
        self._check_key(received.headers.get("Authorization", ""))
        body = json_body(received)
        self._check_parameters(body)
        characters = check_messages(body["messages"])
        check_json_mode(body)
        check_pictures(body["messages"], self.blind)
        if characters > self.context_characters:
            raise Refused(400, too_long_body(characters, self.context_characters))
        check_types({"messages": body["messages"]})
        talk = talk_of(body["messages"])
        scripted = self._take_script(body)
        answer = completion_body(body["model"], answer_to(talk) if scripted is None else scripted, characters)
        if body["model"] in SEARCH_MODELS and talk.questions and scripted is None:
            (choice,) = answer["choices"]
            choice["message"]["content"], source = response_bodies.found(talk.questions[-1])
            choice["message"]["annotations"] = [{"type": source.pop("type"), "url_citation": source}]
        return cut(answer, body.get("max_completion_tokens"))

    def _create_response(self, received: Received) -> dict[str, Any]:
        """The body of a response."""
        self._check_key(received.headers.get("Authorization", ""))
        body = json_body(received)
        characters = openai_responses.check_request(body, self.models, self.blind)
        if characters > self.context_characters and body.get("truncation") != "auto":
            raise Refused(400, openai_responses.too_long_body())
        talk = openai_responses.talk_of(body)
        output = response_bodies.output_of(body, talk, self._take_script(body))
        return response_bodies.cut(response_bodies.response_body(body, output, asked_characters=characters))

    def _take_script(self, body: dict[str, Any]) -> str | None:
        """Put the question on record, and think; the scripted answer to it, or None."""
        with self._lock:
            self.asked.append(body)
            scripted = self._scripted.popleft() if self._scripted else None
        time.sleep(self.think_seconds)
        return scripted

    def _describe(self, received: Received, model: str) -> dict[str, Any]:
        """The body of the description of a model."""
        self._check_key(received.headers.get("Authorization", ""))
        self._check_model(model)
        return {"id": model, "object": "model", "created": 1_795_334_400, "owned_by": "system", "shutdown_date": None}

    # -- checks -------------------------------------------------------------------------------------------

    def _check_key(self, authorization: str) -> None:
        scheme, _, key = authorization.partition(" ")
        if scheme != "Bearer" or not key:
            message = (
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
            raise Refused(401, error_body(message))
        if key not in self.keys:
            raise Refused(401, wrong_key_body(key))

    def _check_model(self, model: str) -> None:
        if model not in self.models:
            raise Refused(404, unknown_model_body(model))

    def _check_parameters(self, body: dict[str, Any]) -> None:
        """An optional parameter that is null counts as absent."""
        for name in body:
            if name not in KNOWN_PARAMETERS:
                raise Refused(400, unknown_parameter_body(name))
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise Refused(400, error_body("you must provide a model parameter"))
        self._check_model(body["model"])
        if "messages" not in body:
            raise Refused(400, missing_body("messages"))
        if body.get("max_tokens") is not None:
            raise Refused(400, UNSUPPORTED_PARAMETER_BODY)
        if body.get("stream"):
            # the real API streams; nothing of ours asks for it
            raise Refused(400, error_body("The stand-in does not stream.", code="unsupported_value", param="stream"))
        refuse(tools_problem(body.get("tools"), TOOL_TYPES))
        check_types({name: value for name, value in body.items() if name != "messages"})
        check_what_the_model_can(body)


def error_fault(
    name: str,
    *,
    where: Callable[[Received], bool] = lambda received: True,
    times: int = 1,
    retry_after: str | None = None,
) -> Fault:
    """A planned answer with an entry of ERRORS, ODD_ANSWERS or SEEN."""
    if name in SEEN:
        seen = SEEN[name]
    elif name in ODD_ANSWERS:
        content_type, text = ODD_ANSWERS[name]
        seen = Seen(text, 200, content_type)
    else:
        status, body = ERRORS[name]
        seen = Seen(body, status, "text/html") if isinstance(body, str) else Seen(json.dumps(body), status)
    headers = [("Content-Type", seen.content_type), ("x-request-id", new_request_id()), *seen.headers]
    if retry_after is not None:
        headers.append(("Retry-After", retry_after))
    return Fault(
        where,
        times,
        status=seen.status,
        body=seen.body if isinstance(seen.body, str) else seen.body(),
        headers=tuple(headers),
        byte_seconds=seen.endless or 0.0,
        endless=seen.endless is not None,
    )


def field_cases(name: str) -> list[dict[str, Any]]:
    """What services and clients were reported to send, such as `model_errors`, those that were found later included."""
    files = (FIELD / f"{name}.jsonl", FIELD / f"{name}_more.jsonl")
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def field_fault(
    case: Mapping[str, Any], *, where: Callable[[Received], bool] = lambda received: True, times: int = 1
) -> Fault:
    """A planned answer with the status, the headers and the body of a case."""
    body = case["body"]
    text, content_type = (body, "text/html") if isinstance(body, str) else (json.dumps(body), "application/json")
    headers = case.get("headers", {"Content-Type": content_type})
    return Fault(where, times, status=case.get("status", 200), body=text, headers=tuple(headers.items()))


def check_types(parameters: Mapping[str, Any]) -> None:
    """Refuse what the request types of the openai package refuse, and what is out of its range."""
    refuse(problem_of(parameters))


def check_what_the_model_can(body: dict[str, Any]) -> None:
    """Refuse what the API knows and this model does not: seen of gpt-6 in September 2026."""
    model, effort = body["model"], body.get("reasoning_effort")
    if body.get("web_search_options") is not None and model not in SEARCH_MODELS:
        message = "Web search options not supported with this model."
        raise Refused(400, error_body(message, param="web_search_options"))
    if effort is not None and effort not in EFFORTS:
        raise Refused(400, unsupported_value_body("reasoning_effort", f"'{effort}'", supported(EFFORTS)))
    if body.get("tools") and effort != "none":
        message = (
            f"Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. "
            "To use function tools, use /v1/responses or set reasoning_effort to 'none'."
        )
        raise Refused(400, error_body(message, param="reasoning_effort"))
    if body.get("temperature") not in (None, 1) and effort != "none":
        raise Refused(400, unsupported_value_body("temperature", f"{body['temperature']:g}", ONLY_THE_DEFAULT))


def check_json_mode(body: dict[str, Any]) -> None:
    """Who wants JSON has to say so in the messages, too."""
    if (body.get("response_format") or {}).get("type") != "json_object":
        return
    if not any("json" in words(message.get("content")).lower() for message in body["messages"]):
        message = (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )
        raise Refused(400, error_body(message, param="messages"))


def cut(body: dict[str, Any], max_tokens: int | None) -> dict[str, Any]:
    """The body of an answer of which the model may not write more than this."""
    usage, (choice,) = body["usage"], body["choices"]
    if max_tokens is None or usage["completion_tokens"] <= max_tokens:
        return body
    choice["finish_reason"] = "length"
    choice["message"]["content"] = choice["message"]["content"][: 2 * max_tokens - 1]  # as completion_body counts
    usage["completion_tokens"] = max_tokens
    usage["total_tokens"] = usage["prompt_tokens"] + max_tokens
    return body


def check_messages(messages: object) -> int:
    """Check all messages; the number of their characters."""
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array of objects")
    if not messages:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1."
        raise Refused(400, error_body(message, code="empty_array", param="messages"))
    characters, called = 0, set[object]()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise wrong_type(where, "an object")
        if message.get("role") not in ROLES:
            text = f"Invalid value: '{message.get('role')}'. {supported(ROLES)}"
            raise Refused(400, error_body(text, code="invalid_value", param=f"{where}.role"))
        called = check_calls(message, called, where)
        if message.get("content") is not None or not called or message["role"] != "assistant":
            characters += check_content(message.get("content"), f"{where}.content")
    if called:
        raise Refused(400, unanswered_calls_body(called))
    return characters


def check_calls(message: dict[str, Any], called: set[object], where: str) -> set[object]:
    """Check that the calls of tools, those before this message included, are answered at once; which are open."""
    if message["role"] == "tool":
        if message.get("tool_call_id") not in called:
            text = (
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                "'tool_calls'."
            )
            raise Refused(400, error_body(text, param=f"{where}.role"))
        return called - {message["tool_call_id"]}
    if called:
        raise Refused(400, unanswered_calls_body(called))
    calls = message.get("tool_calls") if message["role"] == "assistant" else None
    if not isinstance(calls, list):
        return set()
    return {call.get("id") for call in calls if isinstance(call, dict)}


def unanswered_calls_body(called: set[object]) -> dict[str, Any]:
    message = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(map(str, called))}"
    )
    return error_body(message, param="messages")


def check_content(content: object, where: str) -> int:
    """Check one content; the number of its characters. Like the real API it takes an empty text and an empty list."""
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, list):
        raise wrong_type(where, "one of a string or array of objects")
    characters = 0
    for index, part in enumerate(content):
        if not isinstance(part, dict):
            raise wrong_type(f"{where}[{index}]", "an object")
        if part.get("type") not in PART_TYPES:
            text = f"Invalid value: '{part.get('type')}'. {supported(PART_TYPES)}"
            raise Refused(400, error_body(text, code="invalid_value", param=f"{where}[{index}].type"))
        if part["type"] == "text":
            if not isinstance(part.get("text"), str):
                raise wrong_type(f"{where}[{index}].text", "a string")
            characters += len(part["text"])
    return characters


def talk_of(messages: list[dict[str, Any]]) -> Talk:
    """The words of a checked list of messages, by who said them."""

    def said_by(*roles: str) -> tuple[str, ...]:
        return tuple(words(message.get("content")) for message in messages if message["role"] in roles)

    pictures = tuple(describe(one) for one in pictures_in(messages[-1:]) if one["url"].startswith("data:"))
    return Talk("\n".join(said_by("system", "developer")), said_by("user"), said_by("assistant"), pictures)


def words(content: str | list[dict[str, Any]] | None) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content.strip()
    return "\n".join(part["text"] for part in content if part["type"] == "text").strip()


def new_request_id() -> str:
    return f"req_{uuid.uuid4().hex}"
