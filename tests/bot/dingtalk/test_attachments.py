"""Pictures and text files: how they reach the model, and what the person sees where they do not."""

from __future__ import annotations

import base64
import json
import logging
import re
import time
from typing import Any

import pytest
import requests

from bot.dingtalk import attachments
from bot.sentences import zh
from tests.helpers import PNG, Clock, Reply, png
from tests.stand_ins.dingtalk import XIAOMING
from tests.stand_ins.dingtalk_api import (
    DOWNLOAD_PATH,
    FILE_PATH,
    SCOPE,
    TOKEN_HEADER,
    TOKEN_PATH,
    api_fault,
)
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.openai_pictures import NO_VISION
from tests.stand_ins.server import Fault

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\xff\xd9"
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00"
GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
MIB_5 = 5 * 1024 * 1024
KIB_100 = 100 * 1024


@pytest.fixture
def seeing(reply: Reply, cloud: LocalCloud) -> Reply:
    """Dingtalk_ChatGPT_Reply with the application's key, without a token from another test."""
    reply.environment.update(cloud.application())
    reply.module.api_tokens.clear()
    return reply


def content(cloud: LocalCloud) -> Any:
    """The last question that the model got."""
    return cloud.openai_api.asked[-1]["messages"][-1]["content"]


def words_and_pictures(cloud: LocalCloud) -> tuple[str, list[bytes]]:
    """The same in its two kinds of parts."""
    words, *pictures = content(cloud)
    assert words["type"] == "text"
    assert {part["image_url"]["detail"] for part in pictures} == {"auto"}
    urls = [part["image_url"]["url"] for part in pictures]
    return words["text"], [base64.b64decode(url.partition(",")[2]) for url in urls]


def paths(cloud: LocalCloud) -> list[str]:
    """Of the API, and of files, that were asked for."""
    asked = (received.path for received in cloud.dingtalk.received)
    return [path for path in asked if path.startswith(("/v1.0/", FILE_PATH))]


def shown_for(reply: Reply, message: dict[str, Any], **context: Any) -> str:
    """The one text that the chat shows for a message."""
    reply.run(message, **context)
    (shown,) = reply.cloud.dingtalk.shown(message)
    return shown.text


def quoting(cloud: LocalCloud, text: str, kind: str, **quoted: Any) -> dict[str, Any]:
    """A private text message that quotes a message of this kind."""
    body = {"content": text, "isReplyMsg": True, "repliedMsg": {"msgType": kind, "content": quoted}}
    return cloud.dingtalk.message(text=None) | {"text": body}


# --- pictures that are seen ---


@pytest.mark.parametrize(
    ("picture", "kind"), [(PNG, "png"), (JPEG, "jpeg"), (WEBP, "webp"), (GIF, "gif"), (b"GIF87a" + GIF[6:], "gif")]
)
def test_picture_alone_is_looked_at(seeing: Reply, cloud: LocalCloud, picture: bytes, kind: str) -> None:
    """By its first bytes, whatever DingTalk calls it; with a question, because the person wrote none."""
    message = cloud.dingtalk.message(kind="picture", picture=picture)
    assert kind.upper() in shown_for(seeing, message)
    assert words_and_pictures(cloud) == (zh.PICTURE_QUESTION, [picture])
    assert content(cloud)[1]["image_url"]["url"].startswith(f"data:image/{kind};base64,")


def test_journal_keeps_a_mark_and_never_the_picture(seeing: Reply, cloud: LocalCloud) -> None:
    """A picture lives for one turn: in the history it would cost tokens for ever, and no text model could go on."""
    message = cloud.dingtalk.message(kind="picture", picture=png(size=50_000))
    shown_for(seeing, message)
    turn, _ = cloud.journal(message)
    assert turn["question"] == "[图片]"
    assert len(json.dumps(turn)) < 1000
    seeing.ask("还有呢？")
    assert [part["content"] for part in cloud.openai_api.asked[-1]["messages"]][::2] == ["[图片]", "还有呢？"]


