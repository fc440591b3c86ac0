"""The page of the playground and what its script asks for, on 127.0.0.1."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import threading
from types import TracebackType
from typing import Any

from flask import Flask, Response, jsonify, request
from typing_extensions import Self
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, load

from . import way
from .chat import GROUP, PEOPLE, SWITCHES, Chat, Refused, Sent

MAX_BUBBLES = 200  # that the page shows
MAX_WAYS = 30  # messages whose way the page can show
MAX_LOG_LINES = 300
MAX_OBJECT_BYTES = 64 * 1024
MAX_REQUEST_BYTES = 256 * 1024
STAND_IN_SETTINGS = ("ENDPOINT", "OSS_ENDPOINT", "OSS_BUCKET_NAME", "WEBHOOK_HOSTS")  # they lead to the stand-ins


class Page:
    """The page while its `with` block lasts; OSError if the port is busy, 0 is a free one."""

    def __init__(self, chat: Chat, port: int = 0) -> None:
        self.chat = chat
        self.app = Flask(__name__, static_url_path="")
        self.app.json.sort_keys = False  # type: ignore[attr-defined]
        self.app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
        self.app.before_request(self._only_this_page)
        self.app.after_request(with_policy)
        self.app.register_error_handler(Refused, lambda refused: ({"problem": str(refused)}, 400))
        self.app.add_url_rule("/", view_func=lambda: self.app.send_static_file("index.html"))
        self.app.add_url_rule("/api/state", view_func=self._state)
        self.app.add_url_rule("/api/step/<int:number>/<int:index>", view_func=self._step)
        self.app.add_url_rule("/api/object", view_func=self._object)
        self.app.add_url_rule("/api/settings", view_func=self._settings)
        for name in ("send", "again", "switch", "start_over", "set", "check"):
            view = getattr(self, f"_{name}")
            self.app.add_url_rule(f"/api/{name}", endpoint=name, view_func=view, methods=["POST"])
        self._server = serve(self.app, port)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def _only_this_page(self) -> Response | None:
        """Refuse other pages in the same browser: they could send this machine's key to an address of theirs."""
        host = request.host.rpartition(":")[0]
        if host not in ("127.0.0.1", "localhost") or (request.method == "POST" and not request.is_json):
            return Response("Only the page itself may ask.", 403)
        return None

    # -- what the page shows ------------------------------------------------------------------------------

    def _state(self) -> Response:
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
            "messages": [
                {
                    "number": each.number,
                    "place": each.place,
                    "owner": each.person.nick,
                    "text": each.text,
                    "kind": each.kind,
                    "typing": chat.typing(each),
                    "steps": way.summary(self._steps(each)),
                }
                for each in sent
            ],
            "objects": [{"key": key, "size": len(oss.read(key) or b"")} for key in keys],
            "log": sorted(log, key=lambda entry: entry["line"][:24])[-MAX_LOG_LINES:],
        }
        body = json.dumps(state, ensure_ascii=False)
        version = hashlib.sha256(body.encode()).hexdigest()[:16]
        if request.args.get("seen") == version:
            return Response(status=204)
        return Response(f'{{"version": "{version}", "state": {body}}}', content_type="application/json")

    def _steps(self, sent: Sent) -> list[way.Step]:
        return way.way(self.chat.cloud, sent.message, self.chat.real_model)

    def _step(self, number: int, index: int) -> Response:
        """What a step of a message can be opened to."""
        steps = self._steps(self.chat.find(number))
        if index >= len(steps):
            raise Refused("没有这一步。There is no such step.")
        secrets = way.secrets_of(self.chat.cloud, {name for _, name, secret, *_ in all_settings() if secret})
        return jsonify(way.detail(steps[index], secrets))

    def _object(self) -> Response:
        """The end of an object in OSS."""
        data = self.chat.cloud.oss.read(request.args.get("key", "")) or b""
        return jsonify({"size": len(data), "text": data[-MAX_OBJECT_BYTES:].decode(errors="replace")})

    def _settings(self) -> Response:
        """Every setting of both functions: what it means, what it is by default, and here; secrets without value."""
        rows = []
        english = readme_meanings()
        for function, name, secret, default, meaning in all_settings():
            value = self.chat.cloud.environment(function).get(name, "")
            row = {
                "function": function,
                "name": name,
                "secret": secret,
                "set": bool(value),
                "value": "" if secret else value,
                "stand_in": name in STAND_IN_SETTINGS,
                "default": default,
                "meaning": {"zh": meaning, "en": english.get(name, "")},
            }
            rows.append(row)
        return jsonify(rows)

    # -- what people do on the page -----------------------------------------------------------------------

    def _send(self) -> Response:
        """One message, or with `times` several at the same instant; in a group they are from different people."""
        asked = read_texts("person", "place", "kind", "text", "quotation")
        times = request.get_json().get("times", 1)
        if not isinstance(times, int) or not 1 <= times <= 10:
            raise Refused("一次最多十条。Ten at most.")
        people = list(PEOPLE)
        if times == 1 or asked["place"] != "group":
            people = [asked["person"]]
        numbers = []
        for n in range(times):
            text = asked["text"] if times == 1 else (asked["text"] + f" {n + 1}" if asked["text"] else f"{n + 1}+1=?")
            person = people[n % len(people)]
            sent = self.chat.send(person, asked["place"], asked["kind"], text, asked["quotation"])
            numbers.append(sent.number)
        return jsonify(numbers)

    def _again(self) -> Response:
        """The same message once more."""
        self.chat.deliver(self.chat.find(int(request.get_json().get("number", 0))))
        return jsonify({})

    def _switch(self) -> Response:
        self.chat.switch(list(request.get_json().get("names", [])))
        return jsonify({})

    def _start_over(self) -> Response:
        self.chat.start_over()
        return jsonify({})

    def _set(self) -> Response:
        """New environment variables; null takes one back to what it was when the playground started."""
        known = {(function, name) for function, name, *_ in all_settings()}
        changes = request.get_json()
        for function, variables in changes.items():
            for name, value in variables.items():
                if (function, name) not in known or not (value is None or isinstance(value, str)):
                    raise Refused("没有这样的设置。There is no such setting.")
        self.chat.set_environment(changes)
        return jsonify({})

    def _check(self) -> Response:
        return jsonify(self.chat.self_check())


