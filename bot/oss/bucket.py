"""The bucket, and what its errors mean."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import re
from typing import Any

import oss2
import requests

from bot import sentences
from bot.connections import FreshConnections, read_up_to
from bot.logs import plain_words
from bot.settings import ReplySettings, role_credentials


def read_tail(bucket: oss2.Bucket, key: str, most_bytes: int) -> tuple[bytes, int]:
    """The last bytes of the object, and the length of the whole."""
    result = bucket.get_object(key, byte_range=(None, most_bytes))
    data = read_up_to(most_bytes, result)
    # An object that is shorter than the range comes with status 200, as a whole and without Content-Range.
    return data, int(result.content_range.rpartition("/")[2]) if result.content_range else len(data)


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
    ("policy", "by (the )?(bucket|vpc|endpoint) policy|bucket acl|bucket policy|vpc policy|PublicAccessBlock"),
    ("permission", "AccessDenied|AccessForbidden"),
    ("storage class", "InvalidObjectState|archive"),
    ("region", "InvalidArgument"),
    ("not appendable", "ObjectNotAppendable"),
    ("immutable", "FileImmutable"),
    ("encryption", "Kms"),
    ("busy", "RateLimit|QpsLimit|TooManyRequests"),
)
OSS_ERRORS = (
    oss2.exceptions.OssError,
    requests.RequestException,  # oss2 lets these through while a body is read
    concurrent.futures.TimeoutError,
    ValueError,  # an answer with headers that make no sense, or without end
    TypeError,
)


def version_problem() -> list[str]:
    """A sentence if oss2 is too old, such as 2.16.0, which the python3.10 of Function Compute has: it lacks V4."""
    if hasattr(oss2, "AuthV4"):
        return []
    return [sentences.OLD_OSS2.format(version=oss2.__version__)]


def open_bucket(settings: ReplySettings, context: Any) -> oss2.Bucket:
    """The bucket, over kept connections. Signed with V4, which needs the region: new accounts refuse V1."""
    role = role_credentials(context, os.environ)
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
    # A read is tried once more, because without it the bot has no memory; an append is not, because it may have been
    # carried out: append_line finds out. A connection that is refused now will be refused again.
    again = requests.adapters.Retry(
        1,
        connect=0,
        allowed_methods=("GET", "HEAD"),
        status_forcelist=(500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    return oss2.Session(adapter=FreshConnections(max_retries=again))


def oss_problem(error: BaseException) -> str:
    """What went wrong at OSS, for the person to pass on: what to change, or OSS's code and request id."""
    if not isinstance(error, oss2.exceptions.ServerError):
        return sentences.OSS_NOT_REACHED.format(error=type(error).__name__)
    told = f"{error.code} {error.message}"
    cause = next((cause for cause, words in CAUSES if re.search(words, told, re.IGNORECASE)), "")
    code = plain_words(error.code, 60) or f"HTTP {error.status}"
    problem = sentences.OSS_ERROR.format(code=code, request_id=plain_words(error.request_id, 60))
    return problem + (sentences.OSS_TODO.format(hint=sentences.OSS_HINTS[cause]) if cause else "")
