"""The kinds of messages that can be tried, each as DingTalk hands it to a robot, with an example of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

EXAMPLE_PICTURE = Path(__file__).with_name("static") / "example.png"
PDF = b"%PDF-1.7\n%\xff\xff\xff\xff\n\0"  # no text, as every PDF


class Kind(NamedTuple):
    """How a message of this kind is made. Each pair is Chinese and English."""

    data: str  # the name of a file in tests/data; "text" is the plain one
    written: bool = False  # somebody writes its words
    in_group: bool = False  # it can come with an @; the others DingTalk delivers in private chats only
    picture: bool = False
    files: tuple[tuple[str, bytes], ...] = ()  # name and content
    fields: tuple[dict[str, Any], ...] = ()  # that differ from the data
    shown: tuple[str, ...] = ()  # what stands in its bubble; a file shows its name


def record(title: str, *lines: tuple[str, str]) -> dict[str, Any]:
    """A forwarded conversation; its entries come as JSON in a text (reported, not documented)."""
    entries = [{"senderNick": nick, "msgType": "text", "content": words} for nick, words in lines]
    return {"msgtype": "chatRecord", "content": {"title": title, "chatRecord": json.dumps(entries, ensure_ascii=False)}}


def card(title: str, words: str) -> dict[str, Any]:
    """A card with buttons (reported, not documented)."""
    return {"msgtype": "actionCard", "content": {"title": title, "markdown": words}}


KINDS = {
    "text": Kind("text", written=True, in_group=True),
    "voice": Kind("audio", written=True),
    "rich_text": Kind("rich_text", written=True, in_group=True, picture=True),
    "picture": Kind("picture", in_group=True, picture=True),
    "text_file": Kind(
        "file",
        files=(
            ("会议纪要.txt", "会议纪要\n时间：周三下午三点\n结论：新版本下周一发布。\n".encode()),
            (
                "minutes.txt",
                b"Minutes\nWhen: Wednesday, 3 p.m.\nResult: the release is on Monday.\n",
            ),
        ),
    ),
    "file": Kind("file", files=(("报告.pdf", PDF), ("report.pdf", PDF))),
    "video": Kind("video", shown=("视频 5″", "video 5″")),
    "sticker": Kind("unknown", shown=("☺", "☺")),  # assumed: what robots are not given comes as unknownMsgType
    "card": Kind(
        "unknown",
        fields=(
            card("放假通知", "国庆节从 10 月 1 日放到 7 日，8 日上班。"),
            card("Holidays", "The office is closed from 1 to 7 October."),
        ),
        shown=(
            "放假通知\n国庆节从 10 月 1 日放到 7 日，8 日上班。",
            "Holidays\nThe office is closed from 1 to 7 October.",
        ),
    ),
    "record": Kind(
        "unknown",
        fields=(
            record("小明和小红的聊天记录", ("小明", "新版本什么时候发布？"), ("小红", "下周一。")),
            record("Chat of Ming and Hong", ("Ming", "When is the release?"), ("Hong", "On Monday.")),
        ),
        shown=(
            "小明和小红的聊天记录\n小明：新版本什么时候发布？\n小红：下周一。",
            "Chat of Ming and Hong\nMing: When is the release?\nHong: On Monday.",
        ),
    ),
}


def of_language(pair: tuple[Any, ...], english: bool) -> Any:
    """The Chinese or the English one; None of an empty pair."""
    return pair[english] if pair else None


def replied(message: dict[str, Any]) -> dict[str, Any]:
    """What a message is in another one that quotes it."""
    content = message.get("content") or {"text": message["text"]["content"].strip()}
    ids = {name: message[name] for name in ("msgId", "senderId")}
    return {"msgType": message["msgtype"], **ids, "content": content}
