"""`python3 -m tests.live` against the stand-ins: every check sees what they assume, and notices when it is not so."""

from __future__ import annotations

import base64
import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.live.__main__ import AS_ASSUMED, COSTS, DIFFERENT, main
from tests.live.account import FOLDER, OPEN_URL, Account, account_of
from tests.live.checks import CHECKS
from tests.stand_ins.function_compute import Credentials
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, LocalCloud
from tests.stand_ins.oss import Access, error_fault
from tests.stand_ins.runtimes import GENERATIONS
from tests.stand_ins.server import Answer, Fault, Received

PERMANENT = Credentials("LTAIexampleexample", "a-secret-of-a-permanent-key")
BY_PROGRAM = [check for check in CHECKS if check.see]
BY_HAND = [check for check in CHECKS if not check.see]
ROLES_ONLY = ("oss-no-token",)

Break = Callable[[LocalCloud], None]

# What takes all checks, several times, and does not depend on the generation.
on_one_generation = pytest.mark.parametrize(
    "cloud_of_each_generation",
    [GENERATIONS[0], pytest.param(GENERATIONS[1], marks=pytest.mark.full)],
    ids=lambda runtime: f"{runtime.generation}.0",
    indirect=True,
)


@pytest.fixture
def live_cloud(cloud_of_each_generation: LocalCloud) -> Iterator[LocalCloud]:
    """All stand-ins on each generation, which also know a permanent key."""
    cloud = cloud_of_each_generation
    cloud.reset()
    cloud.oss.access[PERMANENT.access_key_id] = Access(PERMANENT.access_key_secret)
    cloud.function_compute.users.append(PERMANENT)
    yield cloud
    cloud.function_compute.wait_idle(30)
    cloud.function_compute.users.clear()
    cloud.reset()


def account(cloud: LocalCloud, **changes: Any) -> Account:
    """Everything that the checks need, with the permanent key."""
    known = Account(
        key_id=PERMANENT.access_key_id,
        key_secret=PERMANENT.access_key_secret,
        bucket="example-bucket",
        oss_endpoint=cloud.oss.url,
        account_id=cloud.function_compute.account_id,
        fc_endpoint=cloud.function_compute.url,
        generation=cloud.generation,
        url=cloud.function_compute.trigger_url(CONVERSATION),
        chatgpt_key="sk-example",
        base_url=cloud.openai_api.url,
        app_secret=cloud.dingtalk.app_secret,
        dingtalk=cloud.dingtalk.url,
    )
    return replace(known, **changes)


def as_role(cloud: LocalCloud, **changes: Any) -> Account:
    """The same with the temporary key of the role."""
    role = {"key_id": "STS.example-id", "key_secret": "example-secret", "token": "example-token"}
    return account(cloud, **{**role, **changes})


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """run(account, *arguments) is the exit status, what was printed, and the report."""

    def run(account: Account, *arguments: str, ask: Callable[[str], str] = nobody) -> tuple[int, str, str]:
        report = tmp_path / "report.md"
        status = main(arguments, {}, ask, account, report)
        printed = capsys.readouterr()
        return status, printed.out + printed.err, report.read_text(encoding="utf-8") if report.exists() else ""

    return run


def nobody(question: str) -> str:
    raise EOFError


def results(report: str) -> dict[str, str]:
    """Name of a check -> its result."""
    rows = re.findall(r"^\| ([\w-]+) \| ([\w ]+) \|", report, re.MULTILINE)
    return {name: result for name, result in rows if name != "check"}


# --- all assumptions ---

