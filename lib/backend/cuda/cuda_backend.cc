#include "lib/backend/cuda/cuda_backend.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>

#include "lib/backend/cuda/cuda_lane.h"
#include "lib/backend/cuda/cuda_weights.h"
#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/config/kv_capacity.h"
#include "lib/model/model.h"

namespace parkd {
namespace {

using cuda::to_status;

constexpr int32_t kComputeMajorMin = 8;               // bf16 products and cp.async
constexpr int64_t kStagingBytes = int64_t{32} << 20;  // while weights are loaded
constexpr int64_t kHeldBackBytes = int64_t{512} << 20;
constexpr int64_t kHeldBackPart = 50;  // one in so many
// KV memory that there seemed to be room for and was not is a quarter smaller the next time.
constexpr int kKvAttempts = 3;
constexpr int64_t kKvShrinksPart = 4;

std::mutex libraries_mutex;  // libraries()
std::string& libraries() {
  static std::string folder;
  return folder;
}

// "13.0" of 13000.
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// A driver of branch 580 or newer has CUDA 13, one of 525 or newer any CUDA 12 (NVIDIA, "CUDA
// Compatibility", minor version compatibility).
Status driver_too_old() {
  int found = 0;
  (void)cudaDriverGetVersion(&found);  // 0: there is none
  const int major = CUDART_VERSION / 1000;
  return unavailable(
      "no CUDA device: this parkd needs a driver for CUDA " + std::to_string(major) + " (" +
      (major >= 13 ? "R580" : "R525") + " or newer), and " +
      (found == 0 ? "none was found" : "the one found is for CUDA " + version_text(found)));
}

std::string device_name(const CudaDevice& device) {
  return "device " + std::to_string(device.id) + " (" + device.name + ")";
}

Status check_device(const CudaDevice& device) {
  if (device.compute_major >= kComputeMajorMin) return {};
  return unavailable(device_name(device) + " has compute capability " +
                     std::to_string(device.compute_major) + "." +
                     std::to_string(device.compute_minor) + ", the least is " +
                     std::to_string(kComputeMajorMin) + ".0");
}

// What it is, or why it cannot be used; its memory is not known yet, and it has no context.
Result<CudaDevice> identify_device(int32_t id) {
  const std::string name = "device " + std::to_string(id);
  cudaDeviceProp properties = {};
  PARKD_RETURN_IF_ERROR(
      to_status(cudaGetDeviceProperties(&properties, id), name + ": cudaGetDeviceProperties"));
  CudaDevice device;
  device.id = id;
  device.name = properties.name;
  device.compute_major = properties.major;
  device.compute_minor = properties.minor;
  device.n_multiprocessors = properties.multiProcessorCount;
  PARKD_RETURN_IF_ERROR(check_device(device));
  return device;
}

struct DeviceMemory {
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};

// Of the current device, `id`; what its pool keeps and no allocation has is free.
Result<DeviceMemory> memory_of(int32_t id, const std::string& name) {
  PARKD_ASSIGN_OR_RETURN(const bool has_pool, cuda::has_memory_pool());
  if (has_pool) {
    cudaMemPool_t pool = nullptr;
    PARKD_RETURN_IF_ERROR(
        to_status(cudaDeviceGetDefaultMemPool(&pool, id), name + ": cudaDeviceGetDefaultMemPool"));
    PARKD_RETURN_IF_ERROR(to_status(cudaMemPoolTrimTo(pool, 0), name + ": cudaMemPoolTrimTo"));
  }
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  PARKD_RETURN_IF_ERROR(
      to_status(cudaMemGetInfo(&free_bytes, &total_bytes), name + ": cudaMemGetInfo"));
  return DeviceMemory{static_cast<int64_t>(total_bytes), static_cast<int64_t>(free_bytes)};
}

// Of a device for what cannot be foreseen.
int64_t held_back_bytes(int64_t memory_bytes) {
  return std::max(kHeldBackBytes, memory_bytes / kHeldBackPart);
}

// A device that can be used, or why it cannot.
Result<CudaDevice> describe_device(int32_t id) {
  const std::string name = "device " + std::to_string(id);
  PARKD_ASSIGN_OR_RETURN(CudaDevice device, identify_device(id));
  // From here on the device has a context of this process, which takes some of its memory.
  PARKD_RETURN_IF_ERROR(to_status(cudaSetDevice(id), name + ": cudaSetDevice"));
  PARKD_ASSIGN_OR_RETURN(const DeviceMemory memory, memory_of(id, name));
  device.memory_bytes = memory.total_bytes;
  device.free_bytes = memory.free_bytes;
  return device;
}

std::vector<int32_t> all_of(int32_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

Status check_multiple(const char* what, int64_t value, int64_t multiple) {
  if (value > 0 && value % multiple == 0) return {};
  return invalid(std::string(what) + " " + std::to_string(value) +
                 " is not a positive multiple of " + std::to_string(multiple) +
                 ", which the CUDA kernels need");
}

Status check_shape(const ModelShape& shape) {
  PARKD_RETURN_IF_ERROR(check_multiple("hidden", shape.hidden, 8));
  PARKD_RETURN_IF_ERROR(check_multiple("ffn", shape.ffn, 8));
  PARKD_RETURN_IF_ERROR(check_multiple("n_layers", shape.n_layers, 1));
  PARKD_RETURN_IF_ERROR(check_multiple("vocab", shape.vocab, 1));
  PARKD_RETURN_IF_ERROR(check_multiple("n_kv_heads", shape.n_kv_heads, 1));
  PARKD_RETURN_IF_ERROR(check_multiple("n_heads", shape.n_heads, shape.n_kv_heads));
  if (!cuda::attention_supports(shape.head_dim, shape.n_heads / shape.n_kv_heads)) {
    return invalid("the CUDA attention kernels have no head_dim " + std::to_string(shape.head_dim) +
                   " with " + std::to_string(shape.n_heads / shape.n_kv_heads) +
                   " query heads a kv head");
  }
  return check_layers(shape);
}

int64_t weight_bytes(const CudaFootprint& footprint) {
  const ModelShape& shape = footprint.shape;
  const int64_t hidden = shape.hidden;
  const int64_t heads = shape.n_heads + 2 * int64_t{shape.n_kv_heads};
  const int64_t layer =
      (heads + shape.n_heads) * shape.head_dim * hidden + 3 * int64_t{shape.ffn} * hidden;
  const int64_t vocab = shape.vocab * hidden * (footprint.own_head ? 2 : 1);
  // All that any family has, of heads and biases and norms on both sides: some kilobytes a layer.
  const int64_t vectors =
      hidden + shape.n_layers * (4 * hidden + (2 + heads) * int64_t{shape.head_dim});
  return (shape.n_layers * layer + vocab) * dtype_bytes(footprint.dtype) +
         vectors * static_cast<int64_t>(sizeof(float));
}

int64_t lane_bytes(const CudaFootprint& footprint) {
  const int32_t logit_rows = std::min(footprint.step_tokens, footprint.max_num_seqs);
  int64_t elements = 0;
  for (const BufferSize& size : buffer_sizes(footprint.shape, footprint.step_tokens, logit_rows)) {
    elements += size.rows * size.columns;
  }
  constexpr int64_t kElementBytes = 2 * sizeof(float);  // both forms of a buffer at most
  return elements * kElementBytes +
         cuda::sampling_workspace_bytes(logit_rows, footprint.shape.vocab) +
         cuda::kCublasWorkspaceBytes;
}

// How many backends of this process there are on each device.
class DevicesInUse {
 public:
  static DevicesInUse& get() {
    static DevicesInUse all;
    return all;
  }
  void add(int32_t id, int n) {
    const std::lock_guard lock(mutex_);
    n_backends_[id] += n;
  }
  void leave(int32_t id) {
    const std::lock_guard lock(mutex_);
    if (n_backends_[id] > 0 || cudaSetDevice(id) != cudaSuccess) return;
    (void)cudaDeviceReset();
  }

 private:
  std::mutex mutex_;
  std::map<int32_t, int> n_backends_;
};

class DeviceBackend final : public Backend {
 public:
  DeviceBackend(const CudaBackendOptions& options, CudaDevice device)
      : options_(options), device_(std::move(device)) {
    DevicesInUse::get().add(device_.id, 1);
  }
  ~DeviceBackend() override {
    (void)cudaSetDevice(device_.id);
    (void)stream_.synchronize();  // pinned memory is freed at once, even while the device reads it
    DevicesInUse::get().add(device_.id, -1);
  }

  Status start() {
    PARKD_RETURN_IF_ERROR(select());
    PARKD_ASSIGN_OR_RETURN(stream_, cuda::Stream::make());
    PARKD_RETURN_IF_ERROR(keep_freed_memory());
    PARKD_ASSIGN_OR_RETURN(weights_, cuda::CudaWeights::make(options_.dtype, stream_));
    std::vector<float> inv_freq;
    for (const Rope& rope : options_.shape.ropes) {
      inv_freq.insert(inv_freq.end(), rope.inv_freq.begin(), rope.inv_freq.end());
    }
    const size_t bytes = inv_freq.size() * sizeof(float);  // some: check_layers
    PARKD_ASSIGN_OR_RETURN(inv_freq_, cuda::DeviceBuffer::make(bytes, stream_));
    PARKD_RETURN_IF_ERROR(to_status(cudaMemcpyAsync(inv_freq_.as<void>(), inv_freq.data(), bytes,
                                                    cudaMemcpyHostToDevice, stream_.get()),
                                    "copying rope frequencies"));
    PARKD_RETURN_IF_ERROR(stream_.synchronize());
    // Opened here, so that a host without cuBLAS hears of it before a weight is copied.
    return cuda::load_cublas().status();
  }

  Result<MatrixId> load_matrix(std::span<const TensorView> parts) override {
    PARKD_RETURN_IF_ERROR(select());
    return weights_.load_matrix(parts);
  }
  Result<VectorId> load_vector(const TensorView& vector) override {
    PARKD_RETURN_IF_ERROR(select());
    return weights_.load_vector(vector);
  }
  // Ends loading, and what only that needs goes.
  Status allocate_kv(int64_t n_blocks, int32_t block_size) override {
    PARKD_RETURN_IF_ERROR(select());
    PARKD_RETURN_IF_ERROR(weights_.finish_loading());
    return weights_.allocate_kv(options_.shape, n_blocks, block_size);
  }
  // What is free may lie in pieces, or another process may take some of it meanwhile.
  Result<int64_t> fit_kv(int64_t n_blocks_max, int32_t block_size) override {
    PARKD_RETURN_IF_ERROR(select());
    PARKD_RETURN_IF_ERROR(weights_.finish_loading());
    weights_.free_kv();
    PARKD_RETURN_IF_ERROR(stream_.synchronize());
    PARKD_ASSIGN_OR_RETURN(const DeviceMemory memory, memory_of(device_.id, device_name(device_)));
    const int64_t held_back = held_back_bytes(memory.total_bytes);
    const ModelShape& shape = options_.shape;
    const int64_t block_bytes = kv_block_bytes(
        {options_.dtype, block_size, shape.n_kv_heads, shape.head_dim, shape.n_layers});
    const int64_t room = std::max<int64_t>(0, memory.free_bytes - held_back) / block_bytes;
    int64_t n_blocks = std::min(n_blocks_max, room);
    Status status = exhausted("no KV block of " + std::to_string(block_bytes) +
                              " bytes fits: " + std::to_string(memory.free_bytes >> 20) +
                              " MiB of " + device_name(device_) +
                              " are free once the model's largest step "
                              "has run, and " +
                              std::to_string(held_back >> 20) + " MiB are held back");
    for (int attempt = 0; attempt < kKvAttempts && n_blocks > 0; ++attempt) {
      status = weights_.allocate_kv(shape, n_blocks, block_size);
      if (status.ok()) return n_blocks;
      if (status.code() != StatusCode::exhausted || attempt + 1 == kKvAttempts) break;
      const int64_t refused = n_blocks;
      n_blocks -= ceil_div(n_blocks, kKvShrinksPart);
      log_warn("cuda.kv_shrinks", {{"device", device_.id},
                                   {"kv_blocks_refused", refused},
                                   {"kv_blocks", n_blocks},
                                   {"why", status.message()}});
    }
    return status;
  }
  Result<std::unique_ptr<Lane>> make_lane() override {
    PARKD_RETURN_IF_ERROR(select());
    cuda::LaneOptions options;
    options.device = device_.id;
    options.n_multiprocessors = device_.n_multiprocessors;
    options.graphs = options_.graphs;
    options.tensor_core_attention = options_.tensor_core_attention;
    options.warms_up = options_.warms_up;
    PARKD_ASSIGN_OR_RETURN(
        auto lane, cuda::CudaLane::make(weights_, options_.shape, inv_freq_.as<float>(), options));
    return std::unique_ptr<Lane>(std::move(lane));
  }
  std::string describe() const override {
    const char* dtype = options_.dtype == Dtype::f32   ? "f32"
                        : options_.dtype == Dtype::f16 ? "f16"
                                                       : "bf16";
    return "cuda " + device_.name + " " + dtype;
  }
  int64_t weight_bytes() const override { return weights_.weight_bytes(); }
  int64_t kv_bytes() const override { return weights_.kv_bytes(); }

 private:
  Status select() const { return to_status(cudaSetDevice(device_.id), "cudaSetDevice"); }

  // The pool keeps what is freed instead of giving it back to the driver at each synchronisation.
  Status keep_freed_memory() const {
    PARKD_ASSIGN_OR_RETURN(const bool has_pool, cuda::has_memory_pool());
    if (!has_pool) return {};
    cudaMemPool_t pool = nullptr;
    PARKD_RETURN_IF_ERROR(
        to_status(cudaDeviceGetDefaultMemPool(&pool, device_.id), "cudaDeviceGetDefaultMemPool"));
    uint64_t threshold = UINT64_MAX;
    return to_status(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold),
                     "cudaMemPoolSetAttribute");
  }

  const CudaBackendOptions options_;
  const CudaDevice device_;
  cuda::Stream stream_;  // before what is freed on it
  cuda::CudaWeights weights_;
  cuda::DeviceBuffer inv_freq_;  // (ropes, head_dim / 2)
};

}  // namespace

Result<std::vector<CudaDevice>> find_cuda_devices(const std::vector<int32_t>& ids) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) return driver_too_old();
  if (error != cudaSuccess) {
    return unavailable(std::string("no CUDA device: ") + cudaGetErrorString(error));
  }
  std::vector<CudaDevice> devices;
  Status why_not = unavailable("no CUDA device: the driver knows none");
  for (const int32_t id : ids.empty() ? all_of(count) : ids) {
    if (id >= count) {
      why_not = unavailable("no CUDA device " + std::to_string(id) + ": the driver knows " +
                            std::to_string(count));
      continue;
    }
    auto device = describe_device(id);
    if (device.ok()) {
      devices.push_back(std::move(*device));
    } else {
      why_not = device.status();
    }
  }
  if (devices.empty()) return why_not;
  return devices;
}

