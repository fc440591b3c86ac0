"""Hands a message over: invokes Dingtalk_ChatGPT_Reply on 2.0 and on 3.0.

https://help.aliyun.com/document_detail/52877.html   2.0: the API that aliyun-fc2 calls, its signature
https://www.alibabacloud.com/help/en/functioncompute/fc/developer-reference/api-fc-2023-03-30-invokefunction
https://help.aliyun.com/en/functioncompute/fc/developer-reference/signature-mechanism
"""

import concurrent.futures
import contextlib
import email.utils
import hashlib
import hmac
import logging
import os
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from bot import sentences
from bot.connections import NO_ANSWER, LimitedConnections, TooLarge, exchange
from bot.function_compute.request import Refused
from bot.logs import plain_words
from bot.settings import ConversationSettings
from bot.values import read_json


class Deployment(NamedTuple):
    """This function as it is deployed."""

    generation: int  # of Function Compute: 2 or 3
    context: Any
    settings: ConversationSettings
    problems: list[str]  # a sentence for each setting that is missing or malformed
    credentials: Any  # of the role; None if there is no role
    environ: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        """The address of Function Compute's API, the same for both generations."""
        return self.settings.endpoint or f"https://{self.context.account_id}.{self.context.region}.fc.aliyuncs.com"

    @property
    def service(self) -> str:
        """The service that both functions are in; 3.0 has no services."""
        return str(self.settings.service_name or self.context.service.name)

    @property
    def role_owner(self) -> str:
        """What the deployer gives the role to."""
        return sentences.OWNERS[self.generation]


INVOKE_SECONDS = 1.5  # for handing over, all in all
ALREADY_EXISTS = "StatefulAsyncInvocationAlreadyExists"  # Function Compute's code for an id that it has already


class Message(NamedTuple):
    """A message from DingTalk."""

    id: str  # DingTalk's msgId
    body: bytes  # exactly as received: the event of Dingtalk_ChatGPT_Reply


def hand_over(message: Message, deployment: Deployment) -> str:
    """Invoke Dingtalk_ChatGPT_Reply with the message: 'accepted' or 'already accepted', else Refused."""
    if not deployment.credentials:
        sentence = sentences.NO_ROLE.format(owner=deployment.role_owner)
        raise Refused("NotHandedOver", "no credentials: there is no role", sentence)
    try:
        answer = invoke(message, deployment)
    except NO_ANSWER as error:
        raise Refused("NotHandedOver", *what_failed(error)) from error
    status, failed = answer.status_code, "x-fc-error-type" in answer.headers
    if status == 202 and not failed:
        return "accepted"
    fields = read_json(answer.content) if status >= 400 or failed else None
    if not isinstance(fields, dict):
        reason = f"status {status}: not Function Compute's answer to an invocation"
        raise Refused("NotHandedOver", reason, sentences.NOT_FUNCTION_COMPUTE)
    # The names are those of 3.0, of 2.0, and of the documents of 2.0.
    told = str(next(filter(None, map(fields.get, ("Code", "ErrorCode", "errorCode"))), ""))
    if told == ALREADY_EXISTS or (status == 409 and not told):
        return "already accepted"
    code = plain_words(told or f"HTTP {status}")
    request_id = answer.headers.get("x-fc-request-id") or answer.headers.get("x-acs-request-id")  # assumed: either
    reason = f"code {code}, status {status}, its request {plain_words(request_id)}"
    said = " ".join(map(str, fields.values()))
    raise Refused("NotHandedOver", reason, refusal_sentence(status, code, said, deployment))


def invoke(message: Message, deployment: Deployment) -> requests.Response:
    """What Function Compute answers to an invocation by the API of its generation."""
    digest = hashlib.sha256(message.id.encode("utf-8", "surrogatepass")).hexdigest()
    sign = signed_2 if deployment.generation == 2 else signed_3
    path, headers = sign(message.body, f"m{digest}", deployment)  # an id must begin with a letter or _
    request = requests.Request("POST", deployment.endpoint + path, headers=headers, data=message.body)
    with contextlib.closing(LimitedConnections()) as connections:
        return exchange(request, time.monotonic() + INVOKE_SECONDS, connections)