# File of the stand-ins -> what stands in a line that speaks of an assumption -> the checks of it
ASSUMPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "dingtalk.py": {
        "unknown for HTTP robots": ("message-that-is-repeated", "url-after-a-pause"),
        "refuses blank ones": ("blank-answer",),
        "allow_redirects": ("redirect-of-the-url",),
        "an @ in it does nothing": ("at-in-the-http-answer",),
        "the whole body counts": ("size-of-an-answer",),
        "a missing or empty field": ("codes-of-a-wrong-answer", "blank-answer"),
        "a wrong type and too many people": ("codes-of-a-wrong-answer",),
    },
    "dingtalk_api.py": {
        "URL_SECONDS": ("address-of-a-file-lives",),
        "in this order": ("order-of-the-api-checks",),
        "invalidParameter.downloadCode": ("code-of-an-old-download-code",),
        "MethodNotAllowed": ("codes-of-a-wrong-api-call",),
        "UnsupportedMediaType": ("codes-of-a-wrong-api-call",),
        "InvalidParameter.Json": ("codes-of-a-wrong-api-call",),
        "openMsgId, openConversationId": ("codes-of-a-wrong-api-call",),
        "invalidParameter.textEmotion": ("codes-of-a-wrong-api-call",),
    },
    "dingtalk_media.py": {"which of them an upload gets": ("codes-of-a-wrong-upload",)},
    "function_compute.py": {
        "MAX_ENVIRONMENT_BYTES": ("variables-of-4-kb",),
        "MAX_HEADER_BYTES": ("url-long-headers",),
        "the import at a cold start": ("import-has-its-own-time",),
        "wording": ("words-of-a-time-out",),
        "pause before a failed event": ("failed-event",),
        "root logger": ("log-level",),
        "that 3.0 has it too": ("fc-asynchronous-invocation",),
        "order of the checks": ("fc-wrong-secret-and-missing-function",),
        "FC keeps both kinds apart": ("fc-http-function-by-the-api",),
        "as in the API of 2.0": ("fc-function-of-2-by-the-api-of-3",),
        "with task mode off": ("task-id-without-task-mode", "fc-task-id-in-the-answer"),
        "do not name the code": ("fc-task-id-that-is-repeated", "fc-task-id-of-an-earlier-run"),
        "X-Fc-Stateful-Async-Invocation-Id": ("fc-task-id-in-the-answer",),
        "documented: 403": ("fc-no-signature",),
        "Documented for the next two": ("fc-token-of-nobody", "fc-old-request"),
        "AccessKey, signature and missing headers": (
            *("fc-no-signature", "fc-no-date", "fc-key-of-nobody", "fc-token-of-nobody", "fc-old-request"),
            "fc-nonce-that-is-repeated",
        ),
        "no version was ever published": ("fc-missing-version",),
        "_failed_run(502": ("failed-http-function",),
        "self.service if": ("context-of-3",),
        "That FC's own win": ("own-variables-win", "no-role"),
        "SCRIPT_NAME": ("environ-of-2",),
    },
    "generation_3.py": {"base64 for a body": ("binary-body-of-3",)},
    "instance.py": {
        "when there is no role": ("no-role",),
        "go out as JSON": ("value-of-another-kind",),
        "documented for the Go runtime": ("form-of-a-log-line",),
    },
    "openai_api.py": {
        "only the method is wrong": ("chatgpt-wrong-method", "chatgpt-address-of-nothing"),
    },
    "openai_errors.py": {
        "For short keys": ("chatgpt-short-key-in-the-message",),
        "slow_down": ("code-of-an-overload",),
    },
    "openai_requests.py": {
        "max_completion_tokens": ("chatgpt-answer-that-is-cut",),
        "the codes are": ("chatgpt-option-out-of-range", "chatgpt-option-of-a-wrong-type"),
    },
    "oss.py": {
        "hide_missing_keys": ("oss-missing-key",),
        "order of the checks": ("oss-wrong-secret-and-missing-object", "oss-missing-bucket-and-wrong-key"),
        "V1;": ("oss-signature-v1",),
        "if not credential": ("oss-authorization-of-no-kind",),
        "x-oss-content-sha256": ("oss-hash-of-the-body",),
        "code of a missing token": ("oss-no-token", "oss-token-of-nobody"),
        "startswith(day)": ("oss-day-of-another-date",),
        "delete marker": ("oss-append-after-delete",),
    },
}
EXPLAINS_THE_WORD = re.compile(r'says what (?:is|it) assume|is marked "assumed"|^"assumed"|What is assumed says so')


def test_every_assumption_of_the_stand_ins_has_a_check() -> None:
    """Who adds one adds a check to tests/live/checks.py, and a line here that names it."""
    missing = []
    for file in sorted((ROOT / "tests/stand_ins").glob("*.py")):
        for line in file.read_text(encoding="utf-8").splitlines():
            told = re.search(r"(?i)assum|really unknown|\bis unknown|unknown for", line)
            known = any(part in line for part in ASSUMPTIONS.get(file.name, {}))
            if told and not known and not EXPLAINS_THE_WORD.search(line):
                missing.append(f"{file.name}: {line.strip()}")
    assert not missing


