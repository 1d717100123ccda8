// MXNet's engine: every operation from its pushing to its completion, what released it, and who slept until it was done.
//
// An operation gets an id of its own, from 2**61 on, known in this process only. A worker records for each one
//   hold   [pushed, released], cause = the operation whose completion released it; absent when it could run at once
//   queue  [released, taken by a thread], cause the same
//   its own span under its name (encode and decode where it is known to be that), with CPU time
// A server records the operations of a request under that request's id, as sum, update or decode.
#include <atomic>
#include <cstring>
#include <new>

#include "activity.h"
#include "hooks.h"

namespace breakdown {

thread_local Work work = OWN_WORK;
thread_local Running running{NO_REQUEST, 0, NO_STEP, 0, false};
thread_local int64_t request_at_work = NO_REQUEST;

namespace {

constexpr int64_t FIRST_OPERATION = int64_t{1} << 61;
constexpr int CHECKED_PUSHES = 512;
constexpr int64_t SHORTEST_WAIT_NS = 2000;  // a WaitForAll that found nothing to wait for is not worth a row

std::atomic<bool> broken{false};
std::atomic<int64_t> operations{FIRST_OPERATION};
std::atomic<int> checked{0};
std::atomic<int64_t> last_completed{NO_REQUEST};

// A thread that sleeps in WaitForVar. Its cause: on a worker the operation that it pushed for that, on a server the request
// whose completion released that operation.
struct Sleeper {
  std::atomic<int64_t> cause{NO_REQUEST};
  bool pushed = false;
};
thread_local Sleeper* sleeper = nullptr;

// What completes in this thread now: it is the cause of whatever that releases.
thread_local int64_t completing = NO_REQUEST;

struct Pushed {
  int64_t id, pushed_ns, released_ns, cause, step, name;
  Work work;
  Sleeper* sleeper;
};

// Operations under way, by the address of their block. A block is pushed by one thread, released by one, run by one and
// completed by one, each after the other, so an entry needs no lock.
struct Entry {
  std::atomic<const OperationBlock*> block{nullptr};
  Pushed pushed;
};
constexpr size_t PLACES = 1 << 15, WINDOW = 32;
Entry entries[PLACES + WINDOW];
std::atomic<int64_t> unseen{0};

Entry* window_of(const OperationBlock* block) {
  return entries + (reinterpret_cast<uintptr_t>(block) / 8 * 0x9E3779B97F4A7C15ull >> 32) % PLACES;
}

Entry* find(const OperationBlock* block) {
  Entry* window = window_of(block);
  for (size_t i = 0; i < WINDOW; ++i) {
    if (window[i].block.load(std::memory_order_acquire) == block) return window + i;
  }
  return nullptr;
}

void enter(const OperationBlock* block, const Pushed& pushed) {
  Entry* window = window_of(block);
  for (size_t i = 0; i < WINDOW; ++i) {
    if (window[i].block.load(std::memory_order_relaxed) != nullptr) continue;
    const OperationBlock* none = nullptr;
    if (!window[i].block.compare_exchange_strong(none, block)) continue;
    window[i].pushed = pushed;
    return;
  }
  unseen += 1;
}

// The call of PushAsync that this thread is in, to check the mirror of what it makes.
struct Expected {
  const Vector<void*>*reads, *writes;
  int property;
  const char* name;
  bool wait;
};
thread_local const Expected* expected = nullptr;

bool as_expected(const Operation* operation) {
  const Expected& wanted = *expected;
  bool same = operation->reads.size() == wanted.reads->size() && operation->writes.size() == wanted.writes->size() &&
              operation->property == wanted.property && operation->wait == wanted.wait;
  return same && strcmp(operation->name, wanted.name == nullptr ? "" : wanted.name) == 0;
}

// The push that this thread is in, until the block that it makes is seen.
struct Pushing {
  const Operation* operation;
  Pushed pushed;
};
thread_local Pushing* pushing = nullptr;

void (*real_push_async)(void*, void*, Context, const Vector<void*>&, const Vector<void*>&, int, int, const char*, bool);
void (*real_push_sync)(void*, Function*, Context, const Vector<void*>&, const Vector<void*>&, int, int, const char*);
void (*real_push)(void*, Operation*, Context, int, bool);
int (*real_decrease)(OperationBlock*);
void (*real_device_release)(void*, OperationBlock*, bool);
void (*real_pooled_release)(void*, OperationBlock*, bool);
void (*real_execute)(void*, RunContext, OperationBlock*);
void (*real_complete)(void*, void*, const void*);
void (*real_wait_for)(void*, void*);
void (*real_wait_for_all)(void*);

void push_async(void* engine, void* function, Context context, const Vector<void*>& reads, const Vector<void*>& writes,
                int property, int priority, const char* name, bool wait) {
  Expected call{&reads, &writes, property, name, wait};
  Within<const Expected*> within(expected, checked.load(std::memory_order_relaxed) < CHECKED_PUSHES ? &call : nullptr);
  real_push_async(engine, function, context, reads, writes, property, priority, name, wait);
}

// A function that MXNet may run as part of a bulk: it carries its name along, for the bulk itself knows none.
struct Named {
  Function function;
  int64_t name, step;
  Work work;
  std::atomic<int> owners{1};
};

void invoke_named(const void* data, RunContext context) {
  Named* named = *static_cast<Named* const*>(data);
  if (!running.bulk || !recording()) return named->function.invoke(named->function.data, context);
  int64_t op = named->work.op != 0 ? named->work.op : named->name;
  Activity activity({named->work.stage, op, named->work.key, named->step, 0, 0, 0, running.operation, NO_REQUEST, NOT_MEASURED}, true);
  named->function.invoke(named->function.data, context);
}

bool manage_named(void* to, const void* from, int action) {
  if (action == Function::CLONE) {
    Named* named = *static_cast<Named* const*>(from);
    named->owners += 1;
    *static_cast<Named**>(to) = named;
  } else if (action == Function::DESTROY) {
    Named* named = *static_cast<Named**>(to);
    if (--named->owners > 0) return false;
    named->function.manage(named->function.data, nullptr, Function::DESTROY);
    delete named;
  } else {
    *static_cast<const void**>(to) = nullptr;  // its type is nobody's business
  }
  return false;
}

// An operator of the program's own belongs to a layer; other work has been given its key by who asked for it.
Work work_of(const char* operation) {
  Work found = work;
  if (found.op == OWN_WORK.op && found.key == OWN_WORK.key) found.key = layer_of(operation);
  return found;
}

void push_sync(void* engine, Function* function, Context context, const Vector<void*>& reads, const Vector<void*>& writes,
               int property, int priority, const char* name) {
  Named* named = recording() && !broken && name != nullptr && function->manage != nullptr ? new (std::nothrow) Named : nullptr;
  if (named == nullptr) return real_push_sync(engine, function, context, reads, writes, property, priority, name);
  named->function = *function;  // its owner from here on; the caller's is left empty
  function->manage = nullptr;
  named->name = intern(name);
  named->step = current_step();
  named->work = work_of(name);
  Function wrapped{{named, nullptr}, manage_named, invoke_named};
  struct Owner {
    Function* function;
    ~Owner() {
      if (function->manage != nullptr) function->manage(function->data, nullptr, Function::DESTROY);
    }
  } owner{&wrapped};
  real_push_sync(engine, &wrapped, context, reads, writes, property, priority, name);
}

void push(void* engine, Operation* operation, Context context, int priority, bool profiling) {
  if (!recording() || broken) return real_push(engine, operation, context, priority, profiling);
  if (expected != nullptr) {
    if (!as_expected(operation)) {
      broken = true;
      give_up("engine", "an operation does not look as expected");
      return real_push(engine, operation, context, priority, profiling);
    }
    checked += 1;
  }
  // Before the mirror has proved true, and for the freeing of variables, nothing is looked at.
  if (checked == 0 || operation->property == DELETE_VARIABLE) return real_push(engine, operation, context, priority, profiling);
  bool for_sleeper = sleeper != nullptr && operation->wait;
  Pushing here{operation,
               {NO_REQUEST, now_ns(), 0, NO_REQUEST, current_step(),
                intern(operation->name[0] != 0 ? operation->name : "unnamed"), work_of(operation->name), for_sleeper ? sleeper : nullptr}};
  if (for_sleeper) sleeper->pushed = true;
  // What is pushed from inside (a bulk that is flushed first) has its own place.
  Within<Pushing*> within(pushing, &here);
  Within<const Expected*> checked_already(expected, nullptr);
  real_push(engine, operation, context, priority, profiling);
}

// The first that is seen of a block: its pusher counts its dependencies down, itself last, so nobody runs it before this.
int decrease(OperationBlock* block) {
  if (pushing != nullptr && pushing->operation != nullptr) {
    if (block->operation == pushing->operation) {
      pushing->pushed.id = operations.fetch_add(1, std::memory_order_relaxed);  // after that of a bulk which had to go first
      // On a worker, the sleeper's cause is this operation, whose rows tell what it waited for and behind what it queued.
      if (pushing->pushed.sleeper != nullptr && !is_server()) pushing->pushed.sleeper->cause.store(pushing->pushed.id);
      enter(block, pushing->pushed);
    } else if (!broken.exchange(true)) {
      give_up("engine", "a block does not point to its operation");
    }
    pushing->operation = nullptr;
  }
  return real_decrease(block);
}

template <void (*&real)(void*, OperationBlock*, bool)>
void release(void* engine, OperationBlock* block, bool by_its_pusher) {
  if (Entry* entry = recording() ? find(block) : nullptr) {
    Pushed& pushed = entry->pushed;
    pushed.released_ns = now_ns();
    pushed.cause = by_its_pusher ? NO_REQUEST : completing;
    if (pushed.sleeper != nullptr && is_server()) pushed.sleeper->cause.store(pushed.cause, std::memory_order_release);
  }
  real(engine, block, by_its_pusher);
}

void execute(void* engine, RunContext context, OperationBlock* block) {
  call_thread("engine");
  Entry* entry = recording() ? find(block) : nullptr;
  // On a server, the operation by which a sleeper waits is none of its request's work.
  if (entry == nullptr || (is_server() && entry->pushed.sleeper != nullptr)) return real_execute(engine, context, block);
  const Pushed pushed = entry->pushed;  // the entry is gone before the operation's span ends
  const Work& what = pushed.work;
  bool of_request = what.request != NO_REQUEST;
  int64_t op = what.op != 0 ? what.op : pushed.name;
  SpanRow row{what.stage, op, what.key, pushed.step, 0, 0, 0, of_request ? what.request : pushed.id, NO_REQUEST, NOT_MEASURED};
  bool bulk = pushed.name == ops.bulk;
  Within<Running> within(running, {pushed.id, pushed.released_ns, pushed.step, what.key, bulk});
  Within<int64_t> at_work(request_at_work, what.request);
  Activity activity(row, !bulk);
  if (!is_server()) {
    SpanRow state{what.stage, ops.hold, what.key, pushed.step, 0, pushed.pushed_ns, pushed.released_ns, pushed.id, pushed.cause, NOT_MEASURED};
    if (pushed.cause != NO_REQUEST) span(state);
    state.op = ops.queue;
    state.start_ns = pushed.released_ns;
    state.end_ns = activity.begin_ns();
    span(state);
  }
  real_execute(engine, context, block);
}

void complete(void* engine, void* block, const void* error) {
  Entry* entry = recording() ? find(static_cast<OperationBlock*>(block)) : nullptr;
  if (entry == nullptr) return real_complete(engine, block, error);
  int64_t id = entry->pushed.id, request = entry->pushed.work.request;
  bool elsewhere = running.operation != id;
  SpanRow row{PULL, ops.release, entry->pushed.work.key, entry->pushed.step, 0, 0, 0, request_at_work, id, NOT_MEASURED};
  entry->block.store(nullptr, std::memory_order_release);  // the block is used again from here on
  Within<int64_t> within(completing, is_server() ? request : id);
  last_completed.store(completing, std::memory_order_relaxed);
  if (!elsewhere || is_server()) return real_complete(engine, block, error);
  Activity activity(row);
  real_complete(engine, block, error);
}

// Sleeping: of the main thread of a worker in most cases, of a server's customer thread while the engine sums.
SpanRow sleep_row() {
  if (is_server()) return {AGGREGATE, ops.await, work.key, NO_STEP, 0, 0, 0, NO_REQUEST, NO_REQUEST, NOT_MEASURED};
  return {WAIT, ops.block, 0, current_step(), 0, 0, 0, NO_REQUEST, NO_REQUEST, NOT_MEASURED};
}

void wait_for(void* engine, void* variable) {
  if (!recording() || broken) return real_wait_for(engine, variable);
  Sleeper here;
  Interruption waiting;
  Within<Sleeper*> within(sleeper, &here);
  real_wait_for(engine, variable);
  int64_t end_ns = waiting.stop();
  if (!here.pushed) return;  // it was ready
  SpanRow row = sleep_row();
  row.start_ns = waiting.start_ns;
  row.end_ns = end_ns;
  row.cause_id = here.cause.load(std::memory_order_acquire);
  span(row);
}

void wait_for_all(void* engine) {
  if (!recording() || broken) return real_wait_for_all(engine);
  Interruption waiting;
  real_wait_for_all(engine);
  SpanRow row = sleep_row();
  row.start_ns = waiting.start_ns;
  row.end_ns = waiting.stop();
  row.cause_id = last_completed.load(std::memory_order_relaxed);
  if (row.end_ns - row.start_ns > SHORTEST_WAIT_NS) span(row);
}

#define ENGINE_CLASS "N5mxnet6engine14ThreadedEngine"
const Hook HOOKS[] = {
    {"_Z" ENGINE_CLASS
     "9PushAsyncESt8functionIFvNS_10RunContextENS0_18CallbackOnCompleteEEENS_7ContextERKSt6vectorIPNS0_3VarESaISA_EESE_"
     "NS_10FnPropertyEiPKcb",
     reinterpret_cast<void*>(push_async), reinterpret_cast<void**>(&real_push_async)},
    {"_Z" ENGINE_CLASS
     "8PushSyncESt8functionIFvNS_10RunContextEEENS_7ContextERKSt6vectorIPNS0_3VarESaIS9_EESD_NS_10FnPropertyEiPKc",
     reinterpret_cast<void*>(push_sync), reinterpret_cast<void**>(&real_push_sync)},
    {"_Z" ENGINE_CLASS "4PushEPNS0_3OprENS_7ContextEib", reinterpret_cast<void*>(push), reinterpret_cast<void**>(&real_push)},
    {"_ZN5mxnet6engine8OprBlock9decr_waitEv", reinterpret_cast<void*>(decrease), reinterpret_cast<void**>(&real_decrease)},
    {"_ZN5mxnet6engine23ThreadedEnginePerDevice13PushToExecuteEPNS0_8OprBlockEb",
     reinterpret_cast<void*>(release<real_device_release>), reinterpret_cast<void**>(&real_device_release)},
    {"_ZN5mxnet6engine20ThreadedEnginePooled13PushToExecuteEPNS0_8OprBlockEb",
     reinterpret_cast<void*>(release<real_pooled_release>), reinterpret_cast<void**>(&real_pooled_release)},
    {"_Z" ENGINE_CLASS "15ExecuteOprBlockENS_10RunContextEPNS0_8OprBlockE", reinterpret_cast<void*>(execute),
     reinterpret_cast<void**>(&real_execute)},
    {"_Z" ENGINE_CLASS "16OnCompleteStaticEPNS_6EngineEPvPKN4dmlc5ErrorE", reinterpret_cast<void*>(complete),
     reinterpret_cast<void**>(&real_complete)},
    {"_Z" ENGINE_CLASS "10WaitForVarEPNS0_3VarE", reinterpret_cast<void*>(wait_for), reinterpret_cast<void**>(&real_wait_for)},
    {"_Z" ENGINE_CLASS "10WaitForAllEv", reinterpret_cast<void*>(wait_for_all), reinterpret_cast<void**>(&real_wait_for_all)},
};

}  // namespace

const Group ENGINE{"engine", HOOKS, sizeof HOOKS / sizeof *HOOKS};

int64_t operations_unseen() { return unseen; }

}  // namespace breakdown
