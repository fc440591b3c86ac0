"""Local OpenAI API: chat completions and models, answering from a few rules instead of a model.

What the real API refuses is refused here, with its status and its body. They come from
https://developers.openai.com/docs/guides/error-codes, from the SDK's source, and from error texts in public issues.
Only `model` and `messages` of a request shape the answer.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .canned_answers import LONG, MARKDOWN, NESTED_LIST, PRICES, QUOTATION, STEPS
from .openai_requests import problem_of
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
# the real API also knows tool and function, which nothing of ours sends
ROLES = ("system", "developer", "user", "assistant")
MODEL_PATH = re.compile(r"/v1/models/([^/]+)")
PART_TYPES = ("text", "image_url", "input_audio", "file", "refusal")
FREE_TEMPERATURE_MODELS = ("gpt-6-luna",)  # assumed of luna; most models take no other than 1
FIELD = Path(__file__).parents[1] / "data/field"  # the bodies of other services, as their users report them
QUOTE_CHARACTERS = 200  # an answer quotes no more than this of what was said


# -- errors -------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The request cannot be carried out; the caller gets `status` and `body`."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


def error_body(
    message: str, *, code: str | None = None, param: str | None = None, kind: str | None = "invalid_request_error"
) -> dict[str, Any]:
    """The JSON of an error; `kind` is its `type`."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def wrong_key_body(key: str) -> dict[str, Any]:
    """Like the real API it shows the first 8 and the last 4 characters of the key. For short keys this is assumed."""
    shown = key[:8] + "*" * (len(key) - 12) + key[-4:] if len(key) > 12 else key[:2] + "***"
    message = f"Incorrect API key provided: {shown}. You can find your API key at https://platform.openai.com/account/api-keys."
    return error_body(message, code="invalid_api_key")


def unknown_model_body(model: str) -> dict[str, Any]:
    message = f"The model `{model}` does not exist or you do not have access to it."
    return error_body(message, code="model_not_found")


def too_long_body(characters: int, limit: int) -> dict[str, Any]:
    """The real message counts tokens; here a character counts as one."""
    message = (
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in {characters} "
        "tokens. Please reduce the length of the messages."
    )
    return error_body(message, code="context_length_exceeded", param="messages")


def unsupported_value_body(temperature: float) -> dict[str, Any]:
    message = (
        f"Unsupported value: 'temperature' does not support {temperature:g} with this model. Only the default (1) "
        "value is supported."
    )
    return error_body(message, code="unsupported_value", param="temperature")


def no_money_body(code: str) -> dict[str, Any]:
    message = "You exceeded your current quota, please check your plan and billing details."
    return error_body(message, code=code, kind="insufficient_quota")


UNSUPPORTED_PARAMETER_BODY = error_body(
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    code="unsupported_parameter",
    param="max_tokens",
)

# Name -> status and body: a dict is sent as JSON, a str as HTML. The type of slow_down is assumed.
ERRORS: Mapping[str, tuple[int, dict[str, Any] | str]] = {
    "invalid_api_key": (401, wrong_key_body("sk-proj-0123456789abcdefghij")),
    "unsupported_country_region_territory": (
        403,
        error_body(
            "Country, region, or territory not supported",
            code="unsupported_country_region_territory",
            kind="request_forbidden",
        ),
    ),
    "model_not_found": (404, unknown_model_body("x")),
    "insufficient_quota": (429, no_money_body("insufficient_quota")),
    "credit_balance_exhausted": (429, no_money_body("credit_balance_exhausted")),
    "organization_spend_limit_exceeded": (429, no_money_body("organization_spend_limit_exceeded")),
    "project_spend_limit_exceeded": (429, no_money_body("project_spend_limit_exceeded")),
    "organization_usage_limit_exceeded": (429, no_money_body("organization_usage_limit_exceeded")),
    "rate_limit_exceeded": (
        429,
        error_body("Rate limit reached for requests", code="rate_limit_exceeded", kind="requests"),
    ),
    "context_length_exceeded": (400, too_long_body(500_000, 400_000)),
    "content_filter": (
        400,
        error_body("The prompt was filtered", code="content_filter", param="prompt", kind=None),
    ),
    "unsupported_parameter": (400, UNSUPPORTED_PARAMETER_BODY),
    "unsupported_value": (400, unsupported_value_body(0.2)),
    "server_error": (
        500,
        error_body("The server had an error while processing your request. Sorry about that!", kind="server_error"),
    ),
    "overloaded": (
        503,
        error_body("The engine is currently overloaded, please try again later", code="slow_down", kind="server_error"),
    ),
    "bad_gateway": (
        502,
        "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
        "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n",
    ),
}


