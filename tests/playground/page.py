"""The page of the playground and what its script asks for, on 127.0.0.1."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bot import sentences, settings
from bot.readers import SECRET
from tests.playground import way
from tests.playground.chat import GROUP, MAX_FILE_BYTES, PEOPLE, SWITCHES, Chat, Refused, Sent, picture_type
from tests.stand_ins.local_cloud import CONVERSATION, REPLY
from tests.stand_ins.server import Answer, Received, Service, json_answer

MAX_BUBBLES = 200  # that the page shows
MAX_WAYS = 30  # messages whose way the page can show
MAX_LOG_LINES = 300
MAX_OBJECT_BYTES = 64 * 1024
MAX_REQUEST_BYTES = 256 * 1024 + MAX_FILE_BYTES * 3 // 2  # a file comes in Base64, which is 4/3 of it
# They lead to the stand-ins
STAND_IN_SETTINGS = ("ENDPOINT", "OSS_ENDPOINT", "OSS_BUCKET_NAME", "DINGTALK_API", "WEBHOOK_HOSTS")
STATIC = Path(__file__).with_name("static")
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
STEP_PATH = re.compile(r"/api/step/(\d+)/(\d+)", re.ASCII)
# The only files that the page can get, by their path
FILES = {f"/{path.name}": path for path in STATIC.iterdir() if path.suffix in MEDIA_TYPES}
POLICY = (  # nothing from another host, and no script but ours, whatever an answer of ChatGPT contains
    ("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; object-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)


class Page(Service):
    """The page while its `with` block lasts; OSError on entering it if the port is busy, 0 is a free one."""

    def __init__(self, chat: Chat, port: int = 0) -> None:
        super().__init__(port)
        self.chat = chat
        self._shows: dict[str, Callable[[dict[str, str]], Answer]] = {
            "/api/state": self._state,
            "/api/object": self._object,
            "/api/picture": self._picture,
            "/api/media": self._media,
            "/api/settings": self._settings,
        }
        self._does: dict[str, Callable[[dict[str, Any]], object]] = {
            "/api/send": self._send,
            "/api/again": self._again,
            "/api/switch": self._switch,
            "/api/start_over": self._start_over,
            "/api/set": self._set,
            "/api/check": self._check,
        }

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        return super().url + "/"

    def respond(self, received: Received) -> Answer:
        try:
            answer = self._answer(received)
        except Refused as refused:
            answer = json_answer({"problem": str(refused)}, 400)
        return answer._replace(headers=(*answer.headers, *POLICY))

    def _answer(self, received: Received) -> Answer:
        if not is_of_this_page(received):
            return Answer(403, (), b"Only the page itself may ask.")
        if len(received.body) > MAX_REQUEST_BYTES:
            return Answer(413)
        if received.method == "POST":
            if received.path not in self._does:
                return Answer(404)
            return json_answer(self._does[received.path](json_object(received.body)) or {})
        step = STEP_PATH.fullmatch(received.path)
        if step:
            return self._step(int(step[1]), int(step[2]))
        if received.path in self._shows:
            return self._shows[received.path](received.query)
        file = FILES.get("/index.html" if received.path == "/" else received.path)
        if file is None:
            return Answer(404)
        return Answer(200, (("Content-Type", MEDIA_TYPES[file.suffix]),), file.read_bytes())

    # -- what the page shows ------------------------------------------------------------------------------

    def _state(self, query: dict[str, str]) -> Answer:
        """Everything that changes by itself; 204 if it is still what the page has seen."""
        chat, function_compute, oss = self.chat, self.chat.cloud.function_compute, self.chat.cloud.oss
        sent, keys = chat.sent[-MAX_WAYS:], oss.keys()
        log = [
            {"function": name, "line": line}
            for name in (CONVERSATION, REPLY)
            for line in log_lines(function_compute.logs(name))
        ]
        state = {
            "people": list(PEOPLE),
            "group": GROUP,
            "real_model": chat.real_model,
            "switches": [name for name in SWITCHES if name in chat.switches],
            "bubbles": chat.bubbles()[-MAX_BUBBLES:],
            "messages": [self._message(each) for each in sent],
            "objects": [{"key": key, "size": len(oss.read(key) or b"")} for key in keys],
            "log": [
                {**entry, "line": way.local_times(entry["line"])}
                for entry in sorted(log, key=lambda entry: entry["line"][:24])[-MAX_LOG_LINES:]
            ],
        }
        body = json.dumps(state, ensure_ascii=False)
        version = hashlib.sha256(body.encode()).hexdigest()[:16]
        if query.get("seen") == version:
            return Answer(204)
        return json_answer({"version": version, "state": state})

    def _message(self, sent: Sent) -> dict[str, Any]:
        """What the page shows of a message beside its bubbles."""
        busy = self.chat.busy(sent)  # before the steps: a step that begins meanwhile is not over
        steps = self._steps(sent)
        return {
            "number": sent.number,
            "place": sent.place,
            "owner": sent.person.nick,
            "text": sent.text,
            "kind": sent.kind,
            "thinking": self.chat.thinking(sent),
            "at": round(1000 * self.chat.time_of(sent.at)),
            "over": not busy and all(step.seconds is not None for step in steps),
            "steps": way.summary(steps),
        }

    def _steps(self, sent: Sent) -> list[way.Step]:
        return way.way(self.chat.cloud, sent.message, self.chat.real_model)

    def _step(self, number: int, index: int) -> Answer:
        """What a step of a message can be opened to."""
        steps = self._steps(self.chat.find(number))
        if index >= len(steps):
            raise Refused("没有这一步。There is no such step.")
        secrets = way.secrets_of(self.chat.cloud, {name for _, name, secret, *_ in all_settings() if secret})
        return json_answer(way.detail(steps[index], secrets))

    def _object(self, query: dict[str, str]) -> Answer:
        """The end of an object in OSS."""
        data = self.chat.cloud.oss.read(query.get("key", "")) or b""
        return json_answer({"size": len(data), "text": data[-MAX_OBJECT_BYTES:].decode(errors="replace")})

    def _picture(self, query: dict[str, str]) -> Answer:
        """The picture of a message."""
        number = query.get("number", "")
        picture = self.chat.find(int(number) if number.isdecimal() else 0).picture
        media_type = picture_type(picture)
        return Answer(200, (("Content-Type", media_type),), picture) if media_type else Answer(404)

    def _media(self, query: dict[str, str]) -> Answer:
        """A picture that the bot uploaded."""
        picture = self.chat.cloud.dingtalk.api.media.get(query.get("id", ""), b"")
        media_type = picture_type(picture)
        return Answer(200, (("Content-Type", media_type),), picture) if media_type else Answer(404)

    def _settings(self, query: dict[str, str]) -> Answer:
        """Every setting of both functions: what it means, what it is by default, and here; secrets without value."""
        rows: list[dict[str, Any]] = []
        for function, name, secret, default, meaning, choices in all_settings():
            value = self.chat.cloud.environment(function).get(name, "")
            same = next((row for row in rows if row["name"] == name and not secret), None)
            if same and same["value"] == value:
                same["functions"].append(function)
                continue
            row = {
                "functions": [function],
                "name": name,
                "choices": choices,
                "secret": secret,
                "set": bool(value),
                "value": "" if secret else value,
                "stand_in": name in STAND_IN_SETTINGS,
                "default": default,
                "meaning": {"zh": meaning, "en": sentences.en.SETTINGS[name]},
            }
            rows.append(row)
        return json_answer(rows)

    # -- what people do on the page -----------------------------------------------------------------------

    def _send(self, given: dict[str, Any]) -> list[int]:
        """One message, or with `times` several at the same instant; in a group they are from different people."""
        asked = texts_in(given, "person", "place", "kind", "text", "quotation", "attachment", "name", "language")
        attachment = base64_bytes(asked["attachment"])
        times, quoted = given.get("times", 1), given.get("quoted", 0)
        if not isinstance(times, int) or not 1 <= times <= 10 or not isinstance(quoted, int):
            raise Refused("一次最多十条。Ten at most.")
        people = list(PEOPLE)
        if times == 1 or asked["place"] != "group":
            people = [asked["person"]]
        numbers = []
        for n in range(times):
            text = asked["text"] if times == 1 else (asked["text"] + f" {n + 1}" if asked["text"] else f"{n + 1}+1=?")
            person = people[n % len(people)]
            sent = self.chat.send(
                person,
                asked["place"],
                asked["kind"],
                text,
                asked["quotation"],
                attachment,
                asked["name"],
                quoted,
                asked["language"] == "en",
            )
            numbers.append(sent.number)
        return numbers

    def _again(self, given: dict[str, Any]) -> None:
        """The same message once more."""
        number = given.get("number")
        self.chat.deliver_again(self.chat.find(number if isinstance(number, int) else 0))

    def _switch(self, given: dict[str, Any]) -> None:
        self.chat.switch(list(given.get("names", [])))

    def _start_over(self, given: dict[str, Any]) -> None:
        self.chat.start_over()

    def _set(self, given: dict[str, Any]) -> None:
        """New environment variables; null takes one back to what it was when the playground started."""
        known = {(function, name) for function, name, *_ in all_settings()}
        for function, variables in given.items():
            for name, value in variables.items():
                if (function, name) not in known or not (value is None or isinstance(value, str)):
                    raise Refused("没有这样的设置。There is no such setting.")
        self.chat.set_environment(given)

    def _check(self, given: dict[str, Any]) -> object:
        """What the self-check of each function says, and which of it is about which setting."""
        reports = self.chat.self_check()
        return [
            {"function": function, "report": text, "problems": problems_in(text, settings_of(function))}
            for function, text in reports.items()
        ]


def is_of_this_page(received: Received) -> bool:
    """Other pages in the same browser are refused: they could send this machine's key to an address of theirs."""
    host = received.headers.get("Host", "").rpartition(":")[0]
    return host in ("127.0.0.1", "localhost") and (
        received.method != "POST" or received.media_type == "application/json"
    )


