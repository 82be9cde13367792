#include <cstdint>

#include "tests/gpu/probe/probes.h"
#include "tests/gpu/probe/timer.h"

namespace parkd::probe {
namespace {

using testing::DeviceArray;
using testing::require;

class HostMemory {
 public:
  explicit HostMemory(size_t bytes) { require(cudaMallocHost(&data_, bytes), "cudaMallocHost"); }
  ~HostMemory() { (void)cudaFreeHost(data_); }
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;
  void* get() const { return data_; }

 private:
  void* data_ = nullptr;
};

}  // namespace

void probe_copies(const Figures& figures, bool tiny) {
  const size_t bytes = tiny ? size_t{1} << 16 : size_t{1} << 30;
  const int runs = tiny ? 1 : 11;
  Timer timer;
  const DeviceArray<uint8_t> from(bytes);
  const DeviceArray<uint8_t> to(bytes);
  require(cudaMemset(from.get(), 1, bytes), "cudaMemset");
  const auto copy = [&](void* into, const void* out_of, size_t n, cudaMemcpyKind kind) {
    return timer.seconds(runs, [&] {
      require(cudaMemcpyAsync(into, out_of, n, kind, timer.stream()), "cudaMemcpyAsync");
    });
  };
  const double inside_s = copy(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice);
  figures.print("copy.device_memory", 2e-9 * double(bytes) / inside_s, "GB/s",
                [](const simulate::DeviceSheet& sheet) { return 1e-9 * sheet.bytes_per_s; });
  const size_t part = bytes / 4;
  const HostMemory host(part);
  figures.print("copy.host_to_device",
                1e-9 * double(part) / copy(to.get(), host.get(), part, cudaMemcpyHostToDevice),
                "GB/s");
  figures.print("copy.device_to_host",
                1e-9 * double(part) / copy(host.get(), from.get(), part, cudaMemcpyDeviceToHost),
                "GB/s");
}

}  // namespace parkd::probe
