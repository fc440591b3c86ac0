"""One run: what waits, and for how long."""

from __future__ import annotations

import time

from bot.deadline import pause
from tests.stand_ins.local_cloud import ROOT


def test_pause_ends_at_the_deadline() -> None:
    """What comes after it looks at the clock; a deadline that is past costs nothing."""
    started = time.monotonic()
    pause(60, started + 0.05)
    pause(60, started - 1)
    pause(0.01, started + 60)
    assert time.monotonic() - started < 30


def test_nothing_sleeps_but_pauses() -> None:
    """And ChatGPT's tries, which are not made if the pause before them would end too late."""
    sleeping = [file.name for file in (ROOT / "bot").rglob("*.py") if "time.sleep(" in file.read_text(encoding="utf-8")]
    assert sorted(sleeping) == ["asking.py", "deadline.py"]
