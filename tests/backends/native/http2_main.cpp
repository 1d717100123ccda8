// Feeds the bytes on stdin to Http2 in pieces of the size that the argument says; prints each message as one line. The clock
// counts calls: call n begins at 2n and ends at 2n + 1.
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>

#include "../../../breakdown/backends/tensorflow/native/http2.h"

int main(int, char** arguments) {
  std::string bytes;
  for (int byte; (byte = getchar()) != EOF;) bytes += static_cast<char>(byte);
  size_t piece = static_cast<size_t>(atol(arguments[1]));
  breakdown::Http2 stream;
  long call = 0;
  for (size_t at = 0; at < bytes.size(); at += piece, ++call) {
    std::string part = bytes.substr(at, piece);
    stream.feed(part.data(), part.size(), 2 * call, 2 * call + 1, [](const breakdown::Http2::Message& message) {
      printf("%u %u %lld %lld %lld %s ", message.stream, message.number, static_cast<long long>(message.first_ns),
             static_cast<long long>(message.last_ns), static_cast<long long>(message.bytes), message.path.c_str());
      for (unsigned char byte : message.start) printf("%02x", byte);
      printf("\n");
    });
  }
  printf("%s\n", stream.is_http2() ? "http2" : "something else");
}
