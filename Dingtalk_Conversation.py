"""Takes a message from DingTalk, hands it to Dingtalk_ChatGPT_Reply, and answers DingTalk at once.

    verify the signature -> check the message -> invoke Dingtalk_ChatGPT_Reply asynchronously -> answer DingTalk

Handler: Dingtalk_Conversation.handler (HTTP trigger without authentication, on Function Compute 2.0 or 3.0)

    situation                                    HTTP answer                       log
    Function Compute accepts the message         200 {"msgtype": "empty"}          INFO
    Function Compute has the message already     200 {"msgtype": "empty"}          INFO
    GET: a person opens the address              200 what is set, what is missing  -
    another method                               405                               INFO
    timestamp or sign missing, stale or wrong    403                               WARNING: which, and both clocks
    the body is too long                         413                               WARNING
    the body is encrypted, or is no message      400                               WARNING: the field, what to change
    3.0: the event is no HTTP request            400 what to do instead            WARNING
    a setting is missing or malformed            200 a text for the chat           ERROR
    Function Compute refuses or does not answer  200 a text for the chat           ERROR: its code and request id
    anything unforeseen                          500                               ERROR: where it happened

DingTalk waits 2.5 s and may then send the message again. So the function takes at most 2 s, and every invocation has
an id made of DingTalk's msgId: Function Compute refuses a message that it has already.

https://open.dingtalk.com/document/development/receive-message   what DingTalk sends and how it signs
"""

import json
import os
import time
from collections.abc import Callable
from typing import Any

from bot import sentences
from bot.dingtalk.signature import signature_problem
from bot.function_compute.invocation import Deployment, Message, hand_over
from bot.function_compute.request import (
    MAX_BODY_BYTES,
    NOTHING_TO_SHOW,
    PLAIN,
    Answer,
    Refused,
    Request,
    only_status,
    request_in_environ,
    request_in_event,
)
from bot.logs import log, plain_words, trace
from bot.settings import ConversationSettings, read_settings, role_credentials


def handler(environ_or_event: Any, start_response_or_context: Any) -> Any:
    """Answers one HTTP request; never raises. Function Compute 2.0 calls it as WSGI, 3.0 with an event."""
    if isinstance(environ_or_event, dict):
        environ, start_response = environ_or_event, start_response_or_context
        answer = respond(lambda: request_in_environ(environ), environ.get("fc.context"), generation=2)
        start_response(answer.status, [("Content-Type", answer.content_type), *answer.headers])
        return [answer.body]
    answer = respond(lambda: request_in_event(environ_or_event), start_response_or_context, generation=3)
    return {
        "statusCode": int(answer.status[:3]),
        "headers": {"Content-Type": answer.content_type, **dict(answer.headers)},
        "isBase64Encoded": False,
        "body": answer.body.decode(),
    }


def respond(read_request: Callable[[], Request], context: Any, generation: int) -> Answer:
    """The answer to a request; writes one line to the log, none for a GET."""
    started = time.monotonic()
    request_id = plain_words(getattr(context, "request_id", None))
    settings, problems = read_settings(ConversationSettings, os.environ)
    log.setLevel(settings.verbose)
    deployment = Deployment(generation, context, settings, problems, role_credentials(context, os.environ), os.environ)
    try:
        answer, message = decide(read_request(), deployment, now_ms=time.time_ns() // 1_000_000)
        if message:
            result = hand_over(message, deployment)
            milliseconds = round(1000 * (time.monotonic() - started))
            log.info("request %s: message %.99r %s in %d ms", request_id, message.id, result, milliseconds)
        return answer
    except Refused as refused:
        log.log(refused.level, "request %s: %s: %s", request_id, refused.situation, refused)
        return refused.answer
    except Exception as error:
        log.error("request %s: unforeseen: %s", request_id, trace(error))
        return only_status("500 Internal Server Error")


def decide(request: Request, deployment: Deployment, now_ms: int) -> tuple[Answer, Message | None]:
    """The answer, and the message to hand over if there is one; or Refused. Pure: no clock, environment or network."""
    if request.method == "GET":
        return Answer("200 OK", PLAIN, self_check_page(deployment).encode()), None
    if request.method != "POST":
        raise Refused("WrongMethod", plain_words(request.method, 20))
    secret = deployment.settings.dingtalk_app_secret
    if secret:  # without it no request can be verified, and every sender is told so just below
        problem = signature_problem(request.timestamp, request.sign, secret.encode(), now_ms)
        if problem:
            raise Refused("NotFromDingtalk", problem)
    if deployment.problems:
        sentence = sentences.CONVERSATION_NOT_SET_UP.format(problems=sentences.BETWEEN.join(deployment.problems))
        raise Refused("NotHandedOver", "; ".join(deployment.problems), sentence)
    if len(request.body) > MAX_BODY_BYTES:
        raise Refused("TooLarge", f"the body is longer than {MAX_BODY_BYTES} bytes")
    return NOTHING_TO_SHOW, parse_message(request.body)


NEEDED_FIELDS = ("msgId", "sessionWebhook", "conversationId")


def parse_message(body: bytes) -> Message:
    """The message, if the body is a JSON object with all NEEDED_FIELDS; else Refused, with the name of the field."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused("NotAMessage", "the body is not JSON") from error
    if not isinstance(fields, dict):
        raise Refused("NotAMessage", "the body is not a JSON object")
    if fields.keys() == {"encrypt"}:
        raise Refused("NotAMessage", "the message is encrypted: switch message encryption off at the robot in DingTalk")
    for name in NEEDED_FIELDS:
        if not (isinstance(fields.get(name), str) and fields[name].strip()):
            raise Refused("NotAMessage", f"the field {name} is missing or not a text")
    return Message(fields["msgId"], body)


def self_check_page(deployment: Deployment) -> str:
    """What is missing and what to do next, in every language: names of settings, never values."""
    parts = []
    for language in sentences.LANGUAGES:
        _, problems = read_settings(ConversationSettings, deployment.environ, language)
        if not deployment.credentials:
            problems.append(sentences.NO_ROLE.format(owner=deployment.role_owner))
        todo = [sentences.CORRECT_THESE.format(owner=deployment.role_owner), *(f"  - {each}" for each in problems)]
        parts.append("\n".join([sentences.DEPLOYED, *(todo if problems else [sentences.ALL_SET])]))
    return "\n\n".join(parts) + "\n"
