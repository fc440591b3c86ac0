"""Answers that could take long or much memory, and what making them ready for DingTalk takes.

`python -m tests.benchmark.hostile`: in a process of its own, so that nothing else is in its figures.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

from bot.dingtalk.parts import webhook_bodies

SIZE = 200_000
HOSTILE = {
    "wide cells": "| 名称 | 说明 |\n|---|---|\n" + ("| 项目 | " + "很长的说明，" * 300 + " |\n") * 36,
    "narrow cells": "a|b|c\n-|-|-\n" + "1|2|3\n" * 33_000,
    "long names": "|" + ("名" * 30 + "|") * 3 + "\n|-|-|-|\n" + "1|2|3\n" * 33_000,
    "one wide row": "ab|" * 66_000 + "\n" + "-|" * 60_000,
    "fences": "```\n" * 12_000 + "x" * 100_000,
    "fences in items": "- ```\n" * 33_000,
    "links": "[](" * 40_000,
    "brackets": "[" * SIZE,
    "items": "- \n" * 60_000,
    "items in one line": "1. " * 60_000,
    "quotations in one line": "> " * 100_000,
    "deep and lazy": "> - " * 20 + "a\n" + "b\n" * 90_000,
    "newlines": "\n" * 150_000,
    "short lines": "a\n" * 90_000 + "😀",
    "short lines of code": "```\n" + "a\n" * 90_000,
    "one line": "字" * (SIZE // 3),
    "rule": "-" * SIZE,
    "table rule": "a|b\n" + "-|" * 60_000,
    "blanks": "a" + " " * SIZE + "<br>",
    "breaks": "ab<br>" * 33_000,
    "backticks": "`a" * 90_000,
    "backticks of all lengths": "a".join("`" * length for length in range(1, 630)),
    "stars": "**a" * 60_000,
    "bold beside signs": "**字，**字" * 25_000,
    "marks of all kinds": "*a **b ~~c ***d " * 12_000,
    "stops": "**字" + "，" * (SIZE // 3) + "**字",
    "numbers": "1. a\n" * 40_000,
    "formulas": "\\(x\\)" * 40_000,
    "dollars": "$x" * 90_000,
    "footnotes": "".join(f"[^{number}]: a\n" for number in range(16_000)),
    "dollars in a row": "a|b\n-|-\n" + "$a|" * 60_000,
    "ticks in a row": "a|b\n-|-\n" + "`a|" * 60_000,
    "blank lines in a table": "|a|b|\n|-|-|\n" + "|1|2|\n\n" * 22_000,
    "tags of tables": "<table>" * 28_000,
    "tables without end": "a <table\n" * 20_000,
    "table in HTML": "<table>" + "<tr><td>a" * 20_000 + "</table>",
    "row in HTML": "<table><tr>" + "<td>a" * 36_000,
    "tags": "<a " * 60_000,
    "comments": "<!--\n" * 40_000,
    "fences in a fence": "```markdown\n" + "```a\n```\n" * 22_000,
    "control characters": "\x01" * SIZE,
    "combining characters": "e" + "\u0301" * (SIZE // 2),
}


def cost_of(answer: str) -> tuple[float, float]:
    """Seconds of CPU, and peak memory as times of the answer, of its bodies for the webhook."""
    message: Any = SimpleNamespace(in_group=False)
    started = time.process_time()
    webhook_bodies(message, answer, "markdown")
    seconds = time.process_time() - started
    tracemalloc.start()  # in a second run, for it takes time
    webhook_bodies(message, answer, "markdown")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak_bytes / len(answer.encode())


if __name__ == "__main__":
    print(json.dumps([cost_of(answer) for answer in HOSTILE.values()]))
