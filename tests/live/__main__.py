"""`python3 -m tests.live`: what the stand-ins assume, checked against your own account.

It reads .env and the environment, needs an access key, and asks before anything that costs. It writes only objects
under chat-history/@live/ and deletes them, runs only the self-check of the functions, and shows no key. Afterwards,
live-report.md holds what it saw; you can attach it to an issue.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.packages import provide

if __name__ == "__main__":
    provide("tests/requirements.txt", "tests.live")

import requests

from deploy.dotenv import arriving
from deploy.dotenv import read as read_dotenv
from tests.live.account import FOLDER, Account, Live, NotHere, account_of
from tests.live.checks import CHECKS, Check
from tests.stand_ins.local_cloud import ROOT

REPORT = "live-report.md"
AS_ASSUMED, DIFFERENT, NOT_CHECKED = "as assumed", "DIFFERENT", "not checked"
MAX_SEEN_CHARACTERS = 200
# Group -> what it does, and what it costs
COSTS = {
    "oss": f"about 40 requests to the bucket, only to objects under {FOLDER}/: far below a cent",
    "url": "five GETs of the address of Dingtalk_Conversation: far below a cent",
    "fc": "the self-check of Dingtalk_ChatGPT_Reply three times, each asks the model one tiny question: below a cent",
    "chatgpt": "three tiny questions to the model: below a cent",
    "dingtalk": "one message to a chat that does not exist: nothing",
    "by hand": "nothing by itself: you are asked what you see",
}


class Result(NamedTuple):
    check: Check
    outcome: str
    assumed: str
    seen: str


def main(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    ask: Callable[[str], str] = input,
    account: Account | None = None,
    report: Path = Path(REPORT),
) -> int:
    """0: all is as assumed; 1: something is different; 2: nothing could be checked.

    `account` replaces what the environment says, for the tests.
    """
    asked = parser().parse_args(arguments)
    checks = [check for check in CHECKS if asked.only in (None, check.name)]
    if account is None:
        template = ROOT / ("s.fc3.yaml" if asked.fc == 3 else "s.yaml")
        account = account_of({**dotenv(), **environ}, template.read_text(encoding="utf-8"), **given(asked))
    groups = {check.group: account.missing.get(check.group, []) for check in checks}
    if "by hand" in groups and not asked.by_hand:
        groups["by hand"] = ["--by-hand"]
    for group, missing in groups.items():
        if missing:
            print(f"{group}: 缺少 / needs {', '.join(missing)}")
    agreed = {group for group, missing in groups.items() if not missing and (asked.yes or agrees(group, ask))}
    if not agreed:
        print("什么也没有检查。 / Nothing was checked.")
        return 2
    live = Live(account)
    if "fc" in agreed and not asked.fc:
        account = deployed(live)
        live = Live(account)
    results = []
    try:
        for check in checks:
            why = f"needs {', '.join(groups[check.group])}" if groups[check.group] else "not wanted"
            result = look(check, live, ask) if check.group in agreed else skipped(check, live, why)
            results.append(result)
            if check.group in agreed:
                show(result, account)
    finally:
        left = live.clean() if live.keys else 0
    if left:
        print(f"{left} objects under {FOLDER}/ may be left; delete them.")
    report.write_text(written(results, live), encoding="utf-8")
    counts = [sum(result.outcome == outcome for result in results) for outcome in (AS_ASSUMED, DIFFERENT, NOT_CHECKED)]
    print("{} as assumed, {} different, {} not checked".format(*counts), f"-> {report.name}")
    return 1 if counts[1] else 0 if counts[0] else 2


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.live", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--fc", type=int, choices=(2, 3), help="the generation of Function Compute; looked for if not given"
    )
    parser.add_argument("--account", metavar="ID", help="of the Alibaba Cloud account; not needed if ENDPOINT is set")
    parser.add_argument("--region", help="of the functions and the bucket; us-west-1 if nothing says otherwise")
    parser.add_argument(
        "--internal", action="store_true", help="use the internal addresses: only on a machine of Alibaba Cloud"
    )
    parser.add_argument("--url", help="the address of Dingtalk_Conversation, as it stands in DingTalk")
    parser.add_argument("--task-id", metavar="ID", help="from an earlier report: does it still block a repeat?")
    parser.add_argument("--by-hand", action="store_true", help="ask about what only a person can see, too")
    parser.add_argument(
        "--only", metavar="NAME", choices=[check.name for check in CHECKS], help="one check, by its name"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before what costs")
    return parser


def given(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "generation": asked.fc,
        "account_id": asked.account,
        "region": asked.region,
        "internal": asked.internal,
        "url": asked.url,
        "task_id": asked.task_id,
    }


def dotenv() -> dict[str, str]:
    """What is in .env, {} if there is none."""
    file = ROOT / ".env"
    return arriving(read_dotenv(file.read_text(encoding="utf-8-sig"))[0], {}, generation=2) if file.exists() else {}


def agrees(group: str, ask: Callable[[str], str]) -> bool:
    """Whether the person wants it; nobody there is a no."""
    try:
        return ask(f"{group}: {COSTS[group]}. 继续吗？/ Go on? [y/N] ").strip().lower() in ("y", "yes", "是")
    except EOFError:
        print()
        return False


def deployed(live: Live) -> Account:
    """The account with the generation of Function Compute on which the bot is found."""
    try:
        generation = live.generation()
    except requests.RequestException:
        generation = 0  # the checks will say so
    found = f"on {generation}.0" if generation else "not found; looked at as on 2.0"
    print(f"{live.account.reply}: {found}")
    return replace(live.account, generation=generation or 2)


def look(check: Check, live: Live, ask: Callable[[str], str]) -> Result:
    """The result of a check that may be carried out."""
    assumed = assumed_of(check, live)
    if assumed is None:
        return skipped(check, live, f"Function Compute {live.account.generation}.0 has no such thing")
    try:
        seen = check.see(live) if check.see else asked_of_a_person(check, ask)
    except NotHere as reason:
        return Result(check, NOT_CHECKED, assumed, str(reason))
    except requests.RequestException as error:  # its message may hold an address
        return Result(check, NOT_CHECKED, assumed, f"no answer: {type(error).__name__}")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        seen = f"an answer of another shape: {type(error).__name__}"
    return Result(check, AS_ASSUMED if seen == assumed else DIFFERENT, assumed, seen)


def asked_of_a_person(check: Check, ask: Callable[[str], str]) -> str:
    """What the person says; nothing said is not looked at."""
    try:
        said = ask(f"{check.name}: {check.what} [yes/no/...] ").strip()
    except EOFError:
        said = ""
    if not said:
        raise NotHere("nobody looked")
    return {"y": "yes", "n": "no", "是": "yes", "否": "no"}.get(said.lower(), said)


def skipped(check: Check, live: Live, why: str) -> Result:
    return Result(check, NOT_CHECKED, assumed_of(check, live) or "-", why)


def assumed_of(check: Check, live: Live) -> str | None:
    """What is assumed of the generation; None if it has no such thing."""
    return check.assumed if isinstance(check.assumed, str) else check.assumed.get(live.account.generation)


def plain(text: str, account: Account) -> str:
    """One line of a report: without secrets, without what controls a terminal or ends a cell, and not too long.

    In this order: half of a key could not be found any more.
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in account.hide(text)).split())
    return line.replace("|", "/")[:MAX_SEEN_CHARACTERS]


def show(result: Result, account: Account) -> None:
    print(f"{result.outcome:11}  {result.check.name}: {plain(result.seen, account)}")
    if result.outcome == DIFFERENT:
        print(f"{'':13}assumed: {result.assumed}\n{'':13}so: {result.check.breaks}")


def written(results: Sequence[Result], live: Live) -> str:
    """The report: what was seen beside what is assumed."""
    account = live.account
    lines = [
        "# What the stand-ins assume, and what the services do",
        "",
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, Function Compute {account.generation}.0,"
        f" {account.region}, model {plain(account.model, account)}, {'a role' if account.token else 'a permanent'} key,"
        f" Python {platform.python_version()}. For a later run: `--task-id {live.task_id}`",
        "",
        "| check | result | assumed | seen | if it is different |",
        "| --- | --- | --- | --- | --- |",
    ]
    for result in sorted(results, key=lambda result: (DIFFERENT, AS_ASSUMED, NOT_CHECKED).index(result.outcome)):
        cells = (result.check.name, result.outcome, result.assumed, result.seen, result.check.breaks)
        lines.append(f"| {' | '.join(plain(cell, account) for cell in cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
