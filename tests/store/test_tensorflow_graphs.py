"""What TensorFlow's operations wait for, and whose tensors they send, on graphs small enough to be worked by hand."""

from __future__ import annotations

from breakdown.model.identity import Node, Role
from breakdown.store.tensorflow.graphs import Graph
from breakdown.store.tensorflow.steps import Operation, Part, graph_of, link
from breakdown.store.tensorflow.threads import flat, lanes

#  a -> constant -> b -> c, and a -> c in order only
CHAIN = Graph([
    ["a", "MatMul", [], ""],
    ["constant", "Const", ["^a"], ""],
    ["b", "Relu", ["a", "constant:0"], ""],
    ["c", "NoOp", ["b:1", "^a"], ""],
    ["d", "Mul", ["c", "^constant"], ""],
])  # fmt: skip

SERVER = Graph([
    ["fc1/w", "VarHandleOp", [], ""],
    ["fc1/b", "VarHandleOp", [], ""],
    ["read", "ReadVariableOp", ["fc1/w"], ""],
    ["read_S1", "_Send", ["read"], "edge_1_read"],
    ["gradient_R", "_Recv", [], "edge_2_gradient"],
    ["pass", "Identity", ["gradient_R"], ""],
    ["rate_R", "_Recv", [], "edge_3_rate"],
    ["apply_w", "ResourceApplyGradientDescent", ["fc1/w", "rate_R", "pass"], ""],
    ["bias_R", "_Recv", [], "edge_4_bias"],
    ["apply_b", "ResourceApplyGradientDescent", ["fc1/b", "rate_R", "bias_R"], ""],
])  # fmt: skip

SUMS = Graph([
    ["fc1/w", "VarHandleOp", [], ""],
    ["accumulator", "ResourceConditionalAccumulator", [], ""],
    ["gradient_R", "_Recv", [], "edge_2_gradient"],
    ["add", "ResourceAccumulatorApplyGradient", ["accumulator", "gradient_R"], ""],
    ["take", "ResourceAccumulatorTakeGradient", ["accumulator"], ""],
    ["apply", "ResourceApplyGradientDescent", ["fc1/w", "take"], ""],
])  # fmt: skip


def operation(name: str, kind: str, start: int, end: int, done: int | None = None) -> Operation:
    return Operation(name, kind, "tf_Compute", start, end, end if done is None else done)


def test_what_is_not_marked_is_replaced_by_what_it_waits_for() -> None:
    assert CHAIN.waits_for("b", {"a", "b", "d"}) == {"a"}
    assert CHAIN.waits_for("d", {"a", "b", "d"}) == {"a", "b"}  # through the constant, and through what does nothing
    assert CHAIN.waits_for("a", {"a", "b", "d"}) == set()


def part_of(graph: Graph, *ran: Operation) -> Part:
    """A part in which these ran, linked."""
    part = Part(Node(Role.WORKER, 0), 7, graph)
    for one in ran:
        one.turn = len(part.operations.setdefault(one.name, []))
        part.operations[one.name].append(one)
    link(part)
    return part


def waited_for(part: Part) -> dict[tuple[str, int], tuple[str, int] | None]:
    """By (operation, turn)."""
    return {
        (one.name, one.turn): None if one.waits_for is None else (one.waits_for.name, one.waits_for.turn)
        for one in part.runs()
    }


def test_an_operation_waited_for_the_last_of_those_that_it_needs() -> None:
    part = part_of(CHAIN, operation("a", "MatMul", 0, 9), operation("b", "Relu", 10, 12), operation("d", "Mul", 20, 21))
    assert waited_for(part) == {("a", 0): None, ("b", 0): ("a", 0), ("d", 0): ("b", 0)}


def test_an_asynchronous_operation_counts_when_it_is_done_not_when_it_returns() -> None:
    graph = Graph([["get", "_Recv", [], "t"], ["other", "Add", [], ""], ["sum", "Add", ["get", "other"], ""]])
    part = part_of(
        graph, operation("get", "_Recv", 0, 1, 30), operation("other", "Add", 2, 25), operation("sum", "Add", 31, 32)
    )
    assert waited_for(part)["sum", 0] == ("get", 0)


