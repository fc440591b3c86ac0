"""The JSON in the body of an answer, however it is framed."""

from __future__ import annotations

import itertools
import json
from typing import Any

from bot.values import first_object

END_OF_EVENTS = "[DONE]"


def frames_in(content: bytes) -> list[str]:
    """The texts that a body is made of: itself, or the data of its events; [] if there is nothing in it.

    Services send events although none were asked for: chunks, or whole answers, or an answer and '[DONE]' behind it.
    https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
    """
    text = content.decode("utf-8-sig", "replace").strip()
    lines = [line.strip() for line in text.split("\n")]
    if not any(line.startswith(("data:", ":")) or line == END_OF_EVENTS for line in lines):
        return [text] if text else []
    frames = [[""]]
    for line in lines:
        if line.startswith("data:") or line == END_OF_EVENTS:
            frames.append([line.removeprefix("data:").strip()])
        elif not line.startswith((":", "event:", "id:", "retry:")):
            frames[-1].append(line)
    found = ("\n".join(filter(None, frame)) for frame in frames)
    return [frame for frame in found if frame and frame != END_OF_EVENTS]


def values_in(frames: list[str]) -> list[Any]:
    """The JSON values of those frames that are JSON."""
    values = []
    for frame in frames:
        try:
            values.append(json.loads(frame))
        except (ValueError, RecursionError):
            pass  # broken, or words
    return values


def completion_in(values: list[Any]) -> dict[str, Any]:
    """One completion: the last whole one, or what its chunks are together; {} if there is none."""
    whole: dict[str, Any] = {}
    parts: dict[str, list[Any]] = {}
    reason = None
    for event in map(first_object, values):
        event = event["response"] if isinstance(event.get("response"), dict) else event  # an event of the Responses API
        whole.update({name: value for name, value in event.items() if value is not None})
        choice = first_object(event.get("choices"))
        if isinstance(choice.get("delta"), dict):
            reason = choice.get("finish_reason") or reason
            for name, value in choice["delta"].items():
                parts.setdefault(name, []).append(value)
    if parts:
        whole["choices"] = [{"message": {name: joined(parts[name]) for name in parts}, "finish_reason": reason}]
    return whole


def joined(parts: list[Any]) -> Any:
    """Texts one behind the other, lists likewise; of other values the last one."""
    known = [part for part in parts if part is not None]
    if known and all(isinstance(part, str) for part in known):
        return "".join(known)
    lists = [part for part in known if isinstance(part, list)]
    return list(itertools.chain.from_iterable(lists)) if lists else known[-1] if known else None
