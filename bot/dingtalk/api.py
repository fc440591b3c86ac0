"""DingTalk's API: the application's token, and calls with it."""

from __future__ import annotations

import concurrent.futures
import json
import re
import time
from collections.abc import Callable, Container, Iterable
from typing import Any

import requests

from bot.connections import LimitedConnections, exchange
from bot.deadline import pause
from bot.logs import plain_words
from bot.settings import ReplySettings
from bot.values import first_object, read_json
from bot.words import first_row


class CallFailed(Exception):
    """DingTalk did not do what was asked of its API: the cause, and for the log the detail."""

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


def call_with_token(
    request_with: Callable[[str], requests.Request],
    settings: ReplySettings,
    deadline: float,
    pauses_seconds: Iterable[float] = (1,),  # DingTalk counts calls by the second
    passing: Container[str] = ("busy",),
) -> dict[str, Any]:
    """What DingTalk answers to a call of its API; or CallFailed, for a cause that passes after a try more per pause.

    A token that it does not take any more is renewed, without a pause.
    """
    pauses = iter(pauses_seconds)
    while True:
        try:
            return answer_to(request_with(access_token(settings, deadline)), deadline)
        except CallFailed as failure:
            pause_seconds = next(pauses, None) if failure.cause == "token" or failure.cause in passing else None
            if pause_seconds is None:
                raise
            if failure.cause == "token":
                api_tokens.clear()
            else:
                pause(pause_seconds, deadline)


def call_of(path: str, body: dict[str, Any], settings: ReplySettings) -> Callable[[str], requests.Request]:
    """The request of a call, for call_with_token."""
    url, name = settings.dingtalk_api + path, "x-acs-dingtalk-access-token"
    return lambda token: requests.Request("POST", url, headers={name: token}, json=body)


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
    """As exchange, but CallFailed instead of its errors."""
    try:
        return exchange(request, deadline, connections)
    except (requests.RequestException, concurrent.futures.TimeoutError, ValueError) as error:
        raise CallFailed("network", type(error).__name__) from error


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
