"""What dingtalk-stream's parser makes of each message in the JSON list on stdin: run by a Python that has it."""

from __future__ import annotations

import json
import sys
from typing import Any

from dingtalk_stream import ChatbotMessage


def parsed(message: dict[str, Any]) -> dict[str, Any]:
    """The fields that it did not know, its words and pictures, and the message as it would write it."""
    read = ChatbotMessage.from_dict(message)
    return {
        "unknown": sorted(read.extensions),
        "empty": sorted(name for name, value in vars(read).items() if value is None),
        "texts": read.get_text_list(),
        "pictures": read.get_image_list(),
        "written": read.to_dict(),
    }


if __name__ == "__main__":
    print(json.dumps([parsed(message) for message in json.load(sys.stdin)]))
