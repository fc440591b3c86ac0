"""What would be deployed for each variable, out of .env and the terminal's environment; and what is wrong with that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from . import dotenv, mistakes
from .build import NO_FILE, NOT_UTF_8, ROOT, Problem

CREDENTIALS = {"AccountID", "AccessKeyID", "AccessKeySecret"}  # what `s` itself takes from .env
REFERENCE = re.compile(r"\$\{env\((\w+)\)\}|\$\{env\('(\w+)', ''\)\}")  # in s.yaml, in s.fc3.yaml
REGION = re.compile(r"^ +region: *(.+?) *(?:#.*)?$", re.MULTILINE)  # in both, below `vars`
# What editors and people make of .env: Windows hides the end of a name, so .env.txt looks like .env there.
MISNAMED = (".env.txt", "env.txt", "env", ".env.env", ".env.example.txt", ".env.local", ".env.production", "_env")

NO_DOTENV = """\
没有 .env：请运行 python3 -m deploy init，或者把 .env.example 复制为 .env，再填写。\
 / No .env: run python3 -m deploy init, or copy .env.example to it, then fill it in."""
WRONG_NAME = """\
没有 .env，但有 {name}：请把它改名为 .env（Windows 要先显示文件扩展名）。\
 / No .env, but there is {name}: rename it to .env (on Windows show file name extensions first)."""
FILLED_EXAMPLE = """\
没有 .env，设置填在了 .env.example 里：请把它复制为 .env，再把 .env.example 恢复原样。\
 / No .env, and .env.example is filled in: copy it to .env, then restore .env.example."""
NO_REGION = """\
.env：REGION 没有设置：请写上部署到哪个地域，例如 REGION=cn-hangzhou 。以前写在 {file} 开头的地域也写到这里。\
 / .env: REGION is not set: write the region to deploy to, such as REGION=us-west-1 ; also the one that stood at the\
 top of {file} before."""
INSIDE = """\
.env：第 {number} 行在另一个值的引号里，但 2.0 的部署工具会把它当作设置 {name}：请换个写法，例如在 = 前面加字。\
 / .env: line {number} is inside the quotes of another value, but on 2.0 the tool takes it for the setting {name}:\
 write it otherwise, for one with a word before it."""


class Template(NamedTuple):
    """A file that `s` deploys by, and how it is written."""

    generation: int
    file: str
    place: str  # of what it says about a function
    name: str  # what it calls the function's name
    code: str  # and its package
    needless: frozenset[str] = frozenset()  # settings that mean nothing there


TEMPLATES = {
    2: Template(2, "s.yaml", "services.{}.props.function", "name", "codeUri"),
    3: Template(3, "s.fc3.yaml", "resources.{}.props", "functionName", "code", frozenset({"SERVICE_NAME"})),
}


class Environment(NamedTuple):
    """The variables of a deployment."""

    has_file: bool  # whether there is a .env
    file: dict[str, str]  # as they stand in it
    values: dict[str, str]  # as they arrive
    lines: dict[str, int]  # name -> line of .env
    used: set[str]  # the names that the template refers to
    region: str  # where it deploys to, '' if nothing says so
    told: dict[str, str]  # name, or line -> what is wrong with it; '' is told already

    def located(self, name: str, sentence: str) -> str:
        """The sentence with the line of .env on which the name stands."""
        if name not in self.lines:
            return sentence
        number = self.lines[name]
        sentence = sentence.replace(".env：", f".env 第 {number} 行：", 1)
        return sentence.replace(" / .env: ", f" / .env line {number}: ", 1)

    def problems(self) -> Iterator[str]:
        """All that is wrong, each with its line and in their order."""
        for name in sorted(self.told, key=lambda name: self.lines.get(name, int("0" + name.partition("line ")[2]))):
            if self.told[name]:
                yield self.located(name, self.told[name])


def read(template: Template, shell: Mapping[str, str], text: str | None = None) -> Environment:
    """The variables of a deployment by this file, with .env as it is or as this text; the shell's come before them."""
    if text is None and (ROOT / ".env").exists():
        text = text_of(ROOT / ".env")
    has_file, text, yaml = text is not None, text or "", text_of(ROOT / template.file)
    file, problems = dotenv.read(text)
    used = {match[1] or match[2] for match in REFERENCE.finditer(yaml)}
    values = dotenv.arriving(file, shell, template.generation)
    told = {**dotenv.changes(file, shell, used, template.generation), **problems}
    for name, number in dotenv.inside_values(text).items() if template.generation == 2 else ():
        if name in used | CREDENTIALS and name not in shell:
            told[f"line {number}"] = INSIDE.format(number=number, name=name)
    found = REGION.search(yaml)
    region = REFERENCE.sub(lambda match: values.get(match[1] or match[2], ""), found[1]) if found else ""
    where = ".env" if found and REFERENCE.search(found[1]) else template.file
    for name, chinese, english in mistakes.find({**{each: values.get(each, "") for each in used}, "REGION": region}):
        place, called = (where, "region") if name == "REGION" and where != ".env" else (".env", name)
        told.setdefault(name, f"{place}：{called} {chinese}。 / {place}: {called}: {english}.")
    if not region.strip():
        told.setdefault("REGION", NO_REGION.format(file=template.file))
    return Environment(has_file, file, values, dotenv.lines(text), used, region.strip(), told)


def missing_file() -> str:
    """What to do about .env, which is not there."""
    wrong = next((name for name in MISNAMED if (ROOT / name).is_file()), "")
    if wrong:
        return WRONG_NAME.format(name=wrong)
    example = ROOT / ".env.example"
    values = dotenv.read(text_of(example))[0] if example.exists() else {}
    return FILLED_EXAMPLE if any(values.values()) else NO_DOTENV


def text_of(file: Path) -> str:
    """The text in a file; a Problem if it is missing or not UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise Problem(NO_FILE.format(file=file.name)) from error
    except UnicodeDecodeError as error:
        raise Problem(NOT_UTF_8.format(file=file.name)) from error
