// What a worker does around push and pull: which engine operations belong to which key, and the taking of answers.
#include <cstdio>

#include "activity.h"
#include "hooks.h"
#include "requests.h"

namespace breakdown {

namespace {

void (*real_process)(void*, const PsMessage&);
void (*real_barrier)(void*, int, int);
void (*real_wait_request)(void*, int);
void (*real_quantize)(void*, const void*, void*, void*, int);

// The answer to a push or pull, in the customer thread. With the last slice the values are copied to MXNet's buffer and the
// engine operation that asked completes.
void process(void* worker, const PsMessage& message) {
  call_thread("customer");
  if (!recording() || message.meta.simple_app) return real_process(worker, message);
  bool data = message.meta.pull;
  int64_t request = request_of(message.meta, own_ps_id(), false);
  Known known{};
  bool is_known = recall(request, &known);
  Activity activity({data ? SERIALIZE : PUSH, data ? ops.decode : ops.callback, known.key, NO_STEP, 0, 0, 0, request, known.link,
                     NOT_MEASURED},
                    true);
  if (is_known) {
    span({data ? PULL : PUSH, ops.queue, known.key, NO_STEP, 0, known.since_ns, activity.begin_ns(), request, NO_REQUEST,
          NOT_MEASURED});
  }
  forget(request);
  Within<int64_t> at_work(request_at_work, request);
  real_process(worker, message);
}

void barrier(void* office, int customer, int group) {
  Activity activity({WAIT, ops.barrier, 0, current_step(), 0, 0, 0, NO_REQUEST, NO_REQUEST, NOT_MEASURED});
  real_barrier(office, customer, group);
}

void wait_request(void* customer, int timestamp) {
  Activity activity({WAIT, ops.command, 0, current_step(), 0, 0, 0, NO_REQUEST, NO_REQUEST, NOT_MEASURED});
  real_wait_request(customer, timestamp);
}

void quantize(void* compression, const void* from, void* to, void* residual, int priority) {
  Within<Work> working(work, {SERIALIZE, ops.encode, work.key, work.request});
  real_quantize(compression, from, to, residual, priority);
}

int64_t name_of(int key) {
  char text[16];
  int length = snprintf(text, sizeof text, "%d", key);
  return intern(text, static_cast<size_t>(length));
}

// Functions of one shape, all of whose arguments travel in registers: (this, key, up to three more).
using Keyed = void* (*)(void*, int, void*, void*, void*);
enum Kind { TO_SERVER, REDUCE, BROADCAST };

template <Keyed& real, Kind kind>
void* keyed(void* store, int key, void* a, void* b, void* c) {
  if (!recording()) return real(store, key, a, b, c);
  Work within{SERIALIZE, kind == REDUCE ? ops.encode : kind == BROADCAST ? ops.decode : 0, name_of(key), NO_REQUEST};
  Within<Work> working(work, within);
  return real(store, key, a, b, c);
}

Keyed real_push, real_pull, real_push_pull, real_push_compressed, real_push_rows, real_pull_rows;
Keyed real_p3_push, real_p3_pull, real_p3_push_pull;
Keyed real_cpu_reduce, real_cpu_broadcast, real_device_reduce, real_device_broadcast;

#define KEYED(symbol, real, kind) \
  { symbol, reinterpret_cast<void*>(keyed<real, kind>), reinterpret_cast<void**>(&real) }

const Hook HOOKS[] = {
    {"_ZN2ps8KVWorkerIcE7ProcessERKNS_7MessageE", reinterpret_cast<void*>(process), reinterpret_cast<void**>(&real_process)},
    {"_ZN2ps10Postoffice7BarrierEii", reinterpret_cast<void*>(barrier), reinterpret_cast<void**>(&real_barrier)},
    {"_ZN2ps8Customer11WaitRequestEi", reinterpret_cast<void*>(wait_request), reinterpret_cast<void**>(&real_wait_request)},
    {"_ZN5mxnet7kvstore19GradientCompression8QuantizeERKNS_7NDArrayEPS2_S5_i", reinterpret_cast<void*>(quantize),
     reinterpret_cast<void**>(&real_quantize)},
    KEYED("_ZN5mxnet7kvstore11KVStoreDist11PushDefaultEiRKNS_7NDArrayERKNS1_4PSKVEi", real_push, TO_SERVER),
    KEYED("_ZN5mxnet7kvstore11KVStoreDist11PullDefaultEiRKNS_7NDArrayEi", real_pull, TO_SERVER),
    KEYED("_ZN5mxnet7kvstore11KVStoreDist15PushPullDefaultEiRKNS_7NDArrayEi", real_push_pull, TO_SERVER),
    KEYED("_ZN5mxnet7kvstore11KVStoreDist14PushCompressedEiRKNS_7NDArrayERKNS1_4PSKVEi", real_push_compressed, TO_SERVER),
    KEYED("_ZN5mxnet7kvstore11KVStoreDist13PushRowSparseEiRKNS_7NDArrayEi", real_push_rows, TO_SERVER),
    KEYED("_ZN5mxnet7kvstore11KVStoreDist14PullRowSparse_EiRKNS_7NDArrayES4_i", real_pull_rows, TO_SERVER),
    KEYED("_ZN5mxnet7kvstore11P3StoreDist11PushDefaultEiRKNS_7NDArrayERKNS0_11KVStoreDist4PSKVEi", real_p3_push, TO_SERVER),
    KEYED("_ZN5mxnet7kvstore11P3StoreDist11PullDefaultEiRKNS_7NDArrayEi", real_p3_pull, TO_SERVER),
    KEYED("_ZN5mxnet7kvstore11P3StoreDist15PushPullDefaultEiRKNS_7NDArrayEi", real_p3_push_pull, TO_SERVER),
    KEYED("_ZN5mxnet7kvstore7CommCPU6ReduceEiRKSt6vectorINS_7NDArrayESaIS3_EEi", real_cpu_reduce, REDUCE),
    KEYED("_ZN5mxnet7kvstore7CommCPU9BroadcastEiRKNS_7NDArrayESt6vectorIPS2_SaIS6_EEi", real_cpu_broadcast, BROADCAST),
    KEYED("_ZN5mxnet7kvstore10CommDevice6ReduceEiRKSt6vectorINS_7NDArrayESaIS3_EEi", real_device_reduce, REDUCE),
    KEYED("_ZN5mxnet7kvstore10CommDevice9BroadcastEiRKNS_7NDArrayESt6vectorIPS2_SaIS6_EEi", real_device_broadcast, BROADCAST),
};

}  // namespace

const Group WORKER_SIDE{"worker", HOOKS, sizeof HOOKS / sizeof *HOOKS};

}  // namespace breakdown
