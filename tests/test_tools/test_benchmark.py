"""`python3 -m tests.benchmark`: it knows every budget, and a broken one makes it fail. Nothing here depends on time."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from tests.benchmark.measure import GROUPS, percentile
from tests.benchmark.rows import BUDGETS, Row, broken_budgets, number, table
from tests.benchmark.stage import Stage
from tests.benchmark.wire import Network, Wire
from tests.stand_ins.function_compute import is_invoke
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT
from tests.stand_ins.oss import Oss
from tests.stand_ins.server import Fault

HOME = dict(os.environ)  # as it was before the tests emptied it

# Dingtalk_ChatGPT_Reply as it is -> with a budget broken
NEW_CLIENT_PER_MESSAGE = (
    "bot/chatgpt/service.py",
    "@functools.lru_cache(maxsize=1)\ndef openai_client(",
    "def openai_client(",
)
WHOLE_JOURNAL = ("bot/oss/journal.py", "TAIL_BYTES = 30 * 1024", "TAIL_BYTES = 1024**3")


def benchmark(*arguments: str, root: Path = ROOT) -> tuple[int, dict[str, Any], str]:
    """Exit status, JSON and stderr of the finished command."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmark", *arguments, "--json"],
        cwd=root,
        env={**HOME, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    return run.returncode, json.loads(run.stdout), run.stderr


# --- the command ---


def test_every_budget_of_the_design_has_a_row_and_an_explanation() -> None:
    """A budget that nobody measures is a wish."""
    limits = {what: budget.limit for what, budget in BUDGETS.items()}
    assert limits == {
        "CPU of importing Conversation / of import fc2": 1.10,
        "CPU of importing Reply / of import openai, oss2, requests": 1.10,
        "peak memory while serving / 128 MiB, Conversation": 1,
        "peak memory while serving / 128 MiB, Reply": 1,
        "requests per answered message, Reply": 7,
        "new connections per message, warm, Reply": 0,
        "bytes, message 10,000 / message 10, long turns": 1.2,
        "CPU, message 10,000 / message 10, long turns": 1.2,
        "CPU, message 10,000 / message 10, short turns": 1.2,
        "time to answer DingTalk beyond FC's own, Conversation": 20,
        "CPU of formatting and splitting a hostile answer of 200 KB": 2,
        "memory of formatting and splitting it / its size": 10,
        "peak memory with four pictures of 5 MB / 128 MiB, Reply": 4,
        "time to the answer, THINKING=on / off": 1.05,
        "replies lost": 0,
    }
    assert {budget.group for budget in BUDGETS.values()} <= set(GROUPS)
    readme = (ROOT / "tests/benchmark/README.md").read_text(encoding="utf-8")
    assert not [what for what in BUDGETS if what not in readme]


@pytest.mark.full
def test_counted_budgets_hold() -> None:
    """Requests, new connections and bytes, which are the same on every machine, however busy."""
    status, told, errors = benchmark("counts")
    assert (status, told["broken"]) == (0, []), errors
    limits = {row["what"]: row["limit"] for row in told["rows"] if "limit" in row}
    assert limits == {what: budget.limit for what, budget in BUDGETS.items() if budget.group == "counts"}
    assert told["python"].startswith("CPython 3.")


@pytest.mark.full
def test_broken_budgets_make_the_command_fail_and_are_named(tmp_path: Path) -> None:
    """A client made anew for every message, and a journal that is read as a whole, in a copy of the function."""
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "bot", tmp_path / "bot", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (f"{CONVERSATION}.py", f"{REPLY}.py", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for room, right, wrong in (NEW_CLIENT_PER_MESSAGE, WHOLE_JOURNAL):
        source = (tmp_path / room).read_text(encoding="utf-8")
        assert source.count(right) == 1
        (tmp_path / room).write_text(source.replace(right, wrong), encoding="utf-8")
    status, told, errors = benchmark("counts", root=tmp_path)
    broken = ["new connections per message, warm, Reply", "bytes, message 10,000 / message 10, long turns"]
    assert (status, told["broken"]) == (1, broken)
    assert errors.splitlines()[-2:] == [f"BROKEN: {what}" for what in broken]


@pytest.mark.parametrize("arguments", [["nothing"], ["counts", "--plot", "x.svg"]])
def test_command_that_makes_no_sense_is_refused(arguments: list[str]) -> None:
    """A group that does not exist; a figure of what is not measured."""
    command = [sys.executable, "-m", "tests.benchmark", *arguments]
    run = subprocess.run(command, cwd=ROOT, env=HOME, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert "counts" in run.stderr


# --- rows ---


def test_median_over_the_limit_breaks_a_budget() -> None:
    """One slow repetition does not: something else may have run on the machine."""
    what = "CPU, message 10,000 / message 10, long turns"
    assert not Row("growth", what, "×", [1.0, 1.2, 9.0]).broken
    assert Row("growth", what, "×", [1.0, 1.21, 9.0]).broken
    assert not Row("growth", "something else", "×", [9.0, 9.0]).broken


def test_single_count_over_the_limit_breaks_a_budget() -> None:
    """Nothing else can have sent that request."""
    what = "requests per answered message, Reply"
    assert not Row("counts", what, "", [7, 7, 7]).broken
    assert Row("counts", what, "", [7, 7, 8]).broken


def test_budget_that_was_not_measured_counts_as_broken() -> None:
    """A row that was renamed, or removed, is no success; that of a group that was not asked for is."""
    assert broken_budgets([Row("load", "replies", "", [0])], ["load"]) == ["replies lost"]
    assert broken_budgets([Row("load", "replies lost", "", [0])], ["load"]) == []


def test_table_shows_median_spread_and_verdict() -> None:
    """As people read it."""
    rows = [
        Row("warm", "time to answer DingTalk beyond FC's own, Conversation", "ms", [19.0, 20.0, 20.5, 21.0, 30.0]),
        Row("load", "replies lost", "", [0, 0]),
    ]
    _, broken, holds = table(rows).splitlines()
    assert broken.split()[-8:] == ["20.5", "ms", "20", "…", "21", "<=", "20", "BROKEN"]
    assert holds.split()[-7:] == ["0", "0", "…", "0", "<=", "0", "holds"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (5, "5"), (100, "100"), (0.98765, "0.988"), (0.0123, "0.0123"), (12.345, "12.3"), (12345.6, "12,346")],
)
def test_number_has_three_digits_that_count(value: float, text: str) -> None:
    """Not fewer where it is small, and no decimals where it is large."""
    assert number(value) == text


def test_percentile_is_a_measured_value() -> None:
    """The smallest one that so many percent do not exceed."""
    assert [percentile([1.0, 2.0, 3.0, 4.0], percent) for percent in (50, 75, 76, 99, 100)] == [2, 3, 4, 4, 4]
    assert percentile([7.0], 50) == 7


# --- the wire, and what is measured ---


def test_wire_counts_and_delays_what_goes_through() -> None:
    """A new connection, then requests on it; the delays are a lower bound, since more never proves anything."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    distance = Network(round_trip_seconds=0.05, connect_seconds=0.1)
    with Oss() as oss, Wire(oss.url, tls, distance) as wire, requests.Session() as session:
        session.verify = False
        seconds = []
        with pytest.warns(match="Unverified HTTPS request"):
            for _ in range(3):
                started = time.monotonic()
                assert session.put(f"{wire.url}/example-bucket/key", data=b"x" * 50_000).status_code == 403
                seconds.append(time.monotonic() - started)
    assert seconds[0] >= 0.15
    assert min(seconds[1:]) >= 0.05
    assert (wire.connections, len(oss.connections())) == (1, 1)
    assert 150_000 < wire.moved_bytes < 160_000


def test_message_that_fails_is_not_measured() -> None:
    """An error may be cheap."""
    with Stage(sys.executable) as stage, stage.conversation() as conversation:
        stage.cloud.function_compute.reset()
        stage.cloud.function_compute.plan(Fault(where=is_invoke, status=500, body="{}"))
        with pytest.raises(RuntimeError, match="does not hand over"):
            stage.hand_over(conversation)


def test_figure_is_drawn_and_small(tmp_path: Path) -> None:
    """With the words that explain it, as text."""
    pytest.importorskip("matplotlib", reason="only --plot needs it: tests/benchmark/requirements.txt")
    from tests.benchmark import plot

    names = [f"{what}, {kind} turns" for what in ("bytes", "CPU") for kind in ("long", "short")]
    rows = [Row("growth", name, "×", [1.1, 1.2], name, x) for name in names for x in (100, 1_000, 10_000)]
    for name in ("messages per second", "p50", "p99"):
        rows += [Row("load", name, "×", [x, 2 * x], name, x) for x in (1, 10, 50)]
    plot.draw(rows, tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert len(svg) < 60_000
    assert "people at once" in svg
    assert "bytes, short turns" in svg
