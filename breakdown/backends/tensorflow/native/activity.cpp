// Every TraceMe: TensorFlow marks with them what its threads do, each operation among it. They are made while a level is set,
// and end up in TraceMeRecorder::Record; this takes the place of that function and of the level.
#include <atomic>
#include <cstring>
#include <string_view>

#include "hooks.h"

namespace breakdown {

namespace {

constexpr int LEVEL = 2;  // operations are made from this level on
constexpr int OFF = -1;   // TensorFlow's own value

struct Event {  // tsl::profiler::TraceMeRecorder::Event
  std::string name;
  int64_t start_ns, end_ns;
};
static_assert(sizeof(Event) == 48);

std::atomic<int>* level = nullptr;
std::atomic<bool> wanted{false};
std::atomic<bool> profiled{false};  // the program profiles itself: TraceMe's clock must be what it expects
std::atomic<int64_t> offset_ns{0};  // from its clock to ours, meanwhile

int64_t (*real_clock)();
void (*real_record)(Event&&);
bool (*real_start)(int, uint64_t);
void* (*real_stop)(void*);

// A thread's processor time at each moment at which its activities began or ended. To read that clock is a system call, so within
// a short while after a reading the thread is taken to have had its core. Only longer operations are measured by it.
constexpr int64_t READ_AFTER_NS = 20000;
constexpr size_t MOMENTS = 24;  // an activity within which more lie is not measured; threads have little room of this kind

struct Moment {
  int64_t at_ns, cpu_ns;
};

struct Processor {
  Moment read{0, 0};
  Moment moments[MOMENTS] = {};
  size_t count = 0;

  void pass(int64_t at_ns) {
    if (at_ns - read.at_ns >= READ_AFTER_NS) read = {at_ns, thread_cpu_ns()};
    moments[count++ % MOMENTS] = {at_ns, read.cpu_ns + at_ns - read.at_ns};
  }

