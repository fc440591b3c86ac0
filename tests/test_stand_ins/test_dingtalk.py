"""The local DingTalk: its messages, its signature, its pushes, and the replies that it takes or refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.stand_ins.dingtalk import (
    DATA,
    MAX_MARKDOWN_CHARACTERS,
    MAX_REPLY_BYTES,
    SESSION_MS,
    VISITOR,
    XIAODING,
    XIAOMING,
    Dingtalk,
    signature,
)
from tests.stand_ins.server import Answer, Fault, Received, StandIn, json_answer

COMMON_FIELDS = {
    "conversationId": str,
    "chatbotCorpId": str,
    "chatbotUserId": str,
    "msgId": str,
    "senderNick": str,
    "senderStaffId": str,
    "senderCorpId": str,
    "senderId": str,
    "senderPlatform": str,
    "isAdmin": bool,
    "createAt": int,
    "sessionWebhook": str,
    "sessionWebhookExpiredTime": int,
    "conversationType": str,
    "robotCode": str,
    "msgtype": str,
}
FILES = sorted(DATA.glob("*.json"))
GOOD = {"msgtype": "text", "text": {"content": "你好"}}
NOW = 1_795_334_400.0  # 2026-11-22T08:00:00Z


class EchoBot(StandIn):
    """Replies to every message on its session webhook with what it heard, then answers the push."""

    def __init__(self) -> None:
        super().__init__()
        self.push_answer: Any = {"msgtype": "empty"}
        self.replies = True

    def respond(self, received: Received) -> Answer:
        message = json.loads(received.body)
        if self.replies:
            heard = message.get("text", {}).get("content", message["msgtype"])
            post(message["sessionWebhook"], {"msgtype": "text", "text": {"content": f"听到：{heard.strip()}"}})
        return json_answer(self.push_answer)

    def reset(self) -> None:
        super().reset()
        self.push_answer = {"msgtype": "empty"}
        self.replies = True


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dingtalk, EchoBot]]:
    with Dingtalk() as dingtalk, EchoBot() as bot:
        yield dingtalk, bot


@pytest.fixture
def bot(servers: tuple[Dingtalk, EchoBot]) -> EchoBot:
    servers[1].reset()
    return servers[1]


@pytest.fixture
def dingtalk(servers: tuple[Dingtalk, EchoBot], bot: EchoBot) -> Dingtalk:
    """One DingTalk for all tests, with nothing left of the test before, that delivers to the echo bot."""
    servers[0].reset()
    servers[0].bot_url = bot.url + "/"
    return servers[0]


def post(webhook: str, reply: Any = GOOD, **how: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        if "data" not in how:
            how["json"] = reply
        return session.post(webhook, timeout=10, **how)


def errcode(webhook: str, reply: Any = GOOD, **how: Any) -> int:
    """The errcode, which comes in an HTTP 200 whatever it is."""
    answer = post(webhook, reply, **how)
    assert answer.status_code == 200
    assert set(answer.json()) == {"errcode", "errmsg"}
    code = answer.json()["errcode"]
    assert isinstance(code, int)
    return code


# -- the documented messages --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_data_file_is_a_message_with_the_common_fields(path: Path) -> None:
    """Each file is the full body of a push, as documented."""
    message = json.loads(path.read_text(encoding="utf-8"))
    for name, kind in COMMON_FIELDS.items():
        assert type(message[name]) is kind, name
    in_group = {"conversationTitle", "isInAtList", "atUsers"} & message.keys()
    assert len(in_group) == (3 if message["conversationType"] == "2" else 0)


def test_data_files_cover_every_message_type() -> None:
    """One file per type that a bot has to tell apart."""
    names = "audio file over_quota picture rich_text text_group text_group_quote text_private unknown video"
    assert " ".join(path.stem for path in FILES) == names


def test_group_text_is_the_quote_without_its_quotation() -> None:
    """The two files differ in the quotation only."""
    plain, quote = (
        json.loads((DATA / f"{name}.json").read_text("utf-8")) for name in ("text_group", "text_group_quote")
    )
    del quote["text"]["isReplyMsg"], quote["text"]["repliedMsg"]
    assert plain == quote


# -- making messages ----------------------------------------------------------------------------------------


def test_private_message_has_the_documented_fields(dingtalk: Dingtalk) -> None:
    """A message differs from the documented one in nothing but who, when and where."""
    before = time.time() * 1000 - 1
    message = dingtalk.message("在吗")
    documented = json.loads((DATA / "text_private.json").read_text("utf-8"))
    assert message.keys() == documented.keys()
    assert message["text"] == {"content": "在吗"}
    assert (message["conversationType"], message["msgtype"]) == ("1", "text")
    assert (message["senderNick"], message["senderStaffId"]) == ("小钉", "manager4501")
    assert before <= message["createAt"] <= time.time() * 1000
    assert message["sessionWebhookExpiredTime"] == message["createAt"] + SESSION_MS
    assert message["sessionWebhook"].startswith(dingtalk.url + "/robot/sendBySession?session=")


def test_group_message_begins_with_a_blank_and_names_the_group(dingtalk: Dingtalk) -> None:
    """What is left of the text after the @ was taken out."""
    message = dingtalk.message("在吗", group="测试群")
    assert message["text"] == {"content": " 在吗"}
    assert (message["conversationType"], message["conversationTitle"], message["isInAtList"]) == ("2", "测试群", True)
    assert message["atUsers"] == [{"dingtalkId": message["chatbotUserId"]}]


def test_bare_at_in_a_group_is_a_blank(dingtalk: Dingtalk) -> None:
    """Somebody @s the bot and says nothing."""
    assert dingtalk.message("", group="测试群")["text"]["content"] == " "


def test_conversations_keep_their_ids(dingtalk: Dingtalk) -> None:
    """One private chat per person, one group per title, all of them apart."""
    places: list[dict[str, Any]] = [{}, {"person": XIAOMING}, {"group": "甲"}, {"group": "乙"}]
    first, second = ([dingtalk.message(**place)["conversationId"] for place in places] for _ in range(2))
    assert first == second
    assert len(set(first)) == len(places)
    assert dingtalk.message(person=XIAOMING, group="甲")["conversationId"] == first[2]


def test_ids_look_like_the_documented_ones(dingtalk: Dingtalk) -> None:
    """Ids hold what must be quoted in a path or a query."""
    message = dingtalk.message()
    for name in ("conversationId", "msgId"):
        assert {"+", "/", "="} <= set(message[name])
    assert {"$", ":", "+", "="} <= set(message["senderId"])


def test_every_message_is_new(dingtalk: Dingtalk) -> None:
    """No two messages share an id or a session webhook."""
    messages = [dingtalk.message() for _ in range(100)]
    for name in ("msgId", "sessionWebhook"):
        assert len({message[name] for message in messages}) == 100


def test_outsider_has_no_staff_id(dingtalk: Dingtalk) -> None:
    """Someone who is not in the organisation."""
    message = dingtalk.message(person=VISITOR)
    assert (message["senderNick"], message["senderStaffId"]) == ("访客", "")
    assert message["senderId"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_kind_of_message_can_be_made(dingtalk: Dingtalk, path: Path) -> None:
    """The words and media are those of the file, the sender and the session are new."""
    documented = json.loads(path.read_text("utf-8"))
    message = dingtalk.message(kind=path.stem, person=XIAOMING)
    assert message.keys() == documented.keys()
    for name in ("msgtype", "text", "content", "conversationTitle", "errorCode"):
        assert message.get(name) == documented.get(name)
    assert message["senderStaffId"] == XIAOMING.staff_id
    assert message["msgId"] != documented["msgId"]


def test_text_is_what_was_recognised_in_an_audio_message(dingtalk: Dingtalk) -> None:
    """A voice can be made to say anything."""
    assert dingtalk.message("一加一等于几", kind="audio")["content"]["recognition"] == "一加一等于几"


def test_picture_with_words_cannot_be_made(dingtalk: Dingtalk) -> None:
    """A picture has nowhere to put them."""
    with pytest.raises(ValueError, match="no words"):
        dingtalk.message("看图", kind="picture")


@pytest.mark.parametrize("kind", ["audio", "video", "file"])
def test_group_has_no_media_of_this_kind(dingtalk: Dingtalk, kind: str) -> None:
    """DingTalk never delivers these from a group."""
    with pytest.raises(ValueError, match="from a group"):
        dingtalk.message(kind=kind, group="测试群")


def test_change_replaces_a_field(dingtalk: Dingtalk) -> None:
    """A test can spoil any field."""
    assert dingtalk.message(sessionWebhook="https://example.com/")["sessionWebhook"] == "https://example.com/"


# -- the push -----------------------------------------------------------------------------------------------


def test_signature_of_the_known_vector() -> None:
    """A literal timestamp and secret, and the sign that the documented code makes of them."""
    assert signature("1577262236757", "this is a secret") == "DJrE6qdyVGCQz9z5r2MDuNcNAhwYnuAkyj13cx169CA="


def test_push_is_signed_and_carries_the_message(dingtalk: Dingtalk, bot: EchoBot) -> None:
    """Headers and body are as documented."""
    message = dingtalk.message("在吗")
    delivery = dingtalk.deliver(message)
    [push] = bot.received
    assert (push.method, push.path) == ("POST", "/")
    assert push.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(push.body) == message
    timestamp = push.headers["timestamp"]
    assert abs(time.time() * 1000 - int(timestamp)) < 5_000
    digest = hmac.new(b"example-app-secret", f"{timestamp}\nexample-app-secret".encode(), hashlib.sha256).digest()
    assert push.headers["sign"] == base64.b64encode(digest).decode()
    assert (delivery.message, delivery.status, delivery.json) == (message, 200, {"msgtype": "empty"})
    assert 0 < delivery.seconds < 5


def test_clock_sets_the_times() -> None:
    """A test can live at any time."""
    with Dingtalk(clock=lambda: NOW) as dingtalk, EchoBot() as bot:
        dingtalk.bot_url = bot.url + "/"
        delivery = dingtalk.say("在吗")
        assert delivery.message["createAt"] == NOW * 1000
        assert bot.received[0].headers["timestamp"] == "1795334400000"


def test_push_with_another_secret_is_signed_wrong(dingtalk: Dingtalk, bot: EchoBot) -> None:
    """A message that DingTalk cannot have sent."""
    dingtalk.deliver(dingtalk.message(), secret="another")
    headers = bot.received[0].headers
    assert headers["sign"] == signature(headers["timestamp"], "another")


def test_body_of_a_push_can_be_replaced(dingtalk: Dingtalk, bot: EchoBot) -> None:
    """The signature does not cover it."""
    bot.replies = False
    assert dingtalk.deliver(dingtalk.message(), body=b"{}").status == 200
    assert bot.received[0].body == b"{}"


def test_redelivered_message_is_the_same_with_a_fresh_timestamp() -> None:
    """What DingTalk does when it saw no answer."""
    ticks = iter(range(10))
    with Dingtalk(clock=lambda: NOW + next(ticks)) as dingtalk, EchoBot() as bot:
        dingtalk.bot_url = bot.url + "/"
        bot.replies = False
        message = dingtalk.message()
        dingtalk.deliver(message)
        assert [delivery.status for delivery in dingtalk.redeliver(message, times=2)] == [200, 200]
        assert len({push.body for push in bot.received}) == 1
        assert len({push.headers["timestamp"] for push in bot.received}) == 3


def test_late_answer_is_no_answer(dingtalk: Dingtalk, bot: EchoBot) -> None:
    """DingTalk stops waiting; the reply on the webhook shows all the same."""
    bot.plan(Fault(delay_answer=0.3))
    message = dingtalk.message("在吗")
    delivery = dingtalk.deliver(message, timeout=0.1)
    assert (delivery.status, delivery.answer) == (None, b"")
    assert dingtalk.wait_shown(1, message)[0].text == "听到：在吗"


def test_bot_that_is_away_is_a_connection_error(dingtalk: Dingtalk) -> None:
    """Nobody listens at the address."""
    dingtalk.bot_url = "http://127.0.0.1:1/"
    with pytest.raises(requests.ConnectionError):
        dingtalk.say("在吗")


def test_missing_bot_address_is_explained(dingtalk: Dingtalk) -> None:
    """A mistake in a test, not in the bot."""
    dingtalk.bot_url = None
    with pytest.raises(RuntimeError, match="bot_url"):
        dingtalk.say("在吗")


# -- the bot's HTTP answer ----------------------------------------------------------------------------------


def test_message_in_the_http_answer_is_shown(dingtalk: Dingtalk, bot: EchoBot) -> None:
    """A bot may answer the push itself."""
    bot.replies = False
    bot.push_answer = {"msgtype": "markdown", "markdown": {"title": "错", "text": "**缺少设置**"}}
    delivery = dingtalk.say("在吗")
    [shown] = dingtalk.shown(delivery.message)
    assert (shown.kind, shown.title, shown.text, shown.by_http_answer) == ("markdown", "错", "**缺少设置**", True)


@pytest.mark.parametrize(
    "answer",
    [{"msgtype": "empty"}, {}, [], None, "text", {"msgtype": "text"}, {"msgtype": "text", "text": {"content": ""}}],
)
def test_http_answer_without_a_message_shows_nothing(dingtalk: Dingtalk, bot: EchoBot, answer: Any) -> None:
    """Nothing to show is no error."""
    bot.replies = False
    bot.push_answer = answer
    assert dingtalk.say("在吗").status == 200
    assert dingtalk.shown() == []


def test_http_answer_of_an_error_shows_nothing(dingtalk: Dingtalk, bot: EchoBot) -> None:
    """Only a 200 is shown."""
    bot.plan(Fault(status=500, body=json.dumps(GOOD)))
    assert dingtalk.say("在吗").status == 500
    assert dingtalk.shown() == []


# -- replies on the session webhook -------------------------------------------------------------------------

ACCEPTED = [
    ({"msgtype": "text", "text": {"content": "你好"}}, "", "你好"),
    ({"msgtype": "markdown", "markdown": {"title": "会议", "text": "**明天**"}}, "会议", "**明天**"),
    ({"msgtype": "link", "link": {"title": "页", "text": "看", "messageUrl": "https://example.com/"}}, "页", "看"),
    ({"msgtype": "actionCard", "actionCard": {"title": "卡", "text": "选", "singleTitle": "好"}}, "卡", "选"),
    ({"msgtype": "feedCard", "feedCard": {"links": [{"title": "一"}, {"title": "二"}]}}, "", "一\n二"),
]


@pytest.mark.parametrize(("reply", "title", "text"), ACCEPTED, ids=lambda value: str(value)[12:22])
def test_good_reply_is_shown(dingtalk: Dingtalk, reply: dict[str, Any], title: str, text: str) -> None:
    """Each type of message, in the conversation of the message it replies to."""
    message = dingtalk.message()
    assert post(message["sessionWebhook"], reply).json() == {"errcode": 0, "errmsg": "ok"}
    [shown] = dingtalk.shown(message["conversationId"])
    assert (shown.kind, shown.title, shown.text) == (reply["msgtype"], title, text)
    assert (shown.by_http_answer, shown.at_user_ids) == (False, ())


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ({"headers": {"Content-Type": "text/plain"}}, 43004),
        ({"data": b"", "headers": {"Content-Type": "application/json"}}, 40035),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 40035),
        ({"reply": []}, 40035),
        ({"reply": {"text": {"content": "你好"}}}, 400105),
        ({"reply": {"msgtype": "image", "image": {"content": "你好"}}}, 400105),
        ({"reply": {"msgtype": ["text"]}}, 400105),
        ({"reply": {"msgtype": "text"}}, 40035),
        ({"reply": {"msgtype": "text", "text": "你好"}}, 40035),
        ({"reply": {"msgtype": "text", "text": {"content": " \n"}}}, 40035),
        ({"reply": {"msgtype": "text", "text": {"content": 1}}}, 40035),
        ({"reply": {"msgtype": "markdown", "markdown": {"text": "你好"}}}, 40035),
        ({"reply": {"msgtype": "markdown", "markdown": {"title": "你好", "text": ""}}}, 40035),
        ({"reply": {"msgtype": "feedCard", "feedCard": {"links": []}}}, 40035),
        ({"reply": {**GOOD, "at": ["0147258602"]}}, 40035),
        ({"reply": {**GOOD, "at": {"atUserIds": "0147258602"}}}, 40035),
        ({"reply": {**GOOD, "at": {"atUserIds": [147258602]}}}, 40035),
        ({"reply": {**GOOD, "at": {"atUserIds": ["1"] * 51}}}, 40035),
        ({"reply": {**GOOD, "at": {"isAtAll": "false"}}}, 40035),
    ],
)
def test_spoiled_reply_is_refused_in_a_200(dingtalk: Dingtalk, spoil: dict[str, Any], code: int) -> None:
    """Each check stands on its own, and nobody sees the reply."""
    message = dingtalk.message()
    assert errcode(message["sessionWebhook"], **spoil) == code
    assert dingtalk.shown() == []
    assert [refusal.errcode for refusal in dingtalk.refusals] == [code]


@pytest.mark.parametrize(("size", "code"), [(-1, 0), (0, 0), (1, 460101)])
def test_reply_over_the_size_is_refused(dingtalk: Dingtalk, size: int, code: int) -> None:
    """The bytes of the body count, and the limit itself is allowed."""
    empty = len(json.dumps({"msgtype": "text", "text": {"content": ""}}))
    body = json.dumps({"msgtype": "text", "text": {"content": "x" * (MAX_REPLY_BYTES + size - empty)}})
    webhook = dingtalk.message()["sessionWebhook"]
    assert errcode(webhook, data=body, headers={"Content-Type": "application/json; charset=utf-8"}) == code


@pytest.mark.parametrize(("characters", "bubbles"), [(-1, 1), (0, 1), (1, 0)])
def test_markdown_over_the_limit_is_accepted_and_lost(dingtalk: Dingtalk, characters: int, bubbles: int) -> None:
    """The bot is told that all is well, and nobody sees the reply."""
    text = "字" * (MAX_MARKDOWN_CHARACTERS + characters)
    body = json.dumps({"msgtype": "markdown", "markdown": {"title": "长", "text": text}}, ensure_ascii=False).encode()
    message = dingtalk.message()
    assert errcode(message["sessionWebhook"], data=body, headers={"Content-Type": "application/json"}) == 0
    assert len(dingtalk.shown(message)) == bubbles
    assert len(dingtalk.refusals) == 1 - bubbles


def test_unknown_session_does_not_exist(dingtalk: Dingtalk) -> None:
    """Nobody can write to a conversation by guessing."""
    answer = post(dingtalk.url + "/robot/sendBySession?session=0123456789abcdef").json()
    assert answer == {"errcode": 300001, "errmsg": "session 不存在"}
    assert errcode(dingtalk.url + "/robot/sendBySession") == 300001


@pytest.mark.parametrize(("later_ms", "code"), [(SESSION_MS - 1, 0), (SESSION_MS, 300001), (SESSION_MS + 1, 300001)])
def test_session_ends_after_90_minutes(later_ms: int, code: int) -> None:
    """As sessionWebhookExpiredTime says."""
    now = [NOW]
    with Dingtalk(clock=lambda: now[0]) as dingtalk:
        message = dingtalk.message()
        now[0] += later_ms / 1000
        assert errcode(message["sessionWebhook"]) == code


@pytest.mark.parametrize(
    ("text", "at_user_ids", "expected"),
    [
        ("@0147258602 你好", ["0147258602"], ("0147258602",)),
        ("你好", ["0147258602"], ()),
        ("@0147258602 你好", [], ()),
    ],
)
def test_asker_is_told_only_if_named_twice(
    dingtalk: Dingtalk, text: str, at_user_ids: list[str], expected: tuple[str, ...]
) -> None:
    """An @ needs the id in `at` and in the text."""
    message = dingtalk.message(group="测试群", person=XIAOMING)
    reply = {"msgtype": "text", "text": {"content": text}, "at": {"atUserIds": at_user_ids, "isAtAll": False}}
    assert errcode(message["sessionWebhook"], reply) == 0
    assert dingtalk.shown(message)[0].at_user_ids == expected


def test_fifty_people_can_be_told(dingtalk: Dingtalk) -> None:
    """The limit itself is allowed."""
    assert errcode(dingtalk.message()["sessionWebhook"], {**GOOD, "at": {"atUserIds": ["1"] * 50}}) == 0


@pytest.mark.parametrize("code", [-1, 410100, "430101"])
def test_planned_refusal_shows_nothing(dingtalk: Dingtalk, code: int | str) -> None:
    """A test can have any errcode, also as text, and the service is well again afterwards."""
    message = dingtalk.message()
    dingtalk.refuse_next(code, "系统繁忙", times=2)
    answers = [post(message["sessionWebhook"]).json()["errcode"] for _ in range(3)]
    assert answers == [code, code, 0]
    assert len(dingtalk.shown(message)) == 1


# -- asking and waiting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [None, "测试群"])
def test_ask_returns_the_reply(dingtalk: Dingtalk, group: str | None) -> None:
    """The shortest way to talk to the bot."""
    assert dingtalk.ask("在吗", group=group) == "听到：在吗"
    assert dingtalk.ask("还在吗", group=group) == "听到：还在吗"


def test_ask_without_a_reply_says_what_happened(dingtalk: Dingtalk, bot: EchoBot) -> None:
    """The error names what the bot answered to the push."""
    bot.plan(Fault(status=403, body=b"no"))
    with pytest.raises(TimeoutError, match=r"0 of 1 replies shown after 0\.1 s.*answered the push with 403 b'no'"):
        dingtalk.ask("在吗", timeout=0.1)


def test_waiting_in_vain_names_what_was_refused(dingtalk: Dingtalk) -> None:
    """A reply that nobody sees leaves its errcode in the error."""
    message = dingtalk.message()
    errcode(message["sessionWebhook"], {"msgtype": "image"})
    with pytest.raises(TimeoutError, match=r"0 of 1 replies shown after 0 s; refused: .*errcode=400105"):
        dingtalk.wait_shown(1, message, timeout=0)


def test_shown_is_told_apart_by_message_and_conversation(dingtalk: Dingtalk) -> None:
    """Replies to one message, in one conversation, and all."""
    first = dingtalk.say("一", group="甲").message
    second = dingtalk.say("二", group="甲", person=XIAOMING).message
    dingtalk.say("三", person=XIAODING)
    assert [shown.text for shown in dingtalk.shown(second)] == ["听到：二"]
    assert [shown.text for shown in dingtalk.shown(first["conversationId"])] == ["听到：一", "听到：二"]
    assert len(dingtalk.wait_shown(3)) == 3


def test_reset_forgets_bubbles_and_sessions(dingtalk: Dingtalk) -> None:
    """A late reply to the test before does not show up in the next."""
    message = dingtalk.say("在吗").message
    dingtalk.reset()
    assert dingtalk.shown() == []
    assert errcode(message["sessionWebhook"]) == 300001


@pytest.mark.full
def test_two_hundred_people_at_once_each_see_their_reply(dingtalk: Dingtalk) -> None:
    """Nothing is lost or mixed up between threads."""

    def talk(number: int) -> bool:
        delivery = dingtalk.deliver(dingtalk.message(f"第 {number} 个", group=f"群 {number % 7}"), timeout=30)
        [shown] = dingtalk.wait_shown(1, delivery.message)
        return shown.text == f"听到：第 {number} 个" and shown.conversation_id == delivery.message["conversationId"]

    with ThreadPoolExecutor(200) as pool:
        assert all(pool.map(talk, range(200)))
    assert len(dingtalk.shown()) == 200


def test_words_of_rich_text_are_replaced_and_its_pictures_kept(dingtalk: Dingtalk) -> None:
    """As for text and voice."""
    parts = dingtalk.message("这是什么？", kind="rich_text")["content"]["richText"]
    assert [part.get("text", part.get("type")) for part in parts] == ["这是什么？", "picture"]


def test_request_is_seen_on_arrival_and_its_answer_is_on_record(dingtalk: Dingtalk) -> None:
    """What the playground's page shows of every request."""
    seen: list[bool] = []
    dingtalk.on_arrival = lambda received: seen.append(received.carried_out)
    webhook = dingtalk.message("你好")["sessionWebhook"]
    answer = requests.post(webhook, json={"msgtype": "text", "text": {"content": "好"}}, timeout=5)
    assert seen == [False]
    assert dingtalk.received[-1].answer == answer.content
    assert ("Content-Type", "application/json") in dingtalk.received[-1].answer_headers
