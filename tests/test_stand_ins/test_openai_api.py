"""The local OpenAI API, driven by the real SDK: what it refuses, what it answers, and how it fails on demand."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests
from openai.types.chat import ChatCompletion, completion_create_params

from tests.stand_ins.canned_answers import LONG
from tests.stand_ins.odd_answers import ODD_ANSWERS
from tests.stand_ins.openai_api import KNOWN_PARAMETERS, OpenaiApi
from tests.stand_ins.openai_errors import ERRORS
from tests.stand_ins.openai_pictures import NO_VISION
from tests.stand_ins.server import Fault

KEY = "sk-example"
HELLO = [{"role": "user", "content": "你好"}]
PNG = "data:image/png;base64,iVBORw0KGgoAAAAA"


@pytest.fixture(scope="module")
def running() -> Iterator[OpenaiApi]:
    with OpenaiApi() as api:
        yield api


@pytest.fixture
def api(running: OpenaiApi) -> OpenaiApi:
    """One server for all tests, with nothing left of the test before."""
    running.reset()
    return running


@pytest.fixture(scope="module")
def client(running: OpenaiApi) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=running.base_url, max_retries=0, timeout=5) as client:
        yield client


def ask(client: openai.OpenAI, *texts: str, system: str = "", **more: Any) -> Any:
    """The answer to the last of `texts`, which alternate between user and assistant."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]
    arguments: dict[str, Any] = {"model": "gpt-6-luna", "messages": messages, **more}
    return client.chat.completions.create(**arguments)


def answer_to(client: openai.OpenAI, *texts: str, system: str = "") -> str:
    content = ask(client, *texts, system=system).choices[0].message.content
    assert isinstance(content, str)
    return content


def post(api: OpenaiApi, changes: dict[str, Any] | None = None, **how: Any) -> requests.Response:
    """A valid question with one thing spoiled: `changes` to its body, or another argument of requests.post."""
    body = {"model": "gpt-6-luna", "messages": HELLO, **(changes or {})}
    how.setdefault("headers", {"Authorization": f"Bearer {KEY}"})
    if "data" not in how:
        how["json"] = {name: value for name, value in body.items() if value is not ...}
    return requests.post(how.pop("url", api.base_url + "/chat/completions"), timeout=5, **how)


# -- a good request -----------------------------------------------------------------------------------------


def test_good_question_is_answered_in_the_real_shape(api: OpenaiApi, client: openai.OpenAI) -> None:
    """Every part of an answer that a bot may read is there."""
    answer = ask(client, "你好")
    assert (answer.id[:9], len(answer.id)) == ("chatcmpl-", 38)
    assert (answer.object, answer.model) == ("chat.completion", "gpt-6-luna")
    assert abs(answer.created - time.time()) < 5
    [choice] = answer.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert (
        answer.usage.prompt_tokens_details.cached_tokens == answer.usage.completion_tokens_details.reasoning_tokens == 0
    )
    assert (answer.service_tier, answer.system_fingerprint) == ("default", None)
    assert answer._request_id.startswith("req_")


def test_answer_has_the_keys_of_a_recorded_one(api: OpenaiApi) -> None:
    """In their order, and none for what was not asked for, such as logprobs."""
    body = post(api).json()
    assert list(body) == ["id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"]
    assert list(body["choices"][0]) == ["index", "message", "finish_reason"]
    assert list(body["choices"][0]["message"]) == ["role", "content", "refusal", "annotations"]
    ChatCompletion.model_validate_json(json.dumps(body), strict=True)


def test_carried_out_question_is_on_record(api: OpenaiApi, client: openai.OpenAI) -> None:
    """`asked` is what a real account would have paid for."""
    ask(client, "你好")
    assert api.asked == [{"model": "gpt-6-luna", "messages": HELLO}]


def test_refused_question_is_not_on_record(api: OpenaiApi) -> None:
    """A refused question costs nothing."""
    assert post(api, {"model": "x"}).status_code == 404
    assert api.asked == []


def test_parts_are_read_like_text(api: OpenaiApi) -> None:
    """A content may be a list of parts."""
    parts = [
        {"type": "text", "text": "1+1=?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/1.png"}},
    ]
    answer = post(api, {"messages": [{"role": "user", "content": parts}]})
    assert answer.json()["choices"][0]["message"]["content"] == "1+1=2"


