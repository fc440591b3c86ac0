"""The OSS stand-in, driven by the real oss2: it does what OSS does and refuses what OSS refuses."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import oss2
import pytest
import requests

from tests.stand_ins.oss import ERRORS, UNKNOWN_EC, Access, Bucket, Oss, crc64, error_fault, error_xml, signature_v4
from tests.stand_ins.server import Fault, Received

KEY = "chat-history/cid%2BAb%3D%3D/manager01.jsonl"
STS = oss2.StsAuth("STS.example-id", "example-secret", "example-token", oss2.AUTH_VERSION_4)
Connect = Callable[..., Any]


@pytest.fixture(scope="module")
def running() -> Iterator[Oss]:
    with Oss() as server:
        yield server


@pytest.fixture
def oss(running: Oss) -> Oss:
    """One server for all tests, as new for each."""
    running.reset()
    return running


@pytest.fixture
def connect(oss: Oss, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Makes an oss2.Bucket; its connections are closed after the test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = []

    def connect(auth: Any = STS, name: str = "example-bucket", region: str = "us-west-1", **options: Any) -> Any:
        made.append(oss2.Bucket(auth, oss.url, name, region=region, **options))
        return made[-1]

    yield connect
    for bucket in made:
        bucket.session.session.close()


@pytest.fixture
def bucket(connect: Connect) -> Any:
    """The example bucket with the temporary credentials of a role that may do everything."""
    return connect()


def refusal(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The error that OSS answers to this call."""
    with pytest.raises(oss2.exceptions.ServerError) as raised:
        call(*arguments, **options)
    return raised.value


# -- signature --------------------------------------------------------------------------------------------


def test_known_request_has_the_known_signature() -> None:
    """The one literal signature that was measured on oss2 2.19.1."""
    headers = {
        "x-oss-date": "20261122T080000Z",
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-security-token": "example-token",
        "user-agent": "is not signed",
    }
    query = {"position": "0", "append": ""}
    assert (
        signature_v4("POST", f"/example-bucket/{KEY}", query, headers, "example-secret", "us-west-1")
        == "b7bbd88f454da1b5cc6bfd09fe050808675a3f9be7f3fa9c66598dc8299a2913"
    )


def test_known_bytes_have_the_known_crc() -> None:
    """The check value of CRC-64/XZ, in one piece and in two."""
    assert crc64(b"123456789") == crc64(b"6789", crc64(b"12345")) == 0x995DC9BBDF1939FA


@pytest.mark.parametrize("auth", [STS, oss2.AuthV4("example-id", "example-secret")], ids=["role", "key"])
def test_either_kind_of_credentials_is_accepted(oss: Oss, connect: Connect, auth: Any) -> None:
    """A role's temporary credentials and a permanent access key."""
    oss.access["example-id"] = Access("example-secret")
    connect(auth).put_object("a", b"1")
    assert connect(auth).get_object("a").read() == b"1"


