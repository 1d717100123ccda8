#include "requests.h"

#include <atomic>

namespace breakdown {

namespace {

constexpr size_t PLACES = 1 << 14, WINDOW = 16;
constexpr int64_t BUSY = -1;

struct Place {
  std::atomic<int64_t> request{NO_REQUEST};
  std::atomic<int64_t> since_ns{0}, key{0}, link{0};
};
Place places[PLACES + WINDOW];

// Neighbouring requests get neighbouring places: timestamps are counted.
Place* start_of(int64_t request) {
  uint64_t mixed = static_cast<uint64_t>(request) ^ static_cast<uint64_t>(request >> 25) * 0x9E3779B97F4A7C15ull;
  return places + mixed % PLACES;
}

Place* find(int64_t request) {
  Place* start = start_of(request);
  for (size_t i = 0; i < WINDOW; ++i) {
    if (start[i].request.load(std::memory_order_acquire) == request) return start + i;
  }
  return nullptr;
}

void fill(Place& place, int64_t request, const Known& known) {
  place.since_ns.store(known.since_ns, std::memory_order_relaxed);
  place.key.store(known.key, std::memory_order_relaxed);
  place.link.store(known.link, std::memory_order_relaxed);
  place.request.store(request, std::memory_order_release);
}

}  // namespace

int64_t code_of_node(int ps_id) {
  if (ps_id == 1) return SCHEDULER << 16;
  if (ps_id < 8 || ps_id == PS_EMPTY) return -1;
  return (ps_id % 2 == 0 ? SERVER : WORKER) << 16 | (ps_id - 8) / 2;
}

int64_t request_id(int worker_ps_id, int server_ps_id, int customer_id, int timestamp) {
  int64_t count = static_cast<int64_t>(customer_id & 31) << 35 | static_cast<int64_t>((server_ps_id - 8) / 2 & 1023) << 25 |
                  ((static_cast<int64_t>(timestamp) + 1) & 0x1FFFFFF);
  return code_of_node(worker_ps_id) << 40 | count;
}

int64_t request_of(const PsMeta& meta, int own_ps_id, bool sending) {
  int sender = sending ? own_ps_id : meta.sender, receiver = sending ? meta.receiver : own_ps_id;
  if (meta.command != 0 || meta.timestamp == PS_EMPTY) return NO_REQUEST;
  int worker = meta.request ? sender : receiver, server = meta.request ? receiver : sender;
  if (code_of_node(worker) < 0 || code_of_node(server) < 0) return NO_REQUEST;
  return request_id(worker, server, meta.customer_id, meta.timestamp);
}

void remember(int64_t request, const Known& known) {
  if (Place* place = find(request)) return fill(*place, request, known);
  Place *start = start_of(request), *oldest = start;
  for (size_t i = 0; i < WINDOW; ++i) {
    int64_t none = NO_REQUEST;
    if (start[i].request.compare_exchange_strong(none, BUSY)) return fill(start[i], request, known);
    if (start[i].since_ns.load() < oldest->since_ns.load()) oldest = start + i;
  }
  fill(*oldest, request, known);  // a request that was never answered gives way
}

bool recall(int64_t request, Known* known) {
  Place* place = request == NO_REQUEST ? nullptr : find(request);
  if (place == nullptr) return false;
  *known = {place->since_ns.load(std::memory_order_relaxed), place->key.load(std::memory_order_relaxed),
            place->link.load(std::memory_order_relaxed)};
  return place->request.load(std::memory_order_acquire) == request;
}

void forget(int64_t request) {
  if (Place* place = request == NO_REQUEST ? nullptr : find(request)) place->request.store(NO_REQUEST, std::memory_order_release);
}

void waits_since(int64_t request, int64_t now) {
  if (Place* place = request == NO_REQUEST ? nullptr : find(request)) place->since_ns.store(now, std::memory_order_relaxed);
}

}  // namespace breakdown
