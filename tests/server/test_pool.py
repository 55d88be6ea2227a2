"""The pool of workers, where starting one fails."""

import asyncio
import logging

from farfunc_server.workers.pool import Pool, PoolSettings
from farfunc_server.workers.worker import Worker


def test_whatever_keeps_a_worker_from_starting_is_told_and_tried_again(monkeypatch, caplog):
    """An event loop may refuse an argument of the start: that once ended the device's keeper without a word."""
    tried = asyncio.Event()

    async def start(nice=0):
        if any("did not start" in record.getMessage() for record in caplog.records):
            tried.set()
        raise ValueError("unexpected kwargs: process_group")

    async def main():
        pool = Pool(PoolSettings(("cpu",), spare=False))
        pool.start()
        await asyncio.wait_for(tried.wait(), 30)
        [status] = pool.status()
        await pool.stop()
        return status.state

    monkeypatch.setattr(Worker, "start", start)
    with caplog.at_level(logging.ERROR, "farfunc.workers"):
        assert asyncio.run(main()) == "failing"
    assert "process_group" in caplog.text
