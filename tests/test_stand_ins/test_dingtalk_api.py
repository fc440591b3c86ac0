"""The local part of DingTalk's API: tokens, pictures and files, the emoji; what it refuses, and how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from alibabacloud_dingtalk.oauth2_1_0 import models as oauth
from alibabacloud_dingtalk.oauth2_1_0.client import Client as Oauth
from alibabacloud_dingtalk.robot_1_0 import models as robot
from alibabacloud_dingtalk.robot_1_0.client import Client as Robot
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_util.models import RuntimeOptions

from tests.helpers import PNG, Reply
from tests.stand_ins.dingtalk import Dingtalk
from tests.stand_ins.dingtalk_api import (
    CODE_SECONDS,
    DOWNLOAD_PATH,
    EMOTION_PATHS,
    QUOTA,
    SCOPE,
    TOKEN_HEADER,
    TOKEN_PATH,
    TOKEN_SECONDS,
    TOO_FAST,
    URL_SECONDS,
    api_fault,
)
from tests.stand_ins.dingtalk_media import MAX_PICTURE_BYTES, UPLOAD_PATH, gateway_error, upload_fault
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.server import StandIn

REPLY_PATH, RECALL_PATH = EMOTION_PATHS
NOW = 1_795_334_400.0
THINKING = {
    "robotCode": "dingexamplerobot01",
    "openMsgId": "msg1",
    "openConversationId": "cid1",
    "emotionType": 2,
    "emotionName": "🤔思考中",
    "textEmotion": {"emotionId": "2659900", "emotionName": "🤔思考中", "text": "🤔思考中", "backgroundId": "im_bg_1"},
}


class Turned:
    """A clock that the test turns."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def dingtalk(clock: Turned) -> Iterator[Dingtalk]:
    with Dingtalk(clock=clock) as dingtalk:
        yield dingtalk


def call(dingtalk: Dingtalk, path: str, body: Any, token: str | None = None, **how: Any) -> requests.Response:
    """A call of the API; with a new token unless one is given, '' is none."""
    if token is None:
        token = token_of(dingtalk)
    headers = {TOKEN_HEADER: token} if token else {}
    return requests.post(dingtalk.url + path, json=body, headers=headers, timeout=5, **how)


def token_of(dingtalk: Dingtalk, **changes: str) -> str:
    body = {"appKey": dingtalk.api.app_key, "appSecret": dingtalk.app_secret, **changes}
    answer = call(dingtalk, TOKEN_PATH, body, token="")
    return str(answer.json()["accessToken"])


def url_of(dingtalk: Dingtalk, data: bytes) -> str:
    body = {"downloadCode": dingtalk.api.keep(data), "robotCode": dingtalk.api.robot_code}
    return str(call(dingtalk, DOWNLOAD_PATH, body).json()["downloadUrl"])


def test_token_lives_two_hours_and_stays_the_same(dingtalk: Dingtalk, clock: Turned) -> None:
    """Asked again in this time, DingTalk gives the same one."""
    first = token_of(dingtalk)
    clock.now += TOKEN_SECONDS - 1
    assert token_of(dingtalk) == first
    clock.now += 1
    assert token_of(dingtalk) != first


@pytest.mark.parametrize("changes", [{"appKey": "x"}, {"appSecret": "x"}])
def test_wrong_application_gets_no_token(dingtalk: Dingtalk, changes: dict[str, str]) -> None:
    """Key and secret are compared."""
    body = {"appKey": dingtalk.api.app_key, "appSecret": dingtalk.app_secret, **changes}
    answer = call(dingtalk, TOKEN_PATH, body, token="")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalidClientIdOrSecret")


def test_picture_of_a_message_can_be_downloaded(dingtalk: Dingtalk) -> None:
    """By the code in the message, then by a signed address."""
    message = dingtalk.message(kind="picture", picture=b"GIF89a")
    body = {"downloadCode": message["content"]["downloadCode"], "robotCode": message["robotCode"]}
    url = call(dingtalk, DOWNLOAD_PATH, body).json()["downloadUrl"]
    assert requests.get(url, timeout=5).content == b"GIF89a"
    assert dingtalk.api.calls == 1


def test_pictures_of_rich_text_stand_among_its_words(dingtalk: Dingtalk) -> None:
    """In their order; a file has its name."""
    parts = dingtalk.message(kind="rich_text", picture=[b"1", b"2"])["content"]["richText"]
    assert [part.get("type", "text") for part in parts] == ["text", "picture", "picture", "text"]
    assert dingtalk.message(file=("a.txt", b"a"))["content"]["fileName"] == "a.txt"


