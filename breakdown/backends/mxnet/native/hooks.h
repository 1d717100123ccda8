// The hooks, grouped by what they see, and what they tell each other about the thread that they run on.
#pragma once

#include "layout.h"
#include "patch.h"
#include "trace.h"

namespace breakdown {

extern const Group MESSAGES;     // every message, both ends
extern const Group SOCKETS;      // when their bytes went to the kernel and came from it
extern const Group SERVER_SIDE;  // what the server's threads do between arrival and answer
extern const Group WORKER_SIDE;  // what the worker's threads do around push and pull
extern const Group LAYERS;       // which layer an operator is part of
extern const Group ENGINE;       // every engine operation, its dependencies, and who waits for it
extern const Group PYTHON_LOCK;  // in the _ctypes module of a server: how long the updater holds the interpreter's lock

// Operations of the grammar and of this recorder, interned once.
struct Ops {
  int64_t queue, hold, block, encode, decode, sum, update;  // see model/stages.py
  int64_t send;         // a message is handed to ZeroMQ
  int64_t handle;       // a server's customer thread works on a request itself
  int64_t await;        // it sleeps: the engine, or the main thread, works on the request
  int64_t callback;     // a worker's customer thread takes an answer without data
  int64_t release;      // it completes the engine operation that asked
  int64_t barrier, command;  // a thread sleeps in a barrier, or until servers have done a command
  int64_t lock_held, lock_wait;
  int64_t bulk;         // MXNet's own name for several operations that it runs as one
};
extern Ops ops;

// What the operations that this thread pushes to the engine are for. `op` 0: they go by their own names.
struct Work {
  int64_t stage, op, key, request;
};
constexpr Work OWN_WORK{COMPUTE, 0, 0, NO_REQUEST};
extern thread_local Work work;

// Sets `work`, or another variable of the thread, until the end of the scope; also when an exception passes through.
template <class T>
class Within {
 public:
  Within(T& variable, T value) : variable_(variable), before_(variable) { variable = value; }
  ~Within() { variable_ = before_; }
  Within(const Within&) = delete;
  Within& operator=(const Within&) = delete;

 private:
  T& variable_;
  T before_;
};

// The layer (an interned name) whose operator of this type this thread is pushing now; 0 for none.
int64_t layer_of(const char* operation);

// The request that this thread is working on, in a customer thread, or on its behalf in a server's main thread.
extern thread_local int64_t request_at_work;

// The engine operation that this thread runs, or NO_REQUEST; when it was released, and for which step and key.
struct Running {
  int64_t operation, ready_ns, step, key;
  bool bulk;
};
extern thread_local Running running;

int own_ps_id();  // this node's id in ps-lite, PS_EMPTY while it is not known
bool is_server();

// Notes in the trace that something is not recorded: a symbol is missing, or the program is not laid out as expected.
void give_up(const char* what, const char* why);

}  // namespace breakdown
