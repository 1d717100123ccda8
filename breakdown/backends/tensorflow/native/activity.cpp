// What TensorFlow's threads do around operations: a part of a step is told to run and has run, a function of several processes
// is run, a batch is taken, Python has an operation carried out. Each call is a row, named as TensorFlow's own profiler names it.
#include <atomic>

#include "hooks.h"

namespace breakdown {

namespace {

std::atomic<bool> wanted{false};

void (*real_run_graph)(void*, void*, int64_t, void*, void*, void*, void*, void*, void*, void*, WhenDone);
void* (*real_function)(void*, void*, void*, void*, void*, void*, void*, void*, void*);
void (*real_issue)(void*, void*, void*, void*, void*, void*, void*, WhenDone);
void (*real_numbered)(void*, void*, uint64_t, void*, void*, WhenDone);
void* (*real_batch)(void*, void*, void*);
void* (*real_execute)(void*, void*, void*, void*);
void* (*real_local)(void*, void*, int64_t, const void*, void*, void*, void*, const void*);

// A row from here until it goes out of scope.
class Row {
 public:
  explicit Row(const char* name, int64_t number = 0) : name_(name), number_(number), start_ns_(now_ns()) {}
  ~Row() {
    if (recording() && activity_wanted()) raw_span(kinds.other, intern(name_), number_, start_ns_, now_ns());
  }

 private:
  const char* name_;
  int64_t number_, start_ns_;
};

void run_graph(void* manager, void* handle, int64_t number, void* options, void* in, void* session, void* collector, void* response,
               void* cancellation, void* agent, WhenDone done) {
  Row row("RunGraph", number);
  real_run_graph(manager, handle, number, options, in, session, collector, response, cancellation, agent, [number, done = std::move(done)](const Status& status) {
    Row ended("RunGraphDone", number);
    done(status);
  });
}

void* function(void* status, void* kernel, void* container, void* arguments, void* outputs, void* cancellation, void* parameters, void* stack,
               void* agent) {
  Row row("KernelAndDeviceFunc::Run");
  return real_function(status, kernel, container, arguments, outputs, cancellation, parameters, stack, agent);
}

void issue(void* kernel, void* container, void* arguments, void* outputs, void* cancellation, void* parameters, void* agent, WhenDone done) {
  Row row("KernelAndDeviceFunc::RunAsync");
  real_issue(kernel, container, arguments, outputs, cancellation, parameters, agent, std::move(done));
}

void numbered(void* runtime, void* options, uint64_t handle, void* arguments, void* results, WhenDone done) {
  Row row("FunctionRun", *static_cast<const int64_t*>(options));  // the first of the options is the number of the run
  real_numbered(runtime, options, handle, arguments, results, std::move(done));
}

void* batch(void* status, void* kernel, void* context) {
  Row row("IteratorGetNextOp::DoCompute");
  return real_batch(status, kernel, context);
}

void* execute(void* status, void* operation, void* results, void* count) {
  Row row("EagerExecute");
  return real_execute(status, operation, results, count);
}

// A session without a server runs a graph for the thread that asks.
void* local(void* status, void* session, int64_t number, const void* options, void* frame, void* executors, void* metadata, const void* pools) {
  Row row("DirectSession::RunInternal", number);
  return real_local(status, session, number, options, frame, executors, metadata, pools);
}

const Hook HOOKS[] = {
    {"_ZN10tensorflow8GraphMgr12ExecuteAsyncERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEElRKNS_12ExecutorOptsERKSt3mapIS6_NS_6TensorESt4lessIS6_ESaISt4pairIS7_SD_EEEPNS_13WorkerSessionEPNS_18StepStatsCollectorEPNS_30MutableRunGraphResponseWrapperEPN3tsl19CancellationManagerEPNSS_24CoordinationServiceAgentESt8functionIFvRKN4absl12lts_202508146StatusEEE",
     reinterpret_cast<void*>(run_graph), reinterpret_cast<void**>(&real_run_graph)},
    {"_ZN10tensorflow19KernelAndDeviceFunc3RunEPNS_19ScopedStepContainerERKNS_15EagerKernelArgsEPSt6vectorISt7variantIJNS_6TensorENS_11TensorShapeEEESaISA_EEPN3tsl19CancellationManagerERKSt8optionalINS_19EagerFunctionParamsEERKSH_INS_17ManagedStackTraceEEPNSE_24CoordinationServiceAgentE",
     reinterpret_cast<void*>(function), reinterpret_cast<void**>(&real_function)},
    {"_ZN10tensorflow19KernelAndDeviceFunc8RunAsyncEPNS_19ScopedStepContainerERKNS_15EagerKernelArgsEPSt6vectorISt7variantIJNS_6TensorENS_11TensorShapeEEESaISA_EEPN3tsl19CancellationManagerERKSt8optionalINS_19EagerFunctionParamsEEPNSE_24CoordinationServiceAgentESt8functionIFvRKN4absl12lts_202508146StatusEEE",
     reinterpret_cast<void*>(issue), reinterpret_cast<void**>(&real_issue)},
    {"_ZNK10tensorflow29ProcessFunctionLibraryRuntime3RunERKNS_22FunctionLibraryRuntime7OptionsEmRKNS_21FunctionArgsInterfaceEPSt6vectorISt7variantIJNS_6TensorENS_11TensorShapeEEESaISC_EESt8functionIFvRKN4absl12lts_202508146StatusEEE",
     reinterpret_cast<void*>(numbered), reinterpret_cast<void**>(&real_numbered)},
    {"_ZN10tensorflow4data17IteratorGetNextOp9DoComputeEPNS_15OpKernelContextE", reinterpret_cast<void*>(batch),
     reinterpret_cast<void**>(&real_batch)},
    {"_ZN10tensorflow12EagerExecuteEPNS_14EagerOperationEPPNS_12TensorHandleEPi", reinterpret_cast<void*>(execute),
     reinterpret_cast<void**>(&real_execute)},
    {"_ZN10tensorflow13DirectSession11RunInternalElRKNS_10RunOptionsEPNS_18CallFrameInterfaceEPNS0_16ExecutorsAndKeysEPNS_11RunMetadataERKN3tsl6thread17ThreadPoolOptionsE",
     reinterpret_cast<void*>(local), reinterpret_cast<void**>(&real_local)},
};

}  // namespace

const Group ACTIVITY{"what threads do around operations", HOOKS, sizeof HOOKS / sizeof *HOOKS};

void set_activity(bool on) { wanted.store(on); }

bool activity_wanted() { return wanted.load(std::memory_order_relaxed); }

}  // namespace breakdown
