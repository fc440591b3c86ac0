"""What can be wrong before a deployment, found without an account: settings, s.yaml or s.fc3.yaml, packages."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bot.deadline import MOST_SECONDS_WITHOUT_CHATGPT
from bot.settings import REQUIRED, ConversationSettings, ReplySettings, conflicts, read_settings, variables

from . import dotenv, environment, mistakes, regions
from .build import (
    FUNCTIONS,
    HERE,
    NO_BYTECODE,
    PACKAGES,
    ROOT,
    Problem,
    archives,
    contents,
    fingerprint,
    has_downloaded,
    source_of,
)
from .environment import CREDENTIALS, REFERENCE, TEMPLATES, Environment, Template, text_of

SETTINGS: dict[str, Any] = {"conversation": ConversationSettings, "reply": ReplySettings}
VARIABLES = {name: variables(kind) for name, kind in SETTINGS.items()}
MAX_ENVIRONMENT_BYTES = 4096  # of Function Compute, all variables together
FOLDERS = ("chat-history", "chat-journal", "chat-settings", "chat-usage")  # of the bucket: the bot writes to no other

NOT_READ = """\
还没有构建，所以没有检查 {file}：请运行 python3 -m deploy，再检查一次。\
 / Nothing is built yet, so {file} was not checked: run python3 -m deploy, then check again."""
NOT_SET = """\
{names} 没有设置（{where}）。部署全部内容以后，它在函数里就是“没有设置”，在控制台里设置过的也会丢失；\
只更新代码则不受影响。\
 / {names} is not set ({where}). Deploying everything leaves it unset in the function, even if it was set in the\
 console; deploying only the code does not."""
OVERRIDDEN = """\
终端的环境变量 {name} 会代替 .env 里的值。\
 / The environment variable {name} of this terminal is used, not the value in .env."""
POLICY = """
3.0 的角色需要下面这份权限策略（已经创建过就不用再做），步骤见 docs/zh/permissions.md：
The role on 3.0 needs this policy (once); the steps are in docs/en/permissions.md:

"""


def main(generation: int) -> int:
    """Print what is wrong with a deployment to this generation of Function Compute; the exit status."""
    count, template = 0, TEMPLATES[generation]
    found = environment.read(template, os.environ)
    for name in sorted(name for name, value in found.file.items() if value and os.environ.get(name, value) != value):
        print(OVERRIDDEN.format(name=name), flush=True)
    for problem in find_problems(template, found):
        print(f"- {problem}", flush=True)
        count += 1
    for note in mistakes.notes({**found.values, "REGION": found.region}):
        print(f"注意 / note: {note.chinese}。 / {note.english}.")
    print(f"问题 / problems: {count}")
    where = regions.called(found.region) if found.region in regions.REGIONS else "?"
    print(f"部署到 / deploys to: {where}, Function Compute {generation}.0 ({template.file})")
    if generation == 3:
        bucket = found.values.get("OSS_BUCKET_NAME", "")
        print(policy_text(bucket if re.fullmatch("[a-z0-9-]{3,63}", bucket) else "your-bucket"))
    return 1 if count else 0


def find_problems(template: Template, found: Environment) -> Iterator[str]:
    """A sentence in Chinese and one in English for each thing that is wrong: what to change, never a value.

    .env comes first: for that nothing has to be downloaded.
    """
    for name in FUNCTIONS:
        source_of(ROOT / FUNCTIONS[name])  # a Problem if it is not there
    text = text_of(ROOT / template.file)
    document = read_yaml(text, template.file) if can_read_yaml() else None
    if document is None:  # nothing is built, and nothing has been downloaded yet
        functions = {name: {"environmentVariables": references(text, name), "timeout": math.inf} for name in FUNCTIONS}
    else:
        functions = {name: function_in(document, name, template) for name in FUNCTIONS}
    yield from value_problems(template, found, functions)
    for name, function in functions.items():
        if document is not None:
            yield from template_problems(name, function, template)
        yield from package_problems(PACKAGES / name, partial(contents, name))
    if document is None:
        yield NOT_READ.format(file=template.file)


def value_problems(template: Template, found: Environment, functions: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with the values that the functions would have."""
    settings = {variable.name for each in VARIABLES.values() for variable in each}
    if not found.has_file:
        found.told.pop("REGION", "")
        yield environment.missing_file()
    unused = list(unused_names(template, found)) if found.has_file else []
    yield from found.problems()
    yield from unused
    if not found.has_file:
        found.told.update(dict.fromkeys(settings - os.environ.keys(), ""))  # that they are not set is no second cause
    for name, function in functions.items():
        for named, sentence in settings_problems(name, function, found.values, template, found.told):
            yield found.located(named, sentence)


