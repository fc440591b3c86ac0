"""Object Storage Service on 127.0.0.1: get with ranges, put, append, head and delete, as oss2 asks for them.

A path is `/bucket/key`: so oss2 addresses an endpoint that is an IP address. What the documents leave open is marked
"assumed". The stand-in refuses what it does not know, and ignores nothing: listing, multipart upload, conditions,
signed URLs, earlier versions.

https://help.aliyun.com/en/oss/developer-reference/appendobject
https://help.aliyun.com/document_detail/32005.html (errors)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import formatdate
from typing import NamedTuple
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

import crcmod  # type: ignore[import-untyped]

from .server import Answer, Fault, Received, StandIn

MAX_KEY_BYTES = 1023
MAX_SKEW_SECONDS = 15 * 60
ALGORITHM = "OSS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"  # the only value that OSS's V4 takes for x-oss-content-sha256

AUTHORIZATION = re.compile(
    ALGORITHM + r" Credential=(?P<id>[^/,]+)/(?P<day>\d{8})/(?P<region>[^/,]+)/oss/aliyun_v4_request"
    r", ?Signature=(?P<signature>[0-9a-f]{64})"
)
# Of several ranges OSS takes the first
RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)(?:,.*)?", re.ASCII)
# OSS itself answers 501 to PUT with If-Match; it knows the other conditions, and this stand-in does not
CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
OSS_HEADERS = ("x-oss-content-sha256", "x-oss-date", "x-oss-security-token")  # OSS knows more of this kind, we do not

# CRC-64/XZ, which OSS calls ECMA; crc64(more, crc64(data)) == crc64(data + more)
crc64: Callable[..., int] = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, rev=True, xorOut=0xFFFFFFFFFFFFFFFF)

Header = tuple[str, str]


# -- errors -----------------------------------------------------------------------------------------------


UNKNOWN_EC = "0000-00000000"  # documented: every error has a number. Which one, we do not know of all


class Error(NamedTuple):
    status: int
    message: str
    ec: str = UNKNOWN_EC  # OSS's number for the cause


# What OSS answers, and what a test may plan with `error_fault`
ERRORS = {
    "AccessDenied": Error(403, "You have no right to access this object because of bucket acl.", "0003-00000001"),
    "InternalError": Error(500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": Error(
        403, "The OSS Access Key Id you provided does not exist in our records.", "0002-00000902"
    ),
    "InvalidArgument": Error(400, "The argument is invalid."),
    "InvalidDigest": Error(400, "The Content-MD5 you specified was invalid."),
    "InvalidObjectName": Error(400, "The specified object is not valid."),
    "InvalidSecurityToken": Error(403, "The security token you provided is invalid.", "0002-00000006"),
    "NoSuchBucket": Error(404, "The specified bucket does not exist.", "0015-00000101"),
    "NoSuchKey": Error(404, "The specified key does not exist.", "0026-00000001"),
    "NotImplemented": Error(501, "A header you provided implies functionality that is not implemented."),
    "ObjectNotAppendable": Error(409, "The object is not appendable", "0026-00000017"),
    "PositionNotEqualToLength": Error(409, "Position is not equal to file length", "0026-00000016"),
    "PublicEndpointForbidden": Error(400, "The public endpoint of this bucket is not open to your account."),
    "RequestTimeTooSkewed": Error(
        403, "The difference between the request time and the current time is too large.", "0002-00000504"
    ),
    "SecurityTokenExpired": Error(403, "The security token you provided has expired.", "0002-00000007"),
    "ServiceUnavailable": Error(503, "Please reduce your request rate."),
    "SignatureDoesNotMatch": Error(
        403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing"
        " method.",
        "0002-00000040",
    ),
    "UserDisable": Error(403, "UserDisable", "0003-00000801"),  # the account is in arrears
}


class Refusal(Exception):
    """OSS answers this error instead of doing what was asked."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        ec: str | None = None,
        headers: tuple[Header, ...] = (),
        **elements: str,  # further elements of the XML
    ) -> None:
        super().__init__(code)
        self.code, self.message, self.ec, self.elements = code, message, ec, elements
        self.headers = headers


