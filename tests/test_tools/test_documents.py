"""Both READMEs: equal in content, and true where the files of the repository can tell."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, load

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
TROUBLESHOOTING = {ENGLISH: "## Troubleshooting", CHINESE: "## 排查问题"}
SETTINGS = {ENGLISH: "## Settings", CHINESE: "## 设置"}
PICTURES = "tests/playground/pictures/"

each_readme = pytest.mark.parametrize("readme", [ENGLISH, CHINESE])


def text_of(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


def prose(readme: str) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(readme), flags=re.MULTILINE | re.DOTALL)


def section(readme: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    _, found, rest = prose(readme).partition(f"\n{heading}\n")
    assert found, heading
    return rest.partition("\n## ")[0]


def headings(readme: str) -> list[tuple[str, str]]:
    """Level ('##') and words."""
    return re.findall(r"^(#+) (.+)$", prose(readme), flags=re.MULTILINE)


def code_blocks(readme: str) -> list[tuple[str, str]]:
    """Language and content."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text_of(readme), flags=re.MULTILINE | re.DOTALL)


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table row by row, without the rule below the head."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    return [[row.strip("|").split("|") for row in table.splitlines() if set(row) - set("|- ")] for table in found]


def links(readme: str) -> list[str]:
    """The targets of all links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(readme))


def anchor(heading: str) -> str:
    """What GitHub makes of a heading: 'Step 5, route A: `s deploy`' -> 'step-5-route-a-s-deploy'"""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def quoted_in_troubleshooting(readme: str) -> list[str]:
    """What the tables say that the chat, the log or a self-check shows: the code in their first columns."""
    rows = [row for table in tables(section(readme, TROUBLESHOOTING[readme])) for row in table]
    return [quote for row in rows for quote in re.findall(r"`([^`]+)`", row[0])]


def sentences(function: str) -> list[str]:
    """Every text in the file, with … for each part that is filled in."""
    texts = []
    for node in ast.walk(ast.parse((ROOT / f"{function}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(re.sub(r"%[.\d]*[a-z]|\{\}", "…", node.value))
    return texts


def test_both_have_the_same_headings() -> None:
    """The same levels in the same order: a section that exists in one language only is a section forgotten."""
    assert [level for level, _ in headings(ENGLISH)] == [level for level, _ in headings(CHINESE)]


def test_both_have_the_same_code() -> None:
    """What is typed and what is shown is the same in both; only a diagram is labelled in its language."""

    def comparable(readme: str) -> list[tuple[str, object]]:
        blocks = code_blocks(readme)
        return [(kind, len(code.splitlines()) if kind == "mermaid" else code) for kind, code in blocks]

    assert comparable(ENGLISH) == comparable(CHINESE)


def test_both_have_the_same_tables() -> None:
    """As many, with as many rows and columns each."""

    def shape(readme: str) -> list[list[int]]:
        return [[len(row) for row in table] for table in tables(prose(readme))]

    assert shape(ENGLISH) == shape(CHINESE)


def test_both_quote_the_same_in_their_troubleshooting() -> None:
    """A symptom can be looked up in either language."""
    assert quoted_in_troubleshooting(ENGLISH) == quoted_in_troubleshooting(CHINESE)


def test_both_have_the_same_settings() -> None:
    """Row for row: the names, the function, and a default that is code."""

    def rows(readme: str) -> list[tuple[list[str], list[str]]]:
        (table,) = tables(section(readme, SETTINGS[readme]))
        codes = [[re.findall(r"`([^`]+)`", cell) for cell in row] for row in table[1:]]
        return [(cells[0], cells[2]) for cells in codes]

    assert rows(ENGLISH) == rows(CHINESE)


@each_readme
def test_every_link_inside_the_page_leads_somewhere(readme: str) -> None:
    """An anchor is made of the heading's words, so a heading that is reworded breaks it."""
    anchors = [anchor(words) for _, words in headings(readme)]
    assert len(set(anchors)) == len(anchors)
    wanted = {link[1:] for link in links(readme) if link.startswith("#")}
    assert wanted and not wanted - set(anchors)


@each_readme
def test_every_linked_file_exists(readme: str) -> None:
    """Pictures, the licence, the other language."""
    files = [link for link in links(readme) if not re.match(r"#|https?://", link)]
    assert files
    if not (ROOT / PICTURES).is_dir():
        files = [file for file in files if not file.startswith(PICTURES)]
    assert [file for file in files if not (ROOT / Path(file)).is_file()] == []


@each_readme
def test_every_sentence_quoted_is_one_of_the_functions(readme: str) -> None:
    """A person searches the page for what the chat or the log shows, so it must stand there as it is shown."""
    shown = [sentence for function in (CONVERSATION, REPLY) for sentence in sentences(function)]
    for quote in quoted_in_troubleshooting(readme):
        pattern = ".*".join(map(re.escape, quote.split("…")))
        assert any(re.search(pattern, sentence) for sentence in shown), quote


@each_readme
def test_every_failure_can_be_looked_up(readme: str) -> None:
    """All that Dingtalk_ChatGPT_Reply may say to a person when something is wrong."""
    reply = load(ROOT / f"{REPLY}.py")
    said = [*reply.FAILURES.values(), *reply.OSS_HINTS.values()]
    said += [*reply.UNREADABLE.values(), reply.OVER_QUOTA, reply.USER_REFUSED, reply.GROUP_REFUSED, reply.LIMIT_REACHED]
    said += [reply.INTERNAL, reply.WITHHELD]
    quotes = quoted_in_troubleshooting(readme)
    hints = {"请检查环境变量 OSS_BUCKET_NAME": "NoSuchBucket"}  # looked up by its code, which comes with it
    assert [text for text in said if hints.get(text, text).replace("{}", "…") not in quotes] == []
