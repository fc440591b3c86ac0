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
    "model": "ChatGPT 没有这个模型，或者这个账户还没有开通它。"
    "请部署者检查环境变量 CHATGPT_MODEL，并在服务的控制台里开通这个模型。",
    "address": "这个地址上没有 ChatGPT 的接口。请部署者检查环境变量 CHATGPT_BASE_URL。",
    "balance": "ChatGPT 账户的余额或额度用完了（免费额度也算）。请部署者充值，或者提高额度上限。",
    "busy": "ChatGPT 现在太忙，或者提问太频繁了。请过一会儿再问。",
    "long": "这个问题太长，模型读不完。请缩短以后再问。",
    "filtered": "这个问题或它的回答没有通过 ChatGPT 的内容审核。请换一种问法。",
    "vision": "这个模型看不了图片。请用文字提问，或者请部署者把环境变量 CHATGPT_MODEL 换成能看图片的模型。",
    "picture": "ChatGPT 读不了这张图片。请换一张小一些的 PNG 或 JPEG 图片，或者用文字提问。",
    "options": "ChatGPT 不接受这样的请求。请部署者检查环境变量 CHATGPT_OPTIONS 和 CHATGPT_MODEL。",
    "timeout": "ChatGPT 没有在规定的时间内答完。请稍后再问，或者把问题拆成几个小问题；"
    "部署者可以调大环境变量 TIMEOUT，函数的执行超时时间要比它至少多 30 秒。",
    "network": "连接不上 ChatGPT。请稍后再问；如果一直这样，请部署者检查 CHATGPT_BASE_URL 和函数的网络。",
    "down": "ChatGPT 暂时出错了。请稍后再问。",
    "strange": "ChatGPT 的回应无法识别。请部署者检查 CHATGPT_BASE_URL 是不是兼容 OpenAI 的服务。",
    "empty": "ChatGPT 的回答是空的。请换一种问法；如果一直这样，请部署者检查环境变量 CHATGPT_OPTIONS 里的长度限制。",
    "thoughts": "模型只给出了思考（推理）过程，没有给出回答。请再问一次；如果一直这样，请部署者"
    '在环境变量 CHATGPT_OPTIONS 里调大长度限制（例如 max_tokens），或者关掉思考（例如 {"enable_thinking": false}）。',
    "tools": "模型没有回答，而是要调用工具，但机器人没有工具。请部署者从环境变量 CHATGPT_OPTIONS 里去掉 tools。",
}
RETRIED = ("busy", "network", "down")

