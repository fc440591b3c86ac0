"""Why a service refuses: the table of words, and what else tells."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from bot.chatgpt import causes
from bot.chatgpt.answers import read_answer
from bot.chatgpt.refusals import ModelFailure, Refusal, failure_of, read_refusal
from bot.values import values_in
from tests.helpers import field_cases

PRIVATE = ("sk-example", "https://ai.example.com/v1", "我想知道怎么离婚")
QUOTED = "you sent: 我想知道怎么离婚, key sk-example, to https://ai.example.com/v1, organization org-abc123"


def failure(status: int, body: Any, headers: Mapping[str, str] | None = None) -> ModelFailure:
    """What an answer of a service is."""
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    try:
        if status == 200:
            raise AssertionError(read_answer(content))
    except Refusal as refusal:
        return failure_of(refusal, PRIVATE, {}, 60)
    except ModelFailure as failed:
        return failed
    return failure_of(read_refusal(status, values_in(content)), PRIVATE, headers or {}, 60)


def error(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


def quoting(value: Any) -> Any:
    """The same body whose sentences also quote what nobody may see."""
    if isinstance(value, dict):
        return {name: quoting(part) for name, part in value.items()}
    if isinstance(value, list):
        return [quoting(part) for part in value]
    return f"{value}\n{QUOTED}" if isinstance(value, str) and " " in value else value


@pytest.mark.parametrize("case", field_cases("model_errors"))
def test_reported_refusal_has_its_cause(case: dict[str, Any]) -> None:
    """What a service says decides, not its status."""
    assert failure(case["status"], case["body"]).cause == case["cause"]


@pytest.mark.parametrize("case", field_cases("model_errors"))
def test_reported_refusal_shows_nothing_of_the_person_or_the_account(case: dict[str, Any]) -> None:
    """Neither the chat nor the log, whatever the service quotes."""
    failed = failure(case["status"], quoting(case["body"]))
    for secret in ("离婚", "sk-example", "ai.example.com", "org-abc123"):
        assert secret not in f"{failed.sentence} {failed}"
    assert not set("{}\n") & set(failed.said)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("Your account has insufficient credits. The API key is valid.", "balance"),
        ("No auth credentials found", "key"),
        ("The API key doesn't exist", "key"),
        ("Input image is too small", "picture"),
        ("image is not supported by this model", "vision"),
        ("The parameter `top_k` is not supported by this model", "options"),
        ("The requested model is not supported", "model"),
        ("tom/model-7b is not a valid model ID", "model"),
        ("Blocked entity: person", "filtered"),
        ("内容被拦截", "filtered"),
        ("请求被拦截", "address"),
        ("Model names are case-sensitive", "options"),
        ("该账号已被封禁", "forbidden"),
        ("max_tokens is too large: 100000. This model supports at most 16384 completion tokens", "options"),
        ("Range of max_tokens should be [1, 8192]", "options"),
        ("`max_tokens` must be less than or equal to `8192`, the maximum for the `context_window` of it", "options"),
        (
            "'max_tokens' is too large: 40960. This model's maximum context length is 32768 tokens and your request "
            "has 11 input tokens (40960 > 32768 - 11).",
            "options",
        ),
        ("input length and `max_tokens` exceed context limit: 199912 + 20000 > 200000", "long"),
        ("input length and `max_tokens` exceed context limit: 12 + 200000 > 200000", "options"),
        ("maximum context length is 9 tokens. You requested 53 of text input, 1000 in the output", "options"),
        ("The input is too long for this model. Reduce max_tokens or the prompt.", "long"),
        ("Additional properties are not allowed ('foo' was unexpected)", "options"),
        ("Not found the model kimi-x or Permission denied", "model"),
        ("LLM Provider NOT provided. You passed model=x", "model"),
        ("Model x is currently loading", "busy"),
        ("Organization has been restricted. Please reach out to support.", "forbidden"),
        ("接口已下线", "address"),
        ("订阅已到期", "balance"),
        ("请求体过大", "long"),
        ("tools is not supported in this model", "options"),
        ("image exceeds 5 MB maximum: 6000000 bytes > 5242880 bytes", "picture"),
        ("Upstream said: error code: 1010", "address"),
    ],
)
def test_cause_is_what_the_words_say(message: str, cause: str) -> None:
    """In the order of the table: what only one trouble is called comes first."""
    assert failure(400, error(message)).cause == cause


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"type": "censorship_output"}, "filtered"),
        ({"type": "key_model_access_denied", "code": "401"}, "model"),
        ({"code": "insufficient_quota"}, "balance"),
        ({"code": "context_length_exceeded"}, "long"),
        ({"code": "InvalidApiKey"}, "key"),
        ({"code": "rate_limit_exceeded"}, "busy"),
        ({"code": "1301"}, "filtered"),
        ({"code": "AuthFailure.SecretIdNotFound"}, "key"),
        ({"type": "invalid_request_error"}, "options"),
    ],
)
@pytest.mark.parametrize("message", ["x", "Access denied.", "The request was refused."])
def test_code_made_of_words_tells_more_than_a_text_that_only_says_no(
    fields: dict[str, Any], cause: str, message: str
) -> None:
    """Wherever it stands."""
    vague = cause == "options" and message == "Access denied."
    assert failure(400, error(message, **fields)).cause == ("forbidden" if vague else cause)


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (403, "Your request was blocked.", "address"),
        (403, "Forbidden", "address"),
        (403, "error code: 1020", "address"),
        (403, "error code: 1015", "busy"),
        (403, "error code: 1009", "region"),
        (403, "<html><title>Just a moment...</title></html>", "address"),
        (403, "", "address"),
        (403, {"message": "Forbidden"}, "address"),
        (403, {"detail": "Access denied"}, "address"),
        (403, error("Request rejected by anti-bot rules."), "address"),
        (403, "Country not supported", "region"),
        (403, "余额不足", "balance"),
        (403, error("You are not allowed to do this", code="no"), "forbidden"),
        (401, "<html>Authorization Required</html>", "address"),
        (401, "Unauthorized", "address"),
        (401, "Invalid API key", "key"),
        (401, {"detail": "Unauthorized"}, "key"),
        (307, "", "address"),
        (451, error("x"), "filtered"),
        (451, error("Not available in your country"), "region"),
        (408, error("Request timed out"), "down"),
        (402, error("x", type="invalid_argument"), "balance"),
        (429, error("x", type="upstream_error"), "busy"),
        (503, "<html>no</html>", "down"),
    ],
)
def test_what_is_no_error_of_an_api_is_not_the_keys_fault(status: int, body: Any, cause: str) -> None:
    """A page, a bare word, a firewall's code: people changed keys and paid because of the wrong sentence."""
    assert failure(status, body).cause == cause


