"""Pictures in an answer, as Base64: in its words, or beside them."""

import itertools
import re
from typing import Any

from bot import sentences
from bot.chatgpt.marks import without_code
from bot.chatgpt.sources import is_page, link_to
from bot.values import walk

MOST_PICTURES, MOST_LOOKS = 4, 2000  # are shown; values beside the words are looked at
# In the place of each picture, by its number; the last one stands for all that are not shown. No text keeps its own.
MARKS = "\ue000\ue001\ue002\ue003\ue004"
IN_HISTORY = "[图片]"  # as for the pictures of a person
DATA_URL = r"data:image/[\w.+-]{1,20}(?:;[\w=.-]{1,40}){0,3}?;base64,([A-Za-z0-9+/=_-]*)"
IN_WORDS = re.compile(  # with the Markdown or the HTML around it
    rf"!?\[[^\[\]\n]{{0,200}}\]\(\s{{0,3}}<?{DATA_URL}>?(?:\s{{1,3}}[\"'][^\"'\n]{{0,200}}[\"'])?\s{{0,3}}\)"
    rf"|<img\s[^<>]{{0,200}}?src\s?=\s?[\"']?{DATA_URL}[\"']?[^<>]{{0,200}}>|{DATA_URL}",
    re.IGNORECASE,
)
PICTURE = re.compile(r"(?:data:image/[^,]{1,80},)?(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR)")  # PNG, JPEG, GIF, WEBP
MOST_IN_CODE = 2000  # characters of a picture in code that stays, because somebody asked for just that
NOT_BESIDE = re.compile("^(text|reasoning(_content|_details)?|annotations|tool_calls)$")


def take_pictures(text: str) -> tuple[str, list[str]]:
    r"""The text with a mark in the place of each picture, and the pictures, MOST_PICTURES of them.

    'Here: ![cat](data:image/png;base64,iVBORw0KGgo=)' -> 'Here: \ue000', ['iVBORw0KGgo=']
    """
    pictures: list[str] = []
    text = with_pictures(text, [])
    plain = without_code(text)

    def replaced(found: re.Match[str]) -> str:
        if plain[found.start()] != text[found.start()]:  # in code
            return found[0] if len(found[0]) <= MOST_IN_CODE else MARKS[-1]
        return mark_of("".join(filter(None, found.groups())), pictures)

    return IN_WORDS.sub(replaced, text), pictures


def mark_of(data: str, pictures: list[str]) -> str:
    """The mark of a picture, which joins the others if it may be shown."""
    if len(pictures) >= MOST_PICTURES or not PICTURE.match(data):
        return MARKS[-1]
    pictures.append(data)
    return MARKS[len(pictures) - 1]


def pictures_beside(message: dict[str, Any], pictures: list[str]) -> str:
    """What stands for the pictures beside the words of a message: marks, or Markdown for an address on the web.

    Services have many names for it: images, image_url, b64_json, inline_data. The first letters tell a picture.
    """
    found = []
    beside = {name: part for name, part in message.items() if not isinstance(part, str)}
    for path, value in itertools.islice(walk(beside, NOT_BESIDE), MOST_LOOKS):
        if isinstance(value, str) and PICTURE.match(value[:120]):
            found.append(mark_of(value.rpartition(",")[2], pictures))
        elif "image" in str(path) and is_page(value):
            found.append(f"![{sentences.PICTURE}]({link_to(value)})")
    return "\n\n".join(found[: 2 * MOST_PICTURES])


def with_pictures(words: str, shown: list[str]) -> str:
    """The words with these in the place of the marks; nothing where there are fewer."""
    for number, mark in enumerate(MARKS):  # a look for each costs less than one translation
        words = words.replace(mark, shown[number] if number < len(shown) else "")
    return words.strip()
