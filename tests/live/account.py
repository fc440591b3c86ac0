"""Whose services are checked, and how a request to each of them is made.

The requests are signed by the functions that the stand-ins verify signatures with: so the real services judge those,
too.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.utils import formatdate
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from tests.stand_ins import function_compute, generation_3, oss
from tests.stand_ins.local_cloud import CONVERSATION, REPLY
from tests.stand_ins.server import Received

FOLDER = "chat-history/@live"  # nothing else in the bucket is touched
TIMEOUT_SECONDS = 130  # a self-check may take as long as the function: 120 s
SELF_CHECK = b"{}"  # an event that is no message
# What a browser that opens the URL becomes on 3.0: the self-check of the other function
OPEN_URL = json.dumps({"version": "v1", "rawPath": "/", "headers": {}, "requestContext": {"http": {"method": "GET"}}})
VARIABLES = {
    "key_id": ("ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_ID"),
    "key_secret": ("ACCESS_KEY_SECRET", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
    "token": ("ALIBABA_CLOUD_SECURITY_TOKEN",),
    "bucket": ("OSS_BUCKET_NAME",),
    "oss_endpoint": ("OSS_ENDPOINT",),
    "region": ("OSS_REGION", "REGION"),
    "fc_endpoint": ("ENDPOINT",),
    "service": ("SERVICE_NAME",),
    "reply": ("CHATGPT_FUNCTION",),
    "chatgpt_key": ("CHATGPT_API_KEY",),
    "base_url": ("CHATGPT_BASE_URL",),
    "model": ("CHATGPT_MODEL",),
    "app_secret": ("DINGTALK_APP_SECRET",),
}
SECRET = (  # what no output holds: keys, and whose they are
    *("key_id", "key_secret", "token", "chatgpt_key", "app_secret"),
    *("bucket", "account_id", "fc_endpoint", "oss_endpoint", "base_url", "url"),
)
LOOKS_LIKE_A_KEY = re.compile(r"\b(?:sk-|ak-|LTAI|STS\.)[\w*.-]{6,}")


# Of accounts that use OSS since 2025-03-20, for buckets in mainland China. Only the public address is closed to them:
# https://www.alibabacloud.com/help/en/oss/user-guide/0048-00000401
PUBLIC_ADDRESS_CLOSED = "PublicEndpointForbidden"
CLOSED_TO_US = (
    "OSS closes its public address to this account (0048-00000401). The bot uses the internal one: run this with"
    " --internal on a machine of Alibaba Cloud in the bucket's region"
)


class NotHere(Exception):
    """A check does not fit this account, or this place; the message says why."""


@dataclass(frozen=True)
class Account:
    """Where the services are and what opens them; '' is not known."""

    key_id: str = field(default="", repr=False)
    key_secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    bucket: str = ""
    region: str = "us-west-1"
    oss_endpoint: str = ""
    account_id: str = ""
    fc_endpoint: str = ""
    generation: int = 2
    service: str = "ChatGTP_Services"
    reply: str = REPLY
    conversation: str = CONVERSATION
    url: str = ""  # of Dingtalk_Conversation, as it stands in DingTalk
    chatgpt_key: str = field(default="", repr=False)
    base_url: str = "https://api.openai.com"
    model: str = "gpt-6-luna"
    app_secret: str = field(default="", repr=False)
    dingtalk: str = "https://oapi.dingtalk.com"
    task_id: str = ""  # one that an earlier run gave to a task

    @property
    def missing(self) -> dict[str, list[str]]:
        """Group of checks -> what it needs and has not."""
        key = [] if self.key_id and self.key_secret else ["ACCESS_KEY_ID, ACCESS_KEY_SECRET"]
        return {
            "oss": [*key, *([] if self.bucket else ["OSS_BUCKET_NAME"])],
            "url": [] if self.url else ["--url"],
            "fc": [*key, *([] if self.fc_endpoint else ["--account (or ENDPOINT)"])],
            "chatgpt": [] if self.chatgpt_key else ["CHATGPT_API_KEY"],
            "dingtalk": [],
        }

    def hide(self, text: str) -> str:
        """The text without anything that belongs to the account."""
        hosts = {name: urlsplit(getattr(self, name)).netloc for name in SECRET if "://" in getattr(self, name)}
        values = [(getattr(self, name), name) for name in SECRET] + [(host, name) for name, host in hosts.items()]
        for value, name in sorted(values, key=lambda pair: -len(pair[0])):
            if value and value != Account.base_url:
                text = text.replace(value, f"<{name}>")
        return LOOKS_LIKE_A_KEY.sub("<a key>", text)


def account_of(environ: Mapping[str, str], template: str = "", *, internal: bool = False, **given: Any) -> Account:
    """What the variables of a deployment say; `given` are fields of Account, from the command line.

    From outside of Alibaba Cloud the internal addresses are not reached, so the public ones are used unless `internal`.

    `template` is the text of s.yaml or s.fc3.yaml: it tells the region if nothing else does.
    """
    values: dict[str, Any] = {}
    for name, variables in VARIABLES.items():
        for variable in variables:
            if environ.get(variable, "").strip():
                values.setdefault(name, environ[variable].strip())
    values.update({name: value for name, value in given.items() if value})
    account = Account(**values)
    found = re.search(r"oss-([a-z]+-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com", account.oss_endpoint)
    found = found or re.search(r"^ +region: ([a-z]+-[a-z0-9-]+)", template, re.MULTILINE)
    region = values.get("region") or (found[1] if found else account.region)
    suffix = "-internal" if internal else ""
    oss_endpoint = account.oss_endpoint or f"https://oss-{region}{suffix}.aliyuncs.com"
    fc_endpoint = account.fc_endpoint
    if account.account_id and not fc_endpoint:
        fc_endpoint = f"https://{account.account_id}.{region}{suffix}.fc.aliyuncs.com"
    if not internal:
        oss_endpoint, fc_endpoint = oss_endpoint.replace("-internal", ""), fc_endpoint.replace("-internal", "")
    changed = {"region": region, "oss_endpoint": with_scheme(oss_endpoint), "fc_endpoint": with_scheme(fc_endpoint)}
    return Account(**{**values, **changed, "base_url": re.sub(r"(/v1)?/*$", "", account.base_url)})


def with_scheme(address: str) -> str:
    """An address without https:// gets it, and no slash ends it."""
    return (address if not address or "://" in address else f"https://{address}").rstrip("/")


