// The graph of every executor, as it will be run: the dependencies between operations that the trace has by name only. Each is
// written once, as a note: a list of [name, type, inputs, tensor]; `tensor` is what a _Send or _Recv calls what it passes on, and
// the place of an _Arg among what a function is given.
#include "file.h"
#include "hooks.h"

namespace breakdown {

namespace {

constexpr uint32_t GRAPH_NODE = 1;                        // GraphDef's field
constexpr uint32_t NODE_NAME = 1, NODE_TYPE = 2, NODE_INPUT = 3, NODE_ATTRIBUTE = 5;  // NodeDef's
constexpr uint32_t ATTRIBUTE_NAME = 1, ATTRIBUTE_VALUE = 2, VALUE_TEXT = 2, VALUE_INTEGER = 3;  // of an entry; AttrValue's
constexpr size_t MOST_NODES = 20000;                      // of a graph; a larger one is not told
constexpr size_t ROOM_BYTES = 4096;                       // a GraphDef has 100 or so

void* (*real_new_executor)(void*, const void*, const void*, void*);
void (*make_definition)(void*, void*);
void (*end_definition)(void*);
void (*write_graph)(const void*, void*, bool, bool);

std::string node_of(const std::string& node) {
  std::string name, type, inputs, tensor;
  each_text(node, [&](uint32_t field, const std::string& text) {
    if (field == NODE_NAME) name = text;
    if (field == NODE_TYPE) type = text;
    if (field == NODE_INPUT) inputs += (inputs.empty() ? "" : ", ") + quoted(text);
    if (field != NODE_ATTRIBUTE) return;
    std::string attribute = text_field(text.data(), text.size(), ATTRIBUTE_NAME);
    std::string value = text_field(text.data(), text.size(), ATTRIBUTE_VALUE);
    if (attribute == "tensor_name") tensor = text_field(value.data(), value.size(), VALUE_TEXT);
    if (attribute == "index" && type == "_Arg") tensor = std::to_string(integer_field(value.data(), value.size(), VALUE_INTEGER));
  });
  return "[" + quoted(name) + ", " + quoted(type) + ", [" + inputs + "], " + quoted(tensor) + "]";
}

void tell(const void* graph) {
  alignas(64) char room[ROOM_BYTES] = {};
  make_definition(room, nullptr);
  write_graph(graph, room, false, false);
  std::string definition = serialised(room);
  end_definition(room);
  std::string nodes;
  size_t count = 0;
  bool sound = each_text(definition, [&](uint32_t field, const std::string& text) {
    if (field == GRAPH_NODE && ++count <= MOST_NODES) nodes += (nodes.empty() ? "" : ", ") + node_of(text);
  });
  if (!sound || count > MOST_NODES) return give_up("a graph", sound ? "it is too large" : "it cannot be read");
  note("graph", ("[" + nodes + "]").c_str());
}

void* new_executor(void* status, const void* parameters, const void* graph, void* executor) {
  if (recording()) tell(graph);
  return real_new_executor(status, parameters, graph, executor);
}

const Hook HOOKS[] = {
    {"_ZN10tensorflow16NewLocalExecutorERKNS_19LocalExecutorParamsERKNS_5GraphEPPNS_8ExecutorE",
     reinterpret_cast<void*>(new_executor), reinterpret_cast<void**>(&real_new_executor)},
};

template <class T>
bool find(const Library& library, const char* symbol, T* function) {
  *function = reinterpret_cast<T>(library.address_of(symbol));
  return *function != nullptr;
}

}  // namespace

const Group GRAPHS{"graphs", HOOKS, sizeof HOOKS / sizeof *HOOKS};

bool find_graph_functions(const Library& framework) {
  return find(framework, "_ZN10tensorflow8GraphDefC1EPN6google8protobuf5ArenaE", &make_definition) &&
         find(framework, "_ZN10tensorflow8GraphDefD1Ev", &end_definition) &&
         find(framework, "_ZNK10tensorflow5Graph10ToGraphDefEPNS_8GraphDefEbb", &write_graph);
}

}  // namespace breakdown