def test_slow_model_takes_its_time() -> None:
    """`think_seconds` makes every answer slow."""
    with OpenaiApi(think_seconds=0.2) as api:
        started = time.monotonic()
        post(api)
        assert time.monotonic() - started >= 0.2


def test_known_model_is_described(api: OpenaiApi, client: openai.OpenAI) -> None:
    """A self-check can retrieve the model."""
    model = client.models.retrieve("gpt-6-luna")
    assert (model.id, model.object, model.shutdown_date) == ("gpt-6-luna", "model", None)


# -- what is refused ----------------------------------------------------------------------------------------


def test_wrong_key_is_refused_and_shown_masked(api: OpenaiApi) -> None:
    """The real message shows both ends of the key: that is why it must not reach the chat."""
    answer = post(api, headers={"Authorization": "Bearer sk-wrong-0123456789"})
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["code"] == "invalid_api_key"
    assert "sk-wrong*******6789." in error["message"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"}])
def test_missing_key_is_refused(api: OpenaiApi, headers: dict[str, str]) -> None:
    """Only `Bearer <key>` names a key."""
    answer = post(api, headers=headers)
    assert answer.status_code == 401
    assert "didn't provide an API key" in answer.json()["error"]["message"]


def test_model_is_described_to_a_known_key_only(api: OpenaiApi) -> None:
    """The self-check finds a wrong key."""
    assert requests.get(api.base_url + "/models/gpt-6-luna", timeout=5).status_code == 401


def test_unknown_model_is_refused(api: OpenaiApi, client: openai.OpenAI) -> None:
    """A model that was shut down is not found, neither asked nor retrieved."""
    for attempt in (
        lambda: ask(client, "你好", model="gpt-3.5-turbo"),
        lambda: client.models.retrieve("gpt-3.5-turbo"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            attempt()
        assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("base", ["", "/v2", "//v1", "/v1/v1", "/v1//v1", "/v1/chat"])
def test_unknown_address_is_not_found(api: OpenaiApi, client: openai.OpenAI, base: str) -> None:
    """A base URL with a slash or a /v1 too many does not work by luck, and the error names the address as sent."""
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client.with_options(base_url=api.url + base), "你好")
    message = f"Invalid URL (POST {base}/chat/completions)"
    assert caught.value.body == {"message": message, "type": "invalid_request_error", "param": None, "code": None}


def test_trailing_slash_of_the_address_is_not_found(api: OpenaiApi) -> None:
    """The address is exact."""
    assert post(api, url=api.base_url + "/chat/completions/").status_code == 404


def test_wrong_method_is_not_found(api: OpenaiApi) -> None:
    """Chat completions are posted."""
    assert (
        requests.get(api.base_url + "/chat/completions", timeout=5).json()["error"]["message"].startswith("Invalid URL")
    )


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": ...}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "你好"}, "messages"),
        ({"messages": ["你好"]}, "messages[0]"),
        ({"messages": [{"content": "你好"}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "bot", "content": "你好"}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["你好"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "words"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"stream": True}, "stream"),
    ],
)
def test_spoiled_body_is_refused_by_name(api: OpenaiApi, changes: dict[str, Any], param: str) -> None:
    """The error names the parameter that is wrong."""
    answer = post(api, changes)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_missing_model_is_refused(api: OpenaiApi) -> None:
    """There is no default model."""
    answer = post(api, {"model": ...})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "you must provide a model parameter")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null"])
