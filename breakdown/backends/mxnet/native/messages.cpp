// Every message of ps-lite, at both ends.
//
// Sending has two parts: the call that hands a message to ZeroMQ (a span `send` of the calling thread: waiting for the van's
// lock, packing the head), and the moving of its bytes to the kernel by ZeroMQ's own thread, which is the `sent` half.
// Received: from the kernel's handing over of the first byte to ZeroMQ's thread to that of the last. Where the bytes of a
// connection cannot be followed, `sent` is the call, and `received` is when ZeroMQ hands over a whole message: both then lie
// around the true times. Sizes are those of the data parts (keys, values, lengths), not of the head.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "activity.h"
#include "arrival.h"
#include "hooks.h"
#include "requests.h"
#include "socket.h"

namespace breakdown {

namespace {

std::atomic<int> own_id{PS_EMPTY};
std::atomic<bool> broken{false};
std::atomic<int64_t> bytes_sent{0}, bytes_received{0}, messages_sent{0}, messages_received{0};

int (*real_send)(void*, const PsMessage&);
int (*real_receive)(void*, PsMessage*);
int (*real_enqueue)(void*, const PsMessage&);
void (*real_add_node)(void*, PsMessage*, void*, void*);

enum Command { DEFAULT, ROW_SPARSE, COMPRESSED };  // MXNet's RequestType
constexpr int ADD_NODE = 2;  // of ps-lite's Control::Command

// How a key is handled and what type its values have: MXNet packs both into a message's head (Cantor's pairing).
struct Handling {
  int command, type;
};
Handling handling_of(int head) {
  int diagonal = 0;
  while ((diagonal + 1) * (diagonal + 2) / 2 <= head) diagonal += 1;
  int type = head - diagonal * (diagonal + 1) / 2;
  return {diagonal - type, type};
}

int64_t servers() {
  static const int64_t count = getenv("DMLC_NUM_SERVER") != nullptr ? atoll(getenv("DMLC_NUM_SERVER")) : 1;
  return count > 0 ? count : 1;
}

uint64_t first_key_of(int64_t server) { return ~uint64_t{0} / static_cast<uint64_t>(servers()) * static_cast<uint64_t>(server); }

// "<key>@<server>": the key within that server's share of the key space.
int64_t name_of_key(uint64_t key, int64_t server) {
  struct Seen {
    uint64_t key;
    int64_t name;
  };
  static thread_local Seen seen[256];
  Seen& place = seen[(key ^ key >> 32) % 256];
  if (place.name != 0 && place.key == key) return place.name;
  char text[48];
  unsigned long long own = key - first_key_of(server);
  int length = snprintf(text, sizeof text, "%llu@%lld", own, static_cast<long long>(server));
  place = {key, intern(text, static_cast<size_t>(length))};
  return place.name;
}

struct Summary {
  int64_t size_bytes = 0, key = 0;
  bool sound = true;
};

Summary summarise(const PsMessage& message, int server_ps_id) {
  Summary found;
  const PsMeta& meta = message.meta;
  size_t parts = message.data.size();
  if (parts > 16) return {0, 0, false};
  for (size_t i = 0; i < parts; ++i) found.size_bytes += static_cast<int64_t>(message.data.first[i].size);
  if (parts > 0 && !meta.simple_app && meta.command == 0) {
    const PsArray& keys = message.data.first[0];
    // A compressed push has the uncompressed size in the place of a first key.
    size_t at = meta.request && meta.push && handling_of(meta.head).command == COMPRESSED ? 1 : 0;
    if (keys.size < 8 * (at + 1) || keys.data == nullptr) return {0, 0, false};
    uint64_t key = reinterpret_cast<const uint64_t*>(keys.data)[at];
    found.key = name_of_key(key, (server_ps_id - 8) / 2);
  }
  return found;
}

int digits_of(int number) {
  int count = 1;
  while (number >= 10) {
    number /= 10;
    count += 1;
  }
  return count;
}

// Of messages between vans: the sender, a mark, and 39 bits of receiver and count. Those that give nodes their ids have none:
// at one end or the other the ids are not known yet.
int64_t control_id(const PsMeta& meta, int sender_ps_id, int receiver_ps_id) {
  int64_t sender = code_of_node(sender_ps_id);
  if (sender < 0 || meta.command == ADD_NODE || meta.timestamp == PS_EMPTY || code_of_node(receiver_ps_id) < 0) return NO_REQUEST;
  return sender << 40 | int64_t{1} << 39 | static_cast<int64_t>(receiver_ps_id & 0x3FFF) << 25 | (meta.timestamp & 0x1FFFFFF);
}

// A combined push and pull counts as a push on its way to the server and as a pull on its way back.
int64_t verb_of(const PsMeta& meta) {
  if (meta.command != 0 || meta.simple_app) return CONTROL_VERB;
  if (meta.push && meta.pull) return meta.request ? PUSH_VERB : PULL_VERB;
  return meta.push ? PUSH_VERB : PULL_VERB;
}

// Of how many numbers a push tells the server the new values; -1 where the message does not say (rows of a sparse array).
int64_t elements_of(const PsMessage& message) {
  static const size_t BYTES[] = {4, 8, 2, 1, 4, 1, 8};  // float32, float64, float16, uint8, int32, int8, int64
  Handling handling = handling_of(message.meta.head);
  if (handling.command == COMPRESSED) {
    uint64_t first = reinterpret_cast<const uint64_t*>(message.data.first[0].data)[0];
    return static_cast<int64_t>(first - first_key_of((message.meta.receiver - 8) / 2));
  }
  if (handling.command != DEFAULT || static_cast<size_t>(handling.type) >= sizeof BYTES / sizeof *BYTES) return -1;
  return static_cast<int64_t>(message.data.first[1].size / BYTES[handling.type]);
}

// Tells once which parameter of MXNet a wire key holds a slice of, and how long that is.
void note_key(int64_t wire_key, const PsMessage& message) {
  static std::atomic<bool> told[1 << 14];
  if (running.key == 0 || wire_key >= (1 << 14) || told[wire_key].exchange(true)) return;
  char json[160];
  snprintf(json, sizeof json, "{\"wire_key_id\": %lld, \"parameter_id\": %lld, \"elements\": %lld}",
           static_cast<long long>(wire_key), static_cast<long long>(running.key), static_cast<long long>(elements_of(message)));
  note("wire_key", json);
}

int send(void* van, const PsMessage& message) {
  if (!recording() || broken) return real_send(van, message);
  const PsMeta& meta = message.meta;
  int own = own_id;
  Summary summary = summarise(message, meta.request ? meta.receiver : own);
  if (!summary.sound || (meta.command == 0 && !message.data.size() && meta.data_size != 0) ||
      (message.data.size() > 0 && meta.data_size != summary.size_bytes)) {
    broken = true;
    give_up("messages", "the parts of a message do not add up to the size in its head");
    return real_send(van, message);
  }
  bool control = meta.command != 0;
  int64_t request = control ? control_id(meta, own, meta.receiver) : request_of(meta, own, true);
  Enqueued enqueued{0, running.operation, running.step, running.key};
  bool by_sender = take_enqueued(request, meta.request, &enqueued);
  if (by_sender) call_thread("p3-sender");
  Within<Running> as_asked(running, {enqueued.operation, running.ready_ns, enqueued.step, enqueued.key, running.bulk});
  Known known{0, summary.key, NO_REQUEST};
  if (meta.request) {
    if (!control && !meta.simple_app && meta.push && message.data.size() > 1) note_key(summary.key, message);
    known.link = running.operation;
  } else if (!control && recall(request, &known)) {
    forget(request);  // answered
  }
  int64_t queued_ns = by_sender ? enqueued.since_ns : 0;
  int64_t peer = code_of_node(meta.receiver);
  Interruption sending;
  if (meta.request && running.operation != NO_REQUEST && queued_ns == 0) queued_ns = running.ready_ns;
  if (queued_ns != 0 && !control) {
    int64_t waits_for = meta.request ? SERIALIZE : meta.pull ? PULL : PUSH;
    span({waits_for, ops.queue, known.key, running.step, 0, queued_ns, sending.start_ns, request, known.link, NOT_MEASURED});
  }
  known.since_ns = sending.start_ns;
  if (meta.request && !control) remember(request, known);  // before the answer can come
  HalfRow row{verb_of(meta), control || meta.request ? REQUEST : REPLY, known.key, running.step, summary.size_bytes, request, peer,
              sending.start_ns, 0};
  int64_t stage = row.verb == PUSH_VERB ? PUSH : row.verb == PULL_VERB ? PULL : OTHER;
  Outgoing handed{row, stage, 0, meta.receiver, false};
  int bytes;
  {
    Within<Outgoing*> within(outgoing, &handed);
    bytes = real_send(van, message);
  }
  row.end_ns = sending.stop();
  if (handed.handed_over) {
    span({stage, ops.send, row.key, row.step, 0, row.start_ns, row.end_ns, request, NO_REQUEST, NOT_MEASURED});
  } else if (peer >= 0) {
    sent(row);
  }
  if (bytes > 0) bytes_sent += bytes;
  messages_sent += 1;
  return bytes;
}

int enqueue(void* van, const PsMessage& message) {  // p3: a thread of its own sends by priority
  if (recording() && !broken && message.meta.command == 0) {
    Enqueued enqueued{now_ns(), running.operation, running.step, running.key};
    remember_enqueued(request_of(message.meta, own_id, true), message.meta.request, enqueued);
  }
  return real_enqueue(van, message);
}

void become(int ps_id) {
  int64_t code = code_of_node(ps_id);
  if (code < 0 || own_id.exchange(ps_id) == ps_id) return;
  identify(static_cast<Role>(code >> 16), code & 0xFFFF);
}

// The scheduler has told this node its id: ps-lite leaves the rank in the environment.
void add_node(void* van, PsMessage* message, void* nodes, void* recovered) {
  real_add_node(van, message, nodes, recovered);
  const char *role = getenv("DMLC_ROLE"), *rank = getenv("DMLC_RANK");
  if (role == nullptr || strcmp(role, "scheduler") == 0 || rank == nullptr) return;
  become(8 + 2 * atoi(rank) + (is_server() ? 0 : 1));
}

int receive(void* van, PsMessage* message) {
  if (!recording() || broken) return real_receive(van, message);
  call_thread("van-receiver");
  Parts parts;
  int bytes = receive_parts(parts, [&] { return real_receive(van, message); });
  if (bytes < 0) return bytes;
  const PsMeta& meta = message->meta;
  if (own_id == PS_EMPTY) become(meta.receiver);
  bytes_received += bytes;
  messages_received += 1;
  int64_t peer = code_of_node(meta.sender);
  if (peer < 0) return bytes;  // a node that has no id yet
  Stream::Message arrival;
  int64_t identity_bytes = 2 + digits_of(meta.sender);  // "ps9": ZeroMQ puts it before the parts that were sent
  if (next_arrival(meta.sender, bytes - identity_bytes, &arrival)) parts = {arrival.first_ns, arrival.last_ns, true};
  int own = own_id;
  Summary summary = summarise(*message, meta.request ? own : meta.sender);
  bool control = meta.command != 0;
  int64_t request = control ? control_id(meta, meta.sender, own) : request_of(meta, own, false);
  Known known{parts.last_ns, summary.key, NO_REQUEST};
  if (!control) {
    if (!meta.request && recall(request, &known) && summary.key != 0) known.key = summary.key;
    known.since_ns = parts.last_ns;
    remember(request, known);
  }
  received_from(meta.sender, {verb_of(meta), control || meta.request ? REQUEST : REPLY, known.key, NO_STEP, summary.size_bytes,
                              request, peer, parts.first_ns, parts.last_ns});
  return bytes;
}

const Hook HOOKS[] = {
    {"_ZN2ps6ZMQVan7SendMsgERKNS_7MessageE", reinterpret_cast<void*>(send), reinterpret_cast<void**>(&real_send)},
    {"_ZN2ps6ZMQVan7RecvMsgEPNS_7MessageE", reinterpret_cast<void*>(receive), reinterpret_cast<void**>(&real_receive)},
    {"_ZN2ps5P3Van7SendMsgERKNS_7MessageE", reinterpret_cast<void*>(enqueue), reinterpret_cast<void**>(&real_enqueue)},
    {"_ZN2ps3Van21ProcessAddNodeCommandEPNS_7MessageEPNS_4MetaES4_", reinterpret_cast<void*>(add_node),
     reinterpret_cast<void**>(&real_add_node)},
    {"zmq_msg_recv", reinterpret_cast<void*>(receive_part), reinterpret_cast<void**>(&real_receive_part)},
};

}  // namespace

const Group MESSAGES{"messages", HOOKS, sizeof HOOKS / sizeof *HOOKS};

int own_ps_id() { return own_id; }

void note_traffic() {
  char json[200];
  snprintf(json, sizeof json, "{\"sent\": %lld, \"received\": %lld, \"sent_bytes\": %lld, \"received_bytes\": %lld}",
           static_cast<long long>(messages_sent), static_cast<long long>(messages_received), static_cast<long long>(bytes_sent),
           static_cast<long long>(bytes_received));
  note("zmq_traffic", json);
}

}  // namespace breakdown
