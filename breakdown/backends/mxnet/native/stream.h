// Finds the messages in a byte stream of ZMTP 3, ZeroMQ's protocol on a connection, in one direction.
#pragma once

#include <cstddef>
#include <cstdint>

namespace breakdown {

class Stream {
 public:
  struct Message {
    // The start of the call that moved its first byte, and the end of the one that moved its last. A call that goes on with
    // the next message counts for that one: messages of one connection do not overlap, and none starts late.
    int64_t first_ns, last_ns;
    int64_t bytes;              // of all its parts, without ZMTP's framing
  };

  // Bytes that one call moved. `done(message)` is told of every message that they complete. Bytes of messages are not read.
  template <class Done>
  void feed(const char* data, size_t size, int64_t first_ns, int64_t last_ns, Done done) {
    const char* end = data + size;
    while (data < end && state_ != NOT_ZMTP) {
      if (state_ == BODY && !command_) {
        size_t here = static_cast<size_t>(end - data) < left_ ? static_cast<size_t>(end - data) : left_;
        data += here;
        left_ -= here;
      } else {
        if (state_ == FLAGS && !within_) message_.first_ns = first_ns;
        take(static_cast<unsigned char>(*data++));
      }
      if (state_ == BODY && left_ == 0 && end_frame()) {
        message_.last_ns = data < end ? first_ns : last_ns;
        done(message_);
        message_.bytes = 0;
      }
    }
  }

  // The routing id that the other side gave itself, "" when none.
  const char* identity() const { return identity_; }
  bool is_zmtp() const { return state_ != NOT_ZMTP; }

 private:
  enum State { GREETING, FLAGS, LENGTH, BODY, NOT_ZMTP };
  void take(unsigned char byte);
  bool end_frame();
  void read_command();

  State state_ = GREETING;
  bool more_ = false, command_ = false, within_ = false;
  size_t left_ = 64, kept_ = 0;
  Message message_{0, 0, 0};
  char command_body_[256] = {};
  char identity_[32] = {};
};

}  // namespace breakdown