def test_body_that_is_no_json_object_is_refused(api: OpenaiApi, body: bytes) -> None:
    """Only a JSON object can be a question."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    answer = post(api, data=body, headers=headers)
    assert answer.status_code == 400
    assert "could not parse the JSON body" in answer.json()["error"]["message"]


def test_other_content_type_is_refused(api: OpenaiApi) -> None:
    """JSON that does not say so is refused."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "text/plain"}
    answer = post(api, data=json.dumps({"model": "gpt-6-luna", "messages": HELLO}), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_content_type")


def test_unknown_parameter_is_refused(api: OpenaiApi, client: openai.OpenAI) -> None:
    """A misspelt option is no silent no-op."""
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'temprature'"):
        ask(client, "你好", extra_body={"temprature": 1})


def test_every_parameter_of_the_sdk_is_known() -> None:
    """The list is the one of the SDK that the project pins."""
    base = completion_create_params.CompletionCreateParamsBase.__annotations__
    assert {*base, "stream"} == KNOWN_PARAMETERS


def test_max_tokens_is_refused(api: OpenaiApi, client: openai.OpenAI) -> None:
    """Models from gpt-5 on want max_completion_tokens."""
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "你好", max_tokens=100)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "max_tokens")
    assert ask(client, "你好", max_completion_tokens=100).choices


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-6-sol"])
def test_temperature_is_refused_while_the_model_reasons(api: OpenaiApi, client: openai.OpenAI, model: str) -> None:
    """The default is the only one, unless the effort is none."""
    with pytest.raises(openai.BadRequestError, match="does not support 0") as caught:
        ask(client, "你好", model=model, temperature=0.2)
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "temperature")
    assert ask(client, "你好", model=model, temperature=1).choices
    assert ask(client, "你好", model=model, temperature=0.2, reasoning_effort="none").choices


WEATHER = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize(
    ("options", "code", "param", "words"),
    [
        ({"web_search_options": {}}, None, "web_search_options", "Web search options not supported with this model."),
        ({"response_format": {"type": "json_object"}}, None, "messages", "must contain the word 'json' in some form"),
        ({"reasoning_effort": "minimal"}, "unsupported_value", "reasoning_effort", "does not support 'minimal'"),
        ({"reasoning_effort": "max"}, "unsupported_value", "reasoning_effort", "does not support 'max'"),
        ({"tools": [WEATHER]}, None, "reasoning_effort", "Function tools with reasoning_effort are not supported"),
        ({"tools": [{"type": "web_search"}]}, "invalid_value", "tools[0].type", "'function' and 'custom'"),
        ({"plugins": [{"id": "web"}]}, "unknown_parameter", "plugins", "Unknown parameter: 'plugins'."),
        ({"enable_search": True}, "unknown_parameter", "enable_search", "Unknown parameter: 'enable_search'."),
    ],
)
def test_option_that_the_model_does_not_know_is_refused(
    api: OpenaiApi, options: dict[str, Any], code: str | None, param: str, words: str
) -> None:
    """Whatever CHATGPT_OPTIONS may hold for another service."""
    answer = post(api, options)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert words in error["message"]
    assert not api.asked


def test_model_that_searches_names_its_source(api: OpenaiApi, client: openai.OpenAI) -> None:
    """In the text, and where the annotation says."""
    completion = ask(client, "Python 有什么新闻？", model="gpt-5-search-api")
    ChatCompletion.model_validate_json(completion.to_json(), strict=True)
    (annotation,) = completion.choices[0].message.annotations
    source, text = annotation.url_citation, completion.choices[0].message.content
    assert text[source.start_index : source.end_index] == f"([docs.python.org]({source.url}))"


@pytest.mark.parametrize(
    "changes",
    [
        {"web_search_options": {}, "model": "gpt-5-search-api"},
        {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "你好，用 JSON 回答"}]},
        {"reasoning_effort": "xhigh"},
        {"reasoning_effort": "none", "tools": [WEATHER]},
    ],
    ids=str,
)
def test_option_that_the_model_knows_is_taken(api: OpenaiApi, changes: dict[str, Any]) -> None:
    """The other side of each refusal."""
    assert post(api, changes).status_code == 200


CALLED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALL = {"role": "assistant", "content": None, "tool_calls": [CALLED]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "晴"}


def test_answered_call_of_a_tool_is_taken(api: OpenaiApi) -> None:
    """The assistant says nothing beside it: its content is null."""
    answer = post(api, {"messages": [*HELLO, CALL, RESULT]})
    assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, "你好！有什么可以帮你？")


@pytest.mark.parametrize(
    ("messages", "param", "words"),
    [
        ([*HELLO, CALL], "messages", "did not have response messages: call_1"),
        ([*HELLO, CALL, *HELLO], "messages", "did not have response messages: call_1"),
        ([*HELLO, RESULT], "messages[1].role", "must be a response to a preceeding message"),
        ([*HELLO, {"role": "assistant", "content": None}], "messages[1].content", "expected one of a string"),
    ],
)
def test_call_or_result_alone_is_refused(api: OpenaiApi, messages: list[Any], param: str, words: str) -> None:
    """A call needs its result, a result its call, and without a call there is a text."""
    answer = post(api, {"messages": messages})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert words in answer.json()["error"]["message"]


