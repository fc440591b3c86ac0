"""What can be wrong before a deployment, found without an account: settings, s.yaml or s.fc3.yaml, packages."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .build import FUNCTIONS, HERE, NO_BYTECODE, PACKAGES, ROOT, Problem, archives, contents, fingerprint

MAX_ENVIRONMENT_BYTES = 4096  # of Function Compute, all variables together
CREDENTIALS = {"AccountID", "AccessKeyID", "AccessKeySecret"}  # what `s` itself takes from .env

# A line of .env as dotenv, which `s` reads it with, understands it: name, value, comment.
ASSIGNMENT = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*(?:=|:[ \t])[ \t]*"""
    r"""('[^']*'|"(?:\\"|[^"])*"|`[^`]*`|[^#\n]*)[ \t]*(\#.*)?$""",
    re.MULTILINE,
)
REFERENCE = re.compile(r"\$\{env\((\w+)\)\}|\$\{env\('(\w+)', ''\)\}")  # in s.yaml, in s.fc3.yaml


class Template(NamedTuple):
    """A file that `s` deploys by, and how it is written."""

    file: str
    place: str  # of what it says about a function
    name: str  # what it calls the function's name
    code: str  # and its package
    needless: frozenset[str] = frozenset()  # settings that mean nothing there


TEMPLATES = {
    2: Template("s.yaml", "services.{}.props.function", "name", "codeUri"),
    3: Template("s.fc3.yaml", "resources.{}.props", "functionName", "code", frozenset({"SERVICE_NAME"})),
}


def main(generation: int) -> int:
    """Print what is wrong with a deployment to this generation of Function Compute; the exit status."""
    if not hasattr(str, "removeprefix"):  # which the functions use, whose own code reads the settings
        raise Problem("检查需要 Python 3.9 及以上版本。\nThe check needs Python 3.9 or newer.")
    problems = list(find_problems(TEMPLATES[generation]))
    for problem in problems:
        print(f"- {problem}")
    print(f"问题 / problems: {len(problems)}")
    return 1 if problems else 0


def find_problems(template: Template) -> Iterator[str]:
    """A sentence in Chinese and one in English for each thing that is wrong: what to change, never a value."""
    document = read_yaml(text_of(ROOT / template.file), template.file)
    values: dict[str, str] = {}
    if (ROOT / ".env").exists():
        values, problems = read_dotenv(text_of(ROOT / ".env"))
        yield from problems
        used = {match[1] or match[2] for match in REFERENCE.finditer(str(document))}
        for name in sorted(values.keys() - CREDENTIALS - template.needless - used):
            what = template.file
            yield f".env：{what} 没有设置 {name}，请检查名称。 / .env: {what} does not use {name}; check the name."
    else:
        yield "没有 .env：请把 .env.example 复制为 .env，再填写。 / No .env: copy .env.example to it, then fill it in."
    for name, file in FUNCTIONS.items():
        function = function_in(document, name, template)
        code = settings_of(text_of(ROOT / file))
        yield from template_problems(name, function, template)
        yield from settings_problems(name, function, code, {**values, **os.environ}, template)
        yield from package_problems(PACKAGES / name, contents(name))


