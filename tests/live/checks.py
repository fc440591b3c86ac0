"""One check for each thing that the stand-ins assume: what was assumed, how to see it, what breaks if it is wrong.

A check is a function that returns what it saw, in the words in which the assumption is written. What no program can
look at without somebody who chats, or without a function that fails on purpose, is in BY_HAND: a question to a person.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import requests

from tests.live.account import OPEN_URL, Live, NotHere
from tests.stand_ins import function_compute
from tests.stand_ins.oss import UNKNOWN_EC

BEFORE_DINGTALK_GIVES_UP = 2.5  # seconds
WRITERS = 8
WHOLE = "200 without Content-Range"
OTHER_SECRET = "nobody-has-this-secret"

Assumed = str | Mapping[int, str]  # by the generation of Function Compute: one that is not there has no such thing


class Check(NamedTuple):
    name: str
    group: str
    what: str
    assumed: Assumed
    breaks: str  # for those who use the bot
    see: Callable[[Live], str] | None  # None: a person has to look


CHECKS: list[Check] = []


def check(group: str, assumed: Assumed, breaks: str) -> Callable[[Callable[[Live], str]], Callable[[Live], str]]:
    """Register the function under its name; its docstring says what is looked at."""

    def register(see: Callable[[Live], str]) -> Callable[[Live], str]:
        name = see.__name__.replace("_", "-")
        CHECKS.append(Check(name, group, (see.__doc__ or "").rstrip("."), assumed, breaks, see))
        return see

    return register


# -- OSS --------------------------------------------------------------------------------------------------------------


def oss_error(response: requests.Response) -> str:
    """Status, code and number of an error; only the status if it is none."""
    body = base64.b64decode(response.headers.get("x-oss-err", "")) or response.content
    code = re.search(rb"<Code>(\w+)</Code>", body)
    number = re.search(rb"<EC>([\d-]+)</EC>", body)
    known = number[1].decode() if number and number[1].decode() != UNKNOWN_EC else ""
    return " ".join(filter(None, (str(response.status_code), code[1].decode() if code else "", known)))


def without_number(error: str) -> str:
    """For errors of which we do not know the number."""
    return re.sub(r" \d{4}-\d{8}$", "", error)


def range_told(response: requests.Response) -> str:
    told = response.headers.get("Content-Range")
    return f"{response.status_code} {told}" if told else f"{response.status_code} without Content-Range"


@check("oss", "append 200, the last two bytes 206 bytes 1-2/3, delete 204", "No history is kept at all.")
def oss_round_trip(live: Live) -> str:
    """The journal's three requests, signed as the stand-in verifies it."""
    key = live.key("round-trip")
    appended = live.append(key, 0, b"abc").status_code
    tail = range_told(live.oss("GET", key, headers={"Range": "bytes=-2"}))
    return f"append {appended}, the last two bytes {tail}, delete {live.oss('DELETE', key).status_code}"


@check(
    "oss", "404 NoSuchKey 0026-00000001", "A first message is answered with the note that the history cannot be read."
)
def oss_missing_key(live: Live) -> str:
    """An object that is not there, read with this access key (give it no more rights than the functions' role has)."""
    return oss_error(live.oss("GET", live.key("missing")))


@check("oss", "404 NoSuchKey 0026-00000001, x-oss-ec", "The log names no number to look up.")
def oss_number_of_an_error(live: Live) -> str:
    """The header x-oss-ec of an error without a body."""
    response = live.oss("HEAD", live.key("missing"))
    return oss_error(response) + (", x-oss-ec" if "x-oss-ec" in response.headers else "")


@check("oss", WHOLE, "A history shorter than 128 KiB cannot be read.")
def oss_range_longer_than_the_object(live: Live) -> str:
    """The last 128 KiB of three bytes."""
    key = live.key("short")
    live.append(key, 0, b"abc")
    return range_told(live.oss("GET", key, headers={"Range": "bytes=-131072"}))


@check("oss", WHOLE, "An empty history, which somebody made by hand, cannot be read.")
def oss_range_of_an_empty_object(live: Live) -> str:
    """The last 128 KiB of nothing."""
    key = live.key("empty")
    live.append(key, 0, b"")
    return range_told(live.oss("GET", key, headers={"Range": "bytes=-131072"}))


