// Every n-th step alone: the activity of all roles is recorded while a worker is in a step that is to be traced.
//
// The roles of a run are on one machine and map one small file, a count of the workers that are in such a step. A process that
// has steps of its own records its activity during those. One that serves others looks at the count whenever bytes come in:
// whoever asks it for something in a traced step has raised the count before.
#include <atomic>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "hooks.h"

namespace breakdown {

namespace {

constexpr const char* FILE_NAME = "traced-now";
constexpr int64_t MOST_WORKERS = 1024;

using Count = std::atomic<int32_t>;
static_assert(sizeof(Count) == sizeof(int32_t) && Count::is_always_lock_free);

std::atomic<Count*> workers_traced{nullptr};
std::atomic<bool> has_steps{false};
std::atomic<int32_t> own_traced{0};
bool in_traced[MOST_WORKERS];  // by worker; each is told of by one thread

Count* mapped(const std::string& path) {
  int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return nullptr;
  void* memory = ftruncate(file, sizeof(Count)) == 0 ? mmap(nullptr, sizeof(Count), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  close(file);
  return memory == MAP_FAILED ? nullptr : static_cast<Count*>(memory);
}

}  // namespace

void follow_traced_steps() {
  Count* count = workers_traced.load(std::memory_order_acquire);
  if (count == nullptr || has_steps.load(std::memory_order_relaxed)) return;
  bool on = count->load() > 0;
  while (on != activity_wanted()) {  // another thread may have followed an older count meanwhile
    set_activity(on);
    on = count->load() > 0;
  }
}

}  // namespace breakdown

using namespace breakdown;

extern "C" {

// From here on activity is recorded in traced steps only. `folder`: the same for all roles. 0 when it is so; else, as where the
// roles are on several machines, activity stays on.
__attribute__((visibility("default"))) int breakdown_only_traced_steps(const char* folder) {
  Count* count = mapped(std::string(folder) + "/" + FILE_NAME);
  if (count == nullptr) return 1;
  set_activity(false);
  workers_traced.store(count, std::memory_order_release);
  return 0;
}

// A step of a worker begins in this process, which is to be traced or not. The step before it has ended.
__attribute__((visibility("default"))) void breakdown_begin_step(int64_t worker, int traced) {
  Count* count = workers_traced.load(std::memory_order_acquire);
  if (count == nullptr || worker < 0 || worker >= MOST_WORKERS) return;
  has_steps.store(true, std::memory_order_relaxed);
  bool wanted = traced != 0;
  if (in_traced[worker] == wanted) return;
  in_traced[worker] = wanted;
  count->fetch_add(wanted ? 1 : -1);
  set_activity(own_traced.fetch_add(wanted ? 1 : -1) + (wanted ? 1 : -1) > 0);
}

}  // extern "C"
