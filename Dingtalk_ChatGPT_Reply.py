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
import os
import random
import re
import ssl
import threading
import time
import traceback
import unicodedata
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
    """Answers one message; returns a JSON summary, or raises NotDelivered so that FC runs the event again."""
    started = time.monotonic()
    settings, problems = read_settings(os.environ)
    if bool(settings.access_key_id) != bool(settings.access_key_secret):
        problems.append("ACCESS_KEY_ID 和 ACCESS_KEY_SECRET 要么都设置，要么都不设置")
    if not hasattr(oss2, "AuthV4"):  # the one that the python3.10 of Function Compute has, 2.16.0, cannot sign with V4
        problems.append(f"oss2 的版本 {oss2.__version__} 太旧，请随函数一起部署 2.18.4 或更新的版本")
    log.setLevel(settings.verbose)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    message = parse_message(event)
    if message is None:
        return json.dumps(self_check(settings, problems, context), ensure_ascii=False, indent=2)
    try:
        result = reply_to(message, settings, problems, context)
    except (Undeliverable, NotDelivered) as reason:
        result = type(reason).__name__
        log.error("request %s: message %.99r: %s: %s", context.request_id, message.id, result, reason)
        if isinstance(reason, NotDelivered):
            raise
    seconds = round(time.monotonic() - started, 3)
    log.info("request %s: message %.99r: %s in %.3f s", context.request_id, message.id, result, seconds)
    return json.dumps({"result": result, "msgId": message.id, "seconds": seconds})


# --- reading the message ---


class Message(NamedTuple):
    """What counts of a message from DingTalk."""

    id: str
    conversation_id: str
    in_group: bool
    staff_id: str  # empty for people outside the organisation
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


class AlreadyRecorded(Exception):
    """Another run recorded its reply to this message, and has sent it or is about to; nobody sees this."""


INTERNAL = "机器人内部出错了。请部署者在 Dingtalk_ChatGPT_Reply 的日志里查找请求 {}。"
WITHHELD = "钉钉没有显示这条回答（错误码 {}），可能是内容审核没有通过。请换一种问法。"


def reply_to(message: Message, settings: SimpleNamespace, problems: list[str], context: Any) -> str:
    """Answer the message in its chat, once; the result in a word."""
    if problems:
        log.error("request %s: %s", context.request_id, "; ".join(problems))
    check_webhook(message, settings.webhook_hosts)
    if problems:
        todo = f"请部署者检查函数 Dingtalk_ChatGPT_Reply 的设置：{'；'.join(problems)}。"
        send_reply(message, f"机器人还没有设置好。{todo}", settings.reply_format)
        return "bad settings"
    try:
        journal, result, reply, note = reply_on_record(message, settings, context)
    except AlreadyRecorded:
        return "duplicate"
    except Exception as error:
        log.error("request %s: unforeseen: %s", context.request_id, trace(error))
        send_reply(message, INTERNAL.format(context.request_id), settings.reply_format)
        return "failed: unforeseen"
    try:
        send_reply(message, reply["answer"] + note, settings.reply_format, journal.sent(message.id))
    except NotDelivered as failure:
        if failure.sent:  # so that the next run goes on where this one had to stop
            mark(journal, {"msgId": message.id, "at": now_ms(), "sent": failure.sent})
        raise
    except Withheld as errcode:
        log.error("request %s: DingTalk refuses this text: errcode %s", context.request_id, errcode)
        send_reply(message, WITHHELD.format(errcode), "text")
        result = "withheld"
    mark(journal, {"msgId": message.id, "at": now_ms(), "delivered": True})
    return result


SENDING_SECONDS = 30  # after which a recorded answer without delivery mark was left behind by a run that died


def reply_on_record(
    message: Message, settings: SimpleNamespace, context: Any
) -> tuple[Journal, str, dict[str, Any], str]:
    """The journal, the result in a word, the line with the reply that this run is to send, and a note about OSS.

    AlreadyRecorded if there is nothing to send, because another run does it or has done it.
    """
    bucket = open_bucket(settings, context)
    journal = load_settled_journal(bucket, message, journal_key(message, settings.history_scope), context.request_id)
    if journal.delivered(message.id):
        raise AlreadyRecorded(message.id)
    reply = journal.reply(message.id)
    if reply:
        return journal, "answered again", reply, ""
    result, reply = compose(message, journal, settings, context)
    reply, note = record(reply, journal)
    return journal, result, reply, note


def load_settled_journal(bucket: oss2.Bucket, message: Message, key: str, run: str) -> Journal:
    """The journal, once it is settled who sends a recorded reply that has no delivery mark.

    If this is a second run of the same event, the first one died: send it. If another delivery of the same message
    recorded it, that run may be sending at this moment: it gets the time that sending can take.
    """
    for _ in range(SENDING_SECONDS):
        journal = load_journal(bucket, key)
        reply = journal.reply(message.id)
        if reply is None or journal.delivered(message.id) or reply["run"] == run:
            break
        if now_ms() - reply["at"] > SENDING_SECONDS * 1000:
            break
        time.sleep(1)
    return journal


def record(reply: dict[str, Any], journal: Journal) -> tuple[dict[str, Any], str]:
    """The reply that stands in the journal from now on, and what the person must be told about OSS.

    This is the commit point: from here on, this run sends the reply, even if it did not get into the journal.
    """
    try:
        reply = append_line(reply, journal)
    except JournalFailure as failure:
        journal.lost = True
        log.error("%s: not saved: %s", journal.key, failure)
        return reply, f"\n\n（这次对话没能存进聊天记录。{failure}。）"
    if journal.problem is None:
        return reply, ""
    log.error("%s: not read: %s", journal.key, journal.problem)
    return reply, f"\n\n（没能读取聊天记录，所以没有参考之前的对话。{journal.problem}。）"


def mark(journal: Journal, line: dict[str, Any]) -> None:
    """Append a line about the delivery: afterwards, so that it costs the person no time."""
    try:
        append_line(line, journal)
    except JournalFailure as failure:
        log.warning("%s: no delivery mark, a repetition would be sent again: %s", journal.key, failure)


# --- what to answer ---


