"""All four stand-ins together with the two functions deployed: what the playground and the tests chat with."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any
from urllib.parse import quote

from .dingtalk import Dingtalk, Message
from .function_compute import Function, FunctionCompute
from .openai_api import OpenaiApi
from .oss import Oss

ROOT = Path(__file__).resolve().parents[2]
CONVERSATION, REPLY = "Dingtalk_Conversation", "Dingtalk_ChatGPT_Reply"


def load(path: Path) -> ModuleType:
    """The function file as FC loads it: by path, fresh, with rooms of its own, which are in `rooms` by their names.

    A name that the file does not have is that of one of its rooms.
    """
    others = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "bot"}
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        rooms = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "bot"}
    finally:
        sys.modules.update(others)

    def in_a_room(name: str) -> Any:
        for room in rooms.values():
            if name in vars(room):
                return vars(room)[name]
        raise AttributeError(name)

    vars(module).update(rooms=rooms, __getattr__=in_a_room)
    return module


class LocalCloud:
    """DingTalk, Function Compute with both functions, OSS and the OpenAI API on 127.0.0.1 while its `with` block lasts.

    `conversation` and `reply` are environment variables beyond those that lead to the stand-ins; an empty text unsets
    one of these. They can be changed in `given`, by the function's name, before `deploy`. There are at most
    `max_instances` instances of each function; of Dingtalk_Conversation `max_conversations`, if that is given.
    `generation` and `runtime` are those of Function Compute, `python` is the interpreter that plays the runtime: see
    Function.
    """

    def __init__(
        self,
        conversation: Mapping[str, str] | None = None,
        reply: Mapping[str, str] | None = None,
        root_log_level: str = "INFO",
        max_instances: int = 2,
        max_conversations: int | None = None,
        generation: int = 2,
        runtime: str = "python3.10",
        python: str = sys.executable,
    ) -> None:
        self.dingtalk = Dingtalk()
        self.openai_api = OpenaiApi()
        self.oss = Oss()
        self.function_compute = FunctionCompute(root_log_level=root_log_level)
        self.given = {CONVERSATION: dict(conversation or {}), REPLY: dict(reply or {})}
        self._max_instances = {CONVERSATION: max_conversations or max_instances, REPLY: max_instances}
        self.generation = generation
        self._runtime, self._python = runtime, python
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> LocalCloud:
        for stand_in in (self.dingtalk, self.openai_api, self.oss, self.function_compute):
            self._stack.enter_context(stand_in)
        self.deploy()
        self.dingtalk.bot_url = self.function_compute.trigger_url(CONVERSATION)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def environment(self, name: str) -> dict[str, str]:
        """The environment variables of a function."""
        local = {
            CONVERSATION: {"DINGTALK_APP_SECRET": self.dingtalk.app_secret, "ENDPOINT": self.function_compute.url},
            REPLY: {
                "CHATGPT_API_KEY": "sk-example",
                "CHATGPT_BASE_URL": self.openai_api.url,
                "OSS_BUCKET_NAME": "example-bucket",
                "OSS_ENDPOINT": self.oss.url,
                "WEBHOOK_HOSTS": "127.0.0.1",
                "DINGTALK_API": self.dingtalk.url,
            },
        }
        return {**local[name], **self.given[name]}

    def application(self) -> dict[str, str]:
        """The environment variables with which Dingtalk_ChatGPT_Reply looks at pictures and files."""
        return {"DINGTALK_APP_KEY": self.dingtalk.api.app_key, "DINGTALK_APP_SECRET": self.dingtalk.app_secret}

    def function(self, name: str) -> Function:
        """A function as it is deployed."""
        return Function(
            ROOT / f"{name}.py",
            self.environment(name),
            http=name == CONVERSATION,
            timeout=10 if name == CONVERSATION else 120,
            max_instances=self._max_instances[name],
            generation=self.generation,
            runtime=self._runtime,
            python=self._python,
        )

    def deploy(self, **changes: Any) -> None:
        """Both functions anew; `changes` are fields of Function, for both."""
        for name in (CONVERSATION, REPLY):
            self.function_compute.deploy(name, replace(self.function(name), **changes))

    def redeploy(self, name: str, **environment: str) -> None:
        """One function anew, with these variables as well. The other one stays warm."""
        function = self.function(name)
        self.function_compute.deploy(name, replace(function, environment={**function.environment, **environment}))

    def reset(self) -> None:
        """Forget what happened and every planned fault; the functions stay deployed and warm."""
        for stand_in in (self.function_compute, self.dingtalk, self.openai_api, self.oss):
            stand_in.reset()

    def invoke(self, name: str, event: bytes) -> dict[str, Any]:
        """What the console's test button shows: the JSON that the event function returns."""
        return dict(json.loads(self.function_compute.test(name, event)))

    def journal(self, message: Message) -> list[dict[str, Any]]:
        """The lines of the journal object for this message, [] if there is none, each with the words that it points to.

        These are the fields `question`, only of a turn, and `answer`; a line whose words are gone has none of them.
        """
        person = message["senderStaffId"] or message["senderId"]
        place = "/".join(quote(part, safe="").replace(".", "%2E") for part in (message["conversationId"], person))
        data = self.oss.read(f"chat-journal/{place}.jsonl") or b""
        return [self._with_words(place, json.loads(line)) for line in data.splitlines()]

    def _with_words(self, place: str, line: dict[str, Any]) -> dict[str, Any]:
        if "say" in line:
            return {**line, "answer": line["say"]}
        if "words" not in line:
            return line
        epoch, offset, length = line["words"]
        piece = (self.oss.read(f"chat-history/{place}/{epoch}.jsonl") or b"")[offset : offset + length]
        try:
            words = json.loads(piece)
        except ValueError:  # \\clear deleted the object, and a run that was under way began it anew
            return line
        if not isinstance(words, dict) or words.get("msgId") != line["msgId"]:
            return line
        return {**line, **{name: words[name] for name in ("question", "answer") if name in words}}
