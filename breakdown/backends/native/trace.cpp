#include "trace.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <vector>

#include "file.h"
#include "sampled.h"
#include "signals.h"

namespace breakdown {

namespace {

constexpr uint64_t RING_RECORDS = 1 << 16;  // 6 MB a thread, touched as it is used: over 100 000 rows/s between two flushes
constexpr uint64_t WAKE_RECORDS = RING_RECORDS / 4;  // so many in a ring wake the flusher: one that fills fast is emptied in time
constexpr int64_t FLUSH_INTERVAL_NS = 500000000;
constexpr size_t MOST_NAMES = 1 << 14;

struct Record {
  int64_t kind;
  int64_t row[11];
};

std::atomic<bool> recording_on{false};
std::atomic<int64_t> step_now{NO_STEP};
std::atomic<int64_t> own_code{-1};

}  // namespace

// One writer (its thread), one reader (the flusher).
struct Ring {
  Record* records = nullptr;
  int id = 0;
  char name[48] = {};
  Ring* next = nullptr;
  bool announced = false;  // flusher only
  std::atomic<bool> over{false};
  alignas(64) std::atomic<uint64_t> head{0};
  alignas(64) std::atomic<uint64_t> tail{0};
  std::atomic<uint64_t> lost{0};
};

namespace {

// Rings are only ever added at the front; the list is never shortened, ended rings are used again by new threads.
std::atomic<Ring*> rings{nullptr};
pthread_mutex_t cold = PTHREAD_MUTEX_INITIALIZER;  // new rings, names, notes: never taken for a row
std::atomic<int> ring_count{0};
pthread_key_t thread_end;
thread_local Ring* own_ring = nullptr;
thread_local const char* own_name = nullptr;

struct Name {
  uint64_t hash;
  uint32_t length;
  int64_t id;
  char text[1];
};
std::atomic<Name*> name_table[2 * MOST_NAMES];
std::vector<Name*>* names_in_order = nullptr;  // guarded by `cold`
std::vector<std::string>* notes_waiting = nullptr;

TraceFile* file = nullptr;  // used by the flusher only, once it runs
pthread_t flusher;
sem_t wake;  // of the flusher, before its time
std::atomic<bool> stopping{false};
std::atomic<bool> flusher_runs{false};
void (*last_words)() = nullptr;

void wake_flusher() { sem_post(&wake); }  // also from a signal's handler

bool has_base(const Ring& ring, const char* base) {
  size_t length = strlen(base);
  return strncmp(ring.name, base, length) == 0 && (ring.name[length] == 0 || ring.name[length] == '#');
}

// The ring of a thread of this name that has ended: MXNet ends and starts its threads at each fork, TensorFlow's master has a new
// thread for each step. What is still to be written of the ended one stays in front.
Ring* used_ring(const char* wanted) {
  for (Ring* ring = rings.load(); ring != nullptr; ring = ring->next) {
    if (ring->over.load(std::memory_order_relaxed) && has_base(*ring, wanted) && ring->over.exchange(false)) return ring;
  }
  return nullptr;
}

Ring* fresh_ring(const char* wanted) {
  Ring* ring = new (std::nothrow) Ring;
  if (ring == nullptr) return nullptr;
  void* memory = mmap(nullptr, RING_RECORDS * sizeof(Record), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    delete ring;
    return nullptr;
  }
  ring->records = static_cast<Record*>(memory);
  int same = 1;
  for (Ring* other = rings.load(); other != nullptr; other = other->next) same += has_base(*other, wanted);
  snprintf(ring->name, sizeof ring->name, same == 1 ? "%s" : "%s#%d", wanted, same);
  ring->id = ++ring_count;
  ring->next = rings.load();
  rings.store(ring, std::memory_order_release);
  return ring;
}

Ring* new_ring(const char* wanted) {
  pthread_mutex_lock(&cold);
  Ring* ring = used_ring(wanted);
  if (ring == nullptr) ring = fresh_ring(wanted);
  pthread_mutex_unlock(&cold);
  if (ring != nullptr) show_to_sampler(ring->name);
  return ring;
}

bool is_main_thread() { return syscall(SYS_gettid) == getpid(); }

Ring* ring_of_thread() {
  if (__builtin_expect(own_ring == nullptr, 0)) {
    own_ring = new_ring(is_main_thread() ? "main" : own_name != nullptr ? own_name : "thread");
    if (own_ring != nullptr) pthread_setspecific(thread_end, own_ring);
  }
  return own_ring;
}

void mark_over(void* ring) {
  own_ring = nullptr;  // what the thread still does as it ends has another
  static_cast<Ring*>(ring)->over.store(true);
}

inline void append(Ring* ring, Kind kind, const void* row, size_t size) {
  if (__builtin_expect(ring == nullptr, 0)) return;
  uint64_t head = ring->head.load(std::memory_order_relaxed);
  if (__builtin_expect(head - ring->tail.load(std::memory_order_acquire) >= RING_RECORDS, 0)) {
    ring->lost.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  Record& record = ring->records[head % RING_RECORDS];
  record.kind = kind;
  memcpy(record.row, row, size);
  ring->head.store(head + 1, std::memory_order_release);
  if (__builtin_expect(head % WAKE_RECORDS == WAKE_RECORDS - 1, 0)) wake_flusher();
}

// Eight bytes at a time: an operation's name has some sixty.
uint64_t hash_of(const char* text, size_t length) {
  uint64_t hash = length;
  for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
    uint64_t word = 0;
    memcpy(&word, text + at, length - at < sizeof word ? length - at : sizeof word);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
    hash ^= hash >> 32;
  }
  return hash;
}

// The id of a known text, or -1 and the free place where it belongs.
int64_t find_name(const char* text, size_t length, uint64_t hash, size_t* place) {
  for (size_t at = hash % (2 * MOST_NAMES);; at = (at + 1) % (2 * MOST_NAMES)) {
    Name* name = name_table[at].load(std::memory_order_acquire);
    if (name == nullptr) {
      *place = at;
      return -1;
    }
    if (name->hash == hash && name->length == length && memcmp(name->text, text, length) == 0) return name->id;
  }
}

// What a span costs the thread that records it, its two clock readings included: median of rounds.
double cost_ns_per_span() {
  constexpr int ROUNDS = 9, SPANS = 500;
  Ring scratch;
  scratch.records = static_cast<Record*>(
      mmap(nullptr, RING_RECORDS * sizeof(Record), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (scratch.records == MAP_FAILED) return 0.0;
  double rounds[ROUNDS];
  for (double& round : rounds) {
    int64_t begin = now_ns();
    for (int i = 0; i < SPANS; ++i) {
      int64_t start = now_ns();
      SpanRow row{OTHER, 0, 0, i, 0, start, now_ns(), 0, 0, NOT_MEASURED};
      append(&scratch, SPAN, &row, sizeof row);
    }
    round = double(now_ns() - begin) / SPANS;
  }
  munmap(scratch.records, RING_RECORDS * sizeof(Record));
  for (int i = 1; i < ROUNDS; ++i) {
    for (int k = i; k > 0 && rounds[k - 1] > rounds[k]; --k) std::swap(rounds[k - 1], rounds[k]);
  }
  return rounds[ROUNDS / 2];
}

// Rows are taken first, names after them: whatever a taken row uses was interned before it was recorded.
void flush() {
  struct Taken {
    Ring* ring;
    uint64_t from, to;
  };
  std::vector<Taken> taken;
  for (Ring* ring = rings.load(std::memory_order_acquire); ring != nullptr; ring = ring->next) {
    taken.push_back({ring, ring->tail.load(std::memory_order_relaxed), ring->head.load(std::memory_order_acquire)});
  }
  std::vector<std::string> texts, notes;
  static auto& rows = *new std::array<std::vector<int64_t>, 3>;  // kept for their memory; the last flush comes after all destructors
  static size_t names_written = 0;
  pthread_mutex_lock(&cold);
  for (; names_written < names_in_order->size(); ++names_written) {
    Name* name = (*names_in_order)[names_written];
    texts.emplace_back(name->text, name->length);
  }
  notes.swap(*notes_waiting);
  pthread_mutex_unlock(&cold);
  file->names(texts);
  for (const std::string& value : notes) file->text(NOTE, 0, value);
  for (const Taken& part : taken) {
    if (part.from == part.to) continue;
    if (!part.ring->announced) file->text(THREAD, part.ring->id, part.ring->name);
    part.ring->announced = true;
    for (std::vector<int64_t>& list : rows) list.clear();
    for (uint64_t at = part.from; at < part.to; ++at) {
      const Record& record = part.ring->records[at % RING_RECORDS];
      std::vector<int64_t>& list = rows[record.kind - SPAN];
      list.insert(list.end(), record.row, record.row + columns_of(static_cast<Kind>(record.kind)));
    }
    part.ring->tail.store(part.to, std::memory_order_release);
    for (int kind = 0; kind < 3; ++kind) file->rows(static_cast<Kind>(SPAN + kind), part.ring->id, rows[kind]);
  }
}

// The last words are those of a process that may go on: calls that were recording when the end came are let out first.
void finish() {
  constexpr useconds_t WAY_OUT_US = 2000;
  recording_on.store(false);
  usleep(WAY_OUT_US);
  if (last_words != nullptr) last_words();
  flush();
  uint64_t lost = 0;
  for (Ring* ring = rings.load(); ring != nullptr; ring = ring->next) lost += ring->lost.load();
  file->finish(lost);
}

void* flush_until_stopped(void*) {
  call_thread("recorder");
  file->set_cost(cost_ns_per_span());
  while (!stopping.load() && ending_signal() == 0) {
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += FLUSH_INTERVAL_NS;
    until.tv_sec += until.tv_nsec / 1000000000l;
    until.tv_nsec %= 1000000000l;
    sem_timedwait(&wake, &until);
    if (!stopping.load() && ending_signal() == 0) flush();
  }
  finish();
  if (ending_signal() != 0) end_by_signal();
  return nullptr;
}

void stop_in_child() {
  recording_on.store(false);
  flusher_runs.store(false);
  leave_signals_alone();
}

__attribute__((destructor)) void stop_recording() {
  if (!flusher_runs.exchange(false)) return;
  stopping.store(true);
  wake_flusher();
  pthread_join(flusher, nullptr);
}

}  // namespace

bool recording() { return recording_on.load(std::memory_order_relaxed); }

int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

void span(const SpanRow& row) { append(ring_of_thread(), SPAN, &row, sizeof row); }
void sent(const HalfRow& row) { append(ring_of_thread(), SENT, &row, sizeof row); }
void received(const HalfRow& row) { append(ring_of_thread(), RECEIVED, &row, sizeof row); }

Ring* lane(const char* name) { return new_ring(name); }
void span_on(Ring* ring, const SpanRow& row) { append(ring, SPAN, &row, sizeof row); }

void sent_on(Ring* ring, const HalfRow& row) { append(ring, SENT, &row, sizeof row); }
void received_on(Ring* ring, const HalfRow& row) { append(ring, RECEIVED, &row, sizeof row); }

void call_thread(const char* name) {
  if (own_name == nullptr) own_name = name;
}

int64_t intern(const char* text) { return intern(text, strlen(text)); }

int64_t intern(const char* text, size_t length) {
  if (length == 0) return 0;
  uint64_t hash = hash_of(text, length);
  size_t place;
  int64_t id = find_name(text, length, hash, &place);
  if (__builtin_expect(id >= 0, 1)) return id;
  pthread_mutex_lock(&cold);
  id = find_name(text, length, hash, &place);
  if (id < 0 && names_in_order->size() < MOST_NAMES) {
    Name* name = static_cast<Name*>(malloc(sizeof(Name) + length));
    if (name != nullptr) {
      name->hash = hash;
      name->length = static_cast<uint32_t>(length);
      memcpy(name->text, text, length);
      id = name->id = static_cast<int64_t>(names_in_order->size()) + 1;
      names_in_order->push_back(name);
      name_table[place].store(name, std::memory_order_release);
    }
  }
  pthread_mutex_unlock(&cold);
  return id < 0 ? 0 : id;
}

void note(const char* name, const char* json) {
  std::string value = "[" + quoted(name) + ", " + json + "]";
  pthread_mutex_lock(&cold);
  if (notes_waiting != nullptr) notes_waiting->push_back(value);
  pthread_mutex_unlock(&cold);
}

void at_end(void (*write)()) { last_words = write; }

void identify(Role role, int64_t rank) { own_code.store(role << 16 | rank); }
bool identified() { return own_code.load(std::memory_order_relaxed) >= 0; }
int64_t node_code() { return own_code.load(std::memory_order_relaxed); }
int64_t current_step() { return step_now.load(std::memory_order_relaxed); }

bool start_recording(const char* folder, int64_t run) {
  file = new TraceFile(folder, run, [] { return own_code.load(); });
  if (!file->open()) return false;
  names_in_order = new std::vector<Name*>;
  notes_waiting = new std::vector<std::string>;
  sem_init(&wake, 0, 0);
  pthread_key_create(&thread_end, mark_over);
  pthread_atfork(nullptr, nullptr, stop_in_child);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // the program's signal handlers must not run on the flusher
  bool started = pthread_create(&flusher, nullptr, flush_until_stopped, nullptr) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  flusher_runs.store(started);
  recording_on.store(started);
  if (started) end_well_on_signals(wake_flusher);
  return started;
}

}  // namespace breakdown

// For the program that is traced: ctypes.CDLL(None).breakdown_step(ctypes.c_int64(step)).
extern "C" __attribute__((visibility("default"))) void breakdown_step(int64_t step) { breakdown::step_now.store(step); }

// Nothing is recorded until the next call with 0. Only at a moment at which no work and no message is under way.
extern "C" __attribute__((visibility("default"))) void breakdown_pause(int paused) {
  if (breakdown::flusher_runs) breakdown::recording_on.store(paused == 0);
}

// Before a program leaves without its exit handlers (`os._exit`): writes all that was recorded, and closes the file.
extern "C" __attribute__((visibility("default"))) void breakdown_stop() { breakdown::stop_recording(); }
