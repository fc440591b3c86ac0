"""HTML in an answer: where its blocks end, for they stay as they are, and the tables in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_COLUMNS = 100  # of a table; what is beyond them stands in the last one
HTML_NAMES = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|fieldset"
    "|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|menuitem|nav"
    "|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul"
)
HTML_BLOCKS = [  # how they begin and end, as in section 4.6 of the spec, tables first; "" is a blank line
    (r"(?:<[^<>]{1,200}>\s*){0,9}<table\b", "</table>"),
    (r"<(?:script|pre|style|textarea)(?![^\s>])", "</(?:script|pre|style|textarea)>"),
    *((r"<!--", "-->"), (r"<\?", r"\?>"), (r"<!\[CDATA\[", r"\]\]>"), (r"<![a-z]", ">")),
    (rf"</?(?:{HTML_NAMES})(?=\s|/?>|$)", ""),
    (r"</?(?!br\b)[a-z][a-z0-9-]*(?:\s[^<>]*)?/?>$", ""),  # any other tag alone in a line, not within a paragraph
]
HTML = re.compile("|".join(f"({begin})" for begin, _ in HTML_BLOCKS), re.IGNORECASE)
TABLE_BEHIND_WORDS = re.compile(r"([^`<]*)(<table\b.*)", re.IGNORECASE)
TAG = re.compile(r"</?([a-z][a-z0-9]*)(?:\s[^<>]*)?/?>", re.IGNORECASE)
LINK_TAG = re.compile(r"""<a\b[^<>]*\bhref=["']?(https?://[^"'\s<>]+)[^<>]*>([^<>]*)</a>""", re.IGNORECASE)
MARKS_OF_TAGS = {"b": "**", "strong": "**", "code": "`", "br": "<br>"}


def html_end(words: str, paragraph: bool) -> str | None:
    """What ends the block of HTML that begins with these words, None if none does."""
    found = HTML.match(words) if words[:1] == "<" else None
    number = found.lastindex if found and found.lastindex else 0
    return HTML_BLOCKS[number - 1][1] if number and not (paragraph and number == len(HTML_BLOCKS)) else None


def rows_in(table: str) -> Iterator[list[str]]:
    """The cells of each row of a table in HTML, as Markdown."""
    for row in re.finditer(r"(?is)<tr\b[^<>]*>(.*?)(?=<tr\b|\Z)", table):
        cells = re.split(r"(?i)<t[dh]\b[^<>]*>", LINK_TAG.sub(r"[\2](\1)", row[1]), maxsplit=MAX_COLUMNS)[1:]
        yield [" ".join(TAG.sub(lambda tag: MARKS_OF_TAGS.get(tag[1].lower(), ""), cell).split()) for cell in cells]