# Why a service refuses, by the code or type in its answer, in lower case and without signs. Here stand those whose
# words would tell something else, or nothing; most codes are understood by the words that they are made of.
CODES = {
    "insufficientquota": "balance",
    "creditbalanceexhausted": "balance",
    "organizationspendlimitexceeded": "balance",
    "organizationusagelimitexceeded": "balance",
    "projectspendlimitexceeded": "balance",
    "arrearage": "balance",  # Alibaba's Model Studio
    "exceededcurrentquotaerror": "balance",  # Moonshot
    "insufficientuserquota": "balance",  # one-api
    "accountoverdueerror": "balance",  # Volcengine Ark; the limit of the next is one that the account has set itself
    "setlimitexceeded": "balance",
    "customerverificationrequired": "balance",  # Vercel, without a credit card
    "1113": "balance",  # Zhipu, as the other numbers of four digits, but for 1008
    "1309": "balance",
    "1008": "balance",  # MiniMax
    "30011": "balance",  # SiliconFlow
    "throttlingallocationquota": "busy",  # Alibaba's Model Studio: tokens per minute
    "throttlingratequota": "busy",
    "1302": "busy",
    "1303": "busy",
    "1305": "busy",
    "contextlengthexceeded": "long",
    "exceedcontextsizeerror": "long",  # llama.cpp
    "1261": "long",
    "contentfilter": "filtered",
    "datainspectionfailed": "filtered",  # Alibaba's Model Studio
    "1301": "filtered",
    "unsupportedcountryregionterritory": "region",
    "modelnotfound": "model",
    "modelnotopen": "model",  # Volcengine Ark
    "codingplanmodelnotsupported": "model",  # Baidu Qianfan
    "unsupportedmodel": "model",
    "1211": "model",
    "20012": "model",  # SiliconFlow
    "40301": "model",  # FastChat
    "invalidapikey": "key",
    "1004": "key",  # Zhipu and MiniMax
    "11200": "forbidden",  # iFlytek Spark
    "unsupportedparameter": "options",
    "unsupportedvalue": "options",
}
# Else by what its message says, a line at a time, in lower case and without addresses: the first row that is found. The
# order counts: many messages about money speak of limits and rates, many about options name the model.
WORDS = (
    ("forbidden", r"账[户号].{0,12}(违规|封|锁定|禁用|停用)"),
    ("forbidden", r"(account|organization|user).{0,60}\b(locked|banned|deactivated|terminated|been disabled)"),
    ("filtered", r"content.{0,3}(filter|exist|policy|management|moderat|violat|safety|security)|high risk"),
    ("filtered", r"data.?inspection|inappropriate|moderation|(?<!case[ -])sensitive|unsafe|flagged|harmful"),
    ("filtered", r"prohibited.content|censor|nsfw|safety (system|filter|setting|check|polic|reason|guideline)"),
    ("filtered", r"responsible ai|risk (control|detect)|jailbreak"),
    ("filtered", r"(violat|against|blocked by).{0,60}(polic|guideline|terms|safety|rule)|usage (polic|guideline)"),
    ("filtered", r"敏感|不安全|违规|违法|涉黄|涉政|内容.{0,2}(安全|审核|风险)|审核(未|没|不)|安全(策略|审核|检测)"),
    ("filtered", r"不当内容|风控"),
    ("long", r"context[ _-]*(length|window|size|limit|overflow)|context the overflow|n_ctx|range of input length"),
    ("long", r"\b(request|prompt|input|message|body|payload|context)s?\b.{0,60}(too (large|long|big)|longer than)"),
    ("long", r"\b(text|conversation|entity|string|query)s?\b.{0,60}too (large|long|big)|shorter input"),
    ("long", r"超长|过长|太长"),
    ("long", r"(reduce|shorten|decrease).{0,20}(length|size|message|prompt|input|context)"),
    ("long", r"max\w{0,9}[ _](\w{1,20}[ _])?(seq\w{0,9}[ _])?len|(must|should) have less than \d+ tokens"),
    ("busy", r"per[ -](minute|second|min)\b|\b[rt]pm\b|\bq[pm][sm]\b"),
    ("busy", r"每分钟|每秒|频繁|频率|速率|并发|限流|限速|负载|饱和|过载|繁忙|拥挤|访问量|排队|算力"),
    ("balance", r"insufficient.{0,40}(balance|credit|quota|fund|resource package)|arrear|overdue|overdraft|billing"),
    (
        "balance",
        r"(balance|credit|fund)s?\b.{0,60}(insufficient|too low|not enough|exhaust|deplet|run out|used up|negative)",
    ),
    ("balance", r"not enough.{0,20}(balance|credit|money|fund|quota)|(any|no|out of|more|all available) credits"),
    ("balance", r"payment|paid (balance|plan)|credit card|top.?up|recharge|balance.{0,20}required"),
    ("balance", r"key limit exceeded|free.{0,20}per.day|(usage|spend\w{0,9}|credit|cost|inference) limit"),
    ("balance", r"(exceed|reach|hit|over|out of|exhaust|used).{0,40}(quota|credits|budget|allowance|allocation)"),
    ("balance", r"(quota|budget|allowance|allocation).{0,40}(exceed|exhaust|used|reach|deplet|run out|limit)"),
    (
        "balance",
        r"free.?(tier|trial|quota|allocat\w{0,9}|allowance|credit|usage).{0,60}(exhaust|exceed|used|end|expired|over)",
    ),
    ("balance", r"(monthly|daily|weekly|session|hourly)( \w+){0,3} (limit|allocation|quota)"),
    ("balance", r"subscription.{0,30}(expire|inactive|required|frozen)|no (valid|active).{0,20}(subscription|plan)"),
    ("balance", r"余额|欠费|充值|额度|配额|资源包|续费|付费|账单|使用上限|次数限额"),
    ("balance", r"套餐.{0,8}(到期|过期|用完|耗尽|用尽)|免费.{0,8}(用完|耗尽|用尽|到期|结束)"),
    ("region", r"(country|region|territor|location)\w{0,9}.{0,40}(not|n't|un).{0,3}(support|available|allowed)"),
    ("region", r"(not|n't|un).{0,3}(support\w{0,9}|available).{0,20}(country|region|territor|location)"),
    ("region", r"geo.?(block|restrict)"),
    ("region", r"(地区|国家|地域|区域).{0,12}(不支持|不可用|受限|限制|无法)|不支持.{0,12}(地区|国家|地域)"),
    ("vision", r"(not|n't|only|that) (support|accept)\w{0,3}.{0,20}\b(image|vision|multi-?modal)|text-only"),
    ("vision", r"\b(image|vision|multi-?modal)\w*.{0,60}(not|n't|only) support|not a (multi-?modal|vision)"),
    ("vision", r"variant.{0,3}image|item type in content|content\.type"),
    ("vision", r"不支持.{0,8}(图片|图像|视觉|多模态)|(图片|图像|多模态).{0,12}不支持"),
    ("picture", r"(invalid|unsupported|corrupt|fail\w{0,3} to|could not|cannot|unable).{0,30}\bimage"),
    ("picture", r"image_(parse|too|file)"),
    ("picture", r"\bimage\b.{0,40}(invalid|corrupt|too (large|small)|size|format|decod|pars|download)"),
    ("picture", r"(图片|图像).{0,20}(失败|过大|无效)"),
    ("key", r"(api|access|auth\w{0,9}|secret)[ _-]?(key|token).{0,60}(invalid|incorrect|expired|missing|wrong)"),
    (
        "key",
        r"(api|access|auth\w{0,9}|secret)[ _-]?(key|token).{0,60}(not (valid|found|exist|provided)|required|mismatch)",
    ),
    ("key", r"(api|access|auth\w{0,9}|secret)[ _-]?(key|token).{0,60}(revoked|disabled|leaked|no longer)|login fail"),
    (
        "key",
        r"\b(invalid|incorrect|wrong|missing|no|bad|expired|unknown|provide an?)\b.{0,20}(key|token|credentials?)\b",
    ),
    ("key", r"(invalid|no|not|missing)\b.{0,12}(authentica|authorization|signature)|unauthenticated|unauthori[sz]ed"),
    ("key", r"authentica\w{0,5}.{0,30}(fail|invalid|error|required)|failed to authenticate|authorization.{0,9}fail"),
    ("key", r"credentials?\b.{0,30}(invalid|expired|missing)|signature.{0,40}(verif|invalid|match)"),
    ("key", r"\btoken (is )?(invalid|expired)"),
    ("key", r"登录.{0,4}(过期|失效)|(无效|错误|非法|过期|未提供|缺少).{0,3}(密钥|令牌|api.?key|token|认证|鉴权)"),
    (
        "key",
        r"(密钥|令牌|api.?key|\btoken\b|鉴权|认证|身份验证|签名).{0,20}(无效|错误|过期|失效|不存在|未提供|不正确|不可用)",
    ),
    ("key", r"(密钥|令牌|api.?key|\btoken\b|鉴权|(?<!实名)认证|身份验证|签名).{0,20}(非法|失败|禁用|缺失|有误)"),
    ("busy", r"overload|too many (requests|people)|rate.?limit|throttl|capacity|concurren|slow.?down|too frequent"),
    ("busy", r"server.{0,4}busy|retry (after|in|shortly)|try again (in|after) \d|max (request|rpm|tpm)"),
    ("busy", r"unable to handle|resource exhausted|(temporarily|currently) (unavailable|loading)|loading model"),
    ("busy", r"high (traffic|demand|load)"),
    ("long", r"too many (input |prompt )?tokens|(input|prompt|message)s?\b.{0,30}(exceed|length|maximum)"),
    ("long", r"tokens?\b.{0,60}(exceed|must be (<|less)|(greater|larger) than|> ?\d)|exceed.{0,40}tokens?\b"),
    ("long", r"less than \d+ tokens|token count.{0,60}(only|limit|max)"),
    ("long", r"(超过|超出|大于).{0,16}(长度|上下文|字数|token|最大)"),
    ("long", r"(长度|字数|上下文|token|输入|prompt|内容).{0,16}(超过|超出|超限|上限|过大|大于)"),
    ("busy", r"token limit"),
    ("model", r"(invalid|unknown|no such|nonexist\w{1,9}|unrecognized|non-serverless|not support) model"),
    ("model", r"model disabled"),
    (
        "options",
        r"(unsupported|unknown|unrecognized|invalid|unexpected|extra|missing|illegal) .{0,20}(param|argument|field)",
    ),
    (
        "options",
        r"(unsupported|unknown|unrecognized|invalid|unexpected|extra|missing|illegal) .{0,20}(option|propert|input)",
    ),
    ("options", r"(unsupported|unrecognized|invalid|unexpected|missing|illegal|incorrect) .{0,20}(value|keyword|json)"),
    (
        "options",
        r"\b(param\w{0,6}|argument|field|input|value|option)s?\b.{0,60}\bnot? (permit|allow|support|valid|recogni)",
    ),
    ("options", r"\bparam\w{0,6}\b.{0,60}(must|should|required|range|fail|invalid|incorrect|illegal)|field required"),
    ("options", r"does(n't| not) support|range (is|of|should)|enable_thinking|reasoning_effort"),
    ("options", r"max_(completion_|new_)?tokens|temperature|top_p|response_format|tool_choice"),
    ("options", r"参数|字段"),
    (
        "model",
        r"model.{0,100}(not (been )?(exist|found|available|support|open|activat|valid|served|enabled|deployed|loaded))",
    ),
    ("model", r"model.{0,100}(n't (exist|support)|notfound|unknown|unsupported|invalid|decommission|deprecat|retired)"),
    ("model", r"model.{0,100}(no longer|offline|discontinu|shut ?down)|(unsupported|incorrect|found the) model"),
    ("model", r"chat model|no (\w+ ){0,2}(deployment|endpoint|channel|provider|models? loaded)"),
    ("model", r"deployment.{0,60}not (exist|found)|activat\w{1,5} (the |this )?model"),
    ("model", r"access to (the |this )?(requested )?model|try pulling|on-demand throughput|specified model"),
    ("model", r"function .{0,80}not found for account|only (supported|available) in|must be verified"),
    ("model", r"无可用.{0,2}渠道|没有可用.{0,6}(渠道|模型)|暂未开放|模型.{0,30}(未部署|下线|下架|找不到|未找到)"),
    ("model", r"模型.{0,30}(不存在|不可用|不支持|未开通|没有开通|未激活)"),
    ("model", r"(不存在|无效|未知|不支持|找不到|未找到|开通).{0,12}模型"),
    ("model", r"模型(名称?|名字|代码|编码| ?id|标识).{0,6}(错误|有误|无效|不正确)"),
    ("address", r"invalid url|url error|check (the )?url|unknown (url|path|endpoint|route)|no route"),
    ("address", r"cannot (post|get)\b|(page|route) not found|method not allowed|openapi method|no such api"),
    ("address", r"(接口|路径).{0,6}不存在"),
    ("forbidden", r"denied|permission|forbidden|not (allowed|authorized|permitted|entitled)|no.?auth|no access"),
    ("forbidden", r"not active|suspended|banned|blocked|verif\w{1,5} your|real.?name"),
    ("forbidden", r"无权|权限|授权|禁止|封禁|停用|冻结|白名单|网段|实名"),
    ("timeout", r"timed? ?out|timeout|deadline exceeded"),
    ("timeout", r"超时"),
    ("down", r"(internal|server|unknown|upstream|service|system).?error|bad gateway|service.{0,20}unavailable"),
    ("down", r"(内部|系统|服务|网络).{0,4}(错误|异常|不可用)"),
)
# Else by the status, which means little: services use 400, 403, 404 and 429 for nearly everything.
STATUSES = {
    401: "key", 402: "balance", 403: "forbidden", 404: "address", 405: "address", 408: "down", 413: "long", 429: "busy",
}  # fmt: skip
# The fields that hold them, in lower case and without signs, wherever they stand.
CODE_FIELDS = ("code", "type", "status", "statuscode", "httpcode", "errorcode", "errcode", "errortype", "reason")
WORD_FIELDS = (
    "message", "msg", "error", "detail", "details", "errormsg", "errmsg", "errormessage", "statusmsg", "statusmessage",
    "title", "description", "errordescription", "raw", "displaymsg", "en",
)  # fmt: skip
SKIPPED_FIELDS = ("input", "messages", "choices", "prompt")  # where services quote the question, or the answer stands
MAX_REFUSAL_BYTES, MAX_REFUSAL_TEXTS = 64 * 1024, 50  # are read of a refusal: what counts stands at its beginning
LIKE_SECRETS = re.compile(  # long numbers, digests, keys, addresses
    r"\d{9}|[0-9a-fA-F]{12}|(?=[a-zA-Z]*\d)[a-zA-Z0-9]{16}|^(sk|ak|key|bce|org)-"
    r"|:\d|\d\.\d+\.\d|\.(com|cn|net|org|io|ai)\b"
)

