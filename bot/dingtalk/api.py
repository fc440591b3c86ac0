"""DingTalk's API: the application's token, and calls with it."""

from __future__ import annotations

import concurrent.futures
import functools
import json
import re
import time
from collections.abc import Callable
from typing import Any

import requests

from bot.connections import FreshConnections, post
from bot.deadline import T, call_until
from bot.logs import plain_words
from bot.settings import ReplySettings
from bot.values import read_json
from bot.words import first_row


class CallFailed(Exception):
    """DingTalk did not do what was asked of its API: the cause, and for the log the detail."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause, self.detail = cause, detail


Call = Callable[[str], tuple[int, dict[str, Any]]]  # with a token; the status and the object of the answer

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
BUSY_SECONDS = 1  # DingTalk counts calls by the second
# Of an application, and until when; kept per instance.
api_tokens: dict[tuple[str, str | None, str | None], tuple[str, float]] = {}


def call_dingtalk(path: str, body: dict[str, Any], settings: ReplySettings, deadline: float) -> dict[str, Any]:
    """What DingTalk answers to a call of its API, or CallFailed."""

    def call(token: str) -> tuple[int, dict[str, Any]]:
        return post_json(path, body, {"x-acs-dingtalk-access-token": token}, settings, deadline)

    return with_token(call, settings, deadline)


def with_token(call: Call, settings: ReplySettings, deadline: float, renewed: bool = False) -> dict[str, Any]:
    """What DingTalk answers to a call; or CallFailed. A token that it does not take any more is renewed once."""
    status, answer = call(access_token(settings, deadline))
    if status == 200 and not answer.get("errcode"):  # which only the older API has
        return answer
    failure = api_failure(status, answer)
    if renewed or failure.cause != "token":
        raise failure
    api_tokens.clear()
    return with_token(call, settings, deadline, renewed=True)


def access_token(settings: ReplySettings, deadline: float) -> str:
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
        raise CallFailed("refused", "no token in the answer")
    lives_seconds = min(seconds, MOST_TOKEN_SECONDS) if isinstance(seconds, int) else 0
    api_tokens[owner] = (token, time.time() + lives_seconds - RENEW_SECONDS)
    return token


def post_json(
    path: str, body: dict[str, Any], headers: dict[str, str], settings: ReplySettings, deadline: float
) -> tuple[int, dict[str, Any]]:
    """The status and the object that the API answers, {} if it is none; or CallFailed."""
    headers = {"Content-Type": "application/json", **headers}
    return post_bytes(settings.dingtalk_api + path, json.dumps(body).encode(), headers, deadline)


def post_bytes(url: str, body: bytes, headers: dict[str, str], deadline: float) -> tuple[int, dict[str, Any]]:
    """As post_json, of any body."""
    response, data = in_time(deadline, functools.partial(post, api_connections(), url, body, headers))
    answer = read_json(data)
    return response.status_code, answer if isinstance(answer, dict) else {}


@functools.lru_cache(maxsize=1)
def api_connections() -> FreshConnections:
    """The connections to DingTalk's API, kept between messages."""
    return FreshConnections()


def in_time(deadline: float, request: Callable[[tuple[float, float]], T]) -> T:
    """What a request gives, which gets its time-outs, to connect and for each read; or CallFailed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise CallFailed("network", "time is up")
    try:
        return call_until(deadline, functools.partial(request, (min(3, seconds), seconds)))
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
