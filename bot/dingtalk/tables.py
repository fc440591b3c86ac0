"""Tables as lists, which read well on a phone: an item for each row."""

from __future__ import annotations

import itertools
import re
from collections.abc import Container

from bot.dingtalk.html import MAX_COLUMNS
from bot.dingtalk.inline import FORMULA, LONG, PAIRS, ready

RULE = re.compile(r"\|?[ \t]*:?-+:?(?:[ \t]*\|[ \t]*:?-+:?)*[ \t]*\|?")
CODE = r"\\\||(?<!`)(?P<ticks>`+)(?![`\s])[^`]{1,500}(?<!\s)(?P=ticks)(?!`)"
BARS = [re.compile(rf"{CODE}|(?P<bar>\|)"), re.compile(rf"{CODE}|{FORMULA}|(?P<bar>\|)")]


class Table:
    """A table that is read row by row."""

    def __init__(self, head: list[str], notes: Container[str]) -> None:
        self.notes = notes  # see ready()
        self.head = [self.words(cell) for cell in head]
        self.names = self.head[1:] if len(head) > 2 and sum(map(len, self.head[1:])) <= 100 else []
        self.rows = 0  # that were read

    def about(self) -> str:
        """What stands above the list: what the table is about; of a table without rows, all of its head."""
        shown = self.head[:1] if self.names and self.rows else self.head
        return bold(sign_in("".join(shown), "：" if self.rows else "；").join(filter(None, shown)))

    def item(self, cells: list[str]) -> str:
        """A row as the words of an item: ['苹果', '3', '山东'] -> '**苹果**：价格 3；产地 山东'."""
        self.rows += 1
        first, *others = [self.words(cell) for cell in cells] + [""] * (len(self.head) - len(cells))
        named = itertools.zip_longest(self.names, others, fillvalue="")
        told = [f"{name} {cell}".strip() for name, cell in named if cell]
        row = "".join((first, *told))
        rest = sign_in(row, "；").join(told)
        if not rest or not first:
            return (bold(first) if others else first) or rest
        return bold(first) + (" " if first.endswith(("：", ":")) else sign_in(row, "：")) + rest

    def words(self, cell: str) -> str:
        r"""The words of a cell within a line: '甲<br>2**3' -> '甲；2\*\*3', for marks could pair up across cells."""
        cell = ready(cell.replace("\\|", "|"), self.notes).strip(" \t\r")
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
