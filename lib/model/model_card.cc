#include "lib/model/model_card.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/text.h"
#include "lib/model/family.h"
#include "lib/model/shape_reader.h"
#include "lib/weights/formats.h"

namespace parkd {
namespace {

constexpr size_t kFingerprintSampleBytes = 4096;

// Finds a family's tensors in one file; keeps account of those that it has used.
class TensorReader {
 public:
  TensorReader(const GgufFile& file, const Family& family) : file_(file), family_(family) {}

  Status read(const ModelShape& shape, ModelTensors& tensors);
  void note_used(std::string_view name) { used_.insert(name); }
  // A tensor that no layer asks for means arithmetic that we would leave out.
  Status check_all_used() const;

 private:
  Status unsupported(const std::string& what) const { return invalid(file_.error_text(what)); }

  Result<TensorView> matrix(const std::string& name, int64_t rows, int64_t columns);
  // A norm's weight: one row of F32, as every converter writes it, or of F16/BF16.
  Result<TensorView> vector(const std::string& name, int64_t columns);
  Result<LayerTensors> layer(const ModelShape& shape, int32_t index);

  const GgufFile& file_;
  const Family& family_;
  std::set<std::string_view> used_;
};

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

Result<TensorView> TensorReader::matrix(const std::string& prefix, int64_t rows, int64_t columns) {
  const std::string name = prefix + ".weight";
  const TensorView* found = file_.find_tensor(name);
  if (found == nullptr)
    return corrupt(file_.error_text("tensor " + json_string(name) + " is missing"));
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
  const std::string prefix = "blk." + std::to_string(index) + ".";
  LayerTensors layer;
  for (const auto rules : {family_.layer_tensors, family_.more_layer_tensors}) {
    for (const LayerTensorRule& rule : rules) {
      const std::string name = prefix + std::string(rule.name);
      const int64_t columns = size_of(rule.columns, shape);
      auto found = rule.rows == Extent::one ? vector(name, columns)
                                            : matrix(name, size_of(rule.rows, shape), columns);
      PARKD_ASSIGN_OR_RETURN(layer.*rule.tensor, std::move(found));
    }
  }
  return layer;
}

Status TensorReader::read(const ModelShape& shape, ModelTensors& tensors) {
  PARKD_ASSIGN_OR_RETURN(tensors.embedding, matrix("token_embd", shape.vocab, shape.hidden));
  for (int32_t i = 0; i < shape.n_layers; ++i) {
    PARKD_ASSIGN_OR_RETURN(LayerTensors of_layer, layer(shape, i));
    tensors.layers.push_back(of_layer);
  }
  PARKD_ASSIGN_OR_RETURN(tensors.output_norm, vector("output_norm", shape.hidden));
  if (file_.find_tensor("output.weight") != nullptr) {
    PARKD_ASSIGN_OR_RETURN(tensors.head, matrix("output", shape.vocab, shape.hidden));
  }
  return {};
}

Status TensorReader::check_all_used() const {
  for (const TensorView& view : file_.tensors()) {
    if (used_.count(view.name) == 0) {
      return unsupported("tensor " + json_string(view.name) + " is not supported yet");
    }
  }
  return {};
}

std::string summarise_types(std::span<const TensorView> tensors) {
  std::map<std::string_view, int> counts;
  for (const TensorView& view : tensors) ++counts[format_of(view.type).name];
  std::vector<std::pair<int, std::string_view>> most_first;
  for (const auto& [type, count] : counts) most_first.emplace_back(-count, type);
  std::sort(most_first.begin(), most_first.end());
  std::string text;
  for (const auto& [minus_count, type] : most_first) {
    text += (text.empty() ? "" : ", ") + std::string(type) + " x" + std::to_string(-minus_count);
  }
  return text;
}

std::string fingerprint_of(const GgufFile& file) {
  uint64_t hash = fnv1a64(std::to_string(file.bytes().size()));
  const auto add = [&hash](std::span<const uint8_t> bytes) {
    hash = fnv1a64({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, hash);
  };
  add(file.header());
  for (const TensorView& view : file.tensors()) {
    const size_t size = view.bytes.size();
    const size_t sample = std::min(size, kFingerprintSampleBytes);
    for (const size_t at : {size_t{0}, (size - sample) / 2, size - sample}) {
      add(view.bytes.subspan(at, sample));
    }
  }
  return to_hex(hash);
}

Result<ChatTemplate> read_template(const GgufFile& file, const Tokenizer& tokenizer) {
  PARKD_ASSIGN_OR_RETURN(const std::string_view source, file.string("tokenizer.chat_template"));
  auto made = ChatTemplate::from_jinja(source);
  if (!made.ok()) return invalid(file.error_text(made.status().message()));
  for (const std::string_view name : {"<|im_start|>", "<|im_end|>"}) {
    if (!tokenizer.find_special(name)) {
      return corrupt(file.error_text("the chat template needs the special token " +
                                     json_string(name) + ", which the vocabulary does not have"));
    }
  }
  return made;
}

}  // namespace

Result<std::shared_ptr<const ModelCard>> make_model_card(std::shared_ptr<const GgufFile> file) {
  PARKD_ASSIGN_OR_RETURN(const std::string_view architecture, file->string("general.architecture"));
  const Family* family = find_family(architecture);
  if (family == nullptr) {
    return invalid(file->error_text("architecture " + json_string(architecture) +
                                    " is not supported yet (" + family_names() + " are)"));
  }
  PARKD_ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::load(*file));
  PARKD_ASSIGN_OR_RETURN(ChatTemplate chat_template, read_template(*file, *tokenizer));

  ModelShape shape;
  shape.vocab = tokenizer->vocab_size();
  ShapeReader shape_reader(*file, architecture);
  PARKD_RETURN_IF_ERROR(family->read_shape(shape_reader, shape));
  TensorReader tensor_reader(*file, *family);
  if (shape_reader.used_rope_divisors()) tensor_reader.note_used(kRopeDivisors);
  ModelTensors tensors;
  PARKD_RETURN_IF_ERROR(tensor_reader.read(shape, tensors));
  PARKD_RETURN_IF_ERROR(tensor_reader.check_all_used());

  PARKD_ASSIGN_OR_RETURN(const std::string_view name,
                         file->string_or("general.name", architecture));
  auto card =
      std::make_shared<ModelCard>(ModelCard{.path = file->name(),
                                            .name = std::string(name),
                                            .architecture = std::string(architecture),
                                            .weight_types = summarise_types(file->tensors()),
                                            .n_parameters = 0,
                                            .weight_bytes = 0,
                                            .fingerprint = fingerprint_of(*file),
                                            .shape = std::move(shape),
                                            .tensors = std::move(tensors),
                                            .tokenizer = std::move(tokenizer),
                                            .chat_template = std::move(chat_template),
                                            .file = file});
  for (const TensorView& view : file->tensors()) {
    card->n_parameters += view.rows * view.columns;
    card->weight_bytes += static_cast<int64_t>(view.bytes.size());
  }
  return std::shared_ptr<const ModelCard>(std::move(card));
}

Result<std::shared_ptr<const ModelCard>> load_model_card(const std::string& path) {
  PARKD_ASSIGN_OR_RETURN(auto file, GgufFile::open(path));
  return make_model_card(std::move(file));
}

}  // namespace parkd
