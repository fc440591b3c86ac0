"""The settings of both functions, typed: a field is an environment variable, its name in capital letters."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

from bot import readers, sentences
from bot.readers import SECRET
from bot.values import BLANKS

REQUIRED = object()


def setting(check: Any, default: Any = REQUIRED) -> Any:
    """A field whose value `check` reads, see read_value; without a default it is required."""
    value = None if default is REQUIRED else default
    return dataclasses.field(default_factory=lambda: value, metadata={"check": check, "default": default})


FC_NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,127}"  # aliyun-fc2 puts names into the path as they are


@dataclasses.dataclass(frozen=True, repr=False)  # no secret is ever printed
class ConversationSettings:
    """Of Dingtalk_Conversation."""

    dingtalk_app_secret: str = setting(SECRET)
    chatgpt_function: str = setting(FC_NAME, "Dingtalk_ChatGPT_Reply")
    service_name: str | None = setting(FC_NAME, None)
    endpoint: str | None = setting(readers.read_endpoint, None)
    language: str = setting("zh|en", "zh")
    verbose: int = setting(readers.read_level, logging.INFO)


@dataclasses.dataclass(frozen=True, repr=False)  # no secret is ever printed
class ReplySettings:
    """Of Dingtalk_ChatGPT_Reply."""

    chatgpt_api_key: str = setting(SECRET)
    oss_bucket_name: str = setting(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
    oss_endpoint: str | None = setting(readers.read_endpoint, None)
    oss_region: str | None = setting(readers.read_region, None)
    access_key_id: str | None = setting(SECRET, None)
    access_key_secret: str | None = setting(SECRET, None)
    chatgpt_model: tuple[str, ...] = setting(readers.read_models, ("gpt-6-luna",))
    chatgpt_base_url: str = setting(readers.read_base_url, "https://api.openai.com")
    chatgpt_options: dict[str, Any] = setting(readers.read_options, {})
    system_prompt: str | None = setting(str, None)
    history_length: int = setting(range(1001), 10)
    history_minutes: int | None = setting(range(1, 1_000_001), None)
    history_scope: str = setting("user|group|person", "user")
    timeout: int = setting(range(1, 3601), 55)
    reply_format: str = setting("auto|text|markdown", "auto")
    allowed_users: tuple[str, ...] = setting(readers.read_ids, ())
    allowed_groups: tuple[str, ...] = setting(readers.read_ids, ())
    daily_limit: int | None = setting(range(1, 10_001), None)  # what USAGE_BYTES can hold
    dingtalk_app_key: str | None = setting(SECRET, None)
    dingtalk_app_secret: str | None = setting(SECRET, None)
    dingtalk_api: str = setting(readers.read_dingtalk_api, "https://api.dingtalk.com")
    thinking: str = setting("off|on", "off")
    webhook_hosts: tuple[str, ...] = setting(readers.read_hosts, ("dingtalk.com",))
    language: str = setting("zh|en", "zh")
    verbose: int = setting(readers.read_level, logging.INFO)


Settings = TypeVar("Settings", ConversationSettings, ReplySettings)


class Variable(NamedTuple):
    """An environment variable, as the two classes above tell it."""

    name: str
    check: Any
    default: Any  # or REQUIRED


def variables(kind: type[Settings]) -> list[Variable]:
    """The environment variables of a function, in the order of the fields."""
    return [Variable(field.name.upper(), **field.metadata) for field in dataclasses.fields(kind)]


def read_settings(
    kind: type[Settings], environ: Mapping[str, str], language: str | None = None
) -> tuple[Settings, list[str]]:
    """The settings, and a sentence for each bad one: never its value. A bad one has its default, None if it has none.

    From here on all sentences are in this language, else in that of the setting LANGUAGE.
    """
    sentences.speak(language or environ.get("LANGUAGE", "").strip(BLANKS))
    values: dict[str, Any] = {}
    problems = []
    for name, check, default in variables(kind):
        text = environ.get(name, "").strip(BLANKS)
        meaning = sentences.SETTINGS[name]
        if text and not re.fullmatch(r"\$\{env\(.*\)\}", text):  # what `s deploy` writes for a variable not set there
            try:
                values[name.lower()] = readers.read_value(text, check, default is not REQUIRED)
            except readers.Malformed as slip:
                why = sentences.WHY.format(advice=slip) if str(slip) else ""
                problems.append(sentences.MALFORMED.format(name=name, why=why, meaning=meaning))
        elif default is REQUIRED:
            problems.append(sentences.MISSING.format(name=name, meaning=meaning))
    return kind(**values), problems


def conflicts(settings: ReplySettings) -> list[str]:
    """A sentence for each thing that no single setting shows."""
    key, secret = settings.dingtalk_app_key, settings.dingtalk_app_secret
    rows = (
        (bool(settings.access_key_id) != bool(settings.access_key_secret), sentences.HALF_A_KEY),
        (key and not secret, sentences.KEY_WITHOUT_SECRET),
        (settings.thinking == "on" and not key, sentences.THINKING_WITHOUT_KEY),
    )
    return [sentence for wrong, sentence in rows if wrong]


def role_credentials(context: Any, environ: Mapping[str, str]) -> Any:
    """The temporary credentials of the role, None without a role; from python3.12 on the context does not hold them."""
    names = ("access_key_id", "access_key_secret", "security_token")
    in_environment = SimpleNamespace(**{name: environ.get(f"ALIBABA_CLOUD_{name.upper()}") for name in names})
    several = (getattr(context, "credentials", None), in_environment)
    return next((each for each in several if each and each.access_key_id and each.access_key_secret), None)