def test_every_check_that_an_assumption_names_exists() -> None:
    """A name that was misspelt would hide that there is none."""
    named = {check for lines in ASSUMPTIONS.values() for checks in lines.values() for check in checks}
    assert named <= {check.name for check in CHECKS}


# --- nothing is different ---


def test_every_check_sees_what_the_stand_ins_assume(live_cloud: LocalCloud, run: Run) -> None:
    """Whatever is not checked has a reason: another generation, another kind of key, a person or an earlier run."""
    status, printed, report = run(account(live_cloud), "--yes")
    assert (status, DIFFERENT in printed) == (0, False), printed
    outcome = results(report)
    other = {check.name for check in BY_PROGRAM if not covers(check.assumed, live_cloud.generation)}
    others = {*other, *(check.name for check in BY_HAND), "oss-no-token", "fc-task-id-of-an-earlier-run"}
    assert {name for name, result in outcome.items() if result != AS_ASSUMED} == others
    assert outcome.keys() == {check.name for check in CHECKS}


def covers(assumed: Any, generation: int) -> bool:
    return isinstance(assumed, str) or generation in assumed


@on_one_generation
def test_key_of_a_role_sees_the_same(live_cloud: LocalCloud, run: Run) -> None:
    """And is checked without its token, too."""
    status, printed, report = run(as_role(live_cloud), "--yes")
    assert (status, results(report)["oss-no-token"]) == (0, AS_ASSUMED), printed


def test_id_of_an_earlier_run_is_tried_again(live_cloud: LocalCloud, run: Run) -> None:
    """So that somebody finds out how long it blocks a repeat."""
    _, _, report = run(account(live_cloud), "--yes", "--only", "fc-task-id-in-the-answer")
    (task_id,) = re.findall(r"--task-id (\w+)", report)
    again = account(live_cloud, task_id=task_id)
    assert run(again, "--yes", "--only", "fc-task-id-of-an-earlier-run")[0] == 0
    live_cloud.function_compute.wait_idle(30)
    live_cloud.function_compute.reset()
    assert run(again, "--yes", "--only", "fc-task-id-of-an-earlier-run")[0] == 1


def test_generation_on_which_the_bot_is_deployed_is_found(live_cloud: LocalCloud, run: Run) -> None:
    """Nothing is run for that; whoever has none is told."""
    wrong = account(live_cloud, generation=5 - live_cloud.generation)
    status, printed, _ = run(wrong, "--yes", "--only", "fc-invocation-of-no-kind")
    assert (status, f"{REPLY}: on {live_cloud.generation}.0" in printed) == (0, True)
    assert not live_cloud.function_compute.invocations
    _, printed, _ = run(replace(wrong, reply="nobody"), "--yes", "--only", "fc-invocation-of-no-kind")
    assert "not found; looked at as on 2.0" in printed


@on_one_generation
def test_only_its_own_objects_and_the_self_checks_are_touched(live_cloud: LocalCloud, run: Run) -> None:
    """Somebody's histories are in the bucket, and somebody's messages could be answered; nothing is left behind."""
    live_cloud.oss.write("chat-history/somebody.jsonl", b"{}")
    run(account(live_cloud), "--yes")
    live_cloud.function_compute.wait_idle(30)
    keys = {received.path.partition("/")[2].partition("/")[2] for received in live_cloud.oss.received}
    assert keys
    assert not [
        key
        for key in keys
        if not re.match(rf"{FOLDER.replace('@', '%40')}|chat-(journal|history|settings|usage)%2F%40self-check", key)
    ]
    assert live_cloud.oss.keys() == ["chat-history/somebody.jsonl"]
    for invocation in live_cloud.function_compute.invocations:
        event = json.loads(invocation.event) if invocation.event else {}
        assert event in ({}, json.loads(OPEN_URL)) or event["requestContext"]["http"]["method"] == "GET"
        assert invocation.function == (CONVERSATION if event or not invocation.event else REPLY)
    assert not live_cloud.dingtalk.shown()


# --- something is different ---


