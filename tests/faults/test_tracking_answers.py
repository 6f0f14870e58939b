"""Servers, proxies and networks that answer wrongly or not at all, on the way to a real server."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlfd_tune.tracking import Tracker
from tests.helpers.faults.record import Held
from tests.helpers.proxies import Answer, Proxy, proxy_to
from tests.helpers.servers import MlflowServer, shared_server
from tests.helpers.tracked import TRIALS, check_once, tell

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mlflow server")]

LONGEST_CALL_S = 0.5  # a call writes a line to disk; a request that hangs takes seconds


@pytest.fixture
def server() -> MlflowServer:
    return shared_server()


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[Proxy]:
    with proxy_to(server.uri) as running:
        yield running


class Slowest:
    """Measures the longest time between two steps that the caller was told of."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: float | None = None

    def __call__(self, trial: int, step: int) -> None:
        now = time.monotonic()
        if self._last is not None:
            self.seconds = max(self.seconds, now - self._last)
        time.sleep(0.01)
        self._last = time.monotonic()


def opened(uri: str, experiment: str, folder: Path) -> Tracker:
    return Tracker(uri, experiment, folder / "outbox", linger_s=0.01, first_retry_s=0.02)


def test_an_answer_that_is_none(
    held: Held, answer_of_a_fault: Answer, proxy: Proxy, server: MlflowServer, tmp_path: Path
) -> None:
    held.fault = f"tracking: many a request is met with: {answer_of_a_fault}"
    draws = random.Random(7)
    stored: set[str] = set()

    def answer(method: str, path: str) -> Answer:
        is_first = method == "PUT" and path not in stored
        stored.update([path] if method == "PUT" else [])
        return answer_of_a_fault if is_first or draws.random() < 0.15 else "pass"

    proxy.answer = answer
    experiment, slowest = f"answers {answer_of_a_fault}", Slowest()
    with opened(proxy.uri, experiment, tmp_path) as tracker:
        tell(tracker, slowest)
        with held("goes on"):
            assert slowest.seconds < LONGEST_CALL_S
        assert tracker.flush(60)
    assert proxy.met[answer_of_a_fault] >= 5
    with held("states", "metrics"):
        check_once(server.uri, experiment, tmp_path)
    with held("leaks"):
        assert list((tmp_path / "outbox" / "files").iterdir()) == []
        assert not (tmp_path / "outbox" / "rejected.jsonl").exists()


@pytest.fixture(
    params=[
        "page",
        "lost",
        *(pytest.param(name, marks=pytest.mark.whole_matrix) for name in ("500", "503", "reset")),
    ]
)
def answer_of_a_fault(request: pytest.FixtureRequest) -> Answer:
    answer: Answer = request.param
    return answer


@pytest.mark.whole_matrix
def test_a_server_that_few_requests_in_a_row_get_through_to(
    held: Held, proxy: Proxy, server: MlflowServer, tmp_path: Path
) -> None:
    held.fault = "tracking: no more than a dozen requests in a row get through, after an outage"
    seen = 0
    away = True

    def answer(method: str, path: str) -> Answer:
        nonlocal seen
        seen += 1
        return "reset" if away or seen % 12 == 0 else "pass"

    proxy.answer = answer
    with opened(proxy.uri, "a dozen", tmp_path) as tracker:
        tell(tracker)
        away = False
        assert tracker.flush(120)
    with held("states", "metrics"):
        check_once(server.uri, "a dozen", tmp_path)


def test_runs_that_are_made_after_their_request_was_given_up(
    held: Held,
    proxy: Proxy,
    server: MlflowServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held.fault = "tracking: requests arrive long after they were given up and repeated"
    # Who only read before the tracker began had MLflow repeat requests, of which nobody would know.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    seen = 0

    def answer(method: str, path: str) -> Answer:
        nonlocal seen
        if path.endswith("/runs/create"):
            seen += 1
            return "late" if seen % 2 else "pass"
        return "pass"

    proxy.answer = answer
    with opened(proxy.uri, "late", tmp_path) as tracker:
        tell(tracker)
        assert tracker.flush(60)
        proxy.thawed.set()
        until = time.monotonic() + 60
        while proxy.came_late < proxy.met["late"]:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert proxy.came_late >= TRIALS
    with held("states", "metrics"):
        check_once(server.uri, "late", tmp_path)


def test_a_server_that_hangs_amid_the_making_of_runs(
    held: Held,
    server: MlflowServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    held.fault = "tracking: the server is frozen again and again, and thaws"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    slowest = Slowest()

    def freeze(trial: int, step: int) -> None:
        slowest(trial, step)
        if step == 2:
            server.send(signal.SIGSTOP)
        if step == 10:
            time.sleep(2.5)  # so that requests time out and are repeated
            slowest._last = None
            server.send(signal.SIGCONT)

    try:
        with opened(server.uri, "frozen", tmp_path) as tracker:
            tell(tracker, freeze)
            with held("goes on"):
                assert slowest.seconds < LONGEST_CALL_S
            assert tracker.flush(60)
    finally:
        server.send(signal.SIGCONT)
    with held("told"):
        assert "cannot be reached" in caplog.text
    with held("states", "metrics"):
        check_once(server.uri, "frozen", tmp_path)


def test_a_server_that_stores_no_artifacts_holds_up_nothing_else(
    held: Held,
    proxy: Proxy,
    server: MlflowServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    held.fault = "tracking: the server answers, but its artifact store does not"
    broken = True
    proxy.answer = lambda method, path: "500" if broken and method == "PUT" else "pass"
    with opened(proxy.uri, "no artifacts", tmp_path) as tracker:
        tell(tracker)
        with held("goes on"):
            until = time.monotonic() + 60
            while tracker.pending() > TRIALS:  # all but the files of the trials
                assert time.monotonic() < until
                time.sleep(0.01)
        with held("told"):
            assert "config.yaml cannot be stored now; such files are put off" in caplog.text
    broken = False
    with opened(proxy.uri, "no artifacts", tmp_path) as tracker:
        assert tracker.flush(30)
    with held("states", "metrics"):
        check_once(server.uri, "no artifacts", tmp_path)
