"""What s.yaml and s.fc3.yaml say, and what `python3 -m deploy check` finds."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import check, dotenv, environment
from deploy.build import FUNCTIONS, Problem, fingerprint
from deploy.environment import Template
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT

S_YAML, S_FC3_YAML = (yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in ("s.yaml", "s.fc3.yaml"))
DOCUMENTS = {"s.yaml": S_YAML, "s.fc3.yaml": S_FC3_YAML}
GOOD = {"DINGTALK_APP_SECRET": "example-app-secret", "CHATGPT_API_KEY": "sk-example", "OSS_BUCKET_NAME": "my-bucket"}
WEBHOOK_SECONDS = 90 * 60  # the life of the address that a message gives for the answer

each_package = pytest.mark.parametrize("name", FUNCTIONS)
each_template = pytest.mark.parametrize("template", environment.TEMPLATES.values(), ids=lambda template: template.file)


def function_of(name: str, template: Template) -> dict[str, Any]:
    """What s.yaml or s.fc3.yaml says about a function; to be spoiled."""
    return copy.deepcopy(check.function_in(DOCUMENTS[template.file], name, template))


def test_both_functions_are_in_one_service() -> None:
    """Deploying a function also writes its service: were they different, the last one would win."""
    for service in S_YAML["services"].values():
        assert service["props"]["service"] == "${vars.service}"
        assert service["props"]["region"] == "${vars.region}"


def test_role_may_invoke_the_one_function_and_use_the_four_prefixes() -> None:
    """The least that the bot needs, and nothing of it hangs on a variable, which may be left out."""
    service = S_YAML["vars"]["service"]
    (policy,) = service["role"]["policies"]
    allowed = {
        (action, resource) for part in policy["statement"] for action in part["Action"] for resource in part["Resource"]
    }
    function = S_YAML["services"]["reply"]["props"]["function"]["name"]
    invoke = {
        ("fc:InvokeFunction", f"acs:fc:*:*:services/{name}/functions/{function}")
        for name in (service["name"], service["name"] + ".*")
    }
    assert set(check.FOLDERS) == {"chat-history", "chat-journal", "chat-settings", "chat-usage"}
    objects = {
        (f"oss:{verb}Object", f"acs:oss:*:*:*/{folder}/*")
        for verb in ("Get", "Put", "Delete")
        for folder in check.FOLDERS
    }
    assert allowed == invoke | objects
    assert all(part["Effect"] == "Allow" for part in policy["statement"])


def test_events_are_retried_as_long_as_an_answer_can_be_shown() -> None:
    """Task mode on, two more tries, and none begins when the webhook is about to expire."""
    for template, policy_name, task_mode in (
        (environment.TEMPLATES[2], "asyncConfiguration", "statefulInvocation"),
        (environment.TEMPLATES[3], "asyncInvokeConfig", "asyncTask"),
    ):
        function = function_of("reply", template)
        policy = function[policy_name]
        assert (policy[task_mode], policy["maxAsyncRetryAttempts"]) == (True, 2)
        assert policy["maxAsyncEventAgeInSeconds"] + function["timeout"] < WEBHOOK_SECONDS


def test_trigger_lets_dingtalk_and_a_browser_in() -> None:
    """DingTalk posts without credentials of Alibaba Cloud; GET is the self-check."""
    (trigger,) = S_YAML["services"]["conversation"]["props"]["triggers"]
    assert trigger["config"] == {"authType": "anonymous", "methods": ["GET", "POST"]}
    assert "triggers" not in S_YAML["services"]["reply"]["props"]


@each_template
@each_package
def test_repository_as_it_is_has_no_problem(name: str, template: Template) -> None:
    """Both files as they stand, with the required settings."""
    function = function_of(name, template)
    assert list(check.template_problems(name, function, template)) == []
    assert list(check.settings_problems(name, function, GOOD, template, {})) == []


@pytest.mark.parametrize("key", ["name", "runtime", "handler", "code"])
@each_template
@each_package
def test_wrong_line_is_named(name: str, template: Template, key: str) -> None:
    """What the function files, and the packages as they are built, depend on."""
    key = {"name": template.name, "code": template.code}.get(key, key)
    function = function_of(name, template)
    (problem,) = check.template_problems(name, {**function, key: "other"}, template)
    assert f"{template.place.format(name)}.{key} should be {function[key]}" in problem


def test_runtime_for_which_no_packages_are_built_is_named() -> None:
    """s.fc3.yaml has it among its variables."""
    document = {**S_FC3_YAML, "vars": {**S_FC3_YAML["vars"], "runtime": "python3.12"}}
    function = check.function_in(document, "reply", environment.TEMPLATES[3])
    (problem,) = check.template_problems("reply", function, environment.TEMPLATES[3])
    assert "resources.reply.props.runtime should be python3.10" in problem


@pytest.mark.parametrize("inner", [None, "x", [], {}, {"reply": None}, {"reply": {"props": "x"}}])
@each_template
def test_function_that_is_not_described_is_a_problem(inner: Any, template: Template) -> None:
    """Whatever stands there instead."""
    for document in (inner, {"services": inner, "resources": inner, "vars": inner}):
        function = check.function_in(document, "reply", template)
        assert len(list(check.template_problems("reply", function, template))) == 4


@pytest.mark.parametrize("text", ["a: [", "\tservices: 1", "a: b: sk-secret"])
def test_malformed_file_is_told_with_the_line_but_not_with_its_text(text: str) -> None:
    """It may hold a key that somebody wrote into it."""
    with pytest.raises(Problem, match=r"s\.yaml is malformed near line [345]") as raised:
        check.read_yaml(f"edition: 1.0.0\n\n{text}\n", "s.yaml")
    assert "secret" not in str(raised.value)


@each_template
@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("reply", {"CHATGPT_API_KEY": ""}, "CHATGPT_API_KEY is not set"),
        ("reply", {"OSS_BUCKET_NAME": "${env(OSS_BUCKET_NAME)}"}, "OSS_BUCKET_NAME is not set"),
        ("reply", {"CHATGPT_API_KEY": "two words"}, "CHATGPT_API_KEY is malformed: remove the blank"),
        ("reply", {"CHATGPT_OPTIONS": "two words"}, "CHATGPT_OPTIONS is malformed: "),
        ("conversation", {"DINGTALK_APP_SECRET": "two words"}, "DINGTALK_APP_SECRET is malformed: remove the blank"),
        ("reply", {"TIMEOUT": "91"}, ".timeout must be at least 121"),
        ("reply", {"SYSTEM_PROMPT": "想" * 1340}, "Dingtalk_ChatGPT_Reply.py are 4"),
    ],
)
def test_bad_setting_is_named_without_its_value(
    name: str, spoil: dict[str, str], words: str, template: Template
) -> None:
    """One for each kind of mistake; the value may be a key in the wrong place."""
    function = function_of(name, template)
    ((_, problem),) = check.settings_problems(name, function, {**GOOD, **spoil}, template, {})
    assert words in problem
    assert "two words" not in problem


@each_template
@each_package
def test_setting_that_is_not_passed_on_is_named(name: str, template: Template) -> None:
    """A value in .env would have no effect."""
    function = function_of(name, template)
    del function["environmentVariables"]["VERBOSE"]
    ((_, problem),) = check.settings_problems(name, function, GOOD, template, {})
    assert f"{template.place.format(name)}.environmentVariables lacks VERBOSE" in problem


@each_template
def test_example_of_dotenv_is_right_once_it_is_filled_in(template: Template) -> None:
    """Also with all that is switched off in it."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    values, problems = dotenv.read(example)
    assert (values, problems) == (dict.fromkeys(["REGION", *GOOD], ""), {})
    lines = [line.removeprefix("# ") for line in example.splitlines() if "=" in line and line.isascii()]
    values, problems = dotenv.read("\n".join(lines))
    assert (problems, dotenv.changes(values, {}, set(), template.generation)) == ({}, {})
    for name in FUNCTIONS:
        values |= {**GOOD, "DINGTALK_APP_KEY": "dingexample"}  # which THINKING=on needs
        function = function_of(name, template)
        assert list(check.settings_problems(name, function, values, template, {})) == []


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package as it was built."""
    folder = tmp_path / "reply"
    (folder / "oss2" / "__pycache__").mkdir(parents=True)
    (folder / f"{REPLY}.py").write_text("1")
    (folder / "oss2" / "api.py").write_text("2")
    (folder / "oss2" / "__pycache__" / "api.cpython-310.pyc").write_text("3")
    folder.with_suffix(".sha256").write_text(fingerprint(folder))
    return folder


EXPECTED = {f"{REPLY}.py": b"1", "oss2/api.py": b"2"}


def nothing_to_compare_with() -> dict[str, bytes]:
    raise AssertionError("the packages would be downloaded")


def test_package_as_it_was_built_has_no_problem(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the present files, with bytecode."""
    assert list(check.package_problems(package, lambda: EXPECTED)) == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (f"{REPLY}.py", "0", f".package/reply is out of date, {REPLY}.py for one; run python3 -m deploy reply"),
        ("oss2/api.py", "0", "is out of date, oss2/api.py for one"),
        ("oss2/api.py", None, "is out of date, oss2/api.py for one"),
        ("oss2/new.py", "0", "is out of date, oss2/new.py for one"),
        ("oss2/__pycache__/api.cpython-310.pyc", "0", "was changed after it was built"),
        ("oss2/__pycache__/api.cpython-310.pyc", None, "was changed after it was built"),
        ("../reply.sha256", None, "was changed after it was built"),
    ],
)
def test_package_that_a_build_would_not_make_now_is_a_problem(
    package: Path, path: str, text: str | None, words: str
) -> None:
    """A file is older than its source, changed, missing or left over; or the bytecode may be of another source."""
    if text is None:
        (package / path).unlink()
    else:
        (package / path).write_text(text)
    (problem,) = check.package_problems(package, lambda: EXPECTED)
    assert words in problem


