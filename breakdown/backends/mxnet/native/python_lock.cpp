// How long a server's updater, which is Python, holds the interpreter's lock, and waits for it: in a lane beside the main
// thread's own, because these spans lie within its update spans. Seen where ctypes takes and gives back the lock; what other
// extension modules give back in between counts as held.
#include "hooks.h"

namespace breakdown {

namespace {

int (*real_ensure)();
void (*real_release)(int);
void* (*real_save)();
void (*real_restore)(void*);

constexpr int64_t SHORTEST_WAIT_NS = 1000;  // taking a free lock is no wait

Ring* lock_lane = nullptr;
thread_local int64_t held_since_ns = 0;

bool watched() { return request_at_work != NO_REQUEST && recording(); }

void lock_span(int64_t op, int64_t start_ns, int64_t end_ns) {
  if (lock_lane == nullptr) lock_lane = lane("main/python-lock");
  span_on(lock_lane, {AGGREGATE, op, work.key, NO_STEP, 0, start_ns, end_ns, request_at_work, NO_REQUEST, NOT_MEASURED});
}

void took(int64_t asked_ns) {
  held_since_ns = now_ns();
  if (held_since_ns - asked_ns > SHORTEST_WAIT_NS) lock_span(ops.lock_wait, asked_ns, held_since_ns);
}

void gives_back() {
  if (held_since_ns != 0) lock_span(ops.lock_held, held_since_ns, now_ns());
  held_since_ns = 0;
}

int ensure() {
  if (!watched()) return real_ensure();
  int64_t asked_ns = now_ns();
  int state = real_ensure();
  took(asked_ns);
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
  int64_t asked_ns = now_ns();
  real_restore(state);
  took(asked_ns);
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
