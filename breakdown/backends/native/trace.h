// Records rows of a trace and writes them in the project's trace file layout (breakdown/record/layout.py).
//
// Hot path: a row is copied into a ring of its own thread: no lock, no allocation, no system call. A flusher thread writes
// what is there twice a second, so a process that is killed loses at most its last second. When a ring is full, or the disk,
// rows are counted as lost and the program goes on. The end of the process, or `breakdown_stop`, closes the file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace breakdown {

// The numbers of breakdown/model: stages.py, records.py, identity.py.
enum Stage : int64_t { INPUT, COMPUTE, SERIALIZE, PUSH, AGGREGATE, PULL, WAIT, OTHER };
enum Verb : int64_t { CONTROL_VERB, PUSH_VERB, PULL_VERB };
enum Direction : int64_t { REQUEST, REPLY };
enum Role : int64_t { SCHEDULER, SERVER, WORKER };

constexpr int64_t NO_REQUEST = 0;
constexpr int64_t NO_STEP = -1;
constexpr int64_t NOT_MEASURED = -1;

struct SpanRow {
  int64_t stage, op, key, step, size_bytes, start_ns, end_ns, request_id, cause_id, cpu_ns = NOT_MEASURED, runnable_ns = NOT_MEASURED;
};

struct HalfRow {
  int64_t verb, direction, key, step, size_bytes, request_id, peer, start_ns, end_ns;
};

// False before the hooks are installed, after the end, and in forked children: then hooks only pass calls on.
bool recording();

// Writes rows of the calling thread. `now_ns` is CLOCK_MONOTONIC, as in the rest of the toolkit.
void span(const SpanRow& row);
void sent(const HalfRow& row);
void received(const HalfRow& row);
int64_t now_ns();

// A small integer for an op or a key; takes a lock only the first time a text is seen.
int64_t intern(const char* text, size_t length);
int64_t intern(const char* text);

// What the calling thread is called in the trace, if it has recorded nothing yet. The first thread of a process is "main".
void call_thread(const char* name);

// A buffer beside a thread's own, named in the trace like a thread: for what overlaps the activity of the thread that records
// it, such as several connections that one thread serves. To be written by one thread only; takes a lock to make.
struct Ring;
Ring* lane(const char* name);
void span_on(Ring* ring, const SpanRow& row);
void sent_on(Ring* ring, const HalfRow& row);
void received_on(Ring* ring, const HalfRow& row);

// A fact beside the rows; `json` is the value. May allocate: not for the hot path.
void note(const char* name, const char* json);

// Called once, before the last flush, on a thread of the recorder's own.
void at_end(void (*write)());

// Who this process is. Until it is known the file has a temporary name that no reader picks up.
void identify(Role role, int64_t rank);
bool identified();
int64_t node_code();  // Node.code of breakdown/model/identity.py; -1 while it is not known

// The worker's current step, set by the program through `breakdown_step`; NO_STEP if it never was.
int64_t current_step();

// Starts the flusher. False, with a line on stderr, when the folder cannot be written to.
bool start_recording(const char* folder, int64_t run);

}  // namespace breakdown