@check(
    "oss",
    "409 PositionNotEqualToLength 0026-00000016, next 3",
    "Two messages at the same instant: one turn is lost, or both are answered twice.",
)
def oss_wrong_position(live: Live) -> str:
    """An append at 0 to three bytes."""
    key = live.key("position")
    live.append(key, 0, b"abc")
    response = live.append(key, 0, b"d")
    return f"{oss_error(response)}, next {response.headers.get('x-oss-next-append-position')}"


@check(
    "oss", f"1 of {WRITERS} written", "Two messages at the same instant: one turn is lost, or both are answered twice."
)
def oss_writers_at_once(live: Live) -> str:
    """Appends to one position at the same time."""
    key = live.key("at-once")
    with ThreadPoolExecutor(WRITERS) as threads:
        statuses = list(threads.map(lambda number: live.append(key, 0, b"%d" % number).status_code, range(WRITERS)))
    return f"{statuses.count(200)} of {WRITERS} written"


@check("oss", "409 ObjectNotAppendable 0026-00000017", "A history that was uploaded by hand gives a wrong advice.")
def oss_object_that_was_put(live: Live) -> str:
    """An append to an object that was uploaded."""
    key = live.key("put")
    live.oss("PUT", key, b"abc")
    return oss_error(live.append(key, 3, b"d"))


@check(
    "oss",
    "no delete marker, append 200",
    "In a versioned bucket either \\clear ends all memory, or what it deletes stays there as an earlier version.",
)
def oss_append_after_delete(live: Live) -> str:
    """What \\clear does: an object is deleted and begun anew. A delete marker means that the bucket is versioned."""
    key = live.key("cleared")
    live.append(key, 0, b"abc")
    marker = "a" if live.oss("DELETE", key).headers.get("x-oss-delete-marker") == "true" else "no"
    return f"{marker} delete marker, append {oss_error(live.append(key, 0, b'd'))}"


@check("oss", "204", "\\clear of somebody without a history fails.")
def oss_delete_of_a_missing_object(live: Live) -> str:
    """A delete of what is not there."""
    return oss_error(live.oss("DELETE", live.key("missing")))


@check("oss", "404 NoSuchBucket 0015-00000101", "A misspelt bucket is reported as a wrong access key.")
def oss_missing_bucket_and_wrong_key(live: Live) -> str:
    """Which of the two is told."""
    return oss_error(live.oss("GET", live.key("missing"), bucket=f"live-{live.run}", secret=OTHER_SECRET))


@check("oss", "403 SignatureDoesNotMatch 0002-00000040", "A wrong access key is reported as a missing history.")
def oss_wrong_secret_and_missing_object(live: Live) -> str:
    """Which of the two is told."""
    return oss_error(live.oss("GET", live.key("missing"), secret=OTHER_SECRET))


@check("oss", "refused as a wrong token", "A role's token that is too old is reported in other words.")
def oss_token_of_nobody(live: Live) -> str:
    """A token beside a role's key that is not its own, or beside a key that has none."""
    told = oss_error(live.oss("GET", live.key("missing"), token="nobody-has-this-token"))
    known = "403 InvalidSecurityToken 0002-00000006" if live.account.token else "403 InvalidAccessKeyId 0002-00000002"
    return "refused as a wrong token" if told == known else told


@check("oss", "403 InvalidSecurityToken 0002-00000003", "A role's token that is missing is reported in other words.")
def oss_no_token(live: Live) -> str:
    """A role's key without its token."""
    if not live.account.token:
        raise NotHere("the access key is not a role's")
    return oss_error(live.oss("GET", live.key("missing"), token=""))


@check("oss", "403 AccessDenied 0002-00000080", "An old oss2, which signs in that way, is reported in other words.")
def oss_signature_v1(live: Live) -> str:
    """A request that is signed in the old way, which new accounts and buckets refuse."""
    return oss_error(live.oss("GET", live.key("missing"), authorization=f"OSS {live.account.key_id}:AAAA"))


@check("oss", "400 InvalidArgument", "Only the stand-in is wrong: oss2 sends no such thing.")
def oss_authorization_of_no_kind(live: Live) -> str:
    """An Authorization header that nobody understands."""
    return without_number(oss_error(live.oss("GET", live.key("missing"), authorization="OSS4-HMAC-SHA256 nothing")))


