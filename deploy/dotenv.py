r"""What Serverless Devs 3.1.10 makes of .env: what it reads, and what arrives at the functions, which is not the same.

The tool reads the file with dotenv, has dotenv-expand look for references to other variables ($NAME, ${NAME}) several
times over, and puts the outcome into s.yaml or s.fc3.yaml. Each time a backslash before a $ is used up. So a $ has to
be written \\$ on FC 2.0 and \\\$ on 3.0; otherwise the $ and the name behind it are lost, without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

EXPANSIONS = {2: 2, 3: 3}  # how many times the tool expands .env before it deploys to this generation
MOST_REFERENCES = 50  # in one value; beyond that it refers to itself, which the tool does not survive

# A line of .env as dotenv understands it: name, value, comment.
ASSIGNMENT = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*(?:=|:[ \t])[ \t]*"""
    r"""('[^']*'|"(?:\\"|[^"])*"|`[^`]*`|[^#\n]*)[ \t]*(\#.*)?$""",
    re.MULTILINE,
)
UNESCAPED = re.compile(r"(?<!\\)\$")
REFERENCE = re.compile(r"(?<!\\)\$\{?(\w+)(?::-([^}\\]*))?\}?", re.ASCII)
SPECIAL = re.compile(r"\$[$&`']")  # means something in the replacement of JavaScript's String.replace


