// Remote eager execution, as ParameterServerStrategy's coordinator uses it: what a process asks others for one by one, who there
// does it, and who waits for it. Which operations a function runs for that, and for which step, rows of operations tell.
#include <mutex>
#include <set>
#include <string_view>

#include "file.h"
#include "hooks.h"

namespace breakdown {

namespace {

constexpr const char *ENQUEUE = "Enqueue", *STREAMING = "StreamingEnqueue", *COMPONENT = "RunComponentFunction";
constexpr const char* REQUEST_OF_COMPONENT = "RunComponentFunctionRequest";

// EnqueueRequest's field, and RunComponentFunctionRequest's; those of an Operation, of its inputs, and of its attributes.
constexpr uint32_t QUEUE = 3, OPERATION = 2;
constexpr uint32_t OPERATION_ID = 1, OPERATION_NAME = 2, OPERATION_ATTRIBUTE = 5, OPERATION_STEP = 8, OPERATION_INPUT = 10;
constexpr uint32_t INPUT_HANDLE = 1, HANDLE_OPERATION = 1;
constexpr uint32_t ATTRIBUTE_NAME = 1, ATTRIBUTE_VALUE = 2, VALUE_TEXT = 2;

// What an item of the queue can be, by its field in QueueItem. The number of each is its field 1.
constexpr const char* ITEMS[] = {"", "release", "operation", "tensor", "function", "cleanup", "sync", "packed", "forget"};

void* (*real_write)(void*, const void*, void*);
void* (*real_enqueue)(void*, void*, void*, const void*, void*, uint64_t);
void (*real_component)(void*, void*, const void*, void*, WhenDone);
void* (*real_wait)(void*, void*, void*);
void* (*real_add)(void*, void*, void*);
std::string_view (*type_of)(const void*);

void tell(int64_t kind, const Asked& asked, int64_t start_ns) {
  raw_span(kind, intern(asked.what.data(), asked.what.size()), asked.number, start_ns, now_ns());
}

// A variable is made here: by which operation, and what the program calls it.
void tell_variable(const std::string& operation) {
  std::string name;
  each_text(operation, [&](uint32_t field, const std::string& text) {
    if (field != OPERATION_ATTRIBUTE || text_field(text.data(), text.size(), ATTRIBUTE_NAME) != "debug_name") return;
    std::string value = text_field(text.data(), text.size(), ATTRIBUTE_VALUE);
    name = text_field(value.data(), value.size(), VALUE_TEXT);
  });
  int64_t number = integer_field(operation.data(), operation.size(), OPERATION_ID);
  if (!name.empty()) note("variable", ("[" + std::to_string(number) + ", " + quoted(name) + "]").c_str());
}

// Which operations made what a function is given, once of each function.
void tell_arguments(const std::string& function, const std::string& operation) {
  static std::mutex one;
  static std::set<std::string> told;
  {
    std::lock_guard<std::mutex> lock(one);
    if (!told.insert(function).second) return;
  }
  std::string arguments;
  each_text(operation, [&](uint32_t field, const std::string& text) {
    if (field != OPERATION_INPUT) return;
    std::string handle = text_field(text.data(), text.size(), INPUT_HANDLE);
    int64_t number = integer_field(handle.data(), handle.size(), HANDLE_OPERATION);
    arguments += (arguments.empty() ? "" : ", ") + std::to_string(number);
  });
  note("arguments", ("[" + quoted(function) + ", [" + arguments + "]]").c_str());
}

// Every request passes here in the thread that makes it.
void* write(void* status, const void* message, void* bytes) {
  if (!recording()) return real_write(status, message, bytes);
  int64_t start_ns = now_ns();
  void* result = real_write(status, message, bytes);
  std::string_view type = type_of(message), name = type.substr(type.rfind('.') + 1);
  if (name == REQUEST_OF_COMPONENT) tell(kinds.request, eager_request(COMPONENT, serialised(message)), start_ns);
  else if (name == "EnqueueRequest") tell(kinds.request, eager_request(ENQUEUE, serialised(message)), start_ns);
  return result;
}

void* enqueue(void* status, void* service, void* options, const void* request, void* response, uint64_t stream) {
  if (!recording()) return real_enqueue(status, service, options, request, response, stream);
  int64_t start_ns = now_ns();
  std::string text = serialised(request);
  Asked asked = eager_request(ENQUEUE, text);
  uint32_t field = QUEUE;
  std::string item = beginning_of_field(text.data(), text.size(), &field);
  std::string operation = text_field(item.data(), item.size(), OPERATION);
  if (text_field(operation.data(), operation.size(), OPERATION_NAME) == "VarHandleOp") tell_variable(operation);
  void* result = real_enqueue(status, service, options, request, response, stream);
  tell(kinds.serve, asked, start_ns);
  return result;
}

void component(void* service, void* options, const void* request, void* response, WhenDone done) {
  if (!recording()) return real_component(service, options, request, response, std::move(done));
  int64_t start_ns = now_ns();
  std::string text = serialised(request);
  Asked asked = eager_request(COMPONENT, text);
  std::string operation = text_field(text.data(), text.size(), OPERATION);
  std::string function = text_field(operation.data(), operation.size(), OPERATION_NAME);
  tell_arguments(function, operation);
  asked.what += " " + function;
  int64_t number = asked.number;
  real_component(service, options, request, response, [number, done = std::move(done)](const Status& status) {
    int64_t of_number = number, done_ns = now_ns();  // what holds this function may be gone after the call
    done(status);
    if (recording() && activity_wanted()) raw_span(kinds.other, intern("ComponentDone"), of_number, done_ns, now_ns());
  });
  tell(kinds.serve, asked, start_ns);
}

// A thread has an operation carried out, here or elsewhere, and sleeps until that is done.
template <class Real>
void* timed(Real real, void* status, void* executor, void* node) {
  if (!recording()) return real(status, executor, node);
  int64_t start_ns = now_ns();
  void* result = real(status, executor, node);
  raw_span(kinds.wait, 0, 0, start_ns, now_ns());
  return result;
}

void* wait(void* status, void* executor, void* node) { return timed(real_wait, status, executor, node); }
void* add(void* status, void* executor, void* node) { return timed(real_add, status, executor, node); }

const Hook HOOKS[] = {
    {"_ZN3tsl21GrpcMaybeUnparseProtoERKN6google8protobuf7MessageEPN4grpc10ByteBufferE", reinterpret_cast<void*>(write),
     reinterpret_cast<void**>(&real_write)},
    {"_ZN10tensorflow5eager16EagerServiceImpl7EnqueueEPN3tsl11CallOptionsEPKNS0_14EnqueueRequestEPNS0_15EnqueueResponseEm",
     reinterpret_cast<void*>(enqueue), reinterpret_cast<void**>(&real_enqueue)},
    {"_ZN10tensorflow5eager16EagerServiceImpl20RunComponentFunctionEPN3tsl11CallOptionsEPKNS0_27RunComponentFunctionRequestEPNS0_28RunComponentFunctionResponseESt8functionIFvRKN4absl12lts_202508146StatusEEE",
     reinterpret_cast<void*>(component), reinterpret_cast<void**>(&real_component)},
};
const Hook WAIT_HOOKS[] = {
    {"_ZN10tensorflow13EagerExecutor11SyncExecuteEPNS_9EagerNodeE", reinterpret_cast<void*>(wait),
     reinterpret_cast<void**>(&real_wait)},
    {"_ZN10tensorflow13EagerExecutor12AddOrExecuteESt10unique_ptrINS_9EagerNodeESt14default_deleteIS2_EE",
     reinterpret_cast<void*>(add), reinterpret_cast<void**>(&real_add)},
};

}  // namespace

const Group EAGER{"eager execution", HOOKS, sizeof HOOKS / sizeof *HOOKS};
const Group WAITS{"waiting for eager execution", WAIT_HOOKS, sizeof WAIT_HOOKS / sizeof *WAIT_HOOKS};

bool find_eager_functions(const Library& framework) {
  type_of = reinterpret_cast<std::string_view (*)(const void*)>(framework.address_of("_ZNK6google8protobuf11MessageLite11GetTypeNameEv"));
  return type_of != nullptr;
}

bool is_eager(const std::string& method) { return method == ENQUEUE || method == STREAMING || method == COMPONENT; }

Asked eager_request(const std::string& method, const std::string& message) {
  bool whole_function = method == COMPONENT;
  uint32_t field = whole_function ? OPERATION : QUEUE;
  std::string item = beginning_of_field(message.data(), message.size(), &field);
  if (whole_function) return {COMPONENT, integer_field(item.data(), item.size(), OPERATION_STEP)};
  uint32_t kind = 0;
  std::string content = beginning_of_field(item.data(), item.size(), &kind);
  if (kind >= sizeof ITEMS / sizeof *ITEMS) kind = 0;
  return {std::string(ENQUEUE) + " " + ITEMS[kind], integer_field(content.data(), content.size(), OPERATION_ID)};
}

}  // namespace breakdown

extern "C" {

// The calling thread begins step `number` of worker `worker`, and is the one that drives it.
__attribute__((visibility("default"))) void breakdown_drive(int64_t number, int64_t worker) {
  using namespace breakdown;
  if (!recording()) return;
  int64_t now = now_ns();
  raw_span(kinds.drive, 0, number, now, now, worker);
}

}  // extern "C"
