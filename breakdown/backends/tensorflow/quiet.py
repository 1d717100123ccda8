"""Imports TensorFlow without the noise that it makes then.

TensorFlow says twice that it uses oneDNN, before any setting for its log is read. A filter on the log's way would lose
the last words of an import that crashes. So these lines are taken out of the log once the import is done.
Standard library and tensorflow only.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import Any

NOISE = (b"All log messages before absl::InitializeLog()", b"oneDNN custom operations are on")

_LOG = 2  # stderr


def import_tensorflow() -> Any:
    """The module. Of what it tells through Python, errors alone stay; TF_CPP_MIN_LOG_LEVEL is for the rest."""
    begin = _end_of_log()
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")
    if begin is not None:
        _take_out_noise(begin)
    return tensorflow


def _end_of_log() -> Any:
    """Where the log ends; None where it is no file that can be rewritten."""
    sys.stderr.flush()
    return os.lseek(_LOG, 0, os.SEEK_END) if stat.S_ISREG(os.fstat(_LOG).st_mode) else None


def _take_out_noise(begin: int) -> None:
    sys.stderr.flush()
    with open(f"/proc/self/fd/{_LOG}", "rb") as log:
        log.seek(begin)
        lines = log.read().splitlines(keepends=True)
    os.ftruncate(_LOG, begin)
    os.lseek(_LOG, begin, os.SEEK_SET)
    os.write(_LOG, b"".join(line for line in lines if not any(noise in line for noise in NOISE)))
