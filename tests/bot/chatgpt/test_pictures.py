"""Pictures in an answer: found in its words and beside them, taken out, and put back where they stood."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bot.chatgpt.pictures import IN_HISTORY, MARKS, pictures_beside, take_pictures, with_pictures

PNG, JPEG, GIF, WEBP = "iVBORw0KGgoAAAAN", "/9j/4AAQSkZJRg==", "R0lGODlhAQABAA==", "UklGRiQAAABXRUJQ"
URL = f"data:image/png;base64,{PNG}"


def history(text: str) -> str:
    """What the model sees of this answer later."""
    return with_pictures(take_pictures(text)[0], [IN_HISTORY] * len(MARKS))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"画好了：\n\n![cat]({URL})\n\n喜欢吗？", "画好了：\n\n[图片]\n\n喜欢吗？"),
        (f'![a]({URL} "一只猫")', "[图片]"),
        (f"![]( <{URL}> )", "[图片]"),
        (f"[下载]({URL})", "[图片]"),
        (f'<img alt="x" src="{URL}" width="5">好', "[图片]好"),
        (f"看 {URL} 吧", "看 [图片] 吧"),
        (f"![a](data:image/svg+xml;charset=utf-8;base64,{PNG})", "[图片]"),
        (f"![a]({URL}", "![a]([图片]"),  # cut off
        (f"![a]({URL}\n\n> 引用", "![a]([图片]\n\n> 引用"),
        ("![a](https://a.example/1.png)", "![a](https://a.example/1.png)"),
        ("data:image/png 是一种格式", "data:image/png 是一种格式"),
        (f"写成 `{URL}` 就行", f"写成 `{URL}` 就行"),
        (f"```css\na: url({URL})\n```", f"```css\na: url({URL})\n```"),
    ],
)
def test_picture_in_the_words_leaves_them(text: str, words: str) -> None:
    """With the Markdown or HTML around it; an address on the web, and a small one in code, stay."""
    assert history(text) == words


def test_large_picture_in_code_leaves_it() -> None:
    """It would be dozens of messages; Markdown in code shows none."""
    text, pictures = take_pictures(f"```\n{URL}{'A' * 3000}\n```\n好")
    assert (text, pictures) == (f"```\n{MARKS[-1]}\n```\n好", [])


@pytest.mark.parametrize("data", [PNG, JPEG, GIF, WEBP])
def test_picture_is_known_by_its_first_letters(data: str) -> None:
    """Not by what the service calls it."""
    assert take_pictures(f"data:image/x;base64,{data}") == (MARKS[0], [data])


def test_fifth_picture_is_not_shown_and_leaves_the_words() -> None:
    """Four at most."""
    text, pictures = take_pictures(f"![]({URL})" * 6)
    assert (text, len(pictures)) == (MARKS + MARKS[-1], 4)


def test_words_have_no_marks_of_their_own() -> None:
    """Or a model could say where pictures of somebody else stand."""
    assert take_pictures(f"{MARKS}好") == ("好", [])


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ({"images": [{"type": "image_url", "image_url": {"url": URL}}]}, MARKS[0]),
        ({"images": [URL, PNG]}, f"{MARKS[0]}\n\n{MARKS[1]}"),
        ({"images": [{"b64_json": PNG}]}, MARKS[0]),
        ({"content": [{"type": "text", "text": URL}, {"inline_data": {"data": JPEG}}]}, MARKS[0]),
        ({"content": URL}, ""),
        ({"images": [{"image_url": {"url": "https://a.example/1.png"}}]}, "![图片](https://a.example/1.png)"),
        ({"images": [{"image_url": {"url": "javascript:alert(1)"}}]}, ""),
        ({"annotations": [{"image": "https://a.example/1.png"}], "images": [None, 5]}, ""),
    ],
)
def test_picture_beside_the_words_is_found(message: dict[str, Any], shown: str) -> None:
    """Wherever a service puts it; one on the web as its address."""
    assert pictures_beside(message, []) == shown


@pytest.mark.full
def test_answer_of_pictures_only_is_read_in_time() -> None:
    """16 MB, the most that is read of an answer, whatever they are made of."""
    for text in (f"![a]({URL})" * 350_000, "[" * 8_000_000 + URL, URL + "A" * 15_000_000, f"`{URL}" * 300_000):
        started = time.process_time()
        take_pictures(text)
        assert time.process_time() - started < 20