bool has_cuda_device(const std::vector<int32_t>& ids) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return false;
  const auto is_usable = [count](int32_t id) { return id < count && identify_device(id).ok(); };
  if (!ids.empty()) return std::all_of(ids.begin(), ids.end(), is_usable);
  const std::vector<int32_t> there = all_of(count);
  return std::any_of(there.begin(), there.end(), is_usable);
}

void leave_cuda_device(int32_t id) {
  DevicesInUse::get().leave(id);
}

void set_cuda_libraries(std::string folder) {
  const std::lock_guard lock(libraries_mutex);
  libraries() = std::move(folder);
}

std::string cuda::cuda_libraries() {
  const std::lock_guard lock(libraries_mutex);
  return libraries();
}

Result<std::string> find_cublas() {
  PARKD_ASSIGN_OR_RETURN(const cuda::CublasApi* const api, cuda::load_cublas());
  return api->path;
}

Result<std::unique_ptr<Backend>> make_cuda_backend(const CudaBackendOptions& options) {
  PARKD_RETURN_IF_ERROR(check_shape(options.shape));
  PARKD_ASSIGN_OR_RETURN(CudaDevice device, describe_device(options.device));
  auto backend = std::make_unique<DeviceBackend>(options, std::move(device));
  PARKD_RETURN_IF_ERROR(backend->start());
  return std::unique_ptr<Backend>(std::move(backend));
}

int64_t cuda_kv_bytes(const CudaDevice& device, const CudaFootprint& footprint) {
  const int64_t needed =
      weight_bytes(footprint) + footprint.n_lanes * lane_bytes(footprint) + kStagingBytes;
  return device.free_bytes - needed - held_back_bytes(device.memory_bytes);
}

}  // namespace parkd
