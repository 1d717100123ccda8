"""Who gets which cores, and what is said where roles must share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from breakdown.config.cell import Cell
from breakdown.model.identity import Node, Role
from breakdown.runner.place import Place, Placement, place

SCHEDULER = Node(Role.SCHEDULER, 0)


def nodes(workers: int, servers: int) -> list[Node]:
    found = [SCHEDULER] if servers else []
    return found + [Node(Role.SERVER, i) for i in range(servers)] + [Node(Role.WORKER, i) for i in range(workers)]


def placed(workers: int, servers: int, cores: list[int], **fields: int) -> Placement:
    return place(nodes(workers, servers), Cell(workers=workers, **fields), cores)


def test_workers_come_first_then_servers() -> None:
    found = placed(2, 2, [0, 1, 2, 3, 5, 7], cores_per_worker=2, server_cores=1)
    assert found.places == (
        Place(SCHEDULER, None, 1),
        Place(Node(Role.SERVER, 0), (5,), 1),
        Place(Node(Role.SERVER, 1), (7,), 1),
        Place(Node(Role.WORKER, 0), (0, 1), 2),
        Place(Node(Role.WORKER, 1), (2, 3), 2),
    )
    assert found.notes == ()


def test_an_unpinned_server_is_said_to_have_no_core_of_its_own_only_when_it_has_none() -> None:
    assert placed(2, 1, [0, 1]).notes == ("server-0: not pinned, no core is free of pinned roles",)
    assert placed(2, 1, [0, 1, 2]).notes == ()


def test_single_node() -> None:
    worker = Node(Role.WORKER, 0)
    assert placed(1, 0, [4, 6]) == Placement((Place(worker, (4,), 1),), ())
    assert placed(1, 0, [4, 6], cores_per_worker=0) == Placement((Place(worker, None, 2),), ())
    assert placed(1, 0, [4, 6], cores_per_worker=3) == Placement(
        (Place(worker, (4, 6), 2),), ("worker-0 asks for 3 cores and gets all: the machine has 2 cores",)
    )


def test_more_than_the_machine_has_is_shared_and_said() -> None:
    found = placed(3, 1, [0, 1], cores_per_worker=1, server_cores=1)
    cores = {str(one.node): one.cores for one in found.places}
    assert cores == {"scheduler-0": None, "worker-0": (0,), "worker-1": (1,), "worker-2": (0,), "server-0": (1,)}
    assert found.notes == ("the pinned roles ask for 4 cores and share 2 cores",)


def test_unpinned_workers_share_and_it_is_said() -> None:
    found = placed(2, 1, [0, 1], cores_per_worker=0)
    assert [one.threads for one in found.places if one.node.role is Role.WORKER] == [2, 2]
    assert found.notes == ("2 workers are not pinned and share 2 cores, with 2 threads each",)


@given(
    st.integers(1, 6),
    st.integers(0, 4),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sets(st.integers(0, 63), min_size=1, max_size=8),
)
def test_every_placement(workers: int, servers: int, worker_cores: int, server_cores: int, machine: set[int]) -> None:
    available = sorted(machine)
    found = placed(workers, servers, available, cores_per_worker=worker_cores, server_cores=server_cores)
    assert [one.node for one in found.places] == nodes(workers, servers)
    wanted = {Role.WORKER: worker_cores, Role.SERVER: server_cores, Role.SCHEDULER: 0}
    uses = dict.fromkeys(available, 0)
    for one in found.places:
        count = min(wanted[one.node.role], len(available))
        assert one.cores is None if count == 0 else one.cores is not None
        assert len(set(one.cores or ())) == count
        assert one.threads >= 1
        for core in one.cores or ():
            uses[core] += 1  # a core that the machine does not have raises here
    assert max(uses.values()) - min(uses.values()) <= 1
    shared = max(uses.values()) > 1
    assert shared == any("share" in note and "pinned roles ask" in note for note in found.notes)
