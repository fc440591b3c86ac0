"""The commands."""

from __future__ import annotations

from bot import VERSION, sentences
from bot.oss.commit import Reply, not_cleared
from bot.oss.journal import Journal
from bot.settings import ReplySettings


def clear(journal: Journal) -> Reply:
    """A new epoch: what was said before is not shown to the model any more, and its words are deleted."""
    if journal.problem and not journal.denied:  # where it is denied, there may be none, and the commit shows that
        return not_cleared(journal.problem)
    return Reply("cleared", sentences.CLEARED, clear=True)


def status(journal: Journal, settings: ReplySettings) -> Reply:
    """What a person may want to know of the bot."""
    words = sentences.STATUS.format(
        model=settings.chatgpt_model,
        turns=len(journal.turns),
        most=settings.history_length,
        pictures=sentences.PICTURES_ON if settings.dingtalk_app_key else sentences.PICTURES_OFF,
        version=VERSION,
    )
    return Reply("status", words)
