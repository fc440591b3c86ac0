"""Fixtures: the functions as Function Compute loads them, and the stand-ins that they talk to."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType

import hypothesis
import pytest

with warnings.catch_warnings():
    # oss2 2.19.1 has invalid escape sequences. Python says so while it compiles the package, and names the file, not
    # the module, so no filter of pytest matches; without bytecode (uv, PYTHONDONTWRITEBYTECODE) that is every time.
    warnings.simplefilter("ignore")
    import oss2  # noqa: F401

from bot import sentences
from tests import forks
from tests.conversation import SECRETS
from tests.helpers import Clock, Conversation, Conversation3, Reply, as_new, bounded, set_clock, warm_cloud
from tests.stand_ins.fork_server import fork_servers
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, LocalCloud, load
from tests.stand_ins.runtimes import EACH_RUNTIME, GENERATIONS, Runtime

BOUND_SECONDS, BOUND_SECONDS_OF_FULL = 90, 900  # of what takes 15 and 150 on a quiet machine
MAX_NAME = 100

pytest_cmdline_main = forks.pytest_cmdline_main


def pytest_configure(config: pytest.Config) -> None:
    """How many examples hypothesis thinks up: few by default, hundreds when all is tested."""
    hypothesis.settings.register_profile(
        "this run",
        max_examples=10 if config.getoption("markexpr") == "not full" else 200,
        deadline=None,  # a real request is in every example
        derandomize=True,  # the same examples in every run: a failure is the change's, not the day's
        suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
    )
    hypothesis.settings.load_profile("this run")
    # A kill ends the tests as Ctrl-C does: what they started ends with them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with bounded(bound_of(item)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with bounded(bound_of(item)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    with bounded(bound_of(item)):
        return (yield)


def bound_of(item: pytest.Item) -> float:
    """Seconds that no step of this test takes, however busy the machine is."""
    return BOUND_SECONDS_OF_FULL if item.get_closest_marker("full") else BOUND_SECONDS


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What hypothesis thinks up is run at both speeds: with hundreds of examples it takes long."""
    if config.getoption("markexpr") != "not full":
        for item in items:
            if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
                item.add_marker("full")


def pytest_make_parametrize_id(val: object) -> str | None:
    """A text of megabytes is no name: pytest makes one of every text, and it is in the environment of every test."""
    if isinstance(val, str | bytes) and len(val) > MAX_NAME:
        return f"{val[:40]!r}, {len(val)} long"
    return None


def pytest_xdist_auto_num_workers() -> int:
    """Four more than there are processors: many tests only wait."""
    return (os.cpu_count() or 1) + 4


def pytest_sessionstart() -> None:
    """What ignores Ctrl-C, as a suite that was started with nohup does, passes that on to what it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Iterator[None]:
    """Instances start without importing the packages: a second of CPU less, several hundred times."""
    with fork_servers(sys.executable):
        return (yield)


@pytest.fixture(scope="module", autouse=True)
def what_is_old_is_not_searched_for_garbage() -> None:
    """A search among all objects of all tests stops the stand-ins for half a second, and the functions give up."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """As it was: hypothesis, if it is imported only now, asks who refers to an object, and nobody frozen does."""
    gc.unfreeze()


def pytest_unconfigure() -> None:
    """What is left ends with the process: pytest searches it for garbage five times."""
    gc.freeze()


@pytest.fixture(scope="session")
def warm_clouds() -> Iterator[Callable[[Runtime], LocalCloud]]:
    """The cloud of a runtime, one for all tests of a process, made when the first of them needs it.

    Not a fixture with these parameters: pytest would end it whenever the next test has another one.
    """
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda runtime: stack.enter_context(warm_cloud(**runtime.settings())))


@pytest.fixture(params=GENERATIONS, ids=lambda runtime: f"{runtime.generation}.0")
def cloud_of_each_generation(
    request: pytest.FixtureRequest, warm_clouds: Callable[[Runtime], LocalCloud]
) -> LocalCloud:
    """All stand-ins, with both functions deployed, on either generation of Function Compute."""
    return warm_clouds(request.param)


@pytest.fixture(params=EACH_RUNTIME)
def cloud_of_each_runtime(request: pytest.FixtureRequest, warm_clouds: Callable[[Runtime], LocalCloud]) -> LocalCloud:
    """The same, with the functions on every runtime that they are for."""
    return warm_clouds(request.param)


@pytest.fixture
def cloud(warm_clouds: Callable[[Runtime], LocalCloud]) -> Iterator[LocalCloud]:
    """All stand-ins, with both functions deployed and nothing in them from another test."""
    yield from as_new(warm_clouds(GENERATIONS[0]))


@pytest.fixture(autouse=True)
def only_our_environment(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An environment that only the test fills, its language, and the log at the level that FC has (assumed)."""
    sentences.speak("")
    before = dict(os.environ)
    os.environ.clear()
    caplog.set_level(logging.INFO)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def warm_conversation() -> ModuleType:
    """One instance for all tests of a process."""
    return load(ROOT / f"{CONVERSATION}.py")


@pytest.fixture
def conversation(monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud, warm_conversation: ModuleType) -> Conversation:
    """Dingtalk_Conversation in this process, on the generation that the cloud is of."""
    return (Conversation if cloud.generation == 2 else Conversation3)(monkeypatch, cloud, warm_conversation)


@pytest.fixture
def no_secret_in_log(conversation: Conversation, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything is logged, and none of it may be a secret or come from aliyun-fc2."""
    caplog.set_level(logging.DEBUG)
    conversation.environment["VERBOSE"] = "DEBUG"
    yield
    records = caplog.get_records("call")
    assert not SECRETS.findall("\n".join(logging.Formatter().format(record) for record in records))
    assert "root" not in {record.name for record in records}  # where aliyun-fc2 logs its headers


@pytest.fixture
def cold_conversation(monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud) -> Conversation:
    """Dingtalk_Conversation in this process, new, on 2.0."""
    return Conversation(monkeypatch, cloud, load(ROOT / f"{CONVERSATION}.py"))


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
    set_clock(monkeypatch, reply.module, clock)
    return clock