def test_in_a_loop_an_operation_waited_for_this_round_or_the_one_before() -> None:
    """Two rounds: merge takes what enters first, and then what comes from the round before."""
    loop = Graph([
        ["enter", "Enter", [], ""], ["merge", "Merge", ["enter", "next"], ""], ["get", "_Recv", ["^merge"], "t"],
        ["add", "Add", ["merge", "get"], ""], ["next", "NextIteration", ["add"], ""], ["exit", "Exit", ["merge"], ""],
    ])  # fmt: skip
    part = part_of(
        loop,
        operation("enter", "Enter", 0, 1),
        operation("merge", "Merge", 2, 3), operation("get", "_Recv", 4, 5, 20), operation("add", "Add", 21, 25),
        operation("next", "NextIteration", 26, 27),
        operation("merge", "Merge", 28, 29), operation("get", "_Recv", 30, 31, 40), operation("add", "Add", 41, 45),
        operation("next", "NextIteration", 46, 47),
        operation("merge", "Merge", 48, 49), operation("exit", "Exit", 50, 51),
    )  # fmt: skip
    assert waited_for(part) == {
        ("enter", 0): None, ("merge", 0): ("enter", 0), ("merge", 1): ("next", 0), ("merge", 2): ("next", 1),
        ("get", 0): ("merge", 0), ("get", 1): ("merge", 1), ("add", 0): ("get", 0), ("add", 1): ("get", 1),
        ("next", 0): ("add", 0), ("next", 1): ("add", 1), ("exit", 0): ("merge", 2),
    }  # fmt: skip


def test_the_smallest_graph_that_holds_all_that_ran_is_the_one() -> None:
    part = Part(Node(Role.WORKER, 0), 7, operations={"a": [operation("a", "MatMul", 0, 1)]})
    larger = Graph([["a", "MatMul", [], ""], ["e", "Mul", [], ""], *([f"n{n}", "Mul", [], ""] for n in range(9))])
    other = Graph([["a", "_MklMatMul", [], ""]])
    assert graph_of(part, [larger, CHAIN, other]) is CHAIN
    assert graph_of(part, [other]) is None


def test_a_tensor_belongs_to_the_variable_that_it_is_read_from_or_applied_to() -> None:
    assert SERVER.variables_of_tensors == {"edge_1_read": "fc1/w", "edge_2_gradient": "fc1/w", "edge_4_bias": "fc1/b"}


def test_what_goes_to_several_variables_has_no_name() -> None:
    assert "edge_3_rate" not in SERVER.variables_of_tensors


def test_a_gradient_that_is_summed_belongs_to_the_variable_that_the_sum_is_applied_to() -> None:
    assert SUMS.variables_of_tensors == {"edge_2_gradient": "accumulator"}
    assert SUMS.variables_of_accumulators == {"accumulator": "fc1/w"}


def test_the_forward_pass_is_what_the_fetched_value_needs() -> None:
    graph = Graph([
        ["x", "MatMul", [], ""], ["loss", "Mean", ["x"], ""], ["_send_loss_0", "_Send", ["loss"], "loss:0"],
        ["grad", "MatMul", ["loss", "x"], ""], ["grad_S1", "_Send", ["grad"], "edge_1"],
    ])  # fmt: skip
    assert graph.forward == {"x", "loss", "_send_loss_0"}


def test_of_a_function_what_comes_before_its_return_in_order_only_is_backward() -> None:
    graph = Graph([["x", "MatMul", [], ""], ["update", "Mul", ["x"], ""], ["out", "_Retval", ["x", "^update"], ""]])
    assert graph.forward == {"x", "out"}


#  Adam, cut down: the gradient changes a momentum, and that the variable, which alone is sent
FUNCTION = Graph([
    ["rate", "_Arg", [], "2"], ["steps", "_Arg", [], "3"], ["v", "_Arg", [], "0"], ["m", "_Arg", [], "1"],
    ["read", "ReadVariableOp", ["v"], ""], ["v_S", "_Send", ["read"], "edge_1_v"],
    ["g_R", "_Recv", [], "edge_2_g"], ["add", "AssignAddVariableOp", ["m", "g_R"], ""],
    ["momentum", "ReadVariableOp", ["m", "^add"], ""], ["lr", "ReadVariableOp", ["rate"], ""],
    ["scaled", "Mul", ["momentum", "lr"], ""], ["sub", "AssignSubVariableOp", ["v", "scaled"], ""],
    ["step_R", "_Recv", [], "edge_3_step"], ["count", "AssignVariableOp", ["steps", "step_R", "^sub"], ""],
])  # fmt: skip


def test_a_functions_tensor_is_read_from_an_argument_or_changes_one() -> None:
    assert FUNCTION.arguments_of_tensors == {"edge_1_v": 0, "edge_2_g": 0, "edge_3_step": 3}


def test_activities_within_each_other_are_made_flat() -> None:
    assert flat([(0, 100, "send"), (10, 20, "encode"), (20, 30, "more"), (120, 130, "next")]) == [
        (0, 10, "send"), (10, 20, "encode"), (20, 30, "more"), (30, 100, "send"), (120, 130, "next"),
    ]  # fmt: skip


def test_what_reaches_beyond_what_it_lies_in_is_cut_there() -> None:
    assert flat([(0, 50, "outer"), (40, 60, "inner")]) == [(0, 40, "outer"), (40, 50, "inner")]


def test_messages_side_by_side_get_lanes_in_which_each_is_alone() -> None:
    assert lanes([(0, 10), (2, 5), (5, 8), (10, 12), (11, 13)]) == [0, 1, 1, 0, 1]