@pytest.mark.parametrize(
    ("spoil", "status", "code", "ec"),
    [
        ({"id": "other"}, 403, "InvalidAccessKeyId", "0002-00000902"),
        ({"secret": "other"}, 403, "SignatureDoesNotMatch", "0002-00000040"),
        ({"token": "other"}, 403, "InvalidSecurityToken", "0002-00000006"),
        ({"token": ""}, 403, "InvalidSecurityToken", "0002-00000003"),
        ({"region": "cn-hangzhou"}, 400, "InvalidArgument", "0002-00000226"),
        ({"version": oss2.AUTH_VERSION_1}, 403, "AccessDenied", "0002-00000080"),
        ({"version": oss2.AUTH_VERSION_2}, 400, "InvalidArgument", UNKNOWN_EC),
        ({"id": "example-id"}, 403, "InvalidAccessKeyId", "0002-00000002"),
    ],
    ids=["id", "secret", "token", "no token", "region", "V1", "V2", "token with a permanent key"],
)
def test_one_spoiled_credential_is_refused(
    oss: Oss, connect: Connect, spoil: dict[str, str], status: int, code: str, ec: str
) -> None:
    """Each check of the credentials stands on its own, and nothing is written."""
    oss.access["example-id"] = Access("example-secret")
    good = {"id": "STS.example-id", "secret": "example-secret", "token": "example-token"}
    use = {**good, "version": oss2.AUTH_VERSION_4, "region": "us-west-1", **spoil}
    auth = oss2.StsAuth(use["id"], use["secret"], use["token"], use["version"])
    error = refusal(connect(auth, region=use["region"]).put_object, "a", b"1")
    assert (error.status, error.code, error.ec, oss.keys()) == (status, code, ec, [])


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ({}, None),
        ({"Range": "bytes=0-0"}, None),
        ({"path": "/example-bucket/b"}, "SignatureDoesNotMatch"),
        ({"path": "/example-bucket/a?x=1"}, "SignatureDoesNotMatch"),
        ({"method": "DELETE"}, "SignatureDoesNotMatch"),
        ({"x-oss-range-behavior": "standard"}, "SignatureDoesNotMatch"),
        ({"Content-Type": "text/plain"}, "SignatureDoesNotMatch"),
        ({"x-oss-content-sha256": None}, "InvalidArgument"),
        ({"x-oss-date": "today"}, "AccessDenied"),
        ({"x-oss-date": None}, "AccessDenied"),
        ({"authorization": None}, "AccessDenied"),
        ({"authorization": "OSS4-HMAC-SHA256 Credential=x"}, "InvalidArgument"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_one_changed_thing_in_a_signed_request_is_noticed(
    oss: Oss, bucket: Any, spoil: dict[str, str | None], code: str | None
) -> None:
    """A request of oss2 sent again is accepted, and refused when a part that its signature covers was changed."""
    oss.write("a", b"12")
    bucket.get_object("a").read()
    headers: dict[str, str | None] = {**dict(oss.received[0].headers), **spoil}
    method, path = headers.pop("method", "GET"), headers.pop("path", "/example-bucket/a")
    answer = requests.request(method or "", oss.url + (path or ""), headers=headers, timeout=5)
    assert (code or "").encode() in answer.content
    assert answer.ok == (code is None)
    assert oss.keys() == ["a"]


def test_day_of_the_scope_must_be_that_of_the_date(oss: Oss, bucket: Any) -> None:
    """The signature alone would not notice: it is computed with the day of x-oss-date."""
    bucket.put_object("a", b"1")
    headers = dict(oss.received[0].headers)
    headers["authorization"] = re.sub(r"/\d{8}/", "/20200101/", headers["authorization"])
    answer = requests.put(oss.url + "/example-bucket/a", b"2", headers=headers, timeout=5)
    assert (answer.status_code, oss.read("a")) == (400, b"1")


@pytest.mark.parametrize(("seconds", "refused"), [(900, False), (901, True), (-900, False), (-901, True)])
def test_clock_more_than_15_minutes_off_is_refused(oss: Oss, bucket: Any, seconds: int, refused: bool) -> None:
    """Exactly 15 minutes are accepted, on both sides."""

    def clock() -> float:
        signed = datetime.strptime(oss.received[-1].headers["x-oss-date"], "%Y%m%dT%H%M%SZ")
        return signed.replace(tzinfo=timezone.utc).timestamp() + seconds

    oss.clock = clock
    if refused:
        assert refusal(bucket.put_object, "a", b"1").code == "RequestTimeTooSkewed"
    else:
        bucket.put_object("a", b"1")


# -- bucket and permissions -------------------------------------------------------------------------------


def test_missing_bucket_is_refused(connect: Connect) -> None:
    """A misspelt bucket name is told apart from a missing object."""
    error = refusal(connect(name="other-bucket").get_object, "a")
    assert isinstance(error, oss2.exceptions.NoSuchBucket)


def test_missing_bucket_is_told_before_a_wrong_key(connect: Connect) -> None:
    """As the tests of OSS's other SDK expect it: nobody needs a key to learn that a bucket is not there."""
    nobody = oss2.AuthV4("nobody", "nothing")
    assert refusal(connect(nobody, name="other-bucket").get_object, "a").code == "NoSuchBucket"
    assert refusal(connect(nobody).get_object, "a").code == "InvalidAccessKeyId"


def test_bucket_of_another_region_is_refused_with_its_endpoint(oss: Oss, connect: Connect) -> None:
    """OSS names the endpoint that the bucket must be addressed by."""
    oss.buckets["far-bucket"] = Bucket(region="cn-hangzhou")
    error = refusal(connect(name="far-bucket").get_object, "a")
    assert isinstance(error, oss2.exceptions.AccessDenied)
    assert error.ec == "0003-00001403"
    assert error.details["Endpoint"] == "oss-cn-hangzhou.aliyuncs.com"


@pytest.mark.parametrize(
    ("method", "arguments", "action"),
    [
        ("get_object", (), "oss:GetObject"),
        ("head_object", (), "oss:GetObject"),
        ("put_object", (b"new",), "oss:PutObject"),
        ("append_object", (3, b"new"), "oss:PutObject"),
        ("delete_object", (), "oss:DeleteObject"),
    ],
)
def test_call_needs_its_action_on_its_prefix(
    oss: Oss, bucket: Any, method: str, arguments: tuple[Any, ...], action: str
) -> None:
    """Refused without the action, refused outside the prefix, carried out with both."""
    everything = oss.access["STS.example-id"]
    without = replace(everything, actions=everything.actions - {action})
    elsewhere = replace(everything, prefixes=("chat-usage/", "chat-history-old/"))
    enough = replace(everything, actions=frozenset({action}), prefixes=("chat-usage/", "chat-history/"))
    oss.write(KEY, b"old")
    for access in (without, elsewhere):
        oss.access["STS.example-id"] = access
        assert isinstance(refusal(getattr(bucket, method), KEY, *arguments), oss2.exceptions.AccessDenied)
        assert oss.read(KEY) == b"old"
    oss.access["STS.example-id"] = enough
    getattr(bucket, method)(KEY, *arguments).resp.read()  # an unread body would keep its connection


@pytest.mark.parametrize(
    ("hide", "may_list", "status"), [(False, False, 404), (False, True, 404), (True, True, 404), (True, False, 403)]
)
def test_missing_object_is_404_unless_hidden(oss: Oss, bucket: Any, hide: bool, may_list: bool, status: int) -> None:
    """With the switch on, callers without oss:ListObjects cannot tell missing from forbidden."""
    access = oss.access["STS.example-id"]
    oss.hide_missing_keys = hide
    if not may_list:
        oss.access["STS.example-id"] = replace(access, actions=access.actions - {"oss:ListObjects"})
    assert refusal(bucket.get_object, KEY).status == status
    assert refusal(bucket.head_object, KEY).status == status
    assert bucket.append_object(KEY, 0, b"1").next_position == 1


# -- append -----------------------------------------------------------------------------------------------


def test_appends_at_the_length_grow_the_object(oss: Oss, bucket: Any) -> None:
    """Position, CRC (of the whole object, verified by oss2) and ETag follow each append."""
    first = bucket.append_object(KEY, 0, "你好\n".encode(), init_crc=0)
    second = bucket.append_object(KEY, first.next_position, b"more\n", init_crc=first.crc)
    assert (first.next_position, second.next_position) == (7, 12)
    assert second.crc == crc64("你好\nmore\n".encode())
    assert first.etag != second.etag
    assert oss.read(KEY) == "你好\nmore\n".encode()


@pytest.mark.parametrize(("held", "position"), [(b"123", 2), (b"123", 4), (b"123", 0), (None, 1)])
def test_append_elsewhere_is_refused_with_the_right_position(
    oss: Oss, bucket: Any, held: bytes | None, position: int
) -> None:
    """The refusal makes an append a compare-and-swap, and says where to go on."""
    if held is not None:
        oss.write(KEY, held)
    error = refusal(bucket.append_object, KEY, position, b"x")
    assert isinstance(error, oss2.exceptions.PositionNotEqualToLength)
    assert (error.status, error.next_position) == (409, len(held or b""))
    assert oss.read(KEY) == held


def test_append_to_a_put_object_is_refused(oss: Oss, bucket: Any) -> None:
    """A put makes an appendable object Normal, whatever the position."""
    bucket.append_object(KEY, 0, b"1")
    bucket.put_object(KEY, b"2")
    for position in (0, 1):
        error = refusal(bucket.append_object, KEY, position, b"x")
        assert isinstance(error, oss2.exceptions.ObjectNotAppendable)
    assert oss.read(KEY) == b"2"


@pytest.mark.parametrize("position", ["", "-1", "x"])
def test_append_without_a_number_is_refused(bucket: Any, position: str) -> None:
    """OSS names the argument that is wrong."""
    error = refusal(bucket.append_object, KEY, position, b"x")
    assert isinstance(error, oss2.exceptions.InvalidArgument)
    assert error.name == "position"


def test_20_writers_at_once_lose_nothing(oss: Oss, connect: Connect) -> None:
    """Compare-and-swap without any other lock: every line is there once, and no line is torn."""
    together = threading.Barrier(20)

    def writer(number: int) -> int:
        bucket, position, refused = connect(), 0, 0
        together.wait()
        while True:
            try:
                bucket.append_object(KEY, position, f"line {number}\n")
                return refused
            except oss2.exceptions.PositionNotEqualToLength as error:
                position = error.next_position
                refused += 1

    def slow_clock() -> float:
        time.sleep(0.001)  # it is read between the check and the change: without the lock, lines would be lost
        return time.time()

    oss.clock = slow_clock
    with ThreadPoolExecutor(20) as pool:
        refusals = sum(pool.map(writer, range(20)))
    lines = (oss.read(KEY) or b"").decode().splitlines()
    assert sorted(lines) == sorted(f"line {number}" for number in range(20))
    assert refusals >= 19


# -- get --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("bytes=-3", "7-9"),
        ("bytes=-10", "0-9"),
        ("bytes=-11", None),
        ("bytes=-0", None),
        ("bytes=4-", "4-9"),
        ("bytes=9-", "9-9"),
        ("bytes=10-", None),
        ("bytes=0-0", "0-0"),
        ("bytes=2-9", "2-9"),
        ("bytes=2-10", None),
        ("bytes=10-20", None),
        ("bytes=0-1,4-5", "0-1"),
        ("byte=0-1", None),
        ("bytes=-", None),
    ],
)
def test_range_of_ten_bytes_is_answered_as_documented(oss: Oss, bucket: Any, asked: str, answered: str | None) -> None:
    """206 with Content-Range where the range is valid, else the whole object."""
    oss.write("a", b"0123456789")
    result = bucket.get_object("a", headers={"Range": asked})
    first, _, last = (answered or "0-9").partition("-")
    assert result.read() == b"0123456789"[int(first) : int(last) + 1]
    assert result.status == (206 if answered else 200)
    assert result.content_range == (f"bytes {answered}/10" if answered else None)


