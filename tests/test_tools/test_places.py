"""Whoever adds a setting, a command, a sentence, a kind of message or a cause is told which place was forgotten."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from bot import settings, words
from bot.chatgpt import causes
from bot.dingtalk import api, message
from bot.oss import bucket
from bot.sentences import en, zh
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT

VARIABLES = {
    CONVERSATION: settings.variables(settings.ConversationSettings),
    REPLY: settings.variables(settings.ReplySettings),
}
LANGUAGES = {"bot/sentences/zh.py": zh, "bot/sentences/en.py": en}
READ_CHINESE = {  # rooms that have to know Chinese words to read what others write
    *("bot/readers.py", "bot/chatgpt/causes.py", "bot/chatgpt/refusals.py", "bot/masking.py"),
    "bot/chatgpt/pictures.py",  # the mark of what the model does not see
    *("bot/dingtalk/api.py", "bot/dingtalk/attachments.py", "bot/dingtalk/message.py", "bot/dingtalk/webhook.py"),
}
SOURCES = [*ROOT.glob("Dingtalk_*.py"), *(ROOT / "bot").rglob("*.py")]


def text_of(place: str) -> str:
    return (ROOT / place).read_text(encoding="utf-8")


def compared(wanted: Iterable[str], found: Iterable[str], place: str) -> list[str]:
    """A sentence for each name that is missing from a place, and for each that is there for nothing."""
    wanted, found = set(wanted), set(found)
    lacking = [f"{name} is not in {place}" for name in sorted(wanted - found)]
    return lacking + [f"{name} in {place} is nothing that there is" for name in sorted(found - wanted)]


def names(*functions: str, required: bool = False) -> set[str]:
    """The settings that the functions read, all or the required ones."""
    several = [variable for function in functions for variable in VARIABLES[function]]
    return {variable.name for variable in several if variable.default is settings.REQUIRED or not required}


# --- a setting ---


@pytest.mark.parametrize("page", ["docs/en/settings.md", "docs/zh/settings.md"])
def test_setting_is_documented(page: str) -> None:
    """One that nobody can find does not exist, and one that is only documented does not work; required first."""
    rows = [line.split("|") for line in text_of(page).splitlines() if line.startswith("| `")]
    documented = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row[1])]
    assert compared(names(CONVERSATION, REPLY), documented, page) == []
    assert len(documented) == len(set(documented))
    required = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row[1]) if "**" in row[3]]
    assert compared(names(CONVERSATION, REPLY, required=True), required, f"the required ones of {page}") == []
    assert documented[: len(required)] == required


def test_setting_is_in_the_example_of_dotenv() -> None:
    """Below a comment; what has a default, or may be left out, is switched off."""
    listed = [
        line.partition("=")[0] for line in text_of(".env.example").splitlines() if re.match(r"(# )?[A-Z_]+=", line)
    ]
    theirs = {name.removeprefix("# ") for name in listed} - {"REGION"}  # the tool's own, no setting of the functions
    assert compared(names(CONVERSATION, REPLY), theirs, ".env.example") == []
    on = {name for name in listed if not name.startswith("#")} - {"REGION"}
    assert compared(names(CONVERSATION, REPLY, required=True), on, "what .env.example asks for") == []


@pytest.mark.parametrize("function", [CONVERSATION, REPLY])
def test_setting_is_passed_on_by_s_yaml(function: str) -> None:
    """To the function that reads it, from the variable of the same name."""
    services = yaml.safe_load(text_of("s.yaml"))["services"].values()
    (variables,) = [
        service["props"]["function"]["environmentVariables"]
        for service in services
        if service["props"]["function"]["name"] == function
    ]
    assert compared(names(function), variables, f"s.yaml, {function}") == []
    assert [name for name, value in variables.items() if value != f"${{env({name})}}"] == []


@pytest.mark.parametrize("function", [CONVERSATION, REPLY])
def test_setting_is_passed_on_by_s_fc3_yaml(function: str) -> None:
    """What is in .env reaches the functions of 3.0 as well; a service they do not have."""
    resources = yaml.safe_load(text_of("s.fc3.yaml"))["resources"].values()
    (variables,) = [
        resource["props"]["environmentVariables"]
        for resource in resources
        if resource["props"]["functionName"] == function
    ]
    assert compared(names(function) - {"SERVICE_NAME"}, variables, f"s.fc3.yaml, {function}") == []
    assert [name for name, value in variables.items() if value != f"${{env('{name}', '')}}"] == []


@pytest.mark.parametrize("place", LANGUAGES)
def test_setting_says_what_it_means(place: str) -> None:
    """People read it when the value is bad."""
    assert compared(names(CONVERSATION, REPLY), LANGUAGES[place].SETTINGS, f"SETTINGS of {place}") == []


# --- a sentence ---


def constants(language: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(language).items() if name.isupper()}


def fields(sentence: str) -> set[str]:
    """What is filled in."""
    return {str(field) for _, field, _, _ in string.Formatter().parse(sentence) if field is not None}


def texts(value: Any) -> dict[Any, str]:
    """A sentence, or the sentences of a table."""
    return value if isinstance(value, dict) else {"": value}


def test_sentence_is_there_in_every_language() -> None:
    """With the same causes, and with the same things filled in."""
    chinese, english = constants(zh), constants(en)
    assert compared(chinese, english, "bot/sentences/en.py") == []
    for name, value in chinese.items():
        assert compared(map(str, texts(value)), map(str, texts(english[name])), f"{name} of bot/sentences/en.py") == []
        if name not in ("HELP", "SETTINGS", "FAILURES", "PICTURES_REFUSED", "BRACES"):  # their { } are the person's own
            different = {key for key, text in texts(value).items() if fields(text) != fields(texts(english[name])[key])}
            assert not different, f"{name} has other fields in English: {different or ''}"


def test_sentence_is_said_somewhere() -> None:
    """One that nobody says is no sentence of the bot."""
    code = "\n".join(file.read_text(encoding="utf-8") for file in SOURCES if file.parent.name != "sentences")
    assert [name for name in constants(zh) if not re.search(rf"\b{name}\b", code)] == []


def test_sentence_stands_nowhere_else() -> None:
    """In no other room and in no function file: whoever translates the bot finds all that it says in one place."""
    elsewhere = []
    for file in SOURCES:
        place = file.relative_to(ROOT).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
        strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        for node in strings if place not in READ_CHINESE | LANGUAGES.keys() else ():
            if re.search("[\u4e00-\u9fff]", str(node.value)) and node.value not in docstrings:
                elsewhere.append(f"{place}:{node.lineno}: {node.value!r}")
    assert elsewhere == []


# --- a command, a kind of message, a cause ---


@pytest.mark.parametrize("place", ["README.md", "README.zh-CN.md", f"{REPLY}.py", *LANGUAGES])
def test_command_can_be_found(place: str) -> None:
    """In the table of the README, in the docstring of the function, in the help that the chat shows."""
    text = LANGUAGES[place].HELP if place in LANGUAGES else text_of(place).replace("\\\\", "\\")
    lacking = [f"\\{name} is not in {place}" for name in set(message.COMMANDS.values()) if f"\\{name}" not in text]
    assert sorted(lacking) == []


@pytest.mark.parametrize("place", ["README.md", "README.zh-CN.md"])
def test_chinese_word_of_a_command_can_be_found(place: str) -> None:
    """Whoever does not like signs writes the word."""
    assert [f"{word} is not in {place}" for word in message.COMMANDS if f"`{word}`" not in text_of(place)] == []


@pytest.mark.parametrize("place", LANGUAGES)
def test_kind_of_message_without_words_has_its_sentence(place: str) -> None:
    """What it is, and what to send instead."""
    kinds = {noun for _, noun in message.NOUNS} | {"消息", "引用"}
    assert compared(kinds, LANGUAGES[place].UNREADABLE, f"UNREADABLE of {place}") == []


def test_kind_of_message_has_a_test() -> None:
    """At least one message of this kind that came from somewhere."""
    place = "tests/bot/dingtalk/test_message.py"
    tested = text_of(place) + text_of("tests/functions/test_messages.py")
    assert [f"{noun} is not in {place}" for _, noun in message.NOUNS if noun not in tested] == []


@pytest.mark.parametrize("place", LANGUAGES)
def test_cause_has_its_sentence(place: str) -> None:
    """Of ChatGPT, of DingTalk's API and of OSS: who can do what about it."""
    said = LANGUAGES[place]
    rows = words.rows(causes.CODES) + words.rows(causes.TABLE)
    found = {*(cause for cause, _ in rows), *causes.STATUSES.values()}
    assert [f"{cause} is not in FAILURES of {place}" for cause in sorted(found - said.FAILURES.keys())] == []
    found = {cause for cause, _ in words.rows(api.API_CAUSES)}
    assert [f"{cause} is not in NOT_SEEN of {place}" for cause in sorted(found - said.NOT_SEEN.keys())] == []
    assert compared((cause for cause, _ in bucket.CAUSES), said.OSS_HINTS, f"OSS_HINTS of {place}") == []