@check("oss", "400 InvalidArgument", "Only the stand-in is wrong: oss2 sends no such thing.")
def oss_hash_of_the_body(live: Live) -> str:
    """x-oss-content-sha256 with another value than UNSIGNED-PAYLOAD."""
    headers = {"x-oss-content-sha256": "0" * 64}
    return without_number(oss_error(live.oss("GET", live.key("missing"), headers=headers)))


@check("oss", "400 InvalidArgument", "Only the stand-in is wrong: oss2 sends no such thing.")
def oss_day_of_another_date(live: Live) -> str:
    """A day in the Authorization header that is not the date's."""
    return without_number(oss_error(live.oss("GET", live.key("missing"), day="20200101")))


@check("oss", "403 RequestTimeTooSkewed 0002-00000504", "A clock that is wrong is reported as a wrong key.")
def oss_old_request(live: Live) -> str:
    """A request that is 16 minutes old."""
    return oss_error(live.oss("GET", live.key("missing"), age=16 * 60))


# -- the URL of Dingtalk_Conversation ---------------------------------------------------------------------------------


@check("url", f"within {BEFORE_DINGTALK_GIVES_UP} s", "The first message after a pause comes twice, or is lost.")
def url_after_a_pause(live: Live) -> str:
    """The first request of this run; for a cold start, wait ten minutes before the run."""
    seconds = live.first_page.elapsed.total_seconds()
    return f"within {BEFORE_DINGTALK_GIVES_UP} s" if seconds < BEFORE_DINGTALK_GIVES_UP else f"after {seconds:.1f} s"


@check("url", "200 text/plain, attachment", "Who opens the URL sees nothing, or a page instead of a download.")
def url_self_check(live: Live) -> str:
    """What a browser gets that opens the URL."""
    page = live.first_page
    kind = page.headers.get("Content-Type", "").partition(";")[0]
    return f"{page.status_code} {kind}, {page.headers.get('Content-Disposition', 'inline')}"


@check("url", "7 KiB: 200, 9 KiB: 400", "Only the stand-in is wrong: DingTalk's headers are short.")
def url_long_headers(live: Live) -> str:
    """Headers just below and above 8 KiB."""
    statuses = [live.open_url(headers={"X-Long": "x" * size * 1024}).status_code for size in (7, 9)]
    return "7 KiB: {}, 9 KiB: {}".format(*statuses)


@check("url", "3 KiB: 200, 5 KiB: 400", "Only the stand-in is wrong: DingTalk's path is short.")
def url_long_path(live: Live) -> str:
    """A path just below and above 4 KiB."""
    return "3 KiB: {}, 5 KiB: {}".format(*(live.open_url("x" * size * 1024).status_code for size in (3, 5)))


# -- Function Compute -------------------------------------------------------------------------------------------------


def with_code(status: int, code: object) -> str:
    """Both; what does not look like a code is not shown, whatever it is."""
    if not code:
        return str(status)
    return f"{status} {code}" if re.fullmatch(r"[A-Za-z][\w.]{1,60}", str(code)) else f"{status} no code"


def fc_error(response: requests.Response) -> str:
    """Status and code of an error, in the shape of this generation; only the status if it is none."""
    try:
        body = response.json()
    except ValueError:
        body = None
    names = ("ErrorCode", "errorCode", "Code")
    codes = [body[name] for name in names if name in body] if isinstance(body, dict) else []
    return with_code(response.status_code, codes[0] if codes else None)


@check("fc", "ok", "No history: the role may not, or the runtime's old oss2 wins over ours.")
def fc_self_check_of_oss(live: Live) -> str:
    """What Dingtalk_ChatGPT_Reply reports of OSS, with its role and its packages."""
    return live.report.get("OSS", "no report")


@check("fc", "ok", "No answer: the address is not reached from this region, or its certificate is not trusted there.")
def fc_self_check_of_chatgpt(live: Live) -> str:
    """What Dingtalk_ChatGPT_Reply reports of ChatGPT, with the certificates of the image."""
    return live.report.get("ChatGPT", "no report")


@check("fc", "ok", "A setting does not arrive in the function.")
def fc_self_check_of_the_settings(live: Live) -> str:
    """What Dingtalk_ChatGPT_Reply reports of its settings and its time-out."""
    parts = (live.report.get(name, "no report") for name in ("settings 环境变量", "time-out 执行超时时间"))
    return ", ".join(sorted(set(parts)))


