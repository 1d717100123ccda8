#include "http2.h"

#include <algorithm>
#include <cstring>

namespace breakdown {

namespace {

constexpr char CLIENT_PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t PREFACE_BYTES = 24, HEAD_BYTES = 9, PRIORITY_BYTES = 5, MOST_FRAME_BYTES = 1 << 24;
enum Type { DATA = 0, HEADERS = 1, RST_STREAM = 3, CONTINUATION = 9, LAST_TYPE = 16 };
enum Flag { END_STREAM = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 32 };

constexpr size_t STATIC_ENTRIES = 61, FIRST_PATH = 4, LAST_PATH = 5, ENTRY_OVERHEAD = 32;

// Reads a header block; `sound` is false once it was not as it must be.
struct Block {
  const unsigned char *at, *end;
  bool sound = true;

  size_t integer(int bits) {
    size_t most = (size_t{1} << bits) - 1;
    if (at >= end) return sound = false;
    size_t value = *at++ & most;
    if (value < most) return value;
    for (int shift = 0; at < end && shift < 28; shift += 7) {
      unsigned char byte = *at++;
      value += static_cast<size_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    return sound = false;
  }

  // A Huffman-coded text is passed over: "". gRPC codes only what is no text so.
  std::string text(size_t* size) {
    bool coded = at < end && *at & 128;
    *size = integer(7);
    if (!sound || *size > static_cast<size_t>(end - at)) {
      sound = false;
      return "";
    }
    std::string found(reinterpret_cast<const char*>(at), *size);
    at += *size;
    if (coded) *size = *size * 8 / 5;  // the shortest code has 5 bits
    return coded ? "" : found;
  }
};

}  // namespace

void HeaderTable::add(const Entry& entry) {
  if (entry.size > most_) return shrink(0);
  shrink(most_ - entry.size);
  entries_.push_front(entry);
  size_ += entry.size;
}

void HeaderTable::shrink(size_t most) {
  while (size_ > most) {
    size_ -= entries_.back().size;
    entries_.pop_back();
  }
}

std::string HeaderTable::path_in(const std::string& bytes) {
  const unsigned char* first = reinterpret_cast<const unsigned char*>(bytes.data());
  Block block{first, first + bytes.size()};
  std::string path;
  while (block.at < block.end && block.sound && !lost_) {
    unsigned char kind = *block.at;
    bool whole = kind & 128, kept = !whole && kind & 64;
    if (!whole && !kept && kind & 32) {  // the table's size changes
      most_ = std::min<size_t>(block.integer(5), 1 << 16);
      shrink(most_);
      continue;
    }
    size_t index = block.integer(whole ? 7 : kept ? 6 : 4);
    bool own = index > STATIC_ENTRIES, known = !own || index - STATIC_ENTRIES <= entries_.size();
    if (!known || (whole && index == 0)) block.sound = false;
    if (!block.sound) break;
    const Entry* entry = own ? &entries_[index - STATIC_ENTRIES - 1] : nullptr;
    if (whole) {
      if (entry != nullptr && entry->is_path) path = entry->path;
      continue;
    }
    size_t name_bytes = 10, value_bytes;  // of names in the static table: about
    bool is_path = entry != nullptr ? entry->is_path : index >= FIRST_PATH && index <= LAST_PATH;
    if (index == 0) is_path = block.text(&name_bytes) == ":path";
    std::string value = block.text(&value_bytes);
    if (is_path) path = value;
    if (kept) add({is_path ? value : "", is_path, name_bytes + value_bytes + ENTRY_OVERHEAD});
  }
  lost_ = lost_ || !block.sound;
  return lost_ ? "" : path;
}

// The number of bytes taken.
size_t Http2::take(const char* data, size_t size, int64_t first_ns) {
  if (state_ == PAYLOAD) return take_payload(data, size, first_ns);
  size_t wanted = state_ == PREFACE ? PREFACE_BYTES : HEAD_BYTES;
  size_t here = std::min(size, wanted - head_.size());
  head_.append(data, here);
  if (state_ == PREFACE && memcmp(head_.data(), CLIENT_PREFACE, std::min(head_.size(), PREFACE_BYTES)) != 0) {
    state_ = HEAD;  // answers have no preface: these bytes are the first frame's
    std::string bytes;
    bytes.swap(head_);
    size_t used = 0;
    while (used < bytes.size() && state_ != NOT_HTTP2) used += take(bytes.data() + used, bytes.size() - used, first_ns);
    return here;
  }
  if (head_.size() < wanted) return here;
  if (state_ == PREFACE) {
    state_ = HEAD;
    head_.clear();
  } else {
    begin_frame(first_ns);
  }
  return here;
}

void Http2::begin_frame(int64_t first_ns) {
  const unsigned char* head = reinterpret_cast<const unsigned char*>(head_.data());
  left_ = static_cast<uint32_t>(head[0]) << 16 | static_cast<uint32_t>(head[1]) << 8 | head[2];
  type_ = head[3];
  flags_ = head[4];
  stream_ = (static_cast<uint32_t>(head[5]) << 24 | static_cast<uint32_t>(head[6]) << 16 | static_cast<uint32_t>(head[7]) << 8 | head[8]) & 0x7FFFFFFF;
  head_.clear();
  padding_ = 0;
  padding_known_ = !(flags_ & PADDED) || (type_ != DATA && type_ != HEADERS);
  if (left_ >= MOST_FRAME_BYTES || type_ > LAST_TYPE) {
    state_ = NOT_HTTP2;
    return;
  }
  state_ = PAYLOAD;
  if (type_ == HEADERS) {
    block_.clear();
    block_stream_ = stream_;
    Stream& stream = streams_[stream_];
    if (stream.first_ns == 0) stream.first_ns = first_ns;
  }
  if (left_ == 0) end_frame();
}

size_t Http2::take_payload(const char* data, size_t size, int64_t first_ns) {
  size_t here = std::min<size_t>(size, left_), taken = here;
  left_ -= static_cast<uint32_t>(here);
  if (!padding_known_ && here > 0) {
    padding_ = static_cast<unsigned char>(*data);
    padding_known_ = true;
    data += 1;
    here -= 1;
  }
  // Padding stands last: of these bytes those that are not within it.
  size_t behind = left_ >= padding_ ? 0 : std::min<size_t>(here, padding_ - left_);
  if (type_ == DATA) {
    auto found = streams_.find(stream_);
    if (found != streams_.end()) take_message(found->second, data, here - behind, first_ns);
  } else if (type_ == HEADERS || type_ == CONTINUATION) {
    block_.append(data, here - behind);
  }
  if (left_ == 0) end_frame();
  return taken;
}

void Http2::take_message(Stream& stream, const char* data, size_t size, int64_t first_ns) {
  while (size > 0) {
    if (stream.first_ns == 0) stream.first_ns = first_ns;
    if (stream.head_bytes < sizeof stream.head) {
      stream.head[stream.head_bytes++] = static_cast<unsigned char>(*data++);
      size -= 1;
      if (stream.head_bytes < sizeof stream.head) continue;
      const unsigned char* head = stream.head;
      stream.left = static_cast<uint32_t>(head[1]) << 24 | static_cast<uint32_t>(head[2]) << 16 | static_cast<uint32_t>(head[3]) << 8 | head[4];
      stream.bytes = stream.left;
    }
    size_t here = std::min<size_t>(size, stream.left);
    if (stream.start.size() < START_BYTES) stream.start.append(data, std::min(here, START_BYTES - stream.start.size()));
    data += here;
    size -= here;
    stream.left -= static_cast<uint32_t>(here);
    if (stream.left > 0) return;
    complete_.push_back({stream_, stream.number, stream.first_ns, 0, stream.bytes, stream.path, stream.start});
    payload_bytes_ += stream.bytes;
    stream.number += 1;
    stream.first_ns = 0;
    stream.head_bytes = 0;
    stream.start.clear();
  }
}

void Http2::end_frame() {
  state_ = HEAD;
  if (type_ == HEADERS && flags_ & PRIORITY) block_.erase(0, PRIORITY_BYTES);
  if ((type_ == HEADERS || type_ == CONTINUATION) && flags_ & END_HEADERS) end_headers();
  bool over = type_ == RST_STREAM || (flags_ & END_STREAM && (type_ == DATA || type_ == HEADERS));
  if (over) streams_.erase(stream_);
}

void Http2::end_headers() {
  std::string path = headers_.path_in(block_);
  auto found = streams_.find(block_stream_);
  if (found != streams_.end() && !path.empty()) found->second.path = path;
  block_.clear();
}

}  // namespace breakdown