def read(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """The values in such a file, before any is expanded; and what is wrong with it: a sentence per name or line."""
    values, problems, places = {}, {}, []
    text = text.replace("\r\n", "\n")
    for match in ASSIGNMENT.finditer(text):
        name, value = match[1], match[2].strip()
        quoted = re.fullmatch(r"(['\"`])(.*)\1", value, re.DOTALL)
        if quoted:
            value = quoted[2]
            if quoted[1] == '"':
                value = value.replace("\\n", "\n").replace("\\r", "\r")
        elif match[3] and (text[match.start(3) - 1] not in " \t" or is_cut_by_a_blank(name, value)):
            problems[name] = (
                f".env：{name} 的值里有 #，# 后面的内容会丢失，请用引号把值括起来。"
                f" / .env: {name} has a #, and what follows it is lost; put the value into quotes."
            )
        values[name] = value
        places.append((name, value, text.count("\n", 0, match.start(1)) + 1))
    for name, last in values.items():
        others = [str(number) for each, value, number in places if each == name and value and value != last]
        if others:
            problems[name] = (
                f".env：{name} 在第 {'、'.join(others)} 行还有别的值，部署工具只用最后一行的：请只留一行。"
                f" / .env: {name} has another value on line {', '.join(others)}; the last line counts: keep one."
            )
    rest = ASSIGNMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    for number, line in enumerate(rest.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            problems[f"line {number}"] = f".env：第 {number} 行不是“名称=值”。 / .env: line {number} is not NAME=value."
    return values, problems


def is_cut_by_a_blank(name: str, value: str) -> bool:
    """Whether ` #` belongs to a value rather than begins a comment: only in a text of many words, or an open object."""
    return bool(value) and (name == "SYSTEM_PROMPT" or (value[0] == "{" and value[-1] != "}"))


def lines(text: str) -> dict[str, int]:
    """Name -> number of the line on which it gets its value."""
    text = text.replace("\r\n", "\n")
    return {match[1]: text.count("\n", 0, match.start(1)) + 1 for match in ASSIGNMENT.finditer(text)}


def inside_values(text: str) -> dict[str, int]:
    """Name -> number of a line like NAME=value inside a quoted value, if nothing else sets the name.

    On 2.0 such a line is a setting: there the tool also reads the file as it did long ago, line by line.
    """
    text, found = text.replace("\r\n", "\n"), {}
    for match in ASSIGNMENT.finditer(text):
        first = text.count("\n", 0, match.start(1)) + 1
        for number, line in enumerate(match[0].split("\n")[1:], first + 1):
            inner = re.match(r"[ \t]*([\w.-]+)[ \t]*=", line)
            if inner:
                found[inner[1]] = number
    return {name: number for name, number in found.items() if name not in lines(text)}


def with_line(text: str, name: str, value: str, generation: int) -> str:
    """The file with this value, on each line of the name or in place of the example that is switched off."""
    line = f"{name}={quoted(written(value, generation))}"
    before = [match for match in ASSIGNMENT.finditer(text) if match[1] == name]
    before = before or list(re.finditer(rf"^# {name}=.*$", text, re.MULTILINE))[:1]
    if not before:
        return f"{text.rstrip()}\n{line}\n"
    for match in reversed(before):
        text = text[: match.start()] + line + text[match.end() :]
    return text


def quoted(value: str) -> str:
    """The value with quotes around it if the tool would otherwise read something else."""
    if re.fullmatch(r"[^\s#'\"`]*|\{[^#\n]*\}", value):
        return value
    return next((f"{sign}{value}{sign}" for sign in "'`" if sign not in value), value)


def arriving(values: Mapping[str, str], shell: Mapping[str, str], generation: int) -> dict[str, str]:
    """What the tool deploys for each variable: of .env and of the shell's environment, which comes first.

    It expands a variable of the shell, too, if .env has a line for it; all others of the shell it leaves alone.
    """
    environment = {**values, **shell}
    for _ in range(EXPANSIONS[generation]):
        before, expanded = dict(environment), dict(values)
        for name in values:
            expanded[name] = expand(before[name], before, expanded)
            environment[name] = expanded[name]
    if generation == 2:  # s.yaml gets the values by String.replace
        references = {name: f"${{env({name})}}" for name in environment}
        return {name: javascript_replace(text, text, environment[name]) for name, text in references.items()}
    return environment


def expand(value: str, environment: Mapping[str, str], file: Mapping[str, str]) -> str:
    """What dotenv-expand 10 makes of a value, going through it once; '' if it would never end."""
    for _ in range(MOST_REFERENCES):
        dollars = [match.start() for match in UNESCAPED.finditer(value)]
        match = REFERENCE.match(value, dollars[-1]) if dollars else None
        if not match:
            return value.replace("\\$", "$")
        name, default = match[1], match[2]
        value = javascript_replace(value, match[0], environment.get(name) or default or file.get(name) or "")
    return ""


def javascript_replace(text: str, old: str, new: str) -> str:
    """text.replace(old, new) as JavaScript does it: once, and `new` may refer to what is around `old`."""
    before, _, after = text.partition(old)
    meaning = {"$$": "$", "$&": old, "$`": before, "$'": after}
    return before + SPECIAL.sub(lambda match: meaning[match[0]], new) + after


def written(value: str, generation: int) -> str:
    """How a value is written in .env, so that it arrives."""
    return value.replace("$", sign(value, generation))


def sign(value: str, generation: int) -> str:
    r"""How each $ of this value is written: \\$, or \\\$ on 3.0."""
    if generation == 3:
        return r"\\\$"
    return r"\\$\\$" if SPECIAL.search(value) else r"\\$"


def is_written_so(line: str, value: str, generation: int) -> bool:
    """Whether a line of .env is the way to write this value; one with a backslash before a $ nobody means."""
    return line == written(value, generation) and "\\$" not in value


def meant(value: str) -> str:
    """What a person means who wrote this, with backslashes before a $ or without."""
    return re.sub(r"\\+\$", "$", value)


def changes(values: Mapping[str, str], shell: Mapping[str, str], used: set[str], generation: int) -> dict[str, str]:
    """A sentence for each name whose value would not arrive as it was meant, and how to write it; never the value."""
    told = {}
    arrived = arriving(values, shell, generation)
    for name in sorted(values.keys() | (used & shell.keys())):
        value = shell[name] if name in shell else meant(values[name])
        if "${" in value:
            sent, home = ("，还会在报错时把它发给 Serverless Devs", " and, failing, reports home with its text")
            sent, home = (sent, home) if generation == 3 else ("", "")
            told[name] = (
                f".env：{name} 的值里有 ${{ ，部署工具会把它当作变量{sent}：请留空，部署以后在控制台里设置 {name}。"
                f" / .env: {name} has a ${{, which the tool takes for a variable{home}: leave it empty, and set"
                f" {name} in the console after deploying."
            )
        elif arrived[name] == value or (name not in shell and is_written_so(values[name], arrived[name], generation)):
            continue
        elif name in shell and name in values and arrived[name] != value and not SPECIAL.search(value):
            told[name] = (
                f"终端的环境变量 {name} 里有 $，而 .env 里也有 {name} 这一行，"
                f"部署工具就会改掉它的值：请删除 .env 里的这一行。"
                f" / The environment variable {name} of this terminal has a $, and because .env has a line for {name},"
                f" the tool changes it: delete that line of .env."
            )
        elif name in shell:
            told[name] = (
                f"终端的环境变量 {name} 里有 $ 和紧跟着的标点，部署工具会改掉它的值：请写进 .env，每个 $ 写成"
                f" {sign(value, generation)} 。"
                f" / The environment variable {name} of this terminal has a $ before a punctuation mark, and the tool"
                f" changes it: put it into .env, each $ written {sign(value, generation)}"
            )
        else:
            one, other = sign(value, generation), sign(value, 5 - generation)
            told[name] = (
                f".env：{name} 的值里有 $，部署以后会变样：在 {generation}.0 上，每个 $ 要写成 {one} 。"
                f"{5 - generation}.0 上要写成 {other} ，没有两代通用的写法。"
                f" / .env: {name} has a $ and would arrive changed: on {generation}.0 write each $ as {one} ;"
                f" {5 - generation}.0 needs {other} , so nothing is right for both."
            )
    return told