@pytest.mark.parametrize(("size", "status"), [(131071, 200), (131072, 206), (131073, 206), (0, 200)])
def test_last_128_kib_are_the_end_of_the_object(oss: Oss, bucket: Any, size: int, status: int) -> None:
    """The journal's way to read: a shorter object comes whole, as 200."""
    data = bytes(number % 251 for number in range(size))
    oss.write(KEY, data)
    result = bucket.get_object(KEY, byte_range=(None, 131072))
    assert (result.read(), result.status) == (data[-131072:], status)


def test_get_tells_what_the_object_is(oss: Oss, bucket: Any) -> None:
    """Type, CRC, ETag and time of a Normal object; oss2 finds the CRC right."""
    bucket.put_object("a.txt", b"hello")
    result = bucket.get_object("a.txt")
    assert result.read() == b"hello"
    assert result.client_crc == result.server_crc == crc64(b"hello")
    assert result.etag == hashlib.md5(b"hello").hexdigest().upper()
    assert (result.object_type, result.content_type, result.content_length) == ("Normal", "text/plain", 5)
    assert abs(result.last_modified - time.time()) < 5


def test_missing_object_is_no_such_key(bucket: Any) -> None:
    """404 with OSS's XML: code, key, request id (as in the header), host, EC."""
    error = refusal(bucket.get_object, KEY)
    assert isinstance(error, oss2.exceptions.NoSuchKey)
    assert error.details == {
        "Code": "NoSuchKey",
        "Message": "The specified key does not exist.",
        "RequestId": error.request_id,
        "HostId": "example-bucket.oss-us-west-1.aliyuncs.com",
        "Key": KEY,
        "EC": "0026-00000001",
    }


