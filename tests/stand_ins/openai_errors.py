"""What the OpenAI API says when it does not answer: its errors, each with its status and its body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .server import Received


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


def missing_body(name: str) -> dict[str, Any]:
    return error_body(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)


def unknown_parameter_body(name: str) -> dict[str, Any]:
    return error_body(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)


def unsupported_value_body(name: str, value: object, supported: str) -> dict[str, Any]:
    message = f"Unsupported value: '{name}' does not support {value} with this model. {supported}"
    return error_body(message, code="unsupported_value", param=name)


def no_money_body(code: str) -> dict[str, Any]:
    message = "You exceeded your current quota, please check your plan and billing details."
    return error_body(message, code=code, kind="insufficient_quota")


ONLY_THE_DEFAULT = "Only the default (1) value is supported."
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
    "unsupported_value": (400, unsupported_value_body("temperature", 0.2, ONLY_THE_DEFAULT)),
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


def wrong_type(param: str, expected: str) -> Refused:
    return Refused(
        400, error_body(f"Invalid type for '{param}': expected {expected}.", code="invalid_type", param=param)
    )


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
