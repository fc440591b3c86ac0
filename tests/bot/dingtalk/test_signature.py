"""Dingtalk_Conversation: which requests are from DingTalk."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.conversation import (
    FIVE_MINUTES_MS,
    HOUR_MS,
    KIB_64,
    MODULE,
    NOW_MS,
    SECRET,
    Outcome,
    body_of,
    decide,
    deployment,
)
from tests.stand_ins.dingtalk import signature


def reason_of_refusal(outcome: Outcome) -> str:
    """Asserts a 403 without a detail; returns what the log says."""
    assert (outcome.answer.status, outcome.answer.body) == (403, b"403 Forbidden")
    assert (outcome.situation, outcome.level) == ("NotFromDingtalk", logging.WARNING)
    assert outcome.message is None
    return outcome.reason


def test_documented_signature_is_accepted() -> None:
    """One literal signature, made by no code of this project."""
    timestamp, sign = 1577262236757, "DJrE6qdyVGCQz9z5r2MDuNcNAhwYnuAkyj13cx169CA="
    assert MODULE.signature_problem(str(timestamp), sign, b"this is a secret", timestamp) is None
    assert MODULE.signature_problem(str(timestamp), sign, b"this is a secreT", timestamp) is not None


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "soon",
        "１７９５３３４４００",
        "-1",
        "+1",
        "1e3",
        "1.5",
        "0x10",
        "17 95",
        "1" * 16,
        "000" + str(NOW_MS),
        f"{NOW_MS}\n",
        "9" * 9999,
    ],
)
def test_timestamp_that_is_no_number_is_refused(timestamp: str) -> None:
    """However well it is signed."""
    assert "timestamp is missing or not a number" in reason_of_refusal(decide(timestamp=timestamp))


@pytest.mark.parametrize("age_ms", [HOUR_MS - 1, HOUR_MS, 1 - FIVE_MINUTES_MS, -FIVE_MINUTES_MS, 0])
def test_timestamp_within_window_is_accepted(age_ms: int) -> None:
    """DingTalk repeats a message for a while, and clocks differ a little: one hour old, five minutes ahead."""
    assert decide(age_ms=age_ms).message


@pytest.mark.parametrize("age_ms", [HOUR_MS + 1, -FIVE_MINUTES_MS - 1, NOW_MS // 2])
def test_timestamp_outside_window_is_refused(age_ms: int) -> None:
    """The log has both clocks, so that a wrong clock is found."""
    assert re.search(rf"timestamp is {NOW_MS - age_ms}, our clock {NOW_MS}\b", reason_of_refusal(decide(age_ms=age_ms)))


def test_missing_sign_is_refused() -> None:
    """The log says that it is missing, not that the secret might be wrong."""
    assert "sign is missing" in reason_of_refusal(decide(sign=""))


@pytest.mark.parametrize(
    "spoiled",
    [
        {"sign": "x"},
        {"sign": "A" * 44},
        {"sign": "签名"},
        {"sign": "\xe9" * 44},
        {"sign": "\ud800"},
        {"sign": "A" * 7000},
        {"secret": "another-secret"},
    ],
    ids=["short", "well-formed", "not latin-1", "not ASCII", "half a surrogate pair", "long", "another secret"],
)
def test_wrong_sign_is_refused(spoiled: dict[str, Any]) -> None:
    """The log names the setting that is most likely wrong."""
    reason = reason_of_refusal(decide(**spoiled))
    assert "sign is wrong" in reason and "DINGTALK_APP_SECRET" in reason


@pytest.mark.parametrize(
    "spoil",
    [str.lower, lambda sign: sign[:-1], lambda sign: sign + "=", lambda sign: f"{sign},{sign}"],
    ids=["lower case", "cut", "longer", "twice"],
)
def test_sign_that_is_nearly_right_is_refused(spoil: Callable[[str], str]) -> None:
    """All of it counts; Function Compute 3.0 joins headers that came twice with a comma."""
    assert "sign is wrong" in reason_of_refusal(decide(sign=spoil(signature(str(NOW_MS), SECRET))))


def test_sign_of_another_timestamp_is_refused() -> None:
    """Nobody can make an old signature look new."""
    assert "sign is wrong" in reason_of_refusal(decide(sign=signature(str(NOW_MS - 1), SECRET)))


@pytest.mark.parametrize("body", [b"[" * (KIB_64 + 1), b"", b'{"encrypt": "x"}'], ids=["long", "empty", "encrypted"])
def test_unsigned_body_is_not_looked_at(body: bytes) -> None:
    """Somebody who is not DingTalk learns nothing about what a body must be like."""
    reason_of_refusal(decide(secret="another-secret", body=body))


def test_unsigned_request_is_not_told_about_malformed_setting() -> None:
    """As long as there is a secret, the signature comes first."""
    reason_of_refusal(decide(deployment({"ENDPOINT": "ftp://do-not-show"}), secret="another-secret"))


def test_signed_request_with_another_body_passes_as_that_body() -> None:
    """DingTalk's signature does not cover the body: what came is handed over, and it stays untrusted."""
    bodies = [body_of(), body_of(text={"content": "another"})]
    assert [decide(body=body).message.body for body in bodies] == bodies
