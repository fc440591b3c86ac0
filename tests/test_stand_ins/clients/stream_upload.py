"""The media_id that dingtalk-stream gets for a picture of the stand-in at <url>: run by a Python that has it."""

from __future__ import annotations

import json
import sys
from typing import Any

import requests
from dingtalk_stream import Credential, DingTalkStreamClient
from requests.adapters import HTTPAdapter

PICTURE = b"GIF89a\r\n--"


class ToTheStandIn(HTTPAdapter):
    """DingTalk's hosts stand in its code."""

    def send(self, request: requests.PreparedRequest, *more: Any, **how: Any) -> requests.Response:
        request.url = sys.argv[1] + str(request.url).partition(".com")[2]
        return super().send(request, *more, **how)


if __name__ == "__main__":
    requests.sessions.HTTPAdapter = ToTheStandIn
    client = DingTalkStreamClient(Credential(*sys.argv[2:]))
    print(json.dumps(client.upload_to_dingtalk(PICTURE, filename="a.gif", mimetype="image/gif")))
