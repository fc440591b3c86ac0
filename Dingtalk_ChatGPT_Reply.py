"""Answers one message from DingTalk with ChatGPT and the chat history in OSS, and posts the answer to the chat.

    message -> journal in OSS: answered before? -> command? -> ChatGPT -> commit the reply -> post it -> mark

Handler: Dingtalk_ChatGPT_Reply.handler (event function of Function Compute 2.0 or 3.0; openai, oss2 >= 2.18.4)

    situation                              the chat shows                        does FC run the event again?
    a question: words of any kind          ChatGPT's answer, in parts if long    no
    a picture, a text file                 the answer, or a sentence: why not    no
    a command: \\clear \\model \\prompt       what it did                           no
      \\status \\help
    another message without words          a sentence: what to send instead      no
    a person or group may not ask, or no   a sentence: who can do what           no
      more today (DAILY_LIMIT)
    this message was answered before       nothing                               no
    ChatGPT fails                          a sentence: who can do what           no
    OSS fails                              the answer, and a sentence about OSS  no
    a setting is missing or malformed      a sentence: which                     no
    the webhook is expired or not allowed  nothing (the log says why)            no
    an error of ours, also while sending   a sentence: which request             no: it would fail again, unseen
    the webhook is out of order or busy,   nothing yet                           yes: the answer is in the journal
      or time is up
    the event is no message: self-check    nothing (the report is the result)    no

What happened lies in one appendable object per conversation and person, the journal; what was said in others. To append
at the length that was read is a compare-and-swap: OSS refuses a wrong position. So concurrent runs lose nothing, and of
several runs for one message one commits its reply and has the lease to send it. docs/en/development.md tells the rest.

https://open.dingtalk.com/document/development/receive-message        the message
https://open.dingtalk.com/document/development/download-the-file-content-of-the-robot-receiving-message
https://open.dingtalk.com/document/dingstart/robot-message-type       the answer
https://help.aliyun.com/en/oss/developer-reference/appendobject       append as compare-and-swap
https://developers.openai.com/docs/guides/error-codes                 what ChatGPT refuses
"""

import json
import os
import time
import uuid
from typing import Any

from bot import sentences
from bot.chatgpt.answers import Answer
from bot.chatgpt.asking import Question, ask
from bot.chatgpt.refusals import ModelFailure
from bot.commands import reply_to_command, show_help, with_choices
from bot.deadline import ENDING_SECONDS, LOAD_SHARE, MARK_SHARE, Run
from bot.dingtalk.api import CallFailed
from bot.dingtalk.attachments import look_at
from bot.dingtalk.message import FILE, PICTURE, Message, command_in, parse_message, question_of
from bot.dingtalk.parts import send_link, webhook_bodies
from bot.dingtalk.sign_of_life import SignOfLife
from bot.dingtalk.uploads import upload_pictures
from bot.dingtalk.webhook import Undeliverable, Withheld, check_webhook, send_part
from bot.errors import NotDelivered, Taken
from bot.logs import log, set_up_logs, trace
from bot.oss.bucket import OssFailure, version_problem
from bot.oss.choices import read_choices
from bot.oss.commit import Reply, commit, delete_old_words, reply_on_record, told
from bot.oss.daily_limit import count_question
from bot.oss.history import read_turns
from bot.oss.journal import Journal, load_journal, open_journal
from bot.oss.lease import Lease, take_lease
from bot.self_check import self_check
from bot.settings import ReplySettings, conflicts, read_settings, role_credentials


