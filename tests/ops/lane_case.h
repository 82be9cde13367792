// LaneCase: a case of op_cases.h on a backend, through its Lane, and against float64. The same on
// both backends; what differs between them is what they round, which Implementation says.
//
// One thread; a case makes a backend of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "lib/base/dtype.h"
#include "lib/model/backend.h"
#include "tests/ops/errors.h"
#include "tests/ops/op_cases.h"

namespace parkd::testing {

// A backend, and what its tests need to know of it.
struct Implementation {
  enum class Kind { cpu, cuda };

  std::string name;
  Kind kind = Kind::cpu;
  Dtype dtype = Dtype::bf16;
  bool tensor_cores = false;   // of cuda: attention's products
  bool memory_is_nan = false;  // where nobody has written
  bool is_slow = false;        // leaves out the cases of one type
  std::optional<Op> only;      // where it differs from another in this op alone
  std::function<Result<std::unique_ptr<Backend>>(const ModelShape&)> make;

  bool refuses(const OpCase& c) const {
    return c.refused_by == (kind == Kind::cpu ? RefusedBy::cpu : RefusedBy::cuda);
  }
  bool runs(const OpCase& c) const {
    return (c.every_dtype || (dtype == Dtype::bf16 && !is_slow)) && (!only || *only == c.op);
  }
};

// By row of the case's step; only the op's own columns.
using OpRows = std::vector<std::vector<float>>;

class LaneCase {
 public:
  // The seed fixes all inputs. Throws where what must not fail does.
  LaneCase(const OpCase& c, const Implementation& implementation, uint64_t seed);

  // ok, or why the backend cannot do it; then nothing else may be called.
  const Status& refusal() const { return refusal_; }

  // The op's rows: of all sequences at once (chunk 0), or of each alone, `chunk` rows a step. Their
  // contexts are stored before, each at once.
  OpRows run(int32_t chunk);

  // What run() gave, against float64.
  void check(const OpRows& rows, Errors& errors) const;

 private:
  struct Tensor {
    TensorType type = TensorType::f32;
    int64_t rows = 0;
    int64_t columns = 0;
    std::vector<uint8_t> bytes;
  };

  void load();
  Tensor random_tensor(TensorType type, int64_t rows, int64_t columns, float sigma);
  Tensor tensor_of(const std::vector<float>& values, int64_t rows) const;
  MatrixId load_matrix(const Tensor& tensor);
  Tensor spread_tensor();
  Tensor far_gates();
  void spoil_memory();
  void step(const std::vector<StepSequence>& sequences, OpRows* rows);
  void write_inputs();
  void do_op(bool is_context);
  std::vector<float> read(Buffer buffer, int64_t row, int64_t columns);

  std::vector<double> head(int64_t token, int32_t index) const;
  void check_row(int64_t row, int64_t token, const std::vector<float>& got, Errors& errors) const;
  // K and V of a sequence's kv head as they are stored, by position.
  struct HeadMemory {
    std::vector<std::vector<double>> keys;
    std::vector<std::vector<double>> values;
  };
  HeadMemory memory_of(size_t sequence, int32_t kv_head) const;
  void check_attention(const OpRows& rows, Errors& errors) const;
  void check_query(int64_t token, int32_t index, const HeadMemory& memory, const float* got,
                   const std::string& where, Errors& errors) const;
  std::vector<double> seen_by_product(const std::vector<float>& row) const;
  double stored(double x) const;  // rounded as KV is
  double out_rounding() const;    // relative, of what the op writes
  double out_absolute() const;
  // Whether the products of attention round their factors: those of this sequence's queries.
  bool rounds_factors(const SequenceCase& sequence) const;
  bool adds() const { return case_.op == Op::matmul_add || case_.op == Op::rms_norm_add; }
  bool has_heads() const { return case_.op == Op::rope_and_store || case_.op == Op::attention; }
  int32_t in_columns() const;
  int32_t out_columns() const;
  float scale() const;

  const OpCase case_;
  const Implementation implementation_;
  std::mt19937_64 random_;
  Status refusal_;
  ModelShape shape_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Lane> lane_;  // goes before its backend
  // Tokens of all sequences, contexts included, one after another.
  int64_t n_tokens_ = 0;
  std::vector<int64_t> first_token_;          // of each sequence
  std::vector<std::vector<int32_t>> tables_;  // of each sequence
  int32_t n_blocks_ = 0;
  bool is_spoilt_ = false;

  Tensor weight_;            // the op's own
  std::vector<float> norm_;  // of rms_norm and rms_norm_add
  std::vector<float> q_norm_, k_norm_;
  std::vector<float> q_bias_, k_bias_, v_bias_;
  MatrixId narrow_table_, spread_, far_, nan_, sums_, op_matrix_;
  VectorId norm_id_, q_norm_id_, k_norm_id_, q_bias_id_, k_bias_id_, v_bias_id_;
  Buffer narrow_, in_, out_;

  std::vector<TokenId> step_tokens_;     // of the case: row by row of the step at hand
  std::vector<TokenId> embedded_;        // by token: the row of embed's table
  std::vector<std::vector<float>> ins_;  // by token
  std::vector<std::vector<float>> sums_before_;
};

}  // namespace parkd::testing
