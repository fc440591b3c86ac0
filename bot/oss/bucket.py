"""The bucket, and what its errors mean."""

import concurrent.futures
import functools
import random
import re
from collections.abc import Callable
from typing import Any

import oss2
import requests

from bot import sentences
from bot.connections import FreshConnections, read_up_to
from bot.deadline import T, call_until, pause
from bot.logs import plain_words
from bot.settings import ReplySettings

# What an error of OSS means, by words of its code and its message; the first that fits.
CAUSES = (
    ("overdue", "InDebt|UserDisable|Overdue|Arrear|AbnormalBucketOwner"),
    ("bucket disabled", "BucketDisable|UbsmsInvalid"),
    ("other owner", "does not belong to you|BucketNotBelongTo"),
    ("no bucket", "NoSuchBucket|InvalidBucketName"),
    ("acceleration", "acceler"),
    ("public endpoint", "PublicEndpointForbidden"),
    ("endpoint", "SecondLevelDomainForbidden"),
    ("other region", "specified endpoint|valid endpoint"),
    ("role", "TokenExpired|InvalidSecurityToken|TokenNotMatch|TokenNotSupported"),
    ("clock", "RequestTimeTooSkewed|RequestExpired"),
    ("key id", "InvalidAccessKeyId"),
    ("key secret", "SignatureDoesNotMatch"),
    ("policy", "by (the )?(bucket|vpc|endpoint) policy|bucket policy|vpc policy|PublicAccessBlock"),
    ("permission", "AccessDenied|AccessForbidden"),
    ("storage class", "InvalidObjectState|archive"),
    ("region", "InvalidArgument"),
    ("not appendable", "ObjectNotAppendable"),
    ("immutable", "FileImmutable"),
    ("encryption", "Kms"),
    ("busy", "RateLimit|QpsLimit|TooManyRequests"),
)


class OssFailure(Exception):
    """OSS did not do what it was asked, or nobody can tell; the person sees the message below the answer."""

    def __init__(self, error: BaseException | None) -> None:
        exceptions, cause = oss2.exceptions, getattr(error, "exception", None)
        self.missing = isinstance(error, exceptions.NoSuchKey)
        self.denied = isinstance(error, exceptions.AccessDenied)
        self.end: int | None = getattr(error, "next_position", None)  # of the object, if the position was not it
        refused = isinstance(error, exceptions.ServerError) and 400 <= error.status < 500
        self.final = refused and self.end is None  # the same request is refused again
        super().__init__(oss_problem(error) if self.end is None else sentences.TOO_MANY_AT_ONCE)
        unsent = isinstance(cause, requests.ConnectionError) and hasattr((*cause.args, None)[0], "reason")  # of urllib3
        self.undone = refused or unsent  # for certain


def call_oss(deadline: float, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """What a call of oss2 returns, or OssFailure."""
    try:
        return call_until(deadline, functools.partial(call, *args, **kwargs))
    except (
        oss2.exceptions.OssError,
        requests.RequestException,  # oss2 lets these through while a body is read
        concurrent.futures.TimeoutError,
        ValueError,  # headers that make no sense, a body without end
    ) as error:
        raise OssFailure(error) from error


def append_bytes(bucket: Any, key: str, position: int, data: bytes, deadline: float) -> int:
    """Append at this position, which has to be the object's end; return the new end. Or OssFailure."""
    end = call_oss(deadline, bucket.append_object, key, position, data).next_position
    if end is None:  # it was not OSS that answered
        raise OssFailure(None)
    return int(end)


def back_off(tries: int, deadline: float) -> None:
    """A short pause before the next try, by chance, so that those who write at the same instant come apart."""
    pause(random.uniform(0, 0.01 * min(tries, 10)), deadline)


def read_tail(bucket: Any, key: str, most_bytes: int, deadline: float) -> tuple[bytes, int]:
    """The last bytes of the object, and the length of the whole; or OssFailure."""

    def read() -> tuple[bytes, int]:
        data, content_range = read_range(bucket, key, (None, most_bytes), most_bytes)
        # An object that is shorter than the range comes with status 200, as a whole and without Content-Range.
        return data, int(content_range.rpartition("/")[2]) if content_range else len(data)

    return call_oss(deadline, read)


def read_range(bucket: Any, key: str, byte_range: tuple[int | None, int], most_bytes: int) -> tuple[bytes, str]:
    """What OSS gives of an object for a range, and the Content-Range that it names; '' if that is the whole object."""
    result = bucket.get_object(key, byte_range=byte_range)
    chunks = result if result.content_length != 0 else ()  # of an empty body, oss2 has read the end already
    return read_up_to(most_bytes, chunks), result.content_range or ""


def version_problem() -> list[str]:
    """A sentence if oss2 is too old, such as 2.16.0, which the python3.10 of Function Compute has: it lacks V4."""
    if hasattr(oss2, "AuthV4"):
        return []
    return [sentences.OLD_OSS2.format(version=oss2.__version__)]


def open_bucket(settings: ReplySettings, context: Any, role: Any) -> oss2.Bucket:
    """The bucket, over kept connections. Signed with V4, which needs the region: new accounts refuse V1."""
    if settings.access_key_id and settings.access_key_secret:
        auth = oss2.AuthV4(settings.access_key_id, settings.access_key_secret)
    elif role:
        auth = oss2.StsAuth(role.access_key_id, role.access_key_secret, role.security_token, oss2.AUTH_VERSION_4)
    else:
        auth = oss2.AnonymousAuth()  # refused as AccessDenied, whose hint names the role
    endpoint = settings.oss_endpoint or f"https://oss-{context.region}-internal.aliyuncs.com"
    # An accelerate endpoint, oss-accelerate or oss-accelerate-overseas, is that of no region.
    region = re.search(r"[/.]oss-(?!accelerate)([a-z0-9-]+?)(-internal)?\.aliyuncs\.com", endpoint)
    return oss2.Bucket(
        auth,
        endpoint.replace(f"://{settings.oss_bucket_name}.", "://"),  # the console's has the bucket, which oss2 adds
        settings.oss_bucket_name,
        session=oss_session(),
        connect_timeout=(2, 5),  # to connect, and for each read
        enable_crc=False,  # TLS protects the bytes already, and without its C part crcmod is slow
        region=settings.oss_region or (region[1] if region else context.region),
    )


@functools.lru_cache(maxsize=1)
def oss_session() -> oss2.Session:
    """The connections to OSS, kept between messages."""
    # A read or a deletion is tried once more; an append is not: it may have been carried out, and the journal tells. A
    # connection that is refused now will be refused again.
    again = requests.adapters.Retry(
        1,
        connect=0,
        allowed_methods=("GET", "DELETE"),
        status_forcelist=(500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    return oss2.Session(adapter=FreshConnections(max_retries=again))


def oss_problem(error: BaseException | None) -> str:
    """What went wrong at OSS, for the person to pass on: what to change, or OSS's code and request id."""
    if not isinstance(error, oss2.exceptions.ServerError):
        return sentences.OSS_NOT_REACHED.format(error="200" if error is None else type(error).__name__)
    told = f"{error.code} {error.message}"
    cause = next((cause for cause, words in CAUSES if re.search(words, told, re.IGNORECASE)), "")
    code = plain_words(error.code, 60) or f"HTTP {error.status}"
    problem = sentences.OSS_ERROR.format(code=code, request_id=plain_words(error.request_id, 60))
    return problem + (sentences.OSS_WHAT_TO_DO.format(hint=sentences.OSS_HINTS[cause]) if cause else "")
