// What a thread is doing, as spans that never overlap: an activity that is interrupted by another one (or by the sending or
// receiving of a message) becomes several spans.
#pragma once

#include "thread_time.h"
#include "trace.h"

namespace breakdown {

class Activity {
 public:
  // `row` says what it is; its times are filled in. With `measure` the spans carry what became of the thread's time.
  explicit Activity(const SpanRow& row, bool measure = false);
  ~Activity();
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;

  SpanRow row;
  int64_t begin_ns() const { return begin_ns_; }
  // Ends the current span here and goes on under what `row` says from now on.
  void next();

 private:
  friend class Interruption;
  void close(int64_t now);
  void resume(int64_t now);

  Activity* outer_;
  int64_t begin_ns_, cursor_ns_;
  ThreadTime cursor_time_{};
  bool measure_;
};

// Within its life the thread's current activity stands still. Knows when it began; `stop` says when it ended.
class Interruption {
 public:
  Interruption();
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;
  int64_t start_ns;
  int64_t stop();

 private:
  Activity* stopped_;
  int64_t end_ns_ = 0;
};

}  // namespace breakdown