def text_of(file: Path) -> str:
    """The text in a file; a Problem if it is missing or not UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise Problem(f"找不到 {file.name}，请从仓库里恢复。\n{file.name} is missing; restore it.") from error
    except UnicodeDecodeError as error:
        raise Problem(
            f"{file.name} 不是 UTF-8，请另存为 UTF-8。\n{file.name} is not UTF-8; save it as UTF-8."
        ) from error


def read_dotenv(text: str) -> tuple[dict[str, str], list[str]]:
    """The values that `s` reads from such a file, and what it would read otherwise than it was meant."""
    values, problems = {}, []
    text = text.replace("\r\n", "\n")
    for match in ASSIGNMENT.finditer(text):
        name, value = match[1], match[2].strip()
        quoted = re.fullmatch(r"(['\"`])(.*)\1", value, re.DOTALL)
        if quoted:
            value = quoted[2].replace("\\n", "\n") if quoted[1] == '"' else quoted[2]
        elif match[3] and text[match.start(3) - 1] not in " \t":
            problems.append(
                f".env：{name} 的值里有 #，# 后面的内容会丢失，请用引号把值括起来。"
                f" / .env: {name} has a #, and what follows it is lost; put the value into quotes."
            )
        values[name] = value.replace("\\\\$", "$")
        if "$" in value.replace("\\\\$", ""):
            problems.append(
                f".env：{name} 的值里有 $，$ 和后面的内容会丢失；2.0 请写成 \\\\$ ，3.0 请写成 \\\\\\$ 。"
                f" / .env: {name} has a $, which is lost with what follows; write \\\\$ on 2.0, \\\\\\$ on 3.0."
            )
    rest = ASSIGNMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    for number, line in enumerate(rest.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            problems.append(f".env：第 {number} 行不是“名称=值”。 / .env: line {number} is not NAME=value.")
    return values, problems


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


def settings_of(source: str) -> dict[str, Any]:
    """SETTINGS and read_settings of a function file, executed with what they use and nothing else of the file."""
    tree = ast.parse(source)
    defined = {name: node for node in tree.body for name in names_defined_by(node)}
    wanted, names = [], ["SETTINGS", "read_settings", "MOST_SECONDS_WITHOUT_CHATGPT"]
    while names:
        node = defined.get(names.pop())
        if node is not None and node not in wanted:
            wanted.append(node)
            names += [used.id for used in ast.walk(node) if isinstance(used, ast.Name)]
    tree.body = [node for node in tree.body if node in wanted or is_import_of_standard_library(node)]
    values: dict[str, Any] = {}
    exec(compile(tree, "settings", "exec"), values)
    return values


def names_defined_by(node: ast.stmt) -> list[str]:
    """The functions, classes and constants that a statement at the top of a file defines."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def is_import_of_standard_library(node: ast.stmt) -> bool:
    """Whether the statement imports, and none of the packages, which the deployer's Python may not have."""
    if isinstance(node, ast.Import):
        return not {alias.name for alias in node.names} & {"fc2", "oss2", "openai", "requests"}
    return isinstance(node, ast.ImportFrom)


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
    code: Mapping[str, Any],
    environment: Mapping[str, str],
    template: Template,
) -> Iterator[str]:
    """What is wrong with the environment variables that `s` would give to a function."""
    where = f"{template.file}: {template.place.format(name)}"
    deployed = {}
    for variable, text in (function.get("environmentVariables") or {}).items():
        deployed[variable] = REFERENCE.sub(lambda match: value_of(match, environment), str(text))
    for setting in code["SETTINGS"]:
        if setting[0] not in deployed and setting[0] not in template.needless:
            yield f"{where}.environmentVariables 缺少 {setting[0]} 。 / {where}.environmentVariables lacks {setting[0]}"
    settings, problems = code["read_settings"](deployed)
    for problem in problems:
        setting = problem.split()[0]
        yield f".env：{problem}。 / .env: {setting} is not set, or not as .env.example explains."
    size = sum(len(text.encode()) for variable in deployed.items() for text in variable)
    if size > MAX_ENVIRONMENT_BYTES:
        yield (
            f".env：{FUNCTIONS[name]} 的环境变量共 {size} 字节，最多 {MAX_ENVIRONMENT_BYTES} 字节。"
            f" / .env: the variables of {FUNCTIONS[name]} are {size} bytes, limit {MAX_ENVIRONMENT_BYTES}."
        )
    if "MOST_SECONDS_WITHOUT_CHATGPT" in code:  # Reply
        seconds = settings.timeout + code["MOST_SECONDS_WITHOUT_CHATGPT"]
        if function.get("timeout", 60) < seconds:
            yield f"{where}.timeout 至少是 {seconds} 。 / {where}.timeout must be at least {seconds}"


def value_of(reference: re.Match[str], environment: Mapping[str, str]) -> str:
    """What `s` deploys for a reference: of a variable that is not there, in s.yaml the reference itself."""
    return environment.get(reference[1], reference[0]) if reference[1] else environment.get(reference[2], "")


def package_problems(folder: Path, expected: Mapping[str, bytes]) -> Iterator[str]:
    """Whether a package is what a build would make now; `expected` is that without the bytecode."""
    what, build = f".package/{folder.name}", f"python3 -m deploy {folder.name}"
    if not folder.exists():
        yield f"{what} 还没有构建，请运行 {build} / {what} is not built yet; run {build}"
        return
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
