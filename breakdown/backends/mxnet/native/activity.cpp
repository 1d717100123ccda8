#include "activity.h"

namespace breakdown {

namespace {
thread_local Activity* current = nullptr;
}

Activity::Activity(const SpanRow& what, bool measure) : row(what), outer_(current), measure_(measure) {
  begin_ns_ = now_ns();
  if (outer_ != nullptr) outer_->close(begin_ns_);
  current = this;
  resume(begin_ns_);
}

Activity::~Activity() {
  int64_t now = now_ns();
  close(now);
  current = outer_;
  if (outer_ != nullptr) outer_->resume(now);
}

void Activity::next() {
  int64_t now = now_ns();
  close(now);
  resume(now);
}

// What is left of an activity after an interruption is often only its way out: not worth a row.
constexpr int64_t SHORTEST_REST_NS = 1000;

void Activity::close(int64_t now) {
  int64_t shortest = cursor_ns_ == begin_ns_ ? 1 : SHORTEST_REST_NS;
  if (now - cursor_ns_ < shortest || !recording()) return;
  row.start_ns = cursor_ns_;
  row.end_ns = now;
  if (measure_) {
    ThreadTime used = thread_time(now) - cursor_time_;
    row.cpu_ns = used.cpu_ns;
    row.runnable_ns = used.runnable_ns;
  }
  span(row);
}

void Activity::resume(int64_t now) {
  cursor_ns_ = now;
  if (measure_) cursor_time_ = thread_time(now);
}

Interruption::Interruption() : start_ns(now_ns()), stopped_(current) {
  if (stopped_ != nullptr) stopped_->close(start_ns);
  current = nullptr;
}

int64_t Interruption::stop() { return end_ns_ = now_ns(); }

Interruption::~Interruption() {
  current = stopped_;
  if (stopped_ != nullptr) stopped_->resume(end_ns_ != 0 ? end_ns_ : now_ns());
}

}  // namespace breakdown
