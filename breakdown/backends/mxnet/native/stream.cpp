#include "stream.h"

#include <cstring>

namespace breakdown {

namespace {
constexpr size_t GREETING_BYTES = 64;
#ifndef BREAKDOWN_ZMTP_VERSION  // set by the test of what happens with another protocol
#define BREAKDOWN_ZMTP_VERSION 3
#endif
enum Flags { MORE = 1, LONG = 2, COMMAND = 4 };
}  // namespace

void Stream::take(unsigned char byte) {
  switch (state_) {
    case GREETING: {  // a signature FF ... 7F, then the version, then what does not matter here
      size_t at = GREETING_BYTES - left_;
      bool fits = at == 0 ? byte == 0xFF : at == 9 ? byte == 0x7F : at == 10 ? byte >= BREAKDOWN_ZMTP_VERSION : true;
      state_ = !fits ? NOT_ZMTP : --left_ == 0 ? FLAGS : GREETING;
      break;
    }
    case FLAGS:
      if (byte > (MORE | LONG | COMMAND)) {
        state_ = NOT_ZMTP;
        return;
      }
      more_ = byte & MORE;
      command_ = byte & COMMAND;
      left_ = 0;
      kept_ = byte & LONG ? 8 : 1;  // bytes of length to come
      state_ = LENGTH;
      break;
    case LENGTH:
      left_ = left_ << 8 | byte;
      if (--kept_ > 0) return;
      if (!command_) message_.bytes += static_cast<int64_t>(left_);
      state_ = BODY;
      break;
    case BODY:
      if (kept_ < sizeof command_body_) command_body_[kept_++] = static_cast<char>(byte);
      left_ -= 1;
      break;
    case NOT_ZMTP:
      break;
  }
}

bool Stream::end_frame() {
  state_ = FLAGS;
  if (command_) {
    read_command();
    return false;
  }
  within_ = more_;
  return !more_;
}

// READY: its name, then properties, each with one byte of name length and four of value length.
void Stream::read_command() {
  if (kept_ < 6 || memcmp(command_body_, "\5READY", 6) != 0) return;
  for (size_t at = 6; at + 5 < kept_;) {
    size_t name = static_cast<unsigned char>(command_body_[at]);
    const unsigned char* length = reinterpret_cast<unsigned char*>(command_body_) + at + 1 + name;
    if (at + 1 + name + 4 > kept_) return;
    size_t value = static_cast<size_t>(length[0]) << 24 | static_cast<size_t>(length[1]) << 16 | static_cast<size_t>(length[2]) << 8 | length[3];
    size_t start = at + 1 + name + 4;
    if (start + value > kept_) return;
    if (name == 8 && memcmp(command_body_ + at + 1, "Identity", 8) == 0 && value < sizeof identity_) {
      memcpy(identity_, command_body_ + start, value);
      identity_[value] = 0;
    }
    at = start + value;
  }
}

}  // namespace breakdown
