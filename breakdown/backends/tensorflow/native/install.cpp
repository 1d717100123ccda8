// Loaded by ctypes into a process once TensorFlow is imported: redirects the calls of TensorFlow's own libraries to
// the hooks, and starts to record. It refuses another version than the one that the hooks were written for.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <string>

#include "file.h"
#include "hooks.h"

namespace breakdown {

void note_traffic();

Kinds kinds;

void give_up(const char* what, const char* why) {
  std::string said = std::string("the native recorder leaves out ") + what + ": " + why;
  fprintf(stderr, "breakdown: %s.\n", said.c_str());
  note("warning", quoted(said).c_str());
}

void name_thread() {
  static thread_local char name[16];
  if (name[0] != 0) return;
  if (pthread_getname_np(pthread_self(), name, sizeof name) != 0 || name[0] == 0) strcpy(name, "thread");
  call_thread(name);
}

namespace {

constexpr const char* VERSION = "2.21.0";
constexpr const char *FRAMEWORK = "libtensorflow_framework.so", *MAIN = "libtensorflow_cc.so";

void install(const char* library, const Group& group) {
  Library found(library);
  const char* missing = found.found() ? found.install(group) : "the library";
  if (missing != nullptr) give_up(group.name, (std::string("not found in ") + library + ": " + missing).c_str());
}

}  // namespace

}  // namespace breakdown

using namespace breakdown;

extern "C" {

// `version`: of TensorFlow. `role`: -1 where it is not known yet. 0 when recording has started. Called once, before any server
// of TensorFlow is made.
__attribute__((visibility("default"))) int breakdown_install(const char* version, const char* folder, int64_t run, int64_t role, int64_t rank) {
  if (role >= 0) identify(static_cast<Role>(role), rank);
  if (recording() || !start_recording(folder, run)) return 1;
  note("native", "\"tensorflow\"");
  if (strcmp(version, VERSION) != 0) {
    give_up("everything", (std::string("TensorFlow's version is ") + version + ", not " + VERSION).c_str());
    return 1;
  }
  kinds = {intern("kernel"), intern("start"), intern("done"), intern("other"), intern("ask"),
           intern("take"), intern("encode"), intern("decode"), intern("run"), intern("partitions"),
           intern("drive"), intern("request"), intern("serve"), intern("wait")};
  Library framework(FRAMEWORK);
  bool sound = framework.found() && find_message_functions(framework) && find_graph_functions(framework) && find_eager_functions(framework);
  if (!sound) {
    give_up("everything", "TensorFlow's library lacks functions that it is expected to have");
    return 1;
  }
  for (const Group* group : {&ACTIVITY, &SOCKETS, &GRAPHS, &TENSORS, &MASTER, &EAGER, &WAITS}) install(MAIN, *group);
  install(FRAMEWORK, GRAPHS);
  for (const Group* group : {&OPERATIONS, &NUMBERS, &INPUT_RUNS}) install(FRAMEWORK, *group);
  for (const Group* group : {&INPUT_RUNS, &OTHER_INPUT_RUNS}) install(MAIN, *group);
  at_end([] {
    note_traffic();
    note_input();
  });
  set_activity(true);
  return 0;
}

// Who this process turned out to be. One that never does leaves no file.
__attribute__((visibility("default"))) void breakdown_identify(int64_t role, int64_t rank) { identify(static_cast<Role>(role), rank); }

// Whether what TensorFlow's threads do is recorded from here on; messages always are.
__attribute__((visibility("default"))) void breakdown_activity(int on) { set_activity(on != 0); }

// Operations have processor time from here on: that of the thread that runs them, which is all of it where each has one thread.
__attribute__((visibility("default"))) void breakdown_measure_cpu_time() { measure_time(); }

}  // extern "C"