def renamed(service: str, old: str, new: str = "Other") -> Break:
    """The service says another word, also in the header that holds an error."""

    def say(received: Received, answer: Answer) -> Answer:
        changed = []
        for name, value in answer.headers:
            if name == "x-oss-err":
                value = base64.b64encode(base64.b64decode(value).replace(old.encode(), new.encode())).decode()
            changed.append((name.replace(old, new), value.replace(old, new)))
        return Answer(answer.status, tuple(changed), answer.body.replace(old.encode(), new.encode()))

    return functools.partial(altered, service, say)


def status(service: str, old: int, new: int) -> Break:
    """The service answers another status."""
    return functools.partial(
        altered, service, lambda received, answer: answer._replace(status=new) if answer.status == old else answer
    )


def altered(service: str, alter: Callable[[Received, Answer], Answer], cloud: LocalCloud) -> None:
    getattr(cloud, service).alter = alter


def planned(service: str, **fault: Any) -> Break:
    return lambda cloud: getattr(cloud, service).plan(Fault(**{"times": 100, **fault}))


def versioned(appendable: bool) -> Break:
    def switch(cloud: LocalCloud) -> None:
        cloud.oss.buckets["example-bucket"].versioned = True
        cloud.oss.buckets["example-bucket"].appendable_delete_markers = appendable

    return switch


def hide_missing_keys(cloud: LocalCloud) -> None:
    """As with a role that may not list objects, if OSS is like S3."""
    cloud.oss.hide_missing_keys = True
    key = cloud.oss.access[PERMANENT.access_key_id]
    cloud.oss.access[PERMANENT.access_key_id] = replace(key, actions=key.actions - {"oss:ListObjects"})


def clock_is_behind(cloud: LocalCloud) -> None:
    """OSS takes what is older."""
    clock = cloud.oss.clock
    cloud.oss.clock = lambda: clock() - 16 * 60


def role_may_nothing(cloud: LocalCloud) -> None:
    cloud.oss.access["STS.example-id"] = replace(cloud.oss.access["STS.example-id"], actions=frozenset())


def without_header(service: str, name: str) -> Break:
    return renamed(service, name, "X-Nothing")