def test_title_of_a_page_is_what_it_says() -> None:
    """The rest of it is for browsers, also where a relay quotes it."""
    page = "<html><title>Attention Required! | Cloudflare</title><p>x"
    assert failure(403, page).said.startswith("Attention Requ")
    assert failure(502, error(page)).said == "Attention Required! | Cloudflare"
    assert failure(403, error("<b>余额不足</b>")).cause == "balance"


@pytest.mark.parametrize(
    ("status", "body", "headers", "cause", "wait_seconds"),
    [
        (429, error("You exceeded your current quota. Please retry in 2.1s."), {}, "busy", 2.1),
        (429, error("quota exceeded, try again in 1m5s"), {}, "balance", 65),
        (429, error("quota exceeded, try again in 300ms"), {}, "busy", 0.3),
        (429, error("quota exceeded", details=[{"retryDelay": "3s"}]), {}, "busy", 3),
        (429, error("quota exceeded", metadata={"retry_after": 4}), {}, "busy", 4),
        (429, error("quota exceeded"), {"retry-after": "5"}, "busy", 5),
        (429, error("quota exceeded"), {"retry-after": "3600"}, "balance", 3600),
        (429, error("quota exceeded, retry in 2s", quotaId="RequestsPerDayPerProject"), {}, "balance", 2),
        (429, error("quota exceeded", quotaId="RequestsPerMinutePerProject"), {}, "busy", None),
        (429, error("额度不足，请 6 秒后重试"), {}, "busy", 6),
        (400, error("Invalid API key. Please retry in 2s."), {}, "key", 2),
        (503, error("x"), {"retry-after": "soon"}, "down", None),
    ],
)
def test_hint_to_retry_within_the_time_means_busy(
    status: int, body: Any, headers: dict[str, str], cause: str, wait_seconds: float | None
) -> None:
    """Whatever else is said: a limit of a minute speaks of quotas and billing too."""
    failed = failure(status, body, headers)
    assert (failed.cause, failed.wait_seconds) == (cause, wait_seconds)


@pytest.mark.parametrize(
    ("message", "way"),
    [
        ("Stream must be set to true", "stream"),
        ("This model only support stream mode, please enable the stream parameter.", "stream"),
        ("parameter.enable_thinking must be set to false for non-streaming calls", None),
        ("Only user and assistant roles are supported!", "no system"),
        ("Developer instruction is not enabled for models/gemma", "no system"),
        ("Model o1-mini does not support custom system messages", "no system"),
        ("Unsupported parameter: 'top_k'", None),
    ],
)
def test_way_in_which_it_may_be_had_is_understood(message: str, way: str | None) -> None:
    """As events, or without the role of the system."""
    assert failure(400, error(message)).way == way


@pytest.mark.parametrize("cause", ["busy", "long", "filtered", "timeout", "network"])
def test_words_of_the_service_are_not_quoted_where_no_deployer_must_act(cause: str) -> None:
    """They would only confuse the person."""
    failed = ModelFailure(cause, "", said="words")
    assert "words" not in failed.sentence


@pytest.mark.parametrize("text", ["a/" * 5000, "#" * 9999, "n't" * 3000, "1 + " * 3000, "max_tokens" * 900, "aB" * 99])
def test_table_takes_no_time(text: str) -> None:
    """Whatever a service says."""
    started = time.process_time()
    causes.cause_in([text])
    causes.answer_is_longer(text)
    assert time.process_time() - started < 1