def test_every_answer_looks_like_oss(oss: Oss, bucket: Any) -> None:
    """Request id, server and date are there on success and on refusal, and each request id is another."""
    seen = [bucket.put_object("a", b"1").headers, bucket.delete_object("a").headers]
    seen += [refusal(bucket.get_object, "a").headers, refusal(bucket.head_object, "a").headers]
    assert len({headers["x-oss-request-id"] for headers in seen}) == 4
    assert all(headers["Server"] == "AliyunOSS" and headers["Date"].endswith("GMT") for headers in seen)


# -- head -------------------------------------------------------------------------------------------------


def test_head_tells_length_and_type(oss: Oss, bucket: Any) -> None:
    """The length is that of the object although no body comes; an appendable object tells its next position."""
    oss.write(KEY, b"12345")
    result = bucket.head_object(KEY)
    assert (result.content_length, result.object_type, result.server_crc) == (5, "Appendable", crc64(b"12345"))
    assert result.headers["x-oss-next-append-position"] == "5"


def test_head_error_is_in_a_header(bucket: Any) -> None:
    """No body can carry the XML, so it comes as base64; oss2 reads it."""
    error = refusal(bucket.head_object, KEY)
    assert isinstance(error, oss2.exceptions.NoSuchKey)
    assert (error.ec, error.details["RequestId"], error.body) == ("0026-00000001", error.request_id, b"")
    assert b"<Code>NoSuchKey</Code>" in base64.b64decode(error.headers["x-oss-err"])