# The request types of the openai package know these, whoever asks ...
KNOWN_BY_THE_TYPES: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": "x"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "file", "file": "x"}]}]},
    {"messages": [{"role": "user", "content": "x", "name": 1}]},
    {"frequency_penalty": "0"},
    {"logit_bias": [1]},
    {"logprobs": "yes"},
    {"max_completion_tokens": "100"},
    {"max_completion_tokens": 1.5},
    {"metadata": {"a": 1}},
    {"modalities": ["smell"]},
    {"n": "1"},
    {"reasoning_effort": "much"},
    {"response_format": {"type": "xml"}},
    {"response_format": "json_object"},
    {"seed": "x"},
    {"service_tier": "gold"},
    {"stop": 1},
    {"stop": ["a", 1]},
    {"store": "yes"},
    {"temperature": "0.5"},
    {"tool_choice": "maybe"},
    {"tools": [{"type": "function"}]},
    {"top_logprobs": 1.5},
    {"user": 1},
    {"verbosity": "loud"},
]
# ... and not these
KNOWN_BY_RANGE: list[dict[str, Any]] = [
    {"frequency_penalty": 2.1},
    {"max_completion_tokens": 0},
    {"n": 0},
    {"n": 129},
    {"presence_penalty": -2.1},
    {"stop": list("abcde")},
    {"temperature": -0.1},
    {"top_logprobs": 21},
    {"top_p": 1.1},
]


@pytest.mark.parametrize("changes", [*KNOWN_BY_THE_TYPES, *KNOWN_BY_RANGE], ids=str)
def test_what_the_types_or_a_range_refuse_is_refused(api: OpenaiApi, changes: dict[str, Any]) -> None:
    """The error names the parameter, and nobody pays for an answer."""
    answer = post(api, changes)
    assert (answer.status_code, [answer.json()["error"]["param"]]) == (400, list(changes))
    assert answer.json()["error"]["message"]
    assert not api.asked


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]},
        {"frequency_penalty": -2, "presence_penalty": 2},
        {"max_completion_tokens": 1},
        {"n": 1, "top_p": 0, "top_logprobs": 20, "logprobs": True},
        {"reasoning_effort": "low", "verbosity": "low"},
        {"response_format": {"type": "text"}, "metadata": {"a": "1"}},
        {"stop": list("abcd"), "seed": 1, "store": False},
        {"temperature": 2, "top_p": 1.0, "reasoning_effort": "none"},
    ],
    ids=str,
)
def test_what_the_types_and_the_ranges_allow_is_answered(api: OpenaiApi, changes: dict[str, Any]) -> None:
    """The refusals begin just beyond."""
    assert post(api, changes).status_code == 200


@pytest.mark.parametrize(("limit", "answer", "reason"), [(1, "1", "length"), (2, "123", "stop"), (3, "123", "stop")])
def test_answer_is_cut_at_max_completion_tokens(
    api: OpenaiApi, client: openai.OpenAI, limit: int, answer: str, reason: str
) -> None:
    """And says so; `usage` counts what was written."""
    api.answer_next("123")
    completion = ask(client, "你好", max_completion_tokens=limit)
    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == (answer, reason)
    assert completion.usage.completion_tokens == min(limit, 2)
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + min(limit, 2)


def test_null_option_counts_as_absent(api: OpenaiApi) -> None:
    """null is how JSON says that an optional parameter is not used."""
    assert post(api, {"max_tokens": None, "temperature": None, "stream": None}).status_code == 200


@pytest.mark.parametrize(("characters", "status"), [(99, 200), (100, 200), (101, 400)])
def test_conversation_over_the_limit_is_too_long(characters: int, status: int) -> None:
    """All messages count together; the limit itself is allowed."""
    messages = [{"role": "system", "content": "x" * 50}, {"role": "user", "content": "x" * (characters - 50)}]
    with OpenaiApi(context_characters=100) as api:
        answer = post(api, {"messages": messages})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"]["code"] == "context_length_exceeded"


