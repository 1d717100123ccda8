// Names of requests, and what this process remembers of those under way.
#pragma once

#include "layout.h"
#include "trace.h"

namespace breakdown {

// Node.code of a ps-lite node id (scheduler 1, server k 8 + 2k, worker k 9 + 2k); -1 for ids that name no single node.
int64_t code_of_node(int ps_id);

// The request's id: the worker that asked, and below it, in 40 bits: customer (5), server (10), timestamp + 1 (25). ps-lite
// gives all slices of a key that one call asks for the same timestamp; they go to different servers.
int64_t request_id(int worker_ps_id, int server_ps_id, int customer_id, int timestamp);

// Of a message between two nodes, seen at either end; NO_REQUEST when it belongs to none.
int64_t request_of(const PsMeta& meta, int own_ps_id, bool sending);

struct Known {
  int64_t since_ns;  // the moment from which it waits for the next thread or for others
  int64_t key;
  int64_t link;      // the engine operation that made it, at its worker
};

void remember(int64_t request, const Known& known);
bool recall(int64_t request, Known* known);
void forget(int64_t request);
// Sets a new moment for a request that is still known.
void waits_since(int64_t request, int64_t now);

}  // namespace breakdown
