"""The text for DingTalk's clients: Markdown as a CommonMark reader sees it before and after, in parts, with a title."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from tests.commonmark import seen_in
from tests.stand_ins.local_cloud import ROOT

DATA = ROOT / "tests" / "data"
ANSWERS = dict(
    answer.split("\n", 1)
    for answer in re.split("^%% ", (DATA / "answers.txt").read_text(encoding="utf-8"), flags=re.M)[1:]
)


@pytest.mark.parametrize("name", ANSWERS)
def test_answer_is_seen_as_the_model_wrote_it(warm_reply: ModuleType, name: str) -> None:
    """Code leaves its list and tables become lists; nothing else changes for a reader."""
    (part,) = warm_reply.split_markdown(ANSWERS[name])
    assert seen_in(part) == seen_in(ANSWERS[name])