# -- failing on demand --------------------------------------------------------------------------------------

EXCEPTIONS: dict[str, type[openai.APIStatusError]] = {
    "invalid_api_key": openai.AuthenticationError,
    "unsupported_country_region_territory": openai.PermissionDeniedError,
    "model_not_found": openai.NotFoundError,
    "insufficient_quota": openai.RateLimitError,
    "credit_balance_exhausted": openai.RateLimitError,
    "organization_spend_limit_exceeded": openai.RateLimitError,
    "project_spend_limit_exceeded": openai.RateLimitError,
    "organization_usage_limit_exceeded": openai.RateLimitError,
    "rate_limit_exceeded": openai.RateLimitError,
    "context_length_exceeded": openai.BadRequestError,
    "content_filter": openai.BadRequestError,
    "unsupported_parameter": openai.BadRequestError,
    "unsupported_value": openai.BadRequestError,
    "server_error": openai.InternalServerError,
    "overloaded": openai.InternalServerError,
    "bad_gateway": openai.InternalServerError,
}
# where the name of an entry is not its code
CODES: dict[str, str | None] = {"server_error": None, "overloaded": "slow_down", "bad_gateway": None}


def test_every_error_has_its_exception() -> None:
    """No error is left out of the next test."""
    assert EXCEPTIONS.keys() == ERRORS.keys()


@pytest.mark.parametrize("name", ERRORS)
def test_planned_error_raises_the_exception_of_the_sdk(api: OpenaiApi, client: openai.OpenAI, name: str) -> None:
    """Status, code and class are those that a bot has to tell apart."""
    api.fail_next(name)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "你好")
    assert type(caught.value) is EXCEPTIONS[name]
    assert caught.value.status_code == ERRORS[name][0]
    assert caught.value.code == CODES.get(name, name)
    assert str(caught.value.request_id).startswith("req_")
    assert api.asked == []


@pytest.mark.parametrize(
    "name", [name for name in ERRORS if "quota" in name or "exhausted" in name or "_limit_" in name]
)
def test_no_money_has_the_type_insufficient_quota(api: OpenaiApi, client: openai.OpenAI, name: str) -> None:
    """No money and too many requests share a status; the type tells them apart."""
    api.fail_next(name)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, "你好")
    assert caught.value.type == ("requests" if name == "rate_limit_exceeded" else "insufficient_quota")


def test_planned_error_ends_after_its_times(api: OpenaiApi, client: openai.OpenAI) -> None:
    """After the planned failures the service is well again."""
    api.fail_next("server_error", times=2)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            ask(client, "你好")
    assert ask(client, "你好").choices


def test_retry_after_is_sent_on_request(api: OpenaiApi, client: openai.OpenAI) -> None:
    """The SDK sleeps as long as this header says."""
    api.fail_next("rate_limit_exceeded", retry_after="20")
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, "你好")
    assert caught.value.response.headers["Retry-After"] == "20"


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_odd_answer_is_no_answer(api: OpenaiApi, client: openai.OpenAI, name: str) -> None:
    """A 200 that is not what the API promises gives no text, in one of the ways that the SDK has for it."""
    api.fail_next(name)
    try:
        answer = ask(client, "你好")
    except json.JSONDecodeError:
        assert name == "broken_json"
        return
    choices = getattr(answer, "choices", None)
    assert not (choices and choices[0].message.content)


def test_unknown_error_cannot_be_planned(api: OpenaiApi) -> None:
    """A misspelt name fails the test that uses it."""
    with pytest.raises(KeyError):
        api.fail_next("no_such_error")


def test_time_out_raises_the_exception_of_the_sdk(api: OpenaiApi, client: openai.OpenAI) -> None:
    """A model that answers too late."""
    api.plan(Fault(delay_answer=0.2))
    with pytest.raises(openai.APITimeoutError):
        ask(client, "你好", timeout=0.05)


def test_dropped_connection_raises_the_exception_of_the_sdk(api: OpenaiApi, client: openai.OpenAI) -> None:
    """A network that fails."""
    api.plan(Fault(drop=True))
    with pytest.raises(openai.APIConnectionError):
        ask(client, "你好")