def test_pictures_of_rich_text_come_with_its_words(seeing: Reply, cloud: LocalCloud) -> None:
    """In their order, with a mark where each stood."""
    pictures = [png(width) for width in (1, 2, 3, 4)]
    message = cloud.dingtalk.message(kind="rich_text", picture=pictures, group="测试群")
    shown_for(seeing, message)
    assert words_and_pictures(cloud) == ("这个问题示例图如下：[图片][图片][图片][图片]请解释", pictures)


def test_fifth_picture_is_left_out_with_a_sentence(seeing: Reply, cloud: LocalCloud) -> None:
    """Nothing is left out without a word."""
    message = cloud.dingtalk.message(kind="rich_text", picture=[PNG] * 5)
    assert zh.NOT_SEEN["many"] in shown_for(seeing, message)
    assert len(words_and_pictures(cloud)[1]) == 4


def test_pictures_without_words_get_one_question(seeing: Reply, cloud: LocalCloud) -> None:
    """Which speaks of several."""
    message = cloud.dingtalk.message(kind="rich_text", picture=[PNG, JPEG])
    del message["content"]["richText"][0], message["content"]["richText"][-1]
    shown_for(seeing, message)
    words, pictures = words_and_pictures(cloud)
    assert (words[:4], pictures) == ("请看这些", [PNG, JPEG])


@pytest.mark.parametrize("field", ["downloadCode", "pictureDownloadCode"])
@pytest.mark.parametrize("packed", [False, True])
def test_quoted_picture_is_looked_at(seeing: Reply, cloud: LocalCloud, field: str, packed: bool) -> None:
    """The way to ask about a picture in a group; its content may come as JSON in a text."""
    message = quoting(cloud, "这是什么？", "picture", **{field: cloud.dingtalk.api.keep(PNG)})
    if packed:
        quoted = message["text"]["repliedMsg"]
        quoted["content"] = json.dumps(quoted["content"])
    shown_for(seeing, message)
    assert words_and_pictures(cloud) == ("> [图片]\n\n这是什么？", [PNG])


def test_quoted_picture_without_words_gets_the_question(seeing: Reply, cloud: LocalCloud) -> None:
    """Nothing but the @ and the quotation."""
    shown_for(seeing, quoting(cloud, " ", "picture", downloadCode=cloud.dingtalk.api.keep(PNG)))
    assert words_and_pictures(cloud) == (f"> [图片]\n\n{zh.PICTURE_QUESTION}", [PNG])


def test_picture_before_the_name_of_the_bot_is_looked_at(seeing: Reply, cloud: LocalCloud) -> None:
    """Some clients leave the name in the words of a group."""
    message = cloud.dingtalk.message(kind="rich_text", picture=PNG, group="测试群")
    message["content"]["richText"] = [message["content"]["richText"][1], {"text": "@小助手 这是什么？"}]
    shown_for(seeing, message)
    assert words_and_pictures(cloud)[1] == [PNG]


def test_group_history_tells_who_sent_the_picture(seeing: Reply, cloud: LocalCloud) -> None:
    """HISTORY_SCOPE=group: the question that nobody wrote has its speaker as well."""
    seeing.environment["HISTORY_SCOPE"] = "group"
    shown_for(seeing, cloud.dingtalk.message(kind="rich_text", picture=PNG, group="测试群", person=XIAOMING))
    assert words_and_pictures(cloud)[0].startswith("小明#")


def test_picture_of_the_largest_size_is_looked_at(seeing: Reply, cloud: LocalCloud) -> None:
    """5 MB and not a byte more."""
    message = cloud.dingtalk.message(kind="picture", picture=png(size=MIB_5))
    assert f"{MIB_5} 字节" in shown_for(seeing, message)
    message = cloud.dingtalk.message(kind="picture", picture=png(size=MIB_5 + 1))
    assert shown_for(seeing, message) == zh.NOT_SEEN["large"]


