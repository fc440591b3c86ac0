"""Markdown made ready for DingTalk's clients, block by block.

The rule: change as little as possible, and nothing that a CommonMark reader would show otherwise. The words are those
of https://spec.commonmark.org: blocks stand in containers, which are quotations and list items.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_CONTAINERS = 20  # of containers in each other; what is deeper is text, so that no line takes long
MAX_COLUMNS = 100  # a wider table is text
LONG = 10_000  # characters: a paragraph is handed over in pieces of this size, a longer line stays as it is
QUOTE_MARKER = "> "
INDENT = "    "  # makes a line code, unless it goes on with a paragraph
QUOTE = re.compile(r" {0,3}>[ \t]?")
ITEM = re.compile(r"( {0,3}(?:[-+*]|(\d{1,9})[.)]))(?:[ \t]+|$)")
FENCE = re.compile(r"(`{3,30}(?!`)(?=[^`]*$)|~{3,30}(?!~))[ \t]*(.*)")
HEADING = re.compile(r"#{1,6}(?:[ \t]|$)")
UNDERLINE = re.compile(r"=+|-+")  # makes the paragraph above it a heading
TABLE_RULE = re.compile(r"\|?[ \t]*:?-+:?(?:[ \t]*\|[ \t]*:?-+:?)*[ \t]*\|?")
STARTER = re.compile(r">|(?:[-+*]|\d{1,9}[.)]|#{1,6})(?=\s|$)|```|~~~|=+[ \t]*$|[-_*][-_* \t]*$", re.MULTILINE)
CODE_SPAN = r"(?<!`)(`+)(?!`)(?:.{1,2000}?)(?<!`)\1(?!`)"
BR = re.compile(rf"\\.|{CODE_SPAN}|<br ?/?>", re.DOTALL | re.IGNORECASE)
LINK = r"!?\[([^\[\]\n]{0,300})\]\((?:[^()\n]|\([^()\n]*\)){0,2000}\)"
BOLD = r"\*\*(?=\S)([^*]{1,500})(?<=\S)\*\*"
PAIRS = re.compile(rf"\\.|{CODE_SPAN}|(\*+)(?=\S)[^*]+(?<=\S)\2|([*`]+)")


# Blocks and containers


class Container:
    """A quotation or a list item: before its first line stands the marker, before the others > or so many blanks."""

    def __init__(self, marker: str, number: int | None) -> None:
        self.marker = marker  # with blanks: "> ", "- ", " 12. "
        self.number = number  # of an item in an ordered list, as a reader counts
        self.left = False  # code at the margin or the end of a part has ended it: what follows stands at the margin too
        self.restarted = False  # the same has ended its list before it: it goes on with its number

    def begin(self, left: int) -> str:
        """Its marker, when so many containers around it were left.

        An item whose outer item was left gets the other sign behind its number: else the outer list would go on with
        the numbers of the inner one.
        """
        if self.number is None or not (self.restarted or left):
            return self.marker
        number, sign = re.findall(r"\d+|[.)]", self.marker)
        return self.marker.replace(number + sign, f"{self.number}{').'[sign == ')'] if left else sign}")

    def go_on(self, left: int) -> str:
        return self.marker if self.marker == QUOTE_MARKER else " " * len(self.begin(left))


class Block(NamedTuple):
    """Text without what its containers put before each line, as it is sent."""

    text: str
    containers: tuple[Container, ...] = ()  # outermost first
    opened: int = 0  # so many of them, the innermost, begin here
    gap: bool = False  # a blank line stands before it
    lazy: bool = False  # only its first line stands in the containers, and a reader takes the others as if they did
    code: str = ""  # the line that opens its fence, or INDENT


def leave_lists(block: Block) -> None:
    """From this block on, nothing stands in the list items that began before it."""
    outer = len(block.containers) - block.opened
    for depth, container in enumerate(block.containers):
        if depth >= outer:
            container.restarted = True
        elif container.marker != QUOTE_MARKER:
            container.left = True


def render(block: Block, before: Block | None) -> str:
    """What shows the block behind the block before it in the same part."""
    outer = len(block.containers) - block.opened
    first = later = ""
    left = 0
    for depth, container in enumerate(block.containers):
        if container.left:
            left += 1
        else:
            first += container.begin(left) if depth >= outer else container.go_on(left)
            later += container.go_on(left)
    text, code = block.text, block.code
    if code == INDENT and any(not one.left and one.marker != QUOTE_MARKER for one in ended(before, block)):
        code = "```"  # else it would be words of the item before it, which is one only in what is sent
    if code == INDENT:
        first, later = first + INDENT, later + INDENT
    elif code:
        text = f"{code}\n{text}\n{fence_of(code)}" if text else f"{code}\n{fence_of(code)}"
    if block.lazy:
        later = ""
    return join(before, block) + (first + text.replace("\n", "\n" + later) if text else first.rstrip())


def join(before: Block | None, block: Block) -> str:
    """What stands between two blocks of a part: the end of a line, and a blank line where one is needed."""
    if before is None:
        return ""
    empty = not (block.text or before.code)  # such an item would go on with a paragraph
    if not (block.gap or (empty and before.text) or any(container.left for container in ended(before, block))):
        return "\n"
    around = (one for one in block.containers if one in before.containers and not one.left)
    return "\n" + "".join(one.go_on(0) for one in around).rstrip() + "\n"


def ended(before: Block | None, block: Block) -> list[Container]:
    """The containers of the block before this one that do not hold this one."""
    return [one for one in before.containers if one not in block.containers] if before else []


def blocks_in(text: str) -> Iterator[Block]:
    """The blocks of a Markdown text, one after the other, made ready for DingTalk."""
    walk = Walk()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = 0
    while (end := text.find("\n", start)) >= 0:  # split() would take twenty times the memory of short lines
        yield from walk.read(text[start:end])
        start = end + 1
    if start < len(text):
        yield from walk.read(text[start:])
    yield from walk.close(0)


class Walk:
    """Reads Markdown line by line and tells the blocks, as https://spec.commonmark.org and GitHub's tables have them.

    A block is handed over before the next container is opened, which has to know whether its list was left.
    """

    def __init__(self) -> None:
        self.containers: list[Container] = []  # that are open
        self.opened = 0  # so many of them, the innermost, have no block yet
        self.kind = ""  # of the block that is open: "text", "heading", "code" or "table"
        self.lines: list[str] = []  # of it
        self.size = 0  # of them, in characters
        self.code, self.indent = "", 0  # the line that opened its fence, or INDENT; how far that was indented
        self.gap = self.lazy = False  # see Block
        self.head: list[str] = []  # of the table that is open: the names of its columns
        self.rows = 0  # of it, so far
        self.spare = 0  # characters by which names that are repeated may make a table longer

    def read(self, line: str) -> Iterator[Block]:
        """The blocks that end with this line."""
        depth, line = self.match(line)
        words = line.strip(" \t")
        fenced = self.kind == "code" and self.code != INDENT and depth == len(self.containers)
        fence = fence_of(self.code)
        if fenced and indent_of(line) < 4 and words.startswith(fence) and not words.strip(fence[0]):
            yield from self.close(depth)
        elif fenced:
            self.add(dedent(line, self.indent))
        elif words:
            while depth < MAX_CONTAINERS and (found := self.container_in(line, depth)):
                sibling = self.containers[depth] if depth < len(self.containers) else None
                yield from self.close(depth)
                self.open(found[0], sibling)
                line, depth = found[1], depth + 1
            yield from self.read_block(line, depth)
        elif self.code == INDENT and depth == len(self.containers):
            self.add(dedent(line, 4))
        else:
            # A blank line ends the block, and an item that has none yet: an item begins with one blank line at most.
            yield from self.close(depth if self.kind else depth - self.opened)
            self.gap = True

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
        digits = re.search(r"\d+", marker)
        container = Container(marker, int(digits[0]) if digits else None)
        if digits and sibling and sibling.number is not None and sibling.marker.strip()[-1] == marker.strip()[-1]:
            container.number = sibling.number + 1
            container.restarted = sibling.left or sibling.restarted
        self.containers.append(container)
        self.opened += 1

    def read_block(self, line: str, depth: int) -> Iterator[Block]:
        """The blocks that end with this line or before it; it is not blank, and begins no container."""
        words, inside, indented = line.strip(" \t"), depth == len(self.containers), indent_of(line) >= 4
        begins = not indented and (FENCE.fullmatch(words) or HEADING.match(words) or is_rule(words))
        paragraph = self.kind == "text"
        if paragraph and inside and not indented and UNDERLINE.fullmatch(words):
            self.kind = "heading"
            self.add(line)
            yield from self.close(depth)
        elif paragraph and inside and not indented and (head := head_of_table(self.lines[-1], words)):
            del self.lines[-1]
            yield from self.close(depth)
            self.kind, self.head, self.rows, self.spare, self.gap = "table", head, 0, 4000, True
        elif paragraph and not begins:
            if self.size > LONG:
                yield self.block(with_breaks("\n".join(self.lines)) + "  ")
                self.lines, self.size = [], 0
            self.lazy = self.lazy or not inside
            self.add(line)
        elif self.kind == "table" and inside and not indented and not begins:
            yield from self.read_row(words)
        elif self.code == INDENT and inside and indented:
            self.add(dedent(line, 4))
        else:
            yield from self.close(depth)
            yield from self.begin(line)

    def begin(self, line: str) -> Iterator[Block]:
        """Open a block; a heading or a rule ends with its line."""
        words = line.strip(" \t")
        if indent_of(line) >= 4:
            self.kind, self.code = "code", INDENT
            self.add(dedent(line, 4))
        elif FENCE.fullmatch(words):
            self.kind, self.code, self.indent = "code", words[:100], indent_of(line)
        elif HEADING.match(words) or is_rule(words):
            self.kind = "heading"
            self.add(line[:1000] if is_rule(line) else line)
            yield from self.close(len(self.containers))
        else:
            self.kind = "text"
            self.add(line)

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
        elif kind == "heading":
            yield self.block(mark_br(text).replace("\r", " ") if "<" in text else text)
        elif kind == "text" and (text := with_breaks(text)):
            yield self.block(text)
        elif kind == "table":
            if not self.rows:
                yield self.block(bold("；".join(filter(None, self.head))))
            self.gap = True
        if self.opened and depth < len(self.containers):
            yield self.block("")
        del self.containers[depth:]

    def block(self, text: str, code: str = "") -> Block:
        """The block of this text, with the containers that no block has begun with."""
        block = Block(text, tuple(self.containers), self.opened, self.gap, self.lazy, code)
        self.opened, self.gap, self.lazy = 0, False, False
        return block

    def read_row(self, row: str) -> Iterator[Block]:
        """A row of a table as a list item; before the first one, what the table is about."""
        cells = cells_of(row, len(self.head))
        cells += [""] * (len(self.head) - len(cells))
        names = self.head[1:] if len(self.head) > 2 else []
        named = sum(map(len, names)) <= 100
        about = self.head if len(self.head) == 2 or not named else self.head[:1]
        if not self.rows and any(about):
            yield self.block(bold("：".join(filter(None, about))))
        self.rows += 1
        self.spare += len(row) - sum(map(len, names))
        text = item_of_row(cells, names if named and self.spare > 0 else [])
        if text:
            self.open("- ", None)
            yield self.block(as_words(text))
            del self.containers[-1]


# Lines, tables and words


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


def head_of_table(line: str, rule: str) -> list[str] | None:
    """The cells of the line if, with the rule below it, it is the head of a table."""
    if "|" not in line + rule or max(line.count("|"), rule.count("|")) > MAX_COLUMNS or not TABLE_RULE.fullmatch(rule):
        return None
    head = cells_of(line)
    return head if len(head) == len(cells_of(rule)) else None


def cells_of(row: str, columns: int = MAX_COLUMNS) -> list[str]:
    r"""What stands between the signs of a row: '| `a \| b` | c<br>d |' -> ['`a | b`', 'c；d']."""
    row = row.strip(" \t").removeprefix("|")
    if row.endswith("|") and not row.endswith("\\|"):
        row = row[:-1]
    cells = []
    for cell in re.split(r"(?<!\\)\|", row, maxsplit=columns)[:columns]:
        cell = mark_br(cell.replace("\\|", "|")).strip(" \t\r")
        cell = re.sub(r"(?<=[，。！？；：、,.!?;:])\r", " ", cell)
        cells.append(escape_unpaired(re.sub(r"[ \t]?\r[ \t\r]*", "；", cell)))
    return cells


def item_of_row(cells: list[str], names: list[str]) -> str:
    """The words of a row: ['苹果', '3', '山东'], ['价格', '产地'] -> '**苹果**：价格 3；产地 山东'."""
    first, *others = cells
    named = itertools.zip_longest(names, others, fillvalue="")
    rest = "；".join(f"{name} {cell}".strip() for name, cell in named if cell)
    if not rest or not first:
        return (bold(first) if others else first) or rest
    return bold(first) + (" " if first.endswith(("：", ":")) else "：") + rest


def escape_unpaired(cell: str) -> str:
    r"""The cell without signs that could pair up with those of another cell: '2**3' -> '2\*\*3'."""

    def escape(found: re.Match[str]) -> str:
        return re.sub("(.)", r"\\\1", found[3]) if found[3] else found[0]

    return PAIRS.sub(escape, cell) if len(cell) < LONG else cell


def bold(words: str) -> str:
    """In bold, unless that could clash with signs that the words have."""
    return words if not words or "*" in words or words.endswith("\\") else f"**{words}**"


def with_breaks(text: str) -> str:
    """A paragraph whose lines stay lines: two blanks keep clients from joining them, and <br> begins a line."""
    if "\n" not in text and "<" not in text:
        return text
    text = re.sub(r"[ \t\n]{0,99}\r[ \t\n\r]*([^\r\n]{0,99})", lambda found: "\n" + as_words(found[1]), mark_br(text))
    return re.sub(r"(?<!  )(?<!\\)\n", "  \n", text.strip("\n"))


def mark_br(text: str) -> str:
    r"""The text with \r, which no text has here, for each <br> outside code, and with code in one line."""

    def mark(found: re.Match[str]) -> str:
        return "\r" if found[0][0] == "<" else found[0].replace("\n", " ") if found[1] else found[0]

    return BR.sub(mark, text) if ("<" in text or "`" in text) and len(text) < 3 * LONG else text


def as_words(text: str) -> str:
    r"""The text without a beginning that would make it another block: '1. 先' -> '1\. 先'."""
    start = STARTER.match(text)
    if not start:
        return text
    sign = len(text) - len(text.lstrip("0123456789"))
    return text[:sign] + "\\" + text[sign:]