@check("fc", "202, X-Fc-Request-Id", "A message that was handed over is reported as lost.")
def fc_asynchronous_invocation(live: Live) -> str:
    """The answer to an event that is stored."""
    response = live.first_task
    return f"{fc_error(response)}" + (", X-Fc-Request-Id" if "X-Fc-Request-Id" in response.headers else "")


@check("fc", "the id", "Task mode is off, or its header is not known: a repeated message costs a second run.")
def fc_task_id_in_the_answer(live: Live) -> str:
    """The header X-Fc-Stateful-Async-Invocation-Id of the answer."""
    told = live.first_task.headers.get("X-Fc-Stateful-Async-Invocation-Id")
    return "the id" if told == live.task_id else "another id" if told else "no id"


@check("fc", "409 StatefulAsyncInvocationAlreadyExists", "A message that DingTalk repeats costs a second run.")
def fc_task_id_that_is_repeated(live: Live) -> str:
    """An event with the id of one before it."""
    first = live.first_task
    again = fc_error(live.invoke(task_id=live.task_id))
    return again if first.status_code == 202 else f"{again}, but the first {fc_error(first)}"


@check("fc", "409 StatefulAsyncInvocationAlreadyExists", "A message that DingTalk repeats so late costs a second run.")
def fc_task_id_of_an_earlier_run(live: Live) -> str:
    """The id that --task-id names, from the report of an earlier run: how long does it block a repeat?"""
    if not live.account.task_id:
        raise NotHere("run this again hours later with the --task-id that the report names")
    return fc_error(live.invoke(task_id=live.account.task_id))


@check("fc", "400 InvalidArgument", "Only the stand-in is wrong: our ids are of the right form.")
def fc_task_id_of_a_wrong_form(live: Live) -> str:
    """An id that begins with a digit."""
    return fc_error(live.invoke(task_id="1digit"))


@check("fc", {2: "403 AccessDenied", 3: "400 MissingRequiredHeader"}, "Only the stand-in is wrong: the SDKs sign.")
def fc_no_signature(live: Live) -> str:
    """A request without Authorization."""
    return fc_error(live.invoke(without="Authorization"))


@check("fc", "400 MissingRequiredHeader", "Only the stand-in is wrong: the SDKs sign.")
def fc_no_date(live: Live) -> str:
    """A request without a date."""
    return fc_error(live.invoke(without="Date" if live.account.generation == 2 else "x-acs-date"))


@check("fc", "403 InvalidAccessKeyID", "The log names another code for a key that was deleted.")
def fc_key_of_nobody(live: Live) -> str:
    """An access key that does not exist."""
    return fc_error(live.invoke(key_id="LTAInobody"))


@check("fc", "403 SignatureNotMatch", "A wrong key is reported as a missing function.")
def fc_wrong_secret_and_missing_function(live: Live) -> str:
    """Which of the two is told."""
    return fc_error(live.invoke(secret=OTHER_SECRET, function="nobody-has-this-function"))


@check("fc", {2: "403 AccessDenied", 3: "403 InvalidSecurityToken"}, "The log names another code for an old token.")
def fc_token_of_nobody(live: Live) -> str:
    """A security token that does not belong to the access key."""
    return fc_error(live.invoke(token="nobody-has-this-token"))


@check(
    "fc", {2: "403 AccessDenied", 3: "400 InvalidTimeStamp.Expired"}, "The log names another code for a wrong clock."
)
def fc_old_request(live: Live) -> str:
    """A request that is 16 minutes old."""
    return fc_error(live.invoke(age=16 * 60))


@check("fc", "404 FunctionNotFound", "A misspelt CHATGPT_FUNCTION is reported in other words.")
def fc_missing_function(live: Live) -> str:
    """A function that does not exist."""
    return fc_error(live.invoke(function="nobody-has-this-function"))


@check("fc", {2: "404 ServiceNotFound"}, "A misspelt SERVICE_NAME is reported in other words.")
def fc_missing_service(live: Live) -> str:
    """A service that does not exist."""
    return fc_error(live.invoke(service="nobody-has-this-service"))


@check("fc", {2: "404 VersionNotFound"}, "Only the stand-in is wrong: nobody asks for a version.")
def fc_missing_version(live: Live) -> str:
    """A version that was never published."""
    return fc_error(live.invoke(service=f"{live.account.service}.99999999"))


@check("fc", "400 InvalidArgument", "Only the stand-in is wrong: the functions ask for Async.")
def fc_invocation_of_no_kind(live: Live) -> str:
    """An invocation that is neither Sync nor Async."""
    return fc_error(live.invoke(kind="Later"))


