"""Pictures and text files of a message, fetched from DingTalk."""

from __future__ import annotations

import base64
import functools
import ipaddress
import re
import socket
import time
from collections.abc import Iterable
from typing import Any

import requests

from bot import sentences
from bot.connections import FreshConnections, read_up_to
from bot.deadline import FETCH_SHARE, Run
from bot.dingtalk.api import BUSY_SECONDS, Unseen, call_dingtalk, in_time
from bot.dingtalk.message import Message
from bot.logs import log
from bot.readers import is_loopback
from bot.settings import ReplySettings
from bot.values import BLANKS, first_object

EACH_ITS_OWN = ("expired", "refused", "large", "picture", "file")  # with other causes the next one need not be tried
MOST_ATTACHMENTS, MOST_PICTURE_BYTES, MOST_TEXT_BYTES = 4, 5 * 1024 * 1024, 100 * 1024
PICTURE_NAMES = ("png", "jpeg", "webp", "gif")
PICTURE = re.compile(rb"(\x89PNG\r\n\x1a\n)|(\xff\xd8\xff)|(RIFF.{4}WEBP)|(GIF8[79]a)", re.DOTALL)


def look_at(message: Message, run: Run) -> tuple[Message, list[str], list[str]]:
    """The message with what its files say, its pictures as data URLs, and a sentence for each thing that is not seen.

    Unseen if there is nothing else in it.
    """
    deadline = run.share(FETCH_SHARE)
    pictures, text, quotation, failures = [], message.text, message.quotation, []
    for part in message.attachments[:MOST_ATTACHMENTS]:
        try:
            data = fetch(part.code, message.robot_code, run.settings, deadline)
            kind = PICTURE.match(data)
            if kind:
                name = PICTURE_NAMES[(kind.lastindex or 1) - 1]
                pictures.append(f"data:image/{name};base64,{base64.b64encode(data).decode()}")
            elif part.noun == "图片":
                raise Unseen("picture", detail=f"{len(data)} bytes")
            else:
                quotation = f"{quotation.replace(part.words, '')}\n{part.words}\n{text_of_file(data)}".strip()
        except Unseen as unseen:
            log.warning("request %s: not seen: %s: %s", run.context.request_id, unseen.cause, unseen.detail)
            failures.append(unseen)
            if unseen.cause not in EACH_ITS_OWN:
                break
    if len(message.attachments) > MOST_ATTACHMENTS:
        failures.append(Unseen("many"))
    if message.unreadable:  # there are no words
        if not pictures and quotation == message.quotation:
            raise failures[0]
        several = sentences.PICTURES_QUESTION if len(pictures) > 1 else sentences.PICTURE_QUESTION
        text = several if pictures else sentences.FILE_QUESTION
    return message._replace(text=text, quotation=quotation), pictures, list(map(str, failures))


def text_of_file(data: bytes) -> str:
    """The words of a text file, by its content; Unseen if it is none."""
    if len(data) > MOST_TEXT_BYTES:
        raise Unseen("large", detail=f"{len(data)} bytes")
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text.strip(BLANKS) and not re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", text):
            return text
    raise Unseen("file", detail=f"{len(data)} bytes")


def fetch(code: str, robot_code: str, settings: ReplySettings, deadline: float) -> bytes:
    """The picture or the file that DingTalk hands out for a code."""
    body = {"downloadCode": code, "robotCode": robot_code or settings.dingtalk_app_key}
    call = functools.partial(call_dingtalk, "/v1.0/robot/messageFiles/download", body, settings, deadline)
    try:
        answer = call()
    except Unseen as unseen:
        if unseen.cause != "busy":
            raise
        time.sleep(BUSY_SECONDS)
        answer = call()
    url = answer.get("downloadUrl") or first_object(answer.get("data")).get("downloadUrl")
    local = is_loopback(settings.dingtalk_api)
    scheme = "https?" if local else "https"
    if not isinstance(url, str) or not re.fullmatch(rf"{scheme}://[A-Za-z0-9.-]+(:\d{{1,5}})?[/?][!-~]*", url):
        raise Unseen("refused", detail="its downloadUrl is no https address")
    status, data = in_time(deadline, functools.partial(get_file, file_connections(local), url))
    if status != 200:
        raise Unseen("network" if status >= 500 else "expired", detail=f"the file answers HTTP {status}")
    return data


def get_file(connections: FreshConnections, url: str, timeout: tuple[float, float]) -> tuple[int, bytes]:
    """The status and the bytes of a file. Neither token nor Content-Type: they spoil the signature in the address."""
    request = requests.Request("GET", url).prepare()  # by the adapter: no redirects
    with connections.send(request, timeout=timeout, stream=True) as answer:
        try:
            return answer.status_code, read_up_to(MOST_PICTURE_BYTES, answer.iter_content(64 * 1024))
        except ValueError as error:
            raise Unseen("large", detail=str(error)) from None


@functools.lru_cache(maxsize=2)
def file_connections(local: bool) -> FreshConnections:
    """The connections to where DingTalk keeps files: to public addresses only, or to this machine, to try things."""
    connections = FreshConnections()
    pools = connections.poolmanager.pool_classes_by_scheme
    guarded = {scheme: to_public_addresses(pools[scheme], local) for scheme in pools}
    connections.poolmanager.pool_classes_by_scheme = guarded
    return connections


def to_public_addresses(pool_class: Any, local: bool) -> Any:
    """The same kind of connection pool, whose connections lead to no address that only this network knows."""

    def check(addresses: Iterable[str]) -> None:
        for address in map(ipaddress.ip_address, addresses):
            if not (address.is_global or (local and address.is_loopback)):
                raise Unseen("refused", detail="its downloadUrl leads to a private address")

    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            check(str(found[4][0]) for found in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
            super().connect()
            check([self.sock.getpeername()[0]])  # by now the name may lead elsewhere

    return type(pool_class.__name__, (pool_class,), {"ConnectionCls": Connection})
