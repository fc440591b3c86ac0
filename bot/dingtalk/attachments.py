"""Pictures and text files of a message, fetched from DingTalk."""

from __future__ import annotations

import base64
import codecs
import functools
import ipaddress
import re
import socket
from typing import Any

import requests

from bot import sentences
from bot.connections import FreshConnections, read_up_to
from bot.deadline import FETCH_SHARE, Run, pause
from bot.dingtalk.api import BUSY_SECONDS, CallFailed, call_dingtalk, in_time
from bot.dingtalk.message import FILE, PICTURE, Message
from bot.logs import log
from bot.readers import is_loopback
from bot.settings import ReplySettings
from bot.values import BLANKS, first_object

EACH_ITS_OWN = ("expired", "refused")  # with other causes of DingTalk's the next one need not be tried
MOST_ATTACHMENTS, MOST_PICTURE_BYTES, MOST_TEXT_BYTES = 4, 5 * 1024 * 1024, 100 * 1024
PICTURE_NAMES = ("png", "jpeg", "webp", "gif")
PICTURE_BYTES = re.compile(rb"(\x89PNG\r\n\x1a\n)|(\xff\xd8\xff)|(RIFF.{4}WEBP)|(GIF8[79]a)", re.DOTALL)


class Unseen(CallFailed):
    """A picture or a file was handed out, but not looked at; the cause is a key of NOT_SEEN."""


def look_at(message: Message, run: Run) -> tuple[Message, list[str], list[str]]:
    """The message with what its files say, its pictures as data URLs, and a sentence for each thing that is not seen.

    Unseen if there is nothing else in it.
    """
    if not (message.attachments and run.settings.dingtalk_app_key):
        return message, [], []
    deadline = run.share(FETCH_SHARE)
    pictures, text, quotation, causes = [], message.text, message.quotation, []
    for piece in message.attachments[:MOST_ATTACHMENTS]:
        try:
            data = fetch(piece.download_code, message.robot_code, run.settings, deadline)
            kind = PICTURE_BYTES.match(data)
            if kind:
                name = PICTURE_NAMES[(kind.lastindex or 1) - 1]
                pictures.append(f"data:image/{name};base64,{base64.b64encode(data).decode()}")
            elif piece.noun == PICTURE:
                raise Unseen("picture", f"{len(data)} bytes")
            else:
                quotation = f"{quotation.replace(piece.words, '')}\n{piece.words}\n{text_of_file(data)}".strip()
        except CallFailed as failure:
            log.warning("request %s: not seen: %s", run.context.request_id, failure)
            not_here = message.in_group and piece.noun == FILE and failure.cause in EACH_ITS_OWN
            causes.append("missing" if not_here else failure.cause)
            if not isinstance(failure, Unseen) and failure.cause not in EACH_ITS_OWN:
                break
    if len(message.attachments) > MOST_ATTACHMENTS:
        causes.append("many")
    if message.unreadable:  # there are no words
        if not pictures and quotation == message.quotation:
            raise Unseen(causes[0], "and nothing else was sent")
        several = sentences.PICTURES_QUESTION if len(pictures) > 1 else sentences.PICTURE_QUESTION
        text = several if pictures else sentences.FILE_QUESTION
    notes = [sentences.NOTE.format(note=sentences.NOT_SEEN[cause]) for cause in causes]
    return message._replace(text=text, quotation=quotation), pictures, notes


# What a text may be written in, and the first bytes of its everyday signs there: rare ones are a sign of a wrong guess.
ENCODINGS = (("gb18030", 0xA1, 0xD7), ("big5", 0xA1, 0xC6), ("shift_jis", 0x81, 0x97))
BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
EVERYDAY = 0.7  # of the signs that are not ASCII, at least


def text_of_file(data: bytes) -> str:
    """The words of a text file, by its content; Unseen if it is none, is empty, or is written in an unknown way."""
    if len(data) > MOST_TEXT_BYTES:
        raise Unseen("large", f"{len(data)} bytes")
    mark, encoding = next((each for each in BYTE_ORDER_MARKS if data.startswith(each[0])), (b"", "utf-8"))
    text = decoded(data[len(mark) :], encoding)
    if text is None and b"\0" not in data:
        guesses = [(everyday_share(data, *guess), decoded(data, guess[0])) for guess in ENCODINGS]
        share, text = max(guesses, key=lambda guess: (guess[1] is not None, guess[0]))
        if text is not None and share < EVERYDAY:
            raise Unseen("encoding", f"{len(data)} bytes")
    if text is None or re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", text):
        raise Unseen("file", f"{len(data)} bytes")
    if not text.strip(BLANKS):
        raise Unseen("nothing in it", f"{len(data)} bytes")
    return text


def decoded(data: bytes, encoding: str) -> str | None:
    """The text that these bytes are in an encoding, None if they are none."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def everyday_share(data: bytes, encoding: str, first: int, last: int) -> float:
    """How many of the signs that are not ASCII are everyday ones, if the bytes are in this encoding; 0 if they are not.

    Of two bytes the second also tells: GB 2312, the everyday part of GB18030, has none below 0xA1.
    """
    signs = [sign.encode(encoding) for sign in decoded(data, encoding) or "" if not sign.isascii()]
    lowest = 0xA1 if encoding == "gb18030" else 0x40
    usual = sum(first <= sign[0] <= last and sign[-1] >= lowest for sign in signs)
    return usual / len(signs) if signs else 0.0


def fetch(download_code: str, robot_code: str, settings: ReplySettings, deadline: float) -> bytes:
    """The picture or the file that DingTalk hands out for a code."""
    body = {"downloadCode": download_code, "robotCode": robot_code or settings.dingtalk_app_key}
    call = functools.partial(call_dingtalk, "/v1.0/robot/messageFiles/download", body, settings, deadline)
    try:
        answer = call()
    except CallFailed as failure:
        if failure.cause != "busy":
            raise
        pause(BUSY_SECONDS, deadline)
        answer = call()
    url = answer.get("downloadUrl") or first_object(answer.get("data")).get("downloadUrl")
    local = is_loopback(settings.dingtalk_api)
    scheme = "https?" if local else "https"
    if not isinstance(url, str) or not re.fullmatch(rf"{scheme}://[A-Za-z0-9.-]+(:\d{{1,5}})?[/?][!-~]*", url):
        raise CallFailed("refused", "its downloadUrl is no https address")
    status, data = in_time(deadline, functools.partial(get_file, file_connections(local), url))
    if status != 200:
        raise CallFailed("network" if status >= 500 else "expired", f"the file answers HTTP {status}")
    return data


def get_file(connections: FreshConnections, url: str, timeout: tuple[float, float]) -> tuple[int, bytes]:
    """The status and the bytes of a file. Neither token nor Content-Type: they spoil the signature in the address."""
    request = requests.Request("GET", url).prepare()  # by the adapter: no redirects
    with connections.send(request, timeout=timeout, stream=True) as answer:
        try:
            return answer.status_code, read_up_to(MOST_PICTURE_BYTES, answer.iter_content(64 * 1024))
        except ValueError as error:
            raise Unseen("large", str(error)) from None


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

    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            connected: socket.socket = super()._new_conn()  # before TLS
            address = ipaddress.ip_address(connected.getpeername()[0])  # not what its name leads to, which may change
            if address.is_global or (local and address.is_loopback):
                return connected
            connected.close()
            raise CallFailed("refused", "its downloadUrl leads to a private address")

    return type(pool_class.__name__, (pool_class,), {"ConnectionCls": Connection})
