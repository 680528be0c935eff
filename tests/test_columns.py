"""Columns on disk, read in pieces: against the array that was written."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.columns import ColumnFile, read_array, write_array


def test_pieces_are_those_of_the_array(tmp_path: Path) -> None:
    values = np.arange(1000, dtype=np.int32) * 7
    write_array(tmp_path / "column.npy", values)
    column = ColumnFile(tmp_path / "column.npy")
    for start, end in ((0, 1000), (0, 0), (999, 1000), (1000, 1000), (123, 456)):
        piece = column.read(start, end)
        assert piece.dtype == values.dtype
        assert piece.tolist() == values[start:end].tolist()
    for start, end in ((-1, 2), (5, 4), (0, 1001)):
        with pytest.raises(IndexError, match="not within the 1000 values"):
            column.read(start, end)


def test_a_column_that_was_cut_short_is_told(tmp_path: Path) -> None:
    path = tmp_path / "column.npy"
    write_array(path, np.zeros(1000, np.float32))
    column = ColumnFile(path)
    os.truncate(path, path.stat().st_size - 4)
    assert column.read(0, 999).tolist() == [0.0] * 999
    with pytest.raises(OSError, match="was cut short"):
        column.read(0, 1000)


def test_a_table_is_no_column(tmp_path: Path) -> None:
    write_array(tmp_path / "table.npy", np.zeros((3, 2)))
    with pytest.raises(ValueError, match="2 dimensions, not of one"):
        ColumnFile(tmp_path / "table.npy")


def test_a_column_nobody_holds_is_closed(tmp_path: Path) -> None:
    write_array(tmp_path / "column.npy", np.zeros(10))
    before = len(os.listdir("/proc/self/fd"))
    column = ColumnFile(tmp_path / "column.npy")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del column
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_stored_history_is_the_one_in_the_mapped_columns(bundle: Bundle, tmp_path: Path) -> None:
    users = bundle.users
    assert users.files is not None
    for row in (0, 7, len(users) - 1):
        mine, mapped = users.history_at(row), users.histories.take([row])
        for one, other in ((mine.items, mapped.items), (mine.ratings, mapped.ratings)):
            assert one.dtype == other.dtype
            assert one.tolist() == other.tolist()
        assert mine.offsets.tolist() == mapped.offsets.tolist()
    assert type(read_array(bundle.path / "histories" / "users.npy")) is np.ndarray
