"""A reply as the requests that show it: in parts that DingTalk takes."""

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from bot import sentences
from bot.dingtalk.inline import BOLD, LINK, as_words
from bot.dingtalk.markdown import Block, blocks_in, render
from bot.dingtalk.message import Message

PART_CHARACTERS = 3300  # of one message; clients show no Markdown over 3,500; the rest is for @, number and fences
MAX_PARTS = 20  # of one answer; nobody reads more
PART_BYTES = 18_000  # DingTalk refuses a request over 20,000; the rest is for what is around the text
MARKDOWN = re.compile(  # what makes an answer look better as Markdown; at last the line below the head of a table
    r"^ {0,3}(#{1,6} |[-*+] |[0-9]{1,3}[.)] |> |```|~~~|\|.*\||<table)|\*\*[^*\n]+\*\*|\[[^\]\n]{1,300}\]\([^)\s]"
    r"|^(?=[^|\n]*\|)(?=[^-\n]*-)[-|: ]+$",
    re.MULTILINE,
)
# A cut in one of these would show its marks, or half a flag.
WHOLE = re.compile(rf"{LINK}|{BOLD}|(?<!`)`[^`\n]{{1,300}}`(?!`)|<[^<>\s]{{1,300}}>|[\U0001f1e6-\U0001f1ff]{{2}}")
MARKS = re.compile(  # around what a person reads; those in 2**3, C# and snake_case_names are no marks
    rf"{LINK}|(?<!\d){BOLD}(?!\d)|(?<![\w*])[*_](?=\S)([^*_\n]{{1,300}})(?<=\S)[*_](?![\w*])|~~([^~]{{1,300}})~~"
    r"|`+([^`]{1,300})`+|^(?:[-_*=][ \t]*){3,}$|^#{1,6}[ \t]+|\\([!-/:-@\[-`{-~])",
    re.MULTILINE | re.ASCII,
)
FULL_WIDTH = {ord(sign): ord(sign) + 0xFEE0 for sign in '!"#$%&()*+/:;<=>?@[\\]^_`{|}~'}
GLUED = ("Mn", "Mc", "Me", "Cf", "Sk")  # categories of what belongs to the sign before it: accents, skin tones, joiners


def webhook_bodies(message: Message, text: str, reply_format: str) -> list[dict[str, Any]]:
    """The requests that show the text: of one kind, in parts that DingTalk takes, the first with an @ in a group.

    If MAX_PARTS do not hold the text, the last one says so. A nick is no Markdown: '[' -> '［'.
    """
    markdown = reply_format == "markdown" or (reply_format == "auto" and MARKDOWN.search(text) is not None)
    parts = split_markdown(text) if markdown else split_text(text)
    if len(parts) > MAX_PARTS:
        parts[MAX_PARTS - 1 :] = [f"{parts[MAX_PARTS - 1]}\n\n{sentences.NOT_ALL_SENT}"]
    if len(parts) > 1:
        numbers = [sentences.PART.format(number=number, count=len(parts)) for number in range(1, len(parts) + 1)]
        parts = [f"{number}\n\n{part}" for number, part in zip(numbers, parts, strict=True)]
    at: dict[str, Any] = {}
    if message.in_group:
        name = message.staff_id or (message.nick.translate(FULL_WIDTH) if markdown else message.nick)
        parts[0] = f"@{name}" + ("  \n\n" if markdown else " ") + parts[0]
        at = {"at": {"atUserIds": [message.staff_id], "isAtAll": False}} if message.staff_id else {}
    bodies: list[dict[str, Any]] = [{"msgtype": "text", "text": {"content": part}} for part in parts]
    if markdown:
        title = title_of(text)
        bodies = [{"msgtype": "markdown", "markdown": {"title": title, "text": part}} for part in parts]
    bodies[0].update(at)
    return bodies


def send_link(words: str) -> str:
    """Words that a tap sends as a message of the person; only words where a client does not know this kind of link.

    Plugins for DingTalk use it, and its pages about interactive messages name it; what a client does is assumed. In a
    group what it sends has no @, so the bot would not get it.
    """
    return f"[{words}](dtmd://dingtalkclient/sendMessage?content={quote(words, safe='')})"