def json_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Refused("请求有误。The request makes no sense.")
    return content


def texts_in(given: dict[str, Any], *names: str) -> dict[str, str]:
    """The texts with these names; a missing one is ''."""
    asked = {name: given.get(name, "") for name in names}
    if not all(isinstance(text, str) for text in asked.values()):
        raise Refused("请求有误。The request makes no sense.")
    return asked


def base64_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refused("请求有误。The request makes no sense.") from error


def log_lines(log: str) -> list[str]:
    """The entries of a log; lines without a time, as in a stack trace, go with the line before."""
    return [entry for entry in re.split(r"\n(?=\d{4}-\d\d-\d\dT)", way.once_per_line(log).strip()) if entry]


def settings_of(function: str) -> list[str]:
    return [name for owner, name, *_ in all_settings() if owner == function]


def problems_in(report: str, names: list[str]) -> dict[str, str]:
    """Name of a setting -> what a self-check says is wrong with it.

    'settings: A 没有设置（…）；B 格式不对（…）' -> {'A': 'A 没有设置（…）', 'B': 'B 格式不对（…）'}
    """
    problems: dict[str, str] = {}
    either = "|".join(sorted(names, key=len, reverse=True))
    for line in report.splitlines():
        finding = re.sub(r"^[\w -]+: |^ *- ", "", line).strip()
        if finding == "ok":
            continue
        for sentence in re.split(rf"(?:；|; )(?=(?:{either})\b)", finding):
            for name in re.findall(rf"^(?:{either})\b", sentence) or re.findall(rf"\b(?:{either})\b", sentence):
                problems.setdefault(name, sentence)
    return problems


@functools.cache
def all_settings() -> list[tuple[str, str, bool, str, str, list[str]]]:
    """Function, name, whether it is a secret, default as text ('' if there is none), meaning, and what it can be.

    The last is [] unless it is one of a few words.
    """
    found = []
    for function in (CONVERSATION, REPLY):
        kind: Any = settings.ConversationSettings if function == CONVERSATION else settings.ReplySettings
        for name, check, default in settings.variables(kind):
            shown = "" if default in (settings.REQUIRED, None, ()) else default
            shown = ",".join(shown) if isinstance(shown, tuple) else str(shown)
            shown = "INFO" if name == "VERBOSE" else shown
            choices = check.split("|") if isinstance(check, str) and re.fullmatch(r"\w+(\|\w+)+", check) else []
            found.append((function, name, check == SECRET, shown, sentences.zh.SETTINGS[name], choices))
    return found
