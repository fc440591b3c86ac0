"""What a service says instead of an answer."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from bot import sentences
from bot.chatgpt.causes import CODES, STATUSES, VAGUE, WAYS, cause_in
from bot.masking import is_plain, quotable
from bot.values import frames_in, packed_json, values_in
from bot.words import first_row

# The fields that hold them, in lower case and without signs, wherever they stand.
CODE_FIELDS = (
    "code", "type", "status", "statuscode", "httpcode", "errorcode", "errcode", "errortype", "reason", "quotaid",
)  # fmt: skip
SAYING_FIELDS = (
    "message", "msg", "error", "detail", "details", "errormsg", "errmsg", "errormessage", "statusmsg", "statusmessage",
    "title", "description", "errordescription", "raw", "displaymsg", "en",
)  # fmt: skip
WAITING_FIELDS = ("retrydelay", "retryafter", "retryafterseconds")
SKIPPED_FIELDS = ("input", "messages", "choices", "prompt")  # where services quote the question, or the answer stands
MAX_REFUSAL_BYTES, MAX_REFUSAL_TEXTS = 64 * 1024, 50  # are read of a refusal: what counts stands at its beginning
# What tells nothing: names of statuses, and codes that are as general.
STATUS_NAMES = {status.phrase.lower() for status in HTTPStatus} | {"access denied"}
GENERAL = re.compile(r"(?i)(invalid|bad)[_ ]?(request|argument)([_ ]?error)?|(upstream|api|server|runtime)?_?error")
QUIET = ("busy", "long", "filtered", "timeout", "network")  # of these causes the person sees no words of the service
WAIT = re.compile(
    r"\b(?:retry|again|wait)\b[^\d\n]{0,20}(?:(\d{1,3})h)?(?:(\d{1,3})m)?(\d{1,6}(?:\.\d{1,20})?) ?(ms|s)"
    r"|(?P<seconds>\d{1,6}) ?秒.{0,9}(?:重试|再试)",
    re.IGNORECASE,
)


class ModelFailure(Exception):
    """ChatGPT gave no answer. The log gets the cause and the detail, the person `sentence`."""

    def __init__(self, cause: str, detail: object, **more: Any) -> None:
        super().__init__(f"{cause} ({detail})")
        self.cause, self.detail = cause, detail
        self.said: str = more.get("said", "")  # the service's own words, with nothing private in them
        self.doubtful: bool = more.get("doubtful", False)  # a refusal of which nothing was understood but the status
        self.way: str | None = more.get("way")  # of WAYS, in which it may be had
        self.wait_seconds: float | None = more.get("wait_seconds")
        self.with_pictures = False  # it may be due to the pictures of the question

    @property
    def sentence(self) -> str:
        """What the person sees; where a deployer must act, the service's own words below: a guess must not lie."""
        sentence = (sentences.PICTURES_REFUSED if self.with_pictures else sentences.FAILURES)[self.cause]
        witness = sentences.SERVICE_SAID.format(said=self.said) if self.said and self.cause not in QUIET else ""
        return "\n".join(filter(None, (sentence, witness)))


class Refusal(NamedTuple):
    """What a service says instead of an answer."""

    status: int
    codes: list[str]
    texts: list[str]
    waits: list[str]  # how long to wait, in seconds
    bare: bool  # no error of an API, but a page, a word, or nothing: what stands between may have refused
    title: str  # of a page


