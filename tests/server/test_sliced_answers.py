"""Answers that are put together, where there is no room for them."""

import asyncio
import errno
import os

import numpy as np
import pytest

from farfunc_protocol.errors import LimitExceeded
from farfunc_protocol.messages import decode_response
from farfunc_server.scheduling import gathering
from farfunc_server.scheduling.gathering import whole
from farfunc_server.scheduling.slices import Slices
from farfunc_server.workers.messages import BlockPlace, Result, Slice, Sliced


def columns():
    """A matrix of 3 x 4, column by column."""
    slices = Slices(Sliced(["float64[3,4]"], False, [0, 0]), lambda: None, lambda: None)
    for number in range(4):
        place = BlockPlace(0, True, number, number + 1, 4, 24)
        data = memoryview(np.full(3, float(number)).tobytes())
        slices.put(Slice(Result(0.0, "flat", [], []), [place], None if number == 3 else [0, number + 1]), data)
    return slices


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_columns_in_memory_and_in_a_file(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(gathering, "_IN_MEMORY", in_memory)
    data = asyncio.run(whole(columns(), tmp_path))
    (found,) = decode_response(bytes(data)).arrays
    np.testing.assert_array_equal(found.data, np.tile(np.arange(4.0), (3, 1)))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    """Writing to a mapping of a file for which there is no room ends the process."""

    def full(fd, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(gathering, "_IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(LimitExceeded, match="No space left"):
        asyncio.run(whole(columns(), tmp_path))
