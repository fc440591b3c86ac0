"""The words of a paragraph, a heading or a cell: lines stay lines, and what a CommonMark reader would lose is kept."""

import re
import unicodedata
from collections.abc import Container

LONG = 5000  # characters: a paragraph is made ready in pieces of this size, a longer line stays as it is
CODE_SPAN = r"(?<!`)(?P<ticks>`+)(?!`)(?:.{1,2000}?)(?<!`)(?P=ticks)(?!`)"
LINK = r"!?\[([^\[\]\n]{0,300})\]\((?:[^()\n]|\([^()\n]*\)){0,2000}\)"
BOLD = r"\*\*(?=\S)([^*]{1,500})(?<=\S)\*\*"
FORMULA = (  # in TeX: $$x$$, \(x\), \[x\], and $x$, which is not $5 or $6
    r"\$\$[^$]+\$\$|\$(?![\s$])[^$\n]{1,300}(?<![\s$])\$(?![0-9])"
    r"|\\\((?:[^\\]|\\[^()])+\\\)|\\\[(?:[^\\]|\\[^\[\]])+\\\]"
)
TEX = re.compile(r"(?s)\\[(\[](?:\s|.*[\\=^_+])|\\\([\x00-\x7f]*$")  # but \[1\] are brackets that were escaped
LOST = re.compile(r"\\(?=[!-/:-@\[-`{-~\n]|$)|[*`]|(?<!\w)_|<(?=[a-zA-Z/!?])")  # in a formula
INLINE = re.compile(
    rf"(?P<code>{CODE_SPAN})|(?P<formula>{FORMULA})|(?<!\S)(?P<lone>\\[\[\]])(?!\S)|\\.|(?P<br><br ?/?>)"
    r"|\[\^(?P<note>[^\]\s]{1,30})\](?P<colon>:[ \t]*)?|\]\([^()\s]{0,500}\)|<[^<>\s]{1,500}>"
    r"|(?P<mark>\*+|(?<!~)~~(?!~))",
    re.DOTALL | re.IGNORECASE,
)
STOPS = "：，。！？；、…:,.!?;"
MOVABLE = re.compile(rf"(?<=[^\s\\{STOPS}])[{STOPS}]+$")  # at the end of what is bold
PAIRS = re.compile(rf"\\.|{CODE_SPAN}|(?P<stars>\*+)(?=\S)[^*]+(?<=\S)(?P=stars)|(?P<alone>[*`]+)")
STARTER = re.compile(
    r">|(?:[-+*]|[0-9]{1,9}[.)]|#{1,6})(?=\s|$)|```|~~~|=+[ \t]*$|[-_*][-_* \t]*$|[-|:][-|: \t]*\|[-|: \t]*$",
    re.MULTILINE,
)


def with_breaks(text: str, notes: Container[str]) -> str:
    """A paragraph whose lines stay lines: two blanks keep clients from joining them, and <br> begins a line."""
    text = ready(text, notes)
    text = re.sub(r"[ \t\n]{0,99}\r[ \t\n\r]*([^\r\n]{0,99})", lambda found: "\n" + as_words(found[1]), text)
    return re.sub(r"(?<!  )(?:(?<!\\)|(?<=\\\\))\n", "  \n", text.strip("\n"))


def ready(text: str, notes: Container[str]) -> str:
    r"""The words with bold and formulas as they were meant, with \r, which no text has here, for each <br>."""

    def replace(found: re.Match[str]) -> str:
        whole = found[0]
        if found["code"]:
            return whole.replace("\n", " ")
        if found["formula"] and (whole[0] == "$" or TEX.match(whole[:-2])):
            return LOST.sub(r"\\\g<0>", whole)
        if found["note"] in notes:
            return f"[{found['note']}]" + (" " if found["colon"] else "")
        return "\r" if found["br"] else "\\" + whole if found["lone"] else whole

    return text if len(text) > 3 * LONG else mend_bold(INLINE.sub(replace, text))


def mend_bold(text: str) -> str:
    """The text so that a reader sees bold in it where a mark stands between punctuation and words.

    '**开源：**代码' -> '**开源**：代码', '是**（可选）**的' -> '是 **（可选）** 的'. Only if more marks pair up so.
    """
    changes = []
    for opening, closing in marks_in(text, as_meant=True)[0]:
        if not is_edge(text, opening.end(), opening.start() - 1):
            changes.append((opening.start(), opening.start(), " "))
        if not is_edge(text, closing.start() - 1, closing.end()):
            movable = MOVABLE.search(text, opening.end() + 1, closing.start())
            stops = movable[0] if movable else ""
            changes.append((closing.start() - len(stops), closing.end(), closing[0] + (stops or " ")))
    mended = text
    for start, end, new in sorted(changes, reverse=True):
        mended = mended[:start] + new + mended[end:]
    alone = marks_in(mended)[1] if changes else 0
    return mended if not alone or alone < marks_in(text)[1] else text


def marks_in(text: str, as_meant: bool = False) -> tuple[list[tuple[re.Match[str], re.Match[str]]], int]:
    """The pairs of marks that a reader takes for bold and the like (section 6.2 of the spec), or that are meant so.

    And how many marks are left alone.
    """
    pairs = []
    marks = [mark for mark in INLINE.finditer(text) if mark["mark"]]
    opened: list[re.Match[str]] = []
    for mark in marks:
        before, after = mark.start() - 1, mark.end()
        opens, closes = is_edge(text, after, before), is_edge(text, before, after)
        if as_meant:
            opens = kind_at(text, after) not in (" ", "Pe", "Pf") and text[after] not in STOPS
            closes = kind_at(text, before) not in (" ", "Ps", "Pi")
        alike = [place for place, one in enumerate(opened) if one[0] == mark[0]]
        if closes and alike:
            pairs.append((opened[alike[-1]], mark))
            del opened[alike[-1] :]
        elif opens:
            opened = [*opened[-8:], mark]  # no more are in each other, so that no text takes long
    return pairs, len(marks) - 2 * len(pairs)


def is_edge(text: str, inner: int, outer: int) -> bool:
    """Whether a mark between these places can begin or end what stands at the inner one.

    Readers differ in whether a symbol is punctuation; what is said here holds for all of them.
    """
    kind = kind_at(text, inner)
    return kind != " " and (kind[0] not in "PS" or kind_at(text, outer)[0] in " P")


def kind_at(text: str, place: int) -> str:
    """The Unicode category of a character, " " for blanks and beyond the text; an ASCII symbol is punctuation."""
    sign = text[place : place + 1]
    kind = " " if not sign or sign.isspace() else unicodedata.category(sign)
    return "Po" if kind[0] == "S" and sign.isascii() else kind


def as_words(text: str) -> str:
    r"""The text without a beginning that would make it another block: '1. 先' -> '1\. 先'."""
    return re.sub(r"\A[0-9]*", r"\g<0>\\", text) if STARTER.match(text) else text