  int64_t between(int64_t start_ns, int64_t end_ns) const {
    if (count == 0 || end_ns - start_ns < READ_AFTER_NS) return NOT_MEASURED;
    const Moment& last = moments[(count - 1) % MOMENTS];
    if (last.at_ns != end_ns) return NOT_MEASURED;
    for (size_t back = 2; back <= MOMENTS && back <= count; ++back) {
      const Moment& first = moments[(count - back) % MOMENTS];
      if (first.at_ns == start_ns) return last.cpu_ns > first.cpu_ns ? last.cpu_ns - first.cpu_ns : 0;
    }
    return NOT_MEASURED;
  }
};
thread_local Processor processor;
std::atomic<bool> cpu_measured{false};

int64_t clock_ns() {
  if (profiled.load(std::memory_order_relaxed)) return real_clock();
  int64_t now = now_ns();
  if (cpu_measured.load(std::memory_order_relaxed)) processor.pass(now);
  return now;
}

// The value of `name` in "#a=1,name=2,b=3#"; values have no comma, but for rendezvous keys, which stand last.
std::string_view value_of(std::string_view metadata, std::string_view name) {
  for (size_t at = 0; at < metadata.size();) {
    size_t end = metadata.find(',', at);
    if (end == std::string_view::npos) end = metadata.size();
    std::string_view entry = metadata.substr(at, end - at);
    if (entry.size() > name.size() && entry[name.size()] == '=' && entry.substr(0, name.size()) == name) return entry.substr(name.size() + 1);
    at = end + 1;
  }
  return {};
}

int64_t number(std::string_view text) {
  bool negative = !text.empty() && text[0] == '-';  // TensorFlow's numbers of a function's steps are
  if (negative) text.remove_prefix(1);
  int64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') break;
    value = value * 10 + (c - '0');
  }
  return negative ? -value : value;
}

bool begins(std::string_view text, std::string_view with) { return text.substr(0, with.size()) == with; }

int64_t asynchronous_key(std::string_view metadata) {
  char key[512];
  std::string_view name = value_of(metadata, "name"), type = value_of(metadata, "kernel_type");
  size_t size = name.size() + 1 + type.size();
  if (size > sizeof key) return 0;
  memcpy(key, name.data(), name.size());
  key[name.size()] = ':';
  memcpy(key + name.size() + 1, type.data(), type.size());
  return intern(key, size);
}

void write(std::string_view text, int64_t start_ns, int64_t end_ns) {
  size_t mark = text.find('#');
  std::string_view name = text.substr(0, mark);
  std::string_view metadata = mark == std::string_view::npos ? "" : text.substr(mark + 1, text.size() - mark - 2);
  if (begins(name, "Memory") || begins(name, "BasicCPUAllocator")) return;
  if (name == "ExecutorState::Process") {
    raw_span(kinds.process, 0, number(value_of(metadata, "id")), start_ns, end_ns);
  } else if (name == "ExecutorState::ProcessAsync::Start") {
    raw_span(kinds.start, asynchronous_key(metadata), number(value_of(metadata, "step_id")), start_ns, end_ns);
  } else if (name == "ExecutorState::ProcessAsync::Done") {
    raw_span(kinds.done, asynchronous_key(metadata), number(value_of(metadata, "step_id")), start_ns, end_ns);
  } else if (name.find("::") == std::string_view::npos && name.find(':') != std::string_view::npos) {
    raw_span(kinds.kernel, intern(name.data(), name.size()), 0, start_ns, end_ns, 0, 0, processor.between(start_ns, end_ns));
  } else {
    raw_span(kinds.other, intern(name.data(), name.size()), number(value_of(metadata, "id")), start_ns, end_ns);
  }
}

void record(Event&& event) {
  if (recording() && wanted.load(std::memory_order_relaxed)) {
    int64_t shift = profiled.load(std::memory_order_relaxed) ? offset_ns.load(std::memory_order_relaxed) : 0;
    write(event.name, event.start_ns + shift, event.end_ns + shift);
  }
  if (profiled.load(std::memory_order_relaxed)) real_record(static_cast<Event&&>(event));
}

// The offset of two clocks, from the narrowest of a few readings of one between two of the other.
int64_t measured_offset() {
  int64_t best = 0, narrowest = INT64_MAX;
  for (int i = 0; i < 9; ++i) {
    int64_t before = now_ns(), there = real_clock(), after = now_ns();
    if (after - before < narrowest) {
      narrowest = after - before;
      best = before + (after - before) / 2 - there;
    }
  }
  return best;
}

bool start_profiler(int at_level, uint64_t filter) {
  bool started = real_start(at_level, filter);
  if (started) {
    offset_ns.store(measured_offset());
    profiled.store(true);
    note("profiled", "true");
    set_activity(wanted.load());
  }
  return started;
}

void* stop_profiler(void* events) {
  void* result = real_stop(events);
  profiled.store(false);
  set_activity(wanted.load());
  return result;
}

const Hook CLOCK_HOOKS[] = {
    {"_ZN3tsl8profiler19GetCurrentTimeNanosEv", reinterpret_cast<void*>(clock_ns), reinterpret_cast<void**>(&real_clock)},
};
const Hook RECORD_HOOKS[] = {
    {"_ZN3tsl8profiler15TraceMeRecorder6RecordEONS1_5EventE", reinterpret_cast<void*>(record), reinterpret_cast<void**>(&real_record)},
};
const Hook PROFILER_HOOKS[] = {
    {"_ZN3tsl8profiler15TraceMeRecorder5StartEim", reinterpret_cast<void*>(start_profiler), reinterpret_cast<void**>(&real_start)},
    {"_ZN3tsl8profiler15TraceMeRecorder4StopEv", reinterpret_cast<void*>(stop_profiler), reinterpret_cast<void**>(&real_stop)},
};

}  // namespace

const Group CLOCK{"the clock of activities", CLOCK_HOOKS, 1};
const Group RECORDS{"activities", RECORD_HOOKS, 1};
const Group PROFILER{"the program's own profiler", PROFILER_HOOKS, 2};

bool find_activity(const Library& framework) {
  level = static_cast<std::atomic<int>*>(framework.address_of("_ZN3tsl8profiler8internal13g_trace_levelE"));
  return level != nullptr;
}

void set_activity(bool on) {
  wanted.store(on);
  if (level == nullptr) return;
  if (on) level->store(LEVEL);
  else if (!profiled.load()) level->store(OFF);
}

void measure_cpu_time() { cpu_measured.store(true); }

bool activity_wanted() { return wanted.load(std::memory_order_relaxed); }

}  // namespace breakdown
