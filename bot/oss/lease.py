"""The lease: which run sends a reply, and until when."""

import functools
import time
from collections.abc import Callable

from bot.deadline import (
    AFTER_ASKING_SHARE,
    COMMIT_SHARE,
    LOAD_SHARE,
    MARK_SECONDS,
    MARK_SHARE,
    MIN_SEND_SECONDS,
    Run,
    epoch_ms,
    now_ms,
    pause,
)
from bot.errors import NotDelivered, Taken
from bot.logs import log
from bot.oss.journal import CLOCKS_MS, OSS_TRIES, Journal, JournalFailure, Line, append_line, epoch_in, load_journal

LEASE_MS = 10_000  # a run that needs longer renews its lease; one that died blocks for this long, and CLOCKS_MS
WAIT_SECONDS = 1  # between two looks at the lease of another run


def lease_until_ms(run: Run) -> int:
    """Until when this run has the lease if it takes or renews it now."""
    return min(now_ms() + LEASE_MS, epoch_ms(run.without(MARK_SHARE)))


def line_of(journal: Journal, run: Run, **fields: object) -> Line:
    """A line about the journal's message by this run."""
    return {"msgId": journal.message_id, "at": now_ms(), "run": run.id, **fields}


class Lease:
    """The right of this run to send one reply, until the time that is on record; so no other run sends it as well."""

    def __init__(self, journal: Journal, run: Run, commit: Line | None = None) -> None:
        """`commit`: the line that may be on record although the journal, as it was read, does not hold it.

        Without that line either, nobody else can know of the reply: it may be sent as long as there is time.
        """
        self.journal, self.run, self.commit = journal, run, journal.commit or commit
        holder, until_ms, self.sent = journal.lease  # parts that were in the chat already
        if not holder:
            until_ms = commit["until"] if commit else epoch_ms(run.without(MARK_SHARE))
        self.until_ms = until_ms

    @property
    def unsure(self) -> bool:
        """Whether nobody can tell if the reply is on record."""
        return self.commit is not None and self.journal.commit is None

    def seconds(self, sent: int) -> float:
        """How long this run may go on: `sent` parts are in the chat. The lease is renewed, or looked up, if necessary.

        Taken if another run has it; NotDelivered if time is up.
        """
        left_ms, wanted_ms = self.until_ms - now_ms(), lease_until_ms(self.run)
        if self.unsure or (left_ms < LEASE_MS / 2 and self.until_ms < wanted_ms - 1000):
            deadline = min(self.run.share(COMMIT_SHARE), time.monotonic() + max(left_ms, 0) / 2000)
            try:
                next_line = functools.partial(self.renewal, sent=sent, until_ms=wanted_ms)
                self.journal = append_line(next_line, self.journal, deadline)
                self.until_ms = self.journal.lease[1]
            except JournalFailure as failure:
                log.warning("%s: the lease is not renewed: %s", self.journal.key, failure)
        seconds = (self.until_ms - now_ms()) / 1000
        if seconds < MIN_SEND_SECONDS:
            raise NotDelivered("time is up", sent)
        return seconds

    def renewal(self, journal: Journal, sent: int, until_ms: int) -> Line | None:
        """The line that renews the lease, None if it is there; Taken if another run has the lease.

        A commit that turns out not to be on record is made up for.
        """
        holder, now_until_ms, _ = journal.lease
        if journal.delivered or holder not in ("", self.run.id):
            raise Taken(journal.message_id)
        if holder and now_until_ms >= until_ms:
            return None
        line = line_of(journal, self.run, until=until_ms, sent=sent)
        if holder:
            return line
        if self.commit is None or epoch_in(self.commit) != journal.epoch:
            raise JournalFailure("the reply is not on record", unsure=False)
        return {**self.commit, **line}

    def give_back(self, sent: int) -> None:
        """Let another run go on at once with what this one had to leave."""

        def next_line(journal: Journal) -> Line | None:
            holder, until_ms, _ = journal.lease
            return line_of(journal, self.run, sent=sent) if holder == self.run.id and until_ms else None

        self._append(next_line, "the lease is not given back")

    def mark(self) -> None:
        """Note that all of the reply is in the chat, unless the one on record is another run's."""
        line = {"msgId": self.journal.message_id, "at": now_ms(), "delivered": True}

        def next_line(journal: Journal) -> Line | None:
            return None if journal.delivered or journal.lease[0] not in ("", self.run.id) else line

        self._append(next_line, "no delivery mark")

    def _append(self, next_line: Callable[[Journal], Line | None], lack: str) -> None:
        """Append what only spares another run some work."""
        try:
            self.journal = append_line(next_line, self.journal, self.run.share((MARK_SECONDS, 1)))
        except JournalFailure as failure:
            log.warning("%s: %s: %s", self.journal.key, lack, failure)


def take_lease(journal: Journal, run: Run) -> Lease:
    """The lease to send a reply that is on record, as soon as no other run has it.

    Taken if another run delivers it meanwhile; NotDelivered if that is still sending when this one has to end. No lease
    lasts longer than LEASE_MS, so whatever the clocks say, one that does not change for that long is over.
    """
    seen, over, looks = journal.lease, over_at(journal), 0
    while not journal.delivered:
        if time.monotonic() >= over:
            try:
                journal = append_line(
                    functools.partial(take_over, run=run, seen=seen), journal, run.share(COMMIT_SHARE)
                )
            except JournalFailure as failure:
                raise NotDelivered(f"no lease: {failure}", seen[2]) from None
            if journal.lease[0] == run.id and not journal.delivered:
                return Lease(journal, run)
            if journal.commit is None:  # OSS may have said so for once; or somebody has deleted the journal
                looks += 1
                if looks == OSS_TRIES:
                    raise NotDelivered("the journal is gone", 0)
                journal = a_moment_later(journal, run)
        elif time.monotonic() + WAIT_SECONDS > run.without(AFTER_ASKING_SHARE):
            raise NotDelivered("another run is still sending it", seen[2])
        else:
            journal = a_moment_later(journal, run)
        if journal.lease != seen:
            seen, over = journal.lease, over_at(journal)
    raise Taken(journal.message_id)


def a_moment_later(journal: Journal, run: Run) -> Journal:
    """The journal as it is then, or as it was if it cannot be read."""
    pause(WAIT_SECONDS, run.deadline)
    latest = load_journal(journal, 0, run.share(LOAD_SHARE))
    return journal if latest.problem else latest


def over_at(journal: Journal) -> float:
    """When the lease that was just seen is over (time.monotonic), for clocks that differ by CLOCKS_MS at most."""
    until_ms = journal.lease[1]
    wait_ms = min(until_ms - now_ms(), LEASE_MS) + CLOCKS_MS if until_ms else 0
    return time.monotonic() + max(0, wait_ms) / 1000


def take_over(journal: Journal, run: Run, seen: tuple[str, int, int]) -> Line | None:
    """The line that takes the lease; None if nobody waits for it, or another run was faster."""
    if journal.delivered or journal.lease != seen or journal.commit is None:
        return None
    return line_of(journal, run, until=lease_until_ms(run), sent=seen[2])
