"""An HTTP request in the two forms of Function Compute, and its answer.

https://help.aliyun.com/document_detail/74756.html                                       2.0: WSGI
https://www.alibabacloud.com/help/en/functioncompute/fc/http-trigger-invoking-function   3.0: the event
"""

import base64
import json
import logging
import re
from typing import Any, NamedTuple

from bot import sentences

MAX_BODY_BYTES = 64 * 1024  # Function Compute takes 128 KiB asynchronously; no documented message comes near


class Request(NamedTuple):
    """An HTTP request from DingTalk, or from somebody who pretends to be DingTalk."""

    method: str
    timestamp: str  # header: ms since 1970
    sign: str  # header: base64
    body: bytes  # its first MAX_BODY_BYTES + 1 bytes


class Answer(NamedTuple):
    """An HTTP answer."""

    status: str
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def request_in_environ(environ: dict[str, Any]) -> Request:
    """The request in a WSGI environ; the body's length may be missing, empty or nonsense."""
    length = environ.get("CONTENT_LENGTH") or ""
    limit = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else MAX_BODY_BYTES + 1
    return Request(
        method=environ["REQUEST_METHOD"],
        timestamp=environ.get("HTTP_TIMESTAMP", ""),
        sign=environ.get("HTTP_SIGN", ""),
        body=environ["wsgi.input"].read(min(limit, MAX_BODY_BYTES + 1)),
    )


def request_in_event(event: bytes) -> Request:
    """The request in an event, or Refused; the documents do not say whether header names are in lower case."""
    try:
        fields = json.loads(event)
        headers = {name.lower(): value for name, value in fields["headers"].items()}
        method, body = fields["requestContext"]["http"]["method"], fields.get("body") or ""
        timestamp, sign = headers.get("timestamp", ""), headers.get("sign", "")
        data = base64.b64decode(body) if fields.get("isBase64Encoded") else body.encode()
        if not all(isinstance(text, str) for text in (method, timestamp, sign)):
            raise TypeError("not texts")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise Refused("NotARequest", "the event is not one of an HTTP trigger") from error
    return Request(method, timestamp, sign, data[: MAX_BODY_BYTES + 1])


JSON, PLAIN = "application/json; charset=utf-8", "text/plain; charset=utf-8"
NOTHING_TO_SHOW = Answer("200 OK", JSON, b'{"msgtype": "empty"}')


def only_status(status: str) -> Answer:
    """An answer that tells nothing else, so that it helps nobody who is not DingTalk."""
    return Answer(status, PLAIN, status.encode())


USE_A_BROWSER = "".join(f"{spoken.USE_A_BROWSER}\n" for spoken in sentences.LANGUAGES.values())
REFUSALS: dict[str, tuple[int, Answer]] = {  # what the log calls the situation: level in the log, answer
    "NotARequest": (logging.WARNING, Answer("400 Bad Request", PLAIN, USE_A_BROWSER.encode())),
    "WrongMethod": (logging.INFO, only_status("405 Method Not Allowed")._replace(headers=(("Allow", "GET, POST"),))),
    "NotFromDingtalk": (logging.WARNING, only_status("403 Forbidden")),
    "TooLarge": (logging.WARNING, only_status("413 Content Too Large")),
    "NotAMessage": (logging.WARNING, only_status("400 Bad Request")),
    "NotHandedOver": (logging.ERROR, NOTHING_TO_SHOW),  # plus the sentence that every cause has
}


class Refused(Exception):
    """The request goes no further. The sender gets the answer, the log gets the reason.

    `sentence`: what the answer makes the chat show, for the situation NotHandedOver.
    """

    def __init__(self, situation: str, reason: str, sentence: str = "") -> None:
        super().__init__(reason)
        self.situation = situation
        self.level, self.answer = REFUSALS[situation]
        if sentence:
            text = {"msgtype": "text", "text": {"content": sentence}}
            self.answer = Answer("200 OK", JSON, json.dumps(text, ensure_ascii=False).encode())
