"""What a service says instead of an answer."""

import dataclasses
import html
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from bot import sentences
from bot.chatgpt.causes import CODES, STATUSES, WAYS, cause_in
from bot.masking import is_plain, quotable
from bot.values import packed_json, walk
from bot.words import first_row

# The fields that hold them, in lower case and without signs, wherever they stand.
CODE_FIELD = re.compile("(error|err|http|status)?(code|type)|status|reason|quotaid")
SAYING_FIELD = re.compile("(error|err|status|display)?(message|msg)|errors?|details?|title|(error)?description|raw|en")
WAITING_FIELD = re.compile("retry(delay|after(seconds)?)")
# A page for a browser; of its words only the title counts.
PAGE = re.compile(r"(?is)\s*<(?:!doctype|\?xml|html|head|title|body)\b(?:.*?<title>([^<]{1,200}))?")
# Where services quote the question, or the answer stands.
SKIPPED_FIELDS = re.compile(r"^[\W_]*(input|messages|choices|prompt)[\W_]*$", re.IGNORECASE)
MOST_LOOKS, MOST_FOUND = 1000, 50  # values of a refusal are looked at, codes and texts are taken: the first ones count
# What tells nothing: names of statuses, and codes that are as general.
STATUS_NAMES = {status.phrase.lower() for status in HTTPStatus} | {"access denied"}
GENERAL = re.compile(r"(?i)(invalid|bad)[_ ]?(request|argument)([_ ]?error)?|(upstream|api|server|runtime)?_?error")
QUIET = ("busy", "long", "filtered", "timeout", "network")  # of these causes the person sees no words of the service
WAIT = re.compile(
    r"\b(?:retry|again|wait)\b[^\d\n]{0,20}(?:(\d{1,3})h)?(?:(\d{1,3})m)?(\d{1,6}(?:\.\d{1,20})?) ?(ms|s)"
    r"|(?P<seconds>\d{1,6}) ?秒.{0,9}(?:重试|再试)",
    re.IGNORECASE,
)


@dataclasses.dataclass(eq=False)
class ModelFailure(Exception):
    """ChatGPT gave no answer. The log gets the cause and the detail, the person `sentence`."""

    cause: str
    detail: object
    said: str = ""  # the service's own words, with nothing private in them
    doubtful: bool = False  # a refusal of which nothing was understood but the status
    way: str | None = None  # of WAYS, in which it may be had
    wait_seconds: float | None = None
    with_pictures: bool = False  # it may be due to the pictures of the question

    def __str__(self) -> str:
        return f"{self.cause} ({self.detail})"

    @property
    def sentence(self) -> str:
        """What the person sees; where a deployer must act, the service's own words below: a guess must not lie."""
        sentence = (sentences.PICTURES_REFUSED if self.with_pictures else sentences.FAILURES)[self.cause]
        witness = sentences.SERVICE_SAID.format(said=self.said) if self.said and self.cause not in QUIET else ""
        return "\n".join(filter(None, (sentence, witness)))


@dataclasses.dataclass(eq=False)
class Refusal(Exception):
    """What a service says instead of an answer."""

    status: int
    codes: list[str]
    texts: list[str]
    titles: list[str]  # of pages for a browser
    waits: list[str]  # how long to wait, in seconds
    bare: bool  # no error of an API, but a page, a word, or nothing: what stands between may have refused


def read_refusal(status: int, values: list[Any]) -> Refusal:
    """The codes and the words in the body of an error, whatever its shape; see values_in."""
    found: dict[str, list[str]] = {"codes": [], "texts": [], "titles": [], "waits": []}
    for kind, text in itertools.islice(said_in(values, "message"), MOST_FOUND):
        found[kind].append(text)
    return Refusal(status, **found, bare=not any(isinstance(value, (dict, list)) and value for value in values))


def said_in(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """The codes and the texts in a JSON value of this name; a text may be a page, or hold JSON, as a relay's does."""
    for path, part in itertools.islice(walk(value, SKIPPED_FIELDS), MOST_LOOKS):
        own_name = next((step for step in reversed(path) if isinstance(step, str)), name)
        field = re.sub(r"[\W_]", "", own_name).lower()
        if WAITING_FIELD.fullmatch(field) and type(part) in (str, int, float):
            yield "waits", str(part).removesuffix("s")
        elif CODE_FIELD.fullmatch(field) and type(part) in (str, int) and re.fullmatch(r"\s*\S+\s*", str(part)):
            yield "codes", str(part).strip()
        elif (CODE_FIELD.fullmatch(field) or SAYING_FIELD.fullmatch(field)) and isinstance(part, str) and part.strip():
            page = PAGE.match(part)
            if page:
                yield "titles", html.unescape(page[1] or "")
                continue
            start, packed = packed_json(part)
            yield "texts", part[:start][:2000].strip()
            yield from (("codes", code) for code in re.findall(r"(?i)\berror code:? (\d{3,5})\b", part[:200]))
            yield from said_in(packed, own_name)


def understood(refusal: Refusal) -> str | None:
    """The cause that the codes and the words of a refusal tell, each by itself or else all together; None if none."""
    names = [code for code in refusal.codes if not GENERAL.fullmatch(code)]
    said = [*refusal.texts, *names]
    return first_row(CODES, names) or cause_in(said) or cause_in([" ".join([*names, *refusal.texts])])


def failure_of(refusal: Refusal, private: Sequence[str], headers: Mapping[str, str], seconds: float) -> ModelFailure:
    """The failure that a refusal is; `seconds` are left for another try. Its words are for no log, see quotable."""
    sure = understood(refusal)
    cause = sure or cause_by_status(refusal)
    names_only = not refusal.codes and all(text.lower().rstrip(".") in STATUS_NAMES for text in refusal.texts)
    says_nothing = refusal.status in (401, 403) if refusal.bare else refusal.status == 403 and names_only
    if says_nothing and sure in (None, "forbidden"):
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
        said=quotable([*refusal.texts, *refusal.titles], private),
        doubtful=cause in ("options", "strange") and not sure and bool(refusal.codes or refusal.texts),
        way=first_row(WAYS, refusal.texts),
        wait_seconds=wait_seconds,
    )


def cause_by_status(refusal: Refusal) -> str:
    """The cause if nothing that is said is understood; a redirect is followed nowhere."""
    status = next((int(code) for code in refusal.codes if re.fullmatch("[45][0-9][0-9]", code)), refusal.status)
    if status >= 500 or "failed" in refusal.codes:  # as a response is that came as a 200
        return "down"
    return STATUSES.get(status, "options" if status >= 400 else "address" if status >= 300 else "strange")


def wait_in(refusal: Refusal, headers: Mapping[str, str]) -> float | None:
    """The seconds after which the service wants to be asked again, if it says so."""
    found = WAIT.search(" ".join(refusal.texts))
    if found:
        hours, minutes, seconds, unit = found.groups()[:4]
        scale = 0.001 if unit and unit.lower() == "ms" else 1
        return 3600 * int(hours or 0) + 60 * int(minutes or 0) + scale * float(seconds or found["seconds"])
    told = [headers.get("retry-after", ""), *refusal.waits]
    return next((float(wait) for wait in told if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", wait, re.ASCII)), None)