@check("fc", "400 EntityTooLarge", "A message that is too long is reported in other words.")
def fc_large_event(live: Live) -> str:
    """An asynchronous event of 128 KiB and a byte: {} and blanks."""
    return fc_error(live.invoke(b"{}".ljust(function_compute.MAX_ASYNC_BYTES + 1)))


@check("fc", {2: "400 InvalidArgument"}, "A CHATGPT_FUNCTION that names the other function is reported in other words.")
def fc_http_function_by_the_api(live: Live) -> str:
    """Dingtalk_Conversation, invoked as an event function."""
    return fc_error(live.invoke(OPEN_URL.encode(), function=live.account.conversation, kind="Sync"))


@check("fc", "400 PathNotSupported", "A wrong ENDPOINT is reported in other words.")
def fc_address_of_nothing(live: Live) -> str:
    """A path that the API does not have."""
    return fc_error(live.invoke(rest="nothing"))


@check("fc", {2: "202"}, "Only the stand-in is wrong: a function of 2.0 hands over by the API of 2.0.")
def fc_function_of_2_by_the_api_of_3(live: Live) -> str:
    """The event function as service$function."""
    return fc_error(live.invoke(api=3, function=f"{live.account.service}${live.account.reply}"))


@check("fc", {3: "400 SignatureNonceUsed"}, "Only the stand-in is wrong: each of our requests has its own.")
def fc_nonce_that_is_repeated(live: Live) -> str:
    """Two requests with the same nonce, to a function that does not exist."""
    answers = [live.invoke(function="nobody-has-this-function", nonce=live.run) for _ in range(2)]
    return fc_error(answers[-1])


# -- the OpenAI API ---------------------------------------------------------------------------------------------------


def openai_error(response: requests.Response) -> str:
    """Status and code of an error; only the status if it is none."""
    try:
        body = response.json()
    except ValueError:
        body = None
    error: Any = body.get("error") if isinstance(body, dict) else None
    return with_code(response.status_code, error.get("code") if isinstance(error, dict) else None)


@check("chatgpt", "400 unsupported_value", "Only the stand-in is wrong: with this model a temperature is possible.")
def chatgpt_temperature(live: Live) -> str:
    """A question with the temperature 0.2, to the model of the settings."""
    return openai_error(live.ask(temperature=0.2, max_completion_tokens=1000))


@check("chatgpt", "200 length", "An answer that was cut off does not say so.")
def chatgpt_answer_that_is_cut(live: Live) -> str:
    """A question with max_completion_tokens 1."""
    response = live.ask(messages=[{"role": "user", "content": "Count to ten."}], max_completion_tokens=1)
    if response.status_code != 200:
        return openai_error(response)
    return f"200 {response.json()['choices'][0]['finish_reason']}"


@check("chatgpt", "401 invalid_api_key", "A wrong key is reported in other words.")
def chatgpt_wrong_key(live: Live) -> str:
    """A key that nobody has."""
    return openai_error(live.ask(key="sk-nobody-has-this-key"))


@check("chatgpt", "masked", "A key that was cut off when it was pasted stands in the self-check's report.")
def chatgpt_short_key_in_the_message(live: Live) -> str:
    """Whether the error for a short wrong key repeats it."""
    return "repeated" if "nobody-key" in live.ask(key="nobody-key").text else "masked"


@check("chatgpt", "404", "A wrong CHATGPT_BASE_URL is reported in other words.")
def chatgpt_address_of_nothing(live: Live) -> str:
    """A path that the API does not have."""
    return openai_error(live.ask(path="nothing"))


@check("chatgpt", "404", "Only the stand-in is wrong: questions are posted.")
def chatgpt_wrong_method(live: Live) -> str:
    """PATCH where questions are posted."""
    return openai_error(live.ask(method="PATCH"))


@check("chatgpt", "404 model_not_found", "A misspelt CHATGPT_MODEL is reported in other words.")
def chatgpt_missing_model(live: Live) -> str:
    """A model that does not exist."""
    return openai_error(live.ask(model="nobody-has-this-model"))


@check("chatgpt", "400 unsupported_parameter", "Only the stand-in is wrong: compatible services take it.")
def chatgpt_max_tokens(live: Live) -> str:
    """max_tokens, which models from gpt-5 on do not take."""
    return openai_error(live.ask(max_tokens=1))


