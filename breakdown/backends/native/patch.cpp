#include "patch.h"

#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace breakdown {

namespace {

uint32_t gnu_hash(const char* text) {
  uint32_t hash = 5381;
  for (; *text != 0; ++text) hash = hash * 33 + static_cast<unsigned char>(*text);
  return hash;
}

}  // namespace

Library::Library(const char* part) {
  struct Search {
    const char* part;
    Library* library;
  } search{part, this};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        Search* search = static_cast<Search*>(data);
        if (info->dlpi_name == nullptr || strstr(info->dlpi_name, search->part) == nullptr) return 0;
        Library& library = *search->library;
        library.path_ = info->dlpi_name;
        library.base_ = reinterpret_cast<char*>(info->dlpi_addr);
        const ElfW(Dyn)* entry = nullptr;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = info->dlpi_phdr[i];
          char* start = library.base_ + header.p_vaddr;
          if (header.p_type == PT_DYNAMIC) entry = reinterpret_cast<const ElfW(Dyn)*>(start);
          if (header.p_type == PT_GNU_RELRO) {
            library.read_only_ = start;
            library.read_only_size_ = header.p_memsz;
          }
        }
        for (; entry != nullptr && entry->d_tag != DT_NULL; ++entry) {
          const void* address = reinterpret_cast<const void*>(entry->d_un.d_ptr);
          switch (entry->d_tag) {
            case DT_SYMTAB: library.symbols_ = address; break;
            case DT_STRTAB: library.strings_ = static_cast<const char*>(address); break;
            case DT_JMPREL: library.calls_ = address; break;
            case DT_PLTRELSZ: library.calls_size_ = entry->d_un.d_val; break;
            case DT_RELA: library.pointers_ = address; break;
            case DT_RELASZ: library.pointers_size_ = entry->d_un.d_val; break;
            case DT_GNU_HASH: library.hash_ = static_cast<const unsigned*>(address); break;
            default: break;
          }
        }
        return 1;
      },
      &search);
  if (symbols_ == nullptr || strings_ == nullptr || hash_ == nullptr) base_ = nullptr;
}

size_t Library::index_of(const char* symbol) const {
  const ElfW(Sym)* symbols = static_cast<const ElfW(Sym)*>(symbols_);
  uint32_t buckets = hash_[0], first = hash_[1], words = hash_[2];
  const uint32_t* bucket = hash_ + 4 + words * (sizeof(ElfW(Addr)) / 4);
  const uint32_t* chain = bucket + buckets;
  uint32_t hash = gnu_hash(symbol);
  for (uint32_t at = bucket[hash % buckets]; at >= first; ++at) {
    uint32_t entry = chain[at - first];
    if ((entry | 1) == (hash | 1) && strcmp(strings_ + symbols[at].st_name, symbol) == 0) return at;
    if (entry & 1) break;
  }
  // What a library takes from others stands before the hashed part of its table.
  for (uint32_t at = 1; at < first; ++at) {
    if (strcmp(strings_ + symbols[at].st_name, symbol) == 0) return at;
  }
  return 0;
}

void* Library::address_of(const char* symbol) const {
  size_t index = index_of(symbol);
  if (index == 0) return nullptr;
  uintptr_t offset = static_cast<const ElfW(Sym)*>(symbols_)[index].st_value;
  return offset != 0 ? base_ + offset : dlsym(RTLD_DEFAULT, symbol);
}

std::vector<void**> Library::slots_of(size_t symbol) const {
  std::vector<void**> found;
  auto scan = [&](const void* table, size_t size) {
    const ElfW(Rela)* relocations = static_cast<const ElfW(Rela)*>(table);
    for (size_t i = 0; i < size / sizeof(ElfW(Rela)); ++i) {
      const ElfW(Rela)& relocation = relocations[i];
      uint64_t type = ELF64_R_TYPE(relocation.r_info);
      if (ELF64_R_SYM(relocation.r_info) != symbol || relocation.r_addend != 0) continue;
      if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && type != R_X86_64_64) continue;
      found.push_back(reinterpret_cast<void**>(base_ + relocation.r_offset));
    }
  };
  scan(calls_, calls_size_);
  scan(pointers_, pointers_size_);
  return found;
}

const char* Library::install(const Group& group) const {
  std::vector<std::vector<void**>> slots;
  for (size_t i = 0; i < group.count; ++i) {
    const Hook& hook = group.hooks[i];
    *hook.original = address_of(hook.symbol);
    slots.push_back(slots_of(index_of(hook.symbol)));
    if (*hook.original == nullptr || slots[i].empty()) return hook.symbol;
  }
  uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (size_t i = 0; i < group.count; ++i) {
    for (void** slot : slots[i]) {
      char* place = reinterpret_cast<char*>(slot);
      bool read_only = place >= read_only_ && place < read_only_ + read_only_size_;
      void* start = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(place) & ~(page - 1));
      if (read_only && mprotect(start, page, PROT_READ | PROT_WRITE) != 0) return group.hooks[i].symbol;
      __atomic_store_n(slot, group.hooks[i].replacement, __ATOMIC_RELEASE);
      if (read_only) mprotect(start, page, PROT_READ);
    }
  }
  return nullptr;
}

}  // namespace breakdown