def error_xml(
    code: str,
    message: str | None = None,
    *,
    ec: str | None = None,
    request_id: str = "5CAC0FEADE01700000AB",
    host_id: str = "example-bucket.oss-us-west-1.aliyuncs.com",
    **elements: str,
) -> bytes:
    """The body of an error; message and ec are those of ERRORS unless given."""
    known = ERRORS.get(code, Error(400, ""))
    content = {
        "Code": code,
        "Message": known.message if message is None else message,
        "RequestId": request_id,
        "HostId": host_id,
        **elements,
        "EC": known.ec if ec is None else ec,
    }
    xml = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in content.items() if text)
    return f'<?xml version="1.0" encoding="UTF-8"?><Error>{xml}</Error>'.encode()


def error_fault(
    code: str,
    message: str | None = None,
    *,
    where: Callable[[Received], bool] = lambda received: True,
    times: int = 1,
    carry_out: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Fault:
    """A planned error as OSS would send it, for GET and for HEAD; `dataclasses.replace` sets the rest of the fault."""
    request_id = new_request_id()
    body = error_xml(code, message, request_id=request_id)
    shown = {
        "Content-Type": "application/xml",
        "x-oss-request-id": request_id,
        "x-oss-ec": ERRORS[code].ec,
        "x-oss-err": base64.b64encode(body).decode(),  # oss2 reads it only if there is no body
        **(headers or {}),
    }
    status = ERRORS[code].status
    return Fault(where, times, status=status, body=body, headers=tuple(shown.items()), carry_out=carry_out)


def new_request_id() -> str:
    return secrets.token_hex(12).upper()


# -- signature --------------------------------------------------------------------------------------------


def signature_v4(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], secret: str, region: str
) -> str:
    """The hex signature of one request. `path` (`/bucket/key`) and `query` are decoded, header names are lower-case."""
    signed = {
        name: value.strip()
        for name, value in headers.items()
        if name.startswith("x-oss-") or name in ("content-type", "content-md5")
    }
    canonical = "\n".join(
        (
            method,
            quote(path, safe="/~"),
            "&".join(
                # a parameter without a value has no `=` here, although oss2 sends one
                name + ("=" + value if value else "")
                for name, value in sorted(
                    (quote(name, safe="~"), quote(value, safe="~")) for name, value in query.items()
                )
            ),
            "".join(f"{name}:{signed[name]}\n" for name in sorted(signed)),
            "",  # no additional headers
            UNSIGNED,
        )
    )
    scope = (headers["x-oss-date"][:8], region, "oss", "aliyun_v4_request")
    # http.server gives the bytes of a header as latin-1; the rest of the text is ASCII
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    key = ("aliyun_v4" + secret).encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    text = "\n".join((ALGORITHM, headers["x-oss-date"], "/".join(scope), digest))
    return hmac.digest(key, text.encode(), "sha256").hex()


# -- what the service holds -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Access:
    """One access key, or the temporary credentials of a role."""

    secret: str
    token: str | None = None  # an STS token: required and compared when set
    actions: frozenset[str] = frozenset({"oss:GetObject", "oss:PutObject", "oss:DeleteObject", "oss:ListObjects"})
    prefixes: tuple[str, ...] = ("",)  # the beginnings of the keys on which the actions are granted

    def allows(self, action: str, key: str) -> bool:
        return action in self.actions and key.startswith(self.prefixes)


@dataclass(frozen=True)
class Object:
    """The current version of one object; an append or a put replaces it."""

    data: bytes = field(repr=False)
    appendable: bool
    crc: int  # CRC-64 of the data, kept so that an append only reads the new bytes
    content_type: str = "application/octet-stream"
    modified: float = 0.0  # seconds since 1970

    @property
    def etag(self) -> str:
        if self.appendable:  # documented: it is not the MD5
            return f'"{self.crc:016X}{len(self.data):016X}"'
        return f'"{hashlib.md5(self.data).hexdigest().upper()}"'


@dataclass
class Bucket:
    region: str = "us-west-1"
    versioned: bool = False
    # The documents say both: nothing can be appended to a delete marker, and: position 0 makes a new version
    appendable_delete_markers: bool = False
    objects: dict[str, Object] = field(default_factory=dict)
    delete_markers: set[str] = field(default_factory=set)  # versioned buckets only


EXAMPLE_ACCESS: Mapping[str, Access] = {"STS.example-id": Access("example-secret", "example-token")}


