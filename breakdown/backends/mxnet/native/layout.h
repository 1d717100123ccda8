// Mirrors of the few structs of MXNet 1.9.1 and its ps-lite that the hooks look into, as the x86-64 ABI lays them out with
// the old (copy on write, one pointer) std::string of the published wheels. Only read, never written, constructed or copied.
#pragma once

#include <cstddef>
#include <cstdint>

namespace breakdown {

#ifndef BREAKDOWN_MXNET_VERSION  // set by the test of what happens with another one
#define BREAKDOWN_MXNET_VERSION 10901
#endif
constexpr int PS_EMPTY = 0x7FFFFFFF;  // ps-lite's "not set" in ids and timestamps

template <class T>
struct Vector {
  const T *first, *last, *room;
  size_t size() const { return static_cast<size_t>(last - first); }
};

struct PsArray {  // ps::SArray<char>
  size_t size, capacity;
  const char* data;
  void* owner;
};

struct PsNode {
  int role, id, customer_id;
  const char* host;
  int port;
  bool recovery;
};

struct PsMeta {
  int head, app_id, customer_id, timestamp, sender, receiver;
  bool request, push, pull, simple_app;
  const char* body;
  Vector<int> data_type;
  int command;
  Vector<PsNode> nodes;
  int barrier_group;
  uint64_t signature;
  int data_size, priority;
};

struct PsMessage {
  PsMeta meta;
  Vector<PsArray> data;
};
static_assert(offsetof(PsMeta, request) == 24 && offsetof(PsMeta, command) == 64 && offsetof(PsMeta, data_size) == 112);
static_assert(sizeof(PsMeta) == 120 && sizeof(PsMessage) == 144 && sizeof(PsArray) == 32 && sizeof(PsNode) == 32);

struct PsRequest {  // ps::KVMeta: what a server keeps of a request until it answers
  int command;
  bool push, pull;
  int sender, timestamp, customer_id;
};
static_assert(sizeof(PsRequest) == 20);

struct Context {
  int device_type, device_id;
};

struct RunContext {  // passed by value
  Context context;
  void *stream, *aux_stream;
  bool bulk;
};
static_assert(sizeof(RunContext) == 32);

// std::function<void(RunContext)> as GCC 4.8 made it: it takes its argument by value.
struct Function {
  enum Action { CLONE = 2, DESTROY = 3 };
  void* data[2];
  bool (*manage)(void* to, const void* from, int action);
  void (*invoke)(const void* data, RunContext context);
};
static_assert(sizeof(Function) == 32);

struct OperatorType {  // nnvm::Op
  const char* name;
};

struct NodeAttributes {  // nnvm::NodeAttrs
  const OperatorType* operation;
  const char* name;
};

struct Operation {  // mxnet::engine::ThreadedOpr
  char function[32];
  Vector<void*> reads, writes;
  int property;
  const char* name;
  bool temporary, wait;
};
static_assert(offsetof(Operation, property) == 80 && offsetof(Operation, name) == 88 && offsetof(Operation, wait) == 97);

struct OperationBlock {  // mxnet::engine::OprBlock: one pushing of an operation
  int waits;
  Operation* operation;
  Context context;
  int priority;
};
static_assert(offsetof(OperationBlock, operation) == 8 && offsetof(OperationBlock, priority) == 24);

enum Property { NORMAL, DELETE_VARIABLE = 5 };  // of mxnet::FnProperty

}  // namespace breakdown
