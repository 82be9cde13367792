// TensorReader: a family's tensors out of a model's files, by the names that GGUF or Hugging Face
// gives them; it keeps account of those that it has used. Reads one model on one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/status.h"
#include "lib/model/decoder_numbers.h"
#include "lib/model/family.h"
#include "lib/model/model_tensors.h"
#include "lib/model/shape.h"
#include "lib/weights/float8.h"
#include "lib/weights/weights_file.h"

namespace parkd {

// How a kind of file names what is not in a layer, and which of a rule's names it takes.
struct TensorNames {
  std::string embedding;
  std::string layer;  // before its number
  std::string output_norm;
  std::string head;
  std::string_view LayerTensorRule::*of_rule;
};

TensorNames gguf_tensor_names();
// By the prefix that the directory's tensors have: "model.", and the two forms that models with
// other parts are kept in.
TensorNames hub_tensor_names(const WeightsFile& file);

class TensorReader {
 public:
  TensorReader(const WeightsFile& file, const Family& family, TensorNames names)
      : file_(file), family_(family), names_(std::move(names)) {}

  // Everything but the head. Errors: corrupt for a tensor that is missing or of another shape than
  // the numbers say, invalid for one of a type that is not supported; they name the tensor.
  Status read(const ModelShape& shape, ModelTensors& tensors);
  bool has_head() const;
  Status read_head(const ModelShape& shape, ModelTensors& tensors);

  // The file's matrices of F8_E4M3 have scales by these blocks; without them they are refused.
  void use_float8_blocks(const Float8Blocks& blocks) { float8_ = blocks; }

  void note_head_used() { used_.insert(names_.head); }
  void note_used(std::string_view name) { used_.insert(name); }
  // Of those whose names begin so: they belong to another part of the model.
  void leave_out(std::string_view prefix);
  // A tensor that no layer asks for means arithmetic that we would leave out.
  Status check_all_used() const;

 private:
  Status unsupported(const std::string& what) const { return invalid(file_.error_text(what)); }

  Result<TensorView> float8_matrix(const Float8Tensor& tensor);
  // One that is there, whatever its shape.
  Result<TensorView> find(const std::string& name);
  Result<TensorView> matrix(const std::string& name, int64_t rows, int64_t columns);
  // A norm's weight: one row of F32, as every converter writes it, or of F16/BF16.
  Result<TensorView> vector(const std::string& name, int64_t columns);
  Result<LayerTensors> layer(const ModelShape& shape, int32_t index);

  const WeightsFile& file_;
  const Family& family_;
  const TensorNames names_;
  std::optional<Float8Blocks> float8_;
  std::set<std::string_view> used_;
};

}  // namespace parkd
