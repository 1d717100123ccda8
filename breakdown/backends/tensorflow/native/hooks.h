// What the native recorder of TensorFlow writes: one process's view, in the trace file's layout but with TensorFlow's own
// numbers. breakdown/store/tensorflow makes the trace grammar of it, once the traces of all processes are together.
//
// SPAN      op names the kind of row, key the operation, request_id the number that TensorFlow gave the step (the same in
//           all processes), cause_id what the kind says
// SENT, RECEIVED  of a gRPC message: direction, key (method, and what is asked for), step (TensorFlow's), size_bytes,
//           request_id (HTTP/2 stream and the message's number in it), peer (number of a `connection` note)
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "patch.h"
#include "thread_time.h"
#include "trace.h"

namespace breakdown {

extern const Group OPERATIONS;        // every operation
extern const Group NUMBERS;           // the runs of a dataset's functions: their numbers, in the library that draws them
extern const Group INPUT_RUNS;        // and the calls within which those are drawn, in both libraries
extern const Group OTHER_INPUT_RUNS;  // and in the main one
extern const Group ACTIVITY;          // what threads do around operations
extern const Group SOCKETS;           // gRPC's messages
extern const Group GRAPHS;            // the graph of every executor
extern const Group TENSORS;           // who asks for which tensor, encoding and decoding
extern const Group MASTER;            // who asked for a step
extern const Group EAGER;             // what is asked of other processes one by one, and who does it
extern const Group WAITS;             // threads that wait for what they asked for

// A callback of TensorFlow's that is told how its call ended.
struct Status;
using WhenDone = std::function<void(const Status&)>;

// From here on what threads do is recorded, or not. Costs one store.
void set_activity(bool on);
bool activity_wanted();
void follow_traced_steps();  // where this process serves the traced steps of others: on while there are any
void measure_time();  // what became of their threads' time, of operations from here on
void note_input();
bool find_graph_functions(const Library& framework);
bool find_message_functions(const Library& framework);
bool find_eager_functions(const Library& framework);

// Kinds of rows, interned once.
struct Kinds {
  int64_t kernel, start, done;                  // operations: one that is done as it returns; one that may be later; its end
  int64_t other;                                // what threads do around them, by name
  int64_t ask, take, encode, decode;            // tensors: this process asks, is asked, writes it down, reads it
  int64_t run, partitions;                      // the master's part in a step
  int64_t drive, request, serve, wait;          // eager: a step begins, a request is written down, is carried out, is waited for
};
extern Kinds kinds;

// The text of a protobuf message, as it would be sent.
std::string serialised(const void* message);

// The first field of this number in a serialised protobuf message; 0 or "" when there is none.
int64_t integer_field(const char* data, size_t size, uint32_t number);
std::string text_field(const char* data, size_t size, uint32_t number);

// The same of a message of which only the beginning is known: a text may be cut off. `*number` 0 stands for whichever is the first
// that holds a text, and becomes its number, or 0 when there is none.
std::string beginning_of_field(const char* data, size_t size, uint32_t* number);

// Every text, bytes or message of a message's outermost level, as `found(field, text)`. False where the bytes are no message.
bool each_text(const std::string& message, const std::function<void(uint32_t, const std::string&)>& found);

// What an eager request asks for, of its (first) bytes: its method with the kind of the request ("Enqueue operation"), and the
// number that tells it from others: of the operation, or of TensorFlow's step.
struct Asked {
  std::string what;
  int64_t number = 0;
};
bool is_eager(const std::string& method);
Asked eager_request(const std::string& method, const std::string& message);

// Notes in the trace that something is not recorded: a symbol is missing, or not as expected.
void give_up(const char* what, const char* why);

// A thread is called in the trace as in the kernel ("tf_Compute").
void name_thread();

inline void raw_span(int64_t kind, int64_t key, int64_t step, int64_t start_ns, int64_t end_ns, int64_t cause = 0, int64_t size = 0,
                     ThreadTime used = NO_TIME) {
  name_thread();
  span({OTHER, kind, key, NO_STEP, size, start_ns, end_ns, step, cause, used.cpu_ns, used.runnable_ns});
}

}  // namespace breakdown
