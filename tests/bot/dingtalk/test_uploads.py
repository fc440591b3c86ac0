"""Pictures of an answer: how they get to DingTalk, and what is said of those that do not."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from bot.dingtalk.api import api_tokens
from bot.dingtalk.uploads import upload_pictures
from tests.helpers import png
from tests.stand_ins.dingtalk_media import BASE_SCOPE, UPLOAD_PATH, media_error, upload_fault
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.server import Fault

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\xff\xd9"
GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00"
MIB_5 = 5 * 1024 * 1024

Upload = Callable[..., tuple[list[str], str]]


@pytest.fixture
def upload(cloud: LocalCloud) -> Upload:
    """Uploads these bytes as the pictures of an answer, with the application's key and what else is set."""
    api_tokens.clear()
    application = {name.lower(): value for name, value in cloud.application().items()}

    def upload(*pictures: bytes, seconds: float = 30, **settings: object) -> tuple[list[str], str]:
        values = SimpleNamespace(
            **{"reply_format": "auto", "dingtalk_api": cloud.dingtalk.url, **application, **settings}
        )
        context = SimpleNamespace(request_id="request-1")
        run = SimpleNamespace(settings=values, context=context, share=lambda _: time.monotonic() + seconds)
        return upload_pictures([base64.b64encode(data).decode() for data in pictures], run)  # type: ignore[arg-type]

    return upload


def shown(cloud: LocalCloud, markdown: list[str]) -> list[bytes]:
    """What the chat would show of these."""
    return [cloud.dingtalk.api.media[each.partition("](")[2].removesuffix(")")] for each in markdown if each]


@pytest.mark.parametrize("picture", [png(), JPEG, GIF], ids=["png", "jpeg", "gif"])
def test_picture_is_uploaded_as_it_is(upload: Upload, cloud: LocalCloud, picture: bytes) -> None:
    """DingTalk takes these, and Markdown shows them by what it answers."""
    markdown, why = upload(picture)
    assert (shown(cloud, markdown), why) == ([picture], "")


def test_several_pictures_are_shown_in_their_order(upload: Upload, cloud: LocalCloud) -> None:
    """With one token."""
    pictures = [png(1, 1), JPEG, png(2, 2), GIF]
    markdown, why = upload(*pictures)
    assert (shown(cloud, markdown), why) == (pictures, "")
    assert [received.path for received in cloud.dingtalk.received].count(UPLOAD_PATH) == 4
    assert len(cloud.dingtalk.received) == 5


def test_token_that_is_not_taken_any_more_is_renewed(upload: Upload, cloud: LocalCloud) -> None:
    """The older API tells it in a 200."""
    upload(png())
    cloud.dingtalk.api.revoke_tokens()
    assert upload(png())[1] == ""


@pytest.mark.parametrize(
    ("settings", "why"), [({"dingtalk_app_key": None}, "missing"), ({"reply_format": "text"}, "text")]
)
def test_picture_that_could_not_be_shown_is_not_uploaded(
    upload: Upload, cloud: LocalCloud, settings: dict[str, object], why: str
) -> None:
    """No call for nothing."""
    assert upload(png(), **settings) == ([], why)
    assert not cloud.dingtalk.received


@pytest.mark.parametrize("picture", [b"iVBOR", png(size=MIB_5 + 1), b"<svg/>"], ids=["no picture", "5 MiB + 1", "svg"])
def test_what_is_no_fit_picture_is_not_uploaded(upload: Upload, cloud: LocalCloud, picture: bytes) -> None:
    """By its bytes, whatever the service called it; the next one is shown."""
    markdown, why = upload(picture, JPEG)
    assert (markdown[0], shown(cloud, markdown), why) == ("", [JPEG], "unfit")


def test_picture_of_five_mebibytes_is_uploaded(upload: Upload) -> None:
    """The limit itself."""
    assert upload(png(size=MIB_5))[1] == ""


def test_base64_that_is_none_is_not_uploaded(cloud: LocalCloud) -> None:
    """It may have been cut off."""
    settings = SimpleNamespace(reply_format="auto", dingtalk_app_key="key")
    run = SimpleNamespace(settings=settings, context=SimpleNamespace(request_id="r"), share=lambda _: 0)
    assert upload_pictures(["iVBORw0KGgoA="[:-1] + "A" * 5], run) == ([""], "unfit")  # type: ignore[arg-type]


def test_refusal_of_one_picture_leaves_the_others(upload: Upload, cloud: LocalCloud) -> None:
    """DingTalk's list of kinds has no WEBP."""
    markdown, why = upload(WEBP, JPEG)
    assert (markdown[0], shown(cloud, markdown), why) == ("", [JPEG], "failed")


@pytest.mark.parametrize(
    "fault",
    [
        upload_fault(media_error(-1, "系统繁忙")),
        Fault(lambda received: received.path == UPLOAD_PATH, status=502, body="<html>Bad Gateway</html>"),
        Fault(lambda received: received.path == UPLOAD_PATH, status=200, body="[]"),
        Fault(lambda received: received.path == UPLOAD_PATH, status=200, body='{"errcode": 0, "media_id": "a) ![](b"}'),
        Fault(lambda received: received.path == UPLOAD_PATH, status=200, body='{"errcode": 0, "media_id": 5}'),
    ],
    ids=["busy", "page", "list", "hostile", "number"],
)
def test_upload_that_fails_is_said_in_one_word(
    upload: Upload, cloud: LocalCloud, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """The person gets a sentence, the log the cause, without the token."""
    upload(png())
    cloud.dingtalk.plan(fault)
    with caplog.at_level(logging.DEBUG, logger="bot"):
        assert upload(png()) == ([""], "failed")
    assert "not shown" in caplog.text
    assert not [token for token in cloud.dingtalk.api.tokens if token in caplog.text]


def test_upload_that_comes_too_fast_is_tried_once_more(upload: Upload, cloud: LocalCloud) -> None:
    """DingTalk counts calls by the second."""
    cloud.dingtalk.plan(upload_fault(media_error(90002, "当前应用调用该接口次数过多")))
    assert upload(png())[1] == ""


def test_application_without_permission_is_said_in_the_log(
    upload: Upload, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """The word of the cause, and DingTalk's code."""
    cloud.dingtalk.api.permissions.discard(BASE_SCOPE)
    assert upload(png()) == ([""], "failed")
    assert "not shown: permission: HTTP 200, 88" in caplog.text


def test_upload_ends_at_its_deadline(upload: Upload, cloud: LocalCloud) -> None:
    """All pictures together have one."""
    cloud.dingtalk.plan(Fault(lambda received: received.path == UPLOAD_PATH, 4, delay=5))
    started = time.monotonic()
    markdown, why = upload(png(), JPEG, GIF, seconds=1)
    assert (markdown, why) == (["", "", ""], "failed")
    assert time.monotonic() - started < 4
