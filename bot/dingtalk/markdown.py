"""Markdown made ready for DingTalk's clients, block by block.

The rule: change as little as possible, and nothing that a CommonMark reader would show otherwise. The words are those
of https://spec.commonmark.org: blocks stand in containers, which are quotations and list items.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from bot.dingtalk.html import TABLE_BEHIND_WORDS, TAG, html_end, rows_in
from bot.dingtalk.inline import LONG, as_words, ready, with_breaks
from bot.dingtalk.tables import Table, cells_of, head_of_table

MAX_CONTAINERS = 20  # of containers in each other; what is deeper is text, so that no line takes long
QUOTE_MARKER = "> "
INDENT = "    "  # makes a line code, unless it goes on with a paragraph
QUOTE = re.compile(r" {0,3}>[ \t]?")
ITEM = re.compile(r"( {0,3}(?:[-+*]|([0-9]{1,9})[.)]))(?:[ \t]+|$)")
FENCE = re.compile(r"(`{3,30}(?!`)(?=[^`]*$)|~{3,30}(?!~))[ \t]*(.*)")
OUTER_FENCE = re.compile(r"\s*(`{3,30}|~{3,30})[ \t]*(?:markdown|md)[ \t]*\n", re.IGNORECASE)
FENCES = re.compile(r"^[ \t>]*(`{3,30}|~{3,30})[ \t]*([^`\n]*)$", re.MULTILINE)
NOTE = re.compile(r"^[ \t>]*\[\^([^\]\s]{1,30})\]:", re.MULTILINE)
HEADING = re.compile(r"#{1,6}(?:[ \t]|$)")
UNDERLINE = re.compile(r"=+|-+")  # makes the paragraph above it a heading


# Blocks and containers


class Container:
    """A quotation or a list item: before its first line stands the marker, before the others > or so many blanks."""

    def __init__(self, marker: str, number: int | None) -> None:
        self.marker = self.shown = marker  # with blanks: "> ", "- ", " 12. "; as it was read, and as it is sent
        self.number = number  # of an item in an ordered list, as a reader counts
        self.left = False  # code at the margin or the end of a part has ended it: what follows stands at the margin too

    def begin(self, rival: Container | None) -> str:
        """Its marker, with the other sign if the list of the rival, which stands before it, would go on wrongly."""
        if self.number is not None:
            sign = self.marker.strip()[-1]
            if rival and rival.number not in (None, self.number - 1) and rival.shown.strip()[-1] == sign:
                sign = ")" if sign == "." else "."
            self.shown = re.sub("[0-9]+[.)]", f"{self.number}{sign}", self.marker)
        return self.shown

    def go_on(self) -> str:
        return self.marker if self.marker == QUOTE_MARKER else " " * len(self.shown)


class Block(NamedTuple):
    """Text without what its containers put before each line, as it is sent."""

    text: str
    containers: tuple[Container, ...] = ()  # outermost first
    opened: int = 0  # so many of them, the innermost, begin here
    gap: bool = False  # a blank line stands before it
    code: str = ""  # the line that opens its fence, or INDENT


def leave_lists(block: Block) -> None:
    """From this block on, nothing stands in the list items that began before it."""
    for container in block.containers[: len(block.containers) - block.opened]:
        container.left = container.marker != QUOTE_MARKER


def render(block: Block, before: Block | None) -> str:
    """What shows the block behind the block before it in the same part."""
    outer = len(block.containers) - block.opened
    first = later = ""
    around: list[Container] = []  # of its containers, those that are not left
    rivals = [one for one in before.containers if not one.left] if before else []
    for depth, container in enumerate(block.containers):
        if not container.left:
            rival = rivals[len(around)] if len(rivals) > len(around) and rivals[: len(around)] == around else None
            first += container.begin(rival) if depth >= outer else container.go_on()
            later += container.go_on()
            around.append(container)
    text, code = block.text, block.code
    if code == INDENT and any(not one.left and one.marker != QUOTE_MARKER for one in ended(before, block)):
        code = "```"  # else it would be words of the item before it, which is one only in what is sent
    if code == INDENT:
        first, later = first + INDENT, later + INDENT
    elif code:
        fence = fence_of(code)
        like = re.findall(rf"^ {{0,3}}({fence}+)[ \t]*$", text, re.MULTILINE)  # which stood further right
        more = fence[0] * (len(max(like, default="")) - len(fence) + 1 if like else 0)
        text = f"{more}{code}\n{text}\n{more}{fence}" if text else f"{code}\n{fence}"
    return join(before, block) + (first + text.replace("\n", "\n" + later) if text else first.rstrip())


def join(before: Block | None, block: Block) -> str:
    """What stands between two blocks of a part: the end of a line, and a blank line where one is needed."""
    if before is None:
        return ""
    empty = not (block.text or before.code)  # such an item would go on with a paragraph
    if not (block.gap or (empty and before.text) or any(container.left for container in ended(before, block))):
        return "\n"
    around = (one for one in block.containers if one in before.containers and not one.left)
    return "\n" + "".join(one.go_on() for one in around).rstrip() + "\n"


def ended(before: Block | None, block: Block) -> list[Container]:
    """The containers of the block before this one that do not hold this one."""
    return [one for one in before.containers if one not in block.containers] if before else []


def blocks_in(text: str) -> Iterator[Block]:
    """The blocks of a Markdown text, one after the other, made ready for DingTalk."""
    walk = Walk(without_outer_fence(text.replace("\r\n", "\n").replace("\r", "\n")))
    while walk.place < len(walk.text):  # split() would take twenty times the memory of short lines
        end = walk.text.find("\n", walk.place)
        line = walk.text[walk.place : end if end >= 0 else None]
        walk.place += len(line) + 1
        yield from walk.read(line)
    yield from walk.close(0)


def without_outer_fence(text: str) -> str:
    """The text without a fence for Markdown that is around all of it."""
    outer, inside = OUTER_FENCE.match(text), ""
    if outer is None:
        return text
    for fence in FENCES.finditer(text, outer.end()):
        if inside:
            inside = "" if fence[1].startswith(inside) and not fence[2] else inside
        elif fence[2] or not fence[1].startswith(outer[1]):
            inside = fence[1]
        else:
            return text if text[fence.end() :].strip() else text[outer.end() : fence.start()]
    return text if inside else text[outer.end() :]  # it was cut off


class Walk:
    """Reads Markdown line by line and tells the blocks, as https://spec.commonmark.org and GitHub's tables have them.

    A block is handed over before the next container is opened, which has to know whether its list was left.
    """

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0  # where the next line begins
        self.notes = {found[1] for found in itertools.islice(NOTE.finditer(text), 999)}  # labels of footnotes
        self.containers: list[Container] = []  # that are open
        self.opened = 0  # so many of them, the innermost, have no block yet
        self.kind = ""  # of the block that is open: "text", "heading", "code", "html" or "table"
        self.lines: list[str] = []  # of it
        self.size = 0  # of them, in characters
        self.code, self.indent = "", 0  # the line that opened its fence, or INDENT; how far that was indented
        self.end = ""  # what ends its HTML, "" is a blank line
        self.gap = False  # see Block
        self.table: Table  # that is open

    def read(self, line: str) -> Iterator[Block]:
        """The blocks that end with this line."""
        depth, line = self.match(line)
        words, inside = line.strip(" \t"), depth == len(self.containers)
        if self.kind == "code" and self.code != INDENT and inside:
            if indent_of(line) < 4 and words.startswith(fence_of(self.code)) and not words.strip(self.code[0]):
                yield from self.close(depth)
            else:
                self.add(dedent(line, self.indent))
        elif self.kind == "html" and inside and (words or self.end) and self.size < 10 * LONG:
            yield from self.read_html(line)
        elif words:
            while depth < MAX_CONTAINERS and (found := self.container_in(line, depth)):
                sibling = self.containers[depth] if depth < len(self.containers) else None
                yield from self.close(depth)
                self.open(found[0], sibling)
                line, depth = found[1], depth + 1
            yield from self.read_block(line, depth)
        elif self.code == INDENT and inside:
            self.add(dedent(line, 4))
        elif not self.table_goes_on():  # the blank line ends the block, and an item that has none yet
            empty = not self.kind and self.opened > 0 and self.containers[-1].marker != QUOTE_MARKER
            yield from self.close(depth - empty)
            self.gap = True

    def table_goes_on(self) -> bool:
        """Whether this blank line stands in the middle of a table: above its rule, or above a row."""
        if self.kind not in ("text", "table"):
            return False
        ahead = self.text[self.place : self.place + LONG].split("\n", 6)[:6]
        row, rule, *_ = [*(line for line in ahead if line.strip("> \t")), "", ""]
        depth, row = self.match(row)
        if depth < len(self.containers) or not re.match(r" {0,3}\|", row):
            return False
        if self.kind == "text":
            return bool(head_of_table(self.lines[-1], row.strip(" \t")))
        return not head_of_table(row, self.match(rule)[1].strip(" \t"))

    def match(self, line: str) -> tuple[int, str]:
        """How many of the open containers hold the line, and what is left of it in them."""
        for depth, container in enumerate(self.containers):
            if container.marker == QUOTE_MARKER:
                quote = QUOTE.match(line)
                if not quote:
                    return depth, line
                line = line[quote.end() :]
            elif not line.strip(" \t") or indent_of(line) >= len(container.marker):
                line = dedent(line, len(container.marker))
            else:
                return depth, line
        return len(self.containers), line

    def container_in(self, line: str, depth: int) -> tuple[str, str] | None:
        """The marker of a container that begins here, and what follows it."""
        if quote := QUOTE.match(line):
            return QUOTE_MARKER, line[quote.end() :]
        item = ITEM.match(line)
        if not item or is_rule(line):
            return None
        rest = line[item.end() :]
        if self.kind == "text" and depth == len(self.containers) and (not rest or item[2] not in (None, "1")):
            return None  # goes on with the paragraph
        blanks = len(item[0].expandtabs(4)) - len(item[1])
        if not rest or blanks > 4:  # what follows is code
            return item[1] + " ", " " * (blanks - 1) + rest
        return item[1] + " " * blanks, rest

    def open(self, marker: str, sibling: Container | None) -> None:
        """Open a container; the sibling is the one that was open in its place."""
        digits = re.search("[0-9]+", marker)
        container = Container(marker, int(digits[0]) if digits else None)
        if digits and sibling and sibling.number is not None and sibling.marker.strip()[-1] == marker.strip()[-1]:
            container.number = sibling.number + 1
        self.containers.append(container)
        self.opened += 1

    def read_block(self, line: str, depth: int) -> Iterator[Block]:
        """The blocks that end with this line or before it; it is not blank, and begins no container."""
        words, inside, indented = line.strip(" \t"), depth == len(self.containers), indent_of(line) >= 4
        paragraph = self.kind == "text"
        html = None if indented else html_end(words, paragraph)
        begins = not indented and (FENCE.fullmatch(words) or HEADING.match(words) or is_rule(words) or html is not None)
        if paragraph and inside and not indented and UNDERLINE.fullmatch(words):
            self.kind = "heading"
            self.add(line)
            yield from self.close(depth)
        elif paragraph and inside and not indented and (head := head_of_table(self.lines[-1], words)):
            del self.lines[-1]
            yield from self.close(depth)
            self.kind, self.table, self.gap = "table", Table(head, self.notes), True
        elif not begins and self.kind in ("", "text") and (found := TABLE_BEHIND_WORDS.fullmatch(line)):
            yield from self.read_block(found[1], depth)
            yield from self.close(len(self.containers))
            yield from self.begin(found[2], "</table>")
        elif paragraph and not begins:
            if self.size > LONG:
                yield self.block(with_breaks("\n".join(self.lines), self.notes) + "  ")
                self.lines, self.size = [], 0
            # Outside, with the marks of its containers before it, it has to stay no more than words.
            self.add(line if inside else INDENT + words if indented else as_words(words))
        elif self.kind == "table" and inside and not indented and not begins:
            yield from self.read_row(cells_of(words, len(self.table.head)))
        elif self.code == INDENT and inside and indented:
            self.add(dedent(line, 4))
        else:
            yield from self.close(depth)
            yield from self.begin(line, html)

    def begin(self, line: str, html: str | None) -> Iterator[Block]:
        """Open a block; a heading or a rule ends with its line."""
        words = line.strip(" \t")
        if indent_of(line) >= 4:
            self.kind, self.code = "code", INDENT
            self.add(dedent(line, 4))
        elif FENCE.fullmatch(words):
            self.kind, self.code, self.indent = "code", words[:100], indent_of(line)
        elif HEADING.match(words) or is_rule(words):
            if self.opened and is_rule(self.containers[-1].marker + words):
                yield self.block("")  # '- ---' would be a line across
            self.kind = "heading"
            self.add(line[:1000] if is_rule(line) else line)
            yield from self.close(len(self.containers))
        elif html is not None:
            self.kind, self.end = "html", html
            yield from self.read_html(line)
        elif words:
            self.kind = "text"
            self.add(line)

    def read_html(self, line: str) -> Iterator[Block]:
        """The block of HTML, if it ends with this line."""
        self.add(line)
        if self.end and re.search(self.end, line, re.IGNORECASE):
            yield from self.close(len(self.containers))

    def add(self, line: str) -> None:
        """Add a line to the block that is open."""
        if len(self.lines) > 999:  # many short lines take twenty times their size
            self.lines = ["\n".join(self.lines)]
        self.lines.append(line)
        self.size += len(line)

    def close(self, depth: int) -> Iterator[Block]:
        """End the block that is open, and all containers but the outermost ones, as many as `depth`."""
        text, kind, code = "\n".join(self.lines), self.kind, self.code
        self.lines, self.size, self.kind, self.code = [], 0, "", ""
        if kind == "code":
            if any(container.marker != QUOTE_MARKER for container in self.containers[-self.opened or 99 :]):
                yield self.block("")  # the marker stays, the code goes to the margin
            yield self.block(text.rstrip("\n") if code == INDENT else text, code)
            self.gap = self.gap or code == INDENT
        elif kind == "html" and self.end == "</table>":
            yield from self.read_html_table(text)
        elif kind == "html":
            yield self.block(text.rstrip("\n"))
        elif kind == "heading":
            yield self.block(ready(text, self.notes).replace("\r", " "))
        elif kind == "text" and (text := with_breaks(text, self.notes)):
            yield self.block(text)
        elif kind == "table":
            if not self.table.rows:
                yield self.block(self.table.about())
            self.gap = True
        if self.opened and depth < len(self.containers):
            yield self.block("")
        del self.containers[depth:]

    def block(self, text: str, code: str = "") -> Block:
        """The block of this text, with the containers that no block has begun with."""
        block = Block(text, tuple(self.containers), self.opened, self.gap, code)
        self.opened, self.gap = 0, False
        return block

    def read_html_table(self, text: str) -> Iterator[Block]:
        """A table in HTML as a list; its caption and what stands behind it in the same line are paragraphs."""
        table, *rest = re.split("</table>", text, maxsplit=1, flags=re.IGNORECASE)
        caption, *rows = re.split(r"(?=<tr\b)", table, maxsplit=1, flags=re.IGNORECASE)
        yield from self.words_of(caption)
        for cells in rows_in("".join(rows)):
            if self.kind == "table":
                yield from self.read_row(cells)
            else:
                self.kind, self.table, self.gap = "table", Table(cells, self.notes), True
        yield from self.close(len(self.containers))
        yield from self.words_of("".join(rest))

    def words_of(self, html: str) -> Iterator[Block]:
        if words := TAG.sub("", html).strip():
            yield self.block(with_breaks(words, self.notes))

    def read_row(self, cells: list[str]) -> Iterator[Block]:
        """A row of a table as a list item; before the first one, what the table is about."""
        item = self.table.item(cells)
        if self.table.rows == 1 and (about := self.table.about()):
            yield self.block(about)
        if item:
            self.open("- ", None)
            yield self.block(as_words(item))
            del self.containers[-1]


# Lines


def fence_of(code: str) -> str:
    """The marks of the line that opens a fence: '```python' -> '```'."""
    return code[: len(code) - len(code.lstrip(code[:1]))]


def indent_of(line: str) -> int:
    """How far the line is indented; a tab goes to the next multiple of four."""
    return len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(4))


def dedent(line: str, columns: int) -> str:
    """The line without so many columns of blanks, or without all that it has; of a tab, blanks can be left."""
    start = column = 0
    while column < columns and line[start : start + 1] in (" ", "\t"):
        column += 1 if line[start] == " " else 4 - column % 4
        start += 1
    return " " * (column - columns) + line[start:]


def is_rule(line: str) -> bool:
    """Whether it is a line across: '---', '* * *'."""
    signs = line.replace(" ", "").replace("\t", "")
    return len(signs) > 2 and signs[0] in "-_*" and not signs.strip(signs[0])