# -- answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (["你好"], "你好！有什么可以帮你？"),
        (["hello"], "Hello! How can I help you?"),
        (["我叫小明"], "你好，小明！"),
        (["我是小明。"], "你好，小明！"),
        (["My name is Tom."], "Hello, Tom!"),
        (["我叫小明", "你好，小明！", "我叫什么？"], "你叫小明。"),
        (["我是小明", "你好，小明！", "1+1=?", "1+1=2", "我是谁"], "你叫小明。"),
        (["我叫小明", "你好，小明！", "我叫小红", "你好，小红！", "我叫什么名字"], "你叫小红。"),
        (["My name is Tom", "Hello, Tom!", "What is my name?"], "Your name is Tom."),
        (["我叫什么？"], "我还不知道你叫什么，你可以告诉我。"),
        (["What is my name?"], "You have not told me your name yet."),
        (["1+1=?", "1+1=2", "你刚才说什么？"], "我刚才说：「1+1=2」"),
        (["1+1=?", "1+1=2", "你刚才说了什么"], "我刚才说：「1+1=2」"),
        (["你刚才说什么？"], "我还没有说过话。"),
        (["明天开会", "好的", "我刚才说什么"], "你刚才说：「明天开会」"),
        (["明天开会吗", "是的", "我刚才问了什么？"], "你刚才说：「明天开会吗」"),
        (["我刚才说什么"], "这是你说的第一句话。"),
        (["1+1=?"], "1+1=2"),
        (["12 × 12 等于几？"], "12×12=144"),
        (["7/2"], "7/2=3.5"),
        (["100/10"], "100/10=10"),
        (["0.1+0.2=?"], "0.1+0.2=0.3"),
        (["1/0"], "除数不能是 0。"),
        (["你是谁"], "我是本机的模拟 ChatGPT，背后没有真正的模型。"),
        (["Who are you?"], "I am the stand-in for ChatGPT on this machine. There is no real model behind me."),
        (["Lovely weather"], 'You said: "Lovely weather". This is question 1 of this conversation.'),
        (["天气怎么样"], "你说的是「天气怎么样」。这是本次对话的第 1 个问题。"),
        (["天气怎么样", "好", "我是来问问题的"], "你说的是「我是来问问题的」。这是本次对话的第 2 个问题。"),
    ],
)
def test_rule_answers_from_the_request(api: OpenaiApi, client: openai.OpenAI, said: list[str], answer: str) -> None:
    """The answers show what of the conversation was sent along, and are the same every time."""
    assert answer_to(client, *said) == answer


def test_system_prompt_is_told_when_asked(api: OpenaiApi, client: openai.OpenAI) -> None:
    """A person can see that the system prompt arrives."""
    assert answer_to(client, "你是谁？", system="你是一名中医。") == "我的设定是：「你是一名中医。」"


def test_request_without_a_question_is_answered(api: OpenaiApi, client: openai.OpenAI) -> None:
    """A system prompt alone is accepted, as by the real API."""
    assert answer_to(client, system="你是一名中医。") == "请问有什么问题？"


@pytest.mark.parametrize("question", ["写一段代码", "画一个表格", "show me some markdown"])
def test_markdown_question_gets_all_constructs(api: OpenaiApi, client: openai.OpenAI, question: str) -> None:
    """Everything that makes a bot choose a markdown message."""
    answer = answer_to(client, question)
    for construct in ("## ", "```python\n", "\n- ", "| --- |", "**", "]("):
        assert construct in answer


@pytest.mark.parametrize(
    ("question", "constructs"),
    [
        ("分步骤教我写代码", ("\n1. ", "\n   ```python\n", "\n3. ", "不用改")),
        ("Show me code in steps", ("\n1. ", "\n   ```python\n", "\n3. ", "stay the same")),
        ("列一张水果价目表", ("| --- | ---: | --- |", "苹果")),
        ("Make a price list of fruit", ("| --- | ---: | --- |", "apples")),
        ("用多层列表说说周末", ("\n- ", "\n  - ", "\n    - ", "\n  1. ", "星期六")),
        ("Plan my weekend as a nested list", ("\n- ", "\n  - ", "\n    - ", "\n  1. ", "Saturday")),
        ("来一句名言", ("\n> ", "\n>\n", "论语")),
        ("Give me a quotation", ("\n> ", "\n>\n", "Confucius")),
        ("show me some markdown", ("## The sum of two numbers",)),
    ],
)
def test_each_kind_of_answer_can_be_asked_for(
    api: OpenaiApi, client: openai.OpenAI, question: str, constructs: tuple[str, ...]
) -> None:
    """In the language of the question."""
    answer = answer_to(client, question)
    assert [construct for construct in constructs if construct not in answer] == []
    assert answer.isascii() == question.isascii()


