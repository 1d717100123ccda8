// gRPC's messages, where its own calls hand their bytes to the kernel and take them from it.
#include <arpa/inet.h>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <netinet/in.h>
#include <sys/socket.h>

#include "file.h"
#include "hooks.h"
#include "http2.h"

namespace breakdown {

namespace {

constexpr int MOST_FILES = 1 << 16;
constexpr uint32_t NUMBER_BITS = 24;  // of a message in its stream

// Of gRPC's methods, the fields that say for which step, and for what, a request asks.
struct Method {
  const char* name;
  uint32_t step, key;
};
constexpr Method METHODS[] = {{"RecvTensor", 1, 2}, {"RunGraph", 2, 0}};

struct Connection {
  int64_t number = 0;
  std::mutex one_reader, one_writer;  // gRPC has one of each at a time; the locks make it certain
  Http2 in, out;
  Ring *in_lane = nullptr, *out_lane = nullptr;
};
std::atomic<Connection*> connections[MOST_FILES];
std::atomic<int64_t> count{0}, bytes_sent{0}, bytes_received{0};

ssize_t (*real_send)(int, const msghdr*, int);
ssize_t (*real_receive)(int, msghdr*, int);
int (*real_close)(int);
int (*real_connect)(int, const sockaddr*, socklen_t);
int (*real_accept)(int, sockaddr*, socklen_t*, int);

std::string address_of(int file, int (*ask)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (ask(file, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  char host[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET6) {
    const sockaddr_in6& inet = reinterpret_cast<sockaddr_in6&>(address);
    const in6_addr& where = inet.sin6_addr;
    bool mapped = IN6_IS_ADDR_V4MAPPED(&where);
    inet_ntop(mapped ? AF_INET : AF_INET6, mapped ? static_cast<const void*>(where.s6_addr + 12) : &where, host, sizeof host);
    return std::string(host) + ":" + std::to_string(ntohs(inet.sin6_port));
  }
  if (address.ss_family != AF_INET) return "";
  const sockaddr_in& inet = reinterpret_cast<sockaddr_in&>(address);
  inet_ntop(AF_INET, &inet.sin_addr, host, sizeof host);
  return std::string(host) + ":" + std::to_string(ntohs(inet.sin_port));
}

// The connection of a file; made when its first bytes move. nullptr: no TCP connection.
Connection* connection_of(int file) {
  if (file < 0 || file >= MOST_FILES) return nullptr;
  Connection* connection = connections[file].load(std::memory_order_acquire);
  if (connection != nullptr) return connection;
  std::string here = address_of(file, getsockname), there = address_of(file, getpeername);
  if (here.empty() || there.empty()) return nullptr;
  Connection *made = new Connection, *none = nullptr;
  made->number = ++count;
  if (!connections[file].compare_exchange_strong(none, made)) {
    delete made;
    return none;
  }
  char name[32];
  snprintf(name, sizeof name, "recv-%lld", static_cast<long long>(made->number));
  made->in_lane = lane(name);
  snprintf(name, sizeof name, "send-%lld", static_cast<long long>(made->number));
  made->out_lane = lane(name);
  note("connection", ("[" + std::to_string(made->number) + ", " + quoted(here) + ", " + quoted(there) + "]").c_str());
  return made;
}

HalfRow row_of(const Http2::Message& message, const Connection& connection) {
  HalfRow row{CONTROL_VERB, message.path.empty() ? REPLY : REQUEST, 0, 0, message.bytes, 0, connection.number, message.first_ns, message.last_ns};
  row.request_id = static_cast<int64_t>(message.stream) << NUMBER_BITS | message.number;
  std::string name = message.path.substr(message.path.rfind('/') + 1);
  for (const Method& method : METHODS) {
    if (name != method.name) continue;
    row.step = integer_field(message.start.data(), message.start.size(), method.step);
    if (method.key != 0) name += " " + text_field(message.start.data(), message.start.size(), method.key);
    break;
  }
  if (is_eager(name)) {
    Asked asked = eager_request(name, message.start);
    name = asked.what;
    row.step = asked.number;
  }
  row.key = intern(name.data(), name.size());
  return row;
}

template <class Done>
void feed(Http2& stream, const msghdr* moved, size_t size, int64_t first_ns, int64_t last_ns, Done done) {
  for (size_t i = 0; i < moved->msg_iovlen && size > 0; ++i) {
    size_t here = moved->msg_iov[i].iov_len < size ? moved->msg_iov[i].iov_len : size;
    stream.feed(static_cast<const char*>(moved->msg_iov[i].iov_base), here, first_ns, last_ns, done);
    size -= here;
  }
}

ssize_t send_bytes(int file, const msghdr* message, int flags) {
  if (!recording()) return real_send(file, message, flags);
  Connection* connection = connection_of(file);
  if (connection == nullptr) return real_send(file, message, flags);
  std::lock_guard<std::mutex> lock(connection->one_writer);
  int64_t start = now_ns();
  ssize_t size = real_send(file, message, flags);
  if (size <= 0) return size;
  int error = errno;
  bytes_sent.fetch_add(size, std::memory_order_relaxed);
  feed(connection->out, message, static_cast<size_t>(size), start, now_ns(),
       [&](const Http2::Message& found) { sent_on(connection->out_lane, row_of(found, *connection)); });
  errno = error;
  return size;
}

ssize_t receive(int file, msghdr* message, int flags) {
  ssize_t size = real_receive(file, message, flags);
  if (size <= 0 || !recording()) return size;
  int error = errno;
  int64_t now = now_ns();
  follow_traced_steps();
  if (Connection* connection = connection_of(file)) {
    std::lock_guard<std::mutex> lock(connection->one_reader);
    bytes_received.fetch_add(size, std::memory_order_relaxed);
    feed(connection->in, message, static_cast<size_t>(size), now, now,
         [&](const Http2::Message& found) { received_on(connection->in_lane, row_of(found, *connection)); });
  }
  errno = error;
  return size;
}

// A file's number is used again by the next connection. A thread may still be in the old one: it is left behind, not freed.
// There are few, and each is small.
void forget(int file) {
  if (file >= 0 && file < MOST_FILES) connections[file].store(nullptr);
}

int close_file(int file) {
  forget(file);
  return real_close(file);
}

int connect_to(int file, const sockaddr* address, socklen_t size) {
  forget(file);
  return real_connect(file, address, size);
}

int accept_from(int listener, sockaddr* address, socklen_t* size, int flags) {
  int file = real_accept(listener, address, size, flags);
  forget(file);
  return file;
}

const Hook HOOKS[] = {
    {"sendmsg", reinterpret_cast<void*>(send_bytes), reinterpret_cast<void**>(&real_send)},
    {"recvmsg", reinterpret_cast<void*>(receive), reinterpret_cast<void**>(&real_receive)},
    {"close", reinterpret_cast<void*>(close_file), reinterpret_cast<void**>(&real_close)},
    {"connect", reinterpret_cast<void*>(connect_to), reinterpret_cast<void**>(&real_connect)},
    {"accept4", reinterpret_cast<void*>(accept_from), reinterpret_cast<void**>(&real_accept)},
};

}  // namespace

const Group SOCKETS{"sockets", HOOKS, sizeof HOOKS / sizeof *HOOKS};

void note_traffic() {
  note("bytes_sent", std::to_string(bytes_sent.load()).c_str());
  note("bytes_received", std::to_string(bytes_received.load()).c_str());
}

}  // namespace breakdown