class Refused(Exception):
    """A refusal that came as a success; nobody sees this."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


def read_refusal(status: int, content: bytes, *more: Any) -> Refusal:
    """The codes and the words in the body of an error, whatever its shape; of a page for a browser only the title."""
    content = content[:MAX_REFUSAL_BYTES]
    text = content.decode("utf-8-sig", "replace").strip()
    a_page = text.startswith("<")
    values = [] if a_page else values_in(frames_in(content)) or [text]
    title = re.search(r"<title>([^<]{1,200})", text) if a_page else None
    bare = not any(isinstance(value, (dict, list)) and value for value in values)
    refusal = Refusal(status, [], [], [], bare, html.unescape(title[1]) if title else "")
    for value in (*values, *more):
        collect(value, "message", refusal, 0)
    refusal.codes.extend(re.findall(r"\Aerror code:? (\d{3,4})\Z", text))
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
    elif field in WAITING_FIELDS and type(value) in (str, int, float):
        refusal.waits.append(str(value).removesuffix("s"))
    elif field in CODE_FIELDS and type(value) in (str, int) and re.fullmatch(r"\s*\S+\s*", str(value)):
        refusal.codes.append(str(value).strip())
    elif field in CODE_FIELDS + SAYING_FIELDS and isinstance(value, str) and value.strip():
        start, packed = packed_json(value)
        refusal.texts.append(value[:start][:2000].strip())
        collect(packed, field, refusal, depth + 1)


def understood(refusal: Refusal) -> str | None:
    """The cause that the codes or the words of a refusal tell; None if they tell nothing.

    A code that is made of words names the trouble more exactly than a text that only says no.
    """
    plain = {re.sub(r"[\W_]", "", code).lower() for code in refusal.codes}
    known = next((cause for cause, codes in CODES.items() if plain & {*codes.split()}), None)
    names = [re.sub(r"[_.:-]", " ", code) for code in refusal.codes if not GENERAL.fullmatch(code)]
    by_text, by_name = cause_in(refusal.texts), cause_in(names)
    named = by_name and (by_name == "model" or by_name not in VAGUE)
    told = by_name if by_text in VAGUE and named else by_text or by_name
    return known or told or cause_in([" ".join([*names, *refusal.texts])])


def failure_of(refusal: Refusal, private: Sequence[str], headers: Mapping[str, str], seconds: float) -> ModelFailure:
    """The failure that a refusal is; `seconds` are left for another try. Its words are for no log, see quotable."""
    sure = understood(refusal)
    cause = sure or cause_by_status(refusal)
    only_names = not refusal.codes and all(text.lower().rstrip(".") in STATUS_NAMES for text in refusal.texts)
    said_nothing = refusal.status in (401, 403) and (refusal.bare or (refusal.status == 403 and only_names))
    if said_nothing and sure in (None, "forbidden"):
        cause = "address"  # nothing of the API has spoken, but a firewall or a proxy before it
    wait_seconds = wait_in(refusal, headers)
    passing = refusal.status in (402, 403, 429) or refusal.status >= 500
    of_a_day = first_row("a day      per day", [*refusal.texts, *refusal.codes])
    if passing and wait_seconds is not None and wait_seconds < seconds and not of_a_day:
        cause = "busy"  # whatever else is said, such as that of a quota
    codes = [code for code in dict.fromkeys(refusal.codes) if is_plain(code, private)][:3]
    request_id = headers.get("x-request-id", "")
    request_id = request_id if re.fullmatch(r"[\w.:-]{1,80}", request_id, re.ASCII) else "unknown"
    return ModelFailure(
        cause,
        f"HTTP {refusal.status}, {' '.join(codes) or 'no code'}, its request {request_id}",
        said=quotable([*refusal.texts, refusal.title], private),
        doubtful=cause in ("options", "strange") and not sure and bool(refusal.codes or refusal.texts),
        way=first_row(WAYS, refusal.texts) if cause in VAGUE else None,
        wait_seconds=wait_seconds,
    )


def cause_by_status(refusal: Refusal) -> str:
    """The cause if nothing that is said is understood; a redirect is followed nowhere."""
    status = next((int(code) for code in refusal.codes if re.fullmatch("[45][0-9][0-9]", code)), refusal.status)
    if status in STATUSES:
        return STATUSES[status]
    if status >= 500 or "failed" in refusal.codes:  # as a response is that came as a 200
        return "down"
    return "options" if status >= 400 else "address" if status >= 300 else "strange"


def wait_in(refusal: Refusal, headers: Mapping[str, str]) -> float | None:
    """The seconds after which the service wants to be asked again, if it says so."""
    found = WAIT.search(" ".join(refusal.texts))
    if found:
        hours, minutes, seconds, unit = found.groups()[:4]
        scale = 0.001 if unit and unit.lower() == "ms" else 1
        return 3600 * int(hours or 0) + 60 * int(minutes or 0) + scale * float(seconds or found["seconds"])
    told = [headers.get("retry-after", ""), *refusal.waits]
    return next((float(wait) for wait in told if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", wait, re.ASCII)), None)
