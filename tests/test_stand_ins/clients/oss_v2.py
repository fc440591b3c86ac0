"""What alibabacloud-oss-v2 makes of the OSS at sys.argv[1], as JSON: run by a Python that has it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import alibabacloud_oss_v2 as oss

BUCKET, KEY = "example-bucket", "chat-history/cid%2BAb%3D%3D/manager 01.jsonl"


def client(url: str, secret: str = "example-secret") -> Any:
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider("STS.example-id", secret, "example-token")
    config.region, config.endpoint, config.use_path_style = "us-west-1", url, True
    config.retry_max_attempts = 1
    return oss.Client(config)


def refusal(call: Callable[..., Any], request: Any) -> list[Any]:
    """Status, code and number that the client reads from an error; whether it has an id of the request."""
    try:
        call(request)
    except oss.exceptions.OperationError as error:
        told: Any = error.unwrap()
        return [told.status_code, told.code, told.ec, bool(told.request_id)]
    return ["no refusal"]


def main(url: str) -> dict[str, Any]:
    here, stranger = client(url), client(url, "other")
    at = {"bucket": BUCKET, "key": KEY}
    first = here.append_object(oss.AppendObjectRequest(**at, position=0, body=b"abc"))
    second = here.append_object(oss.AppendObjectRequest(**at, position=3, body="好".encode()))
    part = here.get_object(oss.GetObjectRequest(**at, range_header="bytes=-4"))
    whole = here.get_object(oss.GetObjectRequest(**at, range_header="bytes=-131072"))
    head = here.head_object(oss.HeadObjectRequest(**at))
    here.put_object(oss.PutObjectRequest(bucket=BUCKET, key="put", body=b"abc"))
    seen = {
        "appended": [first.next_position, second.next_position, second.hash_crc64],
        "tail": [part.status_code, part.content_range, part.body.content.decode(errors="replace")],
        "whole": [whole.status_code, whole.content_range, whole.body.content.decode()],
        "head": [head.content_length, head.object_type, head.next_append_position],
        "wrong position": refusal(here.append_object, oss.AppendObjectRequest(**at, position=1, body=b"d")),
        "not appendable": refusal(
            here.append_object, oss.AppendObjectRequest(bucket=BUCKET, key="put", position=3, body=b"d")
        ),
        "missing": refusal(here.get_object, oss.GetObjectRequest(bucket=BUCKET, key="none")),
        "missing, head": refusal(here.head_object, oss.HeadObjectRequest(bucket=BUCKET, key="none")),
        "wrong secret": refusal(stranger.get_object, oss.GetObjectRequest(**at)),
        "wrong secret, no bucket": refusal(stranger.get_object, oss.GetObjectRequest(bucket="no-bucket", key="a")),
        "unknown header": refusal(here.get_object, oss.GetObjectRequest(**at, range_behavior="standard")),
    }
    seen["deleted"] = [here.delete_object(oss.DeleteObjectRequest(**at)).status_code for _ in range(2)]
    return seen


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
