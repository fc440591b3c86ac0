"""Local DingTalk: signs and posts messages to the bot, and takes its replies on the session webhook.

A reply that DingTalk refuses is refused here, with its errcode inside an HTTP 200. The documents name the codes, but
neither the order of the checks nor, for most codes, the exact condition. The order here is that of `_problem`; a
comment at a check says what it assumes.

https://open.dingtalk.com/document/development/receive-message
https://open.dingtalk.com/document/dingstart/robot-message-type
https://open.dingtalk.com/document/development/robot-reply-and-send-messages
https://open.dingtalk.com/document/development/custom-robots-send-group-messages
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import requests

from .dingtalk_api import API_PATH, FILE_PATH, DingtalkApi
from .dingtalk_media import UPLOAD_PATH
from .server import Answer, Fault, Received, StandIn, json_answer

DATA = Path(__file__).parent.parent / "data"

REPLY_PATH = "/robot/sendBySession"
SHOWN_SECONDS = 30.0  # for a reply, on a machine that is busy
PUSH_TIMEOUT_SECONDS = 2.5  # documented for DingTalk's events; unknown for HTTP robots
SESSION_MS = 5_400_000  # a session webhook lives 90 minutes
MAX_REPLY_BYTES = 20_000
MAX_AT_USERS = 50
MAX_MARKDOWN_CHARACTERS = 3_500  # DingTalk accepts a longer one but does not show it (others report about this number)

MEDIA = re.compile(r"!\[[^\]\n]*\]\((@[^()\s]+)\)")  # a picture in Markdown, by its media_id
HTTP_ANSWER_TYPES = ("text", "markdown", "actionCard", "feedCard")  # shown when the bot answers the push with one
NOT_IN_GROUPS = ("audio", "video", "file")  # DingTalk hands these to a robot in private chats only
# Message type -> the fields that it needs, as documented. Assumed: DingTalk refuses blank ones.
NEEDED_FIELDS: Mapping[str, tuple[str, ...]] = {
    "text": ("content",),
    "markdown": ("title", "text"),
    "link": ("title", "text", "messageUrl"),
    "actionCard": ("title", "text"),
    "feedCard": ("links",),
}

Message = dict[str, Any]


@dataclass(frozen=True)
class Person:
    """Someone who chats. A person from outside the organisation has no staff_id."""

    nick: str
    staff_id: str
    sender_id: str


def numbered_person(number: int) -> Person:
    """One of many."""
    return Person(f"小{number}", f"staff{number}", f"$:LWCP_v1:$user+{number}==")


XIAODING = Person("小钉", "manager4501", "$:LWCP_v1:$user+Zx9s0001==")
XIAOMING = Person("小明", "0147258602", "$:LWCP_v1:$user+Zx9s0002==")
VISITOR = Person("访客", "", "$:LWCP_v1:$user+Zx9s0003==")


@dataclass(frozen=True)
class Shown:
    """One bubble of the bot that people see."""

    at: float  # time.monotonic()
    conversation_id: str
    session: str  # of the message that it replies to
    kind: str  # the msgtype
    text: str
    title: str = ""
    at_user_ids: tuple[str, ...] = ()  # who gets the @: it takes the id in atUserIds and @id in the text
    by_http_answer: bool = False  # the bot sent it as its answer to the push, not to the session webhook


@dataclass(frozen=True)
class Delivery:
    """One push of a message to the bot, and what the bot answered."""

    message: Message
    status: int | None  # None: no answer in time
    answer: bytes
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.answer)

    @property
    def taken(self) -> bool:
        """Whether the bot took the message: the chat shows nothing yet."""
        return self.status == 200 and self.json == {"msgtype": "empty"}


class Refusal(NamedTuple):
    """A reply that nobody sees. errcode 0: the bot was told that all is well."""

    session: str
    errcode: int
    errmsg: str


@dataclass
class Session:
    """What a session webhook stands for."""

    conversation_id: str
    expires_ms: int


def signature(timestamp: str, secret: str) -> str:
    """The `sign` header for this `timestamp` header. The body is not signed."""
    signed = f"{timestamp}\n{secret}".encode()
    return base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


class Dingtalk(StandIn):
    """DingTalk with one robot, while its `with` block lasts. Set `bot_url` before the first delivery."""

    def __init__(
        self,
        app_secret: str = "example-app-secret",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.app_secret = app_secret
        self.clock = clock
        self.bot_url: str | None = None
        self.api = DingtalkApi(lambda: self.url, lambda: self.app_secret, lambda: self.clock())
        self.refusals: list[Refusal] = []
        self._shown: list[Shown] = []
        self._sessions: dict[str, Session] = {}
        self._changed = threading.Condition()  # guards the three above

    def reset(self) -> None:
        """Also forget what was shown and end every session."""
        super().reset()
        self.api.reset()
        with self._changed:
            self.refusals.clear()
            self._shown.clear()
            self._sessions.clear()

    # -- people write -------------------------------------------------------------------------------------

    def message(
        self,
        text: str | None = None,
        *,
        person: Person = XIAODING,
        group: str | None = None,
        kind: str = "text",
        picture: bytes | Sequence[bytes] | None = None,
        file: tuple[str, bytes] | None = None,
        **changes: Any,
    ) -> Message:
        """A valid new message of `person`, privately or in the group with that title.

        `kind` is the name of a file in tests/data; "text" stands for the plain text message. `text` replaces the
        words of the file (of an audio message: what was recognised). `picture`, with kind="picture", or several with
        kind="rich_text", and `file`, its name and content, can be downloaded. `changes` replace top-level fields at
        the end.
        """
        if file is not None:
            kind = "file"
        message: Message = json.loads(example("text_private" if kind == "text" else kind))
        if group is None:
            group = message.get("conversationTitle")  # text_group and text_group_quote are group messages by themselves
        if group is not None and message["msgtype"] in NOT_IN_GROUPS:
            raise ValueError(f"DingTalk delivers no {message['msgtype']} message from a group")
        now_ms = int(self.clock() * 1000)
        session = uuid.uuid4().hex
        message.update(
            conversationId=conversation_id(person, group),
            msgId=opaque_id("msg", uuid.uuid4().hex),
            senderNick=person.nick,
            senderStaffId=person.staff_id,  # '' or missing for outsiders: both are documented as possible
            senderId=person.sender_id,
            createAt=now_ms,
            sessionWebhookExpiredTime=now_ms + SESSION_MS,
            sessionWebhook=f"{self.url}{REPLY_PATH}?session={session}",
        )
        if group is not None:
            at_users = [{"dingtalkId": message["chatbotUserId"]}]
            message.update(conversationType="2", conversationTitle=group, isInAtList=True, atUsers=at_users)
        if text is not None:
            replace_words(message, text)
        if picture is not None:
            pictures = [picture] if isinstance(picture, bytes) else picture
            attach_pictures(message, [self.api.keep(one) for one in pictures])
        if file is not None:
            message["content"].update(fileName=file[0], downloadCode=self.api.keep(file[1]))
        if group is not None and "text" in message:
            message["text"]["content"] = " " + message["text"]["content"].lstrip(" ")  # what is left after the @
        message.update(changes)
        with self._changed:
            self._sessions[session] = Session(message["conversationId"], now_ms + SESSION_MS)
        return message

    def deliver(
        self,
        message: Message,
        *,
        secret: str | None = None,
        body: bytes | None = None,
        timeout: float = PUSH_TIMEOUT_SECONDS,
    ) -> Delivery:
        """Push `message` to the bot once; show its answer in the chat if it is a message.

        `secret` and `body` replace the right ones. Without an answer in time the Delivery has no status; without a
        connection requests raises its own exception.
        """
        if self.bot_url is None:
            raise RuntimeError("set bot_url first: the address that receives the messages")
        timestamp = str(int(self.clock() * 1000))
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "timestamp": timestamp,
            "sign": signature(timestamp, self.app_secret if secret is None else secret),
        }
        if body is None:
            body = json.dumps(message, ensure_ascii=False).encode()
        started = time.monotonic()
        try:
            with requests.Session() as session:
                session.trust_env = False  # a proxy of this machine must not see a request to 127.0.0.1
                answer = session.post(
                    self.bot_url,
                    data=body,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,  # assumed
                )
        except requests.ReadTimeout:
            return Delivery(message, None, b"", time.monotonic() - started)
        delivery = Delivery(message, answer.status_code, answer.content, time.monotonic() - started, answer.headers)
        self._show_http_answer(delivery)
        return delivery

    def redeliver(self, message: Message, times: int = 1, **how: Any) -> list[Delivery]:
        """Push the same message again with a new timestamp, as DingTalk does when it got no answer."""
        return [self.deliver(message, **how) for _ in range(times)]

    def say(self, text: str | None = None, **same: Any) -> Delivery:
        """`message` and `deliver` in one; takes what `message` takes."""
        return self.deliver(self.message(text, **same))

    def ask(self, text: str | None = None, *, timeout: float = SHOWN_SECONDS, **same: Any) -> str:
        """Say it, wait for the first reply to it, and return its text."""
        delivery = self.say(text, **same)
        try:
            return self.wait_shown(1, delivery.message, timeout)[0].text
        except TimeoutError as error:
            answered = f"the bot answered the push with {delivery.status} {delivery.answer[:200]!r}"
            raise TimeoutError(f"{error}; {answered}") from None

    # -- people read --------------------------------------------------------------------------------------

    def shown(self, of: Message | str | None = None) -> list[Shown]:
        """What people see, in order: replies to one message, in one conversation (its id), or all."""
        with self._changed:
            return self._select(of)

    def wait_shown(
        self, count: int = 1, message: Message | str | None = None, timeout: float = SHOWN_SECONDS
    ) -> list[Shown]:
        """`shown(message)` as soon as it has at least `count` bubbles."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._select(message)) >= count, timeout):
                seen = len(self._select(message))
                raise TimeoutError(f"{seen} of {count} replies shown after {timeout:g} s; refused: {self.refusals}")
            return self._select(message)

    def pictures(self, shown: Shown) -> list[bytes]:
        """The pictures in a bubble: those that were uploaded before and that Markdown names by their media_id."""
        named = MEDIA.findall(shown.text) if shown.kind == "markdown" else []
        return [self.api.media[media_id] for media_id in named if media_id in self.api.media]

    def _select(self, of: Message | str | None) -> list[Shown]:
        if of is None:
            return list(self._shown)
        if isinstance(of, str):
            return [shown for shown in self._shown if shown.conversation_id == of]
        session = session_of(of)
        return [shown for shown in self._shown if shown.session == session]

    # -- what can go wrong --------------------------------------------------------------------------------

    def refuse_next(self, errcode: int | str, errmsg: str, times: int = 1) -> None:
        """Answer the next replies with this errcode in an HTTP 200 and show nothing."""
        self.plan(refusal_fault(errcode, errmsg, times=times))

    # -- the bot replies ----------------------------------------------------------------------------------

    def respond(self, received: Received) -> Answer:
        if received.path.startswith((API_PATH, FILE_PATH)) or received.path == UPLOAD_PATH:
            return self.api.respond(received)
        if received.path != REPLY_PATH:
            return Answer(404)
        if received.method != "POST":
            return Answer(405)
        session = received.query.get("session", "")
        problem = self._problem(session, received.media_type, received.body)
        if problem is None:
            reply = json.loads(received.body)
            problem = invisible(reply)
            if problem is None:
                self._show(bubble(reply, self._sessions[session].conversation_id, session))
        if problem is None:
            return json_answer({"errcode": 0, "errmsg": "ok"})
        errcode, errmsg = problem
        with self._changed:
            self.refusals.append(Refusal(session, errcode, errmsg))
        return json_answer({"errcode": errcode, "errmsg": errmsg if errcode else "ok"})

    def _problem(self, session: str, media_type: str, body: bytes) -> tuple[int, str] | None:
        """errcode and errmsg of the first thing that DingTalk would refuse."""
        if media_type != "application/json":
            return 43004, "无效的HTTP HEADER Content-Type"
        try:
            reply = json.loads(body)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            return 40035, "缺少参数 json"
        return (
            self._session_problem(session)
            or size_problem(body)
            or content_problem(reply)
            or at_problem(reply.get("at", {}))
        )

    def _session_problem(self, session: str) -> tuple[int, str] | None:
        with self._changed:
            known = self._sessions.get(session)
            if known is None or known.expires_ms <= self.clock() * 1000:
                return 300001, "session 不存在"
        return None

    def _show_http_answer(self, delivery: Delivery) -> None:
        """Show the answer to the push if it is a message. Assumed: an @ in it does nothing."""
        try:
            reply = delivery.json
        except ValueError:
            return
        if delivery.status != 200 or not isinstance(reply, dict) or reply.get("msgtype") not in HTTP_ANSWER_TYPES:
            return
        session = session_of(delivery.message)
        problem = size_problem(delivery.answer) or content_problem(reply) or invisible(reply)
        if problem is None:
            conversation = delivery.message.get("conversationId", "")
            self._show(bubble({**reply, "at": {}}, conversation, session, by_http_answer=True))
        else:
            with self._changed:
                self.refusals.append(Refusal(session, *problem))

    def _show(self, shown: Shown) -> None:
        with self._changed:
            self._shown.append(shown)
            self._changed.notify_all()


