"""A role's part in TensorFlow's cluster: who is where, what its server computes with, and serving.

Runs in TensorFlow's environment: standard library, tensorflow, and breakdown's errors, model, clock and record only.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1


def config(threads: int, handlers: int) -> Any:
    """What a session or a server computes with. `threads`: inside an operation; `handlers`: operations at a time."""
    return v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=handlers)


def start_server(settings: Any) -> Any:
    """The server of the process's own task, which TF_CONFIG names. It serves for as long as the process lives."""
    told = json.loads(os.environ["TF_CONFIG"])
    task = told["task"]
    return v1.train.Server(tf.train.ClusterSpec(told["cluster"]), task["type"], task["index"], config=settings)


def serve(threads: int, handlers: int) -> None:
    """Serves until the launcher ends it. SIGTERM must be blocked in all threads, so before TensorFlow is imported."""
    start_server(config(threads, handlers))
    signal.sigwait({signal.SIGTERM})
