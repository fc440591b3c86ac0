"""What Function Compute 3.0 has of its own, for function_compute.py: its signature, and HTTP requests as events.

https://help.aliyun.com/en/functioncompute/fc/developer-reference/signature-mechanism
https://www.alibabacloud.com/help/en/functioncompute/fc/http-trigger-invoking-function
https://help.aliyun.com/en/functioncompute/fc/why-does-the-first-letter-of-header-key-become-uppercase-when-using-http-trigger-call
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from .server import Received

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # what may be the name of a header; Go leaves others as they are
SIGNED = ("host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version")


class Authorization(NamedTuple):
    """The header of this name: `ACS3-HMAC-SHA256 Credential=<id>,SignedHeaders=<names>,Signature=<hex>`."""

    scheme: str
    key_id: str
    signed: list[str]  # names of headers
    signature: str


def parse_authorization(text: str) -> Authorization:
    """What is missing is ''."""
    scheme, _, rest = text.partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    names = parts.get("SignedHeaders", "").split(";")
    return Authorization(scheme, parts.get("Credential", ""), names, parts.get("Signature", ""))


def signature(received: Received, signed: list[str], secret: str) -> str:
    """The hex digits of ACS3-HMAC-SHA256 for the request as it arrived; written from the documentation."""
    query = sorted(parse_qsl(received.query_string, keep_blank_values=True))
    canonical = [
        received.method,
        received.path,
        "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query),
    ]
    canonical += [f"{name}:{','.join(map(str.strip, received.headers.get_all(name, [])))}" for name in signed]
    canonical += ["", ";".join(signed), hashlib.sha256(received.body).hexdigest()]
    hashed = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    return hmac.new(secret.encode(), f"ACS3-HMAC-SHA256\n{hashed}".encode(), hashlib.sha256).hexdigest()


def unsigned(received: Received, signed: list[str]) -> list[str]:
    """The headers that must be signed but are not: SIGNED, x-acs-* and content-type."""
    there = {name.lower() for name in received.headers}
    others = {name for name in there if name.startswith("x-acs-") or name == "content-type"}
    return sorted({*SIGNED, *others} - set(signed))


def http_event(received: Received, path: str, name: str, account_id: str, request_id: str) -> bytes:
    """The event of an HTTP trigger, version v1. Assumed: base64 for a body that is not UTF-8."""
    headers: dict[str, str] = {}
    for header, value in received.headers.items():
        header = canonical(header)
        headers[header] = f"{headers[header]},{value}" if header in headers else value
    now = time.time()
    event = {
        "version": "v1",
        "rawPath": path,
        "headers": headers,
        "queryParameters": received.query,
        **body_fields(received.body),
        "requestContext": {
            "accountId": account_id,
            "domainName": f"{name}.example.fcapp.run",
            "domainPrefix": name,
            "requestId": request_id,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            "timeEpoch": str(int(now * 1000)),
            "http": {
                "method": received.method,
                "path": unquote(path),
                "protocol": "HTTP/1.1",
                "sourceIp": received.connection.rpartition(":")[0],
                "userAgent": received.headers.get("User-Agent", ""),
            },
        },
    }
    return json.dumps(event, ensure_ascii=False).encode()


def canonical(header: str) -> str:
    """The name of a header as Go's net/http writes it, which is documented: `x-a1b_c` -> `X-A1b_c`."""
    if not TOKEN.fullmatch(header):
        return header
    return "-".join(part[:1].upper() + part[1:].lower() for part in header.split("-"))


def body_fields(body: bytes) -> dict[str, Any]:
    """How an event holds the body of a request."""
    try:
        return {"body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def http_answer(result: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of the answer. A result without a statusCode is itself the body."""
    try:
        answer: Any = json.loads(result)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return 200, [("Content-Type", "application/json")], result
    given = {"Content-Type": "application/json", **answer.get("headers", {})}
    headers = [(name, str(value)) for name, value in given.items()]
    body = answer.get("body", "")
    data = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    if any(end in text for header in headers for text in header for end in "\r\n"):
        raise ValueError(f"a line break in a header: {headers}")
    return int(answer["statusCode"]), headers, data
