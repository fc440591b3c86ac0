"""The part of DingTalk's API that the bot uses: tokens, pictures and files in both directions, the emoji on a message.

The errors are those that the documents and the users of official clients tell. What is assumed says so.

https://open.dingtalk.com/document/development/obtain-the-access-token-of-an-internal-app
https://open.dingtalk.com/document/development/download-the-file-content-of-the-robot-receiving-message
https://open.dingtalk.com/document/development/how-to-process-api-throttling-on-the-dingtalk-server
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .dingtalk_media import (
    BASE_SCOPE,
    NO_PERMISSION,
    TOO_MANY_CALLS,
    UPLOAD_PATH,
    accepted,
    gateway_error,
    media_error,
    new_media_id,
    picture_of,
)
from .server import Answer, Fault, Received, json_answer

API_PATH = "/v1.0/"
TOKEN_PATH = "/v1.0/oauth2/accessToken"
DOWNLOAD_PATH = "/v1.0/robot/messageFiles/download"
EMOTION_PATHS = {"/v1.0/robot/emotion/reply": "reply", "/v1.0/robot/emotion/recall": "recall"}
FILE_PATH = "/files/"
TOKEN_HEADER = "x-acs-dingtalk-access-token"
TOKEN_SECONDS = 7200
CODE_SECONDS = 3600  # a downloadCode lives; the document says no more than that it is temporary
URL_SECONDS = 600  # assumed
SCOPE = "qyapi_robot_sendmsg"
QUOTA = (403, "Forbidden.AccessDenied.ApiCountLimitForOrg", "本组织的API调用量已达上限")
TOO_FAST = (403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", "当前应用调用该接口过于频繁")


@dataclass
class Kept:
    """A picture or a file that somebody sent."""

    data: bytes
    expires: float


class Emotion(NamedTuple):
    """What became of the emoji on a message."""

    verb: str  # reply or recall
    message_id: str
    conversation_id: str
    name: str
    at: float  # time.monotonic()


class DingtalkApi:
    """What `respond` answers below /v1.0/ and /files/, and at /media/upload.

    `permissions` are the application's; `quota` is how many metered calls are left this month, None for no end;
    tokens are free. Whatever `emotions` holds was seen by the people in the chat; `media` holds the pictures that a
    Markdown message can show, by their media_id.
    """

    def __init__(self, url: Callable[[], str], app_secret: Callable[[], str], clock: Callable[[], float]) -> None:
        self.app_key = self.robot_code = "dingexamplerobot01"  # equal for an internal application
        self._url, self._app_secret, self._clock = url, app_secret, clock
        self._lock = threading.Lock()
        self.tokens: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        """With all permissions again, and without files; tokens live on."""
        self.permissions = {SCOPE, BASE_SCOPE}
        self.quota: int | None = None
        self.calls = 0  # metered ones
        self.emotions: list[Emotion] = []
        self.media: dict[str, bytes] = {}
        self._files: dict[str, Kept] = {}
        self._urls: dict[str, Kept] = {}

    def keep(self, data: bytes, *, seconds: float = CODE_SECONDS) -> str:
        """The downloadCode of a picture or a file; it is refused after so many seconds."""
        code = f"{uuid.uuid4().hex}/+=="
        self._files[code] = Kept(data, self._clock() + seconds)
        return code

    def revoke_tokens(self) -> None:
        """No token that was given out is taken any more."""
        self.tokens.clear()

    def respond(self, received: Received) -> Answer:
        """The answer of the API, or a file."""
        if received.path.startswith(FILE_PATH):
            return self._file(received)
        if received.path == UPLOAD_PATH:
            return self._upload(received)
        if received.method != "POST":
            return error(405, "MethodNotAllowed", "method not allowed")  # assumed
        if received.media_type != "application/json":
            return error(415, "UnsupportedMediaType", "unsupported media type")  # assumed
        try:
            body = json.loads(received.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return error(400, "InvalidParameter.Json", "body is no JSON object")  # assumed
        if received.path == TOKEN_PATH:
            return self._token(body)
        if received.path == DOWNLOAD_PATH:
            return self._refusal(received) or self._download(body)
        if received.path in EMOTION_PATHS:
            return self._refusal(received) or self._emotion(EMOTION_PATHS[received.path], body)
        return error(404, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.")

    def _token(self, body: dict[str, Any]) -> Answer:
        """A token; asked again in its time, the same one."""
        if (body.get("appKey"), body.get("appSecret")) != (self.app_key, self._app_secret()):
            return error(400, "invalidClientIdOrSecret", "无效的clientId或者clientSecret")
        with self._lock:
            now = self._clock()
            token, expires = next(((one, until) for one, until in self.tokens.items() if until > now), ("", 0.0))
            if not token:
                token, expires = uuid.uuid4().hex, now + TOKEN_SECONDS
                self.tokens[token] = expires
        return json_answer({"accessToken": token, "expireIn": int(expires - now)})

    def _refusal(self, received: Received) -> Answer | None:
        """Why a call is not even looked at. Assumed: in this order."""
        token = received.headers.get(TOKEN_HEADER)
        if token is None or self.tokens.get(token, 0) <= self._clock():
            return error(401, "InvalidAuthentication", "不合法的access_token")
        if SCOPE not in self.permissions:
            code = "Forbidden.AccessDenied.AccessTokenPermissionDenied"
            return error(403, code, "应用尚未开通所需的权限", accessdenieddetail={"requiredScopes": [SCOPE]})
        return None if self._count() else error(*QUOTA)

    def _robot_problem(self, body: dict[str, Any]) -> Answer | None:
        if not body.get("robotCode"):
            return error(400, "invalidParameter.robotCode.empty", "robotCode is empty")
        if body["robotCode"] != self.robot_code:
            return error(400, "resource.not.found", "robot 不存在；请确认 robotCode 是否正确")
        return None

    def _download(self, body: dict[str, Any]) -> Answer:
        problem = self._robot_problem(body)
        if problem:
            return problem
        kept = self._files.get(str(body.get("downloadCode")))
        if kept is None or kept.expires <= self._clock():
            return error(400, "invalidParameter.downloadCode", "downloadCode 有误或已过期")  # the code is assumed
        signature = uuid.uuid4().hex
        self._urls[signature] = Kept(kept.data, self._clock() + URL_SECONDS)
        return json_answer(
            {"downloadUrl": f"{self._url()}{FILE_PATH}a.file?Expires=1795338000&Signature={signature}%3D"}
        )

    def _file(self, received: Received) -> Answer:
        """A file of OSS, whose signature covers a Content-Type that is not there."""
        kept = self._urls.get(received.query.get("Signature", "").rstrip("="))
        wrong = kept is None or "Content-Type" in received.headers or received.method != "GET"
        if wrong or TOKEN_HEADER in received.headers or "Authorization" in received.headers:
            return oss_error("SignatureDoesNotMatch")
        assert kept
        if kept.expires <= self._clock():
            return oss_error("AccessDenied")
        return Answer(200, (("Content-Type", "application/octet-stream"),), kept.data)

    def _upload(self, received: Received) -> Answer:
        """A picture gets its media_id."""
        token = received.query.get("access_token")
        if received.method != "POST":
            return media_error(43002, "需要POST请求")
        if not token:
            return media_error(41001, "缺少access_token参数")
        if token not in self.tokens:
            return media_error(40014, "不合法的access_token")
        if self.tokens[token] <= self._clock():
            return media_error(42001, "access_token超时")
        if BASE_SCOPE not in self.permissions:
            return gateway_error(*NO_PERMISSION)
        if not self._count():
            return gateway_error(*TOO_MANY_CALLS)
        picture = picture_of(received)
        if isinstance(picture, Answer):
            return picture
        media_id = new_media_id()
        self.media[media_id] = picture
        return accepted(media_id, self._clock())

    def _count(self) -> bool:
        """Whether one more metered call is left."""
        with self._lock:
            if self.quota is not None and self.calls >= self.quota:
                return False
            self.calls += 1
            return True

    def _emotion(self, verb: str, body: dict[str, Any]) -> Answer:
        problem = self._robot_problem(body)
        if problem:
            return problem
        names = ("openMsgId", "openConversationId", "emotionName")
        if not all(isinstance(body.get(name), str) and body[name] for name in names):
            return error(400, "invalidParameter", "openMsgId, openConversationId or emotionName is empty")  # assumed
        if body.get("emotionType") == 2 and (body.get("textEmotion") or {}).get("emotionName") != body["emotionName"]:
            return error(400, "invalidParameter.textEmotion", "textEmotion is invalid")  # assumed
        message_id, conversation_id, name = (body[each] for each in names)
        self.emotions.append(Emotion(verb, message_id, conversation_id, name, time.monotonic()))
        return json_answer({"success": True})


def error(status: int, code: str, message: str, **more: Any) -> Answer:
    request_id = str(uuid.uuid4()).upper()
    return json_answer({"code": code, "requestid": request_id, "message": message, **more}, status)


def oss_error(code: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n  <Code>{code}</Code>\n</Error>\n'
    return Answer(403, (("Content-Type", "application/xml"),), body.encode())


def api_fault(status: int, code: str, message: str = "", path: str = API_PATH, times: int = 1, **more: Any) -> Fault:
    """A planned error of the API, of all its calls or of those below a path."""
    answer = error(status, code, message, **more)
    return Fault(lambda received: received.path.startswith(path), times, status=status, body=answer.body)