def completion_body(model: str, answer: str | None, asked_characters: int = 0) -> dict[str, Any]:
    """The body of an answer. With None, the content filter has removed the text."""
    prompt, completion = asked_characters // 2 + 1, len(answer or "") // 2 + 1  # a token is about two characters
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": "content_filter" if answer is None else "stop",
                "logprobs": None,
                "message": {"role": "assistant", "content": answer, "refusal": None, "annotations": []},
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
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


# -- the rules that answer ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Talk:
    """What one request holds of a conversation, in order."""

    system: str  # system and developer messages
    questions: tuple[str, ...]  # what the person said; the last one is to be answered
    replies: tuple[str, ...]  # what was answered before
    pictures: tuple[str, ...] = ()  # of the last question: format and size


# "我是来问问题的" and "我是不是该睡了" are no introductions, "我是谁" is a question.
INTRODUCTION = re.compile(
    r"我(?:叫|是|的名字[是叫])\s*(?!什么|啥|谁|哪|不|来|在|想|要)([\w·]{1,8})(?=$|[\s，,。！!.～~])"
    r"|\b(?:my name is|call me)\s+([\w-]+)",
    re.IGNORECASE | re.MULTILINE,
)
NUMBER = r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*"
SUM = rf"^{NUMBER}([-+*/×÷]){NUMBER}(?:=|＝|等于|是)?\s*(?:几|多少)?\s*[?？]?\s*$"


def shortened(text: str) -> str:
    return text if len(text) <= QUOTE_CHARACTERS else text[:QUOTE_CHARACTERS] + "……"


def is_english(question: str) -> bool:
    """Whether all is ASCII but for marks like [图片], which the bot puts in."""
    return re.sub(r"\[[^\[\]]*\]", "", question).isascii()


def greet(found: re.Match[str], talk: Talk) -> str:
    if is_english(talk.questions[-1]):
        return "Hello! How can I help you?"
    return "你好！有什么可以帮你？"


def greet_by_name(found: re.Match[str], talk: Talk) -> str:
    name = found[1] or found[2]
    return f"Hello, {name}!" if found[2] else f"你好，{name}！"


def tell_name(found: re.Match[str], talk: Talk) -> str:
    english = is_english(talk.questions[-1])
    for question in reversed(talk.questions):
        introduced = INTRODUCTION.search(question)
        if introduced:
            name = introduced[1] or introduced[2]
            return f"Your name is {name}." if english else f"你叫{name}。"
    return "You have not told me your name yet." if english else "我还不知道你叫什么，你可以告诉我。"


def quote_question(found: re.Match[str], talk: Talk) -> str:
    english = is_english(talk.questions[-1])
    if len(talk.questions) < 2:
        return "This is the first thing you say." if english else "这是你说的第一句话。"
    before = shortened(talk.questions[-2])
    return f'You said: "{before}"' if english else f"你刚才说：「{before}」"


def quote_reply(found: re.Match[str], talk: Talk) -> str:
    english = is_english(talk.questions[-1])
    if not talk.replies:
        return "I have not said anything yet." if english else "我还没有说过话。"
    before = shortened(talk.replies[-1])
    return f'I said: "{before}"' if english else f"我刚才说：「{before}」"


