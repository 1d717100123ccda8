#include "arrival.h"

#include <atomic>

#include "trace.h"

namespace breakdown {

thread_local Parts* parts_of_thread = nullptr;
int (*real_receive_part)(void*, void*, int);

int receive_part(void* part, void* socket, int flags) {
  int size = real_receive_part(part, socket, flags);
  if (parts_of_thread != nullptr && size >= 0) {
    parts_of_thread->last_ns = now_ns();
    if (!parts_of_thread->any) parts_of_thread->first_ns = parts_of_thread->last_ns;
    parts_of_thread->any = true;
  }
  return size;
}

namespace {

struct Queued {
  std::atomic<int64_t> message{0}, since_ns{0}, operation{0}, step{0}, key{0};
};
constexpr uint64_t PLACES = 1 << 14;
Queued queued[PLACES];

int64_t message_of(int64_t request, bool asks) { return request * 2 + asks; }

}  // namespace

void remember_enqueued(int64_t request, bool asks, const Enqueued& enqueued) {
  int64_t message = message_of(request, asks);
  Queued& place = queued[(static_cast<uint64_t>(message) * 0x9E3779B97F4A7C15ull >> 40) % PLACES];
  place.message.store(0, std::memory_order_relaxed);
  place.since_ns.store(enqueued.since_ns, std::memory_order_release);
  place.operation.store(enqueued.operation, std::memory_order_relaxed);
  place.step.store(enqueued.step, std::memory_order_relaxed);
  place.key.store(enqueued.key, std::memory_order_relaxed);
  place.message.store(message, std::memory_order_release);
}

bool take_enqueued(int64_t request, bool asks, Enqueued* enqueued) {
  int64_t message = message_of(request, asks);
  Queued& place = queued[(static_cast<uint64_t>(message) * 0x9E3779B97F4A7C15ull >> 40) % PLACES];
  if (request == NO_REQUEST || place.message.load(std::memory_order_acquire) != message) return false;
  *enqueued = {place.since_ns.load(std::memory_order_relaxed), place.operation.load(std::memory_order_relaxed),
               place.step.load(std::memory_order_relaxed), place.key.load(std::memory_order_relaxed)};
  return place.message.compare_exchange_strong(message, 0);
}

}  // namespace breakdown
