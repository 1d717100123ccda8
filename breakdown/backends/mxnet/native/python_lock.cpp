// How long a server's updater, which is Python, holds the interpreter's lock, and waits for it: in a lane beside the main
// thread's own, because these spans lie within its update spans. Seen where ctypes takes and gives back the lock; what other
// extension modules give back in between counts as held.
#include "hooks.h"
#include "thread_time.h"

namespace breakdown {

namespace {

int (*real_ensure)();
void (*real_release)(int);
void* (*real_save)();
void (*real_restore)(void*);

constexpr int64_t SHORTEST_WAIT_NS = 1000;  // taking a free lock is no wait

Ring* lock_lane = nullptr;

// A moment, and what had become of the thread's time by then. The lock is taken and given back often: not each time is read.
struct Moment {
  int64_t ns = 0;
  ThreadTime time = NO_TIME;
  static Moment now() {
    int64_t ns = now_ns();
    return {ns, thread_time_near(ns)};
  }
};
thread_local Moment held_since;

bool watched() { return request_at_work != NO_REQUEST && recording(); }

void lock_span(int64_t op, const Moment& start, const Moment& end) {
  if (lock_lane == nullptr) lock_lane = lane("main/python-lock");
  ThreadTime used = end.time - start.time;
  span_on(lock_lane, {AGGREGATE, op, work.key, NO_STEP, 0, start.ns, end.ns, request_at_work, NO_REQUEST, used.cpu_ns, used.runnable_ns});
}

void took(const Moment& asked) {
  held_since = Moment::now();
  if (held_since.ns - asked.ns > SHORTEST_WAIT_NS) lock_span(ops.lock_wait, asked, held_since);
}

void gives_back() {
  if (held_since.ns != 0) lock_span(ops.lock_held, held_since, Moment::now());
  held_since = {};
}

int ensure() {
  if (!watched()) return real_ensure();
  Moment asked = Moment::now();
  int state = real_ensure();
  took(asked);
  return state;
}

void release(int state) {
  if (watched()) gives_back();
  real_release(state);
}

void* save() {
  if (watched()) gives_back();
  return real_save();
}

void restore(void* state) {
  if (!watched()) return real_restore(state);
  Moment asked = Moment::now();
  real_restore(state);
  took(asked);
}

const Hook HOOKS[] = {
    {"PyGILState_Ensure", reinterpret_cast<void*>(ensure), reinterpret_cast<void**>(&real_ensure)},
    {"PyGILState_Release", reinterpret_cast<void*>(release), reinterpret_cast<void**>(&real_release)},
    {"PyEval_SaveThread", reinterpret_cast<void*>(save), reinterpret_cast<void**>(&real_save)},
    {"PyEval_RestoreThread", reinterpret_cast<void*>(restore), reinterpret_cast<void**>(&real_restore)},
};

}  // namespace

const Group PYTHON_LOCK{"python lock", HOOKS, sizeof HOOKS / sizeof *HOOKS};

}  // namespace breakdown