def test_file_that_is_a_picture_is_looked_at(seeing: Reply, cloud: LocalCloud) -> None:
    """A photograph that was sent as a file, in its full size."""
    shown_for(seeing, cloud.dingtalk.message(file=("IMG_1.JPG", JPEG)))
    assert words_and_pictures(cloud) == (zh.PICTURE_QUESTION, [JPEG])


# --- how they are fetched ---


def test_token_is_kept_and_each_picture_is_one_call(seeing: Reply, cloud: LocalCloud) -> None:
    """A call and a file for each picture, a token for all; and the signed address gets neither token nor type."""
    for _ in range(2):
        shown_for(seeing, cloud.dingtalk.message(kind="picture", picture=PNG))
    assert paths(cloud) == [TOKEN_PATH, *2 * [DOWNLOAD_PATH, f"{FILE_PATH}a.file"]]
    (file, _) = [received for received in cloud.dingtalk.received if received.path.startswith(FILE_PATH)]
    assert "Content-Type" not in file.headers and TOKEN_HEADER not in file.headers


def test_token_that_is_refused_is_renewed_once(seeing: Reply, cloud: LocalCloud) -> None:
    """DingTalk may take back a token before its time."""
    shown_for(seeing, cloud.dingtalk.message(kind="picture", picture=PNG))
    cloud.dingtalk.api.revoke_tokens()
    cloud.dingtalk.received.clear()
    assert "PNG" in shown_for(seeing, cloud.dingtalk.message(kind="picture", picture=PNG))
    assert paths(cloud) == [DOWNLOAD_PATH, TOKEN_PATH, DOWNLOAD_PATH, f"{FILE_PATH}a.file"]


