"""How the hooks tell training from what is not, and how many samples a step has; without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from breakdown.backends.tensorflow.hooks import samples, training
from breakdown.backends.tensorflow.hooks.program import Batches


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([("fc1/MatMul", "MatMul"), ("GradientDescent/update_w", "ResourceApplyGradientDescent")], True),
        ([("sync/Apply", "ResourceAccumulatorApplyGradient")], True),
        ([("gradient_tape/dense/MatMul", "MatMul"), ("sgd/AssignSubVariableOp", "AssignSubVariableOp")], True),
        ([("tower_0/gradients_1/MatMul", "MatMul"), ("ScatterSub", "ResourceScatterSub")], True),
        ([("init", "NoOp"), ("w/Assign", "AssignVariableOp")], False),  # an initialiser
        ([("accuracy/total/AssignAdd", "AssignAddVariableOp"), ("Mean", "Mean")], False),  # a metric
        ([("gradients/MatMul", "MatMul")], False),  # gradients that are only looked at
        ([("my_gradients_of/MatMul", "MatMul"), ("w/Assign", "AssignVariableOp")], False),
    ],
)  # fmt: skip
def test_what_trains(operations: list[tuple[str, str]], expected: bool) -> None:
    assert training.trains(operations) is expected


def test_workers_in_step_collect_their_gradients() -> None:
    assert training.is_synchronous([("a", "ResourceAccumulatorApplyGradient")])
    assert not training.is_synchronous([("a", "ResourceApplyMomentum"), ("b", "AccumulatorTakeGradient")])


@dataclass(frozen=True)
class Tensor:
    shape: Any
    op: Any = None
    users: tuple[Operation, ...] = ()

    def consumers(self) -> tuple[Operation, ...]:
        """The operations that it is an input of."""
        return self.users

    def deref(self) -> Tensor:
        """As a reference to itself."""
        return self


@dataclass(eq=False)
class Operation:
    type: str
    outputs: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    control_inputs: list[Operation] = field(default_factory=list)


class OpenRank:
    """As TensorFlow's shapes are where not even their rank is known."""

    def __len__(self) -> int:
        raise ValueError("Cannot take the length of shape with unknown rank.")


def test_all_that_an_operation_needs_is_found_once() -> None:
    variable = Operation("VarHandleOp")
    read = Operation("ReadVariableOp", inputs=[Tensor((), variable)])
    apply = Operation("ResourceApplyAdam", inputs=[Tensor((), variable), Tensor((), read)])
    root = Operation("NoOp", control_inputs=[apply])
    assert {one.type for one in training.needed([root])} == {"NoOp", "ResourceApplyAdam", "ReadVariableOp", "VarHandleOp"}
    assert len(training.needed([root, apply])) == 4


def test_a_batch_is_what_is_fed_for_an_open_dimension() -> None:
    rate, mask, images = Tensor(()), Tensor((10,)), Tensor((None, 784))
    feeds = {rate: np.float32(0.1), mask: np.zeros(10), images: np.zeros((64, 784))}
    assert samples.of_feeds(feeds) == 64
    assert samples.of_feeds({rate: np.float32(0.1), mask: np.zeros(10)}) == 10
    assert samples.of_feeds({Tensor(OpenRank()): np.zeros((5, 2)), rate: np.float32(1)}) == 5
    assert samples.of_feeds({rate: np.float32(0.1)}) == 0


def test_a_batch_in_a_graph_is_what_an_iterator_or_a_queue_brings() -> None:
    token, batch = Operation("QueueDequeueV2", [Tensor(())]), Operation("QueueDequeueManyV2", [Tensor((16, 3))])
    open_ = Operation("IteratorGetNext", [Tensor((None, 3)), Tensor(OpenRank())])
    assert samples.of_operations([token, batch], 64) == 16
    assert samples.of_operations([token, open_], 64) == 64
    assert samples.of_operations([token], 64) == 0


def test_a_staging_area_brings_a_batch_too() -> None:
    assert samples.of_operations([Operation("Unstage", [Tensor((8, 3))])], 64) == 8


@pytest.mark.parametrize(
    ("users", "expected"),
    [((), True), (("AssignAdd",), True), (("MatMul",), False), (("Stage",), False)],
    ids=["dropped", "counted", "computed", "staged"],
)
def test_what_is_taken_from_a_queue_is_a_token_where_nothing_is_made_of_it(users: tuple[str, ...], expected: bool) -> None:
    passed_on = Operation("Identity", [Tensor((), users=tuple(map(Operation, users)))])
    taken = Operation("QueueDequeueV2", [Tensor((), users=(passed_on,))])
    assert training.takes_tokens([taken, Operation("MatMul")]) is expected


def test_the_first_tensor_that_a_function_is_given_is_its_batch() -> None:
    assert samples.of_values(["text", 3, np.float32(1), np.zeros((8, 2)), np.zeros(5)]) == 8
    assert samples.of_values([]) == 0


def test_of_several_sizes_the_first_is_taken_and_that_is_said_once() -> None:
    said: list[str] = []
    batches = Batches(said.append)
    assert batches.size == 0
    batches.seen(32)
    batches.seen(32)
    assert (batches.size, said) == (32, [])
    batches.seen(100)
    assert [batches.size, batches.size] == [32, 32]
    assert said == ["datasets have batches of 32, 100: steps are taken to have 32 samples, as the first"]