# -- messages -----------------------------------------------------------------------------------------------


@functools.cache
def example(name: str) -> str:
    return (DATA / f"{name}.json").read_text(encoding="utf-8")


def opaque_id(prefix: str, meaning: str) -> str:
    """An id in the documented form, always with a + and a /: no test passes by luck without percent-encoding it."""
    letters = base64.b64encode(hashlib.sha256(meaning.encode()).digest()[:16]).decode()
    return f"{prefix}{letters[:6]}+{letters[7:13]}/{letters[14:]}"


def conversation_id(person: Person, group: str | None) -> str:
    """The id of the group with this title, or of the private chat with this person; always the same."""
    return opaque_id("cid", f"private {person.sender_id}" if group is None else f"group {group}")


def session_of(message: Message) -> str:
    """The session in the message's webhook address; '' if it has none."""
    query = parse_qs(urlsplit(str(message.get("sessionWebhook", ""))).query)
    return query.get("session", [""])[0]


def replace_words(message: Message, text: str) -> None:
    if "text" in message:
        message["text"]["content"] = text
    elif message["msgtype"] == "audio":
        message["content"]["recognition"] = text
    elif message["msgtype"] == "richText":
        pictures = [part for part in message["content"]["richText"] if "text" not in part]
        message["content"]["richText"] = [{"text": text}, *pictures]
    else:
        raise ValueError("this kind of message has no words to replace")