@pytest.mark.parametrize(("question", "language"), [("写一篇长文", 0), ("a long text, please", 1)])
def test_long_question_gets_a_long_answer(api: OpenaiApi, client: openai.OpenAI, question: str, language: int) -> None:
    """Several messages long, with a code block that does not fit into one."""
    answer = answer_to(client, question)
    assert answer == LONG[language]
    assert 8_500 < len(answer) < 9_500
    assert answer.count("\n\n") > 20
    assert len(answer.split("```")[1]) > 3_500


def test_long_words_are_quoted_in_short(api: OpenaiApi, client: openai.OpenAI) -> None:
    """Quoting a long question does not make the answer long."""
    assert len(answer_to(client, "啊" * 5_000)) < 300


def test_scripted_answers_come_first_and_in_order(api: OpenaiApi, client: openai.OpenAI) -> None:
    """A test can put words into the mouth of the model."""
    api.answer_next("一", "")
    assert [answer_to(client, "1+1") for _ in range(3)] == ["一", "", "1+1=2"]


def test_reset_forgets_scripted_answers_and_the_record(api: OpenaiApi, client: openai.OpenAI) -> None:
    """Nothing of one test reaches the next."""
    api.answer_next("一")
    api.fail_next("server_error")
    api.reset()
    assert answer_to(client, "1+1") == "1+1=2"
    assert len(api.asked) == len(api.received) == 1


# -- pictures -----------------------------------------------------------------------------------------------

ONE_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def ask_with_picture(api: OpenaiApi, url: Any, **picture: Any) -> requests.Response:
    """A question with one picture."""
    parts = [{"type": "text", "text": "这是什么？"}, {"type": "image_url", "image_url": {"url": url, **picture}}]
    body = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": parts}]}
    headers = {"Authorization": "Bearer sk-example"}
    return requests.post(f"{api.url}/v1/chat/completions", json=body, headers=headers, timeout=5)


def test_picture_is_described(api: OpenaiApi) -> None:
    """Format, pixels and bytes: what the stand-in saw."""
    answer = ask_with_picture(api, f"data:image/png;base64,{ONE_PIXEL}", detail="auto").json()
    text = answer["choices"][0]["message"]["content"]
    assert text == "我看到 1 张图片：PNG，1×1 像素，70 字节。你说的是「这是什么？」。"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:image/png;base64,abc", "invalid_base64_image"),
        ("a.png", "invalid_base64_image"),
        (f"data:image/jpeg;base64,{ONE_PIXEL}", "invalid_image_format"),
        (f"data:image/bmp;base64,{ONE_PIXEL}", "invalid_image_format"),
        (f"data:image/png;base64,{'A' * 20_971_520}", "image_too_large"),
        (5, "invalid_type"),
    ],
)
def test_what_is_no_picture_is_refused(api: OpenaiApi, url: Any, code: str) -> None:
    """With the codes of the real API."""
    answer = ask_with_picture(api, url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert not api.asked


@pytest.mark.parametrize("service", NO_VISION)
def test_blind_model_refuses_pictures_only(api: OpenaiApi, service: str) -> None:
    """In the words of a service."""
    api.blind = service
    answer = ask_with_picture(api, f"data:image/png;base64,{ONE_PIXEL}")
    assert (answer.status_code, answer.json()) == (400, NO_VISION[service])
    assert ask_with_picture(api, f"data:image/png;base64,{ONE_PIXEL}", detail="x").status_code == 400
    api.reset()
    assert ask_with_picture(api, f"data:image/png;base64,{ONE_PIXEL}", detail="x").status_code == 400
    assert ask_with_picture(api, f"data:image/png;base64,{ONE_PIXEL}", detail="low").status_code == 200
