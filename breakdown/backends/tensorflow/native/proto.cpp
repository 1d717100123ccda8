// As much of protobuf's wire format as it takes to read a field of a message's outermost level.
#include <string_view>

#include "hooks.h"

namespace breakdown {

namespace {

std::string (*real_serialise)(const void*);

struct Field {
  uint32_t number = 0;
  uint64_t integer = 0;
  bool is_text = false;
  std::string_view text;
};

bool varint(const char*& at, const char* end, uint64_t* value) {
  *value = 0;
  for (int shift = 0; at < end && shift < 64; shift += 7) {
    unsigned char byte = static_cast<unsigned char>(*at++);
    *value |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) return true;
  }
  return false;
}

// False at the end, and where the bytes are no message. A text that the end cuts off is told only where `cut` allows it.
bool next(const char*& at, const char* end, Field* field, bool cut = false) {
  uint64_t tag;
  if (at >= end || !varint(at, end, &tag)) return false;
  *field = {};
  field->number = static_cast<uint32_t>(tag >> 3);
  switch (tag & 7) {
    case 0: return varint(at, end, &field->integer);
    case 1: at += 8; return at <= end;
    case 5: at += 4; return at <= end;
    case 2: {
      uint64_t size;
      if (!varint(at, end, &size)) return false;
      uint64_t left = static_cast<uint64_t>(end - at);
      if (size > left) {
        if (!cut) return false;
        size = left;
      }
      field->is_text = true;
      field->text = {at, static_cast<size_t>(size)};
      at += size;
      return true;
    }
    default: return false;
  }
}

}  // namespace

int64_t integer_field(const char* data, size_t size, uint32_t number) {
  Field field;
  for (const char *at = data, *end = data + size; next(at, end, &field);) {
    if (field.number == number) return static_cast<int64_t>(field.integer);
  }
  return 0;
}

std::string text_field(const char* data, size_t size, uint32_t number) {
  Field field;
  for (const char *at = data, *end = data + size; next(at, end, &field);) {
    if (field.number == number) return std::string(field.text);
  }
  return "";
}

std::string beginning_of_field(const char* data, size_t size, uint32_t* number) {
  Field field;
  for (const char *at = data, *end = data + size; next(at, end, &field, true);) {
    if (*number != 0 ? field.number == *number : field.is_text) {
      *number = field.number;
      return std::string(field.text);
    }
  }
  *number = 0;
  return "";
}

bool each_text(const std::string& message, const std::function<void(uint32_t, const std::string&)>& found) {
  Field field;
  const char *at = message.data(), *end = at + message.size();
  while (at < end) {
    if (!next(at, end, &field)) return false;
    if (field.is_text) found(field.number, std::string(field.text));
  }
  return true;
}

bool find_message_functions(const Library& framework) {
  void* found = framework.address_of("_ZNK6google8protobuf11MessageLite17SerializeAsStringB5cxx11Ev");
  real_serialise = reinterpret_cast<std::string (*)(const void*)>(found);
  return found != nullptr;
}

std::string serialised(const void* message) { return real_serialise != nullptr ? real_serialise(message) : ""; }

}  // namespace breakdown
