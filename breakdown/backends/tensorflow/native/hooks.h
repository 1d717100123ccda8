// What the native recorder of TensorFlow writes: one process's view, in the trace file's layout but with TensorFlow's own
// numbers. breakdown/store/tensorflow makes the trace grammar of it, once the traces of all processes are together.
//
// SPAN      op names the kind of row, key the operation, request_id the number that TensorFlow gave the step (the same in
//           all processes), cause_id what the kind says
// SENT, RECEIVED  of a gRPC message: direction, key (method, and what is asked for), step (TensorFlow's), size_bytes,
//           request_id (HTTP/2 stream and the message's number in it), peer (number of a `connection` note)
#pragma once

#include <cstdint>
#include <string>

#include "patch.h"
#include "trace.h"

namespace breakdown {

extern const Group CLOCK;      // TraceMe's clock becomes ours
extern const Group RECORDS;    // every TraceMe
extern const Group PROFILER;   // when a profiler of the program's own starts and stops
extern const Group SOCKETS;    // gRPC's messages
extern const Group GRAPHS;     // the graph of every executor
extern const Group TENSORS;    // who asks for which tensor, encoding and decoding
extern const Group MASTER;     // who asked for a step

// From here on TraceMes are made, or not. Costs one store.
void set_activity(bool on);
bool activity_wanted();
void follow_traced_steps();  // where this process serves the traced steps of others: on while there are any
void measure_cpu_time();  // of operations, from here on
bool find_activity(const Library& framework);
bool find_graph_functions(const Library& framework);
bool find_message_functions(const Library& framework);

// Kinds of rows, interned once.
struct Kinds {
  int64_t kernel, process, start, done, other;  // TraceMes
  int64_t ask, take, encode, decode;            // tensors: this process asks, is asked, writes it down, reads it
  int64_t run, partitions;                      // the master's part in a step
};
extern Kinds kinds;

// The text of a protobuf message, as it would be sent.
std::string serialised(const void* message);

// The first field of this number in a serialised protobuf message; 0 or "" when there is none.
int64_t integer_field(const char* data, size_t size, uint32_t number);
std::string text_field(const char* data, size_t size, uint32_t number);

// Notes in the trace that something is not recorded: a symbol is missing, or not as expected.
void give_up(const char* what, const char* why);

// A thread is called in the trace as in the kernel ("tf_Compute").
void name_thread();

inline void raw_span(int64_t kind, int64_t key, int64_t step, int64_t start_ns, int64_t end_ns, int64_t cause = 0, int64_t size = 0,
                     int64_t cpu_ns = NOT_MEASURED) {
  name_thread();
  span({OTHER, kind, key, NO_STEP, size, start_ns, end_ns, step, cause, cpu_ns});
}

}  // namespace breakdown
