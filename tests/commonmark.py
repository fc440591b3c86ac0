"""What a person sees of a Markdown text: the judges of what the bot does to an answer.

There are two of them, markdown-it-py and cmark-gfm, because the faults of one reader are its own. Both are asked for
HTML, which is read here.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import cmarkgfm
from cmarkgfm.cmark import Options
from markdown_it import MarkdownIt

CMARK_OPTIONS = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_STRIKETHROUGH_DOUBLE_TILDE


def cmark(markdown: str) -> str:
    """HTML by GitHub's reader."""
    extensions = ["table", "strikethrough"]
    return str(cmarkgfm.markdown_to_html_with_extensions(markdown, CMARK_OPTIONS, extensions))


READERS: dict[str, Callable[[str], str]] = {
    "markdown-it": MarkdownIt("commonmark", {"maxNesting": 200}).enable(["table", "strikethrough"]).render,
    "cmark": cmark,
}
TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)((?:[\s/][^<>]*)?)>", re.IGNORECASE)
CODE_BLOCK = re.compile(r"<pre><code[^<>]*>(.*?)</code></pre>", re.DOTALL)
BLOCKS = ("p", "blockquote", "ul", "ol", "li", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "table")


class Seen(NamedTuple):
    """One thing that a person sees, in the order of reading."""

    kind: str  # "text", "h1" to "h6", "code", "item", "rule"
    words: str  # with ⟨strong⟩ and the like for what has a look of its own; of an item its number or •
    quotes: int = 0  # in so many quotations


def seen_in(markdown: str, reader: str = "markdown-it") -> list[Seen]:
    """What a CommonMark reader, which knows tables, shows."""
    return [seen for seen in walk(READERS[reader](markdown)) if seen.words or seen.kind == "code"]


def seen_in_parts(parts: Iterable[str], reader: str = "markdown-it") -> list[Seen]:
    """What the parts of an answer show, each rendered by itself."""
    return [seen for part in parts for seen in seen_in(part, reader)]


def in_one_stream(seen: Iterable[Seen]) -> str:
    """Without blanks and without the ends of paragraphs, code and quotations, which a cut can move."""
    pieces = []
    for kind, words, _ in seen:
        if kind == "code":
            pieces.append("".join(f"⟦{sign}" for sign in words if not sign.isspace()))
        else:
            pieces.append("" if kind in ("text", "item") else kind)
            pieces.append(re.sub(r"\s", "", words))
    return "".join(pieces)


def plain(seen: Iterable[Seen]) -> str:
    """The words alone, as they stand on the screen."""
    return "\n".join(words if kind == "code" else re.sub("⟨[^⟩]*⟩|[⟦⟧]", "", words) for kind, words, _ in seen)


def walk(page: str) -> Iterator[Seen]:
    """HTML as what it shows."""
    quotes, kind, words = 0, "text", ""
    numbers: list[int | None] = []  # of the next item, for each list around
    place = 0
    while place < len(page):
        code, tag = CODE_BLOCK.match(page, place), TAG.match(page, place)
        name = tag[2].lower() if tag else ""
        if code or name in BLOCKS:  # what was read before it ends here
            yield Seen(kind, tidy(words) if kind == "text" else tidy(words).replace("\n", " "), quotes)
            kind, words = "text", ""
        if code:
            yield Seen("code", html.unescape(code[1]), quotes)
            place = code.end()
        elif tag is None:
            end = page.find("<", place + 1)
            words += html.unescape(page[place : end if end > 0 else len(page)])
            place = end if end > 0 else len(page)
        elif name == "table":
            place = page.index("</table>", place) + len("</table>")
            yield from as_list(page[tag.end() : place], quotes)
        else:
            place = tag.end()
            if name == "blockquote":
                quotes += -1 if tag[1] else 1
            elif name in ("ul", "ol"):
                start = re.search(r'start="(\d+)"', tag[3])
                numbers[len(numbers) - len(tag[1]) :] = [] if tag[1] else [(int(start[1]) if start else 1)]
                if name == "ul" and not tag[1]:
                    numbers[-1] = None
            elif name == "li" and not tag[1]:
                number = numbers[-1]
                yield Seen("item", "•" if number is None else f"{number}.", quotes)
                numbers[-1] = None if number is None else number + 1
            elif name == "hr":
                yield Seen("rule", "---", quotes)
            elif name in BLOCKS:
                kind = name if name[0] == "h" and not tag[1] else "text"
            else:
                words += look_of(tag)
    yield Seen(kind, tidy(words), quotes)


def look_of(tag: re.Match[str]) -> str:
    """A tag within words as a sign of how they look."""
    name = tag[2].lower()
    attributes = {key: html.unescape(value) for key, value in re.findall(r'(\w+)="([^"]*)"', tag[3])}
    if name == "br":
        return "\n"
    if name == "code":
        return "⟧" if tag[1] else "⟦"
    if name == "img":
        return f"⟨img {attributes.get('src', '')} {attributes.get('alt', '')}⟩"
    name = {"s": "del"}.get(name, name)
    return f"⟨{tag[1]}{name} {attributes.get('href', '')}⟩"


def tidy(words: str) -> str:
    """Without what HTML does not show: blanks in a row, blanks around the end of a line."""
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"[ \t]+", " ", words)).strip()


def as_list(table: str, quotes: int) -> Iterator[Seen]:
    """What the bot makes of a table: a line about the columns, and an item for each row."""
    head, *body = [
        [words_of(cell) for cell in re.findall(r"<t[dh][^<>]*>(.*?)</t[dh]>", row, re.DOTALL)]
        for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    ]
    names = head[1:] if len(head) > 2 else []
    long = sum(map(len, names)) > 100
    about = [cell for cell in (head if len(head) == 2 or long or not body else head[:1]) if cell]
    if about:
        yield Seen("text", bold(sign("".join(about), "；" if not body else "：").join(about)), quotes)
    for first, *others in body:
        values = [
            f"{names[column] if names and not long else ''} {cell}".strip()
            for column, cell in enumerate(others)
            if cell
        ]
        row = "".join((first, *values))
        rest = sign(row, "；").join(values)
        if not (first or rest):
            continue
        yield Seen("item", "•", quotes)
        words = bold(first) if others and first else first
        if first and rest:
            words += " " if first.endswith(("：", ":")) else sign(row, "：")
        yield Seen("text", words + rest, quotes)


def sign(text: str, chinese: str) -> str:
    """A colon or a semicolon as it stands in a text of this language."""
    letters = {unicodedata.name(letter, "").partition(" ")[0] for letter in re.sub("⟨[^⟩]*⟩", "", text)}
    return chinese.replace("：", ": ").replace("；", "; ") if "LATIN" in letters and "CJK" not in letters else chinese


def bold(words: str) -> str:
    """In bold, unless there are signs or bold words in it."""
    return words if re.search(r"\*|⟨strong|⟨em|\\$", words) else f"⟨strong ⟩{words}⟨/strong ⟩"


def words_of(cell: str) -> str:
    """The words of a cell, with <br> as the bot shows it: a blank behind a sign, else a semicolon."""
    words = tidy("".join(look_of(part) if part else html.unescape(text) for part, text in pieces_of(cell)))
    return re.sub(r"(?<=[，。！？；：、,.!?;:])\n", " ", words).replace("\n", sign(words, "；"))


def pieces_of(cell: str) -> Iterator[tuple[re.Match[str] | None, str]]:
    """The tags of a cell, and the texts between them."""
    place = 0
    for tag in TAG.finditer(cell):
        yield None, cell[place : tag.start()]
        yield tag, ""
        place = tag.end()
    yield None, cell[place:]
