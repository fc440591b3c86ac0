"""Tables of plain words: which row of a table a text has.

A table is a text: the name of a row, and what is looked for in one sentence. `a, b + c - d` is: a or b, and c, but not
d, in any order; behind a comma or a plus it goes on below, and a line without a name is one more of its row. A word is
found where one begins with it, with a dot behind it only where it is the whole word; signs and capitals do not count,
and "don't" and "cannot" are read as "do not" and "can not".
"""

import functools
import re
from collections.abc import Iterable

Line = tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]  # one of each group has to be there, none of the last


def first_row(table: str, texts: Iterable[str]) -> str | None:
    """The name of the first row of a table that is found in one sentence of the texts."""
    said = [sentence for text in texts for sentence in sentences_of(text)]
    return next((name for name, line in rows(table) if any(has(sentence, line) for sentence in said)), None)


@functools.cache
def rows(table: str) -> list[tuple[str, Line]]:
    """The lines of a table, each with the name of its row: 'a, b. + c - d' -> ((' a', ' b '), (' c',)), (' d',)."""
    found: list[tuple[str, Line]] = []
    for text in re.sub(r"([,+])\n +", r"\1 ", table).strip().splitlines():
        wanted, _, unwanted = text[11:].partition(" - ")
        groups = tuple(words_in(group) for group in wanted.split(" + "))
        found.append((text[:11].strip() or found[-1][0], (groups, words_in(unwanted))))
    return found


def words_in(group: str) -> tuple[str, ...]:
    """'a, b., 余额' -> (' a', ' b ', '余额'): in Chinese no blank tells where a word begins."""
    words = (f" {word}" if word.isascii() else word for word in group.split(", ") if word)
    return tuple(word.replace(".", " ") for word in words)


def has(sentence: str, line: Line) -> bool:
    """Whether a sentence has what a line asks for."""
    wanted, unwanted = line
    found = all(any(word in sentence for word in group) for group in wanted)
    return found and not any(word in sentence for word in unwanted)


def sentences_of(text: str) -> list[str]:
    """Its sentences in lower case, without signs: "ModelNotOpen: X isn't" -> ' model not open ', ' x is not '.

    Of an address only what it links to stays.
    """
    text = re.sub(r"\S{0,200}/\S{0,200}/[^\s#]*", " ", text[:8000]).replace("#", " link ")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text.replace("’", "'").replace("n't", " not").replace("annot", "an not"))
    text = text.lower().replace("<", " less than ").replace(">", " greater than ")
    text = re.sub(r"(?<=[a-z0-9])(?=[\u3400-\u9fff])|(?<=[\u3400-\u9fff])(?=[a-z0-9])", " ", text)
    parts = re.split(r"[.!?;:](?=\s)|[\n。！；]", text)
    return [" " + " ".join(re.findall(r"[^\W_]+", part)) + " " for part in parts]
