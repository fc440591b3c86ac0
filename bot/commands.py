"""The commands."""

from __future__ import annotations

from bot import VERSION, sentences
from bot.deadline import LOAD_SHARE, Run, call_until
from bot.oss.bucket import OSS_ERRORS, oss_problem
from bot.oss.journal import Journal
from bot.settings import ReplySettings
from bot.values import digest

FORGOTTEN = 200  # messages that are still recognised after \\clear: DingTalk repeats one within minutes


def clear(journal: Journal, run: Run) -> tuple[str, str]:
    """Delete the journal object; the reply to this message becomes the first line of the next. As compose.

    Of the messages that were answered the digests stay, so that one that DingTalk repeats is not answered again.
    """
    try:
        deadline = run.share(LOAD_SHARE)
        call_until(deadline, lambda: journal.bucket.delete_object(journal.key))
    except OSS_ERRORS as error:
        return "not cleared", sentences.NOT_CLEARED.format(problem=oss_problem(error))
    journal.forgotten = [*journal.forgotten, *map(digest, journal.delivered_ids())][-FORGOTTEN:]
    journal.lines, journal.length, journal.separator, journal.problem = [], 0, b"", None
    return "cleared", sentences.CLEARED


def status(journal: Journal, settings: ReplySettings) -> str:
    """What a person may want to know of the bot."""
    return sentences.STATUS.format(
        model=settings.chatgpt_model,
        turns=len(journal.turns),
        most=settings.history_length,
        pictures=sentences.PICTURES_ON if settings.dingtalk_app_key else sentences.PICTURES_OFF,
        version=VERSION,
    )
