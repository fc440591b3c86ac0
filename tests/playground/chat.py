"""The chats of the playground: who says what where, what people see, and what is switched to go wrong."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

import requests

from tests.playground.kinds import EXAMPLE_PICTURE, KINDS, of_language, replied
from tests.stand_ins import openai_api, openai_pictures, oss
from tests.stand_ins.dingtalk import VISITOR, XIAODING, XIAOMING, Message, Person, Shown, refusal_fault
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, LocalCloud
from tests.stand_ins.server import Fault, Received, StandIn

XIAOHONG = Person("小红", "0258369147", "$:LWCP_v1:$user+Zx9s0004==")
PEOPLE = {person.nick: person for person in (XIAODING, XIAOMING, XIAOHONG, VISITOR)}
ENGLISH = {"小钉": "Ann", "小明": "Ming", "小红": "Hong", "访客": "Visitor"}  # on the English page
GROUP = "测试群"
MAX_FILE_BYTES = 6 * 1024 * 1024  # more than the bot looks at: what it says then can be seen

PUSH_SECONDS = 20  # DingTalk waits 2.5; a cold start on a slow laptop may take longer, and here nobody repeats it
SLOW_SECONDS = 8
MAX_MESSAGES = 1000  # then one must start over: everything that happened stays in memory
ALWAYS = 1_000_000_000  # times, for a fault that a switch turns on and off
SWITCHES = ("chatgpt_slow", "chatgpt_balance", "chatgpt_down", "oss_down", "webhook_refuses", "fc_repeats")


class Refused(Exception):
    """Something that cannot be done here; the page shows the sentence."""


@dataclasses.dataclass
class Sent:
    """A message as a person sees it when it is sent."""

    number: int
    place: str  # "private" or "group"
    person: Person
    kind: str  # of KINDS
    text: str  # the words, the name of the file, or what else stands in the bubble
    quotation: str
    picture: bytes  # b"" if none goes with it
    message: Message
    at: float  # time.monotonic()
    under_way: int = 0  # deliveries that DingTalk waits for
    repeats: list[tuple[float, int]] = dataclasses.field(default_factory=list)  # when, and how many answers it had


class Chat:
    """All chats with the bot: one group, and one private chat with everybody."""

    def __init__(self, cloud: LocalCloud, real_model: bool = False) -> None:
        self.cloud = cloud
        self.real_model = real_model
        self.sent: list[Sent] = []
        self.switches: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._given = {name: dict(given) for name, given in cloud.given.items()}  # at the start
        self._began = time.time() - time.monotonic()  # what turns time.monotonic() into the time of day
        self._plan_faults()

    def start_over(self) -> None:
        """Forget every message, the chat history in OSS and every fault."""
        with self._lock:
            self.sent.clear()
            self.switches = frozenset()
            self.cloud.reset()
            self._plan_faults()

    # -- people write -------------------------------------------------------------------------------------

    def send(
        self,
        nick: str,
        place: str,
        kind: str = "text",
        text: str = "",
        quotation: str = "",
        attachment: bytes = b"",
        name: str = "",
        quoted: int = 0,
        english: bool = False,
    ) -> Sent:
        """A new message, which is delivered meanwhile; Refused says why there can be none.

        `attachment` is the picture or, with a `name`, the file that goes with it; without one, it is the example.
        `quotation` is what stands above the words, `quoted` the number of the message that it is, 0 for an answer.
        """
        problem = what_is_wrong(nick, place, kind, text, attachment)
        if problem:
            raise Refused(problem)
        what = KINDS[kind]
        if attachment and kind == "picture" and place == "group":
            kind, what = "rich_text", KINDS["rich_text"]  # in a group the @ goes with it
        picture = (attachment or EXAMPLE_PICTURE.read_bytes()) if what.picture else b""
        file = (name or "file.txt", attachment) if what.files and attachment else of_language(what.files, english)
        person = dataclasses.replace(PEOPLE[nick], nick=ENGLISH[nick]) if english else PEOPLE[nick]
        quote = quotation and (replied(self.find(quoted).message) if quoted else of_the_bot(quotation))
        with self._lock:
            if len(self.sent) >= MAX_MESSAGES:
                raise Refused(f"已经有 {MAX_MESSAGES} 条消息，请清空重来。That is {MAX_MESSAGES} messages: start over.")
            message = self.cloud.dingtalk.message(
                text if what.written else None,
                person=person,
                group=GROUP if place == "group" else None,
                kind=what.data,
                picture=picture or None,
                file=file,
                **(of_language(what.fields, english) or {}),
            )
            if quote:
                message["text"].update(isReplyMsg=True, repliedMsg=quote)
            shown = text if what.written else of_language(what.shown, english) or (file[0] if file else "")
            number = len(self.sent) + 1
            sent = Sent(number, place, PEOPLE[nick], kind, shown, quotation, picture, message, time.monotonic())
            self.sent.append(sent)
        self.deliver(sent)
        return sent

    def deliver(self, sent: Sent) -> None:
        """Push the message to the bot, in a thread of its own: the first time, or again as DingTalk may do."""

        def push() -> None:
            try:
                self.cloud.dingtalk.deliver(sent.message, timeout=PUSH_SECONDS)
            finally:
                sent.under_way -= 1

        sent.under_way += 1
        threading.Thread(target=push, daemon=True).start()

    def deliver_again(self, sent: Sent) -> None:
        """The same message once more, as DingTalk does when it thinks that the bot did not take it."""
        sent.repeats.append((time.monotonic(), len(self.shown(sent))))
        self.deliver(sent)

    def find(self, number: int) -> Sent:
        """The message with this number."""
        if not 1 <= number <= len(self.sent):
            raise Refused("没有这样的消息。There is no such message.")
        return self.sent[number - 1]

    # -- people read --------------------------------------------------------------------------------------

    def bubbles(self) -> list[dict[str, Any]]:
        """What stands in all chats, oldest first; of the bot where `from` is ''."""
        bubbles: list[tuple[float, dict[str, Any]]] = []
        for sent in list(self.sent):
            chat = {"place": sent.place, "owner": sent.person.nick, "message": sent.number}
            words: dict[str, Any] = {"kind": sent.kind, "text": sent.text, "quotation": sent.quotation}
            if sent.kind == "voice":
                words["seconds"] = sent.message["content"]["duration"] // 1000
            if sent.picture:
                words["picture"] = bool(picture_type(sent.picture))
            bubbles.append((sent.at, {"id": f"{sent.number}", "from": sent.person.nick, **chat, **words}))
            for part, shown in enumerate(self.shown(sent)):
                kind = "markdown" if shown.kind == "markdown" else "answer"
                at = [
                    {"id": person.staff_id, "nick": person.nick}
                    for person in PEOPLE.values()
                    if person.staff_id in shown.at_user_ids
                ]
                words = {"kind": kind, "text": shown.text}
                bubbles.append((shown.at, {"id": f"{sent.number}-{part}", "from": "", "at": at, **chat, **words}))
            for repeat, (repeated_at, answers) in enumerate(sent.repeats):
                outcome = self._outcome(sent, answers)
                note = {"id": f"{sent.number}-again-{repeat}-{outcome}", "from": "", "kind": "note", "text": outcome}
                bubbles.append((repeated_at, {**note, **chat}))
        bubbles.sort(key=lambda bubble: bubble[0])
        return [{**bubble, "time": self._time_of_day(at)} for at, bubble in bubbles]

    def shown(self, sent: Sent) -> list[Shown]:
        """What the bot answered to a message."""
        return self.cloud.dingtalk.shown(sent.message)

    def _outcome(self, sent: Sent, answers: int) -> str:
        """What came of delivering again a message that had this many answers."""
        if len(self.shown(sent)) > answers:
            return "answered"
        if self.busy(sent):
            return "under_way"
        return "answered_before" if answers else "not_answered"

    def busy(self, sent: Sent) -> bool:
        """Whether a delivery or a run of this message is under way."""
        msg_id = sent.message["msgId"].encode()
        runs = any(not each.done and msg_id in each.event for each in list(self.cloud.function_compute.invocations))
        return runs or sent.under_way > 0

    def thinking(self, sent: Sent) -> bool:
        """Whether people see the emoji on the message."""
        msg_id, emotions = sent.message["msgId"], list(self.cloud.dingtalk.api.emotions)
        return [emotion.verb for emotion in emotions if emotion.message_id == msg_id][-1:] == ["reply"]

    def time_of(self, at: float) -> float:
        """What the clock showed at this time.monotonic(), in seconds since 1970."""
        return self._began + at

    def _time_of_day(self, at: float) -> str:
        return time.strftime("%H:%M", time.localtime(self.time_of(at)))

    # -- what goes wrong ----------------------------------------------------------------------------------

    def switch(self, names: list[str]) -> None:
        """Let exactly these faults happen from now on."""
        unknown = set(names) - set(SWITCHES)
        if unknown:
            raise Refused("没有这样的故障。There is no such fault.")
        self.switches = frozenset(names)
        self.cloud.function_compute.run_twice(REPLY, ALWAYS if "fc_repeats" in names else 0)

    def _plan_faults(self) -> None:
        """Faults that wait for their switch; the first one that is on is the one that a request meets."""

        def planned(stand_in: StandIn, name: str, fault: Fault) -> None:
            where = fault.where
            stand_in.plan(
                dataclasses.replace(
                    fault, where=lambda received: name in self.switches and where(received), times=ALWAYS
                )
            )

        def asks(received: Received) -> bool:
            return received.path.endswith("/chat/completions")

        chatgpt, cloud = self.cloud.openai_api, self.cloud
        planned(chatgpt, "chatgpt_balance", openai_api.error_fault("insufficient_quota", where=asks))
        planned(chatgpt, "chatgpt_down", openai_api.error_fault("server_error", where=asks))
        planned(chatgpt, "chatgpt_slow", Fault(where=asks, delay=SLOW_SECONDS))
        planned(cloud.oss, "oss_down", oss.error_fault("ServiceUnavailable"))
        planned(cloud.dingtalk, "webhook_refuses", refusal_fault(-1, "系统繁忙"))

    # -- settings -----------------------------------------------------------------------------------------

    def set_environment(self, changes: dict[str, dict[str, str | None]]) -> None:
        """Environment variables of both functions, which are restarted with them; None takes one back to the start."""
        with self._lock:
            before = {name: dict(self.cloud.given[name]) for name in (CONVERSATION, REPLY)}
            for name, given in self.cloud.given.items():
                for variable, value in changes.get(name, {}).items():
                    if value is None:
                        value = self._given[name].get(variable)
                    if value is None:
                        given.pop(variable, None)
                    else:
                        given[variable] = value
            try:
                self.cloud.deploy()
            except ValueError as error:
                self.cloud.given.update(before)
                raise Refused(f"函数计算不接受这些环境变量。Function Compute does not take these: {error}") from error

    def self_check(self) -> dict[str, str]:
        """What both functions say about their own settings, as a deployer sees it."""
        with requests.Session() as session:
            session.trust_env = False  # a proxy of this machine must not see a request to 127.0.0.1
            page = session.get(self.cloud.dingtalk.bot_url or "", timeout=PUSH_SECONDS).text
        report = self.cloud.invoke(REPLY, b"{}")
        return {CONVERSATION: page, REPLY: "\n".join(f"{part}: {finding}" for part, finding in report.items())}


def what_is_wrong(nick: str, place: str, kind: str, text: str, attachment: bytes) -> str:
    """Why there can be no such message; '' if there can."""
    if nick not in PEOPLE or place not in ("private", "group") or kind not in KINDS:
        return "没有这样的消息。There is no such message."
    what = KINDS[kind]
    if place == "group" and not what.in_group:
        return "群里的这种消息，钉钉不会发给机器人。DingTalk gives the bot no such message from a group."
    if what.written and not text.strip():
        return "请先输入要说的话。Please write something first."
    if attachment and not (what.picture or what.files):
        return "这种消息不带图片和文件。This kind of message has no picture and no file."
    if len(attachment) > MAX_FILE_BYTES:
        return "图片和文件不能超过 6 MB。A picture or file has at most 6 MB."
    return ""


def of_the_bot(words: str) -> dict[str, Any]:
    """What an answer is in a message that quotes it."""
    return {"msgType": "text", "content": {"text": words}}


def picture_type(data: bytes) -> str:
    """The media type of a picture that a browser and the bot can show, by its first bytes; '' for anything else."""
    return next((f"image/{name}" for name, start in openai_pictures.SIGNATURES.items() if data.startswith(start)), "")