def attach_pictures(message: Message, codes: list[str]) -> None:
    """The pictures with these codes, in the place of those that the message has."""
    if message["msgtype"] == "picture":
        (message["content"]["downloadCode"],) = codes
    else:
        words = [part for part in message["content"]["richText"] if "text" in part]
        pictures = [{"pictureDownloadCode": "pWjA1ex==", "downloadCode": code, "type": "picture"} for code in codes]
        message["content"]["richText"] = [*words[:1], *pictures, *words[1:]]


def refusal_fault(
    errcode: int | str, errmsg: str, *, where: Callable[[Received], bool] = lambda received: True, times: int = 1
) -> Fault:
    """A planned refusal of replies: this errcode in an HTTP 200."""
    body = json.dumps({"errcode": errcode, "errmsg": errmsg}, ensure_ascii=False)
    return Fault(
        where=lambda received: received.path == REPLY_PATH and where(received),
        times=times,
        status=200,
        body=body,
    )


# -- checks of a reply --------------------------------------------------------------------------------------


def size_problem(body: bytes) -> tuple[int, str] | None:
    """Assumed: the whole body counts as sent, and an escape like \\u4f60 counts as six bytes."""
    if len(body) > MAX_REPLY_BYTES:
        return 460101, f"消息内容过长：{len(body)} 字节，上限 {MAX_REPLY_BYTES} 字节"
    return None


