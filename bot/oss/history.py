"""The history of a conversation, as the model sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.deadline import now_ms
from bot.values import digest, percent_encoded

if TYPE_CHECKING:
    from bot.dingtalk.message import Message


def since_pause(turns: list[dict[str, Any]], pause_ms: int) -> list[dict[str, Any]]:
    """The turns after the last pause of this length, all if there was none; a turn without a time makes no pause."""
    at_ms = now_ms()
    for number in reversed(range(len(turns))):
        before_ms = turns[number].get("at", at_ms)
        if at_ms - before_ms >= pause_ms:
            return turns[number + 1 :]
        at_ms = before_ms
    return turns


def journal_key(message: Message, scope: str) -> str:
    """The name of the journal object: of this person in this conversation, or of all in it, or of the person anywhere.

    'cid7+Q==', '../x' -> 'chat-history/cid7%2BQ%3D%3D/%2E%2E%2Fx.jsonl': no id can leave its place, nor be an @ name
    """
    person = percent_encoded(message.person) if message.person else f"@nobody-{digest(message.id)}"
    if scope == "person":  # staff ids are unique in an organisation only
        return f"chat-history/@person-{percent_encoded(message.corp_id)}/{person}.jsonl"
    shared = scope == "group" and message.in_group
    return f"chat-history/{percent_encoded(message.conversation_id)}/{'@group' if shared else person}.jsonl"
