// Which layer an operator is part of. The engine knows an operator by its type only; the graph's node has a name, which is
// the layer's with "_fwd" behind it, and "_backward" behind that in the backward pass. A script that is not hybridized runs
// its operators one by one, without a graph: they have no names, or in the backward pass a number as "node_7".
#include <cstring>

#include "hooks.h"

namespace breakdown {

namespace {

constexpr size_t LONGEST_NAME = 200;

struct Node {
  const char* operation;  // the name of its type
  int64_t layer;
};
thread_local Node node{nullptr, 0};

bool is_number(const char* text) { return *text != 0 && text[strspn(text, "0123456789")] == 0; }

int64_t layer_named(const char* text) {
  size_t length = strlen(text);
  if (length == 0 || length > LONGEST_NAME) return 0;
  if (strncmp(text, "node_", 5) == 0 && is_number(text + 5)) return 0;
  for (const char* ending : {"_backward", "_fwd"}) {
    size_t size = strlen(ending);
    if (length > size && strcmp(text + length - size, ending) == 0) {
      char cut[LONGEST_NAME + 1] = {};
      memcpy(cut, text, length - size);
      return layer_named(cut);
    }
  }
  return intern(text, length);
}

// Returns its state by value and takes one: both are addresses.
void* (*real_invoke)(void*, void*, const void*, const NodeAttributes&, const void*, const void*, const void*, int, void*);

void* invoke(void* result, void* imperative, const void* context, const NodeAttributes& attributes, const void* inputs,
             const void* outputs, const void* requests, int dispatch, void* state) {
  bool named = recording() && attributes.operation != nullptr && attributes.name[0] != 0;
  Within<Node> within(node, named ? Node{attributes.operation->name, layer_named(attributes.name)} : Node{nullptr, 0});
  return real_invoke(result, imperative, context, attributes, inputs, outputs, requests, dispatch, state);
}

const Hook HOOKS[] = {
    {"_ZN5mxnet10Imperative8InvokeOpERKNS_7ContextERKN4nnvm9NodeAttrsERKSt6vectorIPNS_7NDArrayESaISA_EESE_RKS8_INS_9OpReqTypeESaISF_"
     "EENS_12DispatchModeENS_10OpStatePtrE",
     reinterpret_cast<void*>(invoke), reinterpret_cast<void**>(&real_invoke)},
};

}  // namespace

const Group LAYERS{"layers", HOOKS, sizeof HOOKS / sizeof *HOOKS};

// What else a node has pushed (copies, its temporary memory) is not the layer's operator.
int64_t layer_of(const char* operation) {
  return node.operation != nullptr && operation != nullptr && strcmp(node.operation, operation) == 0 ? node.layer : 0;
}

}  // namespace breakdown