def calculate(found: re.Match[str], talk: Talk) -> str:
    left, right = Decimal(found[1]), Decimal(found[3])
    if found[2] in "/÷" and not right:
        return "除数不能是 0。"
    value = {"+": left + right, "-": left - right, "*": left * right, "×": left * right}.get(found[2])
    if value is None:
        value = round(left / right, 6)
    digits = f"{value:f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return f"{found[1]}{found[2]}{found[3]}={digits}"


def introduce_itself(found: re.Match[str], talk: Talk) -> str:
    if talk.system and is_english(talk.questions[-1]):
        return f'I was told: "{shortened(talk.system)}"'
    if talk.system:
        return f"我的设定是：「{shortened(talk.system)}」"
    if is_english(talk.questions[-1]):
        return "I am the stand-in for ChatGPT on this machine. There is no real model behind me."
    return "我是本机的模拟 ChatGPT，背后没有真正的模型。"


def canned(answers: tuple[str, str]) -> Callable[[re.Match[str], Talk], str]:
    """The rule that answers a Chinese question with the first text and an English one with the second."""
    return lambda found, talk: answers[is_english(talk.questions[-1])]


def describe_pictures(talk: Talk) -> str:
    pictures = "；".join(talk.pictures)
    return f"我看到 {len(talk.pictures)} 张图片：{pictures}。你说的是「{shortened(talk.questions[-1])}」。"


def echo(talk: Talk) -> str:
    number, said = len(talk.questions), shortened(talk.questions[-1])
    if is_english(said):
        return f'You said: "{said}". This is question {number} of this conversation.'
    return f"你说的是「{said}」。这是本次对话的第 {number} 个问题。"


# The first pattern found in the last question answers it; `echo` answers what no pattern fits.
RULES: tuple[tuple[str | re.Pattern[str], Callable[[re.Match[str], Talk], str]], ...] = (
    (r"长文|\blong\b", canned(LONG)),
    (r"分步|步骤|\bsteps\b", canned(STEPS)),
    (r"价目表|\bprice list\b", canned(PRICES)),
    (r"多层列表|\bnested list\b", canned(NESTED_LIST)),
    (r"名言|\bquotation\b", canned(QUOTATION)),
    (r"代码|表格|\b(?:markdown|code|table)\b", canned(MARKDOWN)),
    (r"我(?:刚才|刚刚|上一句)[说问][了的]?是?(?:什么|啥)|what did i (?:just )?(?:say|ask)", quote_question),
    (r"你(?:刚才|刚刚|上一句)(?:说|回答)[了的]?是?(?:什么|啥)|what did you (?:just )?(?:say|answer)", quote_reply),
    (r"我叫(?:什么|啥)|我是谁|我的名字[是叫]?(?:什么|啥)|what(?:'s| is) my name|who am i", tell_name),
    (INTRODUCTION, greet_by_name),
    (r"你是谁|who are you", introduce_itself),
    (SUM, calculate),
    (r"^\s*(?:你好|您好|嗨|哈喽|早上好|下午好|晚上好|hello|hi)\s*[啊呀]?[!！。.~～，,]*\s*$", greet),
)


def answer(talk: Talk) -> str:
    """What the stand-in says: the same for the same messages."""
    if not talk.questions:
        return "请问有什么问题？"
    if talk.pictures:
        return describe_pictures(talk)
    for pattern, rule in RULES:
        found = re.search(pattern, talk.questions[-1], 0 if isinstance(pattern, re.Pattern) else re.I | re.M)
        if found:
            return rule(found, talk)
    return echo(talk)


# -- the server ---------------------------------------------------------------------------------------------


