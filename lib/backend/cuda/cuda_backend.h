// The CUDA backend: the Backend on one CUDA device, its own kernels (kernels/cuda) and cuBLAS. See
// lib/model/backend.h for the contract.
//
// Dtype bf16 and f16: weights, KV and what meets a product have that type, sums are float. f32:
// everything is float. I7 holds for the sampler alone: sums here follow the launch geometry and
// cuBLAS's choice of algorithm, so equal requests may differ in the last bits of their logits with
// their neighbours.
//
// Never run on a GPU: its tests run on the CPU under tests/cuda_emulator. check_against_cpu() is
// called before the first job for that reason.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/dtype.h"
#include "lib/base/status.h"
#include "lib/model/backend.h"

namespace parkd {

struct CudaDevice {
  int32_t id = 0;
  std::string name;
  int32_t compute_major = 0;
  int32_t compute_minor = 0;
  int32_t n_multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t free_bytes = 0;  // now
};

// The devices that this parkd can use, or those of `ids` among them, in the order of ids; one that
// fails hides no other. Only devices that are asked for get a context of this process, which takes
// some of their memory. Errors, of the last one when there are none: unavailable,
// "no CUDA device: ...", "built without CUDA", "device 0 (Tesla T4) has compute capability 7.5, the
// least is 8.0". Any thread; the first call may take a second.
Result<std::vector<CudaDevice>> find_cuda_devices(const std::vector<int32_t>& ids = {});

// Whether find_cuda_devices() of the same `ids` would have all of them, or any where none is named;
// asks none of them for a context. Any thread, also while another is between find_cuda_devices()
// and its backend.
bool has_cuda_device(const std::vector<int32_t>& ids = {});

// Gives back the context of a device that was asked for and is not used after all. Does nothing
// where a backend of this process is on it. No other thread is between find_cuda_devices() and its
// backend meanwhile.
void leave_cuda_device(int32_t id);

// The folder with cuBLAS's libraries (daemon.cuda_libraries), before the first backend; empty, the
// default: the places of cuda_libraries.h. Any thread.
void set_cuda_libraries(std::string folder);
// The path of cuBLAS, opened if it is not yet. Errors: unavailable, with all places tried.
Result<std::string> find_cublas();

struct CudaBackendOptions {
  ModelShape shape;
  Dtype dtype = Dtype::bf16;
  int32_t device = 0;
  bool graphs = true;
  bool tensor_core_attention = false;
  // A lane is prepared for every step, graphs included, before its first; false, for tests: for the
  // smallest, others are cold when they come.
  bool warms_up = true;
};

// Errors: unavailable (device, cuBLAS), invalid (a shape that the kernels cannot do).
Result<std::unique_ptr<Backend>> make_cuda_backend(const CudaBackendOptions& options);

// What a model needs of a device beside its KV blocks.
struct CudaFootprint {
  ModelShape shape;
  Dtype dtype = Dtype::bf16;
  bool own_head = false;  // the output head is a matrix of its own
  int32_t n_lanes = 1;
  int32_t step_tokens = 512;
  int32_t max_num_seqs = 16;
};
// Bytes of `device` that are left for KV blocks: what is free now without the footprint and what is
// held back for what cannot be foreseen (graphs, modules, fragments): 512 MiB, or 2 % of the device
// where that is more. 0 or less: it does not fit.
int64_t cuda_kv_bytes(const CudaDevice& device, const CudaFootprint& footprint);

}  // namespace parkd
