"""Which kernel a process runs on: processes of one kernel share one monotonic clock, so their offset is exactly 0."""

from __future__ import annotations

import os
import platform


def kernel_id() -> str:
    """A text that two processes share if, and only if, they read the same monotonic clock.

    On Linux the boot id and the time namespace (a namespace may shift CLOCK_MONOTONIC). Elsewhere the host's name.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
    except OSError:
        return "host " + platform.node()
    try:
        time_namespace = os.readlink("/proc/self/ns/time")
    except OSError:  # a kernel older than 5.6 has no time namespaces
        return boot_id
    return boot_id + " " + time_namespace