class Oss(StandIn):
    """OSS behind the endpoint of one region. `access`, `buckets` and the switches may be changed at any time."""

    server_name = "AliyunOSS"

    def __init__(
        self,
        access: Mapping[str, Access] = EXAMPLE_ACCESS,
        buckets: Iterable[str] = ("example-bucket",),
        region: str = "us-west-1",
        hide_missing_keys: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """With `hide_missing_keys` a caller without oss:ListObjects gets 403, not 404; what OSS does is unknown."""
        super().__init__()
        self._settings = (dict(access), tuple(buckets), region, hide_missing_keys, clock)
        self._changes = threading.Lock()  # OSS is strongly consistent: one change at a time
        self._restore()

    def _restore(self) -> None:
        access, names, self.region, self.hide_missing_keys, self.clock = self._settings
        self.access: dict[str, Access] = dict(access)
        self.buckets: dict[str, Bucket] = {name: Bucket(self.region) for name in names}

    def reset(self) -> None:
        """Also empty every bucket and restore the settings that the constructor got."""
        super().reset()
        self._restore()

    # -- for tests ----------------------------------------------------------------------------------------

    def read(self, key: str, bucket: str = "example-bucket") -> bytes | None:
        """The bytes of the object; None if there is none."""
        found = self.buckets[bucket].objects.get(key)
        return None if found is None else found.data

    def write(self, key: str, data: bytes | str, appendable: bool = True, bucket: str = "example-bucket") -> None:
        """Put the object there without a request."""
        data = data.encode() if isinstance(data, str) else data
        with self._changes:
            self._store(self.buckets[bucket], key, Object(data, appendable, crc64(data), modified=self.clock()))

    def everything(self, bucket: str = "example-bucket") -> list[bytes]:
        """The bytes of all objects."""
        return [found.data for found in self.buckets[bucket].objects.values()]

    def keys(self, bucket: str = "example-bucket") -> list[str]:
        """The keys of all objects, sorted."""
        return sorted(self.buckets[bucket].objects)

    # -- one request --------------------------------------------------------------------------------------

    def respond(self, received: Received) -> Answer:
        request_id = new_request_id()
        try:
            answer = self._serve(received)
        except Refusal as refusal:
            answer = self._refuse(received, refusal, request_id)
        return answer.with_header("x-oss-request-id", request_id)

    def _refuse(self, received: Received, refusal: Refusal, request_id: str) -> Answer:
        host_id = f"{self._bucket_and_key(received)[0]}.oss-{self.region}.aliyuncs.com".lstrip(".")
        body = error_xml(
            refusal.code,
            refusal.message,
            ec=refusal.ec,
            request_id=request_id,
            host_id=host_id,
            **refusal.elements,
        )
        status, _, ec = ERRORS[refusal.code]
        headers = (*refusal.headers, ("x-oss-ec", refusal.ec or ec))
        if received.method == "HEAD":  # it has no body, so the error goes into a header
            return Answer(status, (*headers, ("x-oss-err", base64.b64encode(body).decode())))
        return Answer(status, (*headers, ("Content-Type", "application/xml")), body)

    def _serve(self, received: Received) -> Answer:
        """Check bucket, caller, request and permission, then do what was asked.

        The order of the checks is assumed, but for the first: OSS tells of a missing bucket before a wrong key.
        """
        name, key = self._bucket_and_key(received)
        if name and name not in self.buckets:
            raise Refusal("NoSuchBucket", BucketName=name)
        access = self._authenticate(received, f"/{name}/{key}")
        bucket = self._bucket(name)
        operations: dict[tuple[str, frozenset[str]], tuple[str, Callable[..., Answer]]] = {
            ("GET", frozenset()): ("oss:GetObject", self._get),
            ("HEAD", frozenset()): ("oss:GetObject", self._head),
            ("PUT", frozenset()): ("oss:PutObject", self._put),
            ("POST", frozenset({"append"})): ("oss:PutObject", self._append),
            ("POST", frozenset({"append", "position"})): ("oss:PutObject", self._append),
            ("DELETE", frozenset()): ("oss:DeleteObject", self._delete),
        }
        found = operations.get((received.method, frozenset(received.query)))
        unknown = [name for name in map(str.lower, received.headers) if is_unknown(name)]
        if not found or not key or unknown:
            what = ", ".join(unknown) or f"{received.method} ?{received.query_string}"
            raise Refusal("NotImplemented", f"{ERRORS['NotImplemented'].message} ({what})")
        if key[0] in "/\\" or len(key.encode()) > MAX_KEY_BYTES:
            raise Refusal("InvalidObjectName", ObjectName=key)
        action, operation = found
        if not access.allows(action, key):
            raise Refusal("AccessDenied")
        return operation(received, access, bucket, key)

    @staticmethod
    def _bucket_and_key(received: Received) -> tuple[str, str]:
        """From the path as sent, decoded exactly once: `%252F` means that the key holds `%2F`."""
        name, _, key = received.path[1:].partition("/")
        return unquote(name), unquote(key)  # bytes that are not UTF-8 become U+FFFD, so the signature cannot match

    def _authenticate(self, received: Received, path: str) -> Access:
        headers = {name.lower(): value for name, value in received.headers.items()}
        authorization = headers.get("authorization")
        if not authorization:
            raise Refusal("AccessDenied")
        if authorization.startswith("OSS "):  # V1; 403 and the EC are documented, the code is assumed
            raise Refusal("AccessDenied", "V1 signature is not supported, please use V4.", ec="0002-00000080")
        credential = AUTHORIZATION.fullmatch(authorization)
        if not credential:  # assumed
            raise Refusal("InvalidArgument", "Authorization header is invalid.")
        if credential["region"] != self.region:  # as in aliyun/alibabacloud-oss-go-sdk-v2#29
            raise Refusal("InvalidArgument", "Invalid signing region in Authorization header.", ec="0002-00000226")
        access = self.access.get(credential["id"])
        if access is None:
            raise Refusal("InvalidAccessKeyId", OSSAccessKeyId=credential["id"])
        self._check_token(access, headers.get("x-oss-security-token"))
        self._check_date(headers.get("x-oss-date", ""), credential["day"])
        if headers.get("x-oss-content-sha256") != UNSIGNED:  # assumed
            raise Refusal("InvalidArgument", "x-oss-content-sha256 must be UNSIGNED-PAYLOAD.")
        wanted = signature_v4(received.method, path, received.query, headers, access.secret, self.region)
        if not hmac.compare_digest(wanted, credential["signature"]):
            raise Refusal("SignatureDoesNotMatch", OSSAccessKeyId=credential["id"])
        return access

    @staticmethod
    def _check_token(access: Access, token: str | None) -> None:
        # Documented: each of the three is refused, with this EC. Assumed: the code of a missing token
        if access.token is None and token is not None:  # OSS looks for a temporary key of this id, and finds none
            raise Refusal("InvalidAccessKeyId", ec="0002-00000002")
        if access.token is not None and token is None:
            raise Refusal("InvalidSecurityToken", ec="0002-00000003")
        if access.token is not None and token is not None and not hmac.compare_digest(access.token, token):
            raise Refusal("InvalidSecurityToken")

    def _check_date(self, date: str, day: str) -> None:
        try:
            seconds = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
        except ValueError:
            raise Refusal("AccessDenied", "OSS authentication requires a valid Date.") from None
        if not date.startswith(day):  # assumed
            raise Refusal("InvalidArgument", "Invalid signing date in Authorization header.")
        if abs(self.clock() - seconds) > MAX_SKEW_SECONDS:
            raise Refusal("RequestTimeTooSkewed")

    def _bucket(self, name: str) -> Bucket:
        bucket = self.buckets.get(name)
        if bucket is None:  # '' is the list of all buckets
            raise Refusal("NotImplemented")
        if bucket.region != self.region:
            raise Refusal(
                "AccessDenied",
                "The bucket you are attempting to access must be addressed using the specified endpoint. Please send"
                " all future requests to this endpoint.",
                ec="0003-00001403",
                Bucket=name,
                Endpoint=f"oss-{bucket.region}.aliyuncs.com",
            )
        return bucket

    # -- operations ---------------------------------------------------------------------------------------

    def _get(self, received: Received, access: Access, bucket: Bucket, key: str) -> Answer:
        found = self._find(access, bucket, key)
        part = byte_range(received.headers.get("Range", ""), len(found.data))
        headers = self._describe(found)  # the CRC is always that of the whole object
        if part is None:
            return Answer(200, headers, found.data)
        first, last = part
        content_range = ("Content-Range", f"bytes {first}-{last}/{len(found.data)}")
        return Answer(206, (*headers, content_range), found.data[first : last + 1])

    def _head(self, received: Received, access: Access, bucket: Bucket, key: str) -> Answer:
        found = self._find(access, bucket, key)
        answer = Answer(200, self._describe(found), found.data)
        if found.appendable:
            return answer.with_header("x-oss-next-append-position", str(len(found.data)))
        return answer

    def _put(self, received: Received, access: Access, bucket: Bucket, key: str) -> Answer:
        self._check_digest(received)
        new = Object(received.body, False, crc64(received.body), self._content_type(received), self.clock())
        with self._changes:
            self._store(bucket, key, new)
        return Answer(200, (("ETag", new.etag), ("x-oss-hash-crc64ecma", str(new.crc))))

    def _append(self, received: Received, access: Access, bucket: Bucket, key: str) -> Answer:
        position = received.query.get("position", "")
        if not (position.isascii() and position.isdigit()):
            ec = UNKNOWN_EC if position else "0016-00000501"
            raise Refusal("InvalidArgument", ec=ec, ArgumentName="position", ArgumentValue=position)
        self._check_digest(received)
        with self._changes:
            old = bucket.objects.get(key) or Object(b"", True, 0, self._content_type(received))
            deleted = key in bucket.delete_markers and not bucket.appendable_delete_markers
            if deleted or not old.appendable:  # the code for a delete marker is assumed
                raise Refusal("ObjectNotAppendable")
            if int(position) != len(old.data):
                position_header = ("x-oss-next-append-position", str(len(old.data)))
                raise Refusal("PositionNotEqualToLength", headers=(position_header,))
            crc = crc64(received.body, old.crc)
            new = Object(old.data + received.body, True, crc, old.content_type, self.clock())
            self._store(bucket, key, new)
        headers = (
            ("ETag", new.etag),
            ("x-oss-hash-crc64ecma", str(new.crc)),  # of the whole object, not of what was added
            ("x-oss-next-append-position", str(len(new.data))),
        )
        return Answer(200, headers)

    def _delete(self, received: Received, access: Access, bucket: Bucket, key: str) -> Answer:
        with self._changes:
            bucket.objects.pop(key, None)
            if not bucket.versioned:
                return Answer(204)
            bucket.delete_markers.add(key)  # even if there was no object
        return Answer(204, (("x-oss-delete-marker", "true"), ("x-oss-version-id", secrets.token_hex(16))))

    # -- what the operations share ------------------------------------------------------------------------

    def _find(self, access: Access, bucket: Bucket, key: str) -> Object:
        found = bucket.objects.get(key)
        if found is not None:
            return found
        if self.hide_missing_keys and not access.allows("oss:ListObjects", key):
            raise Refusal("AccessDenied")
        marker = (("x-oss-delete-marker", "true"),) if key in bucket.delete_markers else ()
        raise Refusal("NoSuchKey", headers=marker, Key=key)

    @staticmethod
    def _store(bucket: Bucket, key: str, new: Object) -> None:
        bucket.objects[key] = new
        bucket.delete_markers.discard(key)

    @staticmethod
    def _describe(found: Object) -> tuple[Header, ...]:
        return (
            ("Content-Type", found.content_type),
            ("Accept-Ranges", "bytes"),
            ("ETag", found.etag),
            ("Last-Modified", formatdate(found.modified, usegmt=True)),
            ("x-oss-hash-crc64ecma", str(found.crc)),
            ("x-oss-object-type", "Appendable" if found.appendable else "Normal"),
            ("x-oss-storage-class", "Standard"),
        )

    @staticmethod
    def _content_type(received: Received) -> str:
        return received.headers.get("Content-Type", "application/octet-stream")

    @staticmethod
    def _check_digest(received: Received) -> None:
        wanted = received.headers.get("Content-MD5")
        if wanted is not None and wanted != base64.b64encode(hashlib.md5(received.body).digest()).decode():
            raise Refusal("InvalidDigest")


def is_unknown(header: str) -> bool:
    """Whether this stand-in does not know a header that OSS would heed, or that we misspelt."""
    return header in CONDITIONS or (header.startswith("x-oss-") and header not in OSS_HEADERS)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header; None for the whole object, which is OSS's answer to an invalid range."""
    match = RANGE.fullmatch(header)
    if match is None or not (match["first"] or match["last"]):
        return None
    if match["first"]:
        first, last = int(match["first"]), int(match["last"] or size - 1)
    else:
        first, last = size - int(match["last"]), size - 1
    return (first, last) if 0 <= first <= last < size else None
