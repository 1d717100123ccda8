"""Names of devices, as all versions of TensorFlow write them: whose work they do, and which tell the same work again.

TensorFlow 1.0 to 1.3 wrote "/job:worker/replica:0/task:0/cpu:0", later ones "/job:worker/replica:0/task:0/device:CPU:0".
Of a GPU there are the operations that the executor launched (a device like any other), and the kernels and copies that the
driver saw, in lanes of their own: "/device:GPU:0/stream:all", "/gpu:0/memcpy". Each kernel stands in two such lanes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from breakdown.model.identity import Node, Role

_PROCESS = re.compile(r"/job:(?P<job>[^/:;]+)(?:/replica:\d+)?/task:(?P<task>\d{1,6})(?!\d)")
_LANES = ("/stream:", "/memcpy", "/sync")
_MOST_RANKS = 1 << 16  # of `Node.code`


def node_of_device(device: str, jobs: Mapping[str, int] | None = None) -> Node | None:
    """The process that a device belongs to: `ps` serves, a chief trains as the first worker. None: its name tells none.

    `jobs`: how many workers come before the tasks of a job; None: none do.
    """
    found = _PROCESS.search(device)
    if found is None:
        return None
    job, task = found["job"], int(found["task"])
    if job not in ("ps", "parameter_server"):
        task += (jobs or {}).get(job, 0)
    role = Role.SERVER if job in ("ps", "parameter_server") else Role.WORKER
    return Node(role, task) if task < _MOST_RANKS else None


def job_of_device(device: str) -> str | None:
    """The job that a device belongs to."""
    found = _PROCESS.search(device)
    return found["job"] if found else None


def is_second_account(device: str) -> bool:
    """Whether it is a lane of a GPU, whose kernels and copies belong to operations that stand in the device itself."""
    return any(text in device for text in _LANES)
