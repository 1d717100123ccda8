"""A minimal writer of Perfetto's protobuf trace format: tracks, slices, flows and arguments, nothing else.

Field numbers are those of protos/perfetto/trace/{trace,trace_packet}.proto and track_event/{track_event,track_descriptor,
process_descriptor,thread_descriptor,debug_annotation}.proto, which Perfetto keeps stable. The wire format is that of
https://protobuf.dev/programming-guides/encoding: a varint or length-delimited value behind each field's tag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

VARINT, FIXED64, BYTES = 0, 1, 2

# Trace
TRACE_PACKET = 1
# TracePacket
PACKET_TIMESTAMP, PACKET_SEQUENCE, PACKET_EVENT, PACKET_FLAGS = 8, 10, 11, 13
PACKET_TRACK = 60
FLAG_INCREMENTAL_STATE_CLEARED = 1
# TrackDescriptor, ProcessDescriptor, ThreadDescriptor
TRACK_UUID, TRACK_NAME, TRACK_PROCESS, TRACK_THREAD, TRACK_PARENT = 1, 2, 3, 4, 5
PROCESS_PID, PROCESS_NAME = 1, 6
THREAD_PID, THREAD_TID, THREAD_NAME = 1, 2, 5
# TrackEvent
EVENT_TYPE, EVENT_TRACK, EVENT_CATEGORIES, EVENT_NAME, EVENT_ANNOTATION, EVENT_FLOWS = 9, 11, 22, 23, 4, 47
TYPE_SLICE_BEGIN, TYPE_SLICE_END, TYPE_INSTANT = 1, 2, 3
# DebugAnnotation
ANNOTATION_INT, ANNOTATION_STRING, ANNOTATION_NAME = 4, 6, 10

SEQUENCE = 1  # one writer, one sequence of packets


def varint(value: int) -> bytes:
    """A non-negative integer below 2**64, seven bits a byte, least significant first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """An integer field; a negative one as protobuf's int64 (two's complement in 64 bits)."""
    return varint(field << 3 | VARINT) + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def fixed64(field: int, value: int) -> bytes:
    return varint(field << 3 | FIXED64) + value.to_bytes(8, "little")


def blob(field: int, value: bytes) -> bytes:
    return varint(field << 3 | BYTES) + varint(len(value)) + value


def text(field: int, value: str) -> bytes:
    return blob(field, value.encode())


def packet(content: bytes) -> bytes:
    """One packet of the trace file; a file is nothing but packets."""
    return blob(TRACE_PACKET, content + number(PACKET_SEQUENCE, SEQUENCE))


def start() -> bytes:
    """The first packet: nothing that came before it counts."""
    return packet(number(PACKET_FLAGS, FLAG_INCREMENTAL_STATE_CLEARED))


def process_track(uuid: int, pid: int, name: str) -> bytes:
    process = number(PROCESS_PID, pid) + text(PROCESS_NAME, name)
    return packet(blob(PACKET_TRACK, number(TRACK_UUID, uuid) + blob(TRACK_PROCESS, process)))


def thread_track(uuid: int, parent: int, pid: int, tid: int, name: str) -> bytes:
    thread = number(THREAD_PID, pid) + number(THREAD_TID, tid) + text(THREAD_NAME, name)
    return packet(blob(PACKET_TRACK, number(TRACK_UUID, uuid) + number(TRACK_PARENT, parent) + blob(TRACK_THREAD, thread)))


def child_track(uuid: int, parent: int, name: str) -> bytes:
    """A track of its own below a process, for what is not the work of one thread."""
    return packet(blob(PACKET_TRACK, number(TRACK_UUID, uuid) + number(TRACK_PARENT, parent) + text(TRACK_NAME, name)))


def slice_begin(
    track: int, time_ns: int, name: str, category: str, arguments: Mapping[str, int | str], flows: Sequence[int]
) -> bytes:
    """The start of a slice. Slices of one track nest; `flows` join it to the next slice, by its start, with the same id."""
    annotations = b""
    for key, value in arguments.items():
        inner = number(ANNOTATION_INT, value) if isinstance(value, int) else text(ANNOTATION_STRING, value)
        annotations += blob(EVENT_ANNOTATION, text(ANNOTATION_NAME, key) + inner)
    return _event(time_ns, _named(TYPE_SLICE_BEGIN, track, name, category) + annotations + _flows(flows))


def slice_end(track: int, time_ns: int) -> bytes:
    """The end of the slice that is open on this track."""
    return _event(time_ns, number(EVENT_TYPE, TYPE_SLICE_END) + number(EVENT_TRACK, track))


def instant(track: int, time_ns: int, name: str, category: str, flows: Sequence[int]) -> bytes:
    """A moment, with flows as those of a slice that starts there."""
    return _event(time_ns, _named(TYPE_INSTANT, track, name, category) + _flows(flows))


def _named(kind: int, track: int, name: str, category: str) -> bytes:
    return number(EVENT_TYPE, kind) + number(EVENT_TRACK, track) + text(EVENT_CATEGORIES, category) + text(EVENT_NAME, name)


def _flows(flows: Sequence[int]) -> bytes:
    return b"".join(fixed64(EVENT_FLOWS, flow) for flow in flows)


def _event(time_ns: int, event: bytes) -> bytes:
    # no clock is named: a trace of one clock needs no snapshot that relates it to others, and times are shown as they are
    return packet(number(PACKET_TIMESTAMP, time_ns) + blob(PACKET_EVENT, event))