class NotAllowed(Exception):
    """This person, this group or one more question today is not allowed; the person sees the message."""


HELP = """可以直接提问，也可以发送：
\\clear（或 清除）：忘掉之前的对话
\\status（或 状态）：查看模型和记住的对话轮数
\\help（或 帮助）：显示这些说明"""
UNREADABLE = (
    "我能读文字消息、图文消息里的文字，和钉钉转成了文字的语音；图片、视频和文件还读不了。请用文字把问题发给我。"
)
OVER_QUOTA = "钉钉说本组织的消息调用量已经用完，机器人的服务暂停了。请联系组织的管理员在钉钉开发者后台处理。"
USER_REFUSED = "你还不能使用这个机器人。请部署者把你的员工 ID（{}）加进环境变量 ALLOWED_USERS。"
GROUP_REFUSED = "这个群还不能使用机器人。请部署者把群的会话 ID（{}）加进环境变量 ALLOWED_GROUPS。"


def compose(message: Message, journal: Journal, settings: SimpleNamespace, context: Any) -> tuple[str, dict[str, Any]]:
    """The result in a word, and the line to record: for a question that ChatGPT answered a turn."""
    reply: dict[str, Any] = {"msgId": message.id, "run": context.request_id}
    command = command_in(message.text) if message.text else None
    try:
        check_allowed(message, settings)
        if message.over_quota:
            result, reply["answer"] = "over quota", OVER_QUOTA
        elif message.text is None:
            result, reply["answer"] = "unreadable", UNREADABLE
        elif command == "clear":
            result, reply["answer"] = "cleared", clear(journal)
        elif command == "status":
            result, reply["answer"] = "status", status(journal, settings)
        elif command == "help" or not (message.text or message.quotation):  # nothing but the @: perhaps a first try
            result, reply["answer"] = "help", HELP
        else:
            result, reply["question"] = "answered", question_of(message, settings.history_scope)
            usage = Usage(journal.bucket, message.person, settings.daily_limit)
            reply["answer"] = ask(reply["question"], journal, settings, context)
            usage.count()
    except NotAllowed as refusal:
        result, reply = "not allowed", {**reply, "answer": str(refusal)}
    except ModelFailure as failure:
        log.warning("request %s: ChatGPT did not answer: %s", context.request_id, failure)
        result, reply["answer"] = f"failed: {failure.cause}", FAILURES[failure.cause]
    if result != "answered":
        reply.pop("question", None)
    return result, {**reply, "at": now_ms()}


def check_allowed(message: Message, settings: SimpleNamespace) -> None:
    """NotAllowed unless the person, and in a group the group, is on its list or there is no list."""
    if settings.allowed_users and message.person not in settings.allowed_users:
        raise NotAllowed(USER_REFUSED.format(message.person))
    if settings.allowed_groups and message.in_group and message.conversation_id not in settings.allowed_groups:
        raise NotAllowed(GROUP_REFUSED.format(message.conversation_id))


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


def clear(journal: Journal) -> str:
    """Delete the journal object; the reply to this message becomes the first line of the next."""
    try:
        within(OSS_SECONDS, lambda: journal.bucket.delete_object(journal.key))
    except OSS_ERRORS as error:
        return f"没能忘掉之前的对话：{oss_problem(error)}。"
    journal.lines, journal.length, journal.separator, journal.problem = [], 0, b"", None
    return "好的，之前的对话我都忘掉了。"


def status(journal: Journal, settings: SimpleNamespace) -> str:
    """What a person may want to know of the bot."""
    turns = len(journal.turns(settings.history_length))
    memory = f"记住的对话：{turns} 轮（最多 {settings.history_length} 轮）"
    return f"模型：{settings.chatgpt_model}\n{memory}\n版本：{VERSION}"


def question_of(message: Message, scope: str) -> str:
    """What the model is asked: the words, below those they refer to; in a shared history with the person's name."""
    quotation = "".join(f"> {line}\n" for line in message.quotation.splitlines())
    words = "\n".join(filter(None, (quotation, message.text)))
    return f"{message.nick or message.person}：{words}" if scope == "group" and message.in_group else words


LIMIT_REACHED = "你今天的 {} 次提问机会已经用完，明天再来吧。需要更多时，请部署者调大环境变量 DAILY_LIMIT。"


class Usage:
    """The questions of one person today, as the length of an appendable object that grows by a byte for each.

    NotAllowed when there are too many: before the model is asked, and after, when others were faster meanwhile. If OSS
    fails, the person is answered and nothing is counted.
    """

    def __init__(self, bucket: oss2.Bucket, person: str, limit: int | None) -> None:
        self.bucket, self.limit, self.questions = bucket, limit, 0
        day = time.strftime("%Y-%m-%d", time.gmtime(now_ms() / 1000 + 8 * 3600))  # of Asia/Shanghai, which has no DST
        self.key = f"chat-usage/{day}/{quoted(person)}"
        if limit:
            try:
                self.questions = within(OSS_SECONDS, lambda: bucket.head_object(self.key)).content_length or 0
            except oss2.exceptions.NotFound:
                pass  # the first one today
            except OSS_ERRORS as error:
                log.warning("%s: not read: %s", self.key, oss_problem(error))
            self.check()

    def check(self) -> None:
        """NotAllowed if there are no questions left."""
        if self.limit and self.questions >= self.limit:
            raise NotAllowed(LIMIT_REACHED.format(self.limit))

    def count(self) -> None:
        """Count one more: compare-and-swap as for the journal, so that the limit holds for concurrent questions too."""
        while self.limit:
            try:
                append = functools.partial(self.bucket.append_object, self.key, self.questions, b".")
                within(OSS_SECONDS, append)
                return
            except oss2.exceptions.PositionNotEqualToLength as refused:
                self.questions = max(self.questions + 1, refused.next_position)  # so that this comes to an end
                self.check()
            except OSS_ERRORS as error:
                log.warning("%s: not counted: %s", self.key, oss_problem(error))
                return


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
SPARE_SECONDS = 5  # of the function's own time-out are left for OSS and DingTalk


