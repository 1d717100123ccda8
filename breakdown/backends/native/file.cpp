#include "file.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace.h"

namespace breakdown {

namespace {

constexpr char MAGIC[] = "BRKDWN03";
constexpr char MARK[] = "blk\n";
constexpr size_t META_BYTES = 512;  // the first block is written again, in place, when the node is known
constexpr size_t ROWS_A_BLOCK = 4096;
const char* const ROLES[] = {"scheduler", "server", "worker"};

struct Head {
  char mark[4];
  uint32_t kind, thread, count, crc, check;
};
static_assert(sizeof(Head) == 24, "a head has no padding");

// Eight bytes at a time: table k is for a byte that k others follow.
using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

CrcTables crc_tables() {
  CrcTables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = value & 1 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
    tables[0][byte] = value;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (uint32_t byte = 0; byte < 256; ++byte) tables[k][byte] = tables[0][tables[k - 1][byte] & 255] ^ (tables[k - 1][byte] >> 8);
  }
  return tables;
}

uint32_t crc32(uint32_t crc, const void* data, size_t size) {
  static const CrcTables tables = crc_tables();
  const unsigned char* bytes = static_cast<const unsigned char*>(data);
  crc = ~crc;
  for (; size >= 8; bytes += 8, size -= 8) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);  // the machine is little-endian, as the file is
    word ^= crc;
    crc = tables[7][word & 255] ^ tables[6][word >> 8 & 255] ^ tables[5][word >> 16 & 255] ^ tables[4][word >> 24 & 255] ^
          tables[3][word >> 32 & 255] ^ tables[2][word >> 40 & 255] ^ tables[1][word >> 48 & 255] ^ tables[0][word >> 56];
  }
  for (; size > 0; ++bytes, --size) crc = tables[0][(crc ^ *bytes) & 255] ^ (crc >> 8);
  return ~crc;
}

std::string first_line(const char* path) {
  char line[128] = {};
  int file = ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return "";
  ssize_t count = ::read(file, line, sizeof line - 1);
  ::close(file);
  line[count < 0 ? 0 : count] = 0;
  line[strcspn(line, "\n")] = 0;
  return line;
}

// The same text as breakdown.clock.kernel.kernel_id.
std::string kernel_id() {
  std::string boot = first_line("/proc/sys/kernel/random/boot_id");
  char space[64] = {};
  ssize_t count = readlink("/proc/self/ns/time", space, sizeof space - 1);
  return count > 0 ? boot + " " + space : boot;
}

const char* launched_role() {
  const char* role = getenv("DMLC_ROLE");
  return role != nullptr ? role : "worker";
}

}  // namespace

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    char escaped[8];
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20) {
      snprintf(escaped, sizeof escaped, "\\u%04x", c);
      out += escaped;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}

TraceFile::TraceFile(const char* folder, int64_t run, int64_t (*node)()) : folder_(folder), run_(run), node_(node) {}

bool TraceFile::open() {
  path_ = folder_ + "/" + launched_role() + "-pid" + std::to_string(getpid()) + ".native.part";
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file_ < 0) {
    fail("creating it");
    return false;
  }
  struct stat made {};
  fstat(file_, &made);
  device_ = made.st_dev;
  inode_ = made.st_ino;
  start_ns_ = now_ns();
  std::string start = std::string(MAGIC, 8) + block_bytes(META, 0, META_BYTES, meta().data(), META_BYTES);
  if (::write(file_, start.data(), start.size()) != static_cast<ssize_t>(start.size())) fail("writing");
  return !failed_;
}

// Whether the descriptor still is the file's: a program that closes all it finds may have opened another by then.
bool TraceFile::is_ours() const {
  struct stat now {};
  return fstat(file_, &now) == 0 && now.st_dev == device_ && now.st_ino == inode_;
}

void TraceFile::open_again() {
  file_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  if (file_ < 0 || lseek(file_, 0, SEEK_END) < 0) fail("opening it again");
}

void TraceFile::set_cost(double ns_per_span) { cost_ns_ = ns_per_span; }