class QuietHandler(WSGIRequestHandler):
    """Prints no line for every request: the page asks several times a second."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


def serve(app: Flask, port: int) -> BaseWSGIServer:
    """A server for the page; OSError if the port is busy."""
    try:
        return make_server("127.0.0.1", port, app, threaded=True, request_handler=QuietHandler)
    except SystemExit as error:  # werkzeug ends the program where a port is busy
        raise OSError(f"port {port} is in use") from error


def with_policy(response: Response) -> Response:
    """Nothing from another host, and no script but ours, whatever an answer of ChatGPT contains."""
    response.headers["Content-Security-Policy"] = "default-src 'self'; img-src 'self' data:; object-src 'none'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


def read_texts(*names: str) -> dict[str, str]:
    """The texts with these names in the request; a missing one is ''."""
    asked = {name: request.get_json().get(name, "") for name in names}
    if not all(isinstance(text, str) for text in asked.values()):
        raise Refused("请求有误。The request makes no sense.")
    return asked


def log_lines(log: str) -> list[str]:
    """The entries of a log; lines without a time, as in a stack trace, go with the line before."""
    return [entry for entry in re.split(r"\n(?=\d{4}-\d\d-\d\dT)", log.strip()) if entry]


@functools.cache
def all_settings() -> list[tuple[str, str, bool, str, str]]:
    """Function, name, whether it is a secret, default as text ('' if there is none) and meaning of every setting."""
    settings = []
    for function in (CONVERSATION, REPLY):
        module = load(ROOT / f"{function}.py")
        for name, check, default, meaning in module.SETTINGS:
            shown = "" if default in (module.REQUIRED, None, ()) else default
            shown = ",".join(shown) if isinstance(shown, tuple) else str(shown)
            settings.append((function, name, check == module.SECRET, "INFO" if name == "VERBOSE" else shown, meaning))
    return settings


@functools.cache
def readme_meanings() -> dict[str, str]:
    """Name -> English meaning, from the table in README.md."""
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \|.*\| (.*?) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    return {name: meaning.replace("`", "") for names, meaning in rows for name in re.findall(r"[A-Z_]+", names)}