def test_token_is_renewed_before_it_expires(seeing: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """Five minutes before, for a slow run."""
    cloud.dingtalk.api.revoke_tokens()  # one from another test has a part of its life behind it
    for ahead, tokens in ((0, 1), (6890, 1), (6910, 2)):
        clock.ahead = ahead
        shown_for(seeing, cloud.dingtalk.message(kind="picture", picture=PNG, sessionWebhookExpiredTime=None))
        assert paths(cloud).count(TOKEN_PATH) == tokens


def test_token_without_a_life_is_used_once(seeing: Reply, cloud: LocalCloud) -> None:
    """An answer that is not as documented."""
    token = json.dumps({"accessToken": "token-of-no-life", "expireIn": None})
    for _ in range(2):
        cloud.dingtalk.api.tokens["token-of-no-life"] = time.time() + 100
        cloud.dingtalk.plan(Fault(lambda received: received.path == TOKEN_PATH, status=200, body=token))
        assert "PNG" in shown_for(seeing, cloud.dingtalk.message(kind="picture", picture=PNG))
    assert paths(cloud).count(TOKEN_PATH) == 2


def test_call_that_comes_too_fast_is_tried_once_more(seeing: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """DingTalk allows 20 calls a second."""
    cloud.dingtalk.plan(api_fault(403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", path=DOWNLOAD_PATH))
    assert "PNG" in shown_for(seeing, cloud.dingtalk.message(kind="picture", picture=PNG))
    assert clock.slept == [1]


def test_address_in_data_is_found(seeing: Reply, cloud: LocalCloud) -> None:
    """Others saw it there."""
    signed = {"data": {"downloadUrl": f"{cloud.dingtalk.url}{FILE_PATH}x"}}
    cloud.dingtalk.plan(Fault(lambda received: received.path == DOWNLOAD_PATH, status=200, body=json.dumps(signed)))
    cloud.dingtalk.plan(Fault(lambda received: received.path.startswith(FILE_PATH), status=200, body=PNG))
    assert "PNG" in shown_for(seeing, cloud.dingtalk.message(kind="picture", picture=PNG))


# --- pictures that are not seen ---


def answers(path: str, status: int, body: str = "", **fault: Any) -> Fault:
    """A planned answer of one address; several times, because what passes is tried again."""
    return Fault(lambda received: received.path.startswith(path), 3, status=status, body=body, **fault)


def leads_to(url: Any) -> Fault:
    """A planned answer with this address of the file."""
    return answers(DOWNLOAD_PATH, 200, json.dumps({"downloadUrl": url}))


def redirect() -> Fault:
    return answers(FILE_PATH, 302, headers=(("Location", "http://127.0.0.1/"),))


FAILURES = [
    (api_fault(400, "invalidClientIdOrSecret", path=TOKEN_PATH), "app"),
    (answers(TOKEN_PATH, 200, '{"accessToken": "a\\nb"}'), "refused"),
    (answers(TOKEN_PATH, 200, "[]"), "refused"),
    (api_fault(401, "InvalidAuthentication", path=DOWNLOAD_PATH, times=2), "token"),
    (api_fault(403, "Forbidden.AccessDenied.AccessTokenPermissionDenied", path=DOWNLOAD_PATH), "permission"),
    (api_fault(403, "Forbidden.AccessDenied.ApiCountLimitForOrg", path=DOWNLOAD_PATH), "quota"),
    (api_fault(403, "Forbidden.AccessDenied.QpsLimitForApi", path=DOWNLOAD_PATH, times=2), "busy"),
    (answers(DOWNLOAD_PATH, 403, "<html>"), "busy"),
    (answers(DOWNLOAD_PATH, 400, '{"status":1111,"wait":5,"source":"x5","punish":"deny","uuid":"ex"}'), "busy"),
    (api_fault(403, "Forbidden.AccessDenied.IpNotInWhiteList", path=DOWNLOAD_PATH), "ip"),
    (api_fault(400, "invalidParameter.robotCode.empty", path=DOWNLOAD_PATH), "robot"),
    (api_fault(400, "x", "downloadCode 有误或已过期", path=DOWNLOAD_PATH), "expired"),
    (api_fault(400, "unknown", path=DOWNLOAD_PATH), "refused"),
    (api_fault(500, "unknown", path=DOWNLOAD_PATH), "network"),
    (answers(DOWNLOAD_PATH, 200, "{"), "refused"),
    (answers(DOWNLOAD_PATH, 200, drop=True), "network"),
    (leads_to(None), "refused"),
    (leads_to("ftp://127.0.0.1/x"), "refused"),
    (leads_to("http://me@127.0.0.1/x"), "refused"),
    (leads_to("https://[::1]/x"), "refused"),
    (leads_to("http://10.0.0.1/x"), "refused"),
    (leads_to("http://169.254.169.254/x"), "refused"),
    (leads_to("https://100.100.100.200/x"), "refused"),
    (leads_to("https://nowhere.invalid/x"), "network"),
    (redirect(), "expired"),
    (answers(FILE_PATH, 403, "<Error/>"), "expired"),
    (answers(FILE_PATH, 503), "network"),
    (answers(FILE_PATH, 200, drop=True), "network"),
    (answers(FILE_PATH, 200, "%PDF-1.7"), "picture"),
]


@pytest.mark.parametrize(("fault", "cause"), FAILURES)
def test_picture_that_is_not_seen_has_its_sentence(
    seeing: Reply, cloud: LocalCloud, clock: Clock, fault: Fault, cause: str
) -> None:
    """Alone: the sentence, and nothing is paid for."""
    cloud.dingtalk.plan(fault)
    message = cloud.dingtalk.message(kind="picture", picture=PNG)
    assert seeing.run(message)["result"] == f"failed: {cause}"
    (shown,) = cloud.dingtalk.shown(message)
    assert shown.text == zh.NOT_SEEN[cause]
    assert not cloud.openai_api.asked


@pytest.mark.parametrize(("fault", "cause"), [FAILURES[0], FAILURES[4], FAILURES[11], FAILURES[-1]])
def test_words_with_a_picture_that_is_not_seen_are_answered(
    seeing: Reply, cloud: LocalCloud, fault: Fault, cause: str
) -> None:
    """With the sentence below the answer."""
    cloud.dingtalk.plan(fault)
    text = shown_for(seeing, cloud.dingtalk.message(kind="rich_text", picture=PNG))
    assert text.endswith(f"\n\n（{zh.NOT_SEEN[cause]}）")
    assert content(cloud) == "这个问题示例图如下：[图片]请解释"


def test_code_that_is_expired_leaves_the_other_picture(seeing: Reply, cloud: LocalCloud) -> None:
    """What is wrong with one picture is not wrong with the next."""
    message = cloud.dingtalk.message(kind="rich_text", picture=[PNG, JPEG])
    message["content"]["richText"][1]["downloadCode"] = cloud.dingtalk.api.keep(PNG, seconds=-1)
    assert zh.NOT_SEEN["expired"] in shown_for(seeing, message)
    assert words_and_pictures(cloud)[1] == [JPEG]


def test_permission_that_is_missing_is_asked_for_once(seeing: Reply, cloud: LocalCloud) -> None:
    """The next picture would be refused as well. The sentence names the permission, and where to apply."""
    cloud.dingtalk.api.permissions.discard(SCOPE)
    text = shown_for(seeing, cloud.dingtalk.message(kind="rich_text", picture=[PNG, JPEG]))
    assert SCOPE in text and "开发者后台" in text
    assert paths(cloud).count(DOWNLOAD_PATH) == 1


@pytest.mark.parametrize("kind", ["picture", "file"])
def test_without_a_key_the_sentence_says_who_can_switch_it_on(reply: Reply, cloud: LocalCloud, kind: str) -> None:
    """As before, and nothing is fetched."""
    text = shown_for(reply, cloud.dingtalk.message(kind=kind))
    assert text.startswith(("我还看不了图片。", "我还读不了文件。"))
    assert "部署者" in text and "DINGTALK_APP_KEY" in text
    assert not paths(cloud) and not cloud.openai_api.asked


def test_picture_without_a_code_has_its_sentence(seeing: Reply, cloud: LocalCloud) -> None:
    """The application has its key, so that is not the reason."""
    text = shown_for(seeing, cloud.dingtalk.message(kind="picture", content={}))
    assert text == zh.NOT_SEEN["missing"]


def test_picture_that_was_not_seen_does_not_count(seeing: Reply, cloud: LocalCloud) -> None:
    """DAILY_LIMIT counts answers."""
    seeing.environment["DAILY_LIMIT"] = "1"
    shown_for(seeing, cloud.dingtalk.message(kind="picture", content={"downloadCode": "gone"}))
    assert seeing.ask("1+1=?") == "1+1=2"


def test_person_who_may_not_ask_has_nothing_fetched(seeing: Reply, cloud: LocalCloud) -> None:
    """Calls of the API are counted by the month."""
    seeing.environment["ALLOWED_USERS"] = "somebody"
    shown_for(seeing, cloud.dingtalk.message(kind="picture", picture=PNG))
    assert not paths(cloud)


@pytest.mark.parametrize("where", [TOKEN_PATH, DOWNLOAD_PATH, FILE_PATH])
@pytest.mark.full
def test_slow_picture_leaves_time_for_the_answer(seeing: Reply, cloud: LocalCloud, where: str) -> None:
    """A third of what is left at most; a file byte by byte as well."""
    slow: dict[str, Any] = {"byte_seconds": 0.2, "status": 200, "body": PNG * 9} if where == FILE_PATH else {"delay": 9}
    cloud.dingtalk.plan(Fault(lambda received: received.path.startswith(where), **slow))
    started = time.monotonic()
    text = shown_for(seeing, cloud.dingtalk.message(kind="rich_text", picture=PNG), timeout=8)
    assert zh.NOT_SEEN["network"] in text and "你说的是" in text
    assert time.monotonic() - started < 4


def test_nothing_is_fetched_when_its_time_is_up(seeing: Reply, cloud: LocalCloud) -> None:
    """No request begins after its deadline."""
    settings, _ = seeing.module.read_settings(seeing.module.ReplySettings, seeing.environment)
    with pytest.raises(seeing.module.CallFailed, match="network"):
        seeing.module.fetch("code", "", settings, time.monotonic() - 1)
    assert not paths(cloud)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_file_of_this_machine_is_fetched_for_a_local_api_only(seeing: Reply, cloud: LocalCloud, host: str) -> None:
    """With the real API, an address that leads here after the look-up of its name is refused before a byte is sent."""
    url = cloud.dingtalk.url.replace("127.0.0.1", host)
    file = requests.Request("GET", f"{url}{FILE_PATH}x")
    with pytest.raises(seeing.module.CallFailed) as refused:
        seeing.module.exchange(file, time.monotonic() + 5, seeing.module.file_connections(False))
    assert refused.value.cause == "refused"
    assert not cloud.dingtalk.received


# --- models and services that refuse pictures ---


@pytest.mark.parametrize("service", NO_VISION)
def test_model_that_does_not_see_is_asked_the_words(seeing: Reply, cloud: LocalCloud, service: str) -> None:
    """With a sentence that names CHATGPT_MODEL, however the service says it; a picture alone gets the sentence."""
    cloud.openai_api.blind = service
    text = shown_for(seeing, cloud.dingtalk.message(kind="rich_text", picture=PNG))
    assert text.startswith("你说的是「这个问题示例图如下：[图片]请解释」")
    assert "看不了图片" in text and "CHATGPT_MODEL" in text
    message = cloud.dingtalk.message(kind="picture", picture=PNG)
    assert seeing.run(message)["result"] in ("failed: vision", "failed: options")
    (shown,) = cloud.dingtalk.shown(message)
    assert "看不了图片" in shown.text and "CHATGPT_MODEL" in shown.text


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("invalid_image_format", "读不了这张图片"),
        ("image_too_large", "读不了这张图片"),
        ("image_parse_error", "读不了这张图片"),
        ("image_content_policy_violation", "内容审核"),
    ],
)
def test_picture_that_the_service_refuses_leaves_the_words(
    seeing: Reply, cloud: LocalCloud, code: str, words: str
) -> None:
    """They are asked alone, and the sentence says what was wrong with the picture."""
    body = json.dumps({"error": {"message": "Bad.", "type": "invalid_request_error", "code": code}})
    cloud.openai_api.plan(Fault(status=400, body=body))
    text = shown_for(seeing, cloud.dingtalk.message(kind="rich_text", picture=PNG))
    assert text.startswith("你说的是") and words in text
    assert content(cloud) == "这个问题示例图如下：[图片]请解释"


def test_pictures_that_bring_a_failure_three_times_are_left_out(seeing: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """Some services break on them; the words alone would be answered."""
    cloud.openai_api.fail_next("server_error", times=3)
    text = shown_for(seeing, cloud.dingtalk.message(kind="rich_text", picture=PNG))
    assert text.startswith("你说的是") and zh.PICTURES_REFUSED["down"] in text


def test_failure_that_has_nothing_to_do_with_pictures_stays_what_it_is(seeing: Reply, cloud: LocalCloud) -> None:
    """A wrong key is one with pictures and without."""
    cloud.openai_api.fail_next("invalid_api_key")
    text = shown_for(seeing, cloud.dingtalk.message(kind="rich_text", picture=PNG))
    assert text.startswith(zh.FAILURES["key"])


# --- text files ---


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_text_file_is_read_by_its_content(seeing: Reply, cloud: LocalCloud, encoding: str) -> None:
    """Whatever its name ends in, as a quotation with that name."""
    shown_for(seeing, cloud.dingtalk.message(file=("说明.log", "第一行\n第二行".encode(encoding))))
    assert content(cloud) == f"> [文件 说明.log]\n> 第一行\n> 第二行\n\n{zh.FILE_QUESTION}"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", "会议纪要：下周三上线，𠮷"),
        ("big5", "會議紀錄：下週三上線，請大家準時。"),
        ("shift_jis", "会議の記録：来週の水曜日に公開します。"),
        ("shift_jis", "テスト"),
        ("utf-16", "会议 minutes"),
    ],
)
def test_text_is_told_by_its_bytes(encoding: str, text: str) -> None:
    """Nearly all bytes are text in GB18030: what is rare there, and common elsewhere, was written elsewhere."""
    assert attachments.text_of_file(text.encode(encoding)) == text


def test_journal_keeps_the_name_of_a_file_and_not_its_words(seeing: Reply, cloud: LocalCloud) -> None:
    """Or a few files would be all that is left of a conversation."""
    message = cloud.dingtalk.message(file=("a.txt", "长".encode() * 30_000))
    shown_for(seeing, message)
    turn, _ = cloud.journal(message)
    assert turn["question"] == "[文件 a.txt]"
    assert "长长" in content(cloud)


def test_quoted_file_is_read_with_the_question(seeing: Reply, cloud: LocalCloud) -> None:
    """The way to ask about a file."""
    code = cloud.dingtalk.api.keep(b"a,b\n1,2\n")
    shown_for(seeing, quoting(cloud, "b 是多少？", "file", fileName="a.csv", downloadCode=code))
    assert content(cloud) == "> [文件 a.csv]\n> a,b\n> 1,2\n\nb 是多少？"


def test_file_quoted_in_a_group_is_read(seeing: Reply, cloud: LocalCloud) -> None:
    """If DingTalk hands it out there."""
    code = cloud.dingtalk.api.keep(b"a,b\n")
    message = quoting(cloud, "讲了什么？", "file", fileName="a.csv", downloadCode=code) | {"conversationType": "2"}
    shown_for(seeing, message)
    assert content(cloud) == "> [文件 a.csv]\n> a,b\n\n讲了什么？"


def test_file_in_a_group_that_is_not_handed_out_is_told(seeing: Reply, cloud: LocalCloud) -> None:
    """DingTalk documents files of private chats only; the model is told the name at least."""
    message = quoting(cloud, "讲了什么？", "file", fileName="a.txt", downloadCode="x") | {"conversationType": "2"}
    assert zh.NOT_SEEN["missing"] in shown_for(seeing, message)
    assert content(cloud) == "> [文件 a.txt]\n\n讲了什么？"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n\x00\x01", "file"),
        (b"PK\x03\x04\x14\x00\x06\x00", "file"),
        (b"caf\xe9 noir", "file"),
        ("Привет".encode("cp1251"), "encoding"),
        (b"", "nothing in it"),
        ("\ufeff \n".encode(), "nothing in it"),
        (b"a" * (KIB_100 + 1), "large"),
    ],
)
def test_file_that_is_no_short_text_has_its_sentence(seeing: Reply, cloud: LocalCloud, data: bytes, cause: str) -> None:
    """It names the kinds that are read."""
    message = cloud.dingtalk.message(file=("a.txt", data))
    assert shown_for(seeing, message) == zh.NOT_SEEN[cause]