def handler(event: bytes, context: Any) -> str:
    """Answer one message; return a JSON summary, or raise NotDelivered so that FC runs the event again."""
    started = time.monotonic()
    settings, problems = read_settings(ReplySettings, os.environ)
    problems += conflicts(settings) + version_problem()
    set_up_logs(settings.verbose)
    deadline = started + context.function.timeout - ENDING_SECONDS
    run = Run(uuid.uuid4().hex[:16], context, role_credentials(context, os.environ), settings, deadline)
    message = parse_message(event)
    if message is None:
        return json.dumps(self_check(problems, run), ensure_ascii=False, indent=2)
    sign = SignOfLife(message, run)
    try:
        result, tokens = reply_to(message, problems, sign, run)
    except Taken:
        result, tokens = "duplicate", ""
    except (Undeliverable, NotDelivered) as reason:
        result, tokens = type(reason).__name__, ""
        log.error("request %s: message %.99r: %s: %s", context.request_id, message.id, result, reason)
        if isinstance(reason, NotDelivered):
            raise
    finally:
        sign.end()
    seconds = round(time.monotonic() - started, 3)
    more = f", {tokens}" if tokens else ""
    log.info("request %s: message %.99r: %s in %.3f s%s", context.request_id, message.id, result, seconds, more)
    return json.dumps({"result": result, "msgId": message.id, "seconds": seconds})


def reply_to(message: Message, problems: list[str], sign: SignOfLife, run: Run) -> tuple[str, str]:
    """Answer the message in its chat, once; return the result in a word, and the tokens that it took.

    Of several runs for one message, one commits its reply; any other waits until that one is through, or has stopped
    sending, and sends what is left. Taken if nothing is.
    """
    check_webhook(message, run.settings.webhook_hosts)
    journal = Journal(None, "", message.id)
    lease = None
    try:
        ids = (message.conversation_id, message.person, message.corp_id, message.id, message.asked_ms)
        journal = open_journal(*ids, message.in_group, run)
        if not journal.commit and not journal.delivered:
            reply = compose(message, problems, journal, sign, run)
            lease, problem = commit(reply, journal, run)
            if lease:
                return deliver(message, told(reply, problem, lease), lease, run), reply.tokens
            journal = load_journal(journal, 0, run.share(LOAD_SHARE))
        sign.begin(anew=False)  # the run that began it may be dead
        lease = take_lease(journal, run)
        again = reply_on_record(lease, run)
        if again:
            return deliver(message, again, lease, run), ""
        lease.mark()
        return "forgotten", ""
    except (Taken, NotDelivered, Undeliverable):
        raise
    except Exception as error:  # run again, our own mistake would be made again: better told than silent
        log.error("request %s: unforeseen: %s", run.context.request_id, trace(error))
        reply = Reply("failed: unforeseen", sentences.INTERNAL.format(request_id=run.context.request_id))
        lease = lease or lease_to_tell(reply, journal, run)
        tell(message, reply.words, lease, run)
        lease.mark()
        return reply.result, ""


def lease_to_tell(reply: Reply, journal: Journal, run: Run) -> Lease:
    """The lease to send a sentence about a mistake of ours, which may also keep it off the record; or Taken."""
    try:
        lease, _ = commit(reply, journal, run)
    except Exception as error:
        log.error("request %s: unforeseen: %s", run.context.request_id, trace(error))
        return Lease(journal, run)
    if not lease:
        raise Taken(journal.message_id)
    return lease


def compose(message: Message, problems: list[str], journal: Journal, sign: SignOfLife, run: Run) -> Reply:
    """What to say to the message."""
    settings = run.settings
    command = command_in(message.text) if message.text else None
    if problems:
        log.error("request %s: %s", run.context.request_id, "; ".join(problems))
        return Reply("bad settings", sentences.NOT_SET_UP.format(problems=sentences.BETWEEN.join(problems)))
    why_not = why_not_allowed(message, settings)
    if why_not:
        return Reply("not allowed", why_not)
    if message.over_quota:
        return Reply("over quota", sentences.OVER_QUOTA)
    if message.unreadable and not (message.attachments and settings.dingtalk_app_key):
        sentence = sentences.UNREADABLE[message.unreadable]
        if message.unreadable in (PICTURE, FILE):
            sentence = sentences.NOT_SEEN["missing"] if settings.dingtalk_app_key else sentence + sentences.SWITCHED_OFF
        return Reply("unreadable", sentence)
    if command:
        return reply_to_command(command, message.in_group, journal, run)
    if not (message.text or message.quotation):  # nothing but the @: perhaps a first try
        return show_help(message.in_group, settings)
    if not count_question("+", message.person or message.conversation_id, message.id, run):
        return Reply("not allowed", sentences.LIMIT_REACHED.format(limit=settings.daily_limit))
    sign.begin()
    return answer_of_chatgpt(message, journal, run)


