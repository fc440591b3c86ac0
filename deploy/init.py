"""Asks for the settings that a deployment needs, one by one, and writes them into .env."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.settings import ConversationSettings, ReplySettings, read_settings

from . import dotenv, mistakes
from .build import ROOT, Problem
from .environment import text_of
from .regions import REGIONS
from .services import SERVICES, Service

LANGUAGE = "1 中文   2 English"
EXISTS = (
    "已经有 .env 了。要修改它吗？没有问到的设置保持原样，直接回车就保留现有的值。",
    "There is a .env already. Change it? What is not asked for stays, and Enter keeps the present value.",
)
GENERATION = (
    "你的函数计算是哪一代？控制台里函数放在“服务”里的是 2.0，没有“服务”的是 3.0；新账号一般是 3.0。",
    "Which Function Compute do you have? On 2.0 the console shows functions inside services, on 3.0 there are none; new"
    " accounts mostly have 3.0.",
)
REGION = (
    "部署到哪个地域？用百炼、DeepSeek 等国内服务选国内的；OpenAI 不向中国内地和香港提供服务。填序号或地域 ID。",
    "Deploy to which region? OpenAI does not serve mainland China and Hong Kong; for a service in China take one there."
    " Write the number or the region's id.",
)
QUESTIONS = {
    "OSS_BUCKET_NAME": (
        "OSS Bucket 的名称？要在这个地域里：OSS 控制台 https://oss.console.aliyun.com/ > Bucket 列表。",
        "The name of the OSS bucket? It must be in this region: OSS console https://oss.console.aliyun.com/ > Buckets.",
    ),
    "DINGTALK_APP_SECRET": (
        "钉钉应用的 AppSecret（Client Secret）？开发者后台 https://open-dev.dingtalk.com/ > 应用 > 凭证与基础信息。"
        "粘贴后不会显示。",
        "The AppSecret (Client Secret) of the application in DingTalk? https://open-dev.dingtalk.com/ > application >"
        " 凭证与基础信息. It is not shown.",
    ),
    "CHATGPT_API_KEY": (
        "{service}的 API 密钥？在 {keys} 创建。粘贴后不会显示。",
        "The API key of {service}? It is made at {keys} . It is not shown.",
    ),
    "CHATGPT_BASE_URL": (
        "服务的 API 地址？看它的文档，多半以 /v1 结尾。",
        "The address of the service's API? Its documents say; mostly it ends in /v1.",
    ),
    "CHATGPT_MODEL": (
        "模型的名称？要和服务里写的完全一样，多个用逗号分开。",
        "The name of the model, exactly as the service writes it? Several with commas.",
    ),
}
SERVICE = ("用哪家的模型？", "Whose model?")
ANOTHER = ("其他兼容 OpenAI 接口的服务", "another service with OpenAI's API")
NEEDED = ("不能留空。", "This is needed.")
NUMBER = ("请填 1 到 {} 的序号。", "Write a number from 1 to {}.")
RECEIVED = ("（收到 {} 个字符）", "({} characters)")
NOT_WRITABLE = (
    "{name} 的值里有部署工具会弄坏的字符，写不进 .env：请重新创建一个，或者部署以后在控制台里设置。",
    "{name} has characters that the tool would spoil in .env: make another, or set it in the console after deploying.",
)
NO_INPUT = "没有输入，什么都没有写。 / No input: nothing was written."
UNCHANGED = ("没有修改。", "Nothing was changed.")
DONE = (
    """
已写入 .env：{names}。别的设置也在里面，去掉行首的 # 就生效。接下来：

  {python} -m deploy                 构建代码包
  {python} -m deploy check --fc {fc}    检查
  s set analysis disable             不让部署工具上报使用情况
  {deploy}""",
    """
