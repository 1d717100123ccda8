#include "thread_time.h"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace breakdown {

namespace {

constexpr int NOT_OPENED = -1, NOT_THERE = -2;

// The calling thread's own file: ns run, ns runnable without running, times run. It is the program's process, which may have
// closed a file that it does not know, and given its number to another: so what is read must be these three numbers, and
// what is closed must still be the file that was opened.
class Schedstat {
 public:
  ~Schedstat() {
    if (file_ >= 0 && is_ours()) close(file_);
    file_ = NOT_THERE;  // for what this thread may record on its way out
  }

  int64_t runnable_ns() {
    if (file_ == NOT_OPENED) open_it();
    if (file_ < 0) return NOT_MEASURED;
    char text[80];
    ssize_t size = pread(file_, text, sizeof text - 1, 0);
    if (size > 0) {
      text[size] = 0;
      char *first, *second, *third;
      strtoll(text, &first, 10);
      long long runnable = strtoll(first, &second, 10), times = strtoll(second, &third, 10);
      bool numbers = first != text && second != first && third != second && *third == '\n';
      if (numbers && times > 0) return runnable;  // a thread that looks has run: with 0 the kernel does not count
    }
    file_ = NOT_THERE;
    return NOT_MEASURED;
  }

 private:
  void open_it() {
    file_ = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    struct stat found;
    if (file_ < 0 || fstat(file_, &found) != 0) {
      file_ = NOT_THERE;
      return;
    }
    device_ = found.st_dev;
    inode_ = found.st_ino;
  }

  bool is_ours() const {
    struct stat found;
    return fstat(file_, &found) == 0 && found.st_dev == device_ && found.st_ino == inode_;
  }

  int file_ = NOT_OPENED;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

thread_local Schedstat own_file;
thread_local int64_t runnable_read_at_ns = 0, near_read_at_ns = 0;
thread_local int64_t last_runnable_ns = NOT_MEASURED, last_cpu_ns = 0;

int64_t thread_cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

int64_t runnable_near(int64_t now) {
  if (now - runnable_read_at_ns >= READ_AFTER_NS) {
    runnable_read_at_ns = now;
    last_runnable_ns = own_file.runnable_ns();
  }
  return last_runnable_ns;
}

}  // namespace

ThreadTime thread_time(int64_t now) { return {thread_cpu_ns(), runnable_near(now)}; }

ThreadTime thread_time_near(int64_t now) {
  if (now - near_read_at_ns >= READ_AFTER_NS) {
    near_read_at_ns = now;
    last_cpu_ns = thread_cpu_ns();
  }
  return {last_cpu_ns + now - near_read_at_ns, runnable_near(now)};
}

ThreadTime operator-(const ThreadTime& end, const ThreadTime& begin) {
  bool known = end.runnable_ns != NOT_MEASURED && begin.runnable_ns != NOT_MEASURED;
  return {std::max<int64_t>(end.cpu_ns - begin.cpu_ns, 0), known ? end.runnable_ns - begin.runnable_ns : NOT_MEASURED};
}

}  // namespace breakdown
