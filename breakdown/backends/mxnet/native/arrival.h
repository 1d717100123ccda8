// When a message's parts arrived, and when a message was put into the queue of a sender thread.
#pragma once

#include <cstdint>

namespace breakdown {

struct Parts {
  int64_t first_ns = 0, last_ns = 0;
  bool any = false;
};

// Runs `receive` and notes in `parts` when ZeroMQ handed over the first and the last part of what it received.
extern thread_local Parts* parts_of_thread;
extern int (*real_receive_part)(void*, void*, int);
int receive_part(void* part, void* socket, int flags);

template <class Receive>
int receive_parts(Parts& parts, Receive receive) {
  struct Reset {
    ~Reset() { parts_of_thread = nullptr; }
  } reset;
  parts_of_thread = &parts;
  return receive();
}

// A message in the queue of a sender thread: since when, and the engine operation that put it there.
struct Enqueued {
  int64_t since_ns, operation, step, key;
};
void remember_enqueued(int64_t request, bool asks, const Enqueued& enqueued);
bool take_enqueued(int64_t request, bool asks, Enqueued* enqueued);  // false when it was not queued

}  // namespace breakdown
