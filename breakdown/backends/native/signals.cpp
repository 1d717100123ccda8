#include "signals.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <signal.h>
#include <unistd.h>

namespace breakdown {

namespace {

constexpr int SIGNALS[] = {SIGTERM, SIGINT, SIGHUP};
std::atomic<int> asked_by{0};
std::atomic<void (*)()> tell_of_signal{nullptr};

void note_signal(int signal) {
  int error = errno;
  asked_by.store(signal);
  tell_of_signal.load()();
  errno = error;
}

}  // namespace

void end_well_on_signals(void (*told)()) {
  tell_of_signal.store(told);
  for (int signal : SIGNALS) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    if ((before.sa_flags & SA_SIGINFO) != 0 || before.sa_handler != SIG_DFL) continue;
    struct sigaction ours {};
    ours.sa_handler = note_signal;
    ours.sa_flags = SA_RESTART;
    sigaction(signal, &ours, nullptr);
  }
}

int ending_signal() { return asked_by.load(); }

void end_by_signal() {
  signal(asked_by, SIG_DFL);
  sigset_t unblocked;
  sigemptyset(&unblocked);
  sigaddset(&unblocked, asked_by);
  pthread_sigmask(SIG_UNBLOCK, &unblocked, nullptr);
  kill(getpid(), asked_by);
}

void leave_signals_alone() {
  for (int signal : SIGNALS) {
    struct sigaction now {};
    sigaction(signal, nullptr, &now);
    if ((now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == note_signal) ::signal(signal, SIG_DFL);
  }
}

}  // namespace breakdown
