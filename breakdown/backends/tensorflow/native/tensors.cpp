// Who asks for which tensor, and how long it takes to write one down for the wire and to read it. A tensor is named by its
// rendezvous key (devices and edge), which with the number of the step is the same at both ends.
#include <atomic>

#include "hooks.h"

namespace breakdown {

namespace {

// RecvTensorRequest's fields.
constexpr uint32_t STEP_ID = 1, RENDEZVOUS_KEY = 2;

// What a response that is to be filled is for, by its address. Written before TensorFlow hands the address on.
struct Wanted {
  std::atomic<const void*> response{nullptr};
  int64_t key, step;
};
constexpr size_t PLACES = 1 << 14;

struct Table {
  Wanted places[PLACES];
  Wanted& of(const void* response) { return places[(reinterpret_cast<uintptr_t>(response) >> 3) * 0x9E3779B97F4A7C15ull >> 40 & (PLACES - 1)]; }
};
Table asked, taken;

void remember(Table& table, const void* response, int64_t key, int64_t step) {
  Wanted& place = table.of(response);
  place.response.store(nullptr, std::memory_order_relaxed);
  place.key = key;
  place.step = step;
  place.response.store(response, std::memory_order_release);
}

bool recall(Table& table, const void* response, int64_t* key, int64_t* step) {
  Wanted& place = table.of(response);
  if (place.response.load(std::memory_order_acquire) != response) return false;
  *key = place.key;
  *step = place.step;
  return place.response.compare_exchange_strong(response, nullptr);
}

void (*real_ask)(void*, void*, const void*, void*, void*);
void (*real_take)(void*, void*, const void*, void*, void*);
void* (*real_encode)(void*, bool, const void*, bool, void*);
void* (*real_parse)(void*, void*, void*);

struct Request {
  int64_t key = 0, step = 0;
  explicit Request(const void* message) {
    std::string text = serialised(message);
    std::string name = text_field(text.data(), text.size(), RENDEZVOUS_KEY);
    key = intern(name.data(), name.size());
    step = integer_field(text.data(), text.size(), STEP_ID);
  }
};

void ask(void* worker, void* options, const void* request, void* response, void* done) {
  if (!recording()) return real_ask(worker, options, request, response, done);
  int64_t start_ns = now_ns();
  Request wanted(request);
  remember(asked, response, wanted.key, wanted.step);
  real_ask(worker, options, request, response, done);
  raw_span(kinds.ask, wanted.key, wanted.step, start_ns, now_ns());
}

void take(void* worker, void* options, const void* request, void* response, void* done) {
  if (!recording()) return real_take(worker, options, request, response, done);
  int64_t start_ns = now_ns();
  Request wanted(request);
  remember(taken, response, wanted.key, wanted.step);
  real_take(worker, options, request, response, done);
  raw_span(kinds.take, wanted.key, wanted.step, start_ns, now_ns());
}

// Work on a tensor that has just ended. It is done by one thread, so what became of that thread's time is its own.
void worked(int64_t kind, int64_t key, int64_t step, int64_t start_ns, const ThreadTime& begin) {
  int64_t end_ns = now_ns();
  raw_span(kind, key, step, start_ns, end_ns, 0, 0, thread_time(end_ns) - begin);
}

void* encode(void* status, bool dead, const void* tensor, bool unused, void* response) {
  if (!recording()) return real_encode(status, dead, tensor, unused, response);
  int64_t key, step, start_ns = now_ns();
  ThreadTime begin = thread_time(start_ns);
  void* result = real_encode(status, dead, tensor, unused, response);
  if (recall(taken, response, &key, &step)) worked(kinds.encode, key, step, start_ns, begin);
  return result;
}

void* parse(void* status, void* response, void* source) {
  if (!recording()) return real_parse(status, response, source);
  int64_t key, step, start_ns = now_ns();
  ThreadTime begin = thread_time(start_ns);
  void* result = real_parse(status, response, source);
  if (recall(asked, response, &key, &step)) worked(kinds.decode, key, step, start_ns, begin);
  return result;
}

const Hook HOOKS[] = {
    {"_ZN10tensorflow16GrpcRemoteWorker15RecvTensorAsyncEPN3tsl11CallOptionsEPKNS_17RecvTensorRequestEPNS_14TensorResponseESt8functionIFvRKN4absl12lts_202508146StatusEEE",
     reinterpret_cast<void*>(ask), reinterpret_cast<void**>(&real_ask)},
    {"_ZN10tensorflow10GrpcWorker19GrpcRecvTensorAsyncEPN3tsl11CallOptionsEPKNS_17RecvTensorRequestEPN4grpc10ByteBufferESt8functionIFvRKN4absl12lts_202508146StatusEEE",
     reinterpret_cast<void*>(take), reinterpret_cast<void**>(&real_take)},
    {"_ZN10tensorflow4grpc24EncodeTensorToByteBufferEbRKNS_6TensorEbPN4grpc10ByteBufferE", reinterpret_cast<void*>(encode),
     reinterpret_cast<void**>(&real_encode)},
    {"_ZN10tensorflow14TensorResponse9ParseFromEPNS0_6SourceE", reinterpret_cast<void*>(parse), reinterpret_cast<void**>(&real_parse)},
};

}  // namespace

const Group TENSORS{"tensors", HOOKS, sizeof HOOKS / sizeof *HOOKS};

}  // namespace breakdown
