"""Pictures and text files of a message, fetched from DingTalk."""

from __future__ import annotations

import base64
import codecs
import functools
import ipaddress
import re
import socket

import requests

from bot import sentences
from bot.connections import LimitedConnections, TooLarge
from bot.deadline import FETCH_SHARE, Run
from bot.dingtalk.api import CallFailed, call_of, call_with_token, in_time
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
    share, text = 1.0, ""
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        share, text = max((read_as(data, *guess) for guess in ENCODINGS), key=lambda guess: guess[0])
    if share < 0 or re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", text):
        raise Unseen("file", f"{len(data)} bytes")
    if share < EVERYDAY:
        raise Unseen("encoding", f"{len(data)} bytes")
    if not text.strip(BLANKS):
        raise Unseen("nothing in it", f"{len(data)} bytes")
    return text


def read_as(data: bytes, encoding: str, first: int, last: int) -> tuple[float, str]:
    """How many of the signs that are not ASCII are everyday ones in this encoding, and the text; -1 if it is none.

    Of two bytes the second also tells: GB 2312, the everyday part of GB18030, has none below 0xA1.
    """
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return -1, ""
    signs = [sign.encode(encoding) for sign in text if not sign.isascii()]
    lowest = 0xA1 if encoding == "gb18030" else 0x40
    return sum(first <= sign[0] <= last and sign[-1] >= lowest for sign in signs) / len(signs), text


def fetch(download_code: str, robot_code: str, settings: ReplySettings, deadline: float) -> bytes:
    """The picture or the file that DingTalk hands out for a code."""
    body = {"downloadCode": download_code, "robotCode": robot_code or settings.dingtalk_app_key}
    call = call_of("/v1.0/robot/messageFiles/download", body, settings)
    answer = call_with_token(call, settings, deadline)
    url = answer.get("downloadUrl") or first_object(answer.get("data")).get("downloadUrl")
    local = is_loopback(settings.dingtalk_api)
    scheme = "https?" if local else "https"
    if not isinstance(url, str) or not re.fullmatch(rf"{scheme}://[A-Za-z0-9.-]+(:\d{{1,5}})?[/?][!-~]*", url):
        raise CallFailed("refused", "its downloadUrl is no https address")
    # Neither token nor Content-Type: they spoil the signature in the address.
    response = in_time(requests.Request("GET", url), deadline, file_connections(local))
    if response.status_code != 200:
        cause = "network" if response.status_code >= 500 else "expired"
        raise CallFailed(cause, f"the file answers HTTP {response.status_code}")
    return response.content


@functools.lru_cache(maxsize=2)
def file_connections(local: bool) -> LimitedConnections:
    """The connections to where DingTalk keeps files, kept between messages."""
    return FileConnections(local)


class FileConnections(LimitedConnections):
    """To public addresses only, or to this machine, to try things; to none that only this network knows."""

    most_bytes = MOST_PICTURE_BYTES

    def __init__(self, local: bool) -> None:
        super().__init__()
        self.local = local

    def check(self, connected: socket.socket) -> None:
        """By the address itself, not by what its name leads to, which may change."""
        address = ipaddress.ip_address(connected.getpeername()[0])
        if not (address.is_global or (self.local and address.is_loopback)):
            connected.close()
            raise CallFailed("refused", "its downloadUrl leads to a private address")

    def send(self, *args: object, **kwargs: object) -> requests.Response:
        """As in the base class."""
        try:
            return super().send(*args, **kwargs)
        except TooLarge as error:
            raise Unseen("large", str(error)) from None