@pytest.mark.parametrize("path", [DOWNLOAD_PATH, REPLY_PATH, RECALL_PATH])
@pytest.mark.parametrize("token", ["", "unknown", "expired", "revoked"])
def test_call_without_a_valid_token_is_refused(dingtalk: Dingtalk, clock: Turned, path: str, token: str) -> None:
    """401, and not counted."""
    given = token_of(dingtalk) if token in ("expired", "revoked") else token
    if token == "expired":
        clock.now += TOKEN_SECONDS
    elif token == "revoked":
        dingtalk.api.revoke_tokens()
    answer = call(dingtalk, path, {**THINKING, "downloadCode": "x"}, token=given)
    assert (answer.status_code, answer.json()["code"]) == (401, "InvalidAuthentication")
    assert not dingtalk.api.calls


@pytest.mark.parametrize(("robot", "word"), [("", "empty"), ("another", "robot 不存在")])
@pytest.mark.parametrize("path", [DOWNLOAD_PATH, REPLY_PATH])
def test_wrong_robot_is_refused(dingtalk: Dingtalk, path: str, robot: str, word: str) -> None:
    """400, and the words name it."""
    answer = call(dingtalk, path, {**THINKING, "downloadCode": dingtalk.api.keep(b""), "robotCode": robot})
    assert answer.status_code == 400 and word in answer.json()["message"]


def test_code_expires_and_so_does_the_address(dingtalk: Dingtalk, clock: Turned) -> None:
    """How long they live is documented nowhere."""
    url = url_of(dingtalk, b"x")
    code = dingtalk.api.keep(b"x")
    clock.now += URL_SECONDS
    assert requests.get(url, timeout=5).status_code == 403
    clock.now += CODE_SECONDS - URL_SECONDS
    answer = call(dingtalk, DOWNLOAD_PATH, {"downloadCode": code, "robotCode": dingtalk.api.robot_code})
    assert answer.status_code == 400 and "过期" in answer.json()["message"]


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {TOKEN_HEADER: "t"}, {"Authorization": "x"}])
def test_signed_address_takes_no_header_that_was_not_signed(dingtalk: Dingtalk, headers: dict[str, str]) -> None:
    """As OSS does; an unknown signature is refused as well."""
    url = url_of(dingtalk, b"x")
    assert requests.get(url, headers=headers, timeout=5).status_code == 403
    assert requests.get(url.replace("Signature=", "Signature=0"), timeout=5).status_code == 403
    assert requests.get(url, timeout=5).status_code == 200


def test_missing_permission_is_named(dingtalk: Dingtalk) -> None:
    """With the scope that is required."""
    dingtalk.api.permissions.clear()
    answer = call(dingtalk, DOWNLOAD_PATH, {}).json()
    assert answer["code"].endswith("AccessTokenPermissionDenied")
    assert answer["accessdenieddetail"] == {"requiredScopes": [SCOPE]}


def test_quota_ends(dingtalk: Dingtalk) -> None:
    """Tokens are free, calls are counted."""
    dingtalk.api.quota = 1
    answers = [call(dingtalk, REPLY_PATH, THINKING) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, QUOTA[0]]
    assert answers[1].json()["code"] == QUOTA[1]