def title_of(text: str) -> str:
    r"""What a notification shows: '## 注意\n- **不要**低于 -1 度' -> '注意 不要低于 -1 度'."""
    blocks = list(blocks_in(text[:1000]))
    title = "\n".join(block.text for block in blocks if block.language is None)
    for _ in range(2):  # what is bold can be a link
        title = MARKS.sub(lambda found: found[found.lastindex] if found.lastindex else "", title)
    title = " ".join((title.strip() or "\n".join(block.text for block in blocks)).split())
    return title[: find_cut(title, 30)] if len(title) > 30 else title or "…"


# Parts


def split_text(text: str) -> list[str]:
    """Plain text in parts that DingTalk takes, together they are the text; the one after MAX_PARTS is all the rest."""
    parts: list[str] = []
    while len(parts) < MAX_PARTS and size_of(text) > 1:
        cut = find_cut(text, find_limit(text, str))
        parts.append(text[:cut])
        text = text[cut:]
    return [*parts, text]


def split_markdown(text: str) -> list[str]:
    """Markdown as DingTalk shows it well, in parts that it takes, which end with a block if that is near.

    Of what is in the parts after MAX_PARTS, only the beginning is read.
    """
    parts, before = [""], None
    for block in blocks_in(text):
        while size_of(parts[-1] + (shown := render(block, before))) > 1 and len(parts) <= MAX_PARTS:
            if size_of(parts[-1]) < 0.5:
                piece, block = cut_block(block, before, parts[-1])
                parts[-1] += render(piece, before)
            block.leave_lists()
            parts.append("")
            before = None
        parts[-1] += shown
        before = block
        if len(parts) > MAX_PARTS:
            break
    return [part for part in parts if part.strip()] or ["…"]


def size_of(text: str) -> float:
    """How much of a part the text fills, 1 for all of it; in a client's count, an emoji has two characters."""
    if len(text) > PART_CHARACTERS:
        return 2
    characters = len(text.encode("utf-16-le")) / 2
    return max(characters / PART_CHARACTERS, len(json.dumps(text, ensure_ascii=False).encode()) / PART_BYTES)


def cut_block(block: Block, before: Block | None, part: str) -> tuple[Block, Block]:
    """What of the block fits into the part, and the rest, which begins nothing that the block did not."""
    cut = find_cut(block.text, find_limit(block.text, lambda text: part + render(block._replace(text=text), before)))
    piece, rest = block.text[:cut], block.text[cut:]
    if block.language is None:
        piece, rest = piece.rstrip(" \n"), as_words(rest.lstrip(" \t\n"))
    return block._replace(text=piece.removesuffix("\n")), block._replace(text=rest, opened=0, gap=False)


def find_limit(text: str, shown: Callable[[str], str]) -> int:
    """How many characters fit into a part as they are shown, give or take five percent."""
    limit = min(len(text), PART_CHARACTERS)
    while limit > 9 and size_of(shown(text[:limit])) > 1:
        limit = limit * 19 // 20
    return limit


def find_cut(text: str, limit: int) -> int:
    """Where to cut: after a paragraph, a line or a sentence of the second half, else between two characters."""
    wholes = [found.span() for found in WHOLE.finditer(text[: 2 * limit])]
    inside = {cut: start for start, end in wholes for cut in range(start + 1, end)}
    for end in (r"\n\s*\n", r"\n", r"[。！？；…]|[.!?;]\s"):
        cuts = [cut for cut in (found.end() for found in re.finditer(end, text[:limit])) if cut not in inside]
        if cuts and cuts[-1] > limit // 2:
            return cuts[-1]
    limit = inside.get(limit) or limit
    return next((cut for cut in range(limit, max(limit - 64, 0), -1) if is_between(text, cut)), limit)


def is_between(text: str, cut: int) -> bool:
    """Whether a cut there breaks nothing that is seen as one: a letter and its accents, an emoji of several signs."""
    return text[cut - 1] != "\u200d" and unicodedata.category(text[cut : cut + 1] or " ") not in GLUED