COMPUTE, API = "function_compute", "openai_api"
WRONG_POSITION = "PositionNotEqualToLength"
BREAKS: dict[str, Break] = {
    "oss-round-trip": status("oss", 206, 200),
    "oss-missing-key": hide_missing_keys,
    "oss-number-of-an-error": without_header("oss", "x-oss-ec"),
    "oss-range-longer-than-the-object": status("oss", 200, 416),
    "oss-range-of-an-empty-object": status("oss", 200, 416),
    "oss-wrong-position": without_header("oss", "x-oss-next-append-position"),
    "oss-writers-at-once": status("oss", 409, 200),
    "oss-object-that-was-put": renamed("oss", "ObjectNotAppendable"),
    "oss-append-after-delete": versioned(appendable=False),
    "oss-delete-of-a-missing-object": status("oss", 204, 404),
    "oss-missing-bucket-and-wrong-key": renamed("oss", "NoSuchBucket"),
    "oss-wrong-secret-and-missing-object": renamed("oss", "SignatureDoesNotMatch"),
    "oss-token-of-nobody": renamed("oss", "InvalidAccessKeyId"),
    "oss-no-token": renamed("oss", "InvalidSecurityToken"),
    "oss-signature-v1": renamed("oss", "0002-00000080", "0002-00000081"),
    "oss-authorization-of-no-kind": renamed("oss", "InvalidArgument"),
    "oss-hash-of-the-body": renamed("oss", "InvalidArgument"),
    "oss-day-of-another-date": renamed("oss", "InvalidArgument"),
    "oss-old-request": clock_is_behind,
    "url-self-check": renamed(COMPUTE, "attachment", "inline"),
    "url-long-headers": status(COMPUTE, 400, 431),
    "url-long-path": status(COMPUTE, 400, 414),
    "fc-self-check-of-oss": role_may_nothing,
    "fc-self-check-of-chatgpt": lambda cloud: cloud.openai_api.fail_next("invalid_api_key"),
    "fc-self-check-of-the-settings": renamed(COMPUTE, "settings"),
    "fc-asynchronous-invocation": without_header(COMPUTE, "X-Fc-Request-Id"),
    "fc-task-id-in-the-answer": without_header(COMPUTE, "X-Fc-Stateful-Async-Invocation-Id"),
    "fc-task-id-that-is-repeated": status(COMPUTE, 409, 400),
    "fc-task-id-of-an-earlier-run": lambda cloud: None,  # nobody has used it
    "fc-task-id-of-a-wrong-form": status(COMPUTE, 400, 202),
    "fc-no-signature": renamed(COMPUTE, "Code", "Kind"),
    "fc-no-date": renamed(COMPUTE, "MissingRequiredHeader"),
    "fc-key-of-nobody": renamed(COMPUTE, "InvalidAccessKeyID"),
    "fc-wrong-secret-and-missing-function": renamed(COMPUTE, "SignatureNotMatch", "FunctionNotFound"),
    "fc-token-of-nobody": status(COMPUTE, 403, 401),
    "fc-old-request": lambda cloud: status(COMPUTE, {2: 403, 3: 400}[cloud.generation], 202)(cloud),
    "fc-missing-function": renamed(COMPUTE, "FunctionNotFound"),
    "fc-missing-service": renamed(COMPUTE, "ServiceNotFound"),
    "fc-missing-version": renamed(COMPUTE, "VersionNotFound"),
    "fc-invocation-of-no-kind": renamed(COMPUTE, "InvalidArgument"),
    "fc-large-event": status(COMPUTE, 400, 413),
    "fc-http-function-by-the-api": renamed(COMPUTE, "InvalidArgument"),
    "fc-address-of-nothing": status(COMPUTE, 400, 404),
    "fc-function-of-2-by-the-api-of-3": status(COMPUTE, 202, 404),
    "fc-nonce-that-is-repeated": renamed(COMPUTE, "SignatureNonceUsed"),
    "chatgpt-temperature": lambda cloud: cloud.openai_api.fail_next("null_content"),
    "chatgpt-answer-that-is-cut": renamed(API, '"length"', '"stop"'),
    "chatgpt-wrong-key": renamed(API, "invalid_api_key"),
    "chatgpt-short-key-in-the-message": renamed(API, "no***", "nobody-key"),
    "chatgpt-address-of-nothing": status(API, 404, 403),
    "chatgpt-wrong-method": status(API, 404, 405),
    "chatgpt-missing-model": renamed(API, "model_not_found"),
    "chatgpt-max-tokens": renamed(API, "unsupported_parameter"),
    "chatgpt-option-out-of-range": renamed(API, "decimal_above_max_value"),
    "chatgpt-option-of-a-wrong-type": renamed(API, "invalid_type"),
    "chatgpt-end-of-a-model": renamed(API, "shutdown_date"),
    "dingtalk-session-of-nobody": renamed("dingtalk", "300001", "300002"),
}
SLOW = {"url-after-a-pause": planned(COMPUTE, delay=2.6)}


def test_every_check_has_a_switch_that_breaks_its_assumption() -> None:
    """A check that cannot fail tells nothing; the names are different."""
    assert sorted([*BREAKS, *SLOW]) == sorted(check.name for check in BY_PROGRAM)
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert {check.group for check in CHECKS} == COSTS.keys()


@pytest.mark.parametrize(
    ("name", "break_it"),
    [*BREAKS.items(), *(pytest.param(*slow, marks=pytest.mark.full) for slow in SLOW.items())],
    ids=[*BREAKS, *SLOW],
)
def test_check_notices_when_its_assumption_is_broken(
    live_cloud: LocalCloud, run: Run, name: str, break_it: Break
) -> None:
    """It shows both, and what it means for those who use the bot."""
    (check,) = [check for check in CHECKS if check.name == name]
    if not covers(check.assumed, live_cloud.generation):
        pytest.skip("not of this generation")
    break_it(live_cloud)
    who = (as_role if name in ROLES_ONLY else account)(live_cloud, task_id="live_somebody")
    status, printed, report = run(who, "--yes", "--only", name, "--fc", str(live_cloud.generation))
    assert (status, results(report)) == (1, {name: DIFFERENT}), printed
    assert check.breaks in printed and check.breaks in report


