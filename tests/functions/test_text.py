"""The text for DingTalk's clients: Markdown as a CommonMark reader sees it before and after, in parts, with a title."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.commonmark import READER, Seen, in_one_stream, seen_in, seen_in_parts
from tests.helpers import Reply
from tests.stand_ins.local_cloud import ROOT, LocalCloud

DATA = ROOT / "tests" / "data"
ANSWERS = dict(
    answer.split("\n", 1)
    for answer in re.split("^%% ", (DATA / "answers.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
)
FIELD = [json.loads(line) for line in (DATA / "field" / "markdown.jsonl").read_text(encoding="utf-8").splitlines()]
PRIVATE = SimpleNamespace(in_group=False)

# --- what a reader sees ---


@pytest.mark.parametrize("name", ANSWERS)
def test_answer_is_seen_as_the_model_wrote_it(warm_reply: ModuleType, name: str) -> None:
    """Code leaves its list and tables become lists; nothing else changes for a reader."""
    (part,) = warm_reply.split_markdown(ANSWERS[name])
    assert seen_in(part) == seen_in(ANSWERS[name])


@pytest.mark.parametrize("characters", [230, 300, 400])
@pytest.mark.parametrize(
    "name", [name for name in ANSWERS if name != "reference links"]
)  # an address can be parts away
def test_answer_in_parts_is_seen_as_the_model_wrote_it(
    warm_reply: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, characters: int
) -> None:
    """Wherever it is cut, the parts show the same one after the other."""
    monkeypatch.setattr(warm_reply, "PART_CHARACTERS", characters)
    parts = warm_reply.split_markdown(ANSWERS[name])
    assert in_one_stream(seen_in_parts(parts)) == in_one_stream(seen_in(ANSWERS[name]))


def test_all_answers_together_are_seen_as_the_model_wrote_them(warm_reply: ModuleType) -> None:
    """At the real size of a part."""
    text = "\n\n---\n\n".join(answer for name, answer in ANSWERS.items() if "open" not in name and "html" not in name)
    parts = warm_reply.split_markdown(text)
    assert 2 < len(parts) < 8
    assert in_one_stream(seen_in_parts(parts)) == in_one_stream(seen_in(text))


WORDS = st.lists(
    st.sampled_from(
        [
            "先看这里",
            "then",
            "**重点**",
            "`a < b`",
            "[链接](https://a.cn/x_(y))",
            "2**3",
            "*斜*",
            "-5",
            "#1",
            "😀",
            "1. 不是列表",
        ]
    ),
    min_size=1,
    max_size=4,
).map(" ".join)
PARAGRAPH = st.lists(WORDS, min_size=1, max_size=3).map("\n".join)
HEADING = st.tuples(st.sampled_from(["#", "##", "####"]), WORDS).map(" ".join)
CODE_LINES = st.lists(st.sampled_from(["x = 1", "", "# 注释", "  - a", "| a | b |", "<br>", "    深"]), max_size=4)
CODE = st.tuples(
    st.sampled_from(["```", "````", "~~~"]), st.sampled_from(["", "python", "sh title=a"]), CODE_LINES
).map(lambda made: "\n".join([made[0] + made[1], *made[2], made[0]]))
INDENTED = st.sampled_from(["    a\n    b", "    # x\n\n      y"])
CELL = st.sampled_from(["苹果", "3", "**粗**", "`a \\| b`", "", "[链](https://a.cn)", "2**3"])
TABLE = st.integers(1, 4).flatmap(
    lambda columns: st.lists(st.lists(CELL, min_size=columns, max_size=columns), min_size=2, max_size=4).map(
        lambda rows: "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * columns, *rows[1:]])
    )
)
LEAF = PARAGRAPH | HEADING | CODE | TABLE | INDENTED | st.just("---") | PARAGRAPH.map("> ".__add__)


def item(marker: str, blocks: list[str]) -> str:
    """A list item of these blocks."""
    lines = "\n\n".join(blocks).split("\n")
    return marker + "\n".join(" " * len(marker) * bool(number and line) + line for number, line in enumerate(lines))


def listed(blocks: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A list of items with these blocks, after words: a list that begins with code is rare."""
    bodies = st.lists(st.tuples(PARAGRAPH, st.lists(blocks, max_size=2)), min_size=1, max_size=3)
    markers = st.sampled_from([lambda number: "- ", lambda number: "* ", lambda number: f"{number}. "])
    first = st.integers(1, 11)
    return st.tuples(markers, first, bodies, st.sampled_from(["\n", "\n\n"])).map(
        lambda made: made[3].join(
            item(made[0](made[1] + number), [words, *others]) for number, (words, others) in enumerate(made[2])
        )
    )


def quoted(blocks: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A quotation of these blocks."""
    return st.lists(blocks, min_size=1, max_size=3).map(
        lambda made: "\n".join(f"> {line}".rstrip() for line in "\n\n".join(made).split("\n"))
    )


TEXTS = st.lists(
    st.recursive(LEAF, lambda inner: listed(inner) | quoted(inner), max_leaves=6), min_size=1, max_size=5
).map("\n\n".join)


def check_reader(reply: ModuleType, text: str) -> None:
    """The same is seen before and after, whole and in parts."""
    assert in_one_stream(seen_in_parts(reply.split_markdown(text))) == in_one_stream(seen_in(text))
    characters = reply.PART_CHARACTERS
    reply.PART_CHARACTERS = 300
    try:
        parts = reply.split_markdown(text)
    finally:
        reply.PART_CHARACTERS = characters
    assert in_one_stream(seen_in_parts(parts)) == in_one_stream(seen_in(text))
    assert not any(part.startswith("    ") for part in parts if "    " not in text)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(text=TEXTS)
def test_text_of_any_blocks_is_seen_as_it_was(warm_reply: ModuleType, text: str) -> None:
    """Blocks in each other as models put them."""
    check_reader(warm_reply, text)


@pytest.mark.full
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=TEXTS)
def test_many_texts_of_any_blocks_are_seen_as_they_were(warm_reply: ModuleType, text: str) -> None:
    """The same with other examples in every run."""
    check_reader(warm_reply, text)
