"""The lease: which run sends a reply."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bot.deadline import (
    AFTER_ASKING_SHARE,
    COMMIT_SHARE,
    LOAD_SHARE,
    MARK_SHARE,
    MIN_SEND_SECONDS,
    Run,
    epoch_ms,
    now_ms,
)
from bot.errors import NotDelivered, Taken
from bot.logs import log
from bot.oss.journal import LEASE_SECONDS, Journal, JournalFailure, append_line, load_journal

if TYPE_CHECKING:
    from bot.dingtalk.message import Message

CLOCKS_MS = 1000  # by which the clocks of two instances may differ
WAIT_SECONDS = 1  # between two looks at the lease of another run


def lease_until_ms(run: Run) -> int:
    """Until when this run has the lease if it takes or renews it now."""
    return min(now_ms() + 1000 * LEASE_SECONDS, epoch_ms(run.without(MARK_SHARE)))


def take_lease(message: Message, journal: Journal, run: Run) -> None:
    """Wait until no other run sends the reply on record, and take its lease.

    Taken if the other run delivers it meanwhile; NotDelivered if it is still sending when this run has to end.
    """
    while not journal.delivered:
        if journal.answer is not None and journal.until_ms + CLOCKS_MS < now_ms():
            line = {"msgId": message.id, "at": now_ms(), "run": run.id, "until": lease_until_ms(run)}
            try:
                append_line({**line, "sent": journal.sent}, journal, run.share(COMMIT_SHARE))
                return
            except JournalFailure as failure:
                raise NotDelivered(f"no lease: {failure}", journal.sent) from None
            except Taken:
                pass  # by another run that waited as well
        if time.monotonic() + WAIT_SECONDS > run.without(AFTER_ASKING_SHARE):
            raise NotDelivered("another run is still sending it", journal.sent)
        time.sleep(WAIT_SECONDS)
        journal.update(load_journal(journal.bucket, journal.key, message.id, 0, run.share(LOAD_SHARE)))
    raise Taken(message.id)


def keep_lease(message: Message, sent: int, journal: Journal, run: Run) -> float:
    """The seconds that this run may go on sending, its lease renewed if necessary; NotDelivered if time is up."""
    until_ms = lease_until_ms(run)
    if journal.until_ms - now_ms() < 500 * LEASE_SECONDS and journal.until_ms < until_ms - 1000:
        line = {"msgId": message.id, "at": now_ms(), "run": run.id, "until": until_ms, "sent": sent}
        try:
            append_line(line, journal, run.share(COMMIT_SHARE))
        except JournalFailure as failure:
            log.warning("%s: the lease is not renewed: %s", journal.key, failure)
    seconds = (journal.until_ms - now_ms()) / 1000
    if seconds < MIN_SEND_SECONDS:
        raise NotDelivered("time is up", sent)
    return seconds
