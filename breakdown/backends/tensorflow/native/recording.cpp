// What this recorder shares with MXNet's: rings and flusher, the trace file, the redirecting of calls. And the recording's end,
// which TensorFlow's roles must ask for: they leave without running destructors.
#include "../../mxnet/native/file.cpp"
#include "../../mxnet/native/patch.cpp"
#include "../../mxnet/native/trace.cpp"

#include "hooks.h"

namespace breakdown {

void end_recording() { stop_recording(); }

}  // namespace breakdown
