// The bytes of a trace file: blocks with heads and checksums, as breakdown/record/layout.py describes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace breakdown {

enum Kind : uint32_t { META = 1, THREAD, NAMES, SPAN, SENT, RECEIVED, STEP, NOTE, END };

inline size_t columns_of(Kind kind) { return kind == SPAN ? 11 : 9; }

// A JSON string, quotes included.
std::string quoted(const std::string& text);

// One file, written by one thread. The first failure is reported on stderr; from then on rows are only counted.
class TraceFile {
 public:
  // `node` gives Node.code, or -1 as long as nobody knows it.
  TraceFile(const char* folder, int64_t run, int64_t (*node)());

  bool open();
  void set_cost(double ns_per_span);
  void text(Kind kind, uint32_t thread, const std::string& text);
  void names(const std::vector<std::string>& texts);
  void rows(Kind kind, uint32_t thread, const std::vector<int64_t>& rows);
  void finish(uint64_t lost);

 private:
  void block(Kind kind, uint32_t thread, uint32_t count, const void* payload, size_t size);
  const std::string& block_bytes(Kind kind, uint32_t thread, uint32_t count, const void* payload, size_t size);
  std::string meta() const;
  void settle();
  bool is_ours() const;
  void open_again();
  void fail(const char* doing);

  std::string folder_, path_;
  std::string bytes_;  // of the last block; kept, for its memory
  int64_t run_;
  int64_t (*node_)();
  int64_t settled_ = -1;
  int64_t start_ns_ = 0;
  double cost_ns_ = 0;
  uint64_t lost_ = 0;
  int file_ = -1;
  uint64_t device_ = 0, inode_ = 0;
  bool failed_ = false;
};

}  // namespace breakdown
