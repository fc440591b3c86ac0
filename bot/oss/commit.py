"""A reply, and how it gets on record: the words first, then the line of the journal, which is the only commit point."""

from typing import NamedTuple

from bot import sentences
from bot.deadline import COMMIT_SHARE, LOAD_SHARE, Run, pause
from bot.errors import NotDelivered
from bot.logs import log
from bot.oss.bucket import OssFailure, call_oss
from bot.oss.history import append_words, read_reply, words_key
from bot.oss.journal import OSS_TRIES, Journal, JournalFailure, Line, append_line
from bot.oss.lease import WAIT_SECONDS, Lease, lease_until_ms, line_of

MOST_SAY_BYTES = 1024  # of a sentence in the journal; a longer one goes to the words, so that the tail holds many
DAY_MS = 24 * 3600 * 1000
MOST_EPOCHS = 3  # whose words \clear deletes: a run that began under an older one has ended


class Reply(NamedTuple):
    """What is said to a message, and how it is kept."""

    result: str  # in a word, for the log
    words: str
    turn: str = ""  # the question: it and the answer are shown to the model later
    memory: str = ""  # the answer as the model sees it then: without what is only for the chat
    private: bool = False  # the words may be those of a person or of the model: they lie where \clear deletes them
    clear: bool = False  # a new epoch begins, and the words of the last ones are deleted
    free: bool = False  # the question does not count, see DAILY_LIMIT
    settings: bool | None = None  # whether the conversation has settings of its own from now on; None: as before
    unread: str = ""  # why the history could not be read, for the person
    tokens: str = ""  # what the service counted, for the log


class Record:
    """A reply on its way to the journal."""

    def __init__(self, reply: Reply, journal: Journal, run: Run, deadline: float) -> None:
        self.reply, self.run, self.deadline = reply, run, deadline
        self.first_epoch = journal.epoch  # in which the question was asked; 0 if the journal could not be read
        self.words: tuple[int, int, int] | None = None  # where they lie
        self.line: Line | None = None  # the last one that was to be appended

    def next_line(self, journal: Journal) -> Line | None:
        """The line that commits the reply, its words kept before; None if the message has a reply."""
        if self.words and self.words[0] != journal.epoch:  # \clear was faster
            delete_if_possible(journal, self.words[0], self.deadline)
            self.words = None
        if journal.commit or journal.delivered:
            return None
        line = line_of(journal, self.run, until=lease_until_ms(self.run))
        if self.reply.private or len(self.reply.words.encode()) > MOST_SAY_BYTES:
            question = "" if self.asked_before_clear(journal) else self.reply.turn
            self.words = self.words or append_words(
                journal, question, self.reply.words, self.reply.memory, self.deadline
            )
            line |= {"words": list(self.words), **({"turn": True} if question else {})}
        else:
            line |= {"say": self.reply.words, "epoch": journal.epoch + self.reply.clear}
        settings = journal.settings if self.reply.settings is None else self.reply.settings
        cleared_ms = max(journal.cleared_ms, journal.asked_ms if self.reply.clear else 0)
        more = {"cleared": cleared_ms, "clear": self.reply.clear, "free": self.reply.free, "settings": settings}
        self.line = {**line, **{name: value for name, value in more.items() if value}}
        return self.line

    def asked_before_clear(self, journal: Journal) -> bool:
        """Whether the person sent the question before the last \\clear: then it is forgotten, its reply only shown.

        A message that was sent a day before is no such question: no event lives so long, somebody tries a sample.
        """
        return journal.epoch != self.first_epoch or 0 < journal.cleared_ms - journal.asked_ms < DAY_MS


def commit(reply: Reply, journal: Journal, run: Run) -> tuple[Lease | None, str]:
    """The lease to send the reply, None if another run was first; and why the reply is not on record, '' if it is.

    What is not on record is sent all the same: as long as time is left if that is certain, else no longer than the
    lease lasts that may be on record.
    """
    record = Record(reply, journal, run, run.share(COMMIT_SHARE))
    try:
        journal = append_line(record.next_line, journal, record.deadline)
    except JournalFailure as failure:
        log.error("%s: not saved: %s", journal.key, failure)
        return Lease(journal, run, record.line if failure.unsure else None), str(failure)
    return (Lease(journal, run) if journal.lease[0] == run.id else None), ""


def told(reply: Reply, problem: str, lease: Lease) -> Reply:
    """The reply as it is sent this time: with a sentence about OSS. `problem`: why it is not on record, or may not be.

    Of a journal that does not exist OSS says 403, not 404, to a role that may not list.
    """
    note, unread = "", reply.unread
    if problem and reply.clear:  # if that may be on record, it is done all the same, see deliver
        return reply if lease.unsure else Reply("not cleared", sentences.NOT_CLEARED.format(problem=problem))
    if problem and reply.settings and not lease.journal.settings:  # no line says that there are choices to look for
        return Reply("not kept", sentences.CHOICE_NOT_KEPT.format(problem=problem))
    if problem and reply.private:
        not_saved = sentences.HISTORY_PERHAPS_NOT_SAVED if lease.unsure else sentences.HISTORY_NOT_SAVED
        note = (sentences.HISTORY_NOT_READ_NOR_SAVED if unread else not_saved).format(problem=problem)
    elif unread and not lease.journal.denied:
        note = sentences.HISTORY_NOT_READ.format(problem=unread)
    return reply._replace(words=f"{reply.words}\n\n{note}" if note else reply.words)


def reply_on_record(lease: Lease, run: Run) -> Reply | None:
    """The reply that the journal commits, as another run made it; None if its words are gone. Or NotDelivered."""
    line = lease.commit or {}
    tries = 0
    while True:
        tries += 1
        try:
            words = read_reply(lease.journal, line, run.share(LOAD_SHARE))
            break
        except OssFailure as failure:
            if tries == OSS_TRIES:
                lease.give_back(lease.sent)
                raise NotDelivered(f"its words are not read: {failure}", lease.sent) from None
        pause(WAIT_SECONDS, run.deadline)
    clear, free = line.get("clear") is True, line.get("free") is True
    return None if words is None else Reply("answered again", words, clear=clear, free=free)


def delete_old_words(lease: Lease, run: Run) -> str:
    """Delete what was said before the \\clear of this lease; return why that failed, '' if it did not."""
    line = lease.commit or {}
    epoch, deadline = line.get("epoch", 0), run.share(LOAD_SHARE)
    problems = [delete_if_possible(lease.journal, old, deadline) for old in range(max(0, epoch - MOST_EPOCHS), epoch)]
    return next(filter(None, problems), "")


def delete_if_possible(journal: Journal, epoch: int, deadline: float) -> str:
    """Delete the words of an epoch that is over; return why that failed, '' if it did not."""
    try:
        call_oss(deadline, journal.bucket.delete_object, words_key(journal, epoch))
    except OssFailure as failure:
        log.error("%s: the words of epoch %d are not deleted: %s", journal.key, epoch, failure)
        return str(failure)
    return ""