@pytest.mark.parametrize("method", ["get_object", "head_object"])
def test_every_error_has_its_number_in_a_header(oss: Oss, bucket: Any, method: str) -> None:
    """A refusal and each planned error, with a body and without."""
    for code, known in ERRORS.items():
        oss.plan(error_fault(code))
        assert refusal(getattr(bucket, method), KEY).headers["x-oss-ec"] == known.ec
    assert refusal(getattr(bucket, method), KEY).headers["x-oss-ec"] == "0026-00000001"
    assert refusal(bucket.append_object, KEY, "x", b"").headers["x-oss-ec"] == UNKNOWN_EC


# -- put and delete ---------------------------------------------------------------------------------------


def test_put_replaces_the_object(oss: Oss, bucket: Any) -> None:
    """The last put stays; oss2 finds the CRC right."""
    bucket.put_object("a", b"1")
    assert bucket.put_object("a", b"22").crc == crc64(b"22")
    assert oss.read("a") == b"22"


def test_put_under_a_condition_is_not_implemented(oss: Oss, bucket: Any) -> None:
    """OSS has no compare-and-swap on put."""
    oss.write("a", b"1")
    error = refusal(bucket.put_object, "a", b"2", headers={"If-Match": '"x"'})
    assert (error.status, error.code, oss.read("a")) == (501, "NotImplemented", b"1")


