"""DingTalk's upload of pictures, which a Markdown message can show: the older API, with its errors in a 200.

The codes are those of DingTalk's list; which of them an upload gets is assumed, as is the order of the checks.

https://open.dingtalk.com/document/development/upload-media-files
"""

from __future__ import annotations

import email.parser
import uuid
from typing import Any, NamedTuple

from .server import Answer, Fault, Received, json_answer

UPLOAD_PATH = "/media/upload"
BASE_SCOPE = "qyapi_base"  # every application has it from the start
MAX_PICTURE_BYTES = 20 * 1024 * 1024
KINDS = {"jpg": b"\xff\xd8\xff", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "png": b"\x89PNG\r\n\x1a\n", "bmp": b"BM"}
NO_PERMISSION = ("60011", "没有调用该接口的权限")
TOO_MANY_CALLS = ("90002", "当前应用调用该接口次数过多，超出了该接口承受的最大qps")


class Part(NamedTuple):
    """A field of a form."""

    file_name: str  # '' if it is no file
    data: bytes


def form_of(received: Received) -> dict[str, Part] | None:
    """The fields of a multipart body by their name; None if it is none, to the letter."""
    boundary = received.headers.get_param("boundary")
    if received.media_type != "multipart/form-data" or not isinstance(boundary, str):
        return None
    first, *parts = (b"\r\n" + received.body).split(b"\r\n--" + boundary.encode())
    if first or not parts or parts.pop() not in (b"--", b"--\r\n"):
        return None
    fields = {}
    for part in parts:
        head, found, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = email.parser.BytesParser().parsebytes(head)
        name = headers.get_param("name", header="content-disposition")
        if not (found and part.startswith(b"\r\n") and isinstance(name, str)):
            return None
        fields[name] = Part(headers.get_filename() or "", data)
    return fields


def picture_of(received: Received) -> bytes | Answer:
    """The picture of an upload, or why it is refused."""
    form = form_of(received)
    if form is None:
        return media_error(43008, "参数需要multipart类型")
    kind = received.query.get("type") or form.get("type", Part("", b"")).data.decode(errors="replace")
    if kind != "image":
        return media_error(40004, "不合法的媒体文件类型")  # the real one also takes voice, video and file
    media = form.get("media")
    if media is None or not media.file_name:
        return media_error(41005, "缺少多媒体文件数据")
    if not media.data:
        return media_error(44001, "多媒体文件为空")
    if len(media.data) > MAX_PICTURE_BYTES:
        return media_error(45001, "多媒体文件大小超过限制")
    ending = media.file_name.rpartition(".")[2].lower()
    if ending not in KINDS or not media.data.startswith(tuple(KINDS.values())):
        return media_error(40005, "不合法的文件类型")
    return media.data


def accepted(media_id: str, now: float) -> Answer:
    content = {"errcode": 0, "errmsg": "ok", "type": "image", "media_id": media_id, "created_at": int(now * 1000)}
    return json_answer(content)


def new_media_id() -> str:
    return f"@lADPD{uuid.uuid4().hex}-_"


def media_error(errcode: int, errmsg: str, **more: Any) -> Answer:
    return json_answer({"errcode": errcode, "errmsg": errmsg, **more})


def gateway_error(sub_code: str, sub_msg: str) -> Answer:
    """An error of what stands before the API."""
    message = f"ding talk error[subcode={sub_code},submsg={sub_msg}]"
    return media_error(88, message, sub_code=sub_code, sub_msg=sub_msg, request_id=uuid.uuid4().hex[:13])


def upload_fault(answer: Answer, times: int = 1) -> Fault:
    """A planned error of the next uploads: of `media_error` or `gateway_error`."""
    return Fault(lambda received: received.path == UPLOAD_PATH, times, status=answer.status, body=answer.body)
