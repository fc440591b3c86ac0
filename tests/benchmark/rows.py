"""The lines of the benchmark's table, and the budgets that some of them must hold."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any, NamedTuple


class Budget(NamedTuple):
    """What the row of this name may show at most."""

    group: str
    limit: float


TIMES = "×"  # the unit of a ratio
BUDGETS = {
    "CPU of importing Conversation / of import fc2": Budget("cold", 1.10),
    "CPU of importing Reply / of import openai, oss2, requests": Budget("cold", 1.10),
    "peak memory while serving / 128 MiB, Conversation": Budget("cold", 1.0),
    "peak memory while serving / 128 MiB, Reply": Budget("cold", 1.0),
    "requests per answered message, Reply": Budget("counts", 7),
    "new connections per message, warm, Reply": Budget("counts", 0),
    "bytes, message 10,000 / message 10, long turns": Budget("counts", 1.2),
    "CPU, message 10,000 / message 10, long turns": Budget("growth", 1.2),
    "CPU, message 10,000 / message 10, short turns": Budget("growth", 1.2),
    "time to answer DingTalk beyond FC's own, Conversation": Budget("warm", 20),  # ms
    "CPU of formatting and splitting a hostile answer of 200 KB": Budget("text", 2),  # seconds
    "memory of formatting and splitting it / its size": Budget("text", 10),
    "peak memory with four pictures of 5 MB / 128 MiB, Reply": Budget("pictures", 4.0),  # an instance of 512 MB
    "time to the answer, THINKING=on / off": Budget("pictures", 1.05),
    "replies lost": Budget("load", 0),
}


@dataclass(frozen=True)
class Row:
    """One quantity, measured several times. `what` is the name of a budget, or says what has none."""

    group: str
    what: str
    unit: str  # '' is for what is counted
    values: list[float]
    series: str = ""  # in the figure; '' is for what is not in it
    x: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """Where the middle half of the values lies; of what is counted, all of them."""
        if not self.unit:
            return min(self.values), max(self.values)
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high

    @property
    def limit(self) -> float | None:
        """The budget, if there is one."""
        return BUDGETS[self.what].limit if self.what in BUDGETS else None

    @property
    def broken(self) -> bool:
        """The median is over the limit; of what is counted, a single value is."""
        figure = self.median if self.unit else max(self.values)
        return self.limit is not None and figure > self.limit

    def as_json(self) -> dict[str, Any]:
        """Figures with four digits that count."""
        low, high = self.spread
        figures = {"median": self.median, "low": low, "high": high}
        return {
            "group": self.group,
            "what": self.what,
            "unit": self.unit,
            **{name: float(f"{value:.4g}") for name, value in figures.items()},
            "repetitions": len(self.values),
            **({} if self.limit is None else {"limit": self.limit, "broken": self.broken}),
        }


def broken_budgets(rows: list[Row], groups: list[str]) -> list[str]:
    """The names of those that are exceeded, or were not measured although their group was."""
    measured = {row.what for row in rows}
    missing = [what for what, budget in BUDGETS.items() if budget.group in groups and what not in measured]
    return [row.what for row in rows if row.broken] + missing


def table(rows: list[Row]) -> str:
    """The rows for people."""
    width = max(len(row.what) for row in rows)
    lines = [f"{'group':7}  {'what':{width}}  {'median':>7}     {'spread':^17}  budget"]
    for row in rows:
        low, high = row.spread
        spread = f"{number(low)} … {number(high)}"
        budget = "" if row.limit is None else f"<= {number(row.limit)} {'BROKEN' if row.broken else 'holds'}"
        lines.append(f"{row.group:7}  {row.what:{width}}  {number(row.median):>7} {row.unit:3} {spread:^17}  {budget}")
    return "\n".join(line.rstrip() for line in lines)


def number(value: float) -> str:
    """With three digits that count, and without an exponent: 0.9876 -> '0.988', 12345.6 -> '12,346', 5.0 -> '5'."""
    decimals = 0 if value == round(value) else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"
