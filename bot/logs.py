"""What may be logged, and what must not be."""

import logging
import re
import traceback
from collections.abc import Iterable

log = logging.getLogger("bot")  # its level is set, not that of the root logger, which is where libraries log

LIBRARIES = ("oss2", "openai", "httpx2", "httpcore2", "urllib3")  # they log tokens, addresses and questions


def set_up_logs(level: int) -> None:
    """Our own log has the level of VERBOSE; those of the libraries are switched off."""
    log.setLevel(level)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def plain_words(value: object, length: int = 64) -> str:
    """The first words of what a service says, fit for the log: one line, without addresses and signs of control."""
    text = str(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__
    text = re.sub(r"[\w.+-]{1,20}://\S*", "…", text[: 10 * length])
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:length]


def trace(error: BaseException) -> str:
    """What kind of error and where, on one line; not its message, which may quote a key, an address or a question."""
    frames: Iterable[traceback.FrameSummary] = reversed(traceback.extract_tb(error.__traceback__))
    return f"{type(error).__name__} at " + " < ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