Written into .env: {names}. The other settings are there as well, switched off by a #. Next:

  {python} -m deploy                 builds the packages
  {python} -m deploy check --fc {fc}    checks
  s set analysis disable             stops the tool's reports home
  {deploy}""",
)
DEPLOY = {2: "s deploy --use-local", 3: "s deploy -t s.fc3.yaml"}


class Talk:
    """A conversation in one language."""

    def __init__(self) -> None:
        self.language = 0
        chinese = re.match("zh|C$|$", os.environ.get("LC_ALL") or os.environ.get("LANG", ""), re.IGNORECASE)
        self.language = self.choose((LANGUAGE, LANGUAGE), 2, 1 if chinese else 2) - 1

    def say(self, text: Sequence[str], **values: object) -> None:
        print(text[self.language].format(**values) if values else text[self.language], flush=True)

    def answer(self, default: str = "", *, hidden: bool = False) -> str:
        """One line, without blanks around it; `default` if it is empty."""
        shown = "" if hidden or not default else f" [{default}]"
        try:
            if hidden and sys.stdin.isatty():
                given = getpass.getpass("> ").strip()
                print(RECEIVED[self.language].format(len(given)))
            else:
                given = input(f"{shown}> ").strip()
        except EOFError:
            raise Problem(NO_INPUT) from None
        return given or default

    def choose(self, text: Sequence[str], count: int, default: int) -> int:
        """A number from 1 to `count`."""
        self.say(text)
        while True:
            given = self.answer(str(default))
            if given.isascii() and given.isdigit() and 1 <= int(given) <= count:
                return int(given)
            print(NUMBER[self.language].format(count))

    def agrees(self, text: Sequence[str]) -> bool:
        self.say(text)
        return self.answer("n").lower() in ("y", "yes", "是", "好", "要")


def main(generation: int | None) -> int:
    """Ask, and write .env; the exit status."""
    talk, file = Talk(), ROOT / ".env"
    if file.exists() and not talk.agrees(EXISTS):
        talk.say(UNCHANGED)
        return 0
    if generation is None:
        generation = (
            3 if talk.choose((f"{GENERATION[0]}\n1 3.0   2 2.0", f"{GENERATION[1]}\n1 3.0   2 2.0"), 2, 1) == 1 else 2
        )
    text = text_of(file if file.exists() else ROOT / ".env.example")
    before = dotenv.arriving(dotenv.read(text)[0], {}, generation)
    answers = ask_all(talk, {name: value for name, value in before.items() if value}, generation)
    for name, value in answers.items():
        if value or before.get(name):
            text = dotenv.with_line(text, name, value, generation)
    write(file, text)
    python = "python" if sys.platform == "win32" else "python3"
    talk.say(
        DONE, names=", ".join(filter(answers.get, answers)), python=python, fc=generation, deploy=DEPLOY[generation]
    )
    return 0


def ask_all(talk: Talk, before: dict[str, str], generation: int) -> dict[str, str]:
    """The settings, as the functions are to have them."""
    answers = {"REGION": ask_region(talk, before.get("REGION", ""))}
    for name in ("OSS_BUCKET_NAME", "DINGTALK_APP_SECRET"):
        ask(talk, name, before.get(name, ""), answers, generation)
    service = ask_service(talk)
    answers["CHATGPT_BASE_URL"] = service.address if service else ""
    if service is None:
        ask(talk, "CHATGPT_BASE_URL", before.get("CHATGPT_BASE_URL", ""), answers, generation)
    same = service and before.get("CHATGPT_BASE_URL", "") == service.address
    model = before.get("CHATGPT_MODEL", "") if same or service is None else ""
    ask(talk, "CHATGPT_MODEL", model or (service.model if service else ""), answers, generation)
    known = (
        (service.within_chinese().lstrip(), service.english, service.keys)
        if service
        else ("这家服务", "this service", "")
    )
    keys = (known[2] or "它的控制台", known[2] or "its console")
    question = [QUESTIONS["CHATGPT_API_KEY"][each].format(service=known[each], keys=keys[each]) for each in (0, 1)]
    ask(talk, "CHATGPT_API_KEY", before.get("CHATGPT_API_KEY", ""), answers, generation, question)
    for note in mistakes.notes(answers):
        talk.say((f"注意：{note.chinese}。", f"Note: {note.english}."))
    return answers


def ask(
    talk: Talk, name: str, before: str, answers: dict[str, str], generation: int, question: Sequence[str] = ()
) -> None:
    """Ask for a setting until it is one, and put it into `answers`."""
    hidden = name in ("DINGTALK_APP_SECRET", "CHATGPT_API_KEY")
    talk.say(question or QUESTIONS[name])
    while True:
        value = talk.answer(before, hidden=hidden)
        problem = problem_of(name, value, answers, generation)
        if not problem:
            answers[name] = value
            return
        talk.say(problem)


def problem_of(name: str, value: str, answers: dict[str, str], generation: int) -> Sequence[str]:
    """What is wrong with a value, by the rules of the check; () if nothing is."""
    if not value:
        return NEEDED
    given = {**answers, name: value}
    for mistake in mistakes.find(given):
        if mistake.name == name:
            return (f"{mistake.chinese}。", f"{mistake.english}.")
    kinds: tuple[Any, ...] = (ConversationSettings, ReplySettings)
    for kind in kinds:
        texts = [read_settings(kind, {name: value}, language)[1] for language in ("zh", "en")]
        said = [text for several in texts for text in several if text.startswith(f"{name} ")]
        if said:
            return [f"{said[0]}。", f"{said[1]}."]
    written = dotenv.with_line("", name, value, generation)
    arrives = dotenv.arriving(dotenv.read(written)[0], {}, generation).get(name) == value
    if not arrives or dotenv.changes(dotenv.read(written)[0], {}, set(), generation):
        return [text.format(name=name) for text in NOT_WRITABLE]
    return ()


def ask_region(talk: Talk, before: str) -> str:
    """The id of a region."""
    ids = [region for region in REGIONS if region.count("-") < 3]  # not the clouds for one trade
    talk.say(REGION)
    for number, region in enumerate(ids, 1):
        print(f"{number:3} {region} {REGIONS[region][talk.language]}")
    while True:
        given = talk.answer(before or ("cn-hangzhou", "us-west-1")[talk.language])
        region = ids[int(given) - 1] if given.isascii() and given.isdigit() and 0 < int(given) <= len(ids) else given
        problem = problem_of("REGION", region, {}, 2)
        if not problem:
            return region
        talk.say(problem)


def ask_service(talk: Talk) -> Service | None:
    """A service of the table, None for another one. In English OpenAI, which is the last, comes first."""
    services = [*SERVICES] if talk.language == 0 else [SERVICES[-1], *SERVICES[:-1]]
    named = [(each.chinese, each.english)[talk.language] for each in services] + [ANOTHER[talk.language]]
    rows = "\n".join(f"{number:3} {name}" for number, name in enumerate(named, 1))
    number = talk.choose([f"{text}\n{rows}" for text in SERVICE], len(named), 1)
    return services[number - 1] if number <= len(services) else None


def write(file: Path, text: str) -> None:
    """Put the text into the file, at once or not at all; nobody else on this computer may read it."""
    new = file.with_name(f"{file.name}.new")
    if new.exists():
        new.unlink()
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline="\n") as opened:
        opened.write(text)
    os.replace(new, file)
