"""The commands."""

from __future__ import annotations

from types import SimpleNamespace

from bot import VERSION
from bot.deadline import LOAD_SHARE, Run, call_until
from bot.oss.bucket import OSS_ERRORS, oss_problem
from bot.oss.journal import Journal
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
        return "not cleared", f"没能忘掉之前的对话：{oss_problem(error)}。"
    journal.forgotten = [*journal.forgotten, *map(digest, journal.delivered_ids())][-FORGOTTEN:]
    journal.lines, journal.length, journal.separator, journal.problem = [], 0, b"", None
    return "cleared", "好的，之前的对话我都忘掉了。"


def status(journal: Journal, settings: SimpleNamespace) -> str:
    """What a person may want to know of the bot."""
    memory = f"记住的对话：{len(journal.turns)} 轮（最多 {settings.history_length} 轮）"
    pictures = "能看" if settings.dingtalk_app_key else "看不了（没有设置 DINGTALK_APP_KEY）"
    return f"模型：{settings.chatgpt_model}\n{memory}\n图片和文本文件：{pictures}\n版本：{VERSION}"
