"""Fixtures for modules about one of the two functions."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.functions.conversation import SECRETS
from tests.helpers import Conversation


@pytest.fixture
def no_secret_in_log(conversation: Conversation, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything is logged, and none of it may be a secret or come from aliyun-fc2."""
    caplog.set_level(logging.DEBUG)
    conversation.environment["VERBOSE"] = "DEBUG"
    yield
    records = caplog.get_records("call")
    assert not SECRETS.findall("\n".join(logging.Formatter().format(record) for record in records))
    assert "root" not in {record.name for record in records}  # where aliyun-fc2 logs its headers
