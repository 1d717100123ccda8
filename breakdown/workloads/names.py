"""The workloads by name, with their options and defaults. No torch, so that a cell can be checked without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from breakdown.errors import FieldError, unknown_name

OptionValue = int | float | str | bool
Number = int | float


@dataclass(frozen=True)
class Option:
    """One option of a workload. An integer default makes an integer option, a float default a real one."""

    name: str
    default: Number
    meaning: str
    minimum: Number = 1
    choices: tuple[Number, ...] = ()  # empty: any value from `minimum` on
    multiple_of: int = 1

    @property
    def field(self) -> str:
        """The key of the cell that sets it."""
        return f"workload_options.{self.name}"

    def check(self, value: OptionValue, where: str) -> Number:
        """The value as a number of the option's kind. Raises `FieldError` when it cannot be one."""
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        if isinstance(value, bool | str) or (isinstance(value, float) and isinstance(self.default, int)):
            raise FieldError(
                self.field, f"{where}: option '{self.name}' must be {kind}, not {value!r}. Default: {self.default}."
            )
        if self.choices and value not in self.choices:
            known = ", ".join(str(choice) for choice in self.choices)
            raise FieldError(self.field, f"{where}: option '{self.name}' is {value}. Possible: {known}.")
        if not value >= self.minimum:
            raise FieldError(self.field, f"{where}: option '{self.name}' is {value}. It must be {self.minimum} or more.")
        if self.multiple_of > 1 and value % self.multiple_of:
            raise FieldError(
                self.field, f"{where}: option '{self.name}' is {value}. It must be a multiple of {self.multiple_of}."
            )
        return type(self.default)(value)


@dataclass(frozen=True)
class WorkloadName:
    """One workload: what it is, which module of this room builds it, and what can be set."""

    name: str
    description: str
    module: str
    options: tuple[Option, ...]


WORKLOADS: tuple[WorkloadName, ...] = (
    WorkloadName(
        "mlp",
        "fully connected classifier, 4.2 million parameters by default: few big keys, little compute a byte",
        "breakdown.workloads.mlp",
        (
            Option("features", 1024, "inputs of a sample"),
            Option("hidden", 1024, "units of each hidden layer"),
            Option("layers", 4, "hidden layers"),
            Option("classes", 10, "classes", minimum=2),
        ),
    ),
    WorkloadName(
        "cnn",
        "small convolutional classifier, 0.1 million parameters by default: small keys, much compute a byte",
        "breakdown.workloads.cnn",
        (
            Option("image_size", 32, "pixels a side, a multiple of 8", minimum=8, multiple_of=8),
            Option("width", 32, "channels of the first of three convolutions; each next has twice as many"),
            Option("classes", 10, "classes", minimum=2),
        ),
    ),
    WorkloadName(
        "vgg16",
        "VGG-16 without dropout, 138 million parameters by default: one key holds three quarters of them",
        "breakdown.workloads.vgg16",
        (
            Option("image_size", 224, "pixels a side", choices=(32, 224)),
            Option("classes", 1000, "classes", minimum=2),
        ),
    ),
    WorkloadName(
        "matrix_factorisation",
        "ratings as a product of two low-rank factors: dense gradients of which few rows are not zero",
        "breakdown.workloads.matrix_factorisation",
        (
            Option("users", 8192, "rows of the rating matrix"),
            Option("items", 4096, "columns of the rating matrix"),
            Option("rank", 64, "length of a factor"),
            Option("regularisation", 0.001, "weight of the squared length of the factors that a rating uses", minimum=0),
        ),
    ),
    WorkloadName(
        "ising",
        "pairwise Markov random field learned by pseudo-likelihood: one dense key of couplings",
        "breakdown.workloads.ising",
        (Option("side", 32, "spins along a side of the grid that the data come from", minimum=2),),
    ),
)


def find(name: str) -> WorkloadName:
    """Raises `ConfigError` listing the known names."""
    for workload in WORKLOADS:
        if workload.name == name:
            return workload
    raise FieldError("workload", str(unknown_name("workload", name, [workload.name for workload in WORKLOADS])))


def complete(name: str, options: Mapping[str, OptionValue]) -> dict[str, Number]:
    """All options of workload `name`, those that are not given at their defaults. Raises `FieldError` for a wrong one."""
    workload = find(name)
    where = f"workload '{name}'"
    known = {option.name: option for option in workload.options}
    for given in options:
        if given not in known:
            raise FieldError(f"workload_options.{given}", str(unknown_name("option", given, known, where)))
    return {key: option.check(options[key], where) if key in options else option.default for key, option in known.items()}
