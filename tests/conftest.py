"""Fixtures: the functions as Function Compute loads them, and the stand-ins that they talk to."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.helpers import Clock, Conversation, Conversation3, Reply, as_new, warm_cloud
from tests.stand_ins.local_cloud import REPLY, ROOT, LocalCloud, load
from tests.stand_ins.runtimes import GENERATIONS, RUNTIMES


@pytest.fixture(scope="module", autouse=True)
def what_is_old_is_not_searched_for_garbage() -> None:
    """A search among all objects of all tests stops the stand-ins for half a second, and the functions give up."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """As it was: hypothesis, if it is imported only now, asks who refers to an object, and nobody frozen does."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def shared_cloud() -> Iterator[LocalCloud]:
    """One for all tests: what takes long is the cold start of the functions."""
    yield from warm_cloud()


@pytest.fixture(scope="session", params=GENERATIONS, ids=lambda runtime: f"{runtime.generation}.0")
def cloud_of_each_generation(request: pytest.FixtureRequest) -> Iterator[LocalCloud]:
    """The same, with the functions on either generation of Function Compute."""
    yield from warm_cloud(**request.param.settings())


@pytest.fixture(scope="session", params=RUNTIMES, ids=str)
def cloud_of_each_runtime(request: pytest.FixtureRequest) -> Iterator[LocalCloud]:
    """The same, with the functions on every runtime that they are for."""
    yield from warm_cloud(**request.param.settings())


@pytest.fixture
def cloud(shared_cloud: LocalCloud) -> Iterator[LocalCloud]:
    """All stand-ins, with both functions deployed and nothing in them from another test."""
    yield from as_new(shared_cloud)


@pytest.fixture(autouse=True)
def only_our_environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An environment that only the test fills, and the log at the level that FC has (assumed)."""
    for name in os.environ:
        monkeypatch.delenv(name)
    caplog.set_level(logging.INFO)


@pytest.fixture
def conversation(monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud) -> Conversation:
    """Dingtalk_Conversation in this process, on the generation that the cloud is of."""
    return (Conversation if cloud.generation == 2 else Conversation3)(monkeypatch, cloud)


@pytest.fixture(scope="session")
def warm_reply() -> ModuleType:
    """One instance for all tests of a process, as FC would have it: making its clients takes long."""
    return load(ROOT / f"{REPLY}.py")


@pytest.fixture
def reply(monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud, warm_reply: ModuleType) -> Reply:
    """Dingtalk_ChatGPT_Reply in this process, warm."""
    return Reply(monkeypatch, cloud, warm_reply)


@pytest.fixture
def cold_reply(monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud) -> Reply:
    """Dingtalk_ChatGPT_Reply in this process, new."""
    return Reply(monkeypatch, cloud, load(ROOT / f"{REPLY}.py"))


@pytest.fixture
def clock(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock of Dingtalk_ChatGPT_Reply that the test can turn."""
    clock = Clock()
    monkeypatch.setattr(reply.module, "time", clock)
    return clock
