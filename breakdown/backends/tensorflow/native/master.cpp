// The master's part in a step: a session's `run` is handed to a thread of its own, which tells all partitions to run and waits
// for them. Says which of TensorFlow's steps is which of the program's, and of all others which thread asked for them: a thread
// that serves all workers (the chief's queue runner) asks for one behind the other.
#include <atomic>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

#include "hooks.h"

namespace breakdown {

namespace {

constexpr size_t PLACES = 64;  // steps under way at a time

struct Asked {
  std::atomic<const void*> request{nullptr};
  int64_t since_ns, step, thread;
};
Asked asked[PLACES];

struct Run {
  int64_t asked_ns = 0, step = NO_STEP, thread = 0, number = 0;
};
thread_local Run run_of_thread;

void (*real_ask)(void*, void*, const void*, void*, void*);
void* (*real_run)(void*, void*, void*, const void*, void*);
void* (*real_partitions)(void*, void*, const void*, int64_t, int64_t, void*, void*, const void*, void*, void*, bool);

// Called by the thread that asks for the step, and then sleeps until it is done.
void ask(void* master, void* options, const void* request, void* response, void* done) {
  for (Asked& place : asked) {
    const void* none = nullptr;
    if (!recording() || !place.request.compare_exchange_strong(none, &place)) continue;  // reserved: no request has this address
    place.since_ns = now_ns();
    place.thread = syscall(SYS_gettid);
    place.step = place.thread == getpid() ? current_step() : NO_STEP;
    place.request.store(request, std::memory_order_release);
    break;
  }
  real_ask(master, options, request, response, done);
}

void* run(void* status, void* session, void* options, const void* request, void* response) {
  int64_t start_ns = now_ns();
  run_of_thread = {};
  for (Asked& place : asked) {
    if (place.request.load(std::memory_order_acquire) != request) continue;
    run_of_thread = {place.since_ns, place.step, place.thread, 0};
    place.request.store(nullptr, std::memory_order_release);
    break;
  }
  void* result = real_run(status, session, options, request, response);
  Run& own = run_of_thread;
  if (recording() && own.number != 0) {
    std::string thread = std::to_string(own.thread);
    raw_span(kinds.run, intern(thread.data(), thread.size()), own.number, start_ns, now_ns(), own.step, own.asked_ns);
  }
  return result;
}

void* partitions(void* status, void* graph, const void* environment, int64_t number, int64_t count, void* state, void* options,
                 const void* request, void* response, void* cancellation, bool last) {
  run_of_thread.number = number;
  int64_t start_ns = now_ns();
  void* result = real_partitions(status, graph, environment, number, count, state, options, request, response, cancellation, last);
  if (recording()) raw_span(kinds.partitions, 0, number, start_ns, now_ns());
  return result;
}

const Hook HOOKS[] = {
    {"_ZN10tensorflow6Master7RunStepEPN3tsl11CallOptionsEPKNS_21RunStepRequestWrapperEPNS_29MutableRunStepResponseWrapperESt8functionIFvRKN4absl12lts_202508146StatusEEE",
     reinterpret_cast<void*>(ask), reinterpret_cast<void**>(&real_ask)},
    {"_ZN10tensorflow13MasterSession3RunEPN3tsl11CallOptionsERKNS_21RunStepRequestWrapperEPNS_29MutableRunStepResponseWrapperE",
     reinterpret_cast<void*>(run), reinterpret_cast<void**>(&real_run)},
    {"_ZN10tensorflow13MasterSession17ReffedClientGraph13RunPartitionsEPKNS_9MasterEnvEllPNS0_12PerStepStateEPN3tsl11CallOptionsERKNS_21RunStepRequestWrapperEPNS_29MutableRunStepResponseWrapperEPNS7_19CancellationManagerEb",
     reinterpret_cast<void*>(partitions), reinterpret_cast<void**>(&real_partitions)},
};

}  // namespace

const Group MASTER{"the master", HOOKS, sizeof HOOKS / sizeof *HOOKS};

}  // namespace breakdown
