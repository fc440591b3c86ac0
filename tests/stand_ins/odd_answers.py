"""The body of a chat completion, and answers that are none although their status is 200."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from .openai_errors import error_body


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
