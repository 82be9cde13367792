// The cases of a model's ops (lib/model/lane.h), in one list, which every consumer walks with a
// switch over Op: the CPU backend's test and the CUDA backend's (both through the Lane, on the
// emulator and on a GPU), the kernels' own tests, the table of traffic and the benchmark. So a new
// op does not compile before each of them says what it does with it, and op_list_test holds the
// list to lane.h.
//
// Values, any thread. What is right is said by reference.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/shape.h"
#include "lib/weights/tensor.h"

namespace parkd::testing {

// Lane's ops, under its names.
enum class Op {
  embed,
  rms_norm,
  rms_norm_add,
  matmul,
  matmul_add,
  rope_and_store,
  attention,
  gate_mul,
  gather_logit_rows,
};
inline constexpr std::string_view kOpNames[] = {"embed",     "rms_norm",   "rms_norm_add",
                                                "matmul",    "matmul_add", "rope_and_store",
                                                "attention", "gate_mul",   "gather_logit_rows"};
inline std::string_view to_string(Op op) {
  return kOpNames[static_cast<size_t>(op)];
}

// A sequence's share of a step.
struct SequenceCase {
  int32_t context = 0;  // tokens before its first row
  int32_t rows = 1;
};

struct Heads {
  int32_t head_dim = 64;
  int32_t n_heads = 2;
  int32_t n_kv_heads = 1;
  int32_t block_size = 32;

  int32_t group() const { return n_heads / n_kv_heads; }
  int32_t columns() const { return (n_heads + 2 * n_kv_heads) * head_dim; }
};

// A backend that cannot do a case says so when it is made; the tests hold it to that.
enum class RefusedBy { none, cpu, cuda };

enum class Values {
  normal,
  far,  // gates beyond e^x's range; scores of some hundreds
};

struct OpCase {
  Op op = Op::embed;
  std::string name;                            // unique among its op's
  std::vector<SequenceCase> sequences = {{}};  // the step's; their contexts are stored before it
  int32_t columns = 64;                        // of the rows that go in (of a gate: of its half)
  int32_t outputs = 64;                        // of a product
  TensorType weight = TensorType::f32;         // of a table or a product
  Heads heads = {};
  RopeLayout layout = RopeLayout::interleaved;
  bool rotates = false;
  bool rotates_in_part = false;  // three quarters of a head, which are made larger too
  bool norms = false;            // of heads
  bool biases = false;
  QueryScale query_scale = {};
  int32_t window = 0;
  float scale = 1;  // of embed
  Activation activation = Activation::silu;
  Values values = Values::normal;
  bool every_dtype = true;  // else bf16 alone: what differs from other cases is no type's business
  RefusedBy refused_by = RefusedBy::none;

  int32_t n_rows() const;
  // What its heads turn by.
  Rope rope() const;
};

// What is held to float64.
const std::vector<OpCase>& op_cases();
std::vector<OpCase> op_cases(Op op);

// The shapes of some models' steps, for traffic and time: too dear to be computed in float64.
struct MeasuredModel {
  const char* name;
  int32_t hidden;
  int32_t ffn;
  Heads heads;
  int32_t vocab;
};
// As in the models' own configuration files.
inline constexpr MeasuredModel kMeasuredModels[] = {
    {"Mistral-7B", 4096, 14336, {128, 32, 8, 32}, 32000},
    {"SmolLM2-135M", 576, 1536, {64, 9, 3, 32}, 49152},
    {"Gemma-3-270M", 640, 2048, {256, 4, 1, 32}, 262144}};
// `decoding`: the case's sequences decode a token at the end of their context.
std::vector<OpCase> measured_op_cases(const MeasuredModel& model);

}  // namespace parkd::testing
