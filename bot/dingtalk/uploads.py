"""Pictures of an answer, uploaded to DingTalk, which shows them in Markdown.

https://open.dingtalk.com/document/development/upload-media-files
"""

import base64
import binascii
import re
from collections.abc import Sequence

import requests

from bot import sentences
from bot.deadline import UPLOAD_SHARE, Run
from bot.dingtalk.api import CallFailed, call_dingtalk
from bot.dingtalk.attachments import MOST_PICTURE_BYTES, PICTURE_BYTES
from bot.logs import log
from bot.settings import ReplySettings

API, OLDER_API = "https://api.dingtalk.com", "https://oapi.dingtalk.com"  # of somebody's own, one address takes all


def upload_pictures(pictures: Sequence[str], run: Run) -> tuple[list[str], str]:
    """Markdown that shows each of the pictures, '' for one that is not shown; and why the first of these is not.

    They are Base64. Each costs one metered call of the application.
    """
    shown, why, deadline = [], "", run.share(UPLOAD_SHARE)
    if not run.settings.dingtalk_app_key or run.settings.reply_format == "text":
        return [], "missing" if not run.settings.dingtalk_app_key else "text"
    for picture in pictures:
        try:
            shown.append(f"![{sentences.PICTURE}]({upload(picture, run.settings, deadline)})")
        except CallFailed as failure:
            log.warning("request %s: not shown: %s", run.context.request_id, failure)
            shown.append("")
            why = why or ("unfit" if failure.cause == "picture" else "failed")
    return shown, why


def upload(picture: str, settings: ReplySettings, deadline: float) -> str:
    """The media_id of a picture in Base64, or CallFailed."""
    try:
        data = base64.b64decode(picture.replace("-", "+").replace("_", "/") + "==")
    except binascii.Error as error:
        raise CallFailed("picture", str(error)) from None
    kind = PICTURE_BYTES.match(data)
    if not kind or len(data) > MOST_PICTURE_BYTES:
        raise CallFailed("picture", f"{len(data)} bytes")
    name = str(kind.lastgroup).replace("jpeg", "jpg")
    url = (OLDER_API if settings.dingtalk_api == API else settings.dingtalk_api) + "/media/upload"
    files, params = {"media": (f"picture.{name}", data, f"image/{name}")}, {"type": "image", "access_token": ""}
    request = requests.Request("POST", url, params=params, files=files)
    media_id = call_dingtalk(request, settings, deadline).get("media_id")
    if not isinstance(media_id, str) or not re.fullmatch(r"@?[\w+/=.$-]{1,300}", media_id, re.ASCII):
        raise CallFailed("refused", "no media_id in the answer")
    return media_id
