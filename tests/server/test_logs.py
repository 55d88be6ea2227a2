"""Lines of the log."""

import asyncio
import io
import logging
import re

import pytest

from farfunc_server import logs


@pytest.fixture
def written(monkeypatch):
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.start_logging("info")
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    monkeypatch.setattr(logs, "_handler", None)


REQUEST = {"request_id": "r1", "method": "POST", "path": "/v1/e v", "status": 200, "seconds": 0.0123456}


def test_requests_are_one_line_each_in_the_form_and_the_order_of_all_others(written):
    async def main():
        logs.log_request(logging.INFO, **REQUEST, error=None)
        logs.log_request(logging.DEBUG, **REQUEST, error=None)
        logs.log_request(logging.WARNING, **{**REQUEST, "status": 503}, error="busy")
        logs.event(logging.getLogger("farfunc.server"), logging.INFO, "closing", unfinished=0)
        before = written.getvalue()
        logs.log_request(logging.INFO, **REQUEST, error=None)
        while written.getvalue() == before:  # it is written without a further event
            await asyncio.sleep(0.01)

    asyncio.run(main())
    first, second, third, fourth = written.getvalue().splitlines()
    time = r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}"
    fields = 'request_id=r1 method=POST path="/v1/e v"'
    assert re.fullmatch(
        rf"{time} level=info logger=farfunc.requests event=request {fields} status=200 ms=12.3456", first
    )
    assert re.fullmatch(rf"{time} level=warning .* status=503 ms=12.3456 error=busy", second)
    assert re.fullmatch(rf"{time} level=info logger=farfunc.server event=closing unfinished=0", third)
    assert fourth.endswith("ms=12.3456")


def test_a_process_with_logs_of_its_own_has_records(caplog, monkeypatch):
    monkeypatch.setattr(logs, "_handler", None)
    with caplog.at_level(logging.INFO, "farfunc.requests"):
        logs.log_request(logging.INFO, **REQUEST, error=None)
    assert caplog.records[0].fields["request_id"] == "r1"
