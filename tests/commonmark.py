"""What a person sees of a Markdown text, as markdown-it-py shows it: the judge of what the bot does to an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

READER = MarkdownIt("commonmark", {"maxNesting": 200}).enable("table")
BR = re.compile(r"<br ?/?>", re.IGNORECASE)


class Seen(NamedTuple):
    """One thing that a person sees, in the order of reading."""

    kind: str  # "text", "h1" to "h6", "code", "item", "rule", "html"
    words: str  # with <b> and the like for what has a look of its own; of an item its number or •
    quotes: int = 0  # in so many quotations


def seen_in(markdown: str) -> list[Seen]:
    """What a CommonMark reader, which knows tables, shows."""
    return [seen for seen in walk(READER.parse(markdown)) if seen.words or seen.kind == "code"]


def seen_in_parts(parts: Iterable[str]) -> list[Seen]:
    """What the parts of an answer show, each rendered by itself."""
    return [seen for part in parts for seen in seen_in(part)]


def in_one_stream(seen: Iterable[Seen]) -> str:
    """Without blanks and without the ends of paragraphs, code and quotations, which a cut can move."""
    pieces = []
    for kind, words, _ in seen:
        if kind == "code":
            pieces.append("".join(f"⟦{sign}" for sign in words if not sign.isspace()))
        else:
            name = "" if kind in ("text", "item") or (kind.startswith("h") and kind != "html") else kind
            pieces.append(name + re.sub(r"\s", "", words))
    return "".join(pieces)


def walk(tokens: list[Token]) -> Iterator[Seen]:
    """The tokens of a text as what they show."""
    quotes, kind = 0, "text"
    numbers: list[int | None] = []  # of the next item, for each list around
    place = 0
    while place < len(tokens):
        token = tokens[place]
        place += 1
        if token.type in ("blockquote_open", "blockquote_close"):
            quotes += token.nesting
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            numbers.append(None if token.type.startswith("bullet") else int(token.attrs.get("start", 1)))
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            numbers.pop()
        elif token.type == "list_item_open":
            number = numbers[-1]
            yield Seen("item", "•" if number is None else f"{number}.", quotes)
            numbers[-1] = None if number is None else number + 1
        elif token.type in ("heading_open", "paragraph_open"):
            kind = token.tag if token.type == "heading_open" else "text"
        elif token.type == "inline":
            words = words_of(token)
            yield Seen(
                kind, words if kind == "text" else words.replace("\n", " "), quotes
            )  # no line breaks in headings
        elif token.type in ("fence", "code_block"):
            yield Seen("code", token.content, quotes)
        elif token.type == "hr":
            yield Seen("rule", "---", quotes)
        elif token.type == "html_block":
            yield Seen("html", tidy(BR.sub("\n", token.content)), quotes)
        elif token.type == "table_open":
            size = next(n for n, one in enumerate(tokens[place:]) if one.type == "table_close")
            yield from as_list(tokens[place : place + size], quotes)
            place += size + 1


def words_of(inline: Token) -> str:
    """The words of a paragraph, with the signs of HTML for what has a look of its own."""
    pieces = []
    for token in inline.children or []:
        if token.type in ("softbreak", "hardbreak") or (token.type == "html_inline" and BR.fullmatch(token.content)):
            pieces.append("\n")
        elif token.type == "text" or token.type == "html_inline":
            pieces.append(token.content)
        elif token.type == "code_inline":
            pieces.append(f"⟦{token.content}⟧")
        elif token.type == "image":
            pieces.append(f"<img {token.attrs['src']} {token.content}>")
        else:
            pieces.append(f"<{'/' * (token.nesting < 0)}{token.tag} {token.attrs.get('href', '')}>")
    return tidy("".join(pieces))


def tidy(words: str) -> str:
    """Without what HTML does not show: blanks in a row, blanks around the end of a line."""
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"[ \t]+", " ", words)).strip()


def as_list(tokens: list[Token], quotes: int) -> Iterator[Seen]:
    """What the bot makes of a table: a line about the columns, and an item for each row."""
    rows: list[list[Token]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(token)
    head, *body = rows
    names = head[1:] if len(head) > 2 else []
    long = sum(len(name.content) for name in names) > 100
    about = [cell for cell in (head if len(head) == 2 or long or not body else head[:1]) if cell.content]
    if about:
        sign = "；" if not body else "："
        yield Seen("text", bold(sign.join(map(cell_of, about)), any("*" in cell.content for cell in about)), quotes)
    for first, *others in body:
        values = [
            f"{cell_of(names[column]) if names and not long else ''} {cell_of(cell)}".strip()
            for column, cell in enumerate(others)
            if cell.content
        ]
        rest = "；".join(values)
        if not (first.content or rest):
            continue
        yield Seen("item", "•", quotes)
        words = cell_of(first)
        if others and first.content:
            words = bold(words, "*" in first.content or first.content.endswith("\\"))
        if first.content and rest:
            words += " " if first.content.endswith(("：", ":")) else "："
        yield Seen("text", words + rest, quotes)


def bold(words: str, already: bool) -> str:
    return words if already else f"<strong >{words}</strong >"


def cell_of(cell: Token) -> str:
    """The words of a cell, with <br> as the bot shows it: a blank behind a sign, else a semicolon."""
    words = re.sub(r"(?<=[，。！？；：、,.!?;:])\n", " ", words_of(cell))
    return words.replace("\n", "；")