@check("chatgpt", "400 decimal_above_max_value", "The self-check names another code for a wrong CHATGPT_OPTIONS.")
def chatgpt_option_out_of_range(live: Live) -> str:
    """The temperature 2.1."""
    return openai_error(live.ask(temperature=2.1))


@check("chatgpt", "400 invalid_type", "The self-check names another code for a wrong CHATGPT_OPTIONS.")
def chatgpt_option_of_a_wrong_type(live: Live) -> str:
    """The temperature "hot"."""
    return openai_error(live.ask(temperature="hot"))


@check("chatgpt", "200, shutdown_date", "Only the stand-in is wrong: the functions do not ask for it.")
def chatgpt_end_of_a_model(live: Live) -> str:
    """What the description of the model holds."""
    response = live.ask(method="GET", path=f"models/{live.account.model}")
    return openai_error(response) + (", shutdown_date" if '"shutdown_date"' in response.text else "")


# -- DingTalk ---------------------------------------------------------------------------------------------------------


@check("dingtalk", "200 300001", "An answer to a chat that is gone is tried again for an hour, and the log says so.")
def dingtalk_session_of_nobody(live: Live) -> str:
    """The answer to a message for a session that does not exist."""
    response = live.say(f"nobody{live.run}")
    return f"{response.status_code} {response.json()['errcode']}"


# -- for a person to look at ------------------------------------------------------------------------------------------


def by_hand(name: str, what: str, assumed: str, breaks: str) -> None:
    CHECKS.append(Check(name, "by hand", what, assumed, breaks, None))