def unused_names(template: Template, found: Environment) -> Iterator[str]:
    """Names in .env that nothing uses: misspelt, mostly."""
    for name in sorted(found.file.keys() - CREDENTIALS - template.needless - found.used):
        alike = mistakes.settings_like(name, found.used)
        if len(alike) == 1 and not (found.file.get(alike[0]) or found.values.get(alike[0])):
            found.told[alike[0]] = ""  # that it is not set is no second cause
        what = f"应该是 {' 或 '.join(alike)} 吧？" if alike else "请检查名称。"
        hint = f"is it {' or '.join(alike)}?" if alike else "check the name."
        sentence = f".env：{template.file} 没有设置 {name}，{what} / .env: {template.file} does not use {name}; {hint}"
        yield found.located(name, sentence)


def before_deploying(name: str, generation: int) -> Iterator[str]:
    """What `s` is to say before it creates anything: of .env, for one function, and with nothing downloaded."""
    template = TEMPLATES[generation]
    found = environment.read(template, without_dotenv(os.environ))
    names = {each: {variable.name for variable in several} for each, several in VARIABLES.items()}
    others = set().union(*(names[each] for each in FUNCTIONS if each != name)) if name == "reply" else found.told.keys()
    told = ((each, sentence) for each, sentence in found.told.items() if each in names[name] or each not in others)
    yield from (found.located(each, sentence) for each, sentence in told)
    references_in = references(text_of(ROOT / template.file), name)
    deployed = {variable: found.values.get(variable, "") for variable in references_in}
    missing = [variable.name for variable in VARIABLES[name] if variable.default is REQUIRED]
    missing = [setting for setting in missing if not deployed.get(setting)]
    if missing:
        where = ".env" if found.has_file else "没有 .env / no .env"
        yield NOT_SET.format(names=", ".join(missing), where=where)


def refuse_to_move(generation: int) -> None:
    """A Problem if `s` would deploy to no region, to none that exists, or to one of two: the tool finds out late."""
    found = environment.read(TEMPLATES[generation], without_dotenv(os.environ))
    if found.told.get("REGION"):
        raise Problem(found.located("REGION", found.told["REGION"]) if found.has_file else environment.missing_file())


def without_dotenv(shell: Mapping[str, str]) -> dict[str, str]:
    """The environment as it was before the tool put what it made of .env into it."""
    file, _ = dotenv.read(text_of(ROOT / ".env") if (ROOT / ".env").exists() else "")
    return {name: value for name, value in shell.items() if name not in file}


def policy_text(bucket: str) -> str:
    """The policy of the role that both functions have on 3.0, to be pasted into the RAM console."""
    statement = [
        {
            "Effect": "Allow",
            "Action": "fc:InvokeFunction",
            "Resource": f"acs:fc:*:*:functions/{FUNCTIONS['reply'][: -len('.py')]}*",
        },
        {
            "Effect": "Allow",
            "Action": ["oss:GetObject", "oss:PutObject", "oss:DeleteObject"],
            "Resource": [f"acs:oss:*:*:{bucket}/{folder}/*" for folder in FOLDERS],
        },
        {"Effect": "Allow", "Action": "log:PostLogStoreLogs", "Resource": "acs:log:*:*:project/*/logstore/*"},
    ]
    return POLICY + json.dumps({"Version": "1", "Statement": statement}, indent=2)


def can_read_yaml() -> bool:
    """Whether a package is built, so that something may be downloaded, or nothing has to be."""
    built = any((PACKAGES / name).exists() for name in FUNCTIONS)
    return built or importlib.util.find_spec("yaml") is not None or has_downloaded(HERE / "check.txt")


def references(text: str, name: str) -> dict[str, str]:
    """The variables of a function, as s.yaml or s.fc3.yaml passes them on, if nobody can read YAML."""
    found = {match[1] or match[2]: match[0] for match in REFERENCE.finditer(text)}
    return {variable.name: found[variable.name] for variable in VARIABLES[name] if variable.name in found}


def read_yaml(text: str, file: str) -> Any:
    """What is in a file of this name."""
    try:
        import yaml
    except ImportError:
        sys.path.append(str(archives(HERE / "check.txt")[0]))
        import yaml
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        number = mark.line + 1 if mark else "?"
        raise Problem(f"{file} 第 {number} 行附近的格式不对。\n{file} is malformed near line {number}.") from error


def function_in(document: Any, name: str, template: Template) -> dict[str, Any]:
    """What s.yaml or s.fc3.yaml says about a function; {} if it says nothing."""
    function, variables = document, document.get("vars") if isinstance(document, dict) else None
    for key in template.place.format(name).split("."):
        function = function.get(key) if isinstance(function, dict) else None
    if not isinstance(function, dict):
        return {}
    named = {f"${{vars.{key}}}": value for key, value in variables.items()} if isinstance(variables, dict) else {}
    return {key: named.get(value, value) if isinstance(value, str) else value for key, value in function.items()}


