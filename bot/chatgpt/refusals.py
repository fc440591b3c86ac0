"""What a service says instead of an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bot.chatgpt.causes import CODES, STATUSES, cause_in

# The fields that hold them, in lower case and without signs, wherever they stand.
CODE_FIELDS = ("code", "type", "status", "statuscode", "httpcode", "errorcode", "errcode", "errortype", "reason")
SAYING_FIELDS = (
    "message", "msg", "error", "detail", "details", "errormsg", "errmsg", "errormessage", "statusmsg", "statusmessage",
    "title", "description", "errordescription", "raw", "displaymsg", "en",
)  # fmt: skip
SKIPPED_FIELDS = ("input", "messages", "choices", "prompt")  # where services quote the question, or the answer stands
MAX_REFUSAL_BYTES, MAX_REFUSAL_TEXTS = 64 * 1024, 50  # are read of a refusal: what counts stands at its beginning
LIKE_SECRETS = re.compile(  # long numbers, digests, keys, addresses
    r"\d{9}|[0-9a-fA-F]{12}|(?=[a-zA-Z]*\d)[a-zA-Z0-9]{16}|^(sk|ak|key|bce|org)-"
    r"|:\d|\d\.\d+\.\d|\.(com|cn|net|org|io|ai)\b"
)


class ModelFailure(Exception):
    """ChatGPT gave no answer; the person sees FAILURES[cause], the log `detail`, the self-check also `said`."""

    def __init__(self, cause: str, detail: object, said: str = "", doubtful: bool = False, wait: str = "") -> None:
        super().__init__(f"{cause} ({detail})")
        self.cause, self.detail, self.said = cause, detail, said
        self.doubtful = doubtful  # a refusal of which nothing was understood but the status
        self.retry_after_seconds = int(wait) if re.fullmatch("[0-9]{1,9}", wait) else None


class Refusal(NamedTuple):
    """What a service says instead of an answer."""

    status: int
    codes: list[str]
    texts: list[str]


class Refused(Exception):
    """A refusal that came as a success; nobody sees this."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


def read_refusal(status: int, content: bytes, *more: Any) -> Refusal:
    """The codes and the words in the body of an error, whatever its shape; none in a page for a browser."""
    text = content[:MAX_REFUSAL_BYTES].decode("utf-8-sig", "replace").strip()
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = "" if text.startswith("<") else text
    refusal = Refusal(status, [], [])
    for value in (body, *more):
        collect(value, "message", refusal, 0)
    return refusal


def collect(value: Any, field: str, refusal: Refusal, depth: int) -> None:
    """Add the codes and the texts in a JSON value to the refusal; a text may hold JSON again, as a relay's does."""
    field = re.sub(r"[\W_]", "", field).lower()
    if field in SKIPPED_FIELDS or depth > 9 or len(refusal.codes) + len(refusal.texts) >= MAX_REFUSAL_TEXTS:
        return
    if isinstance(value, dict):
        for name, part in value.items():
            collect(part, name, refusal, depth + 1)
    elif isinstance(value, list):
        for part in value:
            collect(part, field, refusal, depth + 1)
    elif field in CODE_FIELDS and type(value) in (str, int) and re.fullmatch(r"\s*\S+\s*", str(value)):
        refusal.codes.append(str(value).strip())
    elif field in CODE_FIELDS + SAYING_FIELDS and isinstance(value, str) and value.strip():
        start, packed = packed_json(value)
        refusal.texts.append(value[:start][:2000].strip())
        collect(packed, field, refusal, depth + 1)


def packed_json(text: str) -> tuple[int, Any]:
    """Where JSON begins in a text, and what it is: 'Error: {"code": 1}' -> 7, {'code': 1}; its length, None without."""
    start = text.find("{")
    try:
        if start >= 0:
            return start, json.JSONDecoder().raw_decode(text[start:])[0]
    except (ValueError, RecursionError):
        pass  # it only looked like JSON
    return len(text), None


def understood(refusal: Refusal) -> str | None:
    """The cause that the codes or the words of a refusal tell; None if they tell nothing."""
    causes = (CODES.get(re.sub(r"[\W_]", "", code).lower()) for code in refusal.codes)
    return next(filter(None, causes), None) or cause_in(refusal.texts, refusal.status)


def failure_of(refusal: Refusal, private: list[str], headers: Mapping[str, str]) -> ModelFailure:
    """The failure that a refusal is. The log gets its codes, never its words: services quote questions and keys."""
    status = next((int(code) for code in refusal.codes if re.fullmatch("[45][0-9][0-9]", code)), refusal.status)
    by_status = STATUSES.get(status, "down" if status >= 500 else "options" if status >= 400 else "strange")
    names = [re.sub(r"[_.:-]", " ", code) for code in refusal.codes if code != "upstream_error"]
    sure = understood(refusal)
    cause = sure or cause_in(names, refusal.status) or by_status
    codes = [code for code in dict.fromkeys(refusal.codes) if is_plain(code, private)][:3]
    request_id = headers.get("x-request-id", "")
    request_id = request_id if re.fullmatch(r"[\w.:-]{1,80}", request_id, re.ASCII) else "unknown"
    return ModelFailure(
        cause,
        f"HTTP {refusal.status}, {' '.join(codes) or 'no code'}, its request {request_id}",
        said=" ".join(" ".join(refusal.texts).split()),
        doubtful=cause in ("options", "strange") and not sure and bool(refusal.codes or refusal.texts),
        wait=headers.get("retry-after", ""),
    )


def is_plain(code: str, private: list[str]) -> bool:
    """Whether a code may stand in the log: a short word, no part of what is private, nor like a key or an address."""
    plain = re.fullmatch(r"[A-Za-z0-9_.:-]{1,60}", code) and not LIKE_SECRETS.search(code)
    return bool(plain) and not any(code in text for text in private)