def test_file_of_the_largest_size_is_read(seeing: Reply, cloud: LocalCloud) -> None:
    """100 KB."""
    shown_for(seeing, cloud.dingtalk.message(file=("a.txt", b"a" * KIB_100)))
    assert "a" * KIB_100 in content(cloud)


# --- settings, status, self-check, log ---


def test_key_without_its_secret_is_a_bad_setting(seeing: Reply, cloud: LocalCloud) -> None:
    """One is of no use without the other."""
    seeing.environment["DINGTALK_APP_SECRET"] = None
    assert "DINGTALK_APP_SECRET" in seeing.ask("你好")
    assert "DingTalk 图片和文件" not in seeing.run(b"{}")


def test_status_tells_whether_pictures_are_looked_at(reply: Reply, cloud: LocalCloud) -> None:
    """And which setting is missing."""
    assert "图片和文本文件：看不了（没有设置 DINGTALK_APP_KEY）" in reply.ask("\\status")
    reply.environment.update(cloud.application())
    assert "图片和文本文件：能看" in reply.ask("\\status")


def test_self_check_fetches_a_token_and_tests_the_permission(seeing: Reply, cloud: LocalCloud) -> None:
    """By asking for a file that does not exist, which changes nothing."""
    assert seeing.run(b"{}")["DingTalk 图片和文件"] == "ok"
    assert paths(cloud) == [TOKEN_PATH, DOWNLOAD_PATH]
    cloud.dingtalk.api.permissions.discard(SCOPE)
    assert SCOPE in seeing.run(b"{}")["DingTalk 图片和文件"]