def signed_2(event: bytes, task_id: str, deployment: Deployment) -> tuple[str, dict[str, str]]:
    """The path and the headers of an invocation on 2.0, signed by aliyun-fc2; python3.12, which only 3.0 has, lacks it.

    Only signed: by itself 2.5.2 sleeps 30 s between 5 tries of a refused connection, and logs the headers of every
    failed request, authorization and security token among them, through the root logger.
    """
    import fc2

    fc2.auth.logging = logging.Logger("silent", logging.CRITICAL + 1)  # it logs what it signs, the token with it
    key, function = deployment.credentials, deployment.settings.chatgpt_function
    path = f"/2016-08-15/services/{deployment.service}/functions/{function}/invocations"
    headers = {
        "content-type": "application/json",
        "date": email.utils.formatdate(usegmt=True),
        "x-fc-invocation-type": "Async",
        "x-fc-stateful-async-invocation-id": task_id,
    }
    if key.security_token:
        headers["x-fc-security-token"] = key.security_token
    signer = fc2.auth.Auth(key.access_key_id, key.access_key_secret)
    return path, {**headers, "authorization": signer.sign_request("POST", path, headers)}


def signed_3(event: bytes, task_id: str, deployment: Deployment) -> tuple[str, dict[str, str]]:
    """The same on 3.0, signed here: aliyun-fc2 does not know it, and no runtime has its own SDK."""
    key, path = deployment.credentials, f"/2023-03-30/functions/{deployment.settings.chatgpt_function}/invocations"
    headers = {
        "content-type": "application/octet-stream",
        "host": urlsplit(deployment.endpoint).netloc,
        "x-acs-action": "InvokeFunction",
        "x-acs-content-sha256": hashlib.sha256(event).hexdigest(),
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "x-acs-signature-nonce": os.urandom(16).hex(),
        "x-acs-version": "2023-03-30",
        "x-fc-async-task-id": task_id,
        "x-fc-invocation-type": "Async",
    }
    if key.security_token:
        headers.update({"x-acs-accesskey-id": key.access_key_id, "x-acs-security-token": key.security_token})
    return path, {**headers, "authorization": authorization(path, headers, key.access_key_id, key.access_key_secret)}


def authorization(path: str, headers: Mapping[str, str], key_id: str, key_secret: str) -> str:
    """The header of that name for a POST: ACS3-HMAC-SHA256 over all these headers, whose names are in lower case."""
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(("POST", path, "", lines, names, headers["x-acs-content-sha256"]))
    text = f"ACS3-HMAC-SHA256\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(key_secret.encode(), text.encode(), "sha256").hex()
    return f"ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={names},Signature={signature}"


def refusal_sentence(status: int, code: str, said: str, deployment: Deployment) -> str:
    """What an error answer of Function Compute means, and who can do what about it."""
    owner, function = deployment.role_owner, deployment.settings.chatgpt_function
    if re.match("Signature|InvalidAccessKey|InvalidSecurityToken", code):
        return sentences.ROLE_KEYS.format(owner=owner)
    if status == 403 and re.search("not belong to you|n't belong to you", said):
        return sentences.OTHER_ACCOUNT
    if status == 403 and re.search("not enabled|not (been )?(activated|opened)", said):
        return sentences.NOT_ENABLED
    if status == 403:
        return sentences.MAY_NOT_INVOKE.format(owner=owner, function=function)
    if status == 404 and deployment.generation == 2:
        return sentences.NO_FUNCTION_2.format(service=deployment.service, function=function)
    if status == 404:
        return sentences.NO_FUNCTION_3.format(function=function)
    if status == 429:
        return sentences.THROTTLED
    if status >= 500 or status == 409:  # a conflict, such as ConcurrentUpdateError, passes by itself
        return sentences.FUNCTION_COMPUTE_FAILS
    return sentences.FUNCTION_COMPUTE_REFUSES.format(code=code)


def what_failed(error: Exception) -> tuple[str, str]:
    """What happened where no answer of Function Compute came, for the log, and the sentence for it.

    It may have taken the message only if there was a connection: for one that never was, urllib3 gives a reason.
    """
    name = type(error).__name__
    if isinstance(error, TooLarge):
        return f"not Function Compute's answer: {name}", sentences.NOT_FUNCTION_COMPUTE
    cut_off = (concurrent.futures.TimeoutError, requests.ReadTimeout, requests.exceptions.ChunkedEncodingError)
    lost = type(error) is requests.ConnectionError and not hasattr(error.args[0], "reason")
    if lost or isinstance(error, cut_off):
        return f"no answer: {name}", sentences.NOT_CONFIRMED
    return f"unreachable: {name}", sentences.NOT_REACHED