def test_call_that_comes_too_fast_is_refused_by_a_switch(dingtalk: Dingtalk) -> None:
    """Only this one."""
    dingtalk.plan(api_fault(*TOO_FAST, path=REPLY_PATH))
    answers = [call(dingtalk, REPLY_PATH, THINKING) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [403, 200]


def test_emoji_is_on_record(dingtalk: Dingtalk) -> None:
    """Shown and taken off."""
    for path in EMOTION_PATHS:
        assert call(dingtalk, path, THINKING).json() == {"success": True}
    assert [(one.verb, one.message_id, one.conversation_id) for one in dingtalk.api.emotions] == [
        ("reply", "msg1", "cid1"),
        ("recall", "msg1", "cid1"),
    ]


@pytest.mark.parametrize(
    "changes", [{"openMsgId": ""}, {"openConversationId": None}, {"emotionName": "x"}, {"textEmotion": None}]
)
def test_emoji_without_what_it_needs_is_refused(dingtalk: Dingtalk, changes: dict[str, Any]) -> None:
    """400, and nobody sees anything."""
    assert call(dingtalk, REPLY_PATH, {**THINKING, **changes}).status_code == 400
    assert not dingtalk.api.emotions


@pytest.mark.parametrize(
    ("method", "path", "data", "kind", "status"),
    [
        ("GET", TOKEN_PATH, b"", "application/json", 405),
        ("POST", TOKEN_PATH, b"{}", "text/plain", 415),
        ("POST", TOKEN_PATH, b"{", "application/json", 400),
        ("POST", TOKEN_PATH, b"[]", "application/json", 400),
        ("POST", "/v1.0/nothing", b"{}", "application/json", 404),
    ],
)
def test_request_that_is_no_call_is_refused(
    dingtalk: Dingtalk, method: str, path: str, data: bytes, kind: str, status: int
) -> None:
    """Before anything else."""
    answer = requests.request(method, dingtalk.url + path, data=data, headers={"Content-Type": kind}, timeout=5)
    assert answer.status_code == status


# --- uploads ---

PICTURE = ("a.png", PNG, "image/png")


def upload(dingtalk: Dingtalk, media: Any = PICTURE, **changes: Any) -> dict[str, Any]:
    """What an upload gets, with a new token unless the query has another; ... leaves a parameter out."""
    query = {"access_token": ..., "type": "image", **changes.pop("query", {})}
    if query["access_token"] is ...:
        query["access_token"] = token_of(dingtalk)
    how = {"files": {"media": media}, "params": query, "timeout": 5, **changes}
    answer = requests.post(dingtalk.url + UPLOAD_PATH, **how)
    assert answer.status_code == 200
    content: dict[str, Any] = answer.json()
    return content


def test_uploaded_picture_can_be_shown(dingtalk: Dingtalk) -> None:
    """By its media_id, as often as somebody likes; a picture that nobody uploaded is not there."""
    answer = upload(dingtalk)
    assert list(answer) == ["errcode", "errmsg", "type", "media_id", "created_at"]
    assert (answer["errcode"], answer["type"], answer["created_at"]) == (0, "image", int(NOW * 1000))
    assert answer["media_id"].startswith("@")
    assert dingtalk.api.calls == 1
    message = dingtalk.message("画")
    text = f"好了：\n\n![]({answer['media_id']})\n\n![圆]({answer['media_id']})\n\n![](@nobody)"
    shown = {"msgtype": "markdown", "markdown": {"title": "好了", "text": text}}
    for reply in (shown, {"msgtype": "text", "text": {"content": text}}):
        assert requests.post(message["sessionWebhook"], json=reply, timeout=5).json()["errcode"] == 0
    assert [dingtalk.pictures(shown) for shown in dingtalk.shown(message)] == [[PNG, PNG], []]


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"query": {"access_token": None}}, 41001),
        ({"query": {"access_token": "x"}}, 40014),
        ({"query": {"type": None}}, 40004),
        ({"query": {"type": "voice"}}, 40004),
        ({"files": {"file": PICTURE}}, 41005),
        ({"files": None, "data": {"media": "x"}}, 43008),
        ({"files": None, "json": {}}, 43008),
        ({"files": None, "data": PNG, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 43008),
        ({"files": None, "data": PNG, "headers": {"Content-Type": "multipart/form-data"}}, 43008),
        ({"media": (None, PNG)}, 41005),
        ({"media": ("a.png", b"")}, 44001),
        ({"media": ("a.png", PNG.ljust(MAX_PICTURE_BYTES + 1))}, 45001),
        ({"media": ("a.webp", b"RIFF....WEBP")}, 40005),
        ({"media": ("a.png", b"words")}, 40005),
        ({"media": ("a", PNG)}, 40005),
    ],
    ids=lambda value: str(value)[:60],
)
def test_wrong_upload_is_refused_in_a_200(dingtalk: Dingtalk, changes: dict[str, Any], errcode: int) -> None:
    """As the older API of DingTalk does; nothing can be shown."""
    answer = upload(dingtalk, **changes)
    assert (answer["errcode"], bool(answer["errmsg"]), dingtalk.api.media) == (errcode, True, {})


@pytest.mark.parametrize("data", [PNG + b"\r\n", PNG + b"\r\n--", b"GIF8\r\n\r\n\0\n", b"BM".ljust(MAX_PICTURE_BYTES)])
def test_picture_arrives_as_it_was_sent(dingtalk: Dingtalk, data: bytes) -> None:
    """Whatever stands in it, up to the limit."""
    media_id = upload(dingtalk, media=("图.JPG", data))["media_id"]
    assert dingtalk.api.media[media_id] == data


def test_type_may_stand_in_the_form(dingtalk: Dingtalk) -> None:
    """As some clients send it."""
    assert upload(dingtalk, query={"type": None}, data={"type": "image"})["errcode"] == 0