def test_wrong_digest_is_refused(oss: Oss, bucket: Any) -> None:
    """A Content-MD5 that does not fit the body means that the body was damaged."""
    wrong = {"Content-MD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}
    assert refusal(bucket.append_object, "a", 0, b"1", headers=wrong).code == "InvalidDigest"
    assert refusal(bucket.put_object, "a", b"1", headers=wrong).code == "InvalidDigest"
    right = {"Content-MD5": base64.b64encode(hashlib.md5(b"1").digest()).decode()}
    bucket.put_object("a", b"1", headers=right)


def test_delete_is_204_even_for_a_missing_object(oss: Oss, bucket: Any) -> None:
    """Deleting twice is no error, and the journal can begin anew."""
    bucket.append_object(KEY, 0, b"1")
    assert [bucket.delete_object(KEY).status for _ in range(2)] == [204, 204]
    assert oss.read(KEY) is None
    assert bucket.append_object(KEY, 0, b"22").next_position == 2


def test_body_in_chunks_is_appended(oss: Oss, bucket: Any) -> None:
    """oss2 sends a body of unknown length in chunks."""
    assert bucket.append_object(KEY, 0, iter([b"1", b"22"])).next_position == 3
    assert oss.received[0].headers["Transfer-Encoding"] == "chunked"
    assert oss.read(KEY) == b"122"


def test_deleted_object_of_a_versioned_bucket_may_begin_anew(oss: Oss, bucket: Any) -> None:
    """The other thing that OSS's documents say: position 0, and no other one, makes a new version."""
    oss.buckets["example-bucket"].versioned = True
    oss.buckets["example-bucket"].appendable_delete_markers = True
    bucket.append_object(KEY, 0, b"1")
    assert bucket.delete_object(KEY).delete_marker is True
    assert refusal(bucket.append_object, KEY, 1, b"2").next_position == 0
    assert bucket.append_object(KEY, 0, b"33").next_position == 2
    assert bucket.get_object(KEY).read() == b"33"


def test_deleted_object_of_a_versioned_bucket_takes_no_append(oss: Oss, bucket: Any) -> None:
    """A delete marker is no appendable object; a put ends it, and then the object is Normal."""
    oss.buckets["example-bucket"].versioned = True
    bucket.append_object(KEY, 0, b"1")
    assert bucket.delete_object(KEY).delete_marker is True
    assert refusal(bucket.get_object, KEY).headers["x-oss-delete-marker"] == "true"
    assert refusal(bucket.append_object, KEY, 0, b"2").code == "ObjectNotAppendable"
    bucket.put_object(KEY, b"3")
    assert bucket.get_object(KEY).read() == b"3"


@pytest.mark.parametrize(
    "call",
    [
        lambda bucket: bucket.list_objects(),
        lambda bucket: bucket.get_object_acl("a"),
        lambda bucket: bucket.copy_object("example-bucket", "a", "b"),
        lambda bucket: bucket.init_multipart_upload("a"),
        lambda bucket: bucket.get_object("a", headers={"If-None-Match": "x"}),
        lambda bucket: bucket.get_object("a", headers={"x-oss-range-behavior": "standard"}),
        lambda bucket: bucket.put_object("a", b"2", headers={"x-oss-forbid-overwrite": "true"}),
        lambda bucket: bucket.append_object("b", 0, b"2", headers={"X-Oss-Object-Acl": "private"}),
        lambda bucket: bucket.append_object("b", 0, b"2", headers={"x-oss-misspelt": "1"}),
        lambda bucket: bucket.get_object_meta("a"),
        lambda bucket: bucket.get_object("a", params={"versionId": "x"}),
    ],
    ids=[
        "list",
        "acl",
        "copy",
        "multipart",
        "condition",
        "range",
        "overwrite",
        "acl header",
        "unknown",
        "meta",
        "version",
    ],
)
def test_what_the_stand_in_does_not_know_is_refused(oss: Oss, bucket: Any, call: Callable[[Any], Any]) -> None:
    """Nothing is silently ignored."""
    oss.write("a", b"1")
    assert refusal(call, bucket).status == 501


# -- keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        "a//b",
        "a/",
        "a/../b",
        "a/./b",
        "a/%2E%2E/b",
        "a/%2F/b",
        "..a",
        "100%",
        "聊天记录/小钉 👋",
        "a b+c?d#e&f=g;h~i*j(k)'l\"m<n>",
        "a\\b",
        "k" * 1023,
        "字" * 341,
    ],
)
def test_key_survives_exactly(oss: Oss, bucket: Any, key: str) -> None:
    """Every call meets the same object, and the key is decoded once and nowhere normalised."""
    bucket.append_object(key, 0, b"1")
    assert oss.keys() == [key]
    assert bucket.get_object(key).read() == b"1"
    assert bucket.head_object(key).content_length == 1
    bucket.put_object(key, b"2")
    assert oss.read(key) == b"2"
    bucket.delete_object(key)
    assert oss.keys() == []


@pytest.mark.parametrize("key", ["/a", "\\a", "k" * 1024, "字" * 342], ids=["slash", "backslash", "1024", "1026"])
def test_key_that_oss_does_not_take_is_refused(oss: Oss, bucket: Any, key: str) -> None:
    """1 to 1023 bytes, no slash or backslash at the beginning."""
    error = refusal(bucket.append_object, key, 0, b"1")
    assert isinstance(error, oss2.exceptions.InvalidObjectName)
    assert oss.keys() == []


# -- connections, faults and helpers ----------------------------------------------------------------------


def test_calls_share_one_connection(oss: Oss, bucket: Any) -> None:
    """Successes and refusals alike leave the connection usable."""
    bucket.append_object(KEY, 0, b"1")
    bucket.get_object(KEY).read()
    bucket.head_object(KEY)
    refusal(bucket.head_object, "missing")
    refusal(bucket.append_object, KEY, 0, b"1")
    bucket.delete_object(KEY)
    bucket.put_object(KEY, b"1")
    assert len(oss.received) == 7
    assert len(oss.connections()) == 1


