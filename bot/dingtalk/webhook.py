"""Posts to the sessionWebhook, and reads what DingTalk says to it."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import requests

from bot.connections import NO_ANSWER, exchange
from bot.deadline import now_ms, pause
from bot.dingtalk.message import Message
from bot.errors import NotDelivered
from bot.logs import log, plain_words
from bot.masking import without_parts
from bot.values import read_json
from bot.words import first_row


class Undeliverable(Exception):
    """The reply can never be shown in this chat; only the log can say why."""


class Withheld(Undeliverable):
    """DingTalk shows other texts in this chat, but not this one; the person sees WITHHELD."""


# The one path that messages come with: by another one, such as /robot/send, whoever replays what DingTalk once signed
# could have a person's history answered into a group of his own.
WEBHOOK = re.compile(
    r"(https?)://((?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63})(?::([0-9]{1,5}))?/robot/sendBySession(?:\?[!-\[\]-~]*)?"
)
SEND_SECONDS = 6  # for one request to the webhook, all in all
SEND_PAUSES_SECONDS = (1, 2)  # between the three tries


def check_webhook(message: Message, hosts: tuple[str, ...]) -> None:
    """Undeliverable unless answers may go to this address: DingTalk's signature does not cover the message.

    Allowed is https at and below the hosts; and http at a loopback address that is itself among them, to try things.
    """
    address = WEBHOOK.fullmatch(message.webhook)
    if address is None or int(address[3] or 1) not in range(1, 65536):
        raise Undeliverable("its sessionWebhook is not the address of a session")
    scheme, host = address[1], address[2].lower()
    if scheme == "https":
        allowed = any(f".{host}".endswith(f".{name}") for name in hosts)
    else:
        allowed = host in hosts and host in ("localhost", "127.0.0.1")
    if not allowed:
        raise Undeliverable("its sessionWebhook is not https at one of WEBHOOK_HOSTS")
    if message.webhook_expires_ms is not None and message.webhook_expires_ms < now_ms():
        raise Undeliverable("its sessionWebhook is expired")


def send_part(
    message: Message, body: dict[str, Any], number: int, seconds_left: Callable[[int], float], deadline: float
) -> None:
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
        pause(pause_seconds, deadline)


# What an `errcode` means with which DingTalk shows nothing: by its number, else by the words of `errmsg` (bot.words);
# of this text, of any in this chat, or only now. What is in no row is taken for one that passes.
VERDICTS = """
text       101002, 460101, 34016, 430101, 430102, 430103, 430104, 34014, 40035, 400105, 400402, 43004
final      300001, 310000, 400013, 400101, 400102, 400106
passes     130101, 410100, 500100, 660026
passes     too fast, too many, too frequent, rate, qps, frequen, busy, later,
           频率, 频繁, 太快, 限流, 繁忙, 系统异常, 稍后
final      session, token, expired, dissol, disband, 会话, 过期, 解散, 停用, 不在群, 群不存在
           robot, 机器人 + not exist, 不存在
text       too long, too large, too big, exceed, length, size, oversize, 超长, 过长, 超过, 长度, 大小
           sensitive, unsafe, illegal, violat, forbidden word, forbidden content,
           敏感, 违规, 违禁, 不合规, 不合法, 审核, 安全
           param, missing, malformed, invalid json, invalid msg, invalid message, invalid content, unsupported,
           参数, 缺少, 缺失, 格式, 不支持
"""


def post_to_webhook(url: str, body: bytes, seconds: float) -> str:
    """Why DingTalk did not show the reply this time, '' if it did; Undeliverable if it never will."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    try:
        response = exchange(requests.Request("POST", url, headers=headers, data=body), time.monotonic() + seconds)
    except NO_ANSWER as error:
        return f"no answer from the sessionWebhook: {type(error).__name__}"
    answer = read_json(response.content)
    if response.status_code >= 300 or not isinstance(answer, dict) or "errcode" not in answer:
        return f"the sessionWebhook answers HTTP {response.status_code}"
    errcode = plain_words(answer["errcode"], 20)
    if errcode == "0":
        return ""
    errmsg = plain_words(answer.get("errmsg", ""), 80)
    problem = without_parts(f"DingTalk answers errcode {errcode}: {errmsg}", [body.decode()])  # it may quote the reply
    verdict = first_row(VERDICTS, [f"{errcode}. {errmsg}"])
    log.warning("%s (%s)", problem, verdict or "unknown")
    if verdict == "text":
        raise Withheld(errcode)
    if verdict == "final":
        raise Undeliverable(problem)
    return problem