class Live:
    """The services of an account."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.run = uuid.uuid4().hex
        self.keys: set[str] = set()  # of objects that may exist

    def key(self, name: str) -> str:
        """The key of an object that this run may write."""
        key = f"{FOLDER}/{self.run}/{name}"
        self.keys.add(key)
        return key

    def clean(self) -> int:
        """Delete what was written; how many of the objects may have stayed."""
        for key in sorted(self.keys):
            try:
                if self.oss("DELETE", key).status_code == 204:
                    self.keys.discard(key)
            except NotHere:
                self.keys.discard(key)  # nothing was written there either
            except requests.RequestException:
                pass  # it is counted
        return len(self.keys)

    # -- OSS ----------------------------------------------------------------------------------------------------------

    def oss(
        self,
        method: str,
        key: str,
        body: bytes = b"",
        query: Mapping[str, str] | None = None,
        *,
        bucket: str = "",
        secret: str = "",
        token: str | None = None,
        age: float = 0,
        day: str = "",
        authorization: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """A request that OSS takes, unless one of the arguments spoils it. `token` '' leaves it out."""
        account, bucket = self.account, bucket or self.account.bucket
        token = account.token if token is None else token
        at = time.gmtime(time.time() - age)
        sent = {
            "x-oss-date": time.strftime("%Y%m%dT%H%M%SZ", at),
            "x-oss-content-sha256": oss.UNSIGNED,
            **({"x-oss-security-token": token} if token else {}),
            **(headers or {}),
        }
        signature = oss.signature_v4(
            method, f"/{bucket}/{key}", query or {}, sent, secret or account.key_secret, account.region
        )
        day = day or time.strftime("%Y%m%d", at)
        scope = f"{account.key_id}/{day}/{account.region}/oss/aliyun_v4_request"
        sent["authorization"] = authorization or f"{oss.ALGORITHM} Credential={scope}, Signature={signature}"
        parts = "&".join(f"{name}={value}" if value else name for name, value in (query or {}).items())
        url = f"{bucket_url(account.oss_endpoint, bucket)}/{quote(key)}" + (f"?{parts}" if parts else "")
        response = requests.request(
            method, url, data=body, headers=sent, timeout=TIMEOUT_SECONDS, allow_redirects=False
        )
        told = base64.b64decode(response.headers.get("x-oss-err", "")) or response.content
        if response.status_code == 400 and PUBLIC_ADDRESS_CLOSED.encode() in told:
            raise NotHere(CLOSED_TO_US)
        return response

    def append(self, key: str, position: int, body: bytes) -> requests.Response:
        return self.oss("POST", key, body, {"append": "", "position": str(position)})

    # -- Function Compute ---------------------------------------------------------------------------------------------

    def invoke(self, event: bytes = SELF_CHECK, *, api: int = 0, **how: Any) -> requests.Response:
        """An invocation of the self-check by the API of this generation, unless one of the arguments spoils it."""
        assert json.loads(event) in ({}, json.loads(OPEN_URL))
        return (self._invoke_2 if (api or self.account.generation) == 2 else self._invoke_3)(event, **how)

    def _invoke_2(
        self,
        event: bytes,
        *,
        function: str = "",
        service: str = "",
        kind: str = "Async",
        task_id: str = "",
        secret: str = "",
        key_id: str = "",
        token: str | None = None,
        age: float = 0,
        without: str = "",
        rest: str = "invocations",
    ) -> requests.Response:
        account = self.account
        path = f"/2016-08-15/services/{service or account.service}/functions/{function or account.reply}/{rest}"
        sent = {
            "Content-Type": "application/octet-stream",
            "Date": formatdate(time.time() - age, usegmt=True),
            "x-fc-invocation-type": kind,
            "x-fc-security-token": account.token if token is None else token,
            "x-fc-stateful-async-invocation-id": task_id,
        }
        sent = {name: value for name, value in sent.items() if value}
        signature = function_compute.signature("POST", path, message(sent), secret or account.key_secret)
        sent["Authorization"] = f"FC {key_id or account.key_id}:{signature}"
        return self._post(path, event, sent, without)

    def _invoke_3(
        self,
        event: bytes,
        *,
        function: str = "",
        kind: str = "Async",
        task_id: str = "",
        secret: str = "",
        key_id: str = "",
        token: str | None = None,
        age: float = 0,
        without: str = "",
        rest: str = "invocations",
        nonce: str = "",
    ) -> requests.Response:
        account = self.account
        path = f"/2023-03-30/functions/{quote(function or account.reply, safe='')}/{rest}"
        sent = {
            "content-type": "application/octet-stream",
            "host": urlsplit(account.fc_endpoint).netloc,
            "x-acs-action": "InvokeFunction",
            "x-acs-content-sha256": hashlib.sha256(event).hexdigest(),
            "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age)),
            "x-acs-security-token": account.token if token is None else token,
            "x-acs-signature-nonce": nonce or uuid.uuid4().hex,
            "x-acs-version": "2023-03-30",
            "x-fc-async-task-id": task_id,
            "x-fc-invocation-type": kind,
        }
        sent = {name: value for name, value in sent.items() if value}
        signed = sorted(sent)
        received = Received("POST", path, "", message(sent), event, connection="", at=0)
        signature = generation_3.signature(received, signed, secret or account.key_secret)
        credential = f"Credential={key_id or account.key_id},SignedHeaders={';'.join(signed)},Signature={signature}"
        sent["Authorization"] = f"ACS3-HMAC-SHA256 {credential}"
        return self._post(path, event, sent, without)

    def _post(self, path: str, event: bytes, headers: Mapping[str, str], without: str) -> requests.Response:
        sent = {name: value for name, value in headers.items() if name != without}
        url = self.account.fc_endpoint + path
        return requests.post(url, event, headers=sent, timeout=TIMEOUT_SECONDS, allow_redirects=False)

    def generation(self) -> int:
        """The one on which Dingtalk_ChatGPT_Reply is deployed, 0 if on none; nothing is run to find out."""
        for api in (3, 2):
            if self.invoke(api=api, kind="Later").status_code == 400:
                return api
        return 0

    @functools.cached_property
    def report(self) -> dict[str, str]:
        """The report of the self-check of Dingtalk_ChatGPT_Reply."""
        report = self.invoke(kind="Sync").json()
        return report if isinstance(report, dict) else {}

    @functools.cached_property
    def first_task(self) -> requests.Response:
        """The answer to the first invocation with the id of this run."""
        return self.invoke(task_id=self.task_id)

    @property
    def task_id(self) -> str:
        return f"live_{self.run}"

    # -- the others ---------------------------------------------------------------------------------------------------

    def open_url(self, path: str = "", headers: Mapping[str, str] | None = None) -> requests.Response:
        """What a browser gets that opens the URL of Dingtalk_Conversation."""
        url = self.account.url.rstrip("/") + "/" + path
        return requests.get(url, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False)

    @functools.cached_property
    def first_page(self) -> requests.Response:
        """The answer to the first of these, perhaps of a new instance."""
        return self.open_url()

    def ask(self, *, method: str = "POST", path: str = "chat/completions", key: str = "", **body: Any) -> Any:
        """A request to the OpenAI API: one tiny question, unless something is given."""
        given = {"model": self.account.model, "messages": [{"role": "user", "content": "1+1=?"}], **body}
        headers = {"Authorization": f"Bearer {key or self.account.chatgpt_key}"}
        url = f"{self.account.base_url}/v1/{path}"
        sent = None if method == "GET" else given
        return requests.request(method, url, json=sent, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False)

    def say(self, session: str) -> requests.Response:
        """A message to a session of DingTalk."""
        body = {"msgtype": "text", "text": {"content": "1+1=2"}}
        url = f"{self.account.dingtalk}/robot/sendBySession?session={session}"
        return requests.post(url, json=body, timeout=TIMEOUT_SECONDS, allow_redirects=False)


def message(headers: Mapping[str, str]) -> Message[str, str]:
    """Headers as a server gets them."""
    received: Message[str, str] = Message()
    for name, value in headers.items():
        received[name] = value
    return received


def bucket_url(endpoint: str, bucket: str) -> str:
    """https://<bucket>.<host>; an address of numbers has no place for it before the host."""
    parts = urlsplit(endpoint)
    try:
        ip_address(parts.hostname or "")
    except ValueError:
        return f"{parts.scheme}://{bucket}.{parts.netloc}"
    return f"{endpoint}/{bucket}"