def ask(question: str, journal: Journal, settings: SimpleNamespace, context: Any) -> str:
    """ChatGPT's answer; of a conversation that is too long for the model, the older half is left out, and again."""
    seconds = max(1, min(settings.timeout, context.function.timeout - SPARE_SECONDS))
    deadline = time.monotonic() + seconds
    turns = journal.turns(settings.history_length)
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
        completion = within(
            seconds,
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
        limits=dataclasses.replace(openai.DEFAULT_CONNECTION_LIMITS, keepalive_expiry=MAX_IDLE_SECONDS),
        verify=authorities(),
    )
    return openai.OpenAI(api_key=api_key, base_url=base_url, max_retries=0, http_client=http_client)


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
APPEND_TRIES = 60  # every race lost was won by another run: enough for 20 messages of one person at the same instant
OSS_TRIES = 3  # of an append that OSS neither did nor refused


class JournalFailure(Exception):
    """OSS did not do what it was asked; the person sees the message below the answer."""


class Journal:
    """What was read of one journal object. A line is one of

    {"msgId", "at" (ms), "run", "answer"}               a reply on record
    {"msgId", "at", "run", "question", "answer"}        the same for a question: a turn, which the model is shown
    {"msgId", "at", "sent"}                             so many parts of the reply are in the chat
    {"msgId", "at", "delivered": true}                  the mark that all of it is

    `run` is FC's request id. By it a run knows its own line again; it stays the same when FC runs an event again.
    """

    def __init__(self, bucket: oss2.Bucket, key: str) -> None:
        self.bucket, self.key = bucket, key
        self.lines: list[bytes] = []  # oldest first; of a thousand, a dozen are looked at, and only those are parsed
        self.length = 0  # of the whole object, in bytes
        self.separator = b""  # a newline if the object does not end in one, because somebody edited it
        self.problem: str | None = None  # why it could not be read, for the person
        self.denied = False  # because permission was refused
        self.lost = False  # the reply could not be recorded: a mark for it is tried once

    def delivered(self, msg_id: str) -> bool:
        """Whether the reply to this message is in the chat."""
        return any("delivered" in line for line in self.about(msg_id))

    def reply(self, msg_id: str) -> dict[str, Any] | None:
        """The line with the reply to this message."""
        return next((line for line in self.about(msg_id) if "answer" in line), None)

    def sent(self, msg_id: str) -> int:
        """How many parts of the reply to this message are in the chat already."""
        return max((line["sent"] for line in self.about(msg_id) if "sent" in line), default=0)

    def about(self, msg_id: str) -> list[dict[str, Any]]:
        """The lines about this message."""
        written = json.dumps(msg_id, ensure_ascii=False).encode()
        return [line for line in self.parsed(line for line in self.lines if written in line) if line["msgId"] == msg_id]

    def turns(self, count: int) -> list[dict[str, Any]]:
        """The last turns, oldest first."""
        newest_first = (line for line in self.parsed(reversed(self.lines)) if "question" in line)
        return list(itertools.islice(newest_first, count))[::-1]

    def parsed(self, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        """The lines that make sense."""
        for data in lines:
            line = parse_line(data)
            if line:
                yield line
            else:
                log.warning("%s: a line skipped that makes no sense", self.key)


def journal_key(message: Message, scope: str) -> str:
    """The name of the journal object: of this person in this conversation, or of all in it, or of the person anywhere.

    'cid7+Q==', '../x' -> 'chat-history/cid7%2BQ%3D%3D/%2E%2E%2Fx.jsonl': no id can leave its place, nor be an @ name
    """
    folder = "@person" if scope == "person" else quoted(message.conversation_id)
    person = "@group" if scope == "group" and message.in_group else quoted(message.person)
    return f"chat-history/{folder}/{person}.jsonl"


def quoted(name: str) -> str:
    """A name as one harmless part of an object's name; those end at 1,023 bytes, so a long one becomes its digest."""
    text = quote(name, safe="").replace(".", "%2E")
    return text if len(text) <= 400 else "=" + hashlib.sha256(name.encode()).hexdigest()


def load_journal(bucket: oss2.Bucket, key: str) -> Journal:
    """The end of the journal object; what fails is in `problem`, because the person is answered all the same."""
    journal = Journal(bucket, key)
    try:
        data, journal.length = within(OSS_SECONDS, lambda: read_tail(bucket, key))
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
    return journal


def read_tail(bucket: oss2.Bucket, key: str) -> tuple[bytes, int]:
    """The last TAIL_BYTES of the object, and the length of the whole."""
    result = bucket.get_object(key, byte_range=(None, TAIL_BYTES))
    data = read_up_to(TAIL_BYTES, result)
    # An object that is shorter than the range comes with status 200, as a whole and without Content-Range.
    return data, int(result.content_range.rpartition("/")[2]) if result.content_range else len(data)


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
    if isinstance(line.get("sent"), int):
        return {"msgId": line["msgId"], "sent": line["sent"]}
    texts = {name: text_in(line, name) for name in ("msgId", "run", "question", "answer") if name in line}
    if None in texts.values() or "run" not in texts or "answer" not in texts or not isinstance(line.get("at"), int):
        return None
    return {**texts, "at": line["at"]}


def append_line(line: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """Append as compare-and-swap; returns the line that stands in the journal.

    OSS refuses a position that is not the object's length: then another run was first, or this one was but never
    got the answer. The journal tells which. A reply of another run to the same message raises AlreadyRecorded.
    """
    text = json.dumps(line, ensure_ascii=False).encode() + b"\n"
    failures = 0
    # A silent OSS must not use up the function's time.
    give_up = time.monotonic() + (0 if journal.lost else OSS_SECONDS)
    for attempt in range(APPEND_TRIES):
        position = journal.length
        try:
            append = functools.partial(journal.bucket.append_object, journal.key, position, journal.separator + text)
            journal.length = int(within(OSS_SECONDS, append).next_position)  # None, if it was not OSS that answered
            journal.separator = b""
            if position == 0 and journal.denied:
                journal.problem = None  # it was only missing: who may not list objects is told that it is forbidden
            return line
        except oss2.exceptions.PositionNotEqualToLength as refused:
            position = refused.next_position
        except OSS_ERRORS as error:
            failures += 1
            refused_for_good = isinstance(error, oss2.exceptions.ServerError) and error.status < 500
            if failures == OSS_TRIES or refused_for_good or time.monotonic() > give_up:
                raise JournalFailure(oss_problem(error)) from error
        time.sleep(random.uniform(0, 0.01 * min(attempt + 1, 10)))
        latest = load_journal(journal.bucket, journal.key)
        journal.separator = latest.separator
        standing = latest.reply(line["msgId"])
        if "delivered" in line and latest.delivered(line["msgId"]):
            return line
        if "answer" in line and standing:
            if standing["run"] != line["run"] or latest.delivered(line["msgId"]):
                raise AlreadyRecorded(line["msgId"])
            journal.length = latest.length
            return standing
        journal.length = position if latest.problem else latest.length
    raise JournalFailure("同时写入的人太多")


# --- OSS ---

OSS_SECONDS = 8  # for one request to OSS, all in all; it usually takes 0.05
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


def send_reply(message: Message, text: str, reply_format: str, sent: int = 0) -> None:
    """Show the text in the chat, from the part on that follows those sent already.

    NotDelivered if trying later may help, Undeliverable if not. An answer of the webhook that got lost may have been
    good: then the chat shows a part twice, which is better than not at all.
    """
    deadline = time.monotonic() + SENDING_SECONDS - SEND_SECONDS
    for number, body in list(enumerate(webhook_bodies(message, text, reply_format)))[sent:]:
        pauses_seconds = iter(SEND_PAUSES_SECONDS)
        while problem := post_to_webhook(message.webhook, json.dumps(body, ensure_ascii=False).encode()):
            pause_seconds = next(pauses_seconds, None)
            if pause_seconds is None or time.monotonic() + pause_seconds > deadline:
                raise NotDelivered(problem, number) from None  # FC logs it: no cause, for that may quote the address
            time.sleep(pause_seconds)


# What DingTalk answers in `errcode` when it shows nothing; the codes are those documented for custom robots.
TRANSIENT = ("-1", "130101", "410100", "660026")  # busy, and several codes for: too fast
REFUSED_TEXT = ("400105", "430101", "430102", "430103", "430104", "460101")  # kind of message, unsafe content, length


def post_to_webhook(url: str, body: bytes) -> str:
    """Why DingTalk did not show the reply this time, '' if it did; Undeliverable if it never will."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    send = functools.partial(post, webhook_connections(), url, body, headers, (3, SEND_SECONDS))
    try:
        response, data = within(SEND_SECONDS, send)
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

# The rule for Markdown: change as little as possible, and nothing that a CommonMark reader would show otherwise. The
# words are those of https://spec.commonmark.org: blocks stand in containers, which are quotations and list items.

PART_CHARACTERS = 3300  # of one message; clients show no Markdown over 3,500; the rest is for @, number and fences
PART_BYTES = 18_000  # DingTalk refuses a request over 20,000; the rest is for what is around the text
MAX_DEPTH = 20  # of containers in each other; what is deeper is text, so that no line takes long
MAX_COLUMNS = 100  # a wider table is text
LONG = 10_000  # characters: a paragraph is handed over in pieces of this size, a longer line stays as it is
QUOTE_MARKER = "> "
INDENT = "    "  # makes a line code, unless it goes on with a paragraph
MARKDOWN = re.compile(  # what makes an answer look better as Markdown; at last the line below the head of a table
    r"^ {0,3}(#{1,6} |[-*+] |\d{1,3}[.)] |> |```|~~~|\|.*\|)|\*\*[^*\n]+\*\*|\[[^\]\n]{1,300}\]\([^)\s]"
    r"|^(?=[^|\n]*\|)(?=[^-\n]*-)[-|: ]+$",
    re.MULTILINE,
)
QUOTE = re.compile(r" {0,3}>[ \t]?")
ITEM = re.compile(r"( {0,3}(?:[-+*]|(\d{1,9})[.)]))(?:[ \t]+|$)")
FENCE = re.compile(r"(`{3,30}(?!`)(?=[^`]*$)|~{3,30}(?!~))[ \t]*(.*)")
HEADING = re.compile(r"#{1,6}(?:[ \t]|$)")
UNDERLINE = re.compile(r"=+|-+")  # makes the paragraph above it a heading
TABLE_RULE = re.compile(r"\|?[ \t]*:?-+:?(?:[ \t]*\|[ \t]*:?-+:?)*[ \t]*\|?")
STARTER = re.compile(r">|(?:[-+*]|\d{1,9}[.)]|#{1,6})(?=\s|$)|```|~~~|=+[ \t]*$|[-_*][-_* \t]*$", re.MULTILINE)
CODE_SPAN = r"(?<!`)(`+)(?!`)(?:.{1,2000}?)(?<!`)\1(?!`)"
BR = re.compile(rf"\\.|{CODE_SPAN}|<br ?/?>", re.DOTALL | re.IGNORECASE)
LINK = r"!?\[([^\[\]\n]{0,300})\]\((?:[^()\n]|\([^()\n]*\)){0,2000}\)"
BOLD = r"\*\*(?=\S)([^*]{1,500})(?<=\S)\*\*"
# A cut in one of these would show its marks.
WHOLE = re.compile(rf"{LINK}|{BOLD}|(?<!`)`[^`\n]{{1,300}}`(?!`)|<[^<>\s]{{1,300}}>")
MARKS = re.compile(  # around what a person reads; those in 2**3, C# and snake_case_names are no marks
    rf"{LINK}|(?<!\d){BOLD}(?!\d)|(?<![\w*])[*_](?=\S)([^*_\n]{{1,300}})(?<=\S)[*_](?![\w*])|~~([^~]{{1,300}})~~"
    r"|`+([^`]{1,300})`+|^#{1,6}[ \t]+|\\([!-/:-@\[-`{-~])",
    re.MULTILINE | re.ASCII,
)
PAIRS = re.compile(rf"\\.|{CODE_SPAN}|(\*+)(?=\S)[^*]+(?<=\S)\2|([*`]+)")
FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))


def webhook_bodies(message: Message, text: str, reply_format: str) -> list[dict[str, Any]]:
    """The requests that show the text: of one kind, in parts that DingTalk takes, the first with an @ in a group."""
    markdown = reply_format == "markdown" or (reply_format == "auto" and MARKDOWN.search(text) is not None)
    parts = split_markdown(text) if markdown else split_text(text)
    if len(parts) > 1:
        for number, part in enumerate(parts, 1):
            parts[number - 1] = f"（{number}/{len(parts)}）\n\n{part}"
    at: dict[str, Any] = {}
    if message.in_group:
        parts[0] = f"@{message.staff_id or message.nick}" + ("  \n\n" if markdown else " ") + parts[0]
        at = {"at": {"atUserIds": [message.staff_id], "isAtAll": False}} if message.staff_id else {}
    if markdown:
        title = title_of(text)
        bodies = [{"msgtype": "markdown", "markdown": {"title": title, "text": part}} for part in parts]
    else:
        bodies = [{"msgtype": "text", "text": {"content": part}} for part in parts]
    bodies[0].update(at)
    return bodies


def title_of(text: str) -> str:
    r"""What a notification shows: '## 注意\n- **不要**低于 -1 度' -> '注意 不要低于 -1 度'."""
    blocks = list(blocks_in(text[:1000]))
    words = [block.text for block in blocks if not block.code and not is_rule(block.text)]
    title = "\n".join(words) or " ".join(block.text for block in blocks)
    for _ in range(2):  # what is bold can be a link
        title = MARKS.sub(lambda found: found[found.lastindex] if found.lastindex else "", title)
    title = " ".join(title.split())
    return title[: end_of_character(title, min(len(title), 30))] or "…"


# Parts


def split_text(text: str) -> list[str]:
    """Plain text in parts that DingTalk takes; together they are the text."""
    parts = []
    while size_of(text) > 1:
        cut = find_cut(text, find_limit(text, size_of, 1))
        parts.append(text[:cut])
        text = text[cut:]
    return [*parts, text]


def split_markdown(text: str) -> list[str]:
    """Markdown as DingTalk shows it well, in parts that it takes, which end with a block if that is near."""
    parts, used, before = [""], 0.0, None
    for block in blocks_in(text):
        if block.code not in ("", INDENT):
            leave_lists(block)
        while used + (size := size_of(render(block, before))) > 1:
            if used < 0.5:
                piece, block = cut_block(block, before, 1 - used)
                parts[-1] += render(piece, before)
            leave_lists(block)
            parts.append("")
            used, before = 0.0, None
        parts[-1] += render(block, before)
        used, before = used + size, block
    return [part for part in parts if part.strip()] or ["…"]


def size_of(text: str) -> float:
    """How much of a part the text fills, 1 for all of it; in a client's count, an emoji has two characters."""
    if len(text) > PART_CHARACTERS:
        return 2
    characters = len(text.encode("utf-16-le")) / 2
    return max(characters / PART_CHARACTERS, len(json.dumps(text, ensure_ascii=False).encode()) / PART_BYTES)


def cut_block(block: Block, before: Block | None, room: float) -> tuple[Block, Block]:
    """What of the block fits into the room, and the rest, which begins nothing that the block did not."""
    limit = find_limit(block.text, lambda text: size_of(render(block._replace(text=text), before)), room)
    cut = find_cut(block.text, limit)
    piece, rest = block.text[:cut], block.text[cut:]
    if block.code:
        piece = piece.removesuffix("\n")
    else:
        piece, rest = piece.rstrip(" \n"), as_words(rest.lstrip(" \t\n"))
    return block._replace(text=piece), block._replace(text=rest, opened=0, gap=False)


def find_limit(text: str, size: Callable[[str], float], room: float) -> int:
    """How many characters fit, give or take five percent."""
    limit = min(len(text), PART_CHARACTERS)
    while limit > 9 and size(text[:limit]) > room:
        limit = limit * 19 // 20
    return limit


def find_cut(text: str, limit: int) -> int:
    """Where to cut: after a paragraph, a line or a sentence of the second half, else between two characters."""
    wholes = [found.span() for found in WHOLE.finditer(text[: 2 * limit])]
    inside = {cut: start for start, end in wholes for cut in range(start + 1, end)}
    for end in (r"\n\s*\n", r"\n", r"[。！？；…]|[.!?;]\s"):
        cuts = [found.end() for found in re.finditer(end, text[:limit])]
        for cut in reversed(cuts):
            if cut > limit // 2 and cut not in inside:
                return cut
    return end_of_character(text, inside.get(limit) or limit)


def end_of_character(text: str, cut: int) -> int:
    """The cut, or the next one before it that breaks nothing that is seen as one character."""
    near = range(cut, max(cut - 64, 0), -1)  # no emoji is longer
    return next((cut for cut in near if not inside_character(text, cut)), cut)


def inside_character(text: str, cut: int) -> bool:
    """Whether the cut would break what is seen as one: a letter and its accents, an emoji of several, a flag of two."""
    if cut == len(text):
        return False
    left, right = text[cut - 1], text[cut]
    letters_of_flags = len(text[:cut]) - len(text[:cut].rstrip(FLAG_LETTERS))
    return (
        unicodedata.category(right) in ("Mn", "Me", "Mc")
        or "\u200d" in (left, right)  # joins emoji to one
        or "\U0001f3fb" <= right <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= right <= "\U000e007f"  # tags, as in the flag of Scotland
        or (right in FLAG_LETTERS and letters_of_flags % 2 == 1)
    )


# Blocks and containers


class Container:
    """A quotation or a list item: before its first line stands the marker, before the others > or so many blanks."""

    def __init__(self, marker: str, number: int | None) -> None:
        self.marker = marker  # with blanks: "> ", "- ", " 12. "
        self.number = number  # of an item in an ordered list, as a reader counts
        self.left = False  # code at the margin or the end of a part has ended it: what follows stands at the margin too
        self.restarted = False  # the same has ended its list before it: it goes on with its number

    def begin(self, left: int) -> str:
        """Its marker, when so many containers around it were left.

        An item whose outer item was left gets the other sign behind its number: else the outer list would go on with
        the numbers of the inner one.
        """
        if self.number is None or not (self.restarted or left):
            return self.marker
        number, sign = re.findall(r"\d+|[.)]", self.marker)
        return self.marker.replace(number + sign, f"{self.number}{').'[sign == ')'] if left else sign}")

    def go_on(self, left: int) -> str:
        return self.marker if self.marker == QUOTE_MARKER else " " * len(self.begin(left))


class Block(NamedTuple):
    """Text without what its containers put before each line, as it is sent."""

    text: str
    containers: tuple[Container, ...] = ()  # outermost first
    opened: int = 0  # so many of them, the innermost, begin here
    gap: bool = False  # a blank line stands before it
    lazy: bool = False  # only its first line stands in the containers, and a reader takes the others as if they did
    code: str = ""  # the line that opens its fence, or INDENT


def leave_lists(block: Block) -> None:
    """From this block on, nothing stands in the list items that began before it."""
    outer = len(block.containers) - block.opened
    for depth, container in enumerate(block.containers):
        if depth >= outer:
            container.restarted = True
        elif container.marker != QUOTE_MARKER:
            container.left = True


def render(block: Block, before: Block | None) -> str:
    """What shows the block behind the block before it in the same part."""
    outer = len(block.containers) - block.opened
    first = later = ""
    left = 0
    for depth, container in enumerate(block.containers):
        if container.left:
            left += 1
        else:
            first += container.begin(left) if depth >= outer else container.go_on(left)
            later += container.go_on(left)
    text, code = block.text, block.code
    if code == INDENT and any(not one.left and one.marker != QUOTE_MARKER for one in ended(before, block)):
        code = "```"  # else it would be words of the item before it, which is one only in what is sent
    if code == INDENT:
        first, later = first + INDENT, later + INDENT
    elif code:
        text = f"{code}\n{text}\n{fence_of(code)}" if text else f"{code}\n{fence_of(code)}"
    if block.lazy:
        later = ""
    return join(before, block) + (first + text.replace("\n", "\n" + later) if text else first.rstrip())


def join(before: Block | None, block: Block) -> str:
    """What stands between two blocks of a part: the end of a line, and a blank line where one is needed."""
    if before is None:
        return ""
    empty = not (block.text or before.code)  # such an item would go on with a paragraph
    if not (block.gap or (empty and before.text) or any(container.left for container in ended(before, block))):
        return "\n"
    around = (one for one in block.containers if one in before.containers and not one.left)
    return "\n" + "".join(one.go_on(0) for one in around).rstrip() + "\n"


def ended(before: Block | None, block: Block) -> list[Container]:
    """The containers of the block before this one that do not hold this one."""
    return [one for one in before.containers if one not in block.containers] if before else []


def blocks_in(text: str) -> Iterator[Block]:
    """The blocks of a Markdown text, one after the other, made ready for DingTalk."""
    walk = Walk()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = 0
    while (end := text.find("\n", start)) >= 0:  # split() would take twenty times the memory of short lines
        yield from walk.read(text[start:end])
        start = end + 1
    if start < len(text):
        yield from walk.read(text[start:])
    yield from walk.close(0)


class Walk:
    """Reads Markdown line by line and tells the blocks, as https://spec.commonmark.org and GitHub's tables have them.

    A block is handed over before the next container is opened, which has to know whether its list was left.
    """

    def __init__(self) -> None:
        self.containers: list[Container] = []  # that are open
        self.opened = 0  # so many of them, the innermost, have no block yet
        self.kind = ""  # of the block that is open: "text", "heading", "code" or "table"
        self.lines: list[str] = []  # of it
        self.size = 0  # of them, in characters
        self.code, self.indent = "", 0  # the line that opened its fence, or INDENT; how far that was indented
        self.gap = self.lazy = False  # see Block
        self.head: list[str] = []  # of the table that is open: the names of its columns
        self.rows = 0  # of it, so far
        self.spare = 0  # characters by which names that are repeated may make a table longer

    def read(self, line: str) -> Iterator[Block]:
        """The blocks that end with this line."""
        depth, line = self.match(line)
        words = line.strip(" \t")
        fenced = self.kind == "code" and self.code != INDENT and depth == len(self.containers)
        fence = fence_of(self.code)
        if fenced and indent_of(line) < 4 and words.startswith(fence) and not words.strip(fence[0]):
            yield from self.close(depth)
        elif fenced:
            self.add(dedent(line, self.indent))
        elif words:
            while depth < MAX_DEPTH and (found := self.container_in(line, depth)):
                sibling = self.containers[depth] if depth < len(self.containers) else None
                yield from self.close(depth)
                self.open(found[0], sibling)
                line, depth = found[1], depth + 1
            yield from self.read_block(line, depth)
        elif self.code == INDENT and depth == len(self.containers):
            self.add(dedent(line, 4))
        else:
            # A blank line ends the block, and an item that has none yet: an item begins with one blank line at most.
            yield from self.close(depth if self.kind else depth - self.opened)
            self.gap = True

    def match(self, line: str) -> tuple[int, str]:
        """How many of the open containers hold the line, and what is left of it in them."""
        for depth, container in enumerate(self.containers):
            if container.marker == QUOTE_MARKER:
                quote = QUOTE.match(line)
                if not quote:
                    return depth, line
                line = line[quote.end() :]
            elif not line.strip(" \t") or indent_of(line) >= len(container.marker):
                line = dedent(line, len(container.marker))
            else:
                return depth, line
        return len(self.containers), line

    def container_in(self, line: str, depth: int) -> tuple[str, str] | None:
        """The marker of a container that begins here, and what follows it."""
        if quote := QUOTE.match(line):
            return QUOTE_MARKER, line[quote.end() :]
        item = ITEM.match(line)
        if not item or is_rule(line):
            return None
        rest = line[item.end() :]
        if self.kind == "text" and depth == len(self.containers) and (not rest or item[2] not in (None, "1")):
            return None  # goes on with the paragraph
        blanks = len(item[0].expandtabs(4)) - len(item[1])
        if not rest or blanks > 4:  # what follows is code
            return item[1] + " ", " " * (blanks - 1) + rest
        return item[1] + " " * blanks, rest

    def open(self, marker: str, sibling: Container | None) -> None:
        """Open a container; the sibling is the one that was open in its place."""
        digits = re.search(r"\d+", marker)
        container = Container(marker, int(digits[0]) if digits else None)
        if digits and sibling and sibling.number is not None and sibling.marker.strip()[-1] == marker.strip()[-1]:
            container.number = sibling.number + 1
            container.restarted = sibling.left or sibling.restarted
        self.containers.append(container)
        self.opened += 1

    def read_block(self, line: str, depth: int) -> Iterator[Block]:
        """The blocks that end with this line or before it; it is not blank, and begins no container."""
        words, inside, indented = line.strip(" \t"), depth == len(self.containers), indent_of(line) >= 4
        begins = not indented and (FENCE.fullmatch(words) or HEADING.match(words) or is_rule(words))
        paragraph = self.kind == "text"
        if paragraph and inside and not indented and UNDERLINE.fullmatch(words):
            self.kind = "heading"
            self.add(line)
            yield from self.close(depth)
        elif paragraph and inside and not indented and (head := head_of_table(self.lines[-1], words)):
            del self.lines[-1]
            yield from self.close(depth)
            self.kind, self.head, self.rows, self.spare, self.gap = "table", head, 0, 4000, True
        elif paragraph and not begins:
            if self.size > LONG:
                yield self.block(with_breaks("\n".join(self.lines)) + "  ")
                self.lines, self.size = [], 0
            self.lazy = self.lazy or not inside
            self.add(line)
        elif self.kind == "table" and inside and not indented and not begins:
            yield from self.read_row(words)
        elif self.code == INDENT and inside and indented:
            self.add(dedent(line, 4))
        else:
            yield from self.close(depth)
            yield from self.begin(line)

    def begin(self, line: str) -> Iterator[Block]:
        """Open a block; a heading or a rule ends with its line."""
        words = line.strip(" \t")
        if indent_of(line) >= 4:
            self.kind, self.code = "code", INDENT
            self.add(dedent(line, 4))
        elif FENCE.fullmatch(words):
            self.kind, self.code, self.indent = "code", words[:100], indent_of(line)
        elif HEADING.match(words) or is_rule(words):
            self.kind = "heading"
            self.add(line[:1000] if is_rule(line) else line)
            yield from self.close(len(self.containers))
        else:
            self.kind = "text"
            self.add(line)

    def add(self, line: str) -> None:
        """Add a line to the block that is open."""
        if len(self.lines) > 999:  # many short lines take twenty times their size
            self.lines = ["\n".join(self.lines)]
        self.lines.append(line)
        self.size += len(line)

    def close(self, depth: int) -> Iterator[Block]:
        """End the block that is open, and all containers but the outermost ones, as many as `depth`."""
        text, kind, code = "\n".join(self.lines), self.kind, self.code
        self.lines, self.size, self.kind, self.code = [], 0, "", ""
        if kind == "code":
            if any(container.marker != QUOTE_MARKER for container in self.containers[-self.opened or 99 :]):
                yield self.block("")  # the marker stays, the code goes to the margin
            yield self.block(text.rstrip("\n") if code == INDENT else text, code)
            self.gap = self.gap or code == INDENT
        elif kind == "heading":
            yield self.block(mark_br(text).replace("\r", " ") if "<" in text else text)
        elif kind == "text" and (text := with_breaks(text)):
            yield self.block(text)
        elif kind == "table":
            if not self.rows:
                yield self.block(bold("；".join(filter(None, self.head))))
            self.gap = True
        if self.opened and depth < len(self.containers):
            yield self.block("")
        del self.containers[depth:]

    def block(self, text: str, code: str = "") -> Block:
        """The block of this text, with the containers that no block has begun with."""
        block = Block(text, tuple(self.containers), self.opened, self.gap, self.lazy, code)
        self.opened, self.gap, self.lazy = 0, False, False
        return block

    def read_row(self, row: str) -> Iterator[Block]:
        """A row of a table as a list item; before the first one, what the table is about."""
        cells = cells_of(row, len(self.head))
        cells += [""] * (len(self.head) - len(cells))
        names = self.head[1:] if len(self.head) > 2 else []
        named = sum(map(len, names)) <= 100
        about = self.head if len(self.head) == 2 or not named else self.head[:1]
        if not self.rows and any(about):
            yield self.block(bold("：".join(filter(None, about))))
        self.rows += 1
        self.spare += len(row) - sum(map(len, names))
        text = item_of_row(cells, names if named and self.spare > 0 else [])
        if text:
            self.open("- ", None)
            yield self.block(as_words(text))
            del self.containers[-1]


# Lines, tables and words


def fence_of(code: str) -> str:
    """The marks of the line that opens a fence: '```python' -> '```'."""
    return code[: len(code) - len(code.lstrip(code[:1]))]


def indent_of(line: str) -> int:
    """How far the line is indented; a tab goes to the next multiple of four."""
    return len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(4))


def dedent(line: str, columns: int) -> str:
    """The line without so many columns of blanks, or without all that it has; of a tab, blanks can be left."""
    start = column = 0
    while column < columns and line[start : start + 1] in (" ", "\t"):
        column += 1 if line[start] == " " else 4 - column % 4
        start += 1
    return " " * (column - columns) + line[start:]


def is_rule(line: str) -> bool:
    """Whether it is a line across: '---', '* * *'."""
    signs = line.replace(" ", "").replace("\t", "")
    return len(signs) > 2 and signs[0] in "-_*" and not signs.strip(signs[0])


def head_of_table(line: str, rule: str) -> list[str] | None:
    """The cells of the line if, with the rule below it, it is the head of a table."""
    if "|" not in line + rule or max(line.count("|"), rule.count("|")) > MAX_COLUMNS or not TABLE_RULE.fullmatch(rule):
        return None
    head = cells_of(line)
    return head if len(head) == len(cells_of(rule)) else None


def cells_of(row: str, columns: int = MAX_COLUMNS) -> list[str]:
    r"""What stands between the signs of a row: '| `a \| b` | c<br>d |' -> ['`a | b`', 'c；d']."""
    row = row.strip(" \t").removeprefix("|")
    if row.endswith("|") and not row.endswith("\\|"):
        row = row[:-1]
    cells = []
    for cell in re.split(r"(?<!\\)\|", row, maxsplit=columns)[:columns]:
        cell = mark_br(cell.replace("\\|", "|")).strip(" \t\r")
        cell = re.sub(r"(?<=[，。！？；：、,.!?;:])\r", " ", cell)
        cells.append(escape_unpaired(re.sub(r"[ \t]?\r[ \t\r]*", "；", cell)))
    return cells


def item_of_row(cells: list[str], names: list[str]) -> str:
    """The words of a row: ['苹果', '3', '山东'], ['价格', '产地'] -> '**苹果**：价格 3；产地 山东'."""
    first, *others = cells
    named = itertools.zip_longest(names, others, fillvalue="")
    rest = "；".join(f"{name} {cell}".strip() for name, cell in named if cell)
    if not rest or not first:
        return (bold(first) if others else first) or rest
    return bold(first) + (" " if first.endswith(("：", ":")) else "：") + rest


def escape_unpaired(cell: str) -> str:
    r"""The cell without signs that could pair up with those of another cell: '2**3' -> '2\*\*3'."""

    def escape(found: re.Match[str]) -> str:
        return re.sub("(.)", r"\\\1", found[3]) if found[3] else found[0]

    return PAIRS.sub(escape, cell) if len(cell) < LONG else cell


def bold(words: str) -> str:
    """In bold, unless that could clash with signs that the words have."""
    return words if not words or "*" in words or words.endswith("\\") else f"**{words}**"


def with_breaks(text: str) -> str:
    """A paragraph whose lines stay lines: two blanks keep clients from joining them, and <br> begins a line."""
    if "\n" not in text and "<" not in text:
        return text
    text = re.sub(r"[ \t\n]{0,99}\r[ \t\n\r]*([^\r\n]{0,99})", lambda found: "\n" + as_words(found[1]), mark_br(text))
    return re.sub(r"(?<!  )(?<!\\)\n", "  \n", text.strip("\n"))


def mark_br(text: str) -> str:
    r"""The text with \r, which no text has here, for each <br> outside code, and with code in one line."""

    def mark(found: re.Match[str]) -> str:
        return "\r" if found[0][0] == "<" else found[0].replace("\n", " ") if found[1] else found[0]

    return BR.sub(mark, text) if ("<" in text or "`" in text) and len(text) < 3 * LONG else text


def as_words(text: str) -> str:
    r"""The text without a beginning that would make it another block: '1. 先' -> '1\. 先'."""
    start = STARTER.match(text)
    if not start:
        return text
    sign = len(text) - len(text.lstrip("0123456789"))
    return text[:sign] + "\\" + text[sign:]


# --- self-check ---

CHECK_SECONDS = 10  # for ChatGPT in a self-check


def self_check(settings: SimpleNamespace, problems: list[str], context: Any) -> dict[str, str]:
    """A report on every part that the deployer has to set up: ok, or what is wrong and what to change."""
    report = {"result": "self-check", "settings 环境变量": "；".join(problems) or "ok"}
    report["time-out 执行超时时间"] = "ok"
    if context.function.timeout < settings.timeout + SENDING_SECONDS:
        report["time-out 执行超时时间"] = (
            f"函数的执行超时时间是 {context.function.timeout} 秒，请改为至少 {settings.timeout + SENDING_SECONDS} 秒"
        )
    oss_is_set = settings.oss_bucket_name and hasattr(oss2, "AuthV4")
    report["OSS"] = check_oss(settings, context) if oss_is_set else "没有检查：先改正 OSS_BUCKET_NAME 或 oss2 的版本"
    report["ChatGPT"] = check_model(settings) if settings.chatgpt_api_key else "CHATGPT_API_KEY 没有设置好"
    return report


def check_oss(settings: SimpleNamespace, context: Any) -> str:
    """Append, read and delete a probe object, twice: in a versioned bucket the second append fails."""
    try:
        bucket = open_bucket(settings, context)
        folders = ("chat-history", "chat-usage") if settings.daily_limit else ("chat-history",)
        for folder in 2 * folders:
            key = f"{folder}/@self-check/{quoted(context.request_id)}.jsonl"
            within(OSS_SECONDS, functools.partial(bucket.append_object, key, 0, b"{}\n"))
            within(OSS_SECONDS, functools.partial(read_tail, bucket, key))
            within(OSS_SECONDS, functools.partial(bucket.delete_object, key))
    except OSS_ERRORS as error:
        return oss_problem(error)
    return "ok"


def check_model(settings: SimpleNamespace) -> str:
    """Retrieve the model's description, which costs nothing."""
    client = openai_client(settings.chatgpt_api_key, settings.chatgpt_base_url)
    try:
        model = within(CHECK_SECONDS, lambda: client.models.retrieve(settings.chatgpt_model, timeout=CHECK_SECONDS))
    except openai.APIStatusError as error:
        cause = status_failure(error).cause
        doubt = "（有的兼容服务不能查询模型：如果机器人能回答，就不用管。）" if cause == "address" else ""
        return FAILURES[cause] + doubt
    except (openai.OpenAIError, concurrent.futures.TimeoutError, ValueError) as error:
        return f"{FAILURES['network']}（{type(error).__name__}）"
    return "ok" if getattr(model, "id", None) else FAILURES["strange"]


# --- clock, log and connections ---


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


LIBRARIES = ("oss2", "openai", "httpx2", "httpcore2", "urllib3")  # they log tokens, addresses and questions
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


def within(seconds: float, call: Callable[[], T]) -> T:
    """What call() returns or raises; concurrent.futures.TimeoutError after so many seconds in all.

    The time-outs of requests, and of openai, are per read: a byte a second keeps them waiting for ever. The thread
    that is left behind ends when its connection does.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=max(seconds, 0))


@functools.lru_cache(maxsize=1)
def authorities() -> ssl.SSLContext:
    """Those that requests trusts, not the image's own, which may be old; read once, because that takes 30 ms."""
    return ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)


class VerifiedConnections(requests.adapters.HTTPAdapter):
    """Verifies certificates as requests does, without reading the list of authorities for every new connection."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        super().init_poolmanager(*args, ssl_context=authorities(), **kwargs)

    def cert_verify(self, connections: Any, *args: Any) -> None:
        """That they be verified, but not against what list: the base class would have it read again."""
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
