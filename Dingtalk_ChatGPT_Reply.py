"""Answers one message from DingTalk with ChatGPT and the chat history in OSS, and posts the answer to the chat.

    message -> journal in OSS: answered before? -> command? -> ChatGPT -> append the turn -> post the answer -> mark

Handler: Dingtalk_ChatGPT_Reply.handler (event function of Function Compute 2.0 or 3.0; openai, oss2 >= 2.18.4)

    situation                              the chat shows                        does FC run the event again?
    a question: text, voice, rich text     ChatGPT's answer, in parts if long    no
    a command: \\clear \\help \\status        what it did                           no
    a picture, a file; a person or group   a sentence                            no
      that may not ask; today's limit
    this message was answered before       nothing                               no
    ChatGPT fails                          a sentence: who can do what           no
    OSS fails                              the answer, and a sentence about OSS  no
    a setting is missing or malformed      a sentence: which                     no
    the webhook is expired or not allowed  nothing (the log says why)            no
    the webhook cannot be reached          nothing yet                           yes: the answer is in the journal
    the event is no message: self-check    nothing (the report is the result)    no

The journal is one appendable object per conversation and person. Appending at the length that was read is a
compare-and-swap: OSS refuses a wrong position. So concurrent runs lose nothing, and of several runs for one message
only the one that recorded its answer sends it. README.md tells the rest.

https://open.dingtalk.com/document/development/receive-message        the message
https://open.dingtalk.com/document/dingstart/robot-message-type       the answer
https://help.aliyun.com/en/oss/developer-reference/appendobject       append as compare-and-swap
https://developers.openai.com/docs/guides/error-codes                 what ChatGPT refuses
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import math
import os
import random
import re
import ssl
import threading
import time
import traceback
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import openai
import oss2
import requests

log = logging.getLogger("Dingtalk_ChatGPT_Reply")
T = TypeVar("T")

VERSION = "1.0"
REQUIRED = object()
SETTINGS: tuple[tuple[str, str, Any, str], ...] = (  # name, kind (see READERS), default, meaning
    ("CHATGPT_API_KEY", "secret", REQUIRED, "ChatGPT 的 API 密钥"),
    ("OSS_BUCKET_NAME", "bucket", REQUIRED, "存放聊天记录的 OSS Bucket 的名称"),
    ("OSS_ENDPOINT", "endpoint", None, "OSS 的访问地址；不填就是本地域的内网地址"),
    ("OSS_REGION", "region", None, "Bucket 所在的地域，例如 us-west-1；不填就按 OSS_ENDPOINT 或函数所在的地域"),
    ("ACCESS_KEY_ID", "secret", None, "访问 OSS 的 AccessKey ID；不填就用服务或函数的角色"),
    ("ACCESS_KEY_SECRET", "secret", None, "访问 OSS 的 AccessKey Secret；不填就用服务或函数的角色"),
    ("CHATGPT_MODEL", "model", "gpt-6-luna", "模型的名称"),
    ("CHATGPT_BASE_URL", "address", "https://api.openai.com", "OpenAI 或兼容服务的地址"),
    ("CHATGPT_OPTIONS", "options", {}, '加进请求的 JSON 对象，例如 {"reasoning_effort": "low"}'),
    ("SYSTEM_PROMPT", "text", None, "给模型的系统提示词"),
    ("HISTORY_LENGTH", "count", 10, "让模型看到最近几轮对话，0 到 1000"),
    ("HISTORY_SCOPE", "scope", "user", "聊天记录属于谁：user、group 或 person"),
    ("TIMEOUT", "seconds", 55, "最多等 ChatGPT 多少秒，1 到 3600"),
    ("REPLY_FORMAT", "format", "auto", "回答的格式：auto、text 或 markdown"),
    ("ALLOWED_USERS", "list", (), "可以提问的人的员工 ID，用逗号分开；不填就是所有人"),
    ("ALLOWED_GROUPS", "list", (), "可以提问的群的会话 ID，用逗号分开；不填就是所有群"),
    ("DAILY_LIMIT", "limit", None, "每人每天最多提问几次；不填就不限"),
    ("WEBHOOK_HOSTS", "hosts", ("dingtalk.com",), "可以发送回答的域名，用逗号分开"),
    ("VERBOSE", "level", logging.INFO, "日志级别，例如 INFO 或 DEBUG"),
)


def handler(event: bytes, context: Any) -> str:
    """Answer one message; return a JSON summary, or raise NotDelivered so that FC runs the event again."""
    started = time.monotonic()
    settings, problems = read_settings(os.environ)
    problems += conflicts(settings)
    set_up_logs(settings.verbose)
    run = Run(uuid.uuid4().hex, context, settings, started + context.function.timeout - ENDING_SECONDS)
    message = parse_message(event)
    if message is None:
        return json.dumps(self_check(problems, run), ensure_ascii=False, indent=2)
    try:
        result = reply_to(message, problems, run)
    except (Undeliverable, NotDelivered) as reason:
        result = type(reason).__name__
        log.error("request %s: message %.99r: %s: %s", context.request_id, message.id, result, reason)
        if isinstance(reason, NotDelivered):
            raise
    seconds = round(time.monotonic() - started, 3)
    log.info("request %s: message %.99r: %s in %.3f s", context.request_id, message.id, result, seconds)
    return json.dumps({"result": result, "msgId": message.id, "seconds": seconds})


# --- one run and its deadline ---

ENDING_SECONDS = 2  # of the function's time-out: FC kills a run that exceeds it, bills it, and runs the event again
# What a step may take: seconds, and at most this part of what is left before the deadline.
LOAD_SHARE = (8, 1 / 5)
COUNT_SHARE = (4, 1 / 10)  # for DAILY_LIMIT
COMMIT_SHARE = (6, 1 / 3)
AFTER_ASKING_SHARE = (20, 1 / 2)  # stays for the commit, sending and the mark; ChatGPT may have all before
MARK_SHARE = (3, 1 / 4)  # stays for the mark, which may have more if sending was quick; sending may have all before
MARK_SECONDS = 6
MOST_SECONDS_WITHOUT_CHATGPT = 30  # the above together, which is what the function's time-out needs beside TIMEOUT


class Run(NamedTuple):
    """One run of this function."""

    id: str  # unique: FC may run one event twice at once, with the same request id
    context: Any
    settings: SimpleNamespace
    deadline: float  # time.monotonic() by which everything ends

    def share(self, share: tuple[float, float]) -> float:
        """The deadline of a step that may have this share of what is left."""
        return time.monotonic() + self.part(share)

    def without(self, share: tuple[float, float]) -> float:
        """The deadline of a step after which this share must be left."""
        return self.deadline - self.part(share)

    def part(self, share: tuple[float, float]) -> float:
        """The seconds of a share."""
        most_seconds, fraction = share
        return max(0.0, min(most_seconds, fraction * (self.deadline - time.monotonic())))


def conflicts(settings: SimpleNamespace) -> list[str]:
    """A sentence for each thing that no single setting shows."""
    problems = []
    if bool(settings.access_key_id) != bool(settings.access_key_secret):
        problems.append("ACCESS_KEY_ID 和 ACCESS_KEY_SECRET 要么都设置，要么都不设置")
    if not hasattr(oss2, "AuthV4"):  # the one that the python3.10 of Function Compute has, 2.16.0, cannot sign with V4
        problems.append(f"oss2 的版本 {oss2.__version__} 太旧，请随函数一起部署 2.18.4 或更新的版本")
    return problems


LIBRARIES = ("oss2", "openai", "httpx2", "httpcore2", "urllib3")  # they log tokens, addresses and questions


def set_up_logs(level: int) -> None:
    """Our own log has the level of VERBOSE; those of the libraries are switched off."""
    log.setLevel(level)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


# --- reading the message ---


class Message(NamedTuple):
    """What counts of a message from DingTalk."""

    id: str
    conversation_id: str
    in_group: bool
    staff_id: str  # empty for people outside the organisation
    corp_id: str  # the organisation of the person
    person: str  # staff id, else sender id
    nick: str
    text: str | None  # the words, without surrounding blanks; None: a kind of message that holds none
    quotation: str  # the words of a message that it answers to
    over_quota: bool  # DingTalk's notice that it delivers no more messages this month
    webhook: str
    webhook_expires_ms: int | None


def parse_message(event: bytes) -> Message | None:
    """The message in an event, None if it is none; unknown fields are ignored, wrong types count as missing."""
    try:
        raw = json.loads(event)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return None
    body = raw.get("text") or raw.get("content")
    quoting = {**raw, **body} if isinstance(body, dict) else raw  # the quotation stands in `text`, or beside it
    kind = text_in(raw, "msgtype") or "text"
    text = words_in(body, packed=kind != "text")
    expires_ms = raw.get("sessionWebhookExpiredTime")
    staff_id = text_in(raw, "senderStaffId") or ""
    message = Message(
        id=text_in(raw, "msgId") or "",
        conversation_id=text_in(raw, "conversationId") or "",
        in_group=text_in(raw, "conversationType") == "2",
        staff_id=staff_id,
        corp_id=text_in(raw, "senderCorpId") or "",
        person=staff_id or text_in(raw, "senderId") or "",
        nick=" ".join((text_in(raw, "senderNick") or "").split())[:40],
        text=text.strip() if text.strip() or kind == "text" else None,
        quotation=words_in(quoting.get("repliedMsg") or quoting.get("quoteMessage"), packed=True).strip(),
        over_quota=not body and "errorCode" in raw,
        webhook=text_in(raw, "sessionWebhook") or "",
        webhook_expires_ms=expires_ms if isinstance(expires_ms, int) else None,
    )
    return message if message.id and message.conversation_id and message.webhook else None


def words_in(body: Any, packed: bool, depth: int = 0) -> str:
    """The words in the body of any kind of message, in the order in which they stand.

    {"content": "a"}, {"recognition": "a"}, {"richText": [{"text": "a"}, {"type": "picture"}]} -> "a". A quoted message
    wraps such a body in `content` or `text`. `packed`: where a text is expected, JSON in a text may stand for a body.
    """
    if depth > 5:
        return ""
    if isinstance(body, list):
        return "".join(words_in(item, packed, depth + 1) for item in body)
    if isinstance(body, dict):
        names = ("richText", "recognition", "content", "text")
        return next((words_in(body[name], packed, depth + 1) for name in names if body.get(name)), "")
    text = text_in({"text": body}, "text") or ""
    if packed and text.startswith("{"):
        try:
            return words_in(json.loads(text), False, depth + 1)
        except (ValueError, RecursionError):
            return text  # it only looked like JSON
    return text


def text_in(fields: dict[str, Any], name: str) -> str | None:
    """The field if it is a text; half a surrogate pair, which JSON can hold but UTF-8 cannot, is replaced."""
    value = fields.get(name)
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else None


# --- answering it once ---

INTERNAL = "机器人内部出错了。请部署者在 Dingtalk_ChatGPT_Reply 的日志里查找请求 {}。"
WITHHELD = "钉钉没有显示这条回答（错误码 {}），可能是内容审核没有通过。请换一种问法。"


def reply_to(message: Message, problems: list[str], run: Run) -> str:
    """Answer the message in its chat, once; return the result in a word."""
    request_id = run.context.request_id
    check_webhook(message, run.settings.webhook_hosts)
    if problems:
        log.error("request %s: %s", request_id, "; ".join(problems))
        todo = f"请部署者检查函数 Dingtalk_ChatGPT_Reply 的设置：{'；'.join(problems)}。"
        send_sentence(message, f"机器人还没有设置好。{todo}", run)
        return "bad settings"
    try:
        journal = open_journal(message, run)
        result, note = prepare_reply(message, journal, run)
    except Taken:
        return "duplicate"
    except NotDelivered:
        raise
    except Exception as error:
        log.error("request %s: unforeseen: %s", request_id, trace(error))
        send_sentence(message, INTERNAL.format(request_id), run)
        return "failed: unforeseen"
    return deliver(message, journal, note, run) or result


def prepare_reply(message: Message, journal: Journal, run: Run) -> tuple[str, str]:
    """Make this run the one that sends the reply; return the result in a word, and a note for the person about OSS.

    Taken if the reply is in the chat already. Of several runs for one message, one commits its reply; any other waits
    until that one is through, or has stopped sending, and sends what is left.
    """
    if journal.answer is None and not journal.delivered:
        result, words = compose(message, journal, run)
        try:
            note = commit(message, result, words, journal, run)
            if result.startswith("failed"):
                count_question("-", message, run)
            return result, note
        except Taken:
            journal.update(load_journal(journal.bucket, journal.key, message.id, 0, run.share(LOAD_SHARE)))
    take_lease(message, journal, run)
    return "answered again", ""


def commit(message: Message, result: str, words: str, journal: Journal, run: Run) -> str:
    """Append the reply to the journal, and with it the lease to send it; return what to tell the person about OSS.

    From here on this run sends the reply, even if OSS did not take it. Taken if another run was first.
    """
    line = {"msgId": message.id, "at": now_ms(), "run": run.id, "until": lease_until_ms(run)}
    if result == "answered":
        line["question"] = question_of(message, run.settings.history_scope)
    if result == "cleared":
        line["forgotten"] = journal.forgotten
    note = ""
    try:
        append_line(shortened({**line, "answer": words}), journal, run.share(COMMIT_SHARE))
        if journal.problem is not None:
            log.error("%s: not read: %s", journal.key, journal.problem)
            note = f"\n\n（没能读取聊天记录，所以没有参考之前的对话。{journal.problem}。）"
    except JournalFailure as failure:
        log.error("%s: not saved: %s", journal.key, failure)
        note = f"\n\n（这次对话没能存进聊天记录。{failure}。）"
        journal.until_ms = epoch_ms(run.without(MARK_SHARE))  # nobody else can know of this reply
    journal.answer = words
    return note


def deliver(message: Message, journal: Journal, note: str, run: Run) -> str:
    """Send what the chat does not show yet, and mark the reply as delivered; the result if it is not what was meant."""
    result = ""
    try:
        send_reply(message, (journal.answer or "") + note, journal, run)
    except Taken:
        return "duplicate"  # this run was too slow, and another one took its lease
    except NotDelivered as failure:
        release = {"msgId": message.id, "at": now_ms(), "run": run.id, "sent": failure.sent}
        append_if_possible(release, journal, run)  # so that the next run goes on at once where this one had to stop
        raise
    except Withheld as errcode:
        log.error("request %s: DingTalk refuses this text: errcode %s", run.context.request_id, errcode)
        send_sentence(message, WITHHELD.format(errcode), run)
        result = "withheld"
    # After the reply is out, so that it costs the person no time.
    append_if_possible({"msgId": message.id, "at": now_ms(), "delivered": True}, journal, run)
    return result


# --- the lease: which run sends ---

LEASE_SECONDS = (
    10  # until another run may send; a run that needs longer renews its lease, one that died blocks no longer
)
CLOCKS_MS = 1000  # by which the clocks of two instances may differ
WAIT_SECONDS = 1  # between two looks at the lease of another run


class Taken(Exception):
    """The reply to this message is in the chat, or another run is sending it; nobody sees this."""


def epoch_ms(deadline: float) -> int:
    """A deadline of time.monotonic() in milliseconds since 1970, which other instances understand."""
    return now_ms() + round(1000 * (deadline - time.monotonic()))


def lease_until_ms(run: Run) -> int:
    """Until when this run has the lease if it takes or renews it now."""
    return min(now_ms() + 1000 * LEASE_SECONDS, epoch_ms(run.without(MARK_SHARE)))


def take_lease(message: Message, journal: Journal, run: Run) -> None:
    """Wait until no other run sends the reply on record, and take its lease.

    Taken if the other run delivers it meanwhile; NotDelivered if it is still sending when this run has to end.
    """
    while not journal.delivered:
        if journal.answer is not None and journal.until_ms + CLOCKS_MS < now_ms():
            line = {"msgId": message.id, "at": now_ms(), "run": run.id, "until": lease_until_ms(run)}
            try:
                append_line({**line, "sent": journal.sent}, journal, run.share(COMMIT_SHARE))
                return
            except JournalFailure as failure:
                raise NotDelivered(f"no lease: {failure}", journal.sent) from None
            except Taken:
                pass  # by another run that waited as well
        if time.monotonic() + WAIT_SECONDS > run.without(AFTER_ASKING_SHARE):
            raise NotDelivered("another run is still sending it", journal.sent)
        time.sleep(WAIT_SECONDS)
        journal.update(load_journal(journal.bucket, journal.key, message.id, 0, run.share(LOAD_SHARE)))
    raise Taken(message.id)


def keep_lease(message: Message, sent: int, journal: Journal, run: Run) -> float:
    """The seconds that this run may go on sending, its lease renewed if necessary; NotDelivered if time is up."""
    until_ms = lease_until_ms(run)
    if journal.until_ms - now_ms() < 500 * LEASE_SECONDS and journal.until_ms < until_ms - 1000:
        line = {"msgId": message.id, "at": now_ms(), "run": run.id, "until": until_ms, "sent": sent}
        try:
            append_line(line, journal, run.share(COMMIT_SHARE))
        except JournalFailure as failure:
            log.warning("%s: the lease is not renewed: %s", journal.key, failure)
    seconds = (journal.until_ms - now_ms()) / 1000
    if seconds < MIN_SEND_SECONDS:
        raise NotDelivered("time is up", sent)
    return seconds


# --- what to answer ---

HELP = """可以直接提问，也可以发送：
\\clear（或 清除）：忘掉之前的对话
\\status（或 状态）：查看模型和记住的对话轮数
\\help（或 帮助）：显示这些说明"""
UNREADABLE = (
    "我能读文字消息、图文消息里的文字，和钉钉转成了文字的语音；图片、视频和文件还读不了。请用文字把问题发给我。"
)
OVER_QUOTA = "钉钉说本组织的消息调用量已经用完，机器人的服务暂停了。请联系组织的管理员在钉钉开发者后台处理。"
USER_REFUSED = "你还不能使用这个机器人。请部署者把你的员工 ID（{}）加进环境变量 ALLOWED_USERS。"
LIMIT_REACHED = "你今天的 {} 次提问机会已经用完，明天再来吧。需要更多时，请部署者调大环境变量 DAILY_LIMIT。"
GROUP_REFUSED = "这个群还不能使用机器人。请部署者把群的会话 ID（{}）加进环境变量 ALLOWED_GROUPS。"


def compose(message: Message, journal: Journal, run: Run) -> tuple[str, str]:
    """The result in a word, and the words to reply."""
    settings = run.settings
    command = command_in(message.text) if message.text else None
    refusal = refusal_of(message, settings)
    if refusal:
        return "not allowed", refusal
    if message.over_quota:
        return "over quota", OVER_QUOTA
    if message.text is None:
        return "unreadable", UNREADABLE
    if command == "clear":
        return "cleared", clear(journal, run)
    if command == "status":
        return "status", status(journal, settings)
    if command == "help" or not (message.text or message.quotation):  # nothing but the @: perhaps a first try
        return "help", HELP
    if not count_question("+", message, run):
        return "not allowed", LIMIT_REACHED.format(settings.daily_limit)
    try:
        return "answered", ask(question_of(message, settings.history_scope), journal, run)
    except ModelFailure as failure:
        log.warning("request %s: ChatGPT did not answer: %s", run.context.request_id, failure)
        return f"failed: {failure.cause}", FAILURES[failure.cause]


def refusal_of(message: Message, settings: SimpleNamespace) -> str | None:
    """Why the person, or in a group the group, may not ask; None if it is on its list or there is no list."""
    if settings.allowed_users and message.person not in settings.allowed_users:
        return USER_REFUSED.format(message.person)
    if settings.allowed_groups and message.in_group and message.conversation_id not in settings.allowed_groups:
        return GROUP_REFUSED.format(message.conversation_id)
    return None


COMMANDS = {"清除": "clear", "重置": "clear", "状态": "status", "帮助": "help"}  # and the English words after \ or /


def command_in(text: str) -> str | None:
    """The command that the whole text is, None for a question.

    '\\clear' '/Clear' '清除' -> 'clear'; an unknown word after a slash, '/hi' -> 'help'; '\\frac{a}{b}' -> None
    """
    word = re.fullmatch(r"[\\/]([A-Za-z]\w*)", text, re.ASCII)
    if word:
        name = word[1].lower()
        return name if name in COMMANDS.values() else "help"
    return COMMANDS.get(text.lstrip("\\/"))


FORGOTTEN = 200  # messages that are still recognised after \\clear: DingTalk repeats one within minutes


def clear(journal: Journal, run: Run) -> str:
    """Delete the journal object; the reply to this message becomes the first line of the next.

    Of the messages that were answered the digests stay, so that one that DingTalk repeats is not answered again.
    """
    try:
        deadline = run.share(LOAD_SHARE)
        call_until(deadline, lambda: journal.bucket.delete_object(journal.key))
    except OSS_ERRORS as error:
        return f"没能忘掉之前的对话：{oss_problem(error)}。"
    journal.forgotten = [*journal.forgotten, *map(digest, journal.delivered_ids())][-FORGOTTEN:]
    journal.lines, journal.length, journal.separator, journal.problem = [], 0, b"", None
    return "好的，之前的对话我都忘掉了。"


def status(journal: Journal, settings: SimpleNamespace) -> str:
    """What a person may want to know of the bot."""
    memory = f"记住的对话：{len(journal.turns)} 轮（最多 {settings.history_length} 轮）"
    return f"模型：{settings.chatgpt_model}\n{memory}\n版本：{VERSION}"


def question_of(message: Message, scope: str) -> str:
    """What the model is asked: the words, below those they refer to.

    In a history that a group shares, every line begins with who says it, so that nobody can speak for somebody else:
    'a\nb' of 小钉 -> '小钉#1f0e：a\n小钉#1f0e：b'
    """
    quotation = "".join(f"> {line}\n" for line in message.quotation.splitlines())
    words = "\n".join(filter(None, (quotation, message.text)))
    if scope != "group" or not message.in_group:
        return words
    speaker = f"{re.sub('[#:：]', ' ', message.nick).strip()}#{digest(message.person)[:4]}"  # nicks are not unique
    return "\n".join(f"{speaker}：{line}" for line in words.splitlines())


USAGE_BYTES = 256 * 1024  # of a day's questions are read; one takes 18, and as much again if no answer came
COUNT_TRIES = 40  # every race lost was won by another run


def count_question(sign: str, message: Message, run: Run) -> bool:
    """Count a question of this person today before ChatGPT is asked, "+", or take it back, "-".

    False if there are no questions left. The object has a line for each, `+` or `-` and the digest of its msgId, so a
    message that runs twice counts once. Appending at the length that was read is a compare-and-swap, so the limit
    holds for concurrent questions too. If OSS fails, the person is answered and nothing is counted.
    """
    limit, deadline = run.settings.daily_limit, run.share(COUNT_SHARE)
    if not limit:
        return True
    day = time.strftime("%Y-%m-%d", time.gmtime(now_ms() / 1000 + 8 * 3600))  # of Asia/Shanghai, which has no DST
    key = f"chat-usage/{day}/{percent_encoded(message.person or message.conversation_id)}"
    bucket = open_bucket(run.settings, run.context)
    asked = digest(message.id)
    for _ in range(COUNT_TRIES):
        try:
            questions, length = read_usage(bucket, key, deadline)
            if (asked in questions) == (sign == "+"):
                return True
            if sign == "+" and len(questions) >= limit:
                return False
            line = f"{sign}{asked}\n".encode()
            call_until(deadline, functools.partial(bucket.append_object, key, length, line))
            return True
        except oss2.exceptions.PositionNotEqualToLength:
            time.sleep(random.uniform(0, 0.05))
        except OSS_ERRORS as error:
            log.warning("%s: not counted: %s", key, oss_problem(error))
            return True
    log.warning("%s: not counted: too many at once", key)
    return True


def read_usage(bucket: oss2.Bucket, key: str, deadline: float) -> tuple[set[str], int]:
    """The digests of the messages that count, and the length of the object."""
    try:
        data, length = call_until(deadline, lambda: read_tail(bucket, key, USAGE_BYTES))
    except oss2.exceptions.NoSuchKey:
        return set(), 0
    counted: set[str] = set()
    for line in data.decode("ascii", "replace").splitlines():
        (counted.add if line.startswith("+") else counted.discard)(line[1:])
    return counted, length


# --- ChatGPT ---

# What the person sees when ChatGPT does not answer, by cause.
FAILURES = {
    "key": "ChatGPT 的 API 密钥无效。请部署者检查环境变量 CHATGPT_API_KEY。",
    "forbidden": "ChatGPT 不允许这个密钥做这件事。请部署者检查密钥所属项目的权限。",
    "region": "ChatGPT 不支持函数所在的国家或地区。请部署者换一个地域部署，或者设置 CHATGPT_BASE_URL。",
    "model": "ChatGPT 没有这个模型，或者密钥不能用它。请部署者检查环境变量 CHATGPT_MODEL。",
    "address": "这个地址上没有 ChatGPT 的接口。请部署者检查环境变量 CHATGPT_BASE_URL。",
    "balance": "ChatGPT 账户的余额或额度用完了。请部署者充值，或者提高额度上限。",
    "busy": "现在向 ChatGPT 提问太频繁了。请过一会儿再问。",
    "long": "这个问题太长，模型读不完。请缩短以后再问。",
    "filtered": "这个问题或它的回答没有通过 ChatGPT 的内容审核。请换一种问法。",
    "options": "ChatGPT 不接受这样的请求。请部署者检查环境变量 CHATGPT_OPTIONS 和 CHATGPT_MODEL。",
    "timeout": "ChatGPT 没有在规定的时间内答完。请稍后再问，或者把问题拆成几个小问题；"
    "部署者可以调大环境变量 TIMEOUT，函数的执行超时时间要比它至少多 30 秒。",
    "network": "连接不上 ChatGPT。请稍后再问；如果一直这样，请部署者检查 CHATGPT_BASE_URL 和函数的网络。",
    "down": "ChatGPT 暂时出错了。请稍后再问。",
    "strange": "ChatGPT 的回应无法识别。请部署者检查 CHATGPT_BASE_URL 是不是兼容 OpenAI 的服务。",
    "empty": "ChatGPT 的回答是空的。请换一种问法；如果一直这样，请部署者检查环境变量 CHATGPT_OPTIONS 里的长度限制。",
}


class ModelFailure(Exception):
    """ChatGPT gave no answer; the person sees FAILURES[cause]."""

    def __init__(self, cause: str, detail: object, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{cause} ({detail})")
        self.cause, self.retry_after_seconds = cause, retry_after_seconds


RETRIED = ("busy", "network", "down")
ASK_PAUSES_SECONDS = (0.5, 2)  # between the three tries of ChatGPT


def ask(question: str, journal: Journal, run: Run) -> str:
    """ChatGPT's answer; of a conversation that is too long for the model, the older half is left out, and again."""
    settings, turns = run.settings, journal.turns
    deadline = min(time.monotonic() + settings.timeout, run.without(AFTER_ASKING_SHARE))
    while True:
        messages = [{"role": "system", "content": settings.system_prompt}] if settings.system_prompt else []
        for turn in turns:
            messages.append({"role": "user", "content": turn["question"]})
            messages.append({"role": "assistant", "content": turn["answer"]})
        messages.append({"role": "user", "content": question})
        try:
            return ask_model(messages, settings, deadline)
        except ModelFailure as failure:
            if failure.cause != "long" or not turns:
                raise
            turns = turns[(len(turns) + 1) // 2 :]


def ask_model(messages: list[dict[str, str]], settings: SimpleNamespace, deadline: float) -> str:
    """ChatGPT's answer to these messages, after three tries at most, before the deadline (time.monotonic).

    The tries are ours: those of the openai package also repeat what cannot succeed (no money left), and sleep as long
    as the service asks for, whatever the time-out is.
    """
    pauses_seconds = iter(ASK_PAUSES_SECONDS)
    while True:
        try:
            return ask_once(messages, settings, deadline - time.monotonic())
        except ModelFailure as failure:
            pause_seconds = next(pauses_seconds, None)
            if failure.cause not in RETRIED or pause_seconds is None:
                raise
            wait_seconds = failure.retry_after_seconds or pause_seconds
            if time.monotonic() + wait_seconds > deadline - 1:
                raise
        time.sleep(wait_seconds)


def ask_once(messages: list[dict[str, str]], settings: SimpleNamespace, seconds: float) -> str:
    """ChatGPT's answer, or ModelFailure with the cause."""
    client = openai_client(settings.chatgpt_api_key, settings.chatgpt_base_url)
    create: Callable[..., Any] = client.chat.completions.create
    timeout = openai.Timeout(seconds, connect=min(seconds, 5))
    try:
        completion = call_until(
            time.monotonic() + seconds,
            # The messages go as extra_body, which openai leaves as it is: in `messages` it looks for values that need
            # another form, and compares each one with all kinds of messages. That is a third of the CPU of an answer.
            lambda: create(
                model=settings.chatgpt_model,
                messages=[],
                extra_body={**settings.chatgpt_options, "messages": messages},
                timeout=timeout,
            ),
        )
        return answer_in(completion)
    except (openai.APITimeoutError, concurrent.futures.TimeoutError) as error:
        openai_client.cache_clear()
        client.close()  # or the thread that was left behind would go on reading
        unconnected = type(error.__cause__).__name__ == "ConnectTimeout"
        raise ModelFailure("network" if unconnected else "timeout", type(error).__name__) from error
    except openai.APIConnectionError as error:
        raise ModelFailure("network", type(error.__cause__).__name__) from error
    except openai.APIStatusError as error:
        raise status_failure(error) from error
    except (openai.OpenAIError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ModelFailure("strange", trace(error)) from error


@functools.lru_cache(maxsize=1)
def openai_client(api_key: str, base_url: str) -> openai.OpenAI:
    """The client, made once per instance because that takes 25 ms, with its connections kept between messages.

    An address without a version gets OpenAI's: 'https://a.com' -> 'https://a.com/v1'
    """
    base_url = base_url.removesuffix("/chat/completions")
    if not re.search(r"/v\d\w*(/|$)", base_url):
        base_url += "/v1"
    http_client = openai.DefaultHttpxClient(
        event_hooks={"request": [refuse_late_request]},
        limits=dataclasses.replace(openai.DEFAULT_CONNECTION_LIMITS, keepalive_expiry=MAX_IDLE_SECONDS),
        verify=tls_context(),
    )
    return openai.OpenAI(api_key=api_key, base_url=base_url, max_retries=0, http_client=http_client)


def refuse_late_request(request: Any) -> None:
    """Have refuse_if_late called when the request has its connection, before anything is sent."""

    def trace_event(name: str, _: Any) -> None:
        if name.endswith("send_request_headers.started"):
            refuse_if_late()

    request.extensions["trace"] = trace_event


def answer_in(completion: Any) -> str:
    """The words of a chat completion; what does not look like one raises one of the errors that ask_once expects."""
    choice = completion.choices[0]
    text = choice.message.content or getattr(choice.message, "refusal", None) or ""
    if not isinstance(text, str):
        raise TypeError("content is no text")
    text = without_thoughts(text_in({"text": text}, "text") or "")
    if not text.strip():
        raise ModelFailure("filtered" if choice.finish_reason == "content_filter" else "empty", "no words")
    return text.strip()


def without_thoughts(text: str) -> str:
    """The text without what a reasoning model thought first: <think>...</think>, of which either tag may be missing."""
    before, tag, after = text.partition("</think>")
    if tag and ("<think>" not in before or before.lstrip().startswith("<think>")):
        return after
    return re.sub(r"\A\s*<think>.*", "", text, flags=re.DOTALL)


# An error's code or type, else its status, tells the cause.
CAUSES = {
    "insufficient_quota": "balance",
    "credit_balance_exhausted": "balance",
    "organization_spend_limit_exceeded": "balance",
    "organization_usage_limit_exceeded": "balance",
    "project_spend_limit_exceeded": "balance",
    "Arrearage": "balance",  # Alibaba's Model Studio
    "exceeded_current_quota_error": "balance",  # Moonshot
    "insufficient_user_quota": "balance",  # one-api
    "context_length_exceeded": "long",
    "content_filter": "filtered",
    "data_inspection_failed": "filtered",  # Alibaba's Model Studio
    "unsupported_country_region_territory": "region",
    "model_not_found": "model",
    "401": "key",
    "402": "balance",
    "408": "down",
    "403": "forbidden",
    "404": "address",
    "429": "busy",
}
# OpenAI's words for a conversation that is too long, which other services have without its code; its words for one that
# is longer than a small account may send in a minute; Alibaba's Model Studio.
TOO_LONG = ("maximum context length", "Request too large", "Range of input length")


def status_failure(error: openai.APIStatusError) -> ModelFailure:
    """Why ChatGPT refused, by the code or type of the error, else by its status."""
    names = (str(name) for name in (error.code, error.type, error.status_code))
    cause = next((CAUSES[name] for name in names if name in CAUSES), "down" if error.status_code >= 500 else "options")
    if error.status_code == 413 or any(words in error.message for words in TOO_LONG):
        cause = "long"
    wait = error.response.headers.get("retry-after", "")
    detail = f"HTTP {error.status_code}, its request {error.request_id}"
    return ModelFailure(cause, detail, retry_after_seconds=int(wait) if wait.isdecimal() else None)


# --- the journal ---

TAIL_BYTES = 128 * 1024  # of the journal are read, however long it is
MAX_LINE_BYTES = 96 * 1024  # a longer turn is kept shortened: it must fit the tail, and leave room for the next ones
OSS_TRIES = 3  # of an append that OSS neither did nor refused


class JournalFailure(Exception):
    """OSS did not do what it was asked; the person sees the message below the answer."""


class Journal:
    """The end of one journal object, read for one message. A line is one of

    {"msgId", "at" (ms), "run", "until" (ms), "question", "answer"}  a turn; without "question" a reply that is no turn
    {"msgId", "at", "run", "until", "sent"}                          the lease is taken or renewed after `sent` parts
    {"msgId", "at", "run", "sent"}                                   this run stopped sending; another may go on now
    {"msgId", "at", "delivered": true}                               all of the reply is in the chat

    The reply to \\clear, the first line of a new object, also has "forgotten": digests of messages answered before.
    """

    def __init__(self, bucket: oss2.Bucket, key: str) -> None:
        self.bucket, self.key = bucket, key
        self.length = 0  # of the whole object, in bytes
        self.separator = b""  # a newline if the object does not end in one, because somebody edited it
        self.problem: str | None = None  # why it could not be read, for the person
        self.denied = False  # because permission was refused
        self.lines: list[bytes] = []  # oldest first; of a thousand, only those that are needed are parsed
        self.turns: list[dict[str, Any]] = []  # the last ones, oldest first
        self.cleared_by = ""  # the message with the last \\clear
        self.forgotten: list[str] = []  # digests of the messages that were answered before that
        # The reply to this message:
        self.answer: str | None = None
        self.holder = ""  # the run that has, or had last, the lease to send it
        self.until_ms = 0
        self.sent = 0  # parts of it that are in the chat
        self.delivered = False

    def update(self, latest: Journal) -> None:
        """Know what was read just now."""
        if latest.problem is None:
            vars(self).update(vars(latest), turns=self.turns)

    def delivered_ids(self) -> list[str]:
        """The messages whose replies are in the chat, oldest first."""
        return [line["msgId"] for line in parsed(self.lines) if "delivered" in line]


def open_journal(message: Message, run: Run) -> Journal:
    """The journal that this message belongs to."""
    bucket, key = open_bucket(run.settings, run.context), journal_key(message, run.settings.history_scope)
    return load_journal(bucket, key, message.id, run.settings.history_length, run.share(LOAD_SHARE))


def journal_key(message: Message, scope: str) -> str:
    """The name of the journal object: of this person in this conversation, or of all in it, or of the person anywhere.

    'cid7+Q==', '../x' -> 'chat-history/cid7%2BQ%3D%3D/%2E%2E%2Fx.jsonl': no id can leave its place, nor be an @ name
    """
    person = percent_encoded(message.person) if message.person else f"@nobody-{digest(message.id)}"
    if scope == "person":  # staff ids are unique in an organisation only
        return f"chat-history/@person-{percent_encoded(message.corp_id)}/{person}.jsonl"
    shared = scope == "group" and message.in_group
    return f"chat-history/{percent_encoded(message.conversation_id)}/{'@group' if shared else person}.jsonl"


def percent_encoded(name: str) -> str:
    """A name as one harmless part of an object's name; those end at 1,023 bytes, so a long one becomes its digest."""
    text = quote(name, safe="").replace(".", "%2E")
    return text if len(text) <= 400 else "=" + hashlib.sha256(name.encode()).hexdigest()


def digest(text: str) -> str:
    """A text as 16 hexadecimal digits, by which it is recognised."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_journal(bucket: oss2.Bucket, key: str, message_id: str, history_length: int, deadline: float) -> Journal:
    """The end of the journal object; what fails is in `problem`, because the person is answered all the same."""
    journal = Journal(bucket, key)
    try:
        data, journal.length = call_until(deadline, lambda: read_tail(bucket, key, TAIL_BYTES))
    except oss2.exceptions.NoSuchKey:
        return journal
    except OSS_ERRORS as error:
        journal.problem, journal.denied = oss_problem(error), isinstance(error, oss2.exceptions.AccessDenied)
        return journal
    if data and not data.endswith(b"\n"):
        journal.separator = b"\n"
    lines = data.split(b"\n")
    if journal.length > len(data):
        del lines[0]  # its beginning was not read
    journal.lines = [line for line in lines if line.strip()]
    read_lines(journal, message_id, history_length)
    return journal


def read_tail(bucket: oss2.Bucket, key: str, most_bytes: int) -> tuple[bytes, int]:
    """The last bytes of the object, and the length of the whole."""
    result = bucket.get_object(key, byte_range=(None, most_bytes))
    data = read_up_to(most_bytes, result)
    # An object that is shorter than the range comes with status 200, as a whole and without Content-Range.
    return data, int(result.content_range.rpartition("/")[2]) if result.content_range else len(data)


def read_lines(journal: Journal, message_id: str, history_length: int) -> None:
    """Set what the lines say: the turns, what was forgotten, and the reply to this message."""
    newest_first = (line for line in parsed(reversed(journal.lines)) if "question" in line)
    journal.turns = list(itertools.islice(newest_first, history_length))[::-1]
    for line in parsed(data for data in journal.lines if b'"forgotten": [' in data):  # in a text, its quotes have a \\
        journal.cleared_by, journal.forgotten = line["msgId"], line.get("forgotten", [])
    journal.delivered = digest(message_id) in journal.forgotten
    written = json.dumps(message_id, ensure_ascii=False).encode()
    for line in parsed(data for data in journal.lines if written in data):
        if line["msgId"] == message_id:
            read_line_about_message(journal, line)


def read_line_about_message(journal: Journal, line: dict[str, Any]) -> None:
    """Set what one line says about the reply; lines of runs that never had the lease belong to another answer."""
    if "delivered" in line:
        journal.delivered = True
    elif "answer" in line:
        if journal.answer is None:
            journal.answer, journal.holder, journal.until_ms = line["answer"], line["run"], line["until"]
    elif journal.answer is not None and ("until" in line or line["run"] == journal.holder):
        journal.holder, journal.until_ms, journal.sent = line["run"], line.get("until", 0), line["sent"]
    if journal.until_ms - now_ms() > 2000 * LEASE_SECONDS:
        journal.until_ms = 0  # no lease is that long: a clock is wrong


def parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The lines that make sense."""
    for data in lines:
        line = parse_line(data)
        if line:
            yield line
        else:
            log.warning("a line of the journal is skipped: it makes no sense")


def parse_line(data: bytes) -> dict[str, Any] | None:
    """A line of a journal, see there; None if it is none."""
    try:
        line = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("msgId"), str):
        return None
    if line.get("delivered") is True:
        return {"msgId": line["msgId"], "delivered": True}
    texts = {name: text_in(line, name) for name in ("msgId", "run", "question", "answer") if name in line}
    numbers = {name: line[name] for name in ("at", "until", "sent") if isinstance(line.get(name), int)}
    if None in texts.values() or "run" not in texts or not ("answer" in texts or "sent" in numbers):
        return None
    if "answer" in texts:
        numbers.setdefault("until", 0)
    forgotten = line.get("forgotten")
    known = {"forgotten": list(map(str, forgotten))} if isinstance(forgotten, list) else {}
    return {**texts, **numbers, **known}


def shortened(line: dict[str, Any]) -> dict[str, Any]:
    """The line with its longer text cut as often as necessary, so that it fits the tail."""
    while len(json.dumps(line, ensure_ascii=False).encode()) > MAX_LINE_BYTES:
        name = max((name for name in ("question", "answer") if name in line), key=lambda name: len(line[name]))
        line = {**line, name: line[name][: len(line[name]) * 3 // 4] + "…"}
    return line


def append_line(line: dict[str, Any], journal: Journal, deadline: float) -> None:
    """Append as compare-and-swap, or JournalFailure.

    OSS refuses a position that is not the object's length: then another run was first, or this one was but never got
    the answer. The journal tells which. Taken if the line is a lease and another run has it.
    """
    failures = 0
    for race in itertools.count():
        position = journal.length
        data = journal.separator + json.dumps(line, ensure_ascii=False).encode() + b"\n"
        try:
            half = time.monotonic() + (deadline - time.monotonic()) / 2  # a try that hangs leaves time for another
            append = functools.partial(journal.bucket.append_object, journal.key, position, data)
            journal.length = int(call_until(half, append).next_position)  # None, if it was not OSS that answered
            break
        except oss2.exceptions.PositionNotEqualToLength as refused:
            position, problem = refused.next_position, "同时写入的人太多"
        except OSS_ERRORS as error:
            failures += 1
            problem = oss_problem(error)
            refused_for_good = isinstance(error, oss2.exceptions.ServerError) and error.status < 500
            if failures == OSS_TRIES or refused_for_good:
                raise JournalFailure(problem) from error
        time.sleep(random.uniform(0, 0.01 * min(race + 1, 10)))
        if time.monotonic() > deadline:
            raise JournalFailure(problem)
        latest = load_journal(journal.bucket, journal.key, line["msgId"], 0, deadline)
        journal.separator = latest.separator
        journal.length = position if latest.problem else latest.length
        if latest.problem is None and has_landed(line, journal, latest):
            break
        if latest.cleared_by != journal.cleared_by:
            line.pop("question", None)  # \\clear was faster: what was said before it stays forgotten
    journal.separator = b""
    if position == 0 and journal.denied:
        journal.problem = None  # there was none: OSS answers 403, not 404, to a role that may not list
    if "until" in line:
        journal.holder, journal.until_ms = line["run"], line["until"]


def has_landed(line: dict[str, Any], journal: Journal, latest: Journal) -> bool:
    """Whether the line is in the journal as read now; Taken if it is a lease, and meanwhile another run has it."""
    if "delivered" in line:
        return bool(latest.delivered)
    if latest.delivered or latest.holder not in (journal.holder, line["run"]):
        raise Taken(line["msgId"])
    return latest.holder == str(line["run"]) and latest.until_ms == line.get("until", 0)


def append_if_possible(line: dict[str, Any], journal: Journal, run: Run) -> None:
    """Append a line about the delivery, whose lack only means that a repetition may be sent again."""
    try:
        append_line(line, journal, run.share((MARK_SECONDS, 1)))
    except (JournalFailure, Taken) as failure:
        log.warning("%s: no %s mark: %s", journal.key, "delivery" if "delivered" in line else "release", failure)


# --- OSS ---

# What the deployer can do about an error of OSS, by its code.
OSS_HINTS = {
    "NoSuchBucket": "请检查环境变量 OSS_BUCKET_NAME",
    "AccessDenied": "角色（或 AccessKey）需要在 chat-history/* 和 chat-usage/* 上有权限 "
    "oss:GetObject、oss:PutObject、oss:DeleteObject",
    "InvalidAccessKeyId": "请检查环境变量 ACCESS_KEY_ID，或者把它和 ACCESS_KEY_SECRET 都清空、改用角色",
    "SignatureDoesNotMatch": "请检查环境变量 ACCESS_KEY_SECRET 和 OSS_REGION",
    "InvalidArgument": "请检查环境变量 OSS_REGION，它是 Bucket 所在的地域",
    "InvalidSecurityToken": "请检查服务或函数的角色，再重新部署函数",
    "PublicEndpointForbidden": "请把环境变量 OSS_ENDPOINT 改为内网地址，或者不填",
    "ObjectNotAppendable": "文件不能追加。如果 Bucket 开启过版本控制，请换一个没有开启过的；否则发送 \\clear 就会重建",
    "FileImmutable": "Bucket 的保留策略不允许写入，请换一个 Bucket",
}
OSS_ERRORS = (
    oss2.exceptions.OssError,
    requests.RequestException,  # oss2 lets these through while a body is read
    concurrent.futures.TimeoutError,
    ValueError,  # an answer with headers that make no sense, or without end
    TypeError,
)


def open_bucket(settings: SimpleNamespace, context: Any) -> oss2.Bucket:
    """The bucket, over kept connections. Signed with V4, which needs the region: new accounts refuse V1."""
    role = role_credentials(context, os.environ)
    if settings.access_key_id and settings.access_key_secret:
        auth = oss2.AuthV4(settings.access_key_id, settings.access_key_secret)
    elif role:
        auth = oss2.StsAuth(role.access_key_id, role.access_key_secret, role.security_token, oss2.AUTH_VERSION_4)
    else:
        auth = oss2.AnonymousAuth()  # refused as AccessDenied, whose hint names the role
    endpoint = settings.oss_endpoint or f"https://oss-{context.region}-internal.aliyuncs.com"
    region = re.search(r"[/.]oss-([a-z0-9-]+?)(-internal)?\.aliyuncs\.com", endpoint)
    return oss2.Bucket(
        auth,
        endpoint.replace(f"://{settings.oss_bucket_name}.", "://"),  # the console's has the bucket, which oss2 adds
        settings.oss_bucket_name,
        session=oss_session(),
        connect_timeout=(2, 5),  # to connect, and for each read
        enable_crc=False,  # TLS protects the bytes already, and without its C part crcmod is slow
        region=settings.oss_region or (region[1] if region else context.region),
    )


@functools.lru_cache(maxsize=1)
def oss_session() -> oss2.Session:
    """The connections to OSS, kept between messages."""
    # A read is tried once more, because without it the bot has no memory; an append is not, because it may have been
    # carried out: append_line finds out. A connection that is refused now will be refused again.
    again = requests.adapters.Retry(
        1,
        connect=0,
        allowed_methods=("GET", "HEAD"),
        status_forcelist=(500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    return oss2.Session(adapter=FreshConnections(max_retries=again))


def oss_problem(error: BaseException) -> str:
    """What went wrong at OSS, for the person to pass on: what to change, or OSS's code and request id."""
    if not isinstance(error, oss2.exceptions.ServerError):
        return f"连接不上 OSS（{type(error).__name__}），请检查环境变量 OSS_ENDPOINT"
    hint = OSS_HINTS.get(error.code, "")
    if error.code == "AccessDenied" and "endpoint" in error.message:
        hint = "Bucket 不在这个地域，请检查环境变量 OSS_ENDPOINT 和 OSS_REGION"
    code = error.code or f"HTTP {error.status}"
    return f"OSS 错误 {code}，请求 {error.request_id}" + (f"：{hint}" if hint else "")


# --- DingTalk ---


class Undeliverable(Exception):
    """The reply can never be shown in this chat; only the log can say why."""


class Withheld(Undeliverable):
    """DingTalk shows other texts in this chat, but not this one; the person sees WITHHELD."""


class NotDelivered(Exception):
    """The reply is on record but not in the chat. Nothing else leaves the handler: it makes FC run the event again."""

    def __init__(self, problem: str, sent: int) -> None:
        super().__init__(problem)
        self.sent = sent  # parts that are in the chat


SEND_SECONDS = 6  # for one request to the webhook, all in all
MIN_SEND_SECONDS = 1  # with less left, a request is not begun: given up too early, a part may show twice
SEND_PAUSES_SECONDS = (1, 2)  # between the three tries


def check_webhook(message: Message, hosts: tuple[str, ...]) -> None:
    """Undeliverable unless answers may go to this address: DingTalk's signature does not cover the message.

    Allowed is https at and below the hosts; and http at a loopback address that is itself among them, to try things.
    """
    address = re.fullmatch(r"(https?)://([A-Za-z0-9.-]+)(:\d{1,5})?([/?][!-\[\]-~]*)?", message.webhook)
    if address is None:
        raise Undeliverable("its sessionWebhook is no plain web address")
    scheme, host = address[1], address[2].lower()
    if scheme == "https":
        allowed = any(f".{host}".endswith(f".{name}") for name in hosts)
    else:
        allowed = host in hosts and host in ("localhost", "127.0.0.1")
    if not allowed:
        raise Undeliverable("its sessionWebhook is not https at one of WEBHOOK_HOSTS")
    if message.webhook_expires_ms is not None and message.webhook_expires_ms < now_ms():
        raise Undeliverable("its sessionWebhook is expired")


def send_reply(message: Message, text: str, journal: Journal, run: Run) -> None:
    """Show the text in the chat, from the part on that follows those sent already, while this run has the lease."""
    bodies = bodies_of(message, text, run.settings.reply_format)
    for number, body in list(enumerate(bodies))[journal.sent :]:
        send_part(message, body, number, lambda sent: keep_lease(message, sent, journal, run))


def send_sentence(message: Message, sentence: str, run: Run) -> None:
    """Show a sentence that no journal has: nothing was recorded for this message, or what was is not shown."""
    deadline = run.without(MARK_SHARE)

    def seconds_left(sent: int) -> float:
        seconds = deadline - time.monotonic()
        if seconds < MIN_SEND_SECONDS:
            raise NotDelivered("time is up", sent)
        return seconds

    (body,) = bodies_of(message, sentence, "text")
    send_part(message, body, 0, seconds_left)


def send_part(message: Message, body: dict[str, Any], number: int, seconds_left: Callable[[int], float]) -> None:
    """Post one part after three tries at most; NotDelivered if trying later may help, Undeliverable if not.

    The clock is looked at before each try. An answer of the webhook that got lost may have been good: then the chat
    shows a part twice, which is better than not at all.
    """
    data = json.dumps(body, ensure_ascii=False).encode()
    pauses_seconds = iter(SEND_PAUSES_SECONDS)
    while problem := post_to_webhook(message.webhook, data, min(SEND_SECONDS, seconds_left(number))):
        pause_seconds = next(pauses_seconds, None)
        if pause_seconds is None:
            raise NotDelivered(problem, number) from None  # FC logs it: no cause, for that may quote the address
        time.sleep(pause_seconds)


TRANSIENT = ("-1", "130101", "410100", "660026")  # busy, and several codes for: too fast
REFUSED_TEXT = ("400105", "430101", "430102", "430103", "430104", "460101")  # kind of message, unsafe content, length


def post_to_webhook(url: str, body: bytes, seconds: float) -> str:
    """Why DingTalk did not show the reply this time, '' if it did; Undeliverable if it never will."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    send = functools.partial(post, webhook_connections(), url, body, headers, (min(3, seconds), seconds))
    try:
        response, data = call_until(time.monotonic() + seconds, send)
        answer = json.loads(data) if response.ok else None
    except (requests.RequestException, concurrent.futures.TimeoutError, ValueError, RecursionError) as error:
        return f"no answer from the sessionWebhook: {type(error).__name__}"
    if response.status_code >= 300 or not isinstance(answer, dict) or "errcode" not in answer:
        return f"the sessionWebhook answers HTTP {response.status_code}"
    errcode = str(answer["errcode"])[:20]
    if errcode == "0":
        return ""
    if errcode in REFUSED_TEXT:
        raise Withheld(errcode)
    if errcode not in TRANSIENT:
        raise Undeliverable(f"DingTalk answers errcode {errcode}")
    return f"DingTalk answers errcode {errcode}"


@functools.lru_cache(maxsize=1)
def webhook_connections() -> FreshConnections:
    """The connections to DingTalk, kept between messages."""
    return FreshConnections()


# --- text for its clients ---

PART_CHARACTERS = 3300  # of one message; clients show no Markdown over 3,500; the rest is for @, number and fences
PART_BYTES = 18_000  # DingTalk refuses a request over 20,000; the rest is for what is around the text
MARKDOWN = re.compile(  # what makes an answer look better as Markdown
    r"^ {0,3}(#{1,6} |[-*+] |\d{1,3}[.)] |> |```|~~~|\|.*\|)|\*\*[^*\n]+\*\*|\[[^\]\n]{1,300}\]\([^)\s]", re.MULTILINE
)
FENCE = re.compile(r"\s*(`{3,}|~{3,})[^`\n]{0,40}$")
TABLE_RULE = re.compile(r"\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?)?")
FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
LINK = re.compile(r"!?\[[^\]\n]{0,300}\]\([^)\n]{0,2000}\)")


def bodies_of(message: Message, text: str, reply_format: str) -> list[dict[str, Any]]:
    """The requests that show the text: of one kind, in parts that DingTalk takes, the first with an @ in a group."""
    markdown = reply_format == "markdown" or (reply_format == "auto" and MARKDOWN.search(text) is not None)
    beginning = text.partition("```")[0].strip() or text  # what a notification shows: not the marks, not code
    title = " ".join(re.sub(r"[#*`>|_~\[\]-]+", " ", beginning).split())[:30] or "…"
    parts = split_text(for_dingtalk(text), fences=True) if markdown else split_text(text, fences=False)
    if len(parts) > 1:
        parts = [f"（{number}/{len(parts)}）\n\n{part}" for number, part in enumerate(parts, 1)]
    at: dict[str, Any] = {}
    if message.in_group:
        parts[0] = f"@{message.staff_id or message.nick}" + ("  \n\n" if markdown else " ") + parts[0]
        at = {"at": {"atUserIds": [message.staff_id], "isAtAll": False}} if message.staff_id else {}
    if markdown:
        bodies = [{"msgtype": "markdown", "markdown": {"title": title, "text": part}} for part in parts]
    else:
        bodies = [{"msgtype": "text", "text": {"content": part}} for part in parts]
    bodies[0].update(at)
    return bodies


def for_dingtalk(text: str) -> str:
    """Markdown as DingTalk's clients show it well: they join lines, know no tables, and make headings of # in code.

    Lines end with two blanks, tables become aligned code, code with a # at the start of a line is indented as a
    whole, and a fence that is left open is closed.
    """
    done: list[str] = []
    lines = text.split("\n")
    while lines:
        fence = FENCE.match(lines[0])
        if fence:
            size = next((n for n, line in enumerate(lines[1:], 1) if closes(line, fence[1])), len(lines))
            code = lines[1:size]
            indent = "    " if any(line.lstrip().startswith("#") for line in code) else ""
            done += [lines[0], *(indent + line for line in code), fence[1]]
            del lines[: size + 1]
        elif "|" in lines[0] and len(lines) > 1 and TABLE_RULE.fullmatch(lines[1].strip()):
            size = next((n for n, line in enumerate(lines) if "|" not in line), len(lines))
            rows = aligned(lines[:1] + lines[2:size])
            indent = "    " if any(row.startswith("#") for row in rows) else ""
            done += ["```", *(indent + row for row in rows), "```"]
            del lines[:size]
        else:
            line = re.sub(r"<br ?/?>", "  \n", lines.pop(0))
            done.append(line + "  " if line.strip() and lines and lines[0].strip() else line)
    return "\n".join(done)


def closes(line: str, fence: str) -> bool:
    """Whether the line ends the code block that began with this fence."""
    mark = line.strip()
    return mark.startswith(fence) and not mark.strip(fence[0])


def aligned(rows: list[str]) -> list[str]:
    """The rows of a Markdown table as columns of plain text; a Chinese character is as wide as two others."""
    table = [[cell.strip().replace("**", "") for cell in row.strip().strip("|").split("|")] for row in rows]
    widths = [max(map(width, column)) for column in itertools.zip_longest(*table, fillvalue="")]
    padded = ([cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=False)] for row in table)
    return ["  ".join(row).rstrip() for row in padded]


def width(text: str) -> int:
    """How many columns the text takes: 'ab' -> 2, '中' -> 2."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def split_text(text: str, fences: bool) -> list[str]:
    """The text in parts that DingTalk takes; together they are the text, with code fences closed and reopened."""
    parts, fence = [], ""
    while True:
        head = fence + "\n" if fence else ""
        cut = cut_of(text)
        part, text = head + text[:cut], text[cut:]
        fence = open_fence(part) if fences else ""
        if fence:
            part += ("" if part.endswith("\n") else "\n") + fence[: len(fence) - len(fence.lstrip(fence[0]))]
        parts.append(part)
        if not text:
            return parts


def cut_of(text: str) -> int:
    """How much of the text goes into the next part: to the end of a paragraph, a line, a sentence, else a character."""
    limit = len(text)
    while too_long(text[:limit]):
        limit = min(limit, PART_CHARACTERS + 1) * 19 // 20
    if limit == len(text):
        return limit
    links = [link.span() for link in LINK.finditer(text[: 2 * limit])]
    for end in (r"\n\s*\n", r"\n", r"[。！？；…]|[.!?;]\s"):
        cuts = [found.end() for found in re.finditer(end, text[:limit])]
        for cut in reversed(cuts):
            if cut > limit // 2 and not inside_link(links, cut):
                return cut
    limit = inside_link(links, limit) or limit
    near = range(limit, max(limit - 64, 0), -1)  # no emoji is longer
    return next((cut for cut in near if not inside_character(text, cut)), limit)


def too_long(text: str) -> bool:
    """Whether DingTalk would not show it in one message; in a client's count, an emoji has two characters."""
    return (
        len(text) > PART_CHARACTERS
        or len(text.encode("utf-16-le")) > 2 * PART_CHARACTERS
        or len(json.dumps(text, ensure_ascii=False).encode()) > PART_BYTES
    )


def inside_link(links: list[tuple[int, int]], cut: int) -> int:
    """Where the Markdown link begins that the cut would break; 0 if there is none, or if it fills the part."""
    return next((start for start, end in links if start < cut < end), 0)


def inside_character(text: str, cut: int) -> bool:
    """Whether the cut would break what is seen as one: a letter and its accents, an emoji of several, a flag of two."""
    left, right = text[cut - 1], text[cut]
    letters_of_flags = len(text[:cut]) - len(text[:cut].rstrip(FLAG_LETTERS))
    return (
        unicodedata.category(right) in ("Mn", "Me", "Mc")
        or "\u200d" in (left, right)  # joins emoji to one
        or "\U0001f3fb" <= right <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= right <= "\U000e007f"  # tags, as in the flag of Scotland
        or (right in FLAG_LETTERS and letters_of_flags % 2 == 1)
    )


def open_fence(part: str) -> str:
    """The line that opened the code block in which the part ends, '' if it ends outside."""
    fence = None
    for line in part.split("\n"):
        if fence is None:
            fence = FENCE.match(line)
        elif closes(line, fence[1]):
            fence = None
    return fence[0].strip() if fence else ""


# --- self-check ---

CHECK_SHARE = (10, 1 / 3)  # for OSS, and then for ChatGPT


def self_check(problems: list[str], run: Run) -> dict[str, str]:
    """A report on every part that the deployer has to set up: ok, or what is wrong and what to change."""
    settings, time_out = run.settings, run.context.function.timeout
    report = {"result": "self-check", "settings 环境变量": "；".join(problems) or "ok"}
    report["time-out 执行超时时间"] = "ok"
    needed = settings.timeout + MOST_SECONDS_WITHOUT_CHATGPT
    if time_out < needed:
        report["time-out 执行超时时间"] = f"函数的执行超时时间是 {time_out} 秒，请改为至少 {needed} 秒"
    oss_is_set = settings.oss_bucket_name and hasattr(oss2, "AuthV4")
    report["OSS"] = check_oss(run) if oss_is_set else "没有检查：先改正 OSS_BUCKET_NAME 或 oss2 的版本"
    report["ChatGPT"] = check_model(settings) if settings.chatgpt_api_key else "CHATGPT_API_KEY 没有设置好"
    return report


def check_oss(run: Run) -> str:
    """Append, read and delete a probe object, twice: in a versioned bucket the second append fails."""
    deadline = run.share(CHECK_SHARE)
    try:
        bucket = open_bucket(run.settings, run.context)
        folders = ("chat-history", "chat-usage") if run.settings.daily_limit else ("chat-history",)
        for folder in 2 * folders:
            key = f"{folder}/@self-check/{run.id}.jsonl"
            call_until(deadline, functools.partial(bucket.append_object, key, 0, b"{}\n"))
            call_until(deadline, functools.partial(read_tail, bucket, key, TAIL_BYTES))
            call_until(deadline, functools.partial(bucket.delete_object, key))
    except OSS_ERRORS as error:
        return oss_problem(error)
    return "ok"


CHECK_SECONDS = 10


def check_model(settings: SimpleNamespace) -> str:
    """Retrieve the model's description, which costs nothing."""
    client = openai_client(settings.chatgpt_api_key, settings.chatgpt_base_url)
    try:
        model = call_until(
            time.monotonic() + CHECK_SECONDS,
            lambda: client.models.retrieve(settings.chatgpt_model, timeout=CHECK_SECONDS),
        )
    except openai.APIStatusError as error:
        cause = status_failure(error).cause
        doubt = "（有的兼容服务不能查询模型：如果机器人能回答，就不用管。）" if cause == "address" else ""
        return FAILURES[cause] + doubt
    except (openai.OpenAIError, concurrent.futures.TimeoutError, ValueError) as error:
        return f"{FAILURES['network']}（{type(error).__name__}）"
    return "ok" if getattr(model, "id", None) else FAILURES["strange"]


MAX_IDLE_SECONDS = 30  # Function Compute freezes an idle instance, which then misses that the other side hung up
MAX_ANSWER_BYTES = 64 * 1024  # of the webhook's own answer; it takes 30


# --- the same in both files, from here: settings, role, log, limits, connections ---


def read_settings(environ: Mapping[str, str]) -> tuple[SimpleNamespace, list[str]]:
    """The values of SETTINGS, as attributes in lower case, and a sentence for each bad one: never its value.

    A bad setting has its default, a bad or missing required one is None.
    """
    values, problems = SimpleNamespace(), []
    for name, kind, default, meaning in SETTINGS:
        text = environ.get(name, "").strip()
        value = None if default is REQUIRED else default
        if text and not re.fullmatch(r"\$\{env\(.*\)\}", text):  # what `s deploy` writes for a variable not set there
            try:
                value = READERS[kind](text)
            except (ValueError, RecursionError):  # its message may quote a key pasted into the wrong field
                problems.append(f"{name} 格式不对（{meaning}）")
        elif default is REQUIRED:
            problems.append(f"{name} 没有设置（{meaning}）")
        setattr(values, name.lower(), value)
    return values, problems


def matching(pattern: str) -> Callable[[str], str]:
    """A reader of texts that match the whole pattern."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError("no match")
        return text

    return read


def read_level(text: str) -> int:
    """A log level by name or number: 'debug' -> 10, '25' -> 25."""
    level = int(text) if text.isdecimal() else logging.getLevelName(text.upper())
    if not isinstance(level, int):
        raise ValueError("no level")
    return level


def read_address(text: str) -> str:
    """A web address, https unless it says http, without a trailing slash: 'a.com/' -> 'https://a.com'."""
    parts = urlsplit(text if "://" in text else "https://" + text)
    plain = re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", parts.netloc) and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not plain:
        raise ValueError("no web address")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def read_endpoint(text: str) -> str:
    """A web address without a path: the SDKs add their own."""
    address = read_address(text)
    if address.count("/") > 2:
        raise ValueError("a path")
    return address


def role_credentials(context: Any, environ: Mapping[str, str]) -> Any:
    """The temporary credentials of the role, None without a role; from python3.12 on the context does not hold them."""
    in_environment = SimpleNamespace(
        access_key_id=environ.get("ALIBABA_CLOUD_ACCESS_KEY_ID"),
        access_key_secret=environ.get("ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
        security_token=environ.get("ALIBABA_CLOUD_SECURITY_TOKEN"),
    )
    for credentials in (getattr(context, "credentials", None), in_environment):
        if credentials and credentials.access_key_id and credentials.access_key_secret:
            return credentials
    return None


def trace(error: BaseException) -> str:
    """What kind of error and where, on one line; not its message, which may quote a key, an address or a question."""
    frames: Iterable[traceback.FrameSummary] = reversed(traceback.extract_tb(error.__traceback__))
    return f"{type(error).__name__} at " + " < ".join(f"{frame.name}:{frame.lineno}" for frame in frames)


def call_until(deadline: float, call: Callable[[], T]) -> T:
    """What call() returns or raises; concurrent.futures.TimeoutError at the deadline (time.monotonic).

    The time-outs of requests, and of openai, are per read: a byte a second keeps them waiting for ever; and none is for
    looking up a name. The thread that is left behind sends nothing any more, see refuse_if_late.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        current.deadline = deadline
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=max(deadline - time.monotonic(), 0))


current = threading.local()  # .deadline: of the call that a thread carries out


def refuse_if_late() -> None:
    """TimeoutError if the deadline of the call is past: called when a connection is made, before anything is sent."""
    if time.monotonic() > getattr(current, "deadline", math.inf):
        raise TimeoutError("connected after the deadline")


@functools.lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Trusts the CAs that requests trusts, not the image's own, which may be old; made once, as it takes 30 ms."""
    return ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)


def punctual(pool_class: Any) -> Any:
    """The same kind of connection pool, whose connections are of no use if they are made after the deadline."""

    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            refuse_if_late()

    return type(pool_class.__name__, (pool_class,), {"ConnectionCls": Connection})


class VerifiedConnections(requests.adapters.HTTPAdapter):
    """Verifies certificates as requests does, without reading the CA bundle for every new connection."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        super().init_poolmanager(*args, ssl_context=tls_context(), **kwargs)
        pools = self.poolmanager.pool_classes_by_scheme
        self.poolmanager.pool_classes_by_scheme = {scheme: punctual(pools[scheme]) for scheme in pools}

    def cert_verify(self, connections: Any, *args: Any) -> None:
        """That they be verified, but not against what bundle: the base class would have it read again."""
        connections.cert_reqs = "CERT_REQUIRED"


def post(
    connections: requests.adapters.HTTPAdapter,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout: tuple[float, float],
) -> tuple[requests.Response, bytes]:
    """The answer and its body; ValueError if that is over MAX_ANSWER_BYTES. `timeout`: to connect, and for each read.

    By the adapter, without a session: no redirects, cookies, proxies or .netrc.
    """
    request = requests.Request("POST", url, headers=headers, data=body).prepare()
    with connections.send(request, timeout=timeout, stream=True) as answer:
        return answer, read_up_to(MAX_ANSWER_BYTES, answer.iter_content(8192))


def read_up_to(limit_bytes: int, chunks: Iterable[bytes]) -> bytes:
    """The chunks together; ValueError if they are more than the limit."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limit_bytes:
            raise ValueError(f"more than {limit_bytes} bytes")
    return bytes(data)


# --- the same in both files, to here ---


class FreshConnections(VerifiedConnections):  # down here, because a class stands below its base
    """Keeps connections between requests, but uses none again after MAX_IDLE_SECONDS without use."""

    used_at = 0.0

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As in the base class."""
        if time.time() - self.used_at > MAX_IDLE_SECONDS:
            self.close()
        try:
            return super().send(*args, **kwargs)
        finally:
            self.used_at = time.time()


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from low to high."""

    def read(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError("out of range")
        return number

    return read


def read_options(text: str) -> dict[str, Any]:
    """A JSON object for the request, without what would change how the answer is read."""
    options = json.loads(text)
    if not isinstance(options, dict) or options.keys() & {"messages", "model", "n", "stream"}:
        raise ValueError("no options")
    return options


def read_list(text: str) -> tuple[str, ...]:
    """Texts that are separated by commas, Chinese ones included; one at least, for none would mean everybody."""
    texts = tuple(part.strip() for part in re.split("[,，]", text) if part.strip())
    if not texts:
        raise ValueError("an empty list")
    return texts


def read_hosts(text: str) -> tuple[str, ...]:
    """Names of hosts that are separated by commas."""
    hosts = tuple(host.lower() for host in read_list(text))
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) for host in hosts):
        raise ValueError("no hosts")
    return hosts


READERS: dict[str, Callable[[str], Any]] = {
    "secret": matching(r"[!-~]+"),  # as the consoles show them: visible ASCII without blanks
    "bucket": matching(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"),
    "endpoint": read_endpoint,
    "region": lambda text: matching(r"[a-z0-9-]+")(text.removeprefix("oss-")),  # the OSS console writes oss-us-west-1
    "address": read_address,
    "model": matching(r"[!-~]+"),
    "options": read_options,
    "text": str,
    "count": whole_number(0, 1000),
    "scope": matching("user|group|person"),
    "seconds": whole_number(1, 3600),
    "format": matching("auto|text|markdown"),
    "list": read_list,
    "limit": whole_number(1, 1_000_000),
    "hosts": read_hosts,
    "level": read_level,
}
