// Messages on the sockets of ZeroMQ's own thread: when their bytes went to the kernel and came from it.
#pragma once

#include "layout.h"
#include "stream.h"
#include "trace.h"

namespace breakdown {

// A message on its way to a socket. The row is complete but for the times, which ZeroMQ's thread adds.
struct Outgoing {
  HalfRow row;
  int64_t queue_stage;
  int64_t bytes;  // of all parts, the head's included
  int peer_ps_id;
  bool handed_over;
};

// While `outgoing` is set, the message that this thread hands to ZeroMQ is that one.
extern thread_local Outgoing* outgoing;

// The arrival of the next message from this peer, if it was seen and has as many bytes; in order of arrival.
bool next_arrival(int peer_ps_id, int64_t bytes, Stream::Message* arrival);

// Writes a received half in the lane of its connection ("recv-worker-0"). For the van's receiver thread.
void received_from(int peer_ps_id, const HalfRow& row);

// Writes the rows of messages whose bytes were never seen on a socket, with the times of their handing over.
void write_unseen();

}  // namespace breakdown
