#include "lib/model/tensor_reader.h"

#include <utility>

#include "lib/base/json_writer.h"
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

Result<TensorView> TensorReader::matrix(const std::string& name, int64_t rows, int64_t columns) {
  const TensorView* found = file_.find_tensor(name);
  if (found == nullptr) {
    for (const UnreadTensor& unread : file_.unread_tensors()) {
      if (unread.name == name)
        return unsupported("tensor " + json_string(name) + ": " + unread.why);
    }
    return corrupt(file_.error_text("tensor " + json_string(name) + " is missing"));
  }
  if (found->rows != rows || found->columns != columns) {
    return corrupt(file_.error_text(
        "tensor " + json_string(name) + " is (" + std::to_string(found->rows) + ", " +
        std::to_string(found->columns) + ") where the hyper-parameters make it (" +
        std::to_string(rows) + ", " + std::to_string(columns) + ")"));
  }
  used_.insert(found->name);
  return *found;
}

Result<TensorView> TensorReader::vector(const std::string& name, int64_t columns) {
  PARKD_ASSIGN_OR_RETURN(const TensorView view, matrix(name, 1, columns));
  if (const TensorFormat& format = format_of(view.type); format.is_quantised()) {
    return unsupported("tensor " + json_string(view.name) + " is " + std::string(format.name) +
                       ": a quantised vector is not supported");
  }
  return view;
}

Result<LayerTensors> TensorReader::layer(const ModelShape& shape, int32_t index) {
  const std::string prefix = names_.layer + std::to_string(index) + ".";
  LayerTensors layer;
  for (const auto rules : {family_.layer_tensors, family_.more_layer_tensors}) {
    for (const LayerTensorRule& rule : rules) {
      const std::string name = prefix + std::string(rule.*names_.of_rule);
      const int64_t columns = size_of(rule.columns, shape);
      auto found = rule.rows == Extent::one ? vector(name, columns)
                                            : matrix(name, size_of(rule.rows, shape), columns);
      PARKD_ASSIGN_OR_RETURN(layer.*rule.tensor, std::move(found));
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
}

Status TensorReader::check_all_used() const {
  const auto check = [this](std::string_view name) -> Status {
    if (used_.count(name) != 0) return {};
    return unsupported("tensor " + json_string(name) + " is not supported yet");
  };
  for (const TensorView& view : file_.tensors()) PARKD_RETURN_IF_ERROR(check(view.name));
  for (const UnreadTensor& each : file_.unread_tensors()) PARKD_RETURN_IF_ERROR(check(each.name));
  return {};
}

}  // namespace parkd
