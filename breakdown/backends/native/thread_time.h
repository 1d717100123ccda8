// What became of a thread's time, as in breakdown/clock/thread_time.py: how long it ran, and how long it was ready to run while
// it had no core. The kernel counts both; the second is read from a file that is opened once a thread and kept open.
#pragma once

#include <cstdint>

#include "trace.h"

namespace breakdown {

// In ns, since the thread began or within a stretch.
struct ThreadTime {
  int64_t cpu_ns, runnable_ns;
};
constexpr ThreadTime NO_TIME{NOT_MEASURED, NOT_MEASURED};

// Between two readings of one thread.
ThreadTime operator-(const ThreadTime& end, const ThreadTime& begin);

// The readings are system calls, of a quarter and of half a microsecond: within a short while after one, the thread is taken to
// have had its core. A thread that loses its core loses it for longer than that as a rule.
constexpr int64_t READ_AFTER_NS = 50000;

// Of the calling thread, now. `thread_time` reads its CPU clock each time, `thread_time_near` no more often than the other.
ThreadTime thread_time(int64_t now);
ThreadTime thread_time_near(int64_t now);

}  // namespace breakdown