ASK_PAUSES_SECONDS = (0.5, 2)  # between the three tries of ChatGPT
SPARE_SECONDS = 5  # of the function's own time-out are left for OSS and DingTalk


class ModelFailure(Exception):
    """ChatGPT gave no answer; the person sees FAILURES[cause], the log `detail`, the self-check also `said`."""

    def __init__(self, cause: str, detail: object, said: str = "", doubtful: bool = False, wait: str = "") -> None:
        super().__init__(f"{cause} ({detail})")
        self.cause, self.detail, self.said = cause, detail, said
        self.doubtful = doubtful  # a refusal of which nothing was understood but the status
        self.retry_after_seconds = int(wait) if re.fullmatch("[0-9]{1,9}", wait) else None


def ask(question: str, journal: Journal, settings: SimpleNamespace, context: Any) -> str:
    """ChatGPT's answer, after three tries at most.

    What passes is tried again after a pause. A conversation that is too long for the model is asked again without its
    older half, then without any of it; and so, once, is what was refused for a reason that is not understood, because
    each service has its own words for "too long". The tries are ours: those of the openai package also repeat what
    cannot succeed (no money left), and sleep as long as the service asks for, whatever the time-out is.
    """
    seconds = max(1, min(settings.timeout, context.function.timeout - SPARE_SECONDS))
    deadline = time.monotonic() + seconds
    turns = journal.turns(settings.history_length)
    pauses_seconds, shortened = iter(ASK_PAUSES_SECONDS), False
    while True:
        try:
            messages = messages_for(question, turns, settings.system_prompt)
            return ask_once(messages, settings, deadline - time.monotonic())
        except ModelFailure as failure:
            wait_seconds = next(pauses_seconds, None)
            shorten = turns and (failure.cause == "long" or (failure.doubtful and not shortened))
            if wait_seconds is None or not (shorten or failure.cause in RETRIED):
                raise
            wait_seconds = 0 if shorten else failure.retry_after_seconds or wait_seconds
            if time.monotonic() + wait_seconds > deadline - 1:
                raise
        if shorten:
            turns, shortened = [] if shortened else turns[(len(turns) + 1) // 2 :], True
        else:
            time.sleep(wait_seconds)


def messages_for(question: str, turns: list[dict[str, Any]], system_prompt: str | None) -> list[dict[str, Any]]:
    """The messages of a request: who the model is, what was said before, the question."""
    messages = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for turn in turns:
        messages.append({"role": "user", "content": turn["question"]})
        messages.append({"role": "assistant", "content": turn["answer"]})
    return [*messages, {"role": "user", "content": question}]


def ask_once(messages: list[dict[str, Any]], settings: SimpleNamespace, seconds: float) -> str:
    """ChatGPT's answer to these messages, or ModelFailure with the cause."""
    client = openai_client(settings.chatgpt_api_key, settings.chatgpt_base_url)
    create: Callable[..., Any] = client.chat.completions.with_raw_response.create
    timeout = openai.Timeout(seconds, connect=min(seconds, 5))
    try:
        response = within(
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
        return read_answer(response.content)
    except (openai.APITimeoutError, concurrent.futures.TimeoutError) as error:
        openai_client.cache_clear()
        client.close()  # or the thread that was left behind would go on reading
        unconnected = type(error.__cause__).__name__ == "ConnectTimeout"
        raise ModelFailure("network" if unconnected else "timeout", type(error).__name__) from error
    except openai.APIConnectionError as error:
        raise ModelFailure("network", type(error.__cause__).__name__) from error
    except openai.APIStatusError as error:
        refusal = read_refusal(error.status_code, error.response.content)
        raise failure_of(refusal, messages, settings, error.response.headers) from error
    except Refused as error:
        raise failure_of(error.refusal, messages, settings, response.headers) from error
    except ValueError as error:  # what stands in CHATGPT_OPTIONS cannot be sent, such as NaN
        raise ModelFailure("options", trace(error)) from error


@functools.lru_cache(maxsize=1)
def openai_client(api_key: str, base_url: str) -> openai.OpenAI:
    """The client, made once per instance because that takes 25 ms, with its connections kept between messages.

    An address without a version gets OpenAI's: 'https://a.com' -> 'https://a.com/v1'. The address of the very
    interface is taken as it is: 'https://a.com/chat/completions' -> 'https://a.com'
    """
    exact = base_url.endswith("/chat/completions")
    base_url = base_url.removesuffix("/chat/completions")
    if not exact and not re.search(r"/v\d\w*(/|$)", base_url):
        base_url += "/v1"
    http_client = openai.DefaultHttpxClient(
        limits=dataclasses.replace(openai.DEFAULT_CONNECTION_LIMITS, keepalive_expiry=MAX_IDLE_SECONDS),
        verify=authorities(),
    )
    return openai.OpenAI(api_key=api_key, base_url=base_url, max_retries=0, http_client=http_client)


# What is said below an answer that ends too early, by its finish_reason.
TOO_SHORT = "（回答到了长度上限，后面的被截断了，没有说完。）"
TAKEN_AWAY = "（后面的内容没有通过内容审核，回答没有说完。）"
BROKEN_OFF = "（ChatGPT 中途出错了，回答没有说完。）"
CUT_OFF = {
    "length": TOO_SHORT, "max_tokens": TOO_SHORT, "max_output_tokens": TOO_SHORT,
    "model_context_window_exceeded": TOO_SHORT, "content_filter": TAKEN_AWAY, "sensitive": TAKEN_AWAY,
    "safety": TAKEN_AWAY, "recitation": TAKEN_AWAY, "prohibited_content": TAKEN_AWAY,
    "error": BROKEN_OFF, "network_error": BROKEN_OFF, "abort": BROKEN_OFF, "insufficient_system_resource": BROKEN_OFF,
}  # fmt: skip


def read_answer(content: bytes) -> str:
    """The words of a chat completion; ModelFailure if it has none, Refused if it is an error that came as a 200."""
    try:
        completion = first_object(json.loads(content))
    except (ValueError, RecursionError):
        completion = {}
    choice = first_object(completion.get("choices"))
    message = first_object(choice.get("message"))
    places = (message.get("content"), message.get("refusal"), choice.get("text"), completion.get("output_text"))
    raw = next((text for text in map(text_of, (*places, completion.get("output"))) if text.strip()), "")
    answer = without_thoughts(raw).strip(BLANKS).strip()
    note = CUT_OFF.get(str(choice.get("finish_reason")).lower(), "")
    if answer:
        return f"{answer}\n\n{note}" if note else answer
    refusal = read_refusal(200, content, choice.get("error"))
    if not choice or choice.get("error") or completion.get("error") or understood(refusal):
        raise Refused(refusal)
    raise ModelFailure("filtered" if note == TAKEN_AWAY else why_empty(message, raw), "no words")


def first_object(value: Any) -> dict[str, Any]:
    """A JSON object, or the first one of a list; an empty one if there is none."""
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else {}


def why_empty(message: dict[str, Any], raw: str) -> str:
    """The cause of an answer without words: it was only thought, it calls a tool, or it is just empty."""
    thoughts = [raw, *(message.get(name) for name in ("reasoning_content", "reasoning", "thinking"))]
    if isinstance(message.get("content"), list):
        thoughts += [part for part in message["content"] if isinstance(part, dict) and is_thought(part)]
    if any(str(thought or "").strip() for thought in thoughts):
        return "thoughts"
    return "tools" if message.get("tool_calls") or message.get("function_call") else "empty"


def text_of(content: Any, depth: int = 0) -> str:
    """The text of a message that may come in parts; thoughts and parts of other kinds are left out."""
    if isinstance(content, str):
        return text_in({"text": content}, "text") or ""
    if isinstance(content, list) and depth < 5:
        return "".join(text_of(part, depth + 1) for part in content)
    if not isinstance(content, dict) or is_thought(content) or depth >= 5:
        return ""
    names = ("text", "content", "refusal", "value")
    return next((text for text in (text_of(content.get(name), depth + 1) for name in names) if text), "")


def is_thought(part: dict[str, Any]) -> bool:
    """Whether this part of a message is what the model thought."""
    return part.get("thought") is True or bool(re.search("think|thought|reason", str(part.get("type"))))


BLANKS = " \t\r\n\ufeff\u200b"
THOUGHT_NAMES = r"(?:\w{1,9}:)?(?:think(?:ing)?|thoughts?|reasoning|reflection|analysis)"
THOUGHT_TAG = re.compile(
    rf"(?P<block>(?:^|(?<=[>▷\]]))[ \t]*)?"  # where a tag can only be a tag; elsewhere the answer may speak of it
    rf"(?:(?P<opening><{THOUGHT_NAMES}(?:\s[^<>\n]*)?>|◁think▷|\[think\]|<\|begin_of_thought\|>|<\|start_thinking\|>)"
    rf"|(?P<closing></{THOUGHT_NAMES}>|◁/think▷|\[/think\]|<\|end_of_thought\|>|<\|end_thinking\|>))",
    re.IGNORECASE | re.MULTILINE,
)
MARKUP_TAG = re.compile("<(analysis|reflection)", re.IGNORECASE)  # which XML that was asked for may have too
CODE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(?:.*?^[ \t]*\1[`~]*[ \t]*$|.*\Z)|(?<!`)(`+)(?!`)[^\n]{0,2000}?(?<!`)\2(?!`)",
    re.MULTILINE | re.DOTALL,
)


def without_thoughts(text: str) -> str:
    """The answer without what a reasoning model thought first: <think>...</think> and its relatives, outside code."""
    text = final_channel(text)
    spans = thoughts_in(text) if THOUGHT_TAG.search(text) else []
    if not spans:
        return text
    ends = [0, *(end for _, end in spans)]
    answer = "".join(text[end:start] for end, (start, _) in zip(ends, [*spans, (len(text), 0)], strict=True))
    if not answer.strip() and MARKUP_TAG.search(text[: spans[0][1]]):
        return text  # an answer in XML, as somebody may want it
    wrapped = re.fullmatch(r"\s*<(answer|output|final_answer)>(.*?)(?:</\1>)?\s*", answer, re.DOTALL | re.IGNORECASE)
    return wrapped[2] if wrapped else answer


def thoughts_in(text: str) -> list[tuple[int, int]]:
    """Where thoughts begin and end.

    Either tag may be missing: what stands before a lone closing tag was thought, and so was all if the answer begins
    with an opening one. Further down only a block of its own was: elsewhere the answer speaks of the tag.
    """
    plain = CODE.sub(lambda code: "\0" * len(code[0]), text)
    spans: list[tuple[int, int]] = []
    start, leading, mentioned = None, True, False
    for tag in THOUGHT_TAG.finditer(plain):
        if tag["closing"] and (start is not None or not (mentioned or spans)):
            spans.append((start or 0, tag.end()))
            start = None
        elif tag["opening"] and start is None:
            leading = leading and not plain[spans[-1][1] if spans else 0 : tag.start()].strip(BLANKS)
            if leading or (tag["block"] is not None and not MARKUP_TAG.search(tag[0])):
                start = tag.start()
            mentioned = mentioned or start is None
    if start is not None and leading:  # never closed, unless in what only looks like code
        closings = (tag.end() for tag in THOUGHT_TAG.finditer(text, start) if tag["closing"])
        spans.append((start, next(closings, len(text))))
    return spans


def final_channel(text: str) -> str:
    """What gpt-oss says in its final channel, if the service left its marks in the text; '' if it did not get there."""
    if not re.match(r"\s*(<\|start\|>assistant)?<\|channel\|>|analysis\S.*assistantfinal", text, re.DOTALL):
        return text
    final = re.split(r"<\|channel\|>final[^\n|]{0,99}(?:<\|constrain\|>\w{1,20})?<\|message\|>|assistantfinal", text)
    return re.split(r"<\|(?:return|end|call|start)\|>", final[-1])[0] if len(final) > 1 else ""


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
    elif field in CODE_FIELDS + WORD_FIELDS and isinstance(value, str) and value.strip():
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


def cause_in(texts: list[str], status: int) -> str | None:
    """The cause of the first pattern in WORDS that is found: 'ModelNotOpen' is read as 'model not open'."""
    text = re.sub(r"https?://\S+", "", "\n".join(texts)[:8000]).replace("’", "'")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    causes = (cause for cause, pattern in WORDS if re.search(pattern, text))
    return next((cause for cause in causes if cause != "timeout" or status < 500), None)


def failure_of(
    refusal: Refusal, messages: list[dict[str, Any]], settings: SimpleNamespace, headers: Mapping[str, str]
) -> ModelFailure:
    """The failure that a refusal is. The log gets its codes, never its words: services quote questions and keys."""
    status = next((int(code) for code in refusal.codes if re.fullmatch("[45][0-9][0-9]", code)), refusal.status)
    by_status = STATUSES.get(status, "down" if status >= 500 else "options" if status >= 400 else "strange")
    names = [re.sub(r"[_.:-]", " ", code) for code in refusal.codes if code != "upstream_error"]
    sure = understood(refusal)
    cause = sure or cause_in(names, refusal.status) or by_status
    private = [settings.chatgpt_api_key, settings.chatgpt_base_url, *(text_of(each["content"]) for each in messages)]
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
    for number, body in list(enumerate(bodies_of(message, text, reply_format)))[sent:]:
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

CHECK_SECONDS = 30  # for ChatGPT in a self-check; a reasoning model thinks that long about nothing


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
    """Ask the model one tiny question, just as a person's; if that fails, what to change, and the service's own words.

    They may be quoted here, because no person's words are in them.
    """
    try:
        messages = messages_for("1+1=?", [], settings.system_prompt)
        ask_once(messages, settings, min(CHECK_SECONDS, settings.timeout))
    except ModelFailure as failure:
        said = failure.said.replace(settings.chatgpt_api_key, "***")
        said = re.sub(r"[A-Za-z0-9_*-]{20,}|\b(sk|ak)-[\w*-]+", "***", said)[:200]
        return f"{FAILURES[failure.cause]}（{failure.detail}{'；服务的原话：' if said else ''}{said}）"
    return "ok"


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
