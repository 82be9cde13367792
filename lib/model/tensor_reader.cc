#include "lib/model/tensor_reader.h"

#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/units.h"
#include "lib/weights/dequantise.h"
#include "lib/weights/formats.h"

namespace parkd {
namespace {

int64_t size_of(Extent extent, const ModelShape& shape) {
  switch (extent) {
    case Extent::one:
      return 1;
    case Extent::hidden:
      return shape.hidden;
    case Extent::ffn:
      return shape.ffn;
    case Extent::q:
      return int64_t{shape.n_heads} * shape.head_dim;
    case Extent::kv:
      return int64_t{shape.n_kv_heads} * shape.head_dim;
    case Extent::head_dim:
      return shape.head_dim;
  }
  return 0;
}

// Rows [first, first + n) of a tensor.
TensorView rows_of(const TensorView& tensor, int64_t first, int64_t n) {
  const auto row_bytes = static_cast<int64_t>(tensor.bytes.size()) / tensor.rows;
  TensorView part = tensor;
  part.rows = n;
  part.bytes = tensor.bytes.subspan(static_cast<size_t>(first * row_bytes),
                                    static_cast<size_t>(n * row_bytes));
  part.first_row = first;
  return part;
}

}  // namespace

TensorNames gguf_tensor_names() {
  return {"token_embd.weight", "blk.", "output_norm.weight", "output.weight",
          &LayerTensorRule::gguf};
}

TensorNames hub_tensor_names(const WeightsFile& file) {
  struct Form {
    std::string_view prefix;
    std::string_view head;
  };
  constexpr Form kForms[] = {{"model.", "lm_head.weight"},
                             {"language_model.model.", "language_model.lm_head.weight"},
                             {"model.language_model.", "lm_head.weight"}};
  const Form* form = &kForms[0];
  for (const Form& each : kForms) {
    if (file.find_tensor(std::string(each.prefix) + "embed_tokens.weight") == nullptr) continue;
    form = &each;
    break;
  }
  const std::string prefix(form->prefix);
  return {prefix + "embed_tokens.weight", prefix + "layers.", prefix + "norm.weight",
          std::string(form->head), &LayerTensorRule::hub};
}

// The scales of "X.weight" are "X.weight_scale_inv", of blocks, or "X.weight_scale". Those of its
// inputs are for hardware that multiplies such numbers, and not wanted.
Result<TensorView> TensorReader::float8_matrix(const Float8Tensor& tensor) {
  const std::string name(tensor.name);
  const std::string shown = "tensor " + json_string(name);
  if (!float8_) {
    return unsupported(shown +
                       ": F8_E4M3 is supported with a quantization_config of \"fp8\" alone");
  }
  const TensorView* scales = file_.find_tensor(name + "_scale_inv");
  if (scales == nullptr) scales = file_.find_tensor(name + "_scale");
  if (scales == nullptr) {
    return corrupt(file_.error_text(shown + " is F8_E4M3, and there is no " +
                                    json_string(name + "_scale_inv") + " or " +
                                    json_string(name + "_scale") + " of plain numbers"));
  }
  auto by = std::make_shared<Float8Scales>();
  by->scales = *scales;
  const bool is_of_all =
      float8_->rows == 0 || (float8_->is_left_out && scales->rows == 1 && scales->columns == 1);
  by->block_rows = is_of_all ? tensor.rows : float8_->rows;
  by->block_columns = is_of_all ? tensor.columns : float8_->columns;
  const int64_t rows = ceil_div(tensor.rows, by->block_rows);
  const int64_t columns = ceil_div(tensor.columns, by->block_columns);
  if (scales->rows != rows || scales->columns != columns) {
    return corrupt(file_.error_text(
        "tensor " + json_string(scales->name) + " is (" + std::to_string(scales->rows) + ", " +
        std::to_string(scales->columns) + ") where weight_block_size" +
        (float8_->is_left_out ? ", which is left out," : "") + " makes it (" +
        std::to_string(rows) + ", " + std::to_string(columns) + ")" +
        (float8_->is_left_out ? ", or (1, 1) for one scale of the whole tensor" : "")));
  }
  const int64_t at =
      first_not_finite(scales->type, scales->bytes.data(), scales->rows * scales->columns);
  if (at >= 0) {
    return corrupt(file_.error_text("tensor " + json_string(scales->name) + ": the scale at row " +
                                    std::to_string(at / scales->columns) + ", column " +
                                    std::to_string(at % scales->columns) + " is not finite"));
  }
  used_.insert(scales->name);
  const std::string before = name.substr(0, name.rfind('.') + 1);
  for (const char* of_inputs : {"input_scale", "activation_scale"}) {
    const TensorView* unwanted = file_.find_tensor(before + of_inputs);
    if (unwanted != nullptr) used_.insert(unwanted->name);
  }
  TensorView view{tensor.name, TensorType::f32, tensor.rows, tensor.columns, tensor.codes};
  view.float8 = std::move(by);
  return view;
}

Result<TensorView> TensorReader::find(const std::string& name) {
  if (const TensorView* found = file_.find_tensor(name)) return *found;
  for (const Float8Tensor& tensor : file_.float8_tensors()) {
    if (tensor.name == name) return float8_matrix(tensor);
  }
  for (const UnreadTensor& unread : file_.unread_tensors()) {
    if (unread.name == name) return unsupported("tensor " + json_string(name) + ": " + unread.why);
  }
  return corrupt(file_.error_text("tensor " + json_string(name) + " is missing"));
}

Result<TensorView> TensorReader::matrix(const std::string& name, int64_t rows, int64_t columns) {
  PARKD_ASSIGN_OR_RETURN(TensorView found, find(name));
  if (found.rows != rows || found.columns != columns) {
    return corrupt(file_.error_text(
        "tensor " + json_string(name) + " is (" + std::to_string(found.rows) + ", " +
        std::to_string(found.columns) + ") where the hyper-parameters make it (" +
        std::to_string(rows) + ", " + std::to_string(columns) + ")"));
  }
  used_.insert(found.name);
  return found;
}

Result<TensorView> TensorReader::vector(const std::string& name, int64_t columns) {
  PARKD_ASSIGN_OR_RETURN(const TensorView view, matrix(name, 1, columns));
  if (view.float8 != nullptr) {
    return unsupported("tensor " + json_string(view.name) +
                       " is F8_E4M3: a quantised vector is not supported");
  }
  if (const TensorFormat& format = format_of(view.type); format.is_quantised()) {
    return unsupported("tensor " + json_string(view.name) + " is " + std::string(format.name) +
                       ": a quantised vector is not supported");
  }
  return view;
}

Result<LayerTensors> TensorReader::layer(const ModelShape& shape, int32_t index) {
  const std::string prefix = names_.layer + std::to_string(index) + ".";
  LayerTensors layer;
  for (const auto rules : family_.layer_tensors) {
    for (const LayerTensorRule& rule : rules) {
      const std::string name = prefix + std::string(rule.*names_.of_rule);
      const int64_t columns = size_of(rule.columns, shape);
      if (rule.rows == Extent::one) {
        PARKD_ASSIGN_OR_RETURN(layer.*rule.tensor, vector(name, columns));
        continue;
      }
      int64_t n_rows = size_of(rule.rows, shape);
      for (const TensorPart& part : rule.below) {
        if (part.tensor != nullptr) n_rows += size_of(part.rows, shape);
      }
      PARKD_ASSIGN_OR_RETURN(const TensorView whole, matrix(name, n_rows, columns));
      int64_t at = size_of(rule.rows, shape);
      layer.*rule.tensor = rows_of(whole, 0, at);
      for (const TensorPart& part : rule.below) {
        if (part.tensor == nullptr) continue;
        layer.*part.tensor = rows_of(whole, at, size_of(part.rows, shape));
        at += size_of(part.rows, shape);
      }
    }
  }
  return layer;
}

Status TensorReader::read(const ModelShape& shape, ModelTensors& tensors) {
  PARKD_ASSIGN_OR_RETURN(tensors.embedding, matrix(names_.embedding, shape.vocab, shape.hidden));
  for (int32_t i = 0; i < shape.n_layers; ++i) {
    PARKD_ASSIGN_OR_RETURN(LayerTensors of_layer, layer(shape, i));
    tensors.layers.push_back(of_layer);
  }
  PARKD_ASSIGN_OR_RETURN(tensors.output_norm, vector(names_.output_norm, shape.hidden));
  return {};
}

bool TensorReader::has_head() const {
  return file_.find_tensor(names_.head) != nullptr;
}

Status TensorReader::read_head(const ModelShape& shape, ModelTensors& tensors) {
  PARKD_ASSIGN_OR_RETURN(tensors.head, matrix(names_.head, shape.vocab, shape.hidden));
  return {};
}

void TensorReader::leave_out(std::string_view prefix) {
  const auto begins = [prefix](std::string_view name) {
    return name.substr(0, prefix.size()) == prefix;
  };
  for (const TensorView& view : file_.tensors()) {
    if (begins(view.name)) used_.insert(view.name);
  }
  for (const UnreadTensor& unread : file_.unread_tensors()) {
    if (begins(unread.name)) used_.insert(unread.name);
  }
  for (const Float8Tensor& each : file_.float8_tensors()) {
    if (begins(each.name)) used_.insert(each.name);
  }
}

Status TensorReader::check_all_used() const {
  const auto check = [this](std::string_view name) -> Status {
    if (used_.count(name) != 0) return {};
    return unsupported("tensor " + json_string(name) + " is not supported yet");
  };
  for (const TensorView& view : file_.tensors()) PARKD_RETURN_IF_ERROR(check(view.name));
  for (const UnreadTensor& each : file_.unread_tensors()) PARKD_RETURN_IF_ERROR(check(each.name));
  for (const Float8Tensor& each : file_.float8_tensors()) PARKD_RETURN_IF_ERROR(check(each.name));
  return {};
}

}  // namespace parkd
