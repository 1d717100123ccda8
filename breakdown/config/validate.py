"""What every field of a cell may hold, and which fields cannot stand together.

`normal` checks one value as it came from a file or the command line; `check` a whole cell. Both raise `FieldError`, which
names the field, so that the reader of an experiment file can add the line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from breakdown.config import cell as names
from breakdown.config.cell import Cell
from breakdown.errors import FieldError, unknown_name

OPTIONS = "workload_options"
OPTIONS_PREFIX = OPTIONS + "."

MAX_PROCESSES_OF_A_ROLE = 1024
"""Far above what one machine runs, far below the 16 bits that a rank has on the wire."""


@dataclass(frozen=True)
class Rule:
    """What one field may hold. Bounds are inclusive; `above` is an exclusive lower bound."""

    kind: type
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()


RULES: Mapping[str, Rule] = {
    "workload": Rule(str),
    "batch_size": Rule(int, low=1),
    "optimizer": Rule(str, choices=names.OPTIMIZERS),
    "learning_rate": Rule(float, above=0),
    "seed": Rule(int, low=0, high=2**32 - 1),
    "steps": Rule(int, low=1),
    "warmup_steps": Rule(int, low=0),
    "backend": Rule(str, choices=names.BACKENDS),
    "workers": Rule(int, low=1, high=MAX_PROCESSES_OF_A_ROLE),
    "servers": Rule(int, low=1, high=MAX_PROCESSES_OF_A_ROLE),
    "consistency": Rule(str, choices=names.CONSISTENCIES),
    "staleness": Rule(int, low=0),
    "update_on": Rule(str, choices=names.UPDATE_PLACES),
    "sharding": Rule(str, choices=names.SHARDINGS),
    "split_bound_bytes": Rule(int, low=4),  # one float32 is the smallest slice
    "server_threads": Rule(int, low=1, high=256),
    "push_when": Rule(str, choices=names.PUSH_MOMENTS),
    "priority": Rule(str, choices=names.PRIORITIES),
    "bucket_bytes": Rule(int, low=0),
    "compression": Rule(str, choices=names.COMPRESSIONS),
    "compression_threshold": Rule(float, above=0),
    "transport": Rule(str, choices=names.TRANSPORTS),
    "serializer": Rule(str, choices=names.SERIALIZERS),
    "port": Rule(int, low=0, high=65535),
    "kvstore": Rule(str, choices=names.KVSTORES),
    "tf_mode": Rule(str, choices=names.TF_MODES),
    "cores_per_worker": Rule(int, low=0),
    "server_cores": Rule(int, low=0),
    "record": Rule(bool),
    "trace_every": Rule(int, low=1),
    "timeout_s": Rule(float, above=0),
}

FIELDS = tuple(field.name for field in fields(Cell))
_DEFAULTS = vars(Cell())

_KIND_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def normal(field: str, value: Any) -> Any:
    """The value as the cell holds it (1 becomes 1.0 in a float field). `field` may be one option, `workload_options.x`.

    Raises `FieldError`.
    """
    if field == OPTIONS:
        return _normal_options(value)
    if field.startswith(OPTIONS_PREFIX):
        return _normal_option(field, value)
    if field not in RULES:
        raise FieldError(field, str(unknown_name("key", field, FIELDS)))
    return _normal_by_rule(field, value, RULES[field])


def check(cell: Cell) -> None:
    """Raises `FieldError` (a `ConfigError`) for the first thing that is wrong with the cell."""
    for field, value in vars(cell).items():
        if value is not _DEFAULTS[field]:
            normal(field, value)
    for field, message in _conflicts(cell):
        raise FieldError(field, message)


def _conflicts(cell: Cell) -> list[tuple[str, str]]:
    """Fields that are right by themselves and wrong together."""
    found = []
    if cell.backend == "single" and cell.workers != 1:
        found.append(
            ("workers", f"backend 'single' is one node: workers must be 1, not {cell.workers}. More need torch_ps.")
        )
    if cell.backend == "torch_ps" and cell.transport == "inproc":
        found.append(
            ("transport", "transport 'inproc' stays inside one process, but the roles are processes. Use tcp, zmq or grpc.")
        )
    if cell.backend == "mxnet":
        found += _mxnet_conflicts(cell)
    if cell.backend == "tensorflow":
        found += _tensorflow_conflicts(cell)
    if cell.staleness and cell.consistency != "ssp":
        found.append(
            ("staleness", f"staleness {cell.staleness} needs consistency ssp, but consistency is {cell.consistency}.")
        )
    if cell.update_on == "worker" and cell.consistency != "bsp":
        found.append(
            (
                "update_on",
                f"update_on worker needs consistency bsp, not {cell.consistency}: "
                "only the sum of all workers' gradients gives every worker the same parameters.",
            )
        )
    return found


def _mxnet_conflicts(cell: Cell) -> list[tuple[str, str]]:
    found = []
    if cell.kvstore == "local" and cell.workers != 1:
        found.append(
            ("workers", f"kvstore 'local' is one node: workers must be 1, not {cell.workers}. More need dist_sync.")
        )
    consistency = "async" if cell.kvstore == "dist_async" else "bsp"
    if cell.consistency not in ("bsp", consistency):
        found.append(
            (
                "consistency",
                f"with backend mxnet the kvstore says the consistency, and {cell.kvstore} is {consistency}, not "
                f"{cell.consistency}. Leave consistency out, or set kvstore: dist_async for async.",
            )
        )
    if cell.compression == "fp16":
        found.append(("compression", "MXNet compresses to 2bit only. Set compression to none or 2bit."))
    if cell.kvstore == "p3store_dist" and cell.compression != "none":
        found.append(
            ("compression", "kvstore p3store_dist has no compression: set compression: none, or kvstore: dist_sync.")
        )
    if cell.kvstore == "p3store_dist" and cell.update_on == "server":
        found.append(
            ("update_on", "kvstore p3store_dist updates on the worker: set update_on: worker, or kvstore: dist_sync.")
        )
    if cell.kvstore == "dist_async" and cell.update_on == "worker":
        found.append(
            ("update_on", "kvstore dist_async updates on the server only: set update_on: server, or kvstore: dist_sync.")
        )
    return found


def _tensorflow_conflicts(cell: Cell) -> list[tuple[str, str]]:
    if cell.tf_mode == "local":
        if cell.workers == 1:
            return []
        return [("workers", f"tf_mode 'local' is one node: workers must be 1, not {cell.workers}. More need graph.")]
    found = []
    if cell.tf_mode == "strategy" and cell.consistency != "async":
        found.append(
            (
                "consistency",
                f"TensorFlow's ParameterServerStrategy is asynchronous, not {cell.consistency}: set consistency: async with "
                "tf_mode: strategy, or take tf_mode: graph.",
            )
        )
    if cell.consistency == "ssp":
        found.append(("consistency", "TensorFlow has no consistency ssp. Set consistency: bsp or async."))
    if cell.tf_mode == "strategy" and cell.servers > 1 and cell.sharding == "balanced":
        found.append(
            (
                "sharding",
                "TensorFlow's ParameterServerStrategy gives variables to the servers in turn: set sharding: round_robin, or "
                "split to cut the big ones.",
            )
        )
    if cell.update_on == "worker":
        found.append(("update_on", "TensorFlow's servers hold the variables and update them: set update_on: server."))
    if cell.compression != "none":
        found.append(("compression", f"TensorFlow compresses nothing: set compression: none, not {cell.compression}."))
    return found


def _normal_by_rule(field: str, value: Any, rule: Rule) -> Any:
    if rule.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, rule.kind) or (rule.kind is not bool and isinstance(value, bool)):
        raise FieldError(field, f"{field} must be {_KIND_WORDS[rule.kind]}, not {_shown(value)}.")
    if isinstance(value, str):
        if rule.choices and value not in rule.choices:
            raise FieldError(field, str(unknown_name(field, value, rule.choices)))
        if not value:
            raise FieldError(field, f"{field} must not be empty.")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_range(field, value, rule)
    return value


def _check_range(field: str, value: float, rule: Rule) -> None:
    if not math.isfinite(value):
        raise FieldError(field, f"{field} must be a finite number, not {value}.")
    if rule.above is not None and value <= rule.above:
        raise FieldError(field, f"{field} must be above {rule.above:g}, not {value:g}.")
    if rule.low is not None and value < rule.low:
        raise FieldError(field, f"{field} must be at least {rule.low:g}, not {value:g}.")
    if rule.high is not None and value > rule.high:
        raise FieldError(field, f"{field} must be at most {rule.high:.0f}, not {value}.")


def _normal_options(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FieldError(OPTIONS, f"{OPTIONS} must be a mapping of option: value, not {_shown(value)}.")
    for name in value:
        if not isinstance(name, str) or not name:
            raise FieldError(OPTIONS, f"{OPTIONS}: an option's name must be text, not {_shown(name)}.")
    return {name: _normal_option(OPTIONS_PREFIX + name, option) for name, option in value.items()}


def _normal_option(field: str, value: Any) -> Any:
    if not isinstance(value, (int, float, str, bool)):
        raise FieldError(field, f"{field} must be a number, text, true or false, not {_shown(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise FieldError(field, f"{field} must be a finite number, not {value}.")
    return value


def _shown(value: Any) -> str:
    """A wrong value in an error message: short, and told apart from its text."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"'{value}'" if isinstance(value, str) else str(value)
