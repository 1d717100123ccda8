"""Who the process is, from the server of TensorFlow that it makes."""

from __future__ import annotations

from breakdown.backends.tensorflow.hooks.program import Program
from breakdown.backends.wrapping import Call


def install(program: Program) -> None:
    """tf.compat.v1.train.Server and tf.distribute.Server are one class."""
    from tensorflow.python.training import server_lib

    def made(call: Call) -> None:
        definition = server_lib._make_server_def(
            call["server_or_cluster_def"], call["job_name"], call["task_index"], None, None
        )
        jobs = [job.name for job in definition.cluster.job]
        program.has_server(jobs, definition.job_name, definition.task_index)

    program.hooks.watch(server_lib.Server, "__init__", made)
    program.hooks.watch(server_lib.Server, "join", lambda _: program.serves())