def test_upload_with_an_old_token_is_refused(dingtalk: Dingtalk, clock: Turned) -> None:
    """With another code than one that never was."""
    token = token_of(dingtalk)
    clock.now += TOKEN_SECONDS
    assert upload(dingtalk, query={"access_token": token})["errcode"] == 42001
    dingtalk.api.revoke_tokens()
    assert upload(dingtalk, query={"access_token": token})["errcode"] == 40014


def test_gateway_refuses_in_its_own_words(dingtalk: Dingtalk) -> None:
    """A missing permission, and more calls than are left; the code stands in the sub_code."""
    dingtalk.api.permissions.clear()
    answer = upload(dingtalk)
    assert (answer["errcode"], answer["sub_code"]) == (88, "60011")
    assert answer["errmsg"] == "ding talk error[subcode=60011,submsg=没有调用该接口的权限]"
    dingtalk.reset()
    dingtalk.api.quota = 0
    assert upload(dingtalk)["sub_code"] == "90002"


def test_error_of_an_upload_can_be_planned(dingtalk: Dingtalk) -> None:
    """Only of the next one, and only of uploads."""
    dingtalk.plan(upload_fault(gateway_error("40014", "不合法的access_token")))
    assert [upload(dingtalk)["errcode"] for _ in range(2)] == [88, 0]


def test_upload_is_posted(dingtalk: Dingtalk) -> None:
    """Nothing else is done at its address."""
    assert requests.get(dingtalk.url + UPLOAD_PATH, timeout=5).json()["errcode"] == 43002


# --- the official SDK ---


def official(client: Any, dingtalk: Dingtalk) -> Any:
    """A client of the SDK that talks to the stand-in."""
    return client(Config(protocol="http", region_id="central", endpoint=dingtalk.url.removeprefix("http://")))


def test_official_client_is_served(dingtalk: Dingtalk) -> None:
    """It gets a token and the address of a picture, and shows the emoji and takes it off."""
    asked = oauth.GetAccessTokenRequest(app_key=dingtalk.api.app_key, app_secret=dingtalk.app_secret)
    token = official(Oauth, dingtalk).get_access_token(asked).body
    assert token.expire_in == TOKEN_SECONDS
    client, code = official(Robot, dingtalk), dingtalk.api.keep(PNG)
    of = {"x_acs_dingtalk_access_token": token.access_token}
    wanted = robot.RobotMessageFileDownloadRequest(download_code=code, robot_code=dingtalk.api.robot_code)
    headers = robot.RobotMessageFileDownloadHeaders(**of)
    found = client.robot_message_file_download_with_options(wanted, headers, RuntimeOptions()).body
    assert requests.get(found.download_url, timeout=5).content == PNG
    for verb in ("Reply", "Recall"):
        request = getattr(robot, f"Robot{verb}EmotionRequest")().from_map(THINKING)
        call_it = getattr(client, f"robot_{verb.lower()}_emotion_with_options")
        assert call_it(request, getattr(robot, f"Robot{verb}EmotionHeaders")(**of), RuntimeOptions()).body.success
    assert [one.verb for one in dingtalk.api.emotions] == ["reply", "recall"]


def test_function_sends_what_the_official_client_sends(reply: Reply, cloud: LocalCloud) -> None:
    """The same fields in the body of each call."""
    reply.environment.update({**cloud.application(), "THINKING": "on"})
    reply.module.api_tokens.clear()
    message = cloud.dingtalk.message(kind="picture", picture=PNG)
    reply.run(message)
    sent = {one.path: json.loads(one.body) for one in cloud.dingtalk.received if one.path.startswith("/v1.0/")}
    emotion = {**THINKING, "openMsgId": message["msgId"], "openConversationId": message["conversationId"]}
    requests_of = {
        TOKEN_PATH: oauth.GetAccessTokenRequest(
            app_key=cloud.dingtalk.api.app_key, app_secret=cloud.dingtalk.app_secret
        ),
        DOWNLOAD_PATH: robot.RobotMessageFileDownloadRequest(
            download_code=message["content"]["downloadCode"], robot_code=message["robotCode"]
        ),
        REPLY_PATH: robot.RobotReplyEmotionRequest().from_map(emotion),
        RECALL_PATH: robot.RobotRecallEmotionRequest().from_map(emotion),
    }
    assert sent == {path: request.to_map() for path, request in requests_of.items()}


def test_reset_brings_everything_back(dingtalk: Dingtalk) -> None:
    """For the next test."""
    assert isinstance(dingtalk, StandIn)
    dingtalk.api.permissions.clear()
    dingtalk.api.quota = 0
    dingtalk.reset()
    assert call(dingtalk, REPLY_PATH, THINKING).status_code == 200