def is_append(received: Received) -> bool:
    return received.method == "POST"


def test_dropped_connection_is_a_request_error(oss: Oss, bucket: Any) -> None:
    """oss2 does not try again by itself, and nothing was done."""
    oss.plan(Fault(where=is_append, drop=True))
    with pytest.raises(oss2.exceptions.RequestError):
        bucket.append_object(KEY, 0, b"1")
    assert (oss.read(KEY), len(oss.received)) == (None, 1)
    bucket.append_object(KEY, 0, b"1")


def test_append_whose_answer_is_lost_was_carried_out(oss: Oss, bucket: Any) -> None:
    """The case that the journal must recognise: a repeat is refused with the length after the first."""
    oss.plan(Fault(where=is_append, drop=True, carry_out=True))
    with pytest.raises(oss2.exceptions.RequestError):
        bucket.append_object(KEY, 0, b"123")
    assert oss.read(KEY) == b"123"
    assert refusal(bucket.append_object, KEY, 0, b"123").next_position == 3


def test_slow_answer_is_a_request_error(oss: Oss, connect: Connect) -> None:
    """A read time-out of oss2 is the same kind of error as a drop."""
    oss.plan(Fault(delay=0.3))
    with pytest.raises(oss2.exceptions.RequestError):
        connect(connect_timeout=(1, 0.05)).get_object(KEY)


@pytest.mark.parametrize("method", ["get_object", "head_object"])
def test_planned_error_arrives_as_real_ones_do(oss: Oss, bucket: Any, method: str) -> None:
    """Status, code, message, EC and request id of every known error, with and without a body."""
    oss.write(KEY, b"1")
    for code, known in ERRORS.items():
        oss.plan(error_fault(code))
        error = refusal(getattr(bucket, method), KEY)
        assert (error.code, error.status, error.message, error.ec) == (code, *known)
        assert error.request_id == error.details["RequestId"]
    getattr(bucket, method)(KEY).resp.read()


def test_planned_error_can_meet_chosen_requests_and_do_the_work(oss: Oss, bucket: Any) -> None:
    """A 503 after the append was stored, twice, and no other request is touched."""
    oss.plan(error_fault("ServiceUnavailable", "too fast", where=is_append, times=2, carry_out=True))
    bucket.put_object("a", b"1")
    errors = [refusal(bucket.append_object, KEY, 0, b"1") for _ in range(2)]
    assert [(error.status, error.message) for error in errors] == [(503, "too fast")] * 2
    assert bucket.append_object(KEY, 1, b"2").next_position == 2


def test_error_body_is_escaped_xml() -> None:
    """Messages and elements may hold any text."""
    body = error_xml("NoSuchKey", "<&>", Key="a&b")
    assert b"<Message>&lt;&amp;&gt;</Message>" in body
    assert b"<Key>a&amp;b</Key>" in body


def test_reset_forgets_objects_and_restores_settings(oss: Oss, bucket: Any) -> None:
    """The next test finds the stand-in as it was made."""
    oss.write(KEY, b"1")
    oss.plan(Fault(drop=True))
    oss.access.clear()
    oss.buckets["example-bucket"].versioned = True
    oss.buckets["other"] = Bucket()
    oss.hide_missing_keys, oss.region, oss.clock = True, "cn-hangzhou", lambda: 0.0
    oss.reset()
    assert (oss.keys(), list(oss.buckets), oss.received) == ([], ["example-bucket"], [])
    assert bucket.append_object(KEY, 0, b"1").next_position == 1
    assert refusal(bucket.get_object, "missing").status == 404


def test_written_object_is_served_and_appendable(oss: Oss, bucket: Any) -> None:
    """The helpers see the same objects as the requests do."""
    oss.write(KEY, "你好")
    oss.write("normal", b"1", appendable=False)
    assert bucket.append_object(KEY, 6, b"!", init_crc=crc64("你好".encode())).next_position == 7
    assert refusal(bucket.append_object, "normal", 1, b"2").code == "ObjectNotAppendable"
    assert oss.keys() == [KEY, "normal"]
    assert oss.read("missing") is None
