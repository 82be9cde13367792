#include "lib/backend/cuda/cuda_handles.h"

#include <string>

#include "lib/backend/cuda/cuda_errors.h"

namespace parkd::cuda {

Status to_status(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return {};
  return cuda_failure(error, what, cudaGetErrorString(error));
}

Result<Stream> Stream::make() {
  Stream stream;
  PARKD_RETURN_IF_ERROR(to_status(cudaStreamCreateWithFlags(&stream.stream_, cudaStreamNonBlocking),
                                  "cudaStreamCreateWithFlags"));
  return stream;
}

Stream::~Stream() {
  if (stream_ == nullptr) return;
  (void)cudaStreamSynchronize(stream_);  // what was freed on it is the pool's from now on
  (void)cudaStreamDestroy(stream_);
}

Status Stream::synchronize() const {
  return to_status(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
}

Result<Event> Event::make() {
  Event event;
  // Blocking: who waits for it sleeps, where the default spins on a core.
  PARKD_RETURN_IF_ERROR(to_status(
      cudaEventCreateWithFlags(&event.event_, cudaEventDisableTiming | cudaEventBlockingSync),
      "cudaEventCreateWithFlags"));
  return event;
}

Event::~Event() {
  if (event_ != nullptr) (void)cudaEventDestroy(event_);
}

Status Event::record(const Stream& stream) const {
  return to_status(cudaEventRecord(event_, stream.get()), "cudaEventRecord");
}

Status Event::synchronize() const {
  return to_status(cudaEventSynchronize(event_), "cudaEventSynchronize");
}

Result<bool> has_memory_pool() {
  int device = 0;
  int supported = 0;
  PARKD_RETURN_IF_ERROR(to_status(cudaGetDevice(&device), "cudaGetDevice"));
  PARKD_RETURN_IF_ERROR(
      to_status(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, device),
                "cudaDeviceGetAttribute"));
  return supported != 0;
}

Result<DeviceBuffer> DeviceBuffer::make(size_t bytes, const Stream& stream) {
  DeviceBuffer buffer;
  PARKD_ASSIGN_OR_RETURN(buffer.is_pooled_, has_memory_pool());
  const std::string size = " of " + std::to_string(bytes) + " bytes";
  if (buffer.is_pooled_) {
    PARKD_RETURN_IF_ERROR(
        to_status(cudaMallocAsync(&buffer.data_, bytes, stream.get()), "cudaMallocAsync" + size));
  } else {
    PARKD_RETURN_IF_ERROR(to_status(cudaMalloc(&buffer.data_, bytes), "cudaMalloc" + size));
  }
  buffer.bytes_ = bytes;
  buffer.stream_ = stream.get();
  return buffer;
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ == nullptr) return;
  if (is_pooled_) {
    (void)cudaFreeAsync(data_, stream_);
  } else {
    (void)cudaFree(data_);  // waits for the device's work
  }
}

Result<PinnedBuffer> PinnedBuffer::make(size_t bytes) {
  PinnedBuffer buffer;
  PARKD_RETURN_IF_ERROR(to_status(cudaMallocHost(&buffer.data_, bytes),
                                  "cudaMallocHost of " + std::to_string(bytes) + " bytes"));
  buffer.bytes_ = bytes;
  return buffer;
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) (void)cudaFreeHost(data_);
}

Status Graph::begin(const Stream& stream) {
  // Thread-local: what other workers' threads call meanwhile is not captured and does not fail.
  return to_status(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
                   "cudaStreamBeginCapture");
}

Result<Graph> Graph::end(const Stream& stream) {
  cudaGraph_t captured = nullptr;
  PARKD_RETURN_IF_ERROR(
      to_status(cudaStreamEndCapture(stream.get(), &captured), "cudaStreamEndCapture"));
  Graph graph;
  const cudaError_t error = cudaGraphInstantiate(&graph.exec_, captured, 0);
  (void)cudaGraphDestroy(captured);
  PARKD_RETURN_IF_ERROR(to_status(error, "cudaGraphInstantiate"));
  return graph;
}

void Graph::abandon(const Stream& stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
  (void)cudaStreamIsCapturing(stream.get(), &status);
  if (status == cudaStreamCaptureStatusNone) return;
  cudaGraph_t captured = nullptr;
  (void)cudaStreamEndCapture(stream.get(), &captured);
  if (captured != nullptr) (void)cudaGraphDestroy(captured);
}

Graph::~Graph() {
  if (exec_ != nullptr) (void)cudaGraphExecDestroy(exec_);
}

Status Graph::launch(const Stream& stream) const {
  return to_status(cudaGraphLaunch(exec_, stream.get()), "cudaGraphLaunch");
}

}  // namespace parkd::cuda