def content_problem(reply: Mapping[str, Any]) -> tuple[int, str] | None:
    """Assumed: a missing or empty field has the code of a missing body, 40035."""
    kind = reply.get("msgtype")
    if not isinstance(kind, str) or kind not in NEEDED_FIELDS:
        return 400105, "不支持的消息类型"
    content = reply.get(kind)
    if not isinstance(content, dict):
        return 40035, f"缺少参数 {kind}"
    for name in NEEDED_FIELDS[kind]:
        value = content.get(name)
        good = links_are_good(value) if name == "links" else isinstance(value, str) and value.strip()
        if not good:
            return 40035, f"缺少参数 {kind}.{name}"
    return None


def links_are_good(links: object) -> bool:
    return (
        isinstance(links, list) and bool(links) and all(isinstance(link, dict) and link.get("title") for link in links)
    )


def at_problem(at: object) -> tuple[int, str] | None:
    """Assumed: a wrong type and too many people have the code of a missing parameter."""
    if not isinstance(at, dict):
        return 40035, "参数 at 不是对象"
    for name in ("atUserIds", "atMobiles"):
        people = at.get(name, [])
        if not isinstance(people, list) or not all(isinstance(one, str) for one in people):
            return 40035, f"参数 at.{name} 不是字符串数组"
        if len(people) > MAX_AT_USERS:
            return 40035, f"参数 at.{name} 超过 {MAX_AT_USERS} 人"
    if not isinstance(at.get("isAtAll", False), bool):
        return 40035, "参数 at.isAtAll 不是布尔值"
    return None


def invisible(reply: Mapping[str, Any]) -> tuple[int, str] | None:
    """Why an accepted reply does not show; the bot is told errcode 0."""
    if reply["msgtype"] == "markdown" and len(reply["markdown"]["text"]) > MAX_MARKDOWN_CHARACTERS:
        return 0, f"markdown 超过 {MAX_MARKDOWN_CHARACTERS} 个字符，不显示"
    return None


def bubble(reply: Mapping[str, Any], conversation: str, session: str, *, by_http_answer: bool = False) -> Shown:
    """What people see of a reply that passed the checks."""
    kind = reply["msgtype"]
    content = reply[kind]
    if kind == "feedCard":
        text = "\n".join(link["title"] for link in content["links"])
    else:
        text = content["content" if kind == "text" else "text"]
    at = reply.get("at", {})
    return Shown(
        at=time.monotonic(),
        conversation_id=conversation,
        session=session,
        kind=kind,
        text=text,
        title=content.get("title", ""),
        at_user_ids=tuple(user for user in at.get("atUserIds", []) if f"@{user}" in text),
        by_http_answer=by_http_answer,
    )
