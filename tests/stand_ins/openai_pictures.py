"""Pictures in a question to the OpenAI API: what is refused, and what the stand-in sees in one."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping
from typing import Any

from .openai_errors import Refused, error_body, wrong_type

# How services say that a model does not look at pictures, all with status 400; from issues of their users.
NO_VISION: Mapping[str, dict[str, Any]] = {
    "openai": error_body(
        "Invalid content type. image_url is only supported by certain models.",
        param="messages.[0].content.[1].type",
    ),
    "deepseek": error_body(
        "Failed to deserialize the JSON body into the target type: messages[1]: unknown variant `image_url`, "
        "expected `text` at line 1 column 395009",
        code="invalid_request_error",
    ),
    "qwen": error_body(
        "<400> InternalError.Algo.InvalidParameter: The provided messages input is invalid. The error info is "
        "[Unexpected item type in content.]",
        code="invalid_parameter_error",
    ),
    "glm": {"error": {"code": "1210", "message": "messages.content.type 参数非法，取值范围 ['text']"}},
    "glm, short": {"error": {"code": "1210", "message": "API 调用参数有误，请检查文档。"}},
}
DATA_URL = re.compile(r"data:image/([a-z+]+);base64,([A-Za-z0-9+/]+={0,2})")
MAX_PICTURE_CHARACTERS = 20_971_520  # of a data URL
MAX_PICTURES = 500
SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF"}


def pictures_in(messages: list[dict[str, Any]]) -> list[Any]:
    """What stands in the url of each picture."""
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    return [part.get("image_url") for part in parts if part["type"] == "image_url"]


def check_pictures(messages: list[dict[str, Any]], blind: str) -> None:
    """Refuse what is no picture in a data URL. The real API also fetches addresses; nothing of ours sends them."""
    found = pictures_in(messages)
    if found and blind:
        raise Refused(400, NO_VISION[blind])
    if len(found) > MAX_PICTURES:
        raise Refused(400, error_body("Too many images.", code="invalid_value", param="messages"))
    for picture in found:
        if not isinstance(picture, dict):
            raise wrong_type("image_url", "an object")
        check_picture(picture.get("url"), picture.get("detail", "auto"), "image_url")


def check_picture(url: object, detail: object, param: str) -> None:
    """Refuse what is no address, and what is no picture in a data URL."""
    if not isinstance(url, str):
        raise wrong_type(param, "an object")
    if detail not in ("auto", "low", "high"):
        raise Refused(400, error_body("Invalid value: 'detail'.", code="invalid_value", param="detail"))
    if url.startswith(("http://", "https://")):
        return
    data_url = DATA_URL.fullmatch(url)
    if len(url) > MAX_PICTURE_CHARACTERS:
        raise Refused(400, error_body("The image is too large.", code="image_too_large", param=param))
    if not data_url or len(data_url[2]) % 4:
        raise Refused(400, error_body("Invalid base64 image_url.", code="invalid_base64_image", param=param))
    if not base64.b64decode(data_url[2][:16]).startswith(SIGNATURES.get(data_url[1], b"?")):
        message = "You uploaded an unsupported image. Please make sure your image is valid."
        raise Refused(400, error_body(message, code="invalid_image_format", param=param))


def describe(picture: dict[str, str]) -> str:
    """Format, size in pixels where that is simple, and bytes: 'PNG，2×1 像素，71 字节'."""
    kind, encoded = DATA_URL.fullmatch(picture["url"]).groups()  # type: ignore[union-attr]
    data = base64.b64decode(encoded)
    size = {"png": struct.unpack_from(">II", data.ljust(24), 16), "gif": struct.unpack_from("<HH", data.ljust(10), 6)}
    pixels = "{}×{} 像素，".format(*size[kind]) if kind in size else ""
    return f"{kind.upper()}，{pixels}{len(data)} 字节"
