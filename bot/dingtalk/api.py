"""DingTalk's API: the application's token, and calls with it."""

import json
import re
import time
from collections.abc import Container, Iterable
from typing import Any

import requests

from bot.connections import NO_ANSWER, LimitedConnections, TooLarge, exchange
from bot.deadline import pause
from bot.logs import plain_words
from bot.settings import ReplySettings
from bot.values import first_object, read_json
from bot.words import first_row


class CallFailed(Exception):
    """DingTalk did not do what was asked of its API, or a picture or a file is of no use: the cause, and why."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause


# What an error of the API means, by its code and its words, see bot.words.
API_CAUSES = """
quota      api count limit, 90018
busy       qps limit, throttl, punish, too many, 90002, 90020, system busy, system err
ip         white list, whitelist
permission permission denied, required scopes, access denied, forbidden, no permission, 60011
app        invalid client, client id, clientid, app key, appkey, app secret, appsecret
token      invalid authentication, access token
expired    download code, expired, 过期
robot      robot
"""
RENEW_SECONDS, MOST_TOKEN_SECONDS = 300, 7200  # before it expires; as long as it lives
# Of an application, and until when; kept per instance.
api_tokens: dict[tuple[str, str | None, str | None], tuple[str, float]] = {}


def call_dingtalk(
    request: requests.Request,
    settings: ReplySettings,
    deadline: float,
    pauses_seconds: Iterable[float] = (1,),  # DingTalk counts calls by the second
    passing: Container[str] = ("busy",),
) -> dict[str, Any]:
    """What DingTalk answers to a call of its API; or CallFailed, for a cause that passes after a try more per pause.

    The token gets its place in the request. One that DingTalk does not take any more is renewed, without a pause.
    """
    pauses = iter(pauses_seconds)
    while True:
        try:
            token = access_token(settings, deadline)
            if "access_token" in request.params:  # which only the older API has
                request.params["access_token"] = token
            else:
                request.headers["x-acs-dingtalk-access-token"] = token
            return answer_to(request, deadline)
        except CallFailed as failure:
            pause_seconds = next(pauses, None) if failure.cause == "token" or failure.cause in passing else None
            if pause_seconds is None:
                raise
            if failure.cause == "token":
                api_tokens.clear()
            else:
                pause(pause_seconds, deadline)


def access_token(settings: ReplySettings, deadline: float) -> str:
    """The application's token, a new one if it expires soon."""
    owner = (settings.dingtalk_api, settings.dingtalk_app_key, settings.dingtalk_app_secret)
    kept, until = api_tokens.get(owner, ("", 0.0))
    if time.time() < until:
        return kept
    body = {"appKey": settings.dingtalk_app_key, "appSecret": settings.dingtalk_app_secret}
    url = settings.dingtalk_api + "/v1.0/oauth2/accessToken"
    answer = answer_to(requests.Request("POST", url, json=body), deadline)
    token, seconds = answer.get("accessToken"), answer.get("expireIn")
    if not isinstance(token, str) or not re.fullmatch("[!-~]+", token):
        raise CallFailed("refused", "no token in the answer")
    lives_seconds = min(seconds, MOST_TOKEN_SECONDS) if isinstance(seconds, int) else 0
    api_tokens[owner] = (token, time.time() + lives_seconds - RENEW_SECONDS)
    return token


def answer_to(request: requests.Request, deadline: float) -> dict[str, Any]:
    """The object that the API answers, {} if it is none; or CallFailed."""
    response = in_time(request, deadline)
    answer = first_object(read_json(response.content))
    if response.status_code != 200 or answer.get("errcode"):  # which only the older API has
        raise api_failure(response.status_code, answer)
    return answer


def in_time(
    request: requests.Request, deadline: float, connections: LimitedConnections | None = None
) -> requests.Response:
    """As exchange, but CallFailed where there is no answer."""
    try:
        return exchange(request, deadline, connections)
    except NO_ANSWER as error:
        cause = "large" if connections and isinstance(error, TooLarge) else "network"
        raise CallFailed(cause, type(error).__name__) from error


def api_failure(status: int, answer: dict[str, Any]) -> CallFailed:
    """What an error of the API means, with its code and its request id for the log."""
    told = json.dumps(answer, ensure_ascii=False)[:2000]
    cause = first_row(API_CAUSES, [told])
    if status == 401:
        cause = "token"
    elif not answer and status in (403, 429):  # a page for a browser: too much from this address
        cause = "busy"
    code, request_id = answer.get("code", answer.get("errcode")), answer.get("requestid", answer.get("requestId"))
    detail = f"HTTP {status}, {plain_words(code, 80)}, its request {plain_words(request_id, 60)}"
    return CallFailed(cause or ("network" if status >= 500 else "refused"), detail)
