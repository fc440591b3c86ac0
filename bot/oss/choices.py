"""What a conversation has chosen for itself: one of the models, and a role. Its words are nobody's log.

    chat-settings/<conversation>/<person>.json    {"model": "...", "prompt": "..."}

The journal tells whether there is such an object, so a conversation without choices costs no request.
"""

import json
from typing import NamedTuple

from bot.oss.bucket import OssFailure, call_oss, read_range
from bot.oss.journal import Journal
from bot.values import first_text, read_json

MOST_BYTES = 64 * 1024  # a role has at most 2,000 characters


class Choices(NamedTuple):
    """Empty: nothing is chosen."""

    model: str = ""
    prompt: str = ""


def key_of(journal: Journal) -> str:
    """The name of the object."""
    return f"chat-settings/{journal.place}.json"


def read_choices(journal: Journal, deadline: float) -> Choices:
    """What the conversation has chosen; or OssFailure."""
    if not journal.settings:
        return Choices()
    try:
        data, _ = call_oss(deadline, read_range, journal.bucket, key_of(journal), (0, MOST_BYTES - 1), MOST_BYTES)
    except OssFailure as failure:
        if failure.missing:
            return Choices()
        raise
    chosen = read_json(data)
    if not isinstance(chosen, dict):
        return Choices()  # somebody edited it
    return Choices(first_text(chosen, "model"), first_text(chosen, "prompt"))


def write_choices(journal: Journal, choices: Choices, deadline: float) -> None:
    """Keep them; or OssFailure. Written before the reply is committed, so that the journal never promises too much."""
    data = json.dumps(choices._asdict(), ensure_ascii=False).encode()
    call_oss(deadline, journal.bucket.put_object, key_of(journal), data)
