"""Tests side by side on Linux: forks of the process that has collected them. Elsewhere `-n` is that of pytest-xdist.

A worker of pytest-xdist collects all tests for itself and tells every step of every test: a third of the CPU that all
of this took. A fork has what was collected and the packages that were imported. To other plugins it is such a worker.
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any

import pytest

FORKING = multiprocessing.get_context("fork") if sys.platform == "linux" else None
SLICE = 4  # tests of one module that a fork takes at once
FIRST = ("tests/scenarios", "tests/test_tools")  # mostly wait, for a long time
ENDING_SECONDS = 30


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Take over what `-n` asks for."""
    option = config.option
    if FORKING and option.numprocesses and not option.collectonly and not option.usepdb:
        count = option.numprocesses
        if count in ("auto", "logical"):
            count = config.hook.pytest_xdist_auto_num_workers(config=config)
        config.pluginmanager.register(Forks(config, min(count, option.maxprocesses or count)))
        option.numprocesses = 0  # nothing is left for pytest-xdist


class Forks:
    """The loop over the tests, in several processes."""

    def __init__(self, config: pytest.Config, count: int) -> None:
        self._config = config
        self._count = count

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run all tests; None leaves it to pytest, which says so if they could not be collected."""
        if session.testsfailed or not session.items:
            return None
        gc.collect()
        gc.freeze()  # what is not searched for garbage is not copied into each fork
        left = {*range(len(session.items))}
        while left and not (session.shouldfail or session.shouldstop):
            before = len(left)
            self._round(session, left)
            if len(left) == before:
                raise session.Failed("a process ends before it runs a test")
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        return True

    def _round(self, session: pytest.Session, left: set[int]) -> None:
        """Run what is left, until all forks have ended. One that dies takes only the test that it ran with it."""
        assert FORKING
        shares = Shares(session.items, sorted(left))
        forks: dict[Connection, ForkProcess] = {}
        running: dict[Connection, int] = {}
        try:
            for number in range(self._count):
                ours, theirs = FORKING.Pipe(duplex=False)
                fork = FORKING.Process(target=work, args=(session, shares, number, theirs))
                fork.start()
                theirs.close()
                forks[ours] = fork
            while forks and not (session.shouldfail or session.shouldstop):
                for connection in wait(list(forks)):
                    assert isinstance(connection, Connection)
                    try:
                        index, data = connection.recv()
                    except EOFError:
                        forks.pop(connection).join()
                        if connection in running:
                            index = running[connection]
                            left.remove(index)
                            self._tell(session.items[index], [crash(session.items[index])])
                        continue
                    if data is None:
                        running[connection] = index
                        continue
                    del running[connection]
                    left.remove(index)
                    read = self._config.hook.pytest_report_from_serializable
                    self._tell(session.items[index], [read(config=self._config, data=each) for each in data])
        finally:
            for fork in forks.values():
                fork.terminate()
            for fork in forks.values():
                fork.join(ENDING_SECONDS)
                fork.kill()

    def _tell(self, item: pytest.Item, reports: list[Any]) -> None:
        hook = self._config.hook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def crash(item: pytest.Item) -> pytest.TestReport:
    """What is told of a test whose process is gone."""
    words = f"The process that ran {item.nodeid} has ended."
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", words, "call")


class Shares:
    """Which tests a fork runs: every other fork takes slices from the front, where the slow ones are, or the end.

    So there are always some that wait and some that use the processor.
    """

    def __init__(self, items: list[pytest.Item], indices: list[int]) -> None:
        assert FORKING
        slices: dict[tuple[object, ...], list[int]] = {}
        for place, index in enumerate(indices):
            group = items[index].get_closest_marker("xdist_group")
            module = items[index].nodeid.partition("::")[0]
            slices.setdefault(group.args if group else (module, place // SLICE), []).append(index)

        def quickness(some: list[int]) -> tuple[bool, bool]:
            item = items[some[0]]
            return item.get_closest_marker("xdist_group") is None, not item.nodeid.startswith(FIRST)

        self._slices = sorted(slices.values(), key=quickness)
        self._taken = FORKING.Array("i", 2)

    def of(self, number: int) -> Iterator[int]:
        """The tests of this fork, as long as there are any."""
        end = number % 2
        while True:
            with self._taken.get_lock():
                place = self._taken[end]
                if self._taken[0] + self._taken[1] == len(self._slices):
                    return
                self._taken[end] += 1
            yield from self._slices[-1 - place if end else place]


def work(session: pytest.Session, shares: Shares, number: int, connection: Connection) -> None:
    """In the fork: run tests and send what is to be told; (index, None) when one begins, (index, reports) after it."""
    config = session.config
    config.workerinput = {"workerid": f"fork{number}"}  # type: ignore[attr-defined]  # as pytest-xdist does
    config.pluginmanager.unregister(name="terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture:  # with files of its own
        capture.stop_global_capturing()
        capture.start_global_capturing()
        capture.suspend_global_capture(in_=True)
    reports = Reports(config)
    config.pluginmanager.register(reports)
    try:
        for index, upcoming in itertools.pairwise(itertools.chain(shares.of(number), [None])):
            assert index is not None
            connection.send((index, None))
            next_item = None if upcoming is None else session.items[upcoming]
            config.hook.pytest_runtest_protocol(item=session.items[index], nextitem=next_item)
            connection.send((index, reports.take()))
            if session.shouldfail or session.shouldstop:
                break
    except (KeyboardInterrupt, BrokenPipeError):  # we are to end, or nobody is there any more
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except BaseException:
        traceback.print_exc()  # the other process tells only that this one has ended
    finally:
        config.hook.pytest_sessionfinish(session=session, exitstatus=int(session.testsfailed > 0))
        os._exit(0)  # a thread that a test has left behind keeps nobody waiting


class Reports:
    """Those of one test."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reports: list[Any] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep it as plain data."""
        write = self._config.hook.pytest_report_to_serializable
        self._reports.append(write(config=self._config, report=report))

    def take(self) -> list[Any]:
        """All that there are, once."""
        reports, self._reports = self._reports, []
        return reports