std::string TraceFile::meta() const {
  int64_t code = settled_ < 0 ? 0 : settled_;
  char cost[32];
  snprintf(cost, sizeof cost, "%.1f", cost_ns_);
  std::string text = "{\"run\": " + std::to_string(run_) + ", \"role\": \"" + ROLES[code >> 16] + "\", \"rank\": " +
                     std::to_string(code & 0xFFFF) + ", \"pid\": " + std::to_string(getpid()) + ", \"kernel_id\": " +
                     quoted(kernel_id()) + ", \"clock\": \"clock_gettime(CLOCK_MONOTONIC)\", \"start_ns\": " +
                     std::to_string(start_ns_) + ", \"cost_ns_per_span\": " + cost + ", \"recorder\": \"native\"}";
  text.resize(META_BYTES, ' ');
  return text;
}

// As soon as the node is known: the first block says it, and the file gets its name.
void TraceFile::settle() {
  int64_t code = node_();
  if (failed_ || code < 0 || settled_ == code) return;
  settled_ = code;
  const std::string& first = block_bytes(META, 0, META_BYTES, meta().data(), META_BYTES);
  if (pwrite(file_, first.data(), first.size(), 8) != static_cast<ssize_t>(first.size())) return fail("writing");
  std::string name = folder_ + "/" + ROLES[code >> 16] + "-" + std::to_string(code & 0xFFFF);
  std::string wanted = name + ".native.trace";
  if (access(wanted.c_str(), F_OK) == 0) wanted = name + "-pid" + std::to_string(getpid()) + ".native.trace";
  if (rename(path_.c_str(), wanted.c_str()) != 0) return fail("renaming it");
  path_ = wanted;
}

const std::string& TraceFile::block_bytes(Kind kind, uint32_t thread, uint32_t count, const void* payload, size_t size) {
  Head head{{MARK[0], MARK[1], MARK[2], MARK[3]}, kind, thread, count, 0, 0};
  uint32_t fields = crc32(0, &head, sizeof head);
  head.crc = crc32(fields, payload, size);
  head.check = fields != 0 ? fields : 1;  // 0 stands for none
  bytes_.assign(reinterpret_cast<const char*>(&head), sizeof head);
  bytes_.append(static_cast<const char*>(payload), size);
  bytes_.append((8 - size % 8) % 8, '\0');
  return bytes_;
}

void TraceFile::block(Kind kind, uint32_t thread, uint32_t count, const void* payload, size_t size) {
  if (!failed_ && !is_ours()) open_again();
  settle();
  const std::string& bytes = block_bytes(kind, thread, count, payload, size);
  for (size_t done = 0; !failed_ && done < bytes.size();) {
    ssize_t count_written = ::write(file_, bytes.data() + done, bytes.size() - done);
    if (count_written < 0 && errno == EINTR) continue;
    if (count_written < 0) return fail("writing");
    done += static_cast<size_t>(count_written);
  }
}

void TraceFile::text(Kind kind, uint32_t thread, const std::string& text) {
  block(kind, thread, static_cast<uint32_t>(text.size()), text.data(), text.size());
}

void TraceFile::names(const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  std::string list;
  for (const std::string& name : texts) list += (list.empty() ? "[" : ", ") + quoted(name);
  text(NAMES, 0, list + "]");
}

void TraceFile::rows(Kind kind, uint32_t thread, const std::vector<int64_t>& rows) {
  size_t width = columns_of(kind), count = rows.size() / width;
  for (size_t first = 0; first < count; first += ROWS_A_BLOCK) {
    size_t here = count - first < ROWS_A_BLOCK ? count - first : ROWS_A_BLOCK;
    block(kind, thread, static_cast<uint32_t>(here), rows.data() + first * width, here * width * sizeof(int64_t));
    if (failed_) lost_ += here;
  }
}

void TraceFile::finish(uint64_t lost) {
  text(END, 0, "{\"lost\": " + std::to_string(lost + lost_) + "}");
  if (is_ours()) ::close(file_);
  // A process that never became a node of a run (a data loader's helper, for example) leaves nothing behind.
  if (settled_ < 0) unlink(path_.c_str());
}

void TraceFile::fail(const char* doing) {
  if (!failed_) {
    fprintf(stderr, "breakdown: recording stopped, the program goes on. %s: %s failed: %s.\n", path_.c_str(), doing,
            strerror(errno));
  }
  failed_ = true;
}

}  // namespace breakdown
