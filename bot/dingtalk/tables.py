"""Tables as lists, which read well on a phone: an item for each row."""

import itertools
import re
from collections.abc import Container, Iterator

from bot.dingtalk.inline import FORMULA, LONG, PAIRS, ready

MAX_COLUMNS = 100  # of a table; what is beyond them stands in the last one
RULE = re.compile(r"\|?[ \t]*:?-+:?(?:[ \t]*\|[ \t]*:?-+:?)*[ \t]*\|?")
CODE = r"\\\||(?<!`)(?P<ticks>`+)(?![`\s])[^`]{1,500}(?<!\s)(?P=ticks)(?!`)"
BARS = [re.compile(rf"{CODE}|(?P<bar>\|)"), re.compile(rf"{CODE}|{FORMULA}|(?P<bar>\|)")]
TAG = re.compile(r"</?([a-z][a-z0-9]*)(?:\s[^<>]*)?/?>", re.IGNORECASE)
LINK_TAG = re.compile(
    r"""<a\b[^<>]{0,300}?\bhref=["']?(https?://[^"'\s<>]{1,999})[^<>]{0,300}>([^<>]*)</a>""", re.IGNORECASE
)
MARKS_OF_TAGS = {"b": "**", "strong": "**", "code": "`", "br": "<br>"}


def as_list(rows: Iterator[list[str]], notes: Container[str]) -> tuple[str, Iterator[str]]:
    """What a table is about, "" if that is not told, and the words of the items. The first row is the head.

    ['水果', '价格', '产地'], ['苹果', '3', '山东'] -> '**水果**', ['**苹果**：价格 3；产地 山东'].
    """
    head = [in_a_line(cell, notes) for cell in next(rows, [])]
    names = head[1:] if len(head) > 2 and sum(map(len, head[1:])) <= 100 else []
    body = list(itertools.islice(rows, 1))
    about = head[:1] if names and body else head
    sign = sign_in("".join(about), "：" if body else "；")

    def item(cells: list[str]) -> str:
        first, *others = [in_a_line(cell, notes) for cell in cells] + [""] * (len(head) - len(cells))
        named = itertools.zip_longest(names, others, fillvalue="")
        told = [f"{name} {cell}".strip() for name, cell in named if cell]
        row = "".join((first, *told))
        rest = sign_in(row, "；").join(told)
        if not rest or not first:
            return (bold(first) if others else first) or rest
        return bold(first) + (" " if first.endswith(("：", ":")) else sign_in(row, "：")) + rest

    return bold(sign.join(filter(None, about))), filter(None, map(item, itertools.chain(body, rows)))


def in_a_line(cell: str, notes: Container[str]) -> str:
    r"""The words of a cell within a line: '甲<br>2**3' -> '甲；2\*\*3', for marks could pair up across cells."""
    cell = ready(cell.replace("\\|", "|"), notes).strip(" \t\r")
    cell = re.sub(r"(?<=[，。！？；：、,.!?;:])\r", " ", cell)
    cell = re.sub(r"[ \t]?\r[ \t\r]*", sign_in(cell, "；"), cell)
    if len(cell) > LONG:
        return cell
    return PAIRS.sub(lambda found: re.sub("(.)", r"\\\1", found["alone"]) if found["alone"] else found[0], cell)


def sign_in(text: str, sign: str) -> str:
    """The sign as the language of the text has it: '：' in Chinese, ': ' in English."""
    text = re.sub(r"\]\([^()]*\)", "", text)  # an address is of no language
    english = re.search("[A-Za-z]", text) and not re.search(r"[\u2e80-\u9fff\uf900-\ufaff]", text)
    return {"：": ": ", "；": "; "}[sign] if english else sign


def bold(words: str) -> str:
    """In bold, unless that could clash with signs that the words have."""
    return words if not words or "*" in words or words.endswith("\\") else f"**{words}**"


def head_of_table(line: str, rule: str) -> list[str]:
    """The cells of the line if, with the rule below it, it is the head of a table; their numbers may differ."""
    if "|" not in line + rule or max(line.count("|"), rule.count("|")) > MAX_COLUMNS or not RULE.fullmatch(rule):
        return []
    columns = len(cells_of(rule))
    head = cells_of(line, columns)
    return head if len(head) == columns or (len(head) > 1 and "|" in rule) else []


def cells_of(row: str, columns: int = 0) -> list[str]:
    r"""What stands between the bars of a row that should have so many cells: '| `a | b` | c |' -> ['`a | b`', 'c'].

    Bars in code and in formulas are none of the table; but there is no formula in '|$5|6$|'.
    """
    row = row.strip(" \t").removeprefix("|")
    if row.endswith("|") and not row.endswith("\\|"):
        row = row[:-1]
    for pattern in BARS:
        bars = (found.start() for found in pattern.finditer(row) if found["bar"])
        cuts = [-1, *itertools.islice(bars, MAX_COLUMNS), len(row)]
        cells = [row[left + 1 : right] for left, right in itertools.pairwise(cuts)]
        if len(cells) == columns:
            break
    return cells


def parts_of(html: str) -> tuple[str, Iterator[list[str]], str]:
    """The caption of a table in HTML, the cells of each row, and what stands behind it, as Markdown."""
    table, *rest = re.split("</table>", html, maxsplit=1, flags=re.IGNORECASE)
    caption, *rows = re.split(r"(?=<tr\b)", table, maxsplit=1, flags=re.IGNORECASE)
    found = re.finditer(r"(?is)<tr\b[^<>]*>(.*?)(?=<tr\b|\Z)", "".join(rows))
    return TAG.sub("", caption).strip(), (cells_in(row[1]) for row in found), TAG.sub("", "".join(rest)).strip()


def cells_in(row: str) -> list[str]:
    """The cells of a row in HTML, as Markdown."""
    row = LINK_TAG.sub(r"[\2](\1)", row)
    cells = re.split(r"(?i)<t[dh]\b[^<>]*>", row, maxsplit=MAX_COLUMNS)[1:] or [row]
    return [" ".join(TAG.sub(lambda tag: MARKS_OF_TAGS.get(tag[1].lower(), ""), cell).split()) for cell in cells]