def test_versioned_bucket_is_noticed_in_both_readings_of_the_documents(live_cloud: LocalCloud, run: Run) -> None:
    """Whether or not a delete marker takes an append, what \\clear deletes stays."""
    for appendable, told in ((False, "append 409 ObjectNotAppendable"), (True, "append 200")):
        versioned(appendable)(live_cloud)
        _, printed, _ = run(account(live_cloud), "--yes", "--only", "oss-append-after-delete")
        assert f"a delete marker, {told}" in printed


# --- what a person sees ---


@pytest.mark.parametrize(("said", "outcome"), [("as assumed", AS_ASSUMED), ("5 s", DIFFERENT), ("", "not checked")])
def test_what_only_a_person_can_see_is_asked(live_cloud: LocalCloud, run: Run, said: str, outcome: str) -> None:
    """What the person says is compared and goes into the report; nothing said is no answer."""
    for check in BY_HAND:
        answer = check.assumed if said == "as assumed" else said
        ask = functools.partial(lambda answer, question: "y" if "Go on?" in question else answer, answer)
        _, _, report = run(account(live_cloud), "--by-hand", "--only", check.name, ask=ask)
        assert results(report) == {check.name: outcome}


@pytest.mark.parametrize("said", ["n", "", None])
def test_nothing_that_costs_is_done_without_a_yes(live_cloud: LocalCloud, run: Run, said: str | None) -> None:
    """A no, only Enter, and nobody there."""
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        if said is None:
            raise EOFError
        return said

    assert run(account(live_cloud), ask=ask)[0] == 2
    assert len(asked) == 5 and all("Go on?" in question for question in asked)
    stand_ins = (live_cloud.oss, live_cloud.function_compute, live_cloud.openai_api, live_cloud.dingtalk)
    assert not [received for stand_in in stand_ins for received in stand_in.received]


# --- secrets, and what is missing ---


@on_one_generation
def test_no_output_holds_a_key_or_whose_it_is(live_cloud: LocalCloud, run: Run) -> None:
    """Not even if a service repeats what it got, all of it, in its error."""

    def repeat(received: Received, answer: Answer) -> Answer:
        got = " ".join(received.headers.values())
        xml = f"<Error><Code>{got}</Code></Error>".encode()
        error = {"code": got, "message": got}
        body = (
            xml if received.path.startswith("/example-bucket") else json.dumps({**error, "Code": got, "error": error})
        )
        return Answer(418, (), body if isinstance(body, bytes) else body.encode())

    secret = {"app_secret": "a-secret-of-an-app", "chatgpt_key": "sk-proj-a-secret-of-the-model"}
    for who in (account(live_cloud, **secret), as_role(live_cloud, **secret)):
        for break_it in (lambda received, answer: answer, repeat):
            for stand_in in (live_cloud.oss, live_cloud.function_compute, live_cloud.openai_api, live_cloud.dingtalk):
                stand_in.alter = break_it
            _, printed, report = run(who, "--yes")
            values = [who.key_id, who.key_secret, who.token, who.app_secret, who.chatgpt_key, who.bucket]
            values += [who.account_id, who.url, who.fc_endpoint, who.oss_endpoint, who.base_url]
            assert not [value for value in values if value and value in printed + report]


def test_service_that_is_not_there_is_no_difference(live_cloud: LocalCloud, run: Run) -> None:
    """It is not checked, and the reason names no address."""
    away = account(live_cloud, oss_endpoint="http://127.0.0.1:9")
    status, printed, report = run(away, "--yes", "--only", "oss-missing-key")
    assert (status, results(report)) == (2, {"oss-missing-key": "not checked"})
    assert "no answer: ConnectionError" in report
    assert "objects under chat-history/@live/ may be left" in printed


def test_without_an_account_it_says_what_it_needs(run: Run) -> None:
    """For each group of checks, and does nothing."""
    status, printed, report = run(Account())
    assert (status, report) == (2, "")
    for name in ("ACCESS_KEY_ID", "OSS_BUCKET_NAME", "--url", "--account", "CHATGPT_API_KEY"):
        assert name in printed


