#include "socket.h"

#include <arpa/inet.h>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <pthread.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>

#include "hooks.h"
#include "requests.h"

namespace breakdown {

thread_local Outgoing* outgoing = nullptr;

namespace {

constexpr int MOST_FILES = 1 << 16, MOST_PEERS = 1 << 12;
constexpr int SEND_MORE = 2;  // ZeroMQ's flag: further parts follow

// One producer, one consumer.
template <class T, uint64_t PLACES>
struct Line {
  T items[PLACES];
  std::atomic<uint64_t> head{0}, tail{0};
  bool push(const T& item) {
    uint64_t at = head.load(std::memory_order_relaxed);
    if (at - tail.load(std::memory_order_acquire) >= PLACES) return false;
    items[at % PLACES] = item;
    head.store(at + 1, std::memory_order_release);
    return true;
  }
  bool pop(T* item) {
    uint64_t at = tail.load(std::memory_order_relaxed);
    if (at == head.load(std::memory_order_acquire)) return false;
    *item = items[at % PLACES];
    tail.store(at + 1, std::memory_order_release);
    return true;
  }
};

struct Peer {
  std::atomic<int> port{0};
  char host[64] = {};
  std::atomic<bool> seen{true};         // false once its stream was not what was expected
  Line<Outgoing, 4096> sending;         // the van's lock makes the senders one; ZeroMQ's thread takes
  Line<Stream::Message, 4096> arrived;  // ZeroMQ's thread gives, the van's receiver takes
  Ring* out_lane = nullptr;             // ZeroMQ's thread
  Ring* in_lane = nullptr;              // the van's receiver
};
std::atomic<Peer*> peers[MOST_PEERS];

struct Connection {
  Stream in, out;
  int from = 0, to = 0;  // ps-lite ids, 0 while unknown
};
std::atomic<Connection*> connections[MOST_FILES];
std::atomic<int64_t> unseen{0};  // messages that were handed over and not seen to leave

ssize_t (*real_receive)(int, void*, size_t, int);
ssize_t (*real_send)(int, const void*, size_t, int);
int (*real_close)(int);
int (*real_send_part)(void*, void*, int);
size_t (*real_part_size)(const void*);
void (*real_connect)(void*, const PsNode&);

Peer* peer_of(int ps_id, bool make) {
  if (ps_id <= 0 || ps_id >= MOST_PEERS) return nullptr;
  Peer* peer = peers[ps_id].load(std::memory_order_acquire);
  if (peer != nullptr || !make) return peer;
  Peer *made = new (std::nothrow) Peer, *none = nullptr;
  if (made == nullptr || peers[ps_id].compare_exchange_strong(none, made)) return made;
  delete made;
  return none;
}

Connection* connection_of(int file) {
  if (file < 0 || file >= MOST_FILES) return nullptr;
  Connection* connection = connections[file].load(std::memory_order_acquire);
  if (connection == nullptr) {
    connection = new (std::nothrow) Connection;
    connections[file].store(connection, std::memory_order_release);  // only the thread that owns the file makes it
  }
  return connection;
}

void drop_connection(int file) {
  if (file >= 0 && file < MOST_FILES) delete connections[file].exchange(nullptr);
}

int ps_id_in(const char* identity) { return strncmp(identity, "ps", 2) == 0 ? atoi(identity + 2) : 0; }

// Whose port, and where two hosts use the same one, whose address, the other end of a connection is. Local sockets are named
// by the port.
int peer_at_other_end(int file) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getpeername(file, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  char host[64] = {};
  int port = 0;
  if (address.ss_family == AF_INET) {
    const sockaddr_in* inet = reinterpret_cast<sockaddr_in*>(&address);
    inet_ntop(AF_INET, &inet->sin_addr, host, sizeof host);
    port = ntohs(inet->sin_port);
  } else if (address.ss_family == AF_UNIX) {
    const char* slash = strrchr(reinterpret_cast<sockaddr_un*>(&address)->sun_path, '/');
    port = slash != nullptr ? atoi(slash + 1) : 0;
  }
  int found = 0, same_port = 0;
  for (int id = 1; id < MOST_PEERS && port != 0; ++id) {
    Peer* peer = peers[id].load(std::memory_order_acquire);
    if (peer == nullptr || peer->port.load(std::memory_order_acquire) != port) continue;
    same_port += 1;
    if (found == 0 || strcmp(peer->host, host) == 0) found = id;
  }
  return same_port > 1 && strcmp(peers[found].load()->host, host) != 0 ? 0 : found;
}

ssize_t receive(int file, void* buffer, size_t size, int flags) {
  ssize_t count = real_receive(file, buffer, size, flags);
  if (count <= 0 || !recording()) return count;
  int error = errno;
  int64_t now = now_ns();
  if (Connection* connection = connection_of(file)) {
    connection->in.feed(static_cast<const char*>(buffer), static_cast<size_t>(count), now, now, [&](const Stream::Message& message) {
      if (connection->from == 0) connection->from = ps_id_in(connection->in.identity());
      Peer* peer = peer_of(connection->from, true);
      if (peer != nullptr && !peer->arrived.push(message)) peer->seen = false;
    });
  }
  errno = error;
  return count;
}

Ring* lane_of(Ring*& ring, const char* what, int ps_id) {
  static const char* const roles[] = {"scheduler", "server", "worker"};
  int64_t code = code_of_node(ps_id);
  if (ring != nullptr || code < 0) return ring;
  char name[48];
  snprintf(name, sizeof name, "%s-%s-%d", what, roles[code >> 16], static_cast<int>(code & 0xFFFF));
  return ring = lane(name);
}

// On its connection: from the moment it was handed over until its first byte went to the kernel, and then until its last.
void write_sent(Peer& peer, const Outgoing& message, int64_t first_ns, int64_t last_ns) {
  HalfRow row = message.row;
  Ring* ring = lane_of(peer.out_lane, "send", message.peer_ps_id);
  if (first_ns > row.end_ns) {
    span_on(ring, {message.queue_stage, ops.queue, row.key, row.step, 0, row.end_ns, first_ns, row.request_id,
                   NO_REQUEST, NOT_MEASURED});
  }
  row.start_ns = first_ns;
  row.end_ns = last_ns;
  sent_on(ring, row);
}

// What was handed over for this peer and not seen to leave. For the one thread that takes from its line.
int64_t write_handed_over(Peer& peer) {
  int64_t count = 0;
  for (Outgoing message; peer.sending.pop(&message); ++count) sent(message.row);
  return count;
}

// A stream that cannot be followed: from here on the peer's messages have the times of their handing over.
void fall_back(Connection& connection, int file) {
  if (connection.to == 0) connection.to = peer_at_other_end(file);
  Peer* peer = peer_of(connection.to, false);
  if (peer == nullptr || !peer->seen.exchange(false)) return;
  unseen += write_handed_over(*peer);
}

void bytes_left(Connection& connection, int file, const Stream::Message& message) {
  if (connection.to == 0) connection.to = peer_at_other_end(file);
  Peer* peer = peer_of(connection.to, false);
  if (peer == nullptr || !peer->seen) return;
  Outgoing next;
  if (!peer->sending.pop(&next)) return;
  if (next.bytes != message.bytes) {
    sent(next.row);
    unseen += 1;
    fall_back(connection, file);
    return;
  }
  write_sent(*peer, next, message.first_ns, message.last_ns);
}

ssize_t send_bytes(int file, const void* buffer, size_t size, int flags) {
  if (!recording()) return real_send(file, buffer, size, flags);
  int64_t start = now_ns();
  ssize_t count = real_send(file, buffer, size, flags);
  if (count <= 0) return count;
  int error = errno;
  call_thread("zmq-io");
  int64_t end = now_ns();
  if (Connection* connection = connection_of(file)) {
    connection->out.feed(static_cast<const char*>(buffer), static_cast<size_t>(count), start, end,
                         [&](const Stream::Message& message) { bytes_left(*connection, file, message); });
    if (!connection->out.is_zmtp()) fall_back(*connection, file);
  }
  errno = error;
  return count;
}

int close_file(int file) {
  drop_connection(file);
  return real_close(file);
}

// Under the van's lock, so in the order in which ZeroMQ sends. The last part makes the message leave: before it, the message
// must be known to the thread that sees it leave.
int send_part(void* part, void* socket, int flags) {
  Outgoing* message = outgoing;
  if (message != nullptr && !message->handed_over && !(flags & SEND_MORE)) {
    message->bytes += static_cast<int64_t>(real_part_size(part));
    message->row.end_ns = now_ns();
    Peer* peer = peer_of(message->peer_ps_id, true);
    message->handed_over = peer != nullptr && peer->seen && peer->sending.push(*message);
    return real_send_part(part, socket, flags);
  }
  int size = real_send_part(part, socket, flags);
  if (message != nullptr && size >= 0 && (flags & SEND_MORE)) message->bytes += size;
  return size;
}

void connect_to(void* van, const PsNode& node) {
  Peer* peer = recording() ? peer_of(node.id, true) : nullptr;
  if (peer != nullptr && node.host != nullptr) {
    strncpy(peer->host, node.host, sizeof peer->host - 1);
    peer->port.store(node.port, std::memory_order_release);
  }
  real_connect(van, node);
}

const Hook HOOKS[] = {
    {"recv", reinterpret_cast<void*>(receive), reinterpret_cast<void**>(&real_receive)},
    {"send", reinterpret_cast<void*>(send_bytes), reinterpret_cast<void**>(&real_send)},
    {"close", reinterpret_cast<void*>(close_file), reinterpret_cast<void**>(&real_close)},
    {"zmq_msg_send", reinterpret_cast<void*>(send_part), reinterpret_cast<void**>(&real_send_part)},
    {"_ZN2ps6ZMQVan7ConnectERKNS_4NodeE", reinterpret_cast<void*>(connect_to), reinterpret_cast<void**>(&real_connect)},
};

}  // namespace

const Group SOCKETS{"sockets", HOOKS, sizeof HOOKS / sizeof *HOOKS};

bool find_part_size(const Library& library) {
  real_part_size = reinterpret_cast<size_t (*)(const void*)>(library.address_of("zmq_msg_size"));
  return real_part_size != nullptr;
}

bool next_arrival(int peer_ps_id, int64_t bytes, Stream::Message* arrival) {
  Peer* peer = peer_of(peer_ps_id, false);
  if (peer == nullptr || !peer->seen) return false;
  while (peer->arrived.pop(arrival)) {
    if (arrival->bytes == bytes) return true;
  }
  return false;
}

void received_from(int peer_ps_id, const HalfRow& row) {
  if (Peer* peer = peer_of(peer_ps_id, true)) received_on(lane_of(peer->in_lane, "recv", peer_ps_id), row);
}

void write_unseen() {
  for (std::atomic<Peer*>& place : peers) {
    if (Peer* peer = place.load()) unseen += write_handed_over(*peer);
  }
  if (unseen > 0) note("sent_unseen", std::to_string(unseen).c_str());
}

}  // namespace breakdown
