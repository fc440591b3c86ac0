"""Answers one message from DingTalk with ChatGPT and the chat history in OSS, and posts the answer to the chat.

    message -> journal in OSS: answered before? -> command? -> ChatGPT -> append the turn -> post the answer -> mark

Handler: Dingtalk_ChatGPT_Reply.handler (event function of Function Compute 2.0 or 3.0; openai, oss2 >= 2.18.4)

    situation                              the chat shows                        does FC run the event again?
    a question: words of any kind          ChatGPT's answer, in parts if long    no
    a picture, a text file                 the answer, or a sentence: why not    no
    a command: \\clear \\help \\status        what it did                           no
    another message without words          a sentence: what to send instead      no
    a person or group may not ask, or no   a sentence: who can do what           no
      more today (DAILY_LIMIT)
    this message was answered before       nothing                               no
    ChatGPT fails                          a sentence: who can do what           no
    OSS fails                              the answer, and a sentence about OSS  no
    a setting is missing or malformed      a sentence: which                     no
    the webhook is expired or not allowed  nothing (the log says why)            no
    the webhook is out of order or busy,   nothing yet                           yes: the answer is in the journal
      or time is up
    the event is no message: self-check    nothing (the report is the result)    no

The journal is one appendable object per conversation and person. Appending at the length that was read is a
compare-and-swap: OSS refuses a wrong position. So concurrent runs lose nothing, and of several runs for one message
one records its answer and has the lease to send it. docs/en/development.md tells the rest.

https://open.dingtalk.com/document/development/receive-message        the message
https://open.dingtalk.com/document/development/download-the-file-content-of-the-robot-receiving-message
https://open.dingtalk.com/document/dingstart/robot-message-type       the answer
https://help.aliyun.com/en/oss/developer-reference/appendobject       append as compare-and-swap
https://developers.openai.com/docs/guides/error-codes                 what ChatGPT refuses
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from typing import Any

from bot import sentences
from bot.chatgpt.answers import Answer
from bot.chatgpt.asking import Question, ask
from bot.chatgpt.refusals import ModelFailure
from bot.commands import clear, status
from bot.deadline import COMMIT_SHARE, ENDING_SECONDS, LOAD_SHARE, MARK_SHARE, Run, epoch_ms, now_ms
from bot.dingtalk.attachments import Unseen, look_at
from bot.dingtalk.message import FILE, PICTURE, Message, command_in, parse_message
from bot.dingtalk.parts import webhook_bodies
from bot.dingtalk.sign_of_life import SignOfLife
from bot.dingtalk.webhook import Undeliverable, Withheld, check_webhook, send_part, send_sentence
from bot.errors import NotDelivered, Taken
from bot.logs import log, set_up_logs, trace
from bot.oss.bucket import version_problem
from bot.oss.daily_limit import count_question
from bot.oss.journal import (
    Journal,
    JournalFailure,
    append_if_possible,
    append_line,
    load_journal,
    open_journal,
    shortened,
)
from bot.oss.lease import keep_lease, lease_until_ms, take_lease
from bot.self_check import self_check
from bot.settings import ReplySettings, conflicts, read_settings
from bot.values import digest


def handler(event: bytes, context: Any) -> str:
    """Answer one message; return a JSON summary, or raise NotDelivered so that FC runs the event again."""
    started = time.monotonic()
    settings, problems = read_settings(ReplySettings, os.environ)
    problems += conflicts(settings) + version_problem()
    set_up_logs(settings.verbose)
    run = Run(
        uuid.uuid4().hex, context, settings, started + context.function.timeout - ENDING_SECONDS, SignOfLife(), []
    )
    message = parse_message(event)
    if message is None:
        return json.dumps(self_check(problems, run), ensure_ascii=False, indent=2)
    try:
        result = reply_to(message, problems, run)
    except (Undeliverable, NotDelivered) as reason:
        result = type(reason).__name__
        log.error("request %s: message %.99r: %s: %s", context.request_id, message.id, result, reason)
        if isinstance(reason, NotDelivered):
            raise
    finally:
        run.sign.end(run)
    seconds = round(time.monotonic() - started, 3)
    tokens = "".join(f", {count}" for count in run.tokens)
    log.info("request %s: message %.99r: %s in %.3f s%s", context.request_id, message.id, result, seconds, tokens)
    return json.dumps({"result": result, "msgId": message.id, "seconds": seconds})


def reply_to(message: Message, problems: list[str], run: Run) -> str:
    """Answer the message in its chat, once; return the result in a word."""
    request_id = run.context.request_id
    check_webhook(message, run.settings.webhook_hosts)
    if problems:
        log.error("request %s: %s", request_id, "; ".join(problems))
        send_sentence(message, sentences.NOT_SET_UP.format(problems=sentences.BETWEEN.join(problems)), run)
        return "bad settings"
    try:
        journal = open_journal(message, run)
        result, note = prepare_reply(message, journal, run)
    except Taken:
        return "duplicate"
    except NotDelivered:
        raise
    except Exception as error:
        log.error("request %s: unforeseen: %s", request_id, trace(error))
        send_sentence(message, sentences.INTERNAL.format(request_id=request_id), run)
        return "failed: unforeseen"
    return deliver(message, journal, note, run) or result


def prepare_reply(message: Message, journal: Journal, run: Run) -> tuple[str, str]:
    """Make this run the one that sends the reply; return the result in a word, and a note for the person about OSS.

    Taken if the reply is in the chat already. Of several runs for one message, one commits its reply; any other waits
    until that one is through, or has stopped sending, and sends what is left.
    """
    if journal.answer is None and not journal.delivered:
        result, words = compose(message, journal, run)
        try:
            note = commit(message, result, words, journal, run)
            if result.startswith("failed"):
                count_question("-", message, run)
            return result, note
        except Taken:
            journal.update(load_journal(journal.bucket, journal.key, message.id, 0, run.share(LOAD_SHARE)))
    run.sign.begin(message, run, anew=False)  # the run that began it may be dead
    take_lease(message, journal, run)
    return "answered again", ""


def commit(message: Message, result: str, words: str, journal: Journal, run: Run) -> str:
    """Append the reply to the journal, and with it the lease to send it; return what to tell the person about OSS.

    From here on this run sends the reply, even if OSS did not take it. Taken if another run was first.
    """
    line = {"msgId": message.id, "at": now_ms(), "run": run.id, "until": lease_until_ms(run)}
    if result == "answered":
        line["question"] = question_of(message, run.settings.history_scope)
    if result == "cleared":
        line["forgotten"] = journal.forgotten
    note = ""
    try:
        append_line(shortened({**line, "answer": words}), journal, run.share(COMMIT_SHARE))
        if journal.problem is not None:
            log.error("%s: not read: %s", journal.key, journal.problem)
            note = "\n\n" + sentences.HISTORY_NOT_READ.format(problem=journal.problem)
    except JournalFailure as failure:
        log.error("%s: not saved: %s", journal.key, failure)
        note = "\n\n" + sentences.HISTORY_NOT_SAVED.format(problem=failure)
        journal.until_ms = epoch_ms(run.without(MARK_SHARE))  # nobody else can know of this reply
    journal.answer = words
    return note


def deliver(message: Message, journal: Journal, note: str, run: Run) -> str:
    """Send what the chat does not show yet, and mark the reply as delivered; the result if it is not what was meant."""
    result = ""
    try:
        send_reply(message, (journal.answer or "") + note, journal, run)
    except Taken:
        return "duplicate"  # this run was too slow, and another one took its lease
    except NotDelivered as failure:
        release = {"msgId": message.id, "at": now_ms(), "run": run.id, "sent": failure.sent}
        append_if_possible(release, journal, run)  # so that the next run goes on at once where this one had to stop
        raise
    except Withheld as errcode:
        log.error("request %s: DingTalk refuses this text: errcode %s", run.context.request_id, errcode)
        send_sentence(message, sentences.WITHHELD.format(errcode=errcode), run)
        result = "withheld"
    # After the reply is out, so that it costs the person no time.
    append_if_possible({"msgId": message.id, "at": now_ms(), "delivered": True}, journal, run)
    return result


def compose(message: Message, journal: Journal, run: Run) -> tuple[str, str]:
    """The result in a word, and the words to reply."""
    settings = run.settings
    command = command_in(message.text) if message.text else None
    why_not = why_not_allowed(message, settings)
    if why_not:
        return "not allowed", why_not
    if message.over_quota:
        return "over quota", sentences.OVER_QUOTA
    if message.unreadable and not (message.attachments and settings.dingtalk_app_key):
        sentence = sentences.UNREADABLE[message.unreadable]
        if message.unreadable in (PICTURE, FILE):
            sentence = sentences.NOT_SEEN["missing"] if settings.dingtalk_app_key else sentence + sentences.SWITCHED_OFF
        return "unreadable", sentence
    if command == "clear":
        return clear(journal, run)
    if command == "status":
        return "status", status(journal, settings)
    if command == "help" or not (message.text or message.quotation):  # nothing but the @: perhaps a first try
        return "help", sentences.HELP
    if not count_question("+", message, run):
        return "not allowed", sentences.LIMIT_REACHED.format(limit=settings.daily_limit)
    run.sign.begin(message, run)
    try:
        answer = ask_chatgpt(message, journal.turns, run)
        run.tokens[:] = filter(None, [answer.tokens])
        return "answered", answer.text
    except ModelFailure as failure:
        log.warning("request %s: ChatGPT did not answer: %s", run.context.request_id, failure)
        return f"failed: {failure.cause}", failure.sentence
    except Unseen as unseen:
        return f"failed: {unseen.cause}", sentences.NOT_SEEN[unseen.cause]


def why_not_allowed(message: Message, settings: ReplySettings) -> str | None:
    """Why the person, or in a group the group, may not ask; None if it is on its list or there is no list."""
    if settings.allowed_users and message.person not in settings.allowed_users:
        return sentences.USER_REFUSED.format(person=message.person)
    if settings.allowed_groups and message.in_group and message.conversation_id not in settings.allowed_groups:
        return sentences.GROUP_REFUSED.format(conversation=message.conversation_id)
    return None


def question_of(message: Message, scope: str) -> str:
    r"""What the model is asked: the words, below those they refer to.

    In a history that a group shares, every line begins with who says it, so that nobody can speak for somebody else:
    'a\nb' of 小钉 -> '小钉#1f0e：a\n小钉#1f0e：b'
    """
    quotation = "".join(f"> {line}\n" for line in message.quotation.splitlines())
    words = "\n".join(filter(None, (quotation, message.text)))
    if scope != "group" or not message.in_group:
        return words
    speaker = f"{re.sub('[#:：]', ' ', message.nick).strip()}#{digest(message.person)[:4]}"  # nicks are not unique
    return "\n".join(f"{speaker}：{line}" for line in words.splitlines())


def ask_chatgpt(message: Message, turns: list[dict[str, Any]], run: Run) -> Answer:
    """ChatGPT's answer to a message, with a sentence for each picture or file that was not looked at. Also Unseen."""
    seen, pictures, notes = message, list[str](), list[str]()
    if message.attachments and run.settings.dingtalk_app_key:
        seen, pictures, notes = look_at(message, run)
    stands_alone = not message.unreadable or seen.quotation != message.quotation
    question = Question(question_of(seen, run.settings.history_scope), tuple(pictures), stands_alone)
    answer = ask(question, turns, run)
    return answer._replace(notes=tuple(dict.fromkeys([*answer.notes, *notes])))


def send_reply(message: Message, text: str, journal: Journal, run: Run) -> None:
    """Show the text in the chat, from the part on that follows those sent already, while this run has the lease."""
    bodies = webhook_bodies(message, text, run.settings.reply_format)
    for number, body in list(enumerate(bodies))[journal.sent :]:
        send_part(message, body, number, lambda sent: keep_lease(message, sent, journal, run))
