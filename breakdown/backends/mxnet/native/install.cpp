// Loaded with LD_PRELOAD into the roles of an MXNet job. Waits, doing nothing, until the process loads libmxnet.so; then, if
// it is the version that the hooks were written for, redirects that library's own calls to them and starts to record.
//
// BREAKDOWN_TRACE_DIR  the folder for `<role>-<rank>.native.trace`; without it nothing is done
// BREAKDOWN_RUN        the number of the repetition, 0 by default
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "file.h"
#include "hooks.h"

namespace breakdown {

void note_traffic();
void write_unseen();
bool find_part_size(const Library& library);
int64_t operations_unseen();

Ops ops;

namespace {

bool server = false;

void install_group(const Library& library, const Group& group) {
  const char* missing = library.found() ? library.install(group) : "the library";
  if (missing != nullptr) give_up(group.name, (std::string("not found: ") + missing).c_str());
}

void install() {
  const char* folder = getenv("BREAKDOWN_TRACE_DIR");
  const char* run = getenv("BREAKDOWN_RUN");
  const char* role = getenv("DMLC_ROLE");
  if (folder == nullptr || recording()) return;
  server = role != nullptr && strcmp(role, "server") == 0;
  Library mxnet("libmxnet.so");
  auto get_version = mxnet.found() ? reinterpret_cast<int (*)(int*)>(mxnet.address_of("MXGetVersion")) : nullptr;
  int version = 0;
  if (get_version != nullptr) get_version(&version);
  if (!start_recording(folder, run != nullptr ? atoll(run) : 0)) return;
  if (role == nullptr) identify(WORKER, 0);  // a single node
  if (version != BREAKDOWN_MXNET_VERSION) return give_up("everything", ("MXNet's version is " + std::to_string(version)).c_str());
  ops = {intern("queue"),  intern("hold"),     intern("block"),   intern("encode"),      intern("decode"),
         intern("sum"),    intern("update"),   intern("send"),    intern("handle"),      intern("await"),
         intern("callback"), intern("release"), intern("barrier"), intern("command"),    intern("python-lock"),
         intern("python-lock-wait"), intern("ImperativeBulk")};
  install_group(mxnet, MESSAGES);
  if (find_part_size(mxnet)) install_group(mxnet, SOCKETS);
  install_group(mxnet, ENGINE);
  if (!server) install_group(mxnet, LAYERS);
  install_group(mxnet, WORKER_SIDE);
  if (server) {
    install_group(mxnet, SERVER_SIDE);
    install_group(Library("_ctypes."), PYTHON_LOCK);
  }
  at_end([] {
    write_unseen();
    note_traffic();
    if (operations_unseen() > 0) note("operations_unseen", std::to_string(operations_unseen()).c_str());
  });
}

}  // namespace

bool is_server() { return server; }

void give_up(const char* what, const char* why) {
  std::string said = std::string("the native recorder leaves out ") + what + ": " + why;
  fprintf(stderr, "breakdown: %s.\n", said.c_str());
  note("warning", quoted(said).c_str());
}

}  // namespace breakdown

// libmxnet.so calls this one through its PLT while it is initialised: the first moment at which all of it is in place. It would
// set a handler that logs a stack on a crash, which this still does.
extern "C" __attribute__((visibility("default"))) void breakdown_initialised(void* initializer) asm(
    "_ZN5mxnet18LibraryInitializer23install_signal_handlersEv");

extern "C" void breakdown_initialised(void* initializer) {
  breakdown::Library mxnet("libmxnet.so");
  void* real = mxnet.found() ? mxnet.address_of("_ZN5mxnet18LibraryInitializer23install_signal_handlersEv") : nullptr;
  if (real != nullptr) reinterpret_cast<void (*)(void*)>(real)(initializer);
  breakdown::install();
}
