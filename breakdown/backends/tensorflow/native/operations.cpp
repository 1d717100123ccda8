// Every operation: a device's two methods carry out all of them, and stand in its table of virtual functions. Nothing else is
// changed, so TensorFlow schedules operations as it does without us, and a row costs a tenth of a microsecond.
//
// What tf.data does to make a batch is not recorded operation by operation: a function that maps each element has as many
// runs as there are samples. A step that waits for its batch is told by the operation that takes it, and by what the
// dataset's own thread did for that; of the rest a note has the count and the time.
#include <atomic>
#include <functional>
#include <string>
#include <string_view>

#include "hooks.h"

namespace breakdown {

namespace {

using Done = std::function<void()>;

void (*real_compute)(void*, void*, void*);
void (*real_compute_async)(void*, void*, void*, Done);
uint64_t (*real_random)();
void* (*real_run)(void*, void*, void*, void*, void*, void*);
void* (*real_run_borrowed)(void*, void*, void*, void*, void*, void*);
void* (*real_run_instantiated)(void*, void*, void*, void*);
void (*real_run_async)(void*, void*, void*, void*, void*, void*, void*, void*);

// Where TensorFlow 2.21 keeps what is needed: OpKernel's name and type, a context's parameters, in those the step's number.
constexpr size_t NAME = 0xc8, TYPE = 0xd8, PARAMETERS = 0x18, NUMBER = 0;
constexpr size_t IS_EXPENSIVE = 4;  // in OpKernel's table of virtual functions

template <class T>
const T& at(const void* object, size_t offset) {
  return *reinterpret_cast<const T*>(static_cast<const char*>(object) + offset);
}

int64_t number_of(const void* context) { return at<int64_t>(at<const void*>(context, PARAMETERS), NUMBER); }

// Operations that only hand on what they are given say so themselves: they have no rows.
bool is_work(void* kernel) {
  using Ask = bool (*)(void*);
  return at<Ask>(at<const void*>(kernel, 0), IS_EXPENSIVE * sizeof(void*))(kernel);
}

int64_t key_of(const void* kernel) {
  std::string_view name = at<std::string_view>(kernel, NAME), type = at<std::string_view>(kernel, TYPE);
  char key[1024];
  size_t size = name.size() + 1 + type.size();
  if (size > sizeof key) return 0;
  name.copy(key, name.size());
  key[name.size()] = ':';
  type.copy(key + name.size() + 1, type.size());
  return intern(key, size);
}

// The runs of a dataset's functions draw their numbers at random, within the calls below. Who asks has the number; a place that
// another run took since is of no run then, and its operations have rows.
constexpr size_t PLACES = 1 << 12;
std::atomic<int64_t> runs_for_input[PLACES];
std::atomic<int64_t> input_count{0}, input_ns{0};
thread_local int within_input = 0;

std::atomic<int64_t>& place_of(int64_t number) { return runs_for_input[static_cast<uint64_t>(number) % PLACES]; }
bool is_for_input(int64_t number) { return number < 0 && place_of(number).load(std::memory_order_relaxed) == number; }

uint64_t random() {
  uint64_t drawn = real_random();
  if (within_input > 0) {
    int64_t number = static_cast<int64_t>(drawn);
    number = number < 0 ? number : -number;
    place_of(number).store(number, std::memory_order_relaxed);
  }
  return drawn;
}

struct WithinInput {
  WithinInput() { ++within_input; }
  ~WithinInput() { --within_input; }
};

void* run(void* status, void* function, void* context, void* arguments, void* results, void* node) {
  WithinInput within;
  return real_run(status, function, context, arguments, results, node);
}

void* run_borrowed(void* status, void* function, void* context, void* arguments, void* results, void* node) {
  WithinInput within;
  return real_run_borrowed(status, function, context, arguments, results, node);
}

void* run_instantiated(void* status, void* function, void* arguments, void* results) {
  WithinInput within;
  return real_run_instantiated(status, function, arguments, results);
}

void run_async(void* function, void* runner, void* cancellation, void* collective, void* arguments, void* results, void* done, void* node) {
  WithinInput within;
  real_run_async(function, runner, cancellation, collective, arguments, results, done, node);
}

std::atomic<bool> time_measured{false};

void compute(void* device, void* kernel, void* context) {
  if (!recording() || !activity_wanted() || !is_work(kernel)) return real_compute(device, kernel, context);
  int64_t number = number_of(context);
  if (is_for_input(number)) {
    int64_t start_ns = now_ns();
    real_compute(device, kernel, context);
    input_count.fetch_add(1, std::memory_order_relaxed);
    input_ns.fetch_add(now_ns() - start_ns, std::memory_order_relaxed);
    return;
  }
  int64_t key = key_of(kernel), start_ns = now_ns();
  bool measured = time_measured.load(std::memory_order_relaxed);
  ThreadTime begin = measured ? thread_time_near(start_ns) : NO_TIME;
  real_compute(device, kernel, context);
  int64_t end_ns = now_ns();
  ThreadTime end = measured ? thread_time_near(end_ns) : NO_TIME;  // also of a short one: the next may begin with it
  raw_span(kinds.kernel, key, number, start_ns, end_ns, 0, 0, measured && end_ns - start_ns >= READ_AFTER_NS ? end - begin : NO_TIME);
}

// One that may be done later, in another thread. Its end is recorded although its begin may lie before recording began.
void compute_async(void* device, void* kernel, void* context, Done done) {
  if (!recording()) return real_compute_async(device, kernel, context, std::move(done));
  int64_t number = number_of(context);
  if (is_for_input(number)) return real_compute_async(device, kernel, context, std::move(done));
  int64_t key = key_of(kernel), start_ns = now_ns();
  real_compute_async(device, kernel, context, [key, number, done = std::move(done)] {
    int64_t done_key = key, of_number = number, done_ns = now_ns();  // what holds this function may be gone after the call
    done();
    if (recording() && activity_wanted()) raw_span(kinds.done, done_key, of_number, done_ns, now_ns());
  });
  if (recording() && activity_wanted()) raw_span(kinds.start, key, number, start_ns, now_ns());
}

const Hook HOOKS[] = {
    {"_ZN10tensorflow16ThreadPoolDevice7ComputeEPNS_8OpKernelEPNS_15OpKernelContextE", reinterpret_cast<void*>(compute),
     reinterpret_cast<void**>(&real_compute)},
    {"_ZN10tensorflow16ThreadPoolDevice12ComputeAsyncEPNS_13AsyncOpKernelEPNS_15OpKernelContextESt8functionIFvvEE",
     reinterpret_cast<void*>(compute_async), reinterpret_cast<void**>(&real_compute_async)},
};
#define CAPTURED "_ZNK10tensorflow4data28InstantiatedCapturedFunction"
#define TENSORS_OF "St6vectorINS_6TensorESaIS5_EE"
const Hook NUMBER_HOOKS[] = {
    {"_ZN3tsl6random5New64Ev", reinterpret_cast<void*>(random), reinterpret_cast<void**>(&real_random)},
};
const Hook RUN_HOOKS[] = {
    {CAPTURED "3RunEPNS0_15IteratorContextEO" TENSORS_OF "PS7_RKSt10shared_ptrINS0_5model4NodeEE", reinterpret_cast<void*>(run),
     reinterpret_cast<void**>(&real_run)},
    {CAPTURED "19RunWithBorrowedArgsEPNS0_15IteratorContextERK" TENSORS_OF "PS7_RKSt10shared_ptrINS0_5model4NodeEE",
     reinterpret_cast<void*>(run_borrowed), reinterpret_cast<void**>(&real_run_borrowed)},
};
const Hook OTHER_RUN_HOOKS[] = {
    {"_ZN10tensorflow4data28InstantiatedCapturedFunction15RunInstantiatedERKSt6vectorINS_6TensorESaIS3_EEPS5_",
     reinterpret_cast<void*>(run_instantiated), reinterpret_cast<void**>(&real_run_instantiated)},
    {CAPTURED
     "8RunAsyncESt8functionIFvS2_IFvvEEEEPN3tsl19CancellationManagerEPNS_18CollectiveExecutorEOSt6vectorINS_6TensorESaISD_EEPSF_S2_IFvRKN4absl12lts_202508146StatusEEERKSt10shared_ptrINS0_5model4NodeEE",
     reinterpret_cast<void*>(run_async), reinterpret_cast<void**>(&real_run_async)},
};

}  // namespace

const Group OPERATIONS{"operations", HOOKS, sizeof HOOKS / sizeof *HOOKS};
const Group NUMBERS{"the numbers of a dataset's runs", NUMBER_HOOKS, sizeof NUMBER_HOOKS / sizeof *NUMBER_HOOKS};
const Group INPUT_RUNS{"a dataset's runs", RUN_HOOKS, sizeof RUN_HOOKS / sizeof *RUN_HOOKS};
const Group OTHER_INPUT_RUNS{"a dataset's runs", OTHER_RUN_HOOKS, sizeof OTHER_RUN_HOOKS / sizeof *OTHER_RUN_HOOKS};

void measure_time() { time_measured.store(true); }

void note_input() {
  int64_t count = input_count.load();
  if (count > 0) note("input_operations", ("[" + std::to_string(count) + ", " + std::to_string(input_ns.load()) + "]").c_str());
}

}  // namespace breakdown