ONLY_THE_STAND_IN = "Only the stand-in is wrong: the functions do not depend on it."
for name, what, assumed, breaks in (
    # Function Compute, in its console and with a function of your own that fails on purpose
    (
        "console-offers-2",
        "Does the console of a new account still offer to create a service (2.0)?",
        "yes",
        "A newcomer cannot follow the 2.0 half of the documents.",
    ),
    (
        "prices",
        "Do the prices in docs/en/security-costs-limits.md still stand on the pages that it links to?",
        "yes",
        "The bot costs more than its page says.",
    ),
    (
        "failed-http-function",
        "An HTTP function of your own raises an exception: what status does its URL answer?",
        "502",
        "The troubleshooting page names another status.",
    ),
    (
        "failed-event",
        "An event function of your own raises: is it run again within a minute, and how long after?",
        "yes",
        "An answer that DingTalk did not take comes late.",
    ),
    (
        "task-id-without-task-mode",
        "Switch task mode off and run this again: does fc-task-id-that-is-repeated see 202?",
        "yes",
        "A repeated message is not handed over at all.",
    ),
    (
        "variables-of-4-kb",
        "Environment variables of 4,096 bytes, names and values together, are deployed; one byte more is refused",
        "yes",
        "`python3 -m deploy check` warns too early or too late.",
    ),
    (
        "own-variables-win",
        "A function of your own with a variable ALIBABA_CLOUD_ACCESS_KEY_ID: does the role's win?",
        "yes",
        "A forgotten variable replaces the role.",
    ),
    (
        "no-role",
        "A function without a role: are the credentials of its context None, its key variables not set?",
        "yes",
        "A missing role is reported in other words.",
    ),
    (
        "context-of-3",
        "A function of 3.0 on python3.10: is context.service.name an empty text?",
        "yes",
        "3.0 is taken for 2.0: no message is handed over.",
    ),
    (
        "environ-of-2",
        "An HTTP function of 2.0: is SCRIPT_NAME empty, and PATH_INFO what follows the function's name?",
        "yes",
        ONLY_THE_STAND_IN,
    ),
    (
        "binary-body-of-3",
        "An HTTP function of 3.0 gets a body that is not UTF-8: is it base64, isBase64Encoded true?",
        "yes",
        ONLY_THE_STAND_IN,
    ),
    (
        "value-of-another-kind",
        "A function returns a dict: does the caller get it as JSON?",
        "yes",
        ONLY_THE_STAND_IN,
    ),
    (
        "import-has-its-own-time",
        "Does an import of 9 s at a cold start leave a time-out of 10 s to the run?",
        "yes",
        "The first message after a deployment is lost.",
    ),
    (
        "words-of-a-time-out",
        "Does the log of a run that was killed say `Function timed out after 10 seconds`?",
        "yes",
        "Who searches the log by the troubleshooting page finds nothing.",
    ),
    (
        "log-level",
        "Are there INFO lines of both functions in the log, without VERBOSE?",
        "yes",
        "The log is empty, and nobody can tell what happened.",
    ),
    (
        "form-of-a-log-line",
        "Does a log line read `<time> <request id> [INFO] <message>`?",
        "yes",
        ONLY_THE_STAND_IN,
    ),
    # the OpenAI API
    (
        "code-of-an-overload",
        "Has an overloaded model answered 503, type server_error, code slow_down?",
        "yes",
        "An overload is reported in other words.",
    ),
    # DingTalk
    (
        "message-that-is-repeated",
        "Stop Dingtalk_Conversation for a minute and write: does the message come again, and after how many seconds?",
        "no",
        "A slow start answers twice without the journal; the page on troubleshooting has no row for it.",
    ),
    (
        "at-in-the-http-answer",
        "Misspell CHATGPT_FUNCTION and write in a group: is the answer shown without an @?",
        "yes",
        ONLY_THE_STAND_IN,
    ),
    (
        "twenty-answers-a-minute",
        "Twenty-five questions in a minute in one chat: are all answered?",
        "yes",
        "A busy group misses answers for ten minutes.",
    ),
    (
        "answer-that-is-sent-twice",
        "The same answer posted twice to one sessionWebhook: is it shown twice?",
        "yes",
        ONLY_THE_STAND_IN,
    ),
    (
        "blank-answer",
        "A text of blanks posted to a sessionWebhook: is it refused (errcode 40035)?",
        "yes",
        ONLY_THE_STAND_IN,
    ),
    (
        "codes-of-a-wrong-answer",
        "A markdown message without a title, and 51 ids in atUserIds: is the errcode 40035 for both?",
        "yes",
        "The log names another code.",
    ),
    (
        "size-of-an-answer",
        "An answer of 20,000 bytes counts every byte of its JSON; is one byte more refused (460101)?",
        "yes",
        "A long answer is cut into parts that are still too long.",
    ),
    (
        "redirect-of-the-url",
        "A URL of the robot that redirects: does DingTalk not follow it?",
        "yes",
        ONLY_THE_STAND_IN,
    ),
    (
        "address-of-a-file-lives",
        "Does the downloadUrl of a picture still open nine minutes after the call, and no more after eleven?",
        "yes",
        "A picture is fetched at once; only if it lives less than seconds, pictures are not seen.",
    ),
    (
        "code-of-an-old-download-code",
        "A downloadCode that is old or not ours: 400, invalidParameter.downloadCode?",
        "yes",
        "A picture that cannot be fetched any more is explained in other words.",
    ),
    (
        "codes-of-a-wrong-api-call",
        "api.dingtalk.com: GET for POST 405, no JSON 415 or 400, an emoji without openMsgId or with another text 400?",
        "yes",
        ONLY_THE_STAND_IN,
    ),
    (
        "codes-of-a-wrong-upload",
        "oapi.dingtalk.com/media/upload: no multipart 43008, no type 40004, no media 41005, an empty one 44001, a webp "
        "or a text 40005, over 20 MB 45001, a wrong token 40014; or the same as sub_code in an 88?",
        "yes",
        ONLY_THE_STAND_IN,
    ),
    (
        "link-that-sends",
        "Send \\\\help in a private chat, on a phone and on a computer, and tap a command: is it sent as your message?",
        "yes",
        "A tap does nothing; the words of the command stand there all the same.",
    ),
    (
        "order-of-the-api-checks",
        "A call of api.dingtalk.com with a wrong token and a missing permission: is the token told?",
        "yes",
        "The sentence about a missing permission comes for a wrong key.",
    ),
    (
        "quoted-message",
        "Quote a message, a card and a file: is what the bot answers about the quoted words?",
        "yes",
        "The model does not see what somebody quotes.",
    ),
    (
        "message-over-the-quota",
        "Over the monthly quota: does the bot say so in the chat?",
        "yes",
        "Nobody learns why the bot is silent.",
    ),
    (
        "what-counts-against-the-quota",
        "Do ten questions with ten answers count as ten calls in DingTalk's statistics?",
        "yes",
        "The quota is used up sooner than the page on costs says.",
    ),
):
    by_hand(name, what, assumed, breaks)