class OpenaiApi(StandIn):
    """api.openai.com while its `with` block lasts.

    `asked` holds the bodies of the chat completions that were carried out: what a real account would have paid for.
    """

    def __init__(
        self,
        keys: Collection[str] = ("sk-example",),
        models: Collection[str] = ("gpt-6-luna", "gpt-6-sol"),
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
        """Answer the next requests, whatever they ask, with an entry of ERRORS or ODD_ANSWERS."""
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
        check_pictures(body["messages"], self.blind)
        if characters > self.context_characters:
            raise Refused(400, too_long_body(characters, self.context_characters))
        check_types({"messages": body["messages"]})
        with self._lock:
            self.asked.append(body)
            scripted = self._scripted.popleft() if self._scripted else None
        time.sleep(self.think_seconds)
        text = answer(talk_of(body["messages"])) if scripted is None else scripted
        return cut(completion_body(body["model"], text, characters), body.get("max_completion_tokens"))

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
                raise Refused(400, error_body(f"Unrecognized request argument supplied: {name}"))
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise Refused(400, error_body("you must provide a model parameter"))
        self._check_model(body["model"])
        if "messages" not in body:
            message = "Missing required parameter: 'messages'."
            raise Refused(400, error_body(message, code="missing_required_parameter", param="messages"))
        if body.get("max_tokens") is not None:
            raise Refused(400, UNSUPPORTED_PARAMETER_BODY)
        if body.get("stream"):
            # the real API streams; nothing of ours asks for it
            raise Refused(400, error_body("The stand-in does not stream.", code="unsupported_value", param="stream"))
        check_types({name: value for name, value in body.items() if name != "messages"})
        temperature = body.get("temperature")
        if temperature not in (None, 1) and body["model"] not in FREE_TEMPERATURE_MODELS:
            raise Refused(400, unsupported_value_body(temperature))


def error_fault(
    name: str,
    *,
    where: Callable[[Received], bool] = lambda received: True,
    times: int = 1,
    retry_after: str | None = None,
) -> Fault:
    """A planned answer with an entry of ERRORS or ODD_ANSWERS."""
    if name in ODD_ANSWERS:
        status = 200
        content_type, text = ODD_ANSWERS[name]
    else:
        status, body = ERRORS[name]
        content_type = "text/html" if isinstance(body, str) else "application/json"
        text = body if isinstance(body, str) else json.dumps(body)
    headers = [("Content-Type", content_type), ("x-request-id", new_request_id())]
    if retry_after is not None:
        headers.append(("Retry-After", retry_after))
    return Fault(where, times, status=status, body=text, headers=tuple(headers))


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


def json_body(received: Received) -> dict[str, Any]:
    if received.media_type != "application/json":
        message = (
            f"Unsupported content type: '{received.media_type}'. "
            "This API method only accepts 'application/json' requests."
        )
        raise Refused(400, error_body(message, code="unsupported_content_type"))
    try:
        body = json.loads(received.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, error_body("We could not parse the JSON body of your request."))
    return body


def wrong_type(param: str, expected: str) -> Refused:
    return Refused(
        400, error_body(f"Invalid type for '{param}': expected {expected}.", code="invalid_type", param=param)
    )


def check_types(parameters: Mapping[str, Any]) -> None:
    """Refuse what the request types of the openai package refuse, and what is out of its range."""
    problem = problem_of(parameters)
    if problem:
        raise Refused(400, error_body(problem.message, code=problem.code, param=problem.param))


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
    characters = 0
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise wrong_type(where, "an object")
        if message.get("role") not in ROLES:
            text = f"Invalid value: '{message.get('role')}'. Supported values are: {', '.join(map(repr, ROLES))}."
            raise Refused(400, error_body(text, code="invalid_value", param=f"{where}.role"))
        characters += check_content(message.get("content"), f"{where}.content")
    return characters


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
            text = f"Invalid value: '{part.get('type')}'. Supported values are: {', '.join(map(repr, PART_TYPES))}."
            raise Refused(400, error_body(text, code="invalid_value", param=f"{where}[{index}].type"))
        if part["type"] == "text":
            if not isinstance(part.get("text"), str):
                raise wrong_type(f"{where}[{index}].text", "a string")
            characters += len(part["text"])
    return characters


def talk_of(messages: list[dict[str, Any]]) -> Talk:
    """The words of a checked list of messages, by who said them."""

    def said_by(*roles: str) -> tuple[str, ...]:
        return tuple(words(message["content"]) for message in messages if message["role"] in roles)

    pictures = tuple(describe(one) for one in pictures_in(messages[-1:]) if one["url"].startswith("data:"))
    return Talk("\n".join(said_by("system", "developer")), said_by("user"), said_by("assistant"), pictures)


def words(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content.strip()
    return "\n".join(part["text"] for part in content if part["type"] == "text").strip()


# -- pictures -----------------------------------------------------------------------------------------------

# How services say that a model does not look at pictures, all with status 400; from issues of their users.
NO_VISION: Mapping[str, dict[str, Any]] = {
    "openai": error_body(
        "Invalid content type. image_url is only supported by certain models.",
        param="messages.[0].content.[1].type",
    ),
    "deepseek": error_body(
        "Failed to deserialize the JSON body into the target type: messages[1]: unknown variant `image_url`, "
        "expected `text` at line 1 column 395009",
        code="invalid_request_error",
    ),
    "qwen": error_body(
        "<400> InternalError.Algo.InvalidParameter: The provided messages input is invalid. The error info is "
        "[Unexpected item type in content.]",
        code="invalid_parameter_error",
    ),
    "glm": {"error": {"code": "1210", "message": "messages.content.type 参数非法，取值范围 ['text']"}},
    "glm, short": {"error": {"code": "1210", "message": "API 调用参数有误，请检查文档。"}},
}
DATA_URL = re.compile(r"data:image/([a-z+]+);base64,([A-Za-z0-9+/]+={0,2})")
MAX_PICTURE_CHARACTERS = 20_971_520  # of a data URL
MAX_PICTURES = 500
SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF"}


def pictures_in(messages: list[dict[str, Any]]) -> list[Any]:
    """What stands in the url of each picture."""
    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    return [part.get("image_url") for part in parts if part["type"] == "image_url"]


def check_pictures(messages: list[dict[str, Any]], blind: str) -> None:
    """Refuse what is no picture in a data URL. The real API also fetches addresses; nothing of ours sends them."""
    found = pictures_in(messages)
    if found and blind:
        raise Refused(400, NO_VISION[blind])
    if len(found) > MAX_PICTURES:
        raise Refused(400, error_body("Too many images.", code="invalid_value", param="messages"))
    for picture in found:
        if not isinstance(picture, dict) or not isinstance(picture.get("url"), str):
            raise wrong_type("image_url", "an object")
        if picture.get("detail", "auto") not in ("auto", "low", "high"):
            raise Refused(400, error_body("Invalid value: 'detail'.", code="invalid_value", param="detail"))
        if picture["url"].startswith(("http://", "https://")):
            continue
        data_url = DATA_URL.fullmatch(picture["url"])
        if len(picture["url"]) > MAX_PICTURE_CHARACTERS:
            raise Refused(400, error_body("The image is too large.", code="image_too_large", param="image_url"))
        if not data_url or len(data_url[2]) % 4:
            raise Refused(400, error_body("Invalid base64 image_url.", code="invalid_base64_image", param="image_url"))
        if not base64.b64decode(data_url[2][:16]).startswith(SIGNATURES.get(data_url[1], b"?")):
            message = "You uploaded an unsupported image. Please make sure your image is valid."
            raise Refused(400, error_body(message, code="invalid_image_format", param="image_url"))


def describe(picture: dict[str, str]) -> str:
    """Format, size in pixels where that is simple, and bytes: 'PNG，2×1 像素，71 字节'."""
    kind, encoded = DATA_URL.fullmatch(picture["url"]).groups()  # type: ignore[union-attr]
    data = base64.b64decode(encoded)
    size = {"png": struct.unpack_from(">II", data.ljust(24), 16), "gif": struct.unpack_from("<HH", data.ljust(10), 6)}
    pixels = "{}×{} 像素，".format(*size[kind]) if kind in size else ""
    return f"{kind.upper()}，{pixels}{len(data)} 字节"


def new_request_id() -> str:
    return f"req_{uuid.uuid4().hex}"
