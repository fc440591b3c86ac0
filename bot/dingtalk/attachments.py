"""Pictures and text files of a message, fetched from DingTalk."""

import base64
import codecs
import functools
import ipaddress
import re
import socket

import requests

from bot import sentences
from bot.connections import LimitedConnections
from bot.deadline import FETCH_SHARE, Run
from bot.dingtalk.api import CallFailed, call_dingtalk, in_time
from bot.dingtalk.message import FILE, PICTURE, Message
from bot.logs import log
from bot.readers import is_loopback
from bot.settings import ReplySettings
from bot.values import BLANKS, first_object

NOT_HANDED_OUT = ("expired", "refused")  # as DingTalk answers for any file of a group
OF_ALL = ("app", "token", "permission", "robot", "ip", "quota", "busy", "network")  # the next one need not be tried
MOST_ATTACHMENTS, MOST_PICTURE_BYTES, MOST_TEXT_BYTES = 4, 5 * 1024 * 1024, 100 * 1024
PICTURE_BYTES = re.compile(  # the first of them
    rb"(?P<png>\x89PNG\r\n\x1a\n)|(?P<jpeg>\xff\xd8\xff)|(?P<webp>RIFF.{4}WEBP)|(?P<gif>GIF8[79]a)", re.DOTALL
)


def look_at(message: Message, run: Run) -> tuple[Message, list[str], list[str]]:
    """The message with what its files say, its pictures as data URLs, and a sentence for each thing that is not seen.

    CallFailed if there is nothing else in it; the cause is a key of NOT_SEEN.
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
                pictures.append(f"data:image/{kind.lastgroup};base64,{base64.b64encode(data).decode()}")
            elif piece.noun == PICTURE:
                raise CallFailed("picture", f"{len(data)} bytes")
            else:
                quotation = f"{quotation.replace(piece.words, '')}\n{piece.words}\n{text_of_file(data)}".strip()
        except CallFailed as failure:
            log.warning("request %s: not seen: %s", run.context.request_id, failure)
            not_here = message.in_group and piece.noun == FILE and failure.cause in NOT_HANDED_OUT
            causes.append("missing" if not_here else failure.cause)
            if failure.cause in OF_ALL:
                break
    if len(message.attachments) > MOST_ATTACHMENTS:
        causes.append("many")
    if message.unreadable:  # there are no words
        if not pictures and quotation == message.quotation:
            raise CallFailed(causes[0], "and nothing else was sent")
        several = sentences.PICTURES_QUESTION if len(pictures) > 1 else sentences.PICTURE_QUESTION
        text = several if pictures else sentences.FILE_QUESTION
    notes = [sentences.NOTE.format(note=sentences.NOT_SEEN[cause]) for cause in causes]
    return message._replace(text=text, quotation=quotation), pictures, notes


# What a text may be written in, and the first bytes of its everyday signs there: rare ones are a sign of a wrong guess.
ENCODINGS = (("gb18030", 0xA1, 0xD7), ("big5", 0xA1, 0xC6), ("shift_jis", 0x81, 0x97))
EVERYDAY = 0.7  # of the signs that are not ASCII, at least


def text_of_file(data: bytes) -> str:
    """The words of a text file, by its content; CallFailed if it is none, is empty, or is written in an unknown way."""
    if len(data) > MOST_TEXT_BYTES:
        raise CallFailed("large", f"{len(data)} bytes")
    share, text = 1.0, ""
    try:
        text = data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        share, text = max((read_as(data, *guess) for guess in ENCODINGS), key=lambda guess: guess[0])
    if share < EVERYDAY:
        raise CallFailed("file" if share < 0 or "\0" in text else "encoding", f"{len(data)} bytes")
    if re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", text):
        raise CallFailed("file", f"{len(data)} bytes")
    if not text.strip(BLANKS):
        raise CallFailed("nothing in it", f"{len(data)} bytes")
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
    request = requests.Request("POST", f"{settings.dingtalk_api}/v1.0/robot/messageFiles/download", json=body)
    answer = call_dingtalk(request, settings, deadline)
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


file_connections = functools.lru_cache(maxsize=2)(FileConnections)  # kept between messages
