"""Answers one message from DingTalk with ChatGPT and the chat history in OSS, and posts the answer to the chat.

    message -> journal in OSS: answered before? -> command? -> ChatGPT -> append the turn -> post the answer -> mark

Handler: Dingtalk_ChatGPT_Reply.handler (event function of Function Compute 2.0 or 3.0; openai, oss2 >= 2.18.4)

    situation                              the chat shows                        does FC run the event again?
    a question: words of any kind          ChatGPT's answer, in parts if long    no
    a picture, a text file                 the answer, or a sentence: why not    no
    a command: \\clear \\help \\status        what it did                           no
    another message without words          a sentence: what to send instead      no
    a person or group may not ask, or no   a sentence: who can do what           no
      more today (DAILY_LIMIT)
    this message was answered before       nothing                               no
    ChatGPT fails                          a sentence: who can do what           no
    OSS fails                              the answer, and a sentence about OSS  no
    a setting is missing or malformed      a sentence: which                     no
    the webhook is expired or not allowed  nothing (the log says why)            no
    the webhook is out of order or busy,   nothing yet                           yes: the answer is in the journal
      or time is up
    the event is no message: self-check    nothing (the report is the result)    no

The journal is one appendable object per conversation and person. Appending at the length that was read is a
compare-and-swap: OSS refuses a wrong position. So concurrent runs lose nothing, and of several runs for one message
one records its answer and has the lease to send it. docs/en/development.md tells the rest.

https://open.dingtalk.com/document/development/receive-message        the message
https://open.dingtalk.com/document/development/download-the-file-content-of-the-robot-receiving-message
https://open.dingtalk.com/document/dingstart/robot-message-type       the answer
https://help.aliyun.com/en/oss/developer-reference/appendobject       append as compare-and-swap
https://developers.openai.com/docs/guides/error-codes                 what ChatGPT refuses
"""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import functools
import hashlib
import ipaddress
import itertools
import json
import logging
import math
import os
import random
import re
import socket
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
SECRET = r"(?!.*(\*\*\*|\.\.\.))[!-~]+"  # as the consoles show them, but not with signs in place of what they hide
SETTINGS: tuple[tuple[str, Any, Any, str], ...] = (  # name, check (see read_value), default, meaning
    ("CHATGPT_API_KEY", SECRET, REQUIRED, "ChatGPT 的 API 密钥"),
    ("OSS_BUCKET_NAME", r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", REQUIRED, "存放聊天记录的 OSS Bucket 的名称"),
    ("OSS_ENDPOINT", lambda text: read_endpoint(text), None, "OSS 的访问地址；不填就是本地域的内网地址"),
    ("OSS_REGION", lambda text: read_region(text), None, "Bucket 的地域；不填就按 OSS_ENDPOINT 或函数所在的地域"),
    ("ACCESS_KEY_ID", SECRET, None, "访问 OSS 的 AccessKey ID；不填就用服务或函数的角色"),
    ("ACCESS_KEY_SECRET", SECRET, None, "访问 OSS 的 AccessKey Secret；不填就用服务或函数的角色"),
    ("CHATGPT_MODEL", r"[!-~]+", "gpt-6-luna", "模型的名称"),
    ("CHATGPT_BASE_URL", lambda text: read_base_url(text), "https://api.openai.com", "OpenAI 或兼容服务的地址"),
    ("CHATGPT_OPTIONS", lambda text: read_options(text), {}, '加进请求的 JSON 对象，例如 {"reasoning_effort": "low"}'),
    ("SYSTEM_PROMPT", str, None, "给模型的系统提示词"),
    ("HISTORY_LENGTH", range(1001), 10, "让模型看到最近几轮对话，0 到 1000"),
    ("HISTORY_MINUTES", range(1, 1_000_001), None, "停顿多少分钟以后算新的对话；不填就一直接着说"),
    ("HISTORY_SCOPE", "user|group|person", "user", "聊天记录属于谁：user、group 或 person"),
    ("TIMEOUT", range(1, 3601), 55, "最多等 ChatGPT 多少秒，1 到 3600"),
    ("REPLY_FORMAT", "auto|text|markdown", "auto", "回答的格式：auto、text 或 markdown"),
    ("ALLOWED_USERS", lambda text: read_list(text), (), "可以提问的人的员工 ID，用逗号分开；不填就是所有人"),
    ("ALLOWED_GROUPS", lambda text: read_list(text), (), "可以提问的群的会话 ID，用逗号分开；不填就是所有群"),
    ("DAILY_LIMIT", range(1, 1_000_001), None, "每人每天最多提问几次；不填就不限"),
    ("DINGTALK_APP_KEY", SECRET, None, "机器人所属钉钉应用的 AppKey（Client ID）；不填就不看图片和文件"),
    ("DINGTALK_APP_SECRET", SECRET, None, "机器人所属钉钉应用的 AppSecret（Client Secret）"),
    ("DINGTALK_API", lambda text: read_dingtalk_api(text), "https://api.dingtalk.com", "钉钉开放平台的 API 地址"),
    ("THINKING", "off|on", "off", "回答之前在消息上显示“思考中”：off 或 on"),
    ("WEBHOOK_HOSTS", lambda text: read_hosts(text), ("dingtalk.com",), "可以发送回答的域名，用逗号分开"),
    ("VERBOSE", lambda text: read_level(text), logging.INFO, "日志级别，例如 INFO 或 DEBUG"),
)


def handler(event: bytes, context: Any) -> str:
    """Answer one message; return a JSON summary, or raise NotDelivered so that FC runs the event again."""
    started = time.monotonic()
    settings, problems = read_settings(os.environ)
    problems += conflicts(settings)
    set_up_logs(settings.verbose)
    run = Run(
        uuid.uuid4().hex, context, settings, started + context.function.timeout - ENDING_SECONDS, SignOfLife(), []
    )
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
    finally:
        run.sign.end(run)
    seconds = round(time.monotonic() - started, 3)
    tokens = "".join(f", {count}" for count in run.tokens)
    log.info("request %s: message %.99r: %s in %.3f s%s", context.request_id, message.id, result, seconds, tokens)
    return json.dumps({"result": result, "msgId": message.id, "seconds": seconds})


# --- one run and its deadline ---

ENDING_SECONDS = 2  # of the function's time-out: FC kills a run that exceeds it, bills it, and runs the event again
# What a step may take: seconds, and at most this part of what is left before the deadline.
LOAD_SHARE = (8, 1 / 5)
COUNT_SHARE = (4, 1 / 10)  # for DAILY_LIMIT
FETCH_SHARE = (20, 1 / 3)  # for all pictures and files of a message, which take it from ChatGPT
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
    sign: SignOfLife
    tokens: list[str]  # "120 + 35 tokens": what the service counted for the question and for its answer

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
    if settings.dingtalk_app_key and not settings.dingtalk_app_secret:
        problems.append("设置了 DINGTALK_APP_KEY，就还要设置 DINGTALK_APP_SECRET")
    if settings.thinking == "on" and not settings.dingtalk_app_key:
        problems.append("THINKING=on 需要设置 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET")
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

# What a kind of message, or of a piece of one, is: by words in the name that DingTalk gives it; the first that fits.
NOUNS = (
    (r"chat_?record|forward|merge", "聊天记录"),
    (r"(business|name|contact|profile|user|person)_?card|contact|profile", "名片"),
    (r"^pic|picture|image|^img|photo", "图片"),
    (r"video", "视频"),
    (r"audio|voice", "语音"),
    (r"location|^position|^geo|^lbs", "位置"),
    (r"emotion|emoji|sticker|^face|expression", "表情"),
    (r"doc|sheet|dentry|wiki", "文档"),
    (r"file", "文件"),
    (r"card", "卡片"),
    (r"link|^url", "链接"),
)
LABELLED = ("文件", "文档", "位置", "名片")  # are told by their name: [文件 report.pdf]
LOOKED_AT = ("图片", "视频")  # are there beside the words that come with them
MENTION = "@"  # the noun of a name that is @-ed; its words are words
UNQUOTED = "[引用的消息没有文字]"  # what a quotation is that came without its words

WORD_FIELDS = re.compile(  # fields that hold words, whatever they look like
    r"(text|content|title|markdown|summary|recognition|value|desc\w*|message|msg|caption|subject|body|question|answer|"
    r"remark|abstract|digest|label|header|footer)$",
    re.IGNORECASE,
)
VERBATIM = ("text", "content", "title", "markdown", "value", "recognition")  # of these, JSON is words as well
WORDLESS_FIELDS = re.compile(  # fields without words: ids, addresses, people, formats, other messages
    r"(ids?|url|uri|code|type|time|at|users?|token|status|nick\w*|sender\w*|avatar|icon|file_?name|version|schema|"
    r"config\w*|style|format|size|color|font\w*|lang\w*|locale|hash|md5|sign\w*|script|\w+key)$|(replied|quote)\w*$",
    re.IGNORECASE,
)
NAMING_FIELDS = re.compile(r"(name|title|address|nick|label|desc\w*)$", re.IGNORECASE)
RECORDS = ("chatrecord", "chatrecords", "records", "messages")  # fields with the messages of a forwarded conversation
BODY = (  # one of these fields is in the body of every message: JSON without them is what somebody wrote
    *("text", "content", "title", "markdown", "summary", "recognition", "richText", "chatRecord", "records", "msgType"),
    *("cardContent", "cardData", "cardParamMap", "elementType", "children", "fileName", "downloadCode", "msgtype"),
    "pictureDownloadCode",
)
MAX_BODY_DEPTH, MAX_FIELDS = 24, 200  # of what is searched for words; the trees of cards are 12 deep


class Part(NamedTuple):
    """A piece of a message, as the model is to see it."""

    words: str  # or the mark of what cannot be read
    noun: str = ""  # of NOUNS, for a mark; MENTION for the name of a person
    code: str = ""  # for which DingTalk hands out the picture or the file


class Message(NamedTuple):
    """What counts of a message from DingTalk."""

    id: str
    conversation_id: str
    in_group: bool
    staff_id: str  # empty for people outside the organisation
    corp_id: str  # the organisation of the person
    person: str  # staff id, else sender id
    nick: str
    text: str  # the words, without surrounding blanks, and marks of what cannot be read: [图片]
    quotation: str  # the same of a message that it answers to
    unreadable: str  # what it is if there are no words at all, a key of UNREADABLE; else ''
    attachments: list[Part]  # pictures, its own and quoted ones, and in a private chat files
    robot_code: str
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
    parts = own_parts(raw)
    quoted_parts = quotation_in(raw)
    in_group = text_in(raw, "conversationType") == "2"
    kinds = ("图片",) if in_group else ("图片", "文件")  # DingTalk hands out files of private chats only
    expires_ms = raw.get("sessionWebhookExpiredTime")
    staff_id = text_in(raw, "senderStaffId") or ""
    message = Message(
        id=text_in(raw, "msgId") or "",
        conversation_id=text_in(raw, "conversationId") or "",
        in_group=in_group,
        staff_id=staff_id,
        corp_id=text_in(raw, "senderCorpId") or "",
        person=staff_id or text_in(raw, "senderId") or "",
        nick=" ".join((text_in(raw, "senderNick") or "").split())[:40],
        text=words_of(parts),
        quotation=words_of(quoted_parts),
        unreadable=unreadable_in(parts + quoted_parts),
        attachments=[part for part in parts + quoted_parts if part.code and part.noun in kinds],
        robot_code=text_in(raw, "robotCode") or "",
        over_quota=not (raw.get("text") or raw.get("content")) and "errorCode" in raw,
        webhook=text_in(raw, "sessionWebhook") or "",
        webhook_expires_ms=expires_ms if isinstance(expires_ms, int) else None,
    )
    return message if message.id and message.conversation_id and message.webhook else None


def own_parts(raw: dict[str, Any]) -> list[Part]:
    """What the person sent, without the bot's own name; a mark if it holds no words and is no text."""
    kind = text_in(raw, "msgtype") or "text"
    if kind == "text":
        bodies: list[Any] = [{"text": raw[name]} for name in ("text", "content") if raw.get(name)]
    else:
        bodies = [{name: raw[name]} for name in ("content", kind, "text") if name in raw]
    found = [parts_in_object({"msgtype": kind, **body}, "", 0) for body in bodies or [{}]]
    parts = next((parts for parts in found if parts and not unreadable_in(parts)), found[0])
    parts = without_own_name(parts, raw)
    return parts if words_of(parts) or kind in ("text", "richText") else [Part("[消息]", "消息")]


def without_own_name(parts: list[Part], raw: dict[str, Any]) -> list[Part]:
    """The parts without the robot's visible name, which some clients leave in front; no message tells that name.

    '@小助手 /clear', '@小助手/clear' -> '/clear'. Only where the robot was @-ed, and as many names are to be seen as
    people were @-ed: if there are fewer, its own is gone already. A name ends at a blank, unless a command follows.
    """
    users = raw["atUsers"] if isinstance(raw.get("atUsers"), list) else []
    people = [user.get("dingtalkId") for user in users if isinstance(user, dict)]
    own = raw.get("chatbotUserId")
    seen = sum(part.noun == MENTION or len(re.findall(r"(?<![\w.-])@[^\s@]", part.words, re.ASCII)) for part in parts)
    if not (raw.get("isInAtList") is True or (own and own in people)) or seen < len(people):
        return parts
    if not parts or (parts[0].noun == MENTION and len(people) > 1):
        return parts
    words, rest = parts[0].words.lstrip(BLANKS), parts[1:]
    if parts[0].noun == MENTION or (words.startswith("@") and command_in(words_of(rest))):
        return rest
    return [parts[0]._replace(words=re.sub(r"\A@[^\s@\\/＼／、，,：:]+", "", words)), *rest]


def quotation_in(raw: dict[str, Any]) -> list[Part]:
    """What the message answers to; it stands in `text` or in `content`, or beside them, or only its id does."""
    places = [raw]
    for name in ("text", "content"):
        body = unpacked(raw[name]) if isinstance(raw.get(name), str) else raw.get(name)
        if isinstance(body, dict):
            places.insert(0, body)
    names = ("repliedMsg", "quoteMessage", "quotedMsg", "quotedMessage")
    quoted = next((place[name] for place in places for name in names if place.get(name)), None)
    parts = parts_in(quoted, "quoted", "", 0) if isinstance(quoted, (dict, list, str)) else []
    told = any(place.get("isReplyMsg") in (True, "true") or place.get("originalMsgId") for place in places)
    if words_of(parts) or not (told or isinstance(quoted, dict)):
        return parts
    return [Part(UNQUOTED, "引用")]


def words_of(parts: list[Part]) -> str:
    """The parts as one text, without surrounding blanks."""
    return "".join(part.words for part in parts).strip(BLANKS)


def unreadable_in(parts: list[Part]) -> str:
    """What came, if it has no words: the noun of the first mark; '' if there are words, or nothing at all."""
    if any(part.words.strip(BLANKS) and part.noun in ("", MENTION) for part in parts):
        return ""
    return next((part.noun for part in parts if part.noun), "")


def parts_in(value: Any, name: str, owner: str, depth: int) -> list[Part]:
    """What there is to read in any value, in the order in which it stands; `name` and `owner`: fields that it is in.

    {"content": "a"}, {"recognition": "a"}, {"richText": [{"text": "a"}]}, and all of them as JSON in a text -> "a".
    """
    if depth > MAX_BODY_DEPTH:
        return []
    if isinstance(value, str):
        return parts_in_text(text_in({"": value}, "") or "", name, owner, depth)
    if isinstance(value, list):
        items = [parts_in(item, name, owner, depth + 1) for item in value[:MAX_FIELDS]]
        return joined(items, "" if name == "richText" else "\n")
    return parts_in_object(value, name, depth) if isinstance(value, dict) else []


def parts_in_text(text: str, name: str, owner: str, depth: int) -> list[Part]:
    """The words that a text is, or those in it if it is the JSON of something else."""
    a_body = name == "quoted" or (name == "content" and owner in ("", "quoted", *RECORDS))
    if a_body or name not in VERBATIM:
        body = unpacked(text)
        if body is not None and (not a_body or is_body(body)):
            found = parts_in(body, name, owner, depth + 1)
            if found or not a_body or (isinstance(body, dict) and code_in(body)):
                return found
    return [Part(text)] if a_body or is_words(text, name) else []


def parts_in_object(fields: dict[str, Any], name: str, depth: int) -> list[Part]:
    """The words of a message, of a piece of rich text, of a part of a card; or the mark that names it."""
    kind = next((fields[key] for key in ("msgType", "msgtype", "type", "elementType") if text_in(fields, key)), "")
    noun = noun_of(kind) or ("文件" if text_in(fields, "fileName") else "")
    if text_in(fields, "atName") or kind == "at":
        who = next(filter(None, (text_in(fields, key) for key in ("atName", "text", "content", "name"))), "")
        return [Part(f"@{who.lstrip('@')} ", MENTION)] if who else []
    found = parts_in_fields(fields, name, depth)
    if not noun or any(part.noun == noun for part in found):
        return found
    if noun in LABELLED:
        label = " ".join(" ".join(names_in(fields, 0)).split())[:100]
        return [Part(f"[{noun} {label}]" if label else f"[{noun}]", noun, code_in(fields))]
    return [Part(f"[{noun}]", noun, code_in(fields)), *found] if noun in LOOKED_AT or not found else found


def parts_in_fields(fields: dict[str, Any], owner: str, depth: int) -> list[Part]:
    """What there is to read in an object, titles first, and nothing twice: a title often begins the text as well."""
    found: list[list[Part]] = []
    for name in sorted(list(fields)[:MAX_FIELDS], key=lambda name: (name != "title", name.lower() in RECORDS)):
        if WORDLESS_FIELDS.search(name[-60:]):
            continue
        if name.lower() in RECORDS:
            parts = parts_in_records(fields[name], "\n".join(map(words_of, found)), depth + 1)
        else:
            parts = parts_in(fields[name], name, owner if isinstance(fields[name], str) else name, depth + 1)
        if parts and parts not in found:
            found.append(parts)
    if "title" in fields and len(found) > 1 and any(words_of(found[0]) in words_of(parts) for parts in found[1:]):
        del found[0]
    return joined(found, "\n")


def parts_in_records(value: Any, summary: str, depth: int) -> list[Part]:
    """The messages of a forwarded conversation, a line for each, but for those that its summary has."""
    entries = unpacked(value) if isinstance(value, str) else value
    lines = []
    for entry in entries[:MAX_FIELDS] if isinstance(entries, list) else []:
        parts = parts_in(entry, RECORDS[0], "", depth)
        if parts and words_of(parts) not in summary:
            lines.append([Part(f"{sender}：") for sender in senders_in(entry)] + parts)
    return joined(lines, "\n")


def senders_in(entry: Any) -> list[str]:
    """The name of who sent this message of a forwarded conversation, if it is told; an id is none."""
    names = ("senderNick", "senderName", "nickName", "nick")
    return [entry[name] for name in names if isinstance(entry, dict) and text_in(entry, name)][:1]


def joined(found: list[list[Part]], separator: str) -> list[Part]:
    """All parts in one list, with the separator between those that stood apart."""
    parts: list[Part] = []
    for more in filter(None, found):
        parts += [Part(separator), *more] if parts and separator else more
    return parts


def names_in(value: Any, depth: int) -> list[str]:
    """The first two names, titles or addresses in the fields of a file, a place or a person."""
    body = unpacked(value) if isinstance(value, str) else value
    if not isinstance(body, dict) or depth > 4:
        return []
    fields = [
        name for name in list(body)[:MAX_FIELDS] if NAMING_FIELDS.search(name[-60:]) and not name.startswith("sender")
    ]
    names = [text_in(body, name) or "" for name in fields]
    for inner in list(body.values())[:MAX_FIELDS]:
        names += names_in(inner, depth + 1)
    return list(dict.fromkeys(name for name in names if name.strip()))[:2]


def code_in(fields: dict[str, Any]) -> str:
    """The code for which DingTalk hands out a picture or a file, '' if there is none; in a field or one level below."""
    inner = [unpacked(value) if isinstance(value, str) else value for value in list(fields.values())[:MAX_FIELDS]]
    places = [fields, *(value for value in inner if isinstance(value, dict))]
    codes = (text_in(place, name) for name in ("downloadCode", "pictureDownloadCode") for place in places)
    return next(filter(None, codes), "")


def noun_of(kind: str) -> str:
    """What such a message is called, '' if that is not known or if it is nothing but words."""
    return next((noun for pattern, noun in NOUNS if re.search(pattern, kind, re.IGNORECASE)), "")


def is_words(text: str, name: str) -> bool:
    """Whether a field holds words for people, and not an address, an id, a number."""
    if not text.strip(BLANKS) or name in ("text", "content", "richText"):
        return bool(text.strip(BLANKS))
    if re.fullmatch(r"\s*[\w.+-]+:/?/\S*\s*", text):
        return False
    return bool(
        WORD_FIELDS.search(name[-60:])
        or re.search(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[A-Za-z]{2} [A-Za-z]{2}", text)
    )


def unpacked(text: str) -> Any:
    """The object or list that a text is the JSON of, None if it is not."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (dict, list)) else None


def is_body(value: Any) -> bool:
    """Whether an object that stood as JSON in a text is the body of a message, and not what somebody wrote."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and not first.keys().isdisjoint(BODY)


def text_in(fields: dict[str, Any], name: str) -> str | None:
    """The field if it is a text; half a surrogate pair, which JSON can hold but UTF-8 cannot, is replaced."""
    value = fields.get(name)
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else None


# --- answering it once ---

INTERNAL = "机器人内部出错了。请部署者在 Dingtalk_ChatGPT_Reply 的日志里查找请求 {}。"
WITHHELD = "钉钉没有显示这条回答（错误码 {}）：可能太长，或者内容审核没有通过。请换一种问法。"


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
    run.sign.begin(message, run, anew=False)  # the run that began it may be dead
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
UNREADABLE = {  # the answer to a message without words, by what it is
    "图片": "我还看不了图片。请用文字把问题发给我。",
    "视频": "我还看不了视频。请用文字把问题发给我。",
    "语音": "这条语音没有转成文字，我听不了。请用文字把问题发给我。",
    "表情": "我看不懂表情。请用文字把问题发给我。",
    "文件": "我还读不了文件。请把要问的内容复制成文字发给我。",
    "文档": "我打不开钉钉文档。请把要问的内容复制成文字发给我。",
    "卡片": "这张卡片里没有我能读的文字，卡片指向的文档或网页我也打不开。请把要问的内容复制成文字发给我。",
    "链接": "我打不开链接。请把要问的内容复制成文字发给我。",
    "位置": "我看不了位置信息。请用文字写出地点和问题。",
    "名片": "我看不了名片。请用文字把问题发给我。",
    "聊天记录": "钉钉没有把这份聊天记录的文字转给我。请把要问的内容复制成文字发给我。",
    "引用": "钉钉没有把你引用的那条消息的文字转给我。请把要问的内容复制成文字发给我。",
    "消息": "我还读不了这种消息。请用文字把问题发给我。",
}
NOT_SEEN = {  # what the person sees of a picture or a file that was not looked at, by cause
    "app": "钉钉不认这个应用，所以看不了图片和文件。请部署者检查环境变量 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET。",
    "permission": "钉钉不允许机器人下载图片和文件。请部署者在钉钉开发者后台打开这个应用的“权限管理”，"
    "申请权限 qyapi_robot_sendmsg（企业内机器人发送消息权限）。",
    "ip": "钉钉只允许指定的 IP 访问，所以下载不了图片和文件。请部署者在钉钉开发者后台清空这个应用的服务器出口 IP。",
    "quota": "本组织这个月的钉钉 API 调用量用完了，下载不了图片和文件。请联系组织的管理员增加额度，或者下个月再试。",
    "busy": "钉钉现在太忙，图片或文件没有下载下来。请过一会儿再发一次。",
    "robot": "这个机器人不属于 DINGTALK_APP_KEY 的应用，看不了图片和文件。请部署者改成机器人所属应用的 AppKey。",
    "expired": "图片或文件已经过期，下载不了。请重新发一次。",
    "refused": "钉钉没有交出图片或文件。请重新发一次；如果一直这样，请部署者在日志里查看钉钉的错误码。",
    "network": "图片或文件没有下载下来。请再发一次；如果一直这样，请部署者检查函数的网络。",
    "missing": "钉钉没有把图片或文件交给机器人，我看不到。请在单聊里直接发给我。",
    "large": "图片超过 5 MB，或者文件超过 100 KB，我看不了。请压缩图片，或者只发要问的那部分文字。",
    "picture": "这张图片的格式我看不了，只能看 PNG、JPEG、WEBP 和 GIF。请转换格式以后再发。",
    "file": "这个文件我读不了，只能读 UTF-8 或 GB18030 编码的文本文件，例如 .txt、.md、.csv、.json、代码。"
    "PDF、Word、Excel 等请把要问的内容复制成文字发给我。",
    "many": "一次最多看 4 张图片或文件，后面的没有看。请分几次发。",
}
NOT_SEEN["token"] = NOT_SEEN["app"]
SWITCHED_OFF = "部署者设置 DINGTALK_APP_KEY 和 DINGTALK_APP_SECRET 以后，我就能看图片和文本文件。"
OVER_QUOTA = "钉钉说本组织的消息调用量已经用完，机器人的服务暂停了。请联系组织的管理员在钉钉开发者后台处理。"
USER_REFUSED = "你还不能使用这个机器人。请部署者把你的员工 ID（{}）加进环境变量 ALLOWED_USERS。"
LIMIT_REACHED = "你今天的 {} 次提问机会已经用完，明天再来吧。需要更多时，请部署者调大环境变量 DAILY_LIMIT。"
GROUP_REFUSED = "这个群还不能使用机器人。请部署者把群的会话 ID（{}）加进环境变量 ALLOWED_GROUPS。"


def compose(message: Message, journal: Journal, run: Run) -> tuple[str, str]:
    """The result in a word, and the words to reply."""
    settings = run.settings
    command = command_in(message.text) if message.text else None
    why_not = why_not_allowed(message, settings)
    if why_not:
        return "not allowed", why_not
    if message.over_quota:
        return "over quota", OVER_QUOTA
    if message.unreadable and not (message.attachments and settings.dingtalk_app_key):
        sentence = UNREADABLE[message.unreadable]
        if message.unreadable in ("图片", "文件"):
            sentence = NOT_SEEN["missing"] if settings.dingtalk_app_key else sentence + SWITCHED_OFF
        return "unreadable", sentence
    if command == "clear":
        return clear(journal, run)
    if command == "status":
        return "status", status(journal, settings)
    if command == "help" or not (message.text or message.quotation):  # nothing but the @: perhaps a first try
        return "help", HELP
    if not count_question("+", message, run):
        return "not allowed", LIMIT_REACHED.format(settings.daily_limit)
    run.sign.begin(message, run)
    try:
        return "answered", ask_with_attachments(message, journal, run)
    except ModelFailure as failure:
        log.warning("request %s: ChatGPT did not answer: %s", run.context.request_id, failure)
        return f"failed: {failure.cause}", FAILURES[failure.cause]
    except Unseen as unseen:
        return f"failed: {unseen.cause}", str(unseen)


def why_not_allowed(message: Message, settings: SimpleNamespace) -> str | None:
    """Why the person, or in a group the group, may not ask; None if it is on its list or there is no list."""
    if settings.allowed_users and message.person not in settings.allowed_users:
        return USER_REFUSED.format(message.person)
    if settings.allowed_groups and message.in_group and message.conversation_id not in settings.allowed_groups:
        return GROUP_REFUSED.format(message.conversation_id)
    return None


COMMANDS = {"清除": "clear", "重置": "clear", "状态": "status", "帮助": "help"}  # and the English words after a sign


def command_in(text: str) -> str | None:
    """The command that the whole text is, None for a question.

    '\\clear' '／Ｃｌｅａｒ' '、clear' '清除' -> 'clear'; an unknown word, '/hi' -> 'help'; '\\frac{a}{b}' -> None
    """
    if len(text) > 40:
        return None
    plain = unicodedata.normalize("NFKC", text.translate(dict.fromkeys(map(ord, INVISIBLE)))).strip()
    word = re.fullmatch(r"[\\/、]([A-Za-z]\w*)", plain, re.ASCII)
    if word:
        name = word[1].lower()
        return name if name in COMMANDS.values() else "help"
    return COMMANDS.get(re.sub(r"\A[\\/、]", "", plain))


FORGOTTEN = 200  # messages that are still recognised after \\clear: DingTalk repeats one within minutes


def clear(journal: Journal, run: Run) -> tuple[str, str]:
    """Delete the journal object; the reply to this message becomes the first line of the next. As compose.

    Of the messages that were answered the digests stay, so that one that DingTalk repeats is not answered again.
    """
    try:
        deadline = run.share(LOAD_SHARE)
        call_until(deadline, lambda: journal.bucket.delete_object(journal.key))
    except OSS_ERRORS as error:
        return "not cleared", f"没能忘掉之前的对话：{oss_problem(error)}。"
    journal.forgotten = [*journal.forgotten, *map(digest, journal.delivered_ids())][-FORGOTTEN:]
    journal.lines, journal.length, journal.separator, journal.problem = [], 0, b"", None
    return "cleared", "好的，之前的对话我都忘掉了。"


def status(journal: Journal, settings: SimpleNamespace) -> str:
    """What a person may want to know of the bot."""
    memory = f"记住的对话：{len(journal.turns)} 轮（最多 {settings.history_length} 轮）"
    pictures = "能看" if settings.dingtalk_app_key else "看不了（没有设置 DINGTALK_APP_KEY）"
    return f"模型：{settings.chatgpt_model}\n{memory}\n图片和文本文件：{pictures}\n版本：{VERSION}"


def question_of(message: Message, scope: str) -> str:
    r"""What the model is asked: the words, below those they refer to.

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


# --- pictures and files of DingTalk ---

EACH_ITS_OWN = ("expired", "refused", "large", "picture", "file")  # with other causes the next one need not be tried
PICTURE_QUESTION = "请看这张图片，说说里面有什么；如果里面是问题，请直接回答。"
FILE_QUESTION = "请读这个文件，说说里面写了什么；如果里面是问题，请直接回答。"
MOST_ATTACHMENTS, MOST_PICTURE_BYTES, MOST_TEXT_BYTES = 4, 5 * 1024 * 1024, 100 * 1024
PICTURE_NAMES = ("png", "jpeg", "webp", "gif")
PICTURE = re.compile(rb"(\x89PNG\r\n\x1a\n)|(\xff\xd8\xff)|(RIFF.{4}WEBP)|(GIF8[79]a)", re.DOTALL)


class Unseen(Exception):
    """A picture or a file was not looked at; the person sees the message."""

    def __init__(self, cause: str, sentence: str = "", detail: str = "") -> None:
        super().__init__(sentence or NOT_SEEN[cause])
        self.cause, self.detail = cause, detail


def look_at(message: Message, run: Run) -> tuple[Message, list[str], list[str]]:
    """The message with what its files say, its pictures as data URLs, and a sentence for each thing that is not seen.

    Unseen if there is nothing else in it.
    """
    deadline = run.share(FETCH_SHARE)
    pictures, text, quotation, failures = [], message.text, message.quotation, []
    for part in message.attachments[:MOST_ATTACHMENTS]:
        try:
            data = fetch(part.code, message.robot_code, run.settings, deadline)
            kind = PICTURE.match(data)
            if kind:
                name = PICTURE_NAMES[(kind.lastindex or 1) - 1]
                pictures.append(f"data:image/{name};base64,{base64.b64encode(data).decode()}")
            elif part.noun == "图片":
                raise Unseen("picture", detail=f"{len(data)} bytes")
            else:
                quotation = f"{quotation.replace(part.words, '')}\n{part.words}\n{text_of_file(data)}".strip()
        except Unseen as unseen:
            log.warning("request %s: not seen: %s: %s", run.context.request_id, unseen.cause, unseen.detail)
            failures.append(unseen)
            if unseen.cause not in EACH_ITS_OWN:
                break
    if len(message.attachments) > MOST_ATTACHMENTS:
        failures.append(Unseen("many"))
    if message.unreadable:  # there are no words
        if not pictures and quotation == message.quotation:
            raise failures[0]
        question = PICTURE_QUESTION if pictures else FILE_QUESTION
        text = question.replace("这张", "这些") if len(pictures) > 1 else question
    return message._replace(text=text, quotation=quotation), pictures, list(map(str, failures))


def text_of_file(data: bytes) -> str:
    """The words of a text file, by its content; Unseen if it is none."""
    if len(data) > MOST_TEXT_BYTES:
        raise Unseen("large", detail=f"{len(data)} bytes")
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text.strip(BLANKS) and not re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", text):
            return text
    raise Unseen("file", detail=f"{len(data)} bytes")


def fetch(code: str, robot_code: str, settings: SimpleNamespace, deadline: float) -> bytes:
    """The picture or the file that DingTalk hands out for a code."""
    body = {"downloadCode": code, "robotCode": robot_code or settings.dingtalk_app_key}
    call = functools.partial(call_dingtalk, "/v1.0/robot/messageFiles/download", body, settings, deadline)
    try:
        answer = call()
    except Unseen as unseen:
        if unseen.cause != "busy":
            raise
        time.sleep(BUSY_SECONDS)
        answer = call()
    url = answer.get("downloadUrl") or first_object(answer.get("data")).get("downloadUrl")
    local = is_loopback(settings.dingtalk_api)
    scheme = "https?" if local else "https"
    if not isinstance(url, str) or not re.fullmatch(rf"{scheme}://[A-Za-z0-9.-]+(:\d{{1,5}})?[/?][!-~]*", url):
        raise Unseen("refused", detail="its downloadUrl is no https address")
    status, data = in_time(deadline, functools.partial(get_file, file_connections(local), url))
    if status != 200:
        raise Unseen("network" if status >= 500 else "expired", detail=f"the file answers HTTP {status}")
    return data


def get_file(connections: FreshConnections, url: str, timeout: tuple[float, float]) -> tuple[int, bytes]:
    """The status and the bytes of a file. Neither token nor Content-Type: they spoil the signature in the address."""
    request = requests.Request("GET", url).prepare()  # by the adapter: no redirects
    with connections.send(request, timeout=timeout, stream=True) as answer:
        try:
            return answer.status_code, read_up_to(MOST_PICTURE_BYTES, answer.iter_content(64 * 1024))
        except ValueError as error:
            raise Unseen("large", detail=str(error)) from None


@functools.lru_cache(maxsize=2)
def file_connections(local: bool) -> FreshConnections:
    """The connections to where DingTalk keeps files: to public addresses only, or to this machine, to try things."""
    connections = FreshConnections()
    pools = connections.poolmanager.pool_classes_by_scheme
    guarded = {scheme: to_public_addresses(pools[scheme], local) for scheme in pools}
    connections.poolmanager.pool_classes_by_scheme = guarded
    return connections


def to_public_addresses(pool_class: Any, local: bool) -> Any:
    """The same kind of connection pool, whose connections lead to no address that only this network knows."""

    def check(addresses: Iterable[str]) -> None:
        for address in map(ipaddress.ip_address, addresses):
            if not (address.is_global or (local and address.is_loopback)):
                raise Unseen("refused", detail="its downloadUrl leads to a private address")

    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            check(str(found[4][0]) for found in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
            super().connect()
            check([self.sock.getpeername()[0]])  # by now the name may lead elsewhere

    return type(pool_class.__name__, (pool_class,), {"ConnectionCls": Connection})


# --- DingTalk's API ---

# What an error of the API means, by its code and its words; the first that fits.
API_CAUSES = (
    ("quota", r"ApiCountLimit|90018"),
    ("busy", r"QpsLimit|throttl|punish|too many|90002|90020|system\.?(busy|err)"),
    ("ip", r"WhiteList"),
    ("permission", r"PermissionDenied|requiredScopes|AccessDenied|Forbidden|NoPermission"),
    ("app", r"invalidClient|clientId|appKey|appSecret"),
    ("token", r"InvalidAuthentication|access.?token"),
    ("expired", r"downloadCode|expired|过期"),
    ("robot", r"robot"),
)
RENEW_SECONDS, MOST_TOKEN_SECONDS = 300, 7200  # before it expires; as long as it lives
BUSY_SECONDS = 1  # DingTalk counts calls by the second
api_tokens: dict[tuple[str, str, str], tuple[str, float]] = {}  # of an application, and until when; kept per instance


def call_dingtalk(path: str, body: dict[str, Any], settings: SimpleNamespace, deadline: float) -> dict[str, Any]:
    """What DingTalk answers to a call of its API, or Unseen. A token that it does not take any more is renewed once."""
    renewed = False
    while True:
        headers = {"x-acs-dingtalk-access-token": access_token(settings, deadline)}
        status, answer = post_json(path, body, headers, settings, deadline)
        if status == 200:
            return answer
        failure = api_failure(status, answer)
        if renewed or failure.cause != "token":
            raise failure
        api_tokens.clear()
        renewed = True


def access_token(settings: SimpleNamespace, deadline: float) -> str:
    """The application's token, a new one if it expires soon."""
    owner = (settings.dingtalk_api, settings.dingtalk_app_key, settings.dingtalk_app_secret)
    kept, until = api_tokens.get(owner, ("", 0.0))
    if time.time() < until:
        return kept
    body = {"appKey": settings.dingtalk_app_key, "appSecret": settings.dingtalk_app_secret}
    status, answer = post_json("/v1.0/oauth2/accessToken", body, {}, settings, deadline)
    token, seconds = answer.get("accessToken"), answer.get("expireIn")
    if status != 200:
        raise api_failure(status, answer)
    if not isinstance(token, str) or not re.fullmatch("[!-~]+", token):
        raise Unseen("refused", detail="no token in the answer")
    lives_seconds = min(seconds, MOST_TOKEN_SECONDS) if isinstance(seconds, int) else 0
    api_tokens[owner] = (token, time.time() + lives_seconds - RENEW_SECONDS)
    return token


def post_json(
    path: str, body: dict[str, Any], headers: dict[str, str], settings: SimpleNamespace, deadline: float
) -> tuple[int, dict[str, Any]]:
    """The status and the object that the API answers, {} if it is none; or Unseen."""
    url, headers = settings.dingtalk_api + path, {"Content-Type": "application/json", **headers}
    send = functools.partial(post, api_connections(), url, json.dumps(body).encode(), headers)
    response, data = in_time(deadline, send)
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    return response.status_code, answer if isinstance(answer, dict) else {}


@functools.lru_cache(maxsize=1)
def api_connections() -> FreshConnections:
    """The connections to DingTalk's API, kept between messages."""
    return FreshConnections()


def in_time(deadline: float, request: Callable[[tuple[float, float]], T]) -> T:
    """What a request gives, which gets its time-outs, to connect and for each read; or Unseen."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise Unseen("network", detail="time is up")
    try:
        return call_until(deadline, functools.partial(request, (min(3, seconds), seconds)))
    except (requests.RequestException, concurrent.futures.TimeoutError, ValueError) as error:
        raise Unseen("network", detail=type(error).__name__) from error


def api_failure(status: int, answer: dict[str, Any]) -> Unseen:
    """What an error of the API means, with its code and its request id for the log."""
    told = json.dumps(answer, ensure_ascii=False)[:2000]
    cause = next((cause for cause, words in API_CAUSES if re.search(words, told, re.IGNORECASE)), "")
    if status == 401:
        cause = "token"
    elif not answer and status in (403, 429):  # a page for a browser: too much from this address
        cause = "busy"
    request_id = answer.get("requestid", answer.get("requestId"))
    detail = f"HTTP {status}, {plain_words(answer.get('code'), 80)}, its request {plain_words(request_id, 60)}"
    return Unseen(cause or ("network" if status >= 500 else "refused"), detail=detail)


# --- sign of life ---

THINKING = "🤔思考中"
SIGN_PAUSES_SECONDS = (
    0,
    0.4,
    0.8,
)  # before each try to show it: just after a message came DingTalk may not know it yet
RECALL_PAUSES_SECONDS = (0, 1.5, 3.5)
MOST_CALL_SECONDS, MOST_RECALL_SECONDS = 5, 8  # the last is what the run waits for its end, when the answer is out


class SignOfLife:
    """An emoji on the message while its answer is under way, beside everything else; what fails of it nobody sees."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.thread: threading.Thread | None = None

    def begin(self, message: Message, run: Run, anew: bool = True) -> None:
        """Show it, or only take away what another run has left; if it is switched on."""
        if run.settings.thinking == "on" and self.thread is None:
            self.thread = threading.Thread(target=self.show, args=(message, run, anew), daemon=True)
            self.thread.start()

    def end(self, run: Run) -> None:
        """Take it away, and wait for that a little: when the run is over, Function Compute stops its threads."""
        self.over.set()
        if self.thread:
            self.thread.join(max(0.0, min(MOST_RECALL_SECONDS, run.deadline - time.monotonic())))

    def show(self, message: Message, run: Run, anew: bool) -> None:
        """Show it until the run is over, and take it away if it may be there."""
        there = not anew
        for pause_seconds in SIGN_PAUSES_SECONDS if anew else ():
            if self.over.wait(pause_seconds):
                break
            problem = self.problem("reply", message, run)
            there = there or problem in ("", "network", "refused")
            if problem not in ("network", "busy"):
                break
        self.over.wait()
        for pause_seconds in RECALL_PAUSES_SECONDS if there else ():
            time.sleep(pause_seconds)
            if self.problem("recall", message, run) not in ("network", "busy"):
                break

    def problem(self, verb: str, message: Message, run: Run) -> str:
        """The cause if DingTalk does not do it, '' if it does."""
        text_emotion = {"emotionId": "2659900", "emotionName": THINKING, "text": THINKING, "backgroundId": "im_bg_1"}
        body = {
            "robotCode": message.robot_code or run.settings.dingtalk_app_key,
            "openMsgId": message.id,
            "openConversationId": message.conversation_id,
            "emotionType": 2,
            "emotionName": THINKING,
            "textEmotion": text_emotion,
        }
        try:
            call_dingtalk(f"/v1.0/robot/emotion/{verb}", body, run.settings, run.share((MOST_CALL_SECONDS, 1)))
        except Unseen as unseen:
            log.info("request %s: no emotion/%s: %s: %s", run.context.request_id, verb, unseen.cause, unseen.detail)
            return unseen.cause
        return ""


# --- ChatGPT ---

# What the person sees when ChatGPT does not answer, by cause.
FAILURES = {
    "key": "ChatGPT 的 API 密钥无效。请部署者检查环境变量 CHATGPT_API_KEY。",
    "forbidden": "这个密钥没有权限使用 ChatGPT。请部署者在服务商的控制台检查密钥、项目和账户的状态。",
    "region": "ChatGPT 不支持函数所在的国家或地区。请部署者换一个地域部署，或者设置 CHATGPT_BASE_URL。",
    "model": "ChatGPT 没有这个模型，或者这个账户还没有开通它。"
    "请部署者检查环境变量 CHATGPT_MODEL，并在服务的控制台里开通这个模型。",
    "address": "这个地址上没有 ChatGPT 的接口。请部署者检查环境变量 CHATGPT_BASE_URL。",
    "balance": "ChatGPT 账户的余额或额度用完了（也可能是免费额度用完了）。请部署者充值，或者提高额度上限。",
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
    "tools": "模型没有回答，而是要调用工具，但机器人没有工具。请换一种问法；如果一直这样，请部署者换一个模型。",
}
RETRIED = ("busy", "network", "down")
# What may be due to the pictures of a question, and what the person sees then.
PICTURES_REFUSED = {
    "vision": FAILURES["vision"],
    "picture": FAILURES["picture"],
    "long": FAILURES["picture"],
    "filtered": "图片没有通过 ChatGPT 的内容审核。请换一张图片，或者用文字提问。",
    "options": "ChatGPT 不接受带图片的提问，可能是这个模型看不了图片。请用文字提问，"
    "或者请部署者检查环境变量 CHATGPT_MODEL 和 CHATGPT_OPTIONS。",
}
PICTURES_REFUSED["strange"] = PICTURES_REFUSED["options"]

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
CAUSE_WORDS = (
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

ASK_PAUSES_SECONDS = (0.5, 2)  # between the three tries of ChatGPT


class ModelFailure(Exception):
    """ChatGPT gave no answer; the person sees FAILURES[cause], the log `detail`, the self-check also `said`."""

    def __init__(self, cause: str, detail: object, said: str = "", doubtful: bool = False, wait: str = "") -> None:
        super().__init__(f"{cause} ({detail})")
        self.cause, self.detail, self.said = cause, detail, said
        self.doubtful = doubtful  # a refusal of which nothing was understood but the status
        self.retry_after_seconds = int(wait) if re.fullmatch("[0-9]{1,9}", wait) else None


def ask_with_attachments(message: Message, journal: Journal, run: Run) -> str:
    """ChatGPT's answer to a message, and below it a sentence for each picture or file that was not looked at.

    If the service refuses pictures, or may do so, the words that came with them are asked alone. Unseen if there is
    nothing to ask.
    """
    scope = run.settings.history_scope
    if not (message.attachments and run.settings.dingtalk_app_key):
        return ask(question_of(message, scope), [], journal, run)
    seen, pictures, notes = look_at(message, run)
    question = question_of(seen, scope)
    try:
        answer = ask(question, pictures, journal, run)
    except ModelFailure as failure:
        if not pictures or failure.cause not in PICTURES_REFUSED:
            raise
        log.warning("request %s: ChatGPT does not take the pictures: %s", run.context.request_id, failure)
        note = PICTURES_REFUSED[failure.cause]
        if message.unreadable and seen.quotation == message.quotation:
            raise Unseen(failure.cause, note) from None
        answer = ask(question, [], journal, run)
        notes.append(note)
    return "\n\n".join([answer, *(f"（{note}）" for note in dict.fromkeys(notes))])


def ask(question: str, pictures: list[str], journal: Journal, run: Run) -> str:
    """ChatGPT's answer, after three tries at most; the pictures are data URLs.

    What passes is tried again after a pause. A conversation that is too long for the model is asked again without its
    older half, then without any of it; and so, once, is what was refused for a reason that is not understood, because
    each service has its own words for "too long". The tries are ours: those of the openai package also repeat what
    cannot succeed (no money left), and sleep as long as the service asks for, whatever the time-out is.
    """
    settings, turns = run.settings, journal.turns
    deadline = min(time.monotonic() + settings.timeout, run.without(AFTER_ASKING_SHARE))
    pauses_seconds, shortened = iter(ASK_PAUSES_SECONDS), False
    while True:
        try:
            messages = messages_for(question, turns, settings.system_prompt, pictures)
            answer, run.tokens[:] = ask_once(messages, settings, deadline - time.monotonic())
            return answer
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


def messages_for(
    question: str, turns: list[dict[str, Any]], system_prompt: str | None, pictures: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """The messages of a request: who the model is, what was said before, the question and its pictures."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    for turn in turns:
        messages.append({"role": "user", "content": turn["question"]})
        messages.append({"role": "assistant", "content": turn["answer"]})
    parts = [{"type": "image_url", "image_url": {"url": picture, "detail": "auto"}} for picture in pictures]
    return [*messages, {"role": "user", "content": [{"type": "text", "text": question}, *parts] if parts else question}]


def ask_once(messages: list[dict[str, Any]], settings: SimpleNamespace, seconds: float) -> tuple[str, list[str]]:
    """ChatGPT's answer to these messages, and the tokens as in Run; or ModelFailure with the cause."""
    client = openai_client(settings.chatgpt_api_key, settings.chatgpt_base_url)
    create: Callable[..., Any] = client.chat.completions.with_raw_response.create
    timeout = openai.Timeout(seconds, connect=min(seconds, 5))
    try:
        response = call_until(
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
        return read_answer(response.content), tokens_in(response.content)
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

    An address without a version gets OpenAI's, 'https://a.com' -> 'https://a.com/v1', unless it is that of the request
    itself: the openai package adds /chat/completions to 'https://a.com/x' out of 'https://a.com/x/chat/completions'.
    """
    if base_url.endswith("/chat/completions"):
        base_url = base_url.removesuffix("/chat/completions")
    elif not re.search(r"/v\d\w*(/|$)", base_url):
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


def tokens_in(content: bytes) -> list[str]:
    """['120 + 35 tokens'] for the question and the answer, [] if the service does not tell; see Run."""
    usage = first_object(first_object(json.loads(content)).get("usage"))
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return ["{} + {} tokens".format(*counts)] if all(type(count) is int for count in counts) else []


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


def cause_in(texts: list[str], status: int) -> str | None:
    """The cause of the first pattern in CAUSE_WORDS that is found: 'ModelNotOpen' is read as 'model not open'."""
    text = re.sub(r"https?://\S+", "", "\n".join(texts)[:8000]).replace("’", "'")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    causes = (cause for cause, pattern in CAUSE_WORDS if re.search(pattern, text))
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
MAX_LINE_BYTES = 96 * 1024  # a longer turn is kept shortened: it must fit the tail, and leave room for the next ones
OSS_TRIES = 3  # of an append that OSS neither did nor refused
MIN_APPEND_SECONDS = 0.5  # with less left, another try is not worth beginning


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
    journal = load_journal(bucket, key, message.id, run.settings.history_length, run.share(LOAD_SHARE))
    if run.settings.history_minutes:
        journal.turns = since_pause(journal.turns, 60_000 * run.settings.history_minutes)
    return journal


def since_pause(turns: list[dict[str, Any]], pause_ms: int) -> list[dict[str, Any]]:
    """The turns after the last pause of this length, all if there was none; a turn without a time makes no pause."""
    at_ms = now_ms()
    for number in reversed(range(len(turns))):
        before_ms = turns[number].get("at", at_ms)
        if at_ms - before_ms >= pause_ms:
            return turns[number + 1 :]
        at_ms = before_ms
    return turns


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
    since_clear = itertools.takewhile(lambda line: "forgotten" not in line, parsed(reversed(journal.lines)))
    newest_first = (line for line in since_clear if "question" in line)
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
    races = failures = 0
    while True:
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
        races += 1
        time.sleep(random.uniform(0, 0.01 * min(races, 10)))
        if time.monotonic() > deadline - MIN_APPEND_SECONDS:
            raise JournalFailure(problem)
        latest = load_journal(journal.bucket, journal.key, line["msgId"], 0, deadline)
        if latest.problem and not latest.denied:
            failures += 1  # without the journal nobody can tell whether the line is there, or that of another run
            if failures == OSS_TRIES:
                raise JournalFailure(latest.problem)
            continue
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

# What the deployer can do about an error of OSS, by words of its code and its message; the first that fits.
OSS_HINTS = {
    r"InDebt|UserDisable|Overdue|Arrear|AbnormalBucketOwner": "阿里云账号欠费或被停用，请充值，或者查看阿里云的站内信",
    r"BucketDisable|UbsmsInvalid": "Bucket 因为安全原因被停用，请在 OSS 控制台查看原因，或者换一个 Bucket",
    r"does not belong to you|BucketNotBelongTo": "这个 Bucket 属于别的账号，请检查环境变量 OSS_BUCKET_NAME",
    r"NoSuchBucket|InvalidBucketName": "请检查环境变量 OSS_BUCKET_NAME",
    r"acceler": "请先为 Bucket 开启传输加速，或者把环境变量 OSS_ENDPOINT 清空",
    r"PublicEndpointForbidden": "请把环境变量 OSS_ENDPOINT 改为内网地址，或者不填",
    r"SecondLevelDomainForbidden": "请检查环境变量 OSS_ENDPOINT，它应该像 https://oss-us-west-1.aliyuncs.com",
    r"specified endpoint|valid endpoint": "Bucket 不在这个地域，请检查环境变量 OSS_ENDPOINT 和 OSS_REGION",
    r"TokenExpired|InvalidSecurityToken|TokenNotMatch|TokenNotSupported": "请检查服务或函数的角色，再重新部署函数",
    r"RequestTimeTooSkewed|RequestExpired": "函数的时钟与 OSS 相差太多，请稍后再试；如果一直这样，请重新部署函数",
    r"InvalidAccessKeyId": "请检查环境变量 ACCESS_KEY_ID，或者把它和 ACCESS_KEY_SECRET 都清空、改用角色",
    r"SignatureDoesNotMatch": "请检查环境变量 ACCESS_KEY_SECRET 和 OSS_REGION",
    r"AccessDenied|AccessForbidden": "角色（或 AccessKey）需要在 chat-history/* 和 chat-usage/* 上有权限 "
    "oss:GetObject、oss:PutObject、oss:DeleteObject",
    r"InvalidArgument": "请检查环境变量 OSS_REGION，它是 Bucket 所在的地域",
    r"ObjectNotAppendable": "这个文件不能追加内容。如果 Bucket 开启过版本控制，请换一个没有开启过的；"
    "否则发送 \\clear 就会重建",
    r"FileImmutable": "Bucket 的保留策略不允许写入，请换一个 Bucket",
    r"Kms": "Bucket 的加密密钥用不了，请在 OSS 控制台检查 Bucket 的服务器端加密，或者换一个 Bucket",
    r"RateLimit|QpsLimit|TooManyRequests": "OSS 正在限流，请稍后再试",
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
    # An accelerate endpoint, oss-accelerate or oss-accelerate-overseas, is that of no region.
    region = re.search(r"[/.]oss-(?!accelerate)([a-z0-9-]+?)(-internal)?\.aliyuncs\.com", endpoint)
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
    told = f"{error.code} {error.message}"
    hint = next((hint for words, hint in OSS_HINTS.items() if re.search(words, told, re.IGNORECASE)), "")
    code = plain_words(error.code, 60) or f"HTTP {error.status}"
    return f"OSS 错误 {code}，请求 {plain_words(error.request_id, 60)}" + (f"：{hint}" if hint else "")


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
    bodies = webhook_bodies(message, text, run.settings.reply_format)
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

    (body,) = webhook_bodies(message, sentence, "text")
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


# What DingTalk answers in `errcode` when it shows nothing. For a code that is not listed the words of `errmsg` decide;
# where they say nothing, it is taken for one that passes.
FINAL = {  # nothing is shown in this chat any more
    "300001": "the session is over",
    "310000": "the robot's security settings do not allow it",
    "400013": "the group was dissolved",
    "400101": "the token does not exist",
    "400102": "the robot was stopped",
    "400106": "the robot is no longer in the group",
}
REFUSED_TEXT = {  # other texts are shown, this one is not
    "101002": "too long",
    "460101": "over 20,000 bytes",
    "34016": "too long",
    "430101": "an unsafe link",
    "430102": "an unsafe text",
    "430103": "an unsafe picture",
    "430104": "unsafe",
    "34014": "malformed",
    "40035": "a parameter is missing",
    "400105": "an unknown kind of message",
    "400402": "a parameter is missing or malformed",
    "43004": "an unknown kind of body",
}
TRANSIENT = ("-1", "130101", "410100", "500100", "660026")  # busy, and several codes for: too fast
GONE = "(robot|机器人).{0,20}(not exist|不存在)"
FAMILIES = (  # of the words of an errmsg, in this order
    ("passes", r"too (fast|many|frequent)|\brate|qps|frequen|busy|later|频率|频繁|太快|限流|繁忙|系统异常|稍后"),
    ("final", r"session|token|expired|dissol|disband|会话|过期|解散|停用|不在群|群不存在|" + GONE),
    ("text", r"too (long|large|big)|exceed|length|size|超长|过长|超过|长度|大小"),
    ("text", r"sensitive|unsafe|illegal|violat|forbidden (word|content)|敏感|违规|违禁|不合规|不合法|审核|安全"),
    ("text", r"param|missing|malformed|invalid (json|msg|message|content)|unsupported|参数|缺少|缺失|格式|不支持"),
)


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
    errcode = plain_words(answer["errcode"], 20)
    if errcode == "0":
        return ""
    errmsg = plain_words(answer.get("errmsg", ""), 80)
    problem = f"DingTalk answers errcode {errcode}: {errmsg}"
    log.warning("%s (%s)", problem, FINAL.get(errcode) or REFUSED_TEXT.get(errcode) or "not in the tables")
    family = family_of(errcode, errmsg)
    if family == "text":
        raise Withheld(errcode)
    if family == "final":
        raise Undeliverable(problem)
    return problem


def family_of(errcode: str, errmsg: str) -> str:
    """Whether an error of DingTalk is 'final', about this 'text', or 'passes'."""
    if errcode in FINAL:
        return "final"
    if errcode in REFUSED_TEXT:
        return "text"
    if errcode in TRANSIENT:
        return "passes"
    return next((family for family, words in FAMILIES if re.search(words, errmsg, re.IGNORECASE)), "passes")


@functools.lru_cache(maxsize=1)
def webhook_connections() -> FreshConnections:
    """The connections to DingTalk, kept between messages."""
    return FreshConnections()


# --- text for its clients ---

# The rule for Markdown: change as little as possible, and nothing that a CommonMark reader would show otherwise. The
# words are those of https://spec.commonmark.org: blocks stand in containers, which are quotations and list items.

PART_CHARACTERS = 3300  # of one message; clients show no Markdown over 3,500; the rest is for @, number and fences
PART_BYTES = 18_000  # DingTalk refuses a request over 20,000; the rest is for what is around the text
MAX_CONTAINERS = 20  # of containers in each other; what is deeper is text, so that no line takes long
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
            while depth < MAX_CONTAINERS and (found := self.container_in(line, depth)):
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

CHECK_SHARE = (10, 1 / 3)  # for OSS, and then for ChatGPT
VERSIONED = (
    "Bucket 开启过版本控制：\\clear 以后原来的内容仍留在历史版本里，也可能再也存不进去。请换一个没有开启过的 Bucket"
)


def self_check(problems: list[str], run: Run) -> dict[str, str]:
    """A report on every part that the deployer has to set up: ok, or what is wrong and what to change."""
    settings, time_out = run.settings, run.context.function.timeout
    report = {"result": "self-check", "settings 环境变量": "；".join(problems) or "ok"}
    report["time-out 执行超时时间"] = "ok"
    needed = settings.timeout + MOST_SECONDS_WITHOUT_CHATGPT
    if time_out < needed:
        report["time-out 执行超时时间"] = f"函数的执行超时时间是 {time_out} 秒，请改为至少 {needed} 秒"
    if warnings := option_warnings(settings.chatgpt_options):
        report["CHATGPT_OPTIONS"] = "；".join(warnings)
    oss_is_set = settings.oss_bucket_name and hasattr(oss2, "AuthV4")
    report["OSS"] = check_oss(run) if oss_is_set else "没有检查：先改正 OSS_BUCKET_NAME 或 oss2 的版本"
    report["ChatGPT"] = check_model(settings) if settings.chatgpt_api_key else "CHATGPT_API_KEY 没有设置好"
    if settings.dingtalk_app_key and settings.dingtalk_app_secret:
        report["DingTalk 图片和文件"] = check_dingtalk(run)
    return report


def check_oss(run: Run) -> str:
    """Append, read and delete a probe object, twice: in a bucket that keeps versions the second append may fail."""
    deadline = run.share(CHECK_SHARE)
    try:
        bucket = open_bucket(run.settings, run.context)
        folders = ("chat-history", "chat-usage") if run.settings.daily_limit else ("chat-history",)
        for folder in 2 * folders:
            key = f"{folder}/@self-check/{run.id}.jsonl"
            call_until(deadline, functools.partial(bucket.append_object, key, 0, b"{}\n"))
            call_until(deadline, functools.partial(read_tail, bucket, key, TAIL_BYTES))
            if call_until(deadline, functools.partial(bucket.delete_object, key)).delete_marker:
                return VERSIONED
    except OSS_ERRORS as error:
        return oss_problem(error)
    return "ok"


CHECK_SECONDS = 30  # for ChatGPT in a self-check; a reasoning model thinks that long about nothing


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


def check_dingtalk(run: Run) -> str:
    """Fetch a token, and ask for a file that does not exist: DingTalk looks at the permission before the code."""
    try:
        fetch("self-check", "", run.settings, run.share(CHECK_SHARE))
    except Unseen as unseen:
        if unseen.cause not in ("expired", "robot", "refused"):
            return str(unseen)
    return "ok"


def plain_words(value: object, length: int) -> str:
    """The first words of what a service says, fit for the log: one line, without addresses and signs of control."""
    text = str(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__
    text = re.sub(r"[\w.+-]{1,20}://\S*", "…", text[: 10 * length])
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:length]


MAX_IDLE_SECONDS = 30  # Function Compute freezes an idle instance, which then misses that the other side hung up
MAX_ANSWER_BYTES = 64 * 1024  # of the webhook's own answer; it takes 30


# --- the same in both files, from here: settings, role, log, limits, connections ---


INVISIBLE = "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"  # zero-width blanks
BLANKS = INVISIBLE + "".join(filter(str.isspace, map(chr, range(0x3001))))  # what comes along when a value is pasted
QUOTES = "\"'`“”‘’「」『』《》＂＇"  # what people put around a value
NOTHING = ("无", "空", "没有", "不填", "none", "null", "nil", "undefined", "n/a")  # how people write: no value


class Malformed(ValueError):
    """A setting is not what its check asks for; the deployer sees the message, which never repeats the value."""


def read_settings(environ: Mapping[str, str]) -> tuple[SimpleNamespace, list[str]]:
    """The values of SETTINGS, as attributes in lower case, and a sentence for each bad one: never its value.

    A bad setting has its default, a bad or missing required one is None.
    """
    values, problems = SimpleNamespace(), []
    for name, check, default, meaning in SETTINGS:
        text = environ.get(name, "").strip(BLANKS)
        value = None if default is REQUIRED else default
        if text and not re.fullmatch(r"\$\{env\(.*\)\}", text):  # what `s deploy` writes for a variable not set there
            try:
                value = read_value(text, check, name, default is not REQUIRED)
            except (ValueError, RecursionError) as error:  # only Malformed is sure not to quote a key pasted here
                why = f"，{error}" if isinstance(error, Malformed) else ""
                problems.append(f"{name} 格式不对{why}（{meaning}）")
        elif default is REQUIRED:
            problems.append(f"{name} 没有设置（{meaning}）")
        setattr(values, name.lower(), value)
    return values, problems


def read_value(text: str, check: Any, name: str, optional: bool) -> Any:
    """The value, by its check: a reader, a range of whole numbers, or the pattern of the whole text."""
    if optional and text.lower() in NOTHING:
        raise Malformed("不需要时请留空")
    if callable(check):
        return check(text)
    if isinstance(check, range):
        number = int(text) if re.fullmatch(r"[+-]?\d{1,9}", text) else None
        if number not in check:
            raise Malformed(f"应该是 {check[0]} 到 {check[-1]} 的整数")
        return number
    slip = slip_in(text, name)
    if slip or not re.fullmatch(check, text):
        raise Malformed(slip) if slip else ValueError("no match")
    return text


def slip_in(text: str, name: str) -> str:
    """What went wrong when a name or a key was pasted, '' if nothing of it did."""
    slips = (
        (text[0] in QUOTES or text[-1] in QUOTES, "不要加引号"),
        (text.startswith((f"{name}=", "export ")), "只填等号后面的内容"),
        (re.match(r"(authorization|bearer)\b[: ]", text, re.IGNORECASE), "不要带 Bearer"),
        (re.search(r"\$\{.*\}", text), "里面的变量没有被替换"),
        ("://" in text or ".aliyuncs.com" in text, "这里不填网址"),
        ("***" in text or "..." in text, "要填完整的值，不能带星号或省略号"),
        (re.search(r"\s", text), "中间不能有空白或换行"),
        (not (text.isascii() and text.isprintable()), "不能有中文、全角或看不见的字符"),
    )
    return next((advice for found, advice in slips if found), "")


def read_level(text: str) -> int:
    """A log level by name or number: 'debug' -> 10, '25' -> 25."""
    level = int(text) if text.isdecimal() else logging.getLevelName(text.upper())
    if not isinstance(level, int) or level > 1000:
        raise Malformed("例如 INFO、DEBUG，或者 0 到 1000 的数字")
    return level


def read_address(text: str) -> str:
    """A web address, https unless it says http, without a trailing slash: 'a.com/' -> 'https://a.com'."""
    parts = urlsplit(text if "://" in text else "https://" + text)
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise Malformed("网址不要带 ? 或 #")
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", parts.netloc):
        raise Malformed("应该是 https:// 开头的网址")
    if parts.netloc in ("http", "https") or parts.port == 0 or not re.fullmatch(r"[!-~]*", parts.path):
        raise Malformed("应该是 https:// 开头的网址")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def read_endpoint(text: str) -> str:
    """A web address without a path: the SDKs add their own."""
    address = read_address(text)
    if address.count("/") > 2:
        raise Malformed("网址不要带路径")
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


# --- readers of settings ---

ACCELERATE = "传输加速的地址不是地域，请填 Bucket 所在的地域，例如 us-west-1"
# What is no option of one request for one answer: what the function sets itself, how the answer comes, calls of
# functions, arguments of the openai package.
NO_OPTIONS = {
    *("messages", "model", "n", "input", "prompt", "stream", "stream_options", "audio", "modalities"),
    *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"),
    *("extra_body", "extra_headers", "extra_query", "timeout", "max_retries", "api_key", "base_url", "headers"),
}


def read_base_url(text: str) -> str:
    """The address of a service; one that ends in /chat/completions is taken as it is, see openai_client."""
    address = read_address(text)
    if re.search(r"/v\d\w*/(chat|completions|responses|messages|models|embeddings|images/generations)$", address):
        raise Malformed("应该是服务的地址，或者以 /chat/completions 结尾的完整地址")
    return address


def read_dingtalk_api(text: str) -> str:
    """An https address, or an http one of this machine, to try things: the AppSecret goes there."""
    address = read_endpoint(text)
    if address.startswith("http://") and not is_loopback(address):
        raise Malformed("应该是 https:// 开头的网址")
    return address


def is_loopback(address: str) -> bool:
    """Whether a web address is one of this machine."""
    return urlsplit(address).hostname in ("localhost", "127.0.0.1")


def read_region(text: str) -> str:
    """The id of a region, also out of an endpoint: 'oss-us-west-1-internal.aliyuncs.com' -> 'us-west-1'."""
    if "accelerate" in text.lower():
        raise Malformed(ACCELERATE)
    pattern = r"(?:https?://)?(?:oss-)?([a-z]+(?:-[a-z0-9]+)+?)(?:-internal)?(?:\.aliyuncs\.com)?/?"
    region = re.fullmatch(pattern, text.lower())
    if not region:
        raise Malformed(slip_in(text, "OSS_REGION") or "例如 us-west-1")
    return region[1]


def read_options(text: str) -> dict[str, Any]:
    """A JSON object for the request, without NO_OPTIONS."""
    if text[0] in QUOTES:
        raise Malformed("不要加引号")
    try:
        options = json.loads(text, parse_constant=no_number, parse_float=finite, object_pairs_hook=without_repeats)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("应该是 JSON 对象，引号、冒号和逗号都用半角") from None
    if not isinstance(options, dict):
        raise Malformed("应该是 JSON 对象，用 { } 括起来")
    bad = [key for key in options if key.strip().lower() in NO_OPTIONS or not key.strip()]
    if bad:
        raise Malformed(f"不能有 {'、'.join(key.strip().lower() or '空的名称' for key in bad)}")
    return options


def no_number(name: str) -> None:
    """Malformed: NaN and Infinity are no JSON, though Python reads them."""
    raise Malformed(f"不能有 {name}")


def finite(text: str) -> float:
    """The number; Malformed if it is as large as 1e999, which Python reads as infinite."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Malformed("里面的数太大")
    return number


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; Malformed if a name occurs twice, of which Python would take the last."""
    if len(dict(pairs)) < len(pairs):
        raise Malformed("不能有重复的名称")
    return dict(pairs)


def option_warnings(options: dict[str, Any]) -> list[str]:
    """What OpenAI would not take of CHATGPT_OPTIONS, for the self-check: compatible services may take it."""
    request = openai.types.chat.completion_create_params.CompletionCreateParamsNonStreaming
    known = {name: value for name, value in options.items() if name in request.__annotations__}
    warnings = [
        f"{plain_words(name, 40)} 不是 OpenAI 的参数，只有兼容服务可能认识" for name in options if name not in known
    ]
    checked: Any = type("Checked", (openai.BaseModel,), {"__annotations__": {"body": request}, "__module__": __name__})
    try:
        checked.model_validate({"body": {"model": "", "messages": [], **known}})
    except ValueError as error:  # pydantic's, which openai brings along
        bad = {problem["loc"][1] for problem in error.errors()}  # type: ignore[attr-defined]
        warnings += [f"{name} 的值不是 OpenAI 规定的那样" for name in known if name in bad]
    return warnings


def read_list(text: str) -> tuple[str, ...]:
    """Ids between commas, semicolons, blanks or line breaks; one at least, for none would mean everybody."""
    texts = tuple(part.strip(QUOTES + "[]") for part in re.split(r"[,，、;；\s]+", text))
    texts = tuple(filter(None, texts))
    if not texts:
        raise Malformed("一个也没有")
    if not all(part.isascii() and part.isprintable() for part in texts):
        raise Malformed("要填 ID，不是姓名或群名")
    return texts


def read_hosts(text: str) -> tuple[str, ...]:
    """Names of hosts, as in a list."""
    hosts = tuple(host.lower() for host in read_list(text))
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) for host in hosts):
        raise Malformed("只填域名，例如 dingtalk.com")
    return hosts
