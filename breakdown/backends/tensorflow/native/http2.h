// Finds gRPC's messages in a byte stream of HTTP/2, in one direction of a connection (RFC 9113; gRPC over HTTP/2).
//
// A message lies in DATA frames of one stream, cut as flow control wants it, between those of other streams. Its first byte is
// that of its first DATA frame, or of the HEADERS before it, where it is the first of its stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>

namespace breakdown {

// Follows HPACK (RFC 7541) as far as it takes to know each request's `:path`.
class HeaderTable {
 public:
  // The path in a header block, "" when it has none or it cannot be read. Blocks must be given in their order.
  std::string path_in(const std::string& block);

 private:
  struct Entry {
    std::string path;  // of a `:path`, else ""
    bool is_path;      // of a name that is `:path`
    size_t size;
  };
  void add(const Entry& entry);
  void shrink(size_t most);

  std::deque<Entry> entries_;  // latest first
  size_t size_ = 0, most_ = 4096;
  bool lost_ = false;  // the blocks are not what was expected
};

class Http2 {
 public:
  struct Message {
    uint32_t stream, number;  // `number`: of the message in its stream, from 0
    // The start of the call that moved its first byte, and the end of the one that moved its last.
    int64_t first_ns, last_ns;
    int64_t bytes;      // without the 5 bytes of gRPC's own head
    std::string path;   // of a request's stream; "" in the direction of answers
    std::string start;  // its first bytes
  };

  static constexpr size_t START_BYTES = 2048;  // the number of an eager function's step lies behind its attributes

  // Bytes that one call moved. `done(message)` is told of every message that they complete.
  template <class Done>
  void feed(const char* data, size_t size, int64_t first_ns, int64_t last_ns, Done done) {
    for (size_t at = 0; at < size && state_ != NOT_HTTP2;) {
      at += take(data + at, size - at, first_ns);
      for (; !complete_.empty(); complete_.pop_front()) {
        complete_.front().last_ns = last_ns;
        done(complete_.front());
      }
    }
  }

  bool is_http2() const { return state_ != NOT_HTTP2; }
  int64_t payload_bytes() const { return payload_bytes_; }

 private:
  enum State { PREFACE, HEAD, PAYLOAD, NOT_HTTP2 };
  struct Stream {
    std::string path;
    int64_t first_ns = 0;  // of the message that has begun; 0: none has
    uint32_t number = 0;
    uint32_t left = 0;  // bytes of the message still to come
    unsigned char head[5];
    size_t head_bytes = 0;
    int64_t bytes = 0;
    std::string start;
  };

  size_t take(const char* data, size_t size, int64_t first_ns);
  void begin_frame(int64_t first_ns);
  size_t take_payload(const char* data, size_t size, int64_t first_ns);
  void take_message(Stream& stream, const char* data, size_t size, int64_t first_ns);
  void end_frame();
  void end_headers();

  State state_ = PREFACE;
  std::string head_;  // of the frame, or the preface, as far as it has come
  uint32_t stream_ = 0, left_ = 0, padding_ = 0;
  unsigned type_ = 0, flags_ = 0;
  bool padding_known_ = true;
  std::string block_;  // of headers
  uint32_t block_stream_ = 0;
  HeaderTable headers_;
  std::unordered_map<uint32_t, Stream> streams_;
  std::deque<Message> complete_;
  int64_t payload_bytes_ = 0;
};

}  // namespace breakdown