def test_package_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """The deployment would make it; here is how to do that before, and nothing is downloaded for the comparison."""
    (problem,) = check.package_problems(tmp_path / "reply", nothing_to_compare_with)
    assert ".package/reply is not built yet; run python3 -m deploy reply" in problem


def test_package_without_bytecode_is_told_but_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It works, only slower."""
    folder = tmp_path / "conversation"
    folder.mkdir()
    (folder / f"{CONVERSATION}.py").write_text("1")
    folder.with_suffix(".sha256").write_text(fingerprint(folder))
    assert list(check.package_problems(folder, lambda: {f"{CONVERSATION}.py": b"1"})) == []
    assert "a cold start takes twice the CPU" in capsys.readouterr().out


@pytest.mark.parametrize(("data", "words"), [(None, ".env is missing"), ("密钥".encode("gbk"), ".env is not UTF-8")])
def test_file_that_cannot_be_read_is_told(tmp_path: Path, data: bytes | None, words: str) -> None:
    """As a Windows editor may write it."""
    if data:
        (tmp_path / ".env").write_bytes(data)
    with pytest.raises(Problem, match=words):
        environment.text_of(tmp_path / ".env")


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflow_is_valid_and_runs_commands_that_exist(workflow: Path) -> None:
    """By the public schema, which comes with the checker; a workflow with a mistake simply never runs."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    checked = subprocess.run(checker, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout
    (job,) = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands[0] in (".ci/run", "python3 -m deploy --zip")
    assert (ROOT / ".ci/run").is_file()


def test_policy_that_is_printed_is_the_one_in_the_documents() -> None:
    """For 3.0, with the name of the bucket to be filled in."""
    policy = json.loads(check.policy_text("your-bucket").removeprefix(check.POLICY))
    page = (ROOT / "docs/en/permissions.md").read_text(encoding="utf-8")
    documented = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    assert policy == documented[1]