def test_self_check_takes_any_file_for_good(seeing: Reply, cloud: LocalCloud) -> None:
    """The API works, whatever it hands out."""
    cloud.dingtalk.plan(leads_to(f"{cloud.dingtalk.url}{FILE_PATH}x"))
    cloud.dingtalk.plan(answers(FILE_PATH, 200, "x"))
    assert seeing.run(b"{}")["DingTalk 图片和文件"] == "ok"


def test_log_tells_why_and_nothing_private(seeing: Reply, cloud: LocalCloud, caplog: pytest.LogCaptureFixture) -> None:
    """The code of DingTalk and its request id; no token, no key, no code of a file, no address."""
    caplog.set_level(logging.DEBUG)
    seeing.environment["VERBOSE"] = "DEBUG"
    cloud.dingtalk.plan(api_fault(400, "unknown.code", "some words", path=DOWNLOAD_PATH))
    message = cloud.dingtalk.message(kind="picture", picture=PNG)
    shown_for(seeing, message)
    shown_for(seeing, cloud.dingtalk.message(kind="picture", picture=PNG))
    assert "not seen: refused: HTTP 400, unknown.code, its request " in caplog.text
    private = [*cloud.dingtalk.api.tokens, cloud.dingtalk.app_secret, message["content"]["downloadCode"], FILE_PATH]
    assert not [text for text in private if text in caplog.text]


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"prompt_tokens": 120, "completion_tokens": 35}, r"s, 120 \+ 35 tokens$"),
        ({"prompt_tokens": 120, "completion_tokens": None}, r"\d s$"),
        ({}, r"\d s$"),
        (None, r"\d s$"),
        ([5], r"\d s$"),
    ],
)
def test_log_line_of_an_answer_tells_the_tokens(
    reply: Reply, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, usage: Any, told: str
) -> None:
    """As the service counted them, if it does."""
    body = json.dumps({"choices": [{"message": {"content": "好"}}], "usage": usage})
    cloud.openai_api.plan(Fault(status=200, body=body))
    reply.ask("你好")
    (line,) = [record.getMessage() for record in caplog.records if "answered in" in record.getMessage()]
    assert re.search(told, line)


def test_text_message_asks_dingtalk_for_nothing_more(seeing: Reply, cloud: LocalCloud) -> None:
    """Five requests as ever, with and without the application's key."""
    seeing.ask("你好")
    cloud.dingtalk.received.clear()
    before = {received.connection for received in cloud.dingtalk.received}
    seeing.ask("1+1=?")
    assert [received.path for received in cloud.dingtalk.received] == ["/robot/sendBySession"]
    assert len({received.connection for received in cloud.dingtalk.received} - before) == 1
