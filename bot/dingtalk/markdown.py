"""Markdown made ready for DingTalk's clients, block by block.

The rule: change as little as possible, and nothing that a CommonMark reader would show otherwise. The words are those
of https://spec.commonmark.org: blocks stand in containers, which are quotations and list items.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from bot.dingtalk.inline import LONG, as_words, ready, with_breaks
from bot.dingtalk.tables import as_list, cells_of, head_of_table, parts_of

INDENT = "    "  # makes a line code, unless it goes on with a paragraph
MAX_CONTAINERS = 20  # of containers in each other; what is deeper is text, so that no line takes long
QUOTE = re.compile(r" {0,3}>[ \t]?")
ITEM = re.compile(r"( {0,3}(?:[-+*]|([0-9]{1,9})[.)]))(?:(?: {1,4}|\t)(?![ \t])|[ \t]|$)")
BLANK = r"^[ \t]*$"
HTML_NAMES = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|fieldset"
    "|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|menuitem|nav"
    "|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul"
)
HTML = {  # blocks of HTML, as in section 4.6 of the spec, and tables: how they begin, and what is in their last line
    "html_table": (r"(?:<[^<>]{1,200}>\s*){0,9}<table\b", "</table>"),
    "raw": (r"<(?:script|pre|style|textarea)(?![^\s>])", "</(?:script|pre|style|textarea)>"),
    "comment": (r"<!--", "-->"),
    "instruction": (r"<\?|<!\[CDATA\[", r"\?>|\]\]>"),
    "declaration": (r"<![a-z]", ">"),
    "element": (rf"</?(?:{HTML_NAMES})(?=\s|/?>|$)", BLANK),
    "tag": (r"</?(?!br\b)[a-z][a-z0-9-]*(?:\s[^<>]*)?/?>$", BLANK),  # any other one alone in a line, not in a paragraph
}
STARTS = re.compile(  # of the blocks that are no paragraph
    r"(?P<code>`{3,30}(?!`)(?=[^`]*$)|~{3,30}(?!~))|(?P<heading>#{1,6}(?:[ \t]|$))"
    r"|(?P<rule>(?=(?P<sign>[-_*])(?:[ \t]*(?P=sign)){2})(?:[- \t]+|[_ \t]+|[* \t]+)$)"
    + "".join(f"|(?P<{kind}>{begin})" for kind, (begin, _) in HTML.items()),
    re.IGNORECASE,
)
UNDERLINE = re.compile(r"=+|-+")  # makes the paragraph above it a heading
TABLE_BEHIND_WORDS = re.compile(r"(\s*[^`<\s][^`<]*)(<table\b.*)", re.IGNORECASE)
OUTER_FENCE = re.compile(r"\s*(`{3,30}|~{3,30})[ \t]*(?:markdown|md)[ \t]*\n", re.IGNORECASE)
FENCES = re.compile(r"^[ \t>]*(`{3,30}|~{3,30})[ \t]*([^`\n]*)$", re.MULTILINE)
NOTE = re.compile(r"^[ \t>]*\[\^([^\]\s]{1,30})\]:", re.MULTILINE)


# Blocks and containers


class Container:
    """A quotation or a list item: before its first line stands the marker, before the others > or so many blanks."""

    def __init__(self, marker: str, number: int = 0) -> None:
        self.marker = self.shown = marker  # with blanks: "> ", "- ", " 12. "; as it was read, and as it is sent
        self.sign = marker.strip()[-1]  # '>' of a quotation
        self.number = number  # of an item in an ordered list, as a reader counts
        self.left = False  # code at the margin or the end of a part has ended it: what follows stands at the margin too

    def begin(self, rival: "Container | None" = None) -> str:
        """Its marker, with the other sign if the list of the rival, which stands before it, would go on wrongly."""
        sign = self.sign
        if rival and rival.shown.strip()[-1] == sign and rival.number != self.number - 1:
            sign = {".": ")", ")": "."}.get(sign, sign)
        self.shown = re.sub("[0-9]+.", f"{self.number}{sign}", self.marker)
        return self.shown

    def go_on(self) -> str:
        return self.marker if self.sign == ">" else " " * len(self.shown)


class Block(NamedTuple):
    """Text without what its containers put before each line, as it is sent."""

    text: str
    containers: tuple[Container, ...] = ()  # outermost first
    opened: int = 0  # so many of them, the innermost, begin here
    gap: bool = False  # a blank line stands before it
    language: str | None = None  # of code; None: the text is Markdown

    def around(self) -> list[Container]:
        """The containers in which it is shown."""
        return [container for container in self.containers if not container.left]

    def leave_lists(self) -> None:
        """From this block on, nothing stands in the list items that began before it."""
        for container in self.containers[: len(self.containers) - self.opened]:
            container.left = container.sign != ">"


def render(block: Block, before: Block | None) -> str:
    """What shows the block behind the block before it in the same part."""
    around = block.around()
    old = len(around) - block.opened
    first = "".join(container.go_on() for container in around[:old])
    gap = "\n" + (first.rstrip() + "\n" if block.gap or (before.text and not block.text) else "") if before else ""
    rivals = before.around()[old : old + 1] if before else []
    for container in around[old:]:
        first += container.begin(*rivals)
        rivals = []
    text = block.text
    if block.language is not None:
        fence = max(["``", *re.findall(r"(?m)^ {0,3}(`{3,})[ \t]*$", text)], key=len) + "`"
        text = "\n".join(filter(None, (fence + block.language, text, fence)))
    later = "\n" + "".join(container.go_on() for container in around)
    return gap + (first + text.replace("\n", later) if text else first.rstrip())


def blocks_in(text: str) -> Iterator[Block]:
    """The blocks of a Markdown text, one after the other, made ready for DingTalk."""
    text = without_outer_fence(text.replace("\r\n", "\n").replace("\r", "\n"))
    walk = Walk({found[1] for found in itertools.islice(NOTE.finditer(text), 999)})
    for line in re.finditer("[^\n]*\n|[^\n]+", text):  # split() would take twenty times the memory of short lines
        yield from walk.read(line[0].removesuffix("\n"))
    yield from walk.close(0)


def without_outer_fence(text: str) -> str:
    """The text without a fence for Markdown that is around all of it."""
    outer, inside = OUTER_FENCE.match(text), ""
    if not outer:
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
    """Reads Markdown line by line and tells its blocks; tables are those of https://github.github.com/gfm."""

    def __init__(self, notes: set[str]) -> None:
        self.notes = notes  # labels of footnotes
        self.containers: list[Container] = []  # that are open
        self.opened = 0  # so many of them, the innermost, have no block yet
        self.gap = False  # see Block
        self.kind = ""  # of the block that is open: "text", "table", "indented", "code" or one of HTML
        self.lines: list[str] = []  # of it; a blank line behind one is a second "\n"
        self.size = 0  # of them, in characters
        self.end = ""  # a pattern for the line that ends the code or HTML
        self.indent, self.language = 0, ""  # of the code

    def read(self, line: str) -> Iterator[Block]:
        """The blocks that end with this line."""
        depth, line = self.match(line)
        inside = depth == len(self.containers)
        if self.end and inside and (self.kind == "code" or self.size < 10 * LONG):
            yield from self.read_as_it_is(line)
        elif line.strip(" \t"):
            while depth < MAX_CONTAINERS and (found := self.container_in(line, depth)):
                yield from self.close(depth)
                self.containers.append(found[0])
                self.opened += 1
                line, depth = found[1], depth + 1
            if line.strip(" \t"):
                yield from self.read_words(line, depth)
        elif self.kind == "indented" and inside:
            self.add(dedent(line, 4))
        elif self.kind and inside:
            self.lines[-1] = self.lines[-1].rstrip("\n") + "\n"
        else:
            empty = not self.kind and self.opened > 0 and self.containers[-1].sign != ">"
            yield from self.close(depth - empty)
            self.gap = True

    def match(self, line: str) -> tuple[int, str]:
        """How many of the open containers hold the line, and what is left of it in them."""
        for depth, container in enumerate(self.containers):
            if container.sign == ">":
                quote = QUOTE.match(line)
                if not quote:
                    return depth, line
                line = line[quote.end() :]
            elif not line.strip(" \t") or indent_of(line) >= len(container.marker):
                line = dedent(line, len(container.marker))
            else:
                return depth, line
        return len(self.containers), line

    def container_in(self, line: str, depth: int) -> tuple[Container, str] | None:
        """The container that begins here, and what follows its marker."""
        if quote := QUOTE.match(line):
            return Container("> "), line[quote.end() :]
        item = ITEM.match(line)
        if not item or start_of(line) == "rule":
            return None
        rest, first = line[item.end() :], not item[2] or item[2] == "1"
        if depth == len(self.containers) and self.in_paragraph() and not (rest.strip() and first):
            return None
        container = Container(item[0].expandtabs(4).ljust(len(item[1]) + 1), int(item[2] or 0))
        if depth < len(self.containers) and self.containers[depth].sign == container.sign:
            container.number = self.containers[depth].number + 1
        return container, rest

    def in_paragraph(self) -> bool:
        return self.kind == "text" and not self.lines[-1].endswith("\n")

    def read_words(self, line: str, depth: int) -> Iterator[Block]:
        """The blocks that end with this line or before it; it is not blank, and begins no container."""
        words, start, inside = line.strip(" \t"), start_of(line), depth == len(self.containers)
        # A table goes on behind a blank line, and another one can begin there.
        row = inside and not start and self.kind != "" and (words[0] == "|" or not self.lines[-1].endswith("\n"))
        below = row and (self.kind == "text" or (self.kind == "table" and self.lines[-2].endswith("\n")))
        if inside and start in ("", "rule") and self.in_paragraph() and UNDERLINE.fullmatch(words):
            self.kind = "heading"
            self.add(line)
            yield from self.close(depth)
        elif below and head_of_table(head := self.lines[-1].strip(), words):
            del self.lines[-1]
            yield from self.close(depth)
            self.kind, self.lines = "table", [head, words]
        elif not start and self.kind in ("", "text") and (found := TABLE_BEHIND_WORDS.fullmatch(line)):
            yield from self.read_words(found[1], depth)
            yield from self.read_words(found[2], len(self.containers))
        elif self.in_paragraph() and start in ("", "indented", "tag"):
            if self.size > LONG:
                yield self.block(with_breaks("\n".join(self.lines), self.notes) + "  ")
                self.lines, self.size = [], 0
            # Outside, with the marks of its containers before it, it has to stay no more than words.
            self.add(line if inside else INDENT + words if start else as_words(words))
        elif row and self.kind == "table":
            self.add(words)
        elif self.kind == start == "indented" and inside:
            self.add(dedent(line, 4))
        else:
            yield from self.close(depth)
            yield from self.begin(line, start)

    def begin(self, line: str, start: str) -> Iterator[Block]:
        """Open a block; a heading or a rule ends with its line."""
        words = line.strip(" \t")
        self.kind = start or "text"
        self.indent, self.language = 0, ""
        if start == "code":
            info = words.lstrip(words[0])
            self.end = rf"^ {{0,3}}{words.removesuffix(info)}{words[0]}*[ \t]*$"
            self.indent, self.language = indent_of(line), info.strip().replace("`", "")[:100]
        elif start in HTML:
            self.end = HTML[start][1]
            yield from self.read_as_it_is(line)
        elif start in ("heading", "rule"):
            if start == "rule":  # '- ---' would be no item
                words = "___" if self.opened and self.containers[-1].sign in words else words[:1000]
            self.add(words)
            yield from self.close(len(self.containers))
        else:
            self.add(dedent(line, 4) if start else line)

    def read_as_it_is(self, line: str) -> Iterator[Block]:
        """The code or HTML, if it ends with this line."""
        ends = re.search(self.end, line, re.IGNORECASE)
        if self.kind != "code" or not ends:
            self.add(dedent(line, self.indent))
        if ends:
            yield from self.close(len(self.containers))

    def add(self, line: str) -> None:
        """Add a line to the block that is open."""
        if len(self.lines) > 999:  # many short lines take twenty times their size
            self.lines = ["\n".join(self.lines[:-2]), *self.lines[-2:]]
        self.lines.append(line)
        self.size += len(line)

    def close(self, depth: int) -> Iterator[Block]:
        """End the block that is open, and all containers but the outermost ones, as many as `depth`."""
        text, kind = "\n".join(self.lines), self.kind
        self.lines, self.size, self.kind, self.end = [], 0, "", ""
        if kind in ("code", "indented"):
            if any(container.sign != ">" for container in self.containers[len(self.containers) - self.opened :]):
                yield self.block("")  # the marker stays, the code goes to the margin
            block = self.block(text if kind == "code" else text.rstrip(), self.language)
            block.leave_lists()
            yield block
        elif kind in ("heading", "rule"):
            yield self.block(ready(text, self.notes).replace("\r", " "))
        elif kind == "text":
            yield from self.paragraph(text)
        elif kind == "table":
            head, rule, *body = text.split("\n", 2)
            cells = head_of_table(head, rule)
            rows = (cells_of(row[0], len(cells)) for row in re.finditer("[^\n]+", "".join(body)))
            yield from self.list_of(itertools.chain([cells], rows))
        elif kind == "html_table":
            caption, rows_of_html, rest = parts_of(text)
            yield from self.paragraph(caption)
            yield from self.list_of(rows_of_html)
            yield from self.paragraph(rest)
        elif kind:
            yield self.block(text.rstrip("\n"))
        if self.opened and depth < len(self.containers):
            yield self.block("")
        blank = kind != "code" and re.search(r"\n[ \t]*\Z", text)
        self.gap = self.gap or bool(blank) or any(container.left for container in self.containers[depth:])
        del self.containers[depth:]

    def block(self, text: str, language: str | None = None) -> Block:
        """The block of this text, with the containers that no block has begun with."""
        block = Block(text, tuple(self.containers), self.opened, self.gap, language)
        self.opened, self.gap = 0, False
        return block

    def paragraph(self, text: str) -> Iterator[Block]:
        if text := with_breaks(text, self.notes):
            yield self.block(text)

    def list_of(self, rows: Iterator[list[str]]) -> Iterator[Block]:
        """A table as a list, below what it is about."""
        about, items = as_list(rows, self.notes)
        self.gap = True
        if about:
            yield self.block(about)
        for item in items:
            self.containers.append(Container("- "))
            self.opened += 1
            yield self.block(as_words(item))
            del self.containers[-1]
        self.gap = True


# Lines


def start_of(line: str) -> str:
    """The kind of block that begins with this line, outside of a paragraph; "" is a paragraph."""
    found = STARTS.match(line.strip(" \t"))
    return "indented" if indent_of(line) >= 4 else (found and found.lastgroup) or ""


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
