"""The signature of DingTalk's requests."""

import base64
import hmac
import re

MAX_AGE_MS = 60 * 60 * 1000  # DingTalk asks receivers to refuse a timestamp that is more than one hour off
MAX_AHEAD_MS = 5 * 60 * 1000  # clocks differ a little, but an hour ahead would double the life of a stolen signature


def signature_problem(timestamp: str, sign: str, secret: bytes, now_ms: int) -> str | None:
    """Why DingTalk cannot have sent these two headers, for the log; None if it can have.

    sign = base64(HMAC-SHA256(secret, timestamp + newline + secret)). It does not cover the body: whoever saw one
    request can send other bodies with its headers for an hour. So the body stays untrusted.
    """
    if not re.fullmatch(r"[0-9]{1,15}", timestamp):
        return "the header timestamp is missing or not a number"
    if not -MAX_AHEAD_MS <= now_ms - int(timestamp) <= MAX_AGE_MS:
        return f"the header timestamp is {timestamp}, our clock {now_ms}: too old or too far ahead"
    if not sign:
        return "the header sign is missing"
    wanted = base64.b64encode(hmac.digest(secret, timestamp.encode() + b"\n" + secret, "sha256"))
    if not hmac.compare_digest(wanted, sign.encode("utf-8", "replace")):
        return "the header sign is wrong: is DINGTALK_APP_SECRET the AppSecret of this robot's application?"
    return None
