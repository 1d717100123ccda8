"""Who the process is, from the server of TensorFlow that it makes."""

from __future__ import annotations

from typing import Any

from breakdown.backends.tensorflow.hooks.program import Program
from breakdown.backends.tensorflow.hooks.wrapping import before


def install(program: Program) -> None:
    """tf.compat.v1.train.Server and tf.distribute.Server are one class."""
    from tensorflow.python.training import server_lib

    def made(_: Any, server_or_cluster: Any, job_name: Any = None, task_index: Any = None, *rest: Any, **named: Any) -> None:
        definition = server_lib._make_server_def(server_or_cluster, job_name, task_index, None, None)
        jobs = [job.name for job in definition.cluster.job]
        program.has_server(jobs, definition.job_name, definition.task_index)

    before(server_lib.Server, "__init__", made)
    before(server_lib.Server, "join", lambda _: program.serves())