def template_problems(name: str, function: Mapping[str, Any], template: Template) -> Iterator[str]:
    """What s.yaml or s.fc3.yaml must say for the function files, and the packages, as they are."""
    stem = FUNCTIONS[name][: -len(".py")]
    expected = {
        template.name: stem,
        "runtime": "python3.10",
        "handler": f"{stem}.handler",
        template.code: f"./.package/{name}",
    }
    for key, value in expected.items():
        if function.get(key) != value:
            where = f"{template.file}: {template.place.format(name)}.{key}"
            yield f"{where} 应该是 {value} 。 / {where} should be {value}"


def settings_problems(
    name: str,
    function: Mapping[str, Any],
    environment: Mapping[str, str],
    template: Template,
    told: dict[str, str],
) -> Iterator[tuple[str, str]]:
    """What is wrong with the variables that `s` would give to a function, but for what is told: a name, a sentence."""
    where = f"{template.file}: {template.place.format(name)}"
    deployed = {}
    for variable, text in (function.get("environmentVariables") or {}).items():
        deployed[variable] = REFERENCE.sub(lambda match: value_of(match, environment), str(text))
    for wanted in (each.name for each in VARIABLES[name]):
        if wanted not in deployed and wanted not in template.needless:
            place = f"{where}.environmentVariables"
            yield "", f"{place} 缺少 {wanted} 。 / {place} lacks {wanted}"
    for said in said_of(name, deployed):
        if said.name not in told and (not said.lacks or said.lacks - told.keys()):
            told[said.name] = f".env：{said.chinese}。 / .env: {said.english}."
            yield said.name, told[said.name]
    size = sum(len(text.encode()) for variable in deployed.items() for text in variable)
    if size > MAX_ENVIRONMENT_BYTES:
        sizes = f".env：{FUNCTIONS[name]} 的环境变量共 {size} 字节，最多 {MAX_ENVIRONMENT_BYTES} 字节。"
        limit = f"the variables of {FUNCTIONS[name]} are {size} bytes, limit {MAX_ENVIRONMENT_BYTES}."
        yield "", f"{sizes} / .env: {limit}"
    if name == "reply":
        seconds = read_settings(ReplySettings, deployed)[0].timeout + MOST_SECONDS_WITHOUT_CHATGPT
        if function.get("timeout", 60) < seconds:
            yield "", f"{where}.timeout 至少是 {seconds} 。 / {where}.timeout must be at least {seconds}"


class Said(NamedTuple):
    """What a function itself says of a setting, or of one that needs others."""

    name: str
    lacks: set[str]
    chinese: str
    english: str


def said_of(name: str, deployed: Mapping[str, str]) -> Iterator[Said]:
    """What a function itself says of these variables."""
    problems, between = [], []
    for language in ("zh", "en"):
        settings, bad = read_settings(SETTINGS[name], deployed, language)
        problems.append(bad)
        between.append(conflicts(settings) if name == "reply" else [])
    for chinese, english in zip(*problems):  # noqa: B905 - Python 3.8 has no `strict`
        yield Said(chinese.split()[0], set(), chinese, english)
    for chinese, english in zip(*between):  # noqa: B905
        names = re.findall(r"[A-Z_]{6,}", chinese)
        given = [each for each in names if not re.fullmatch(r"\s*|\$\{env\(\w+\)\}", deployed.get(each, ""))]
        yield Said(given[0], set(names) - set(given), chinese, english)


def value_of(reference: re.Match[str], environment: Mapping[str, str]) -> str:
    """What `s` deploys for a reference: of a variable that is not there, in s.yaml the reference itself."""
    return environment.get(reference[1], reference[0]) if reference[1] else environment.get(reference[2], "")


def package_problems(folder: Path, contents: Callable[[], Mapping[str, bytes]]) -> Iterator[str]:
    """Whether a package is what a build would make now; `contents` gets that, without bytecode, and may download it."""
    what, build = f".package/{folder.name}", f"python3 -m deploy {folder.name}"
    if not folder.exists():
        yield f"{what} 还没有构建，请运行 {build} / {what} is not built yet; run {build}"
        return
    expected = contents()
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    sources = {path: file.read_bytes() for path, file in files.items() if file.suffix != ".pyc"}
    wrong = [path for path in sources.keys() | expected.keys() if sources.get(path) != expected.get(path)]
    built = folder.with_suffix(".sha256")
    if wrong:
        example = min(wrong, key=lambda path: (path.count("/"), path))
        yield f"{what} 不是最新的，如 {example}，请运行 {build} / {what} is out of date, {example} for one; run {build}"
    elif not built.exists() or built.read_text() != fingerprint(folder):  # the bytecode might be of other sources
        yield f"{what} 在构建以后被改过，请运行 {build} / {what} was changed after it was built; run {build}"
    elif len(sources) == len(files):
        print(f"{what}: {NO_BYTECODE}")