def test_settings_of_a_deployment_are_enough(
    live_cloud: LocalCloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in .env; what is checked is named by an option."""
    environ = {
        "ACCESS_KEY_ID": PERMANENT.access_key_id,
        "ACCESS_KEY_SECRET": PERMANENT.access_key_secret,
        "OSS_BUCKET_NAME": "example-bucket",
        "OSS_ENDPOINT": live_cloud.oss.url,
        "OSS_REGION": "us-west-1",
    }
    report = tmp_path / "report.md"
    assert main(["--yes", "--only", "oss-missing-key"], environ, nobody, report=report) == 0
    assert results(report.read_text(encoding="utf-8")) == {"oss-missing-key": AS_ASSUMED}


def test_account_to_which_the_public_address_is_closed_is_told_what_to_do(cloud: LocalCloud, run: Run) -> None:
    """New accounts in mainland China: nothing is wrong with the bot, and nothing of OSS can be looked at from here."""
    cloud.oss.plan(error_fault("PublicEndpointForbidden", times=1000))
    status, printed, report = run(account(cloud), "--only", "oss-round-trip", "--yes")
    assert (status, "0 different" in printed) == (2, True)
    assert "run this with --internal on a machine of Alibaba Cloud in the bucket's region |" in report
    assert "may be left" not in printed


@pytest.mark.full
def test_command_without_anything_says_what_it_needs() -> None:
    """Started as people start it, where nobody answers."""
    command = [sys.executable, "-m", "tests.live", "--only", "oss-missing-key"]
    done = subprocess.run(
        command, cwd=ROOT, env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert "ACCESS_KEY_ID" in done.stdout
    assert not (ROOT / "live-report.md").exists()


@pytest.mark.parametrize(
    ("variables", "given", "expected"),
    [
        ({"OSS_ENDPOINT": "https://oss-cn-hangzhou-internal.aliyuncs.com"}, {}, {"region": "cn-hangzhou"}),
        (
            {"OSS_ENDPOINT": "oss-cn-hangzhou-internal.aliyuncs.com/"},
            {},
            {"oss_endpoint": "https://oss-cn-hangzhou.aliyuncs.com"},
        ),
        ({}, {"template": "vars:\n  region: cn-shanghai\n"}, {"oss_endpoint": "https://oss-cn-shanghai.aliyuncs.com"}),
        ({"OSS_REGION": "cn-beijing"}, {"template": "  region: cn-shanghai"}, {"region": "cn-beijing"}),
        ({"OSS_REGION": "cn-beijing"}, {}, {"oss_endpoint": "https://oss-cn-beijing.aliyuncs.com"}),
        ({}, {"account_id": "123"}, {"fc_endpoint": "https://123.us-west-1.fc.aliyuncs.com"}),
        ({}, {"account_id": "123", "region": "cn-x"}, {"fc_endpoint": "https://123.cn-x.fc.aliyuncs.com"}),
        (
            {"ENDPOINT": "1.us-west-1-internal.fc.aliyuncs.com"},
            {},
            {"fc_endpoint": "https://1.us-west-1.fc.aliyuncs.com"},
        ),
        ({"REGION": "cn-beijing"}, {}, {"oss_endpoint": "https://oss-cn-beijing.aliyuncs.com"}),
        (
            {"REGION": "cn-beijing"},
            {"internal": True, "account_id": "123"},
            {
                "oss_endpoint": "https://oss-cn-beijing-internal.aliyuncs.com",
                "fc_endpoint": "https://123.cn-beijing-internal.fc.aliyuncs.com",
            },
        ),
        (
            {"OSS_ENDPOINT": "https://oss-cn-hangzhou-internal.aliyuncs.com"},
            {"internal": True},
            {"oss_endpoint": "https://oss-cn-hangzhou-internal.aliyuncs.com"},
        ),
        ({"ALIBABA_CLOUD_ACCESS_KEY_ID": "a"}, {}, {"key_id": "a"}),
        ({"ALIBABA_CLOUD_ACCESS_KEY_ID": "a", "ACCESS_KEY_ID": " b "}, {}, {"key_id": "b"}),
        ({"CHATGPT_BASE_URL": "https://example.com/v1/"}, {}, {"base_url": "https://example.com"}),
        ({"CHATGPT_BASE_URL": ""}, {}, {"base_url": "https://api.openai.com"}),
    ],
)
def test_account_is_what_the_settings_of_a_deployment_say(
    variables: dict[str, str], given: dict[str, Any], expected: dict[str, str]
) -> None:
    """With the public addresses: the internal ones are reached only from inside Alibaba Cloud."""
    account = account_of(variables, **given)
    assert {name: getattr(account, name) for name in expected} == expected
