// What a server does with a request: its customer thread takes it, the engine sums, the main thread runs the updater.
#include <atomic>

#include "activity.h"
#include "hooks.h"
#include "requests.h"

namespace breakdown {

namespace {

void (*real_process)(void*, const PsMessage&);
void (*real_response)(void*, const PsRequest&, const void*);
void (*real_apply)(void*, int64_t, int, const void*, void*, void*);
void (*real_storage_response)(void*, int64_t, int, const PsRequest&, const void*, void*);
void (*real_rows_response)(void*, int64_t, int, size_t, const PsRequest&, const void*, void*);
void (*real_dequantize)(void*, const void*, void*, int);
void (*real_exec)(void*, const void*);
void (*real_update)(const void*);
void (*real_compressed_update)(const void*);

// What the main thread works for while the customer thread waits in Executor::Exec. Only one such wait is under way at a time:
// a server has one customer.
std::atomic<int64_t> handed_request{NO_REQUEST}, handed_key{0};

int64_t id_of(const PsRequest& request) {
  return request_id(request.sender, own_ps_id(), request.customer_id, request.timestamp);
}

void process(void* server, const PsMessage& message) {
  call_thread("customer");
  if (!recording() || message.meta.simple_app) return real_process(server, message);
  int64_t request = request_of(message.meta, own_ps_id(), false);
  Known known{};
  bool is_known = recall(request, &known);
  {
    Activity activity({AGGREGATE, ops.handle, known.key, NO_STEP, 0, 0, 0, request, NO_REQUEST, NOT_MEASURED});
    if (is_known) {
      span({AGGREGATE, ops.queue, known.key, NO_STEP, 0, known.since_ns, activity.begin_ns(), request, NO_REQUEST,
            NOT_MEASURED});
    }
    Within<int64_t> at_work(request_at_work, request);
    Within<Work> working(work, {AGGREGATE, ops.sum, known.key, request});
    real_process(server, message);
  }
  waits_since(request, now_ns());  // a request that was answered is no longer known
}

// Its answer to a request: the end of that request's hold, if it was not the one at work.
void response(void* server, const PsRequest& request, const void* pairs) {
  int64_t id = recording() ? id_of(request) : NO_REQUEST;
  Known known{};
  if (id != NO_REQUEST && id != request_at_work && recall(id, &known)) {
    span({WAIT, ops.hold, known.key, NO_STEP, 0, known.since_ns, now_ns(), id, request_at_work, NOT_MEASURED});
  }
  real_response(server, request, pairs);
}

// Operations that it pushes itself, and not from the sum before it: without an updater, the copy of the sum to the store.
void apply(void* server, int64_t type, int key, const void* data, void* buffer, void* kv) {
  Within<Work> working(work, {work.stage, ops.update, work.key, work.request});
  real_apply(server, type, key, data, buffer, kv);
}

void storage_response(void* server, int64_t type, int key, const PsRequest& request, const void* data, void* kv) {
  if (!recording()) return real_storage_response(server, type, key, request, data, kv);
  int64_t id = id_of(request);
  Activity activity({SERIALIZE, ops.encode, work.key, NO_STEP, 0, 0, 0, id, NO_REQUEST, NOT_MEASURED}, true);
  real_storage_response(server, type, key, request, data, kv);
}

void rows_response(void* server, int64_t type, int key, size_t rows, const PsRequest& request, const void* data, void* kv) {
  if (!recording()) return real_rows_response(server, type, key, rows, request, data, kv);
  Activity activity({SERIALIZE, ops.encode, work.key, NO_STEP, 0, 0, 0, id_of(request), NO_REQUEST, NOT_MEASURED}, true);
  real_rows_response(server, type, key, rows, request, data, kv);
}

void dequantize(void* compression, const void* from, void* to, int priority) {
  Within<Work> working(work, {SERIALIZE, ops.decode, work.key, work.request});
  real_dequantize(compression, from, to, priority);
}

void exec(void* executor, const void* function) {
  if (!recording() || request_at_work == NO_REQUEST) return real_exec(executor, function);
  Activity activity({AGGREGATE, ops.await, work.key, NO_STEP, 0, 0, 0, NO_REQUEST, request_at_work, NOT_MEASURED});
  handed_key = work.key;
  handed_request = request_at_work;
  real_exec(executor, function);
  handed_request = NO_REQUEST;
}

// The updater, in the main thread: it pushes the update's operations to the engine and returns before they have run.
template <void (*&real)(const void*)>
void update(const void* closure) {
  if (!recording()) return real(closure);
  int64_t request = handed_request, key = handed_key;
  Within<int64_t> at_work(request_at_work, request);
  Within<Work> working(work, {AGGREGATE, ops.update, key, request});
  Activity activity({AGGREGATE, ops.update, key, NO_STEP, 0, 0, 0, request, NO_REQUEST, NOT_MEASURED}, true);
  real(closure);
}

#define SERVER_CLASS "N5mxnet7kvstore17KVStoreDistServer"
const Hook HOOKS[] = {
    {"_ZN2ps8KVServerIcE7ProcessERKNS_7MessageE", reinterpret_cast<void*>(process), reinterpret_cast<void**>(&real_process)},
    {"_ZN2ps8KVServerIcE8ResponseERKNS_6KVMetaERKNS_7KVPairsIcEE", reinterpret_cast<void*>(response),
     reinterpret_cast<void**>(&real_response)},
    {"_Z" SERVER_CLASS "12ApplyUpdatesENS0_14DataHandleTypeEiRKN2ps7KVPairsIcEEPNS1_9UpdateBufEPNS3_8KVServerIcEE",
     reinterpret_cast<void*>(apply), reinterpret_cast<void**>(&real_apply)},
    {"_Z" SERVER_CLASS "22DefaultStorageResponseENS0_14DataHandleTypeEiRKN2ps6KVMetaERKNS3_7KVPairsIcEEPNS3_8KVServerIcEE",
     reinterpret_cast<void*>(storage_response), reinterpret_cast<void**>(&real_storage_response)},
    {"_Z" SERVER_CLASS "21RowSparsePullResponseENS0_14DataHandleTypeEimRKN2ps6KVMetaERKNS3_7KVPairsIcEEPNS3_8KVServerIcEE",
     reinterpret_cast<void*>(rows_response), reinterpret_cast<void**>(&real_rows_response)},
    {"_ZN5mxnet7kvstore19GradientCompression10DequantizeERKNS_7NDArrayEPS2_i", reinterpret_cast<void*>(dequantize),
     reinterpret_cast<void**>(&real_dequantize)},
    {"_ZN5mxnet7kvstore8Executor4ExecERKSt8functionIFvvEE", reinterpret_cast<void*>(exec), reinterpret_cast<void**>(&real_exec)},
    {"_ZZ" SERVER_CLASS "12ApplyUpdatesENS0_14DataHandleTypeEiRKN2ps7KVPairsIcEEPNS1_9UpdateBufEPNS3_8KVServerIcEEENKUlvE_clEv",
     reinterpret_cast<void*>(update<real_update>), reinterpret_cast<void**>(&real_update)},
    {"_ZZ" SERVER_CLASS
     "20DataHandleCompressedENS0_14DataHandleTypeERKN2ps6KVMetaERKNS3_7KVPairsIcEEPNS3_8KVServerIcEEENKUlvE_clEv",
     reinterpret_cast<void*>(update<real_compressed_update>), reinterpret_cast<void**>(&real_compressed_update)},
};

}  // namespace

const Group SERVER_SIDE{"server", HOOKS, sizeof HOOKS / sizeof *HOOKS};

}  // namespace breakdown
