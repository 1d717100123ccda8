// Redirects calls inside one loaded library: the slots through which it calls a function (its PLT, its pointers to functions,
// its vtables) are made to point to a hook. Nothing outside that library changes, so another copy of ZeroMQ or ps-lite in the
// same process keeps its own.
#pragma once

#include <cstddef>
#include <vector>

namespace breakdown {

struct Hook {
  const char* symbol;  // mangled
  void* replacement;
  void** original;  // where the hook finds the function that it replaced
};

// A set of hooks that make sense only together: installed all, or none.
struct Group {
  const char* name;
  const Hook* hooks;
  size_t count;
};

class Library {
 public:
  // The first loaded object whose path contains `part`; `found()` is false when there is none.
  explicit Library(const char* part);
  bool found() const { return base_ != nullptr; }
  const char* path() const { return path_; }

  // Where a function is that this library defines or calls; nullptr when it does neither.
  void* address_of(const char* symbol) const;

  // Null when all were installed, else the symbol that is missing or is never called through a slot.
  const char* install(const Group& group) const;

 private:
  size_t index_of(const char* symbol) const;
  std::vector<void**> slots_of(size_t symbol) const;

  const char* path_ = "";
  char* base_ = nullptr;
  char* read_only_ = nullptr;  // the part that is protected after relocation
  size_t read_only_size_ = 0;
  const void *symbols_ = nullptr, *calls_ = nullptr, *pointers_ = nullptr;
  const char* strings_ = nullptr;
  size_t calls_size_ = 0, pointers_size_ = 0;
  const unsigned* hash_ = nullptr;
};

}  // namespace breakdown
