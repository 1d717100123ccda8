// Python knows a thread once it has a thread state. One can be made without Python's lock, so no thread waits here for another,
// and it changes nothing for a thread that runs no Python: if it ever does, Python finds this state and uses it.
#include "sampled.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

#include "file.h"
#include "trace.h"

namespace breakdown {

namespace {

int (*is_up)();
void* (*interpreter)();
void* (*state_of_thread)();
void* (*new_state)(void*);
void (*delete_state)(void*);
pthread_key_t own_state;

template <class Function>
bool find(Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  return function != nullptr;
}

// A state that outlives its thread would be an error to the sampler. After Python's end the states are gone already.
void forget(void* state) {
  if (is_up() && state_of_thread() == state) delete_state(state);
}

bool can_be_shown() {
  static const bool can = find(is_up, "Py_IsInitialized") &&
                          find(interpreter, "PyInterpreterState_Main") && find(state_of_thread, "PyGILState_GetThisThreadState") &&
                          find(new_state, "PyThreadState_New") && find(delete_state, "PyThreadState_Delete") &&
                          pthread_key_create(&own_state, forget) == 0;
  return can;
}

}  // namespace

void show_to_sampler(const char* ring) {
  static const bool sampled = getenv("BREAKDOWN_SAMPLED") != nullptr;
  if (!sampled) return;
  note("thread_id", ("[" + quoted(ring) + ", " + std::to_string(syscall(SYS_gettid)) + "]").c_str());
  if (!can_be_shown() || !is_up() || state_of_thread() != nullptr) return;
  pthread_setspecific(own_state, new_state(interpreter()));
}

}  // namespace breakdown
