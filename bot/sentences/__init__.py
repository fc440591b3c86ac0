"""Every sentence that a person can see, in the language that is spoken: `sentences.HELP` is that of zh.py or of en.py.

The language is that of the environment, so of the instance, and never of a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.sentences import en, zh

LANGUAGES = {"zh": zh, "en": en}
_spoken = zh


def speak(language: str) -> None:
    """Let all sentences be in this language from now on, in Chinese if it is none of LANGUAGES."""
    global _spoken
    _spoken = LANGUAGES.get(language, zh)


if TYPE_CHECKING:  # so that a misspelt name is found before anybody sees it
    from bot.sentences.zh import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        return getattr(_spoken, name)