def answer_of_chatgpt(message: Message, journal: Journal, run: Run) -> Reply:
    """ChatGPT's answer, or a sentence that says why there is none."""
    turns: list[dict[str, Any]] = []
    unread = journal.problem
    try:
        run = run._replace(settings=with_choices(run.settings, read_choices(journal, run.share(LOAD_SHARE))))
        turns = read_turns(journal, run.settings.history_minutes, run.share(LOAD_SHARE))
    except OssFailure as failure:
        unread = str(failure)
    if unread:
        log.error("%s: not read: %s", journal.key, unread)
    try:
        answer = ask_chatgpt(message, turns, run)
    except ModelFailure as failure:
        log.warning("request %s: ChatGPT did not answer: %s", run.context.request_id, failure)
        return Reply(f"failed: {failure.cause}", failure.sentence, private=True, free=True, unread=unread)
    except CallFailed as unseen:
        words = sentences.NOT_SEEN[unseen.cause]
        return Reply(f"failed: {unseen.cause}", words, private=True, free=True, unread=unread)
    turn = question_of(message, run.settings.history_scope)
    shown = answer.shown(*upload_pictures(answer.pictures, run)) if answer.has_pictures else answer.shown([], "")
    if answer.unfinished and not message.in_group and run.settings.reply_format != "text":
        shown += f"\n\n{send_link(sentences.GO_ON)}"
    return Reply("answered", shown, turn, answer.text, private=True, unread=unread, tokens=answer.tokens)


def deliver(message: Message, reply: Reply, lease: Lease, run: Run) -> str:
    """Send what the chat does not show yet, and mark the reply as delivered; return the result in a word."""
    result, words = reply.result, reply.words
    if reply.clear and (problem := delete_old_words(lease, run)):
        words = (sentences.NOT_CLEARED if lease.unsure else sentences.NOT_DELETED).format(problem=problem)
    if reply.free:
        count_question("-", message.person or message.conversation_id, message.id, run)
    try:
        for number, body in list(enumerate(webhook_bodies(message, words, run.settings.reply_format)))[lease.sent :]:
            send_part(message, body, number, lease.seconds, run.without(MARK_SHARE))
    except NotDelivered as failure:
        lease.give_back(failure.sent)  # so that the next run goes on at once where this one had to stop
        raise
    except Withheld as errcode:
        log.error("request %s: DingTalk refuses this text: errcode %s", run.context.request_id, errcode)
        tell(message, sentences.WITHHELD.format(errcode=errcode), lease, run)
        result = "withheld"
    lease.mark()  # after the reply is out, so that it costs the person no time
    return result


def tell(message: Message, sentence: str, lease: Lease, run: Run) -> None:
    """Show a sentence in place of the reply."""
    (body,) = webhook_bodies(message, sentence, "text")
    send_part(message, body, lease.sent, lease.seconds, run.without(MARK_SHARE))


def why_not_allowed(message: Message, settings: ReplySettings) -> str | None:
    """Why the person, or in a group the group, may not ask; None if it is on its list or there is no list."""
    if settings.allowed_users and message.person not in settings.allowed_users:
        return sentences.USER_REFUSED.format(person=message.person)
    if settings.allowed_groups and message.in_group and message.conversation_id not in settings.allowed_groups:
        return sentences.GROUP_REFUSED.format(conversation=message.conversation_id)
    return None


def ask_chatgpt(message: Message, turns: list[dict[str, Any]], run: Run) -> Answer:
    """ChatGPT's answer to a message, with a sentence for each picture or file that is not seen; or CallFailed."""
    seen, pictures, notes = look_at(message, run)
    stands_alone = not message.unreadable or seen.quotation != message.quotation
    question = Question(question_of(seen, run.settings.history_scope), tuple(pictures), stands_alone)
    answer = ask(question, turns, run)
    return answer._replace(notes=tuple(dict.fromkeys([*answer.notes, *notes])))
