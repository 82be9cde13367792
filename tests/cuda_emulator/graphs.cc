// Capture of a stream's work into graphs, and their launch (include/cuda_runtime_api.h). A graph is
// a list: streams do not fork inside a capture. Arguments are those of the capture, as in CUDA.
#include <cuda_runtime_api.h>

#include <string_view>
#include <utility>

#include "machine.h"

using cuda_emulator::Lock;
using cuda_emulator::Machine;

namespace {

Machine& machine() {
  return Machine::get();
}

}  // namespace

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return machine().call([&](Lock&) {
    // The device's own stream cannot be captured.
    if (stream == nullptr) return cudaErrorStreamCaptureUnsupported;
    if (machine().find_stream(stream) == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->capture != nullptr) return cudaErrorStreamCaptureUnsupported;
    stream->capture = std::make_unique<CUgraph_st>();
    stream->capture_mode = mode;
    stream->capture_owner = std::this_thread::get_id();
    stream->capture_is_invalid = false;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  // Whatever it answers, the capture is over.
  const cudaError_t error = machine().freeing_call([&](Lock&) {
    if (stream == nullptr || machine().find_stream(stream) == nullptr) {
      return cudaErrorInvalidResourceHandle;
    }
    if (stream->capture == nullptr) return cudaErrorStreamCaptureUnmatched;
    if (stream->capture_mode != cudaStreamCaptureModeRelaxed &&
        stream->capture_owner != std::this_thread::get_id()) {
      return cudaErrorStreamCaptureWrongThread;
    }
    const std::unique_ptr<CUgraph_st> captured = std::move(stream->capture);
    if (stream->capture_is_invalid) return cudaErrorStreamCaptureInvalidated;
    *graph = new CUgraph_st(*captured);
    return cudaSuccess;
  });
  if (error != cudaSuccess) delete std::exchange(*graph, nullptr);
  return error;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return machine().call([&](Lock&) {
    const CUstream_st* found = machine().find_stream(stream);
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    *status = found->capture == nullptr   ? cudaStreamCaptureStatusNone
              : found->capture_is_invalid ? cudaStreamCaptureStatusInvalidated
                                          : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                 unsigned long long /*flags*/) {
  return machine().call([&](Lock&) {
    if (graph == nullptr) return cudaErrorInvalidValue;
    *exec = new CUgraphExec_st{graph->nodes};
    return cudaSuccess;
  });
}

// Takes new arguments over from a graph with the same kinds of nodes in the same order.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo* result) {
  return machine().call([&](Lock&) {
    *result = {cudaGraphExecUpdateSuccess, nullptr, nullptr};
    if (exec->nodes.size() != graph->nodes.size()) {
      result->result = cudaGraphExecUpdateErrorTopologyChanged;
      return cudaErrorGraphExecUpdateFailure;
    }
    for (size_t i = 0; i < exec->nodes.size(); ++i) {
      if (std::string_view(exec->nodes[i].kind) == graph->nodes[i].kind) continue;
      result->result = cudaGraphExecUpdateErrorNodeTypeChanged;
      result->errorNode = &graph->nodes[i];
      return cudaErrorGraphExecUpdateFailure;
    }
    exec->nodes = graph->nodes;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* n_nodes) {
  return machine().call([&](Lock&) {
    if (graph == nullptr) return cudaErrorInvalidValue;
    if (nodes != nullptr) {
      for (size_t i = 0; i < graph->nodes.size() && i < *n_nodes; ++i) nodes[i] = &graph->nodes[i];
    }
    *n_nodes = graph->nodes.size();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return machine().call([&](Lock&) {
    CUstream_st* found = machine().find_stream(stream);
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    if (found->capture != nullptr) return cudaErrorNotSupported;  // child graphs are not emulated
    for (const CUgraphNode_st& node : exec->nodes) {
      const cudaError_t error = machine().enqueue(*found, node.kind, node.run);
      if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return machine().freeing_call([&](Lock&) {
    delete graph;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return machine().freeing_call([&](Lock&) {
    delete exec;
    return cudaSuccess;
  });
}
