#include "lib/model/model_card.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/text.h"

namespace parkd {
namespace {

constexpr int64_t kLayersMax = 4096;
constexpr int64_t kWidthMax = 1 << 20;  // hidden, ffn, heads x head_dim
constexpr int64_t kContextTokensMax = 1 << 24;
constexpr size_t kFingerprintSampleBytes = 4096;

// Reads one file's hyper-parameters and tensors; keeps account of the tensors it has used.
class CardReader {
 public:
  explicit CardReader(const GgufFile& file) : file_(file) {}

  Status read_shape(ModelShape& shape);
  Status read_tensors(const ModelShape& shape, ModelTensors& tensors);
  Status read_rope(ModelShape& shape);
  // A tensor that no layer asks for means arithmetic that we would leave out.
  Status check_all_used() const;

 private:
  Status unsupported(const std::string& what) const { return invalid(file_.error_text(what)); }

  // llama.KEY, an integer of [low, high].
  Result<int32_t> dimension(std::string_view key, int64_t low, int64_t high) const;
  Result<TensorView> tensor(const std::string& name, int64_t rows, int64_t columns);
  Result<TensorView> matrix(const std::string& name, int64_t rows, int64_t columns) {
    return tensor(name + ".weight", rows, columns);
  }
  // A norm's weight: one row of F32, as every converter writes it, or of F16/BF16.
  Result<TensorView> vector(const std::string& name, int64_t columns);
  Result<LayerTensors> layer(const ModelShape& shape, int32_t index);

  const GgufFile& file_;
  std::set<std::string_view> used_;
};

Result<int32_t> CardReader::dimension(std::string_view key, int64_t low, int64_t high) const {
  const std::string full = "llama." + std::string(key);
  PARKD_ASSIGN_OR_RETURN(const int64_t value, file_.integer(full));
  if (value < low || value > high) {
    return corrupt(file_.error_text("key " + json_string(full) + " is " + std::to_string(value) +
                                    ", the limits are " + std::to_string(low) + " and " +
                                    std::to_string(high)));
  }
  return static_cast<int32_t>(value);
}

Status CardReader::read_shape(ModelShape& shape) {
  for (const char* key : {"llama.expert_count", "llama.attention.sliding_window",
                          "llama.attention.clamp_kqv", "llama.logit_scale"}) {
    PARKD_ASSIGN_OR_RETURN(const double value, file_.number_or(key, 0));
    if (value != 0) return unsupported("key " + json_string(key) + " is not supported yet");
  }
  PARKD_ASSIGN_OR_RETURN(shape.n_layers, dimension("block_count", 1, kLayersMax));
  PARKD_ASSIGN_OR_RETURN(shape.hidden, dimension("embedding_length", 1, kWidthMax));
  PARKD_ASSIGN_OR_RETURN(shape.ffn, dimension("feed_forward_length", 1, kWidthMax));
  PARKD_ASSIGN_OR_RETURN(shape.context_tokens, dimension("context_length", 1, kContextTokensMax));
  PARKD_ASSIGN_OR_RETURN(shape.n_heads, dimension("attention.head_count", 1, kWidthMax));
  shape.n_kv_heads = shape.n_heads;
  if (file_.has("llama.attention.head_count_kv")) {
    PARKD_ASSIGN_OR_RETURN(shape.n_kv_heads,
                           dimension("attention.head_count_kv", 1, shape.n_heads));
  }
  if (shape.n_heads % shape.n_kv_heads != 0) {
    return corrupt(file_.error_text("llama.attention.head_count " + std::to_string(shape.n_heads) +
                                    " is no multiple of llama.attention.head_count_kv " +
                                    std::to_string(shape.n_kv_heads)));
  }
  if (file_.has("llama.attention.key_length")) {
    PARKD_ASSIGN_OR_RETURN(shape.head_dim, dimension("attention.key_length", 2, 1024));
    PARKD_ASSIGN_OR_RETURN(const int64_t value_length,
                           file_.integer_or("llama.attention.value_length", shape.head_dim));
    if (value_length != shape.head_dim) {
      return unsupported("llama.attention.value_length " + std::to_string(value_length) +
                         " differs from key_length " + std::to_string(shape.head_dim) +
                         ": not supported yet");
    }
  } else {
    if (shape.hidden % shape.n_heads != 0) {
      return corrupt(file_.error_text("llama.embedding_length " + std::to_string(shape.hidden) +
                                      " is no multiple of llama.attention.head_count " +
                                      std::to_string(shape.n_heads)));
    }
    shape.head_dim = shape.hidden / shape.n_heads;
  }
  if (shape.head_dim % 2 != 0 || int64_t{shape.head_dim} * shape.n_heads > kWidthMax) {
    return corrupt(file_.error_text(
        "a head of " + std::to_string(shape.head_dim) + " x " + std::to_string(shape.n_heads) +
        " heads: it must be even, and all of them at most " + std::to_string(kWidthMax)));
  }
  PARKD_ASSIGN_OR_RETURN(const double eps, file_.number("llama.attention.layer_norm_rms_epsilon"));
  if (!(eps > 0 && eps < 1)) {
    return corrupt(file_.error_text("llama.attention.layer_norm_rms_epsilon is not in (0, 1)"));
  }
  shape.rms_eps = static_cast<float>(eps);
  shape.attention_scale = static_cast<float>(1.0 / std::sqrt(double{1} * shape.head_dim));
  return {};
}

// RoFormer (Su et al. 2021): inv_freq[i] = base^(-2i / d); llama3's rope_freqs divides each.
Status CardReader::read_rope(ModelShape& shape) {
  PARKD_ASSIGN_OR_RETURN(const std::string_view scaling,
                         file_.string_or("llama.rope.scaling.type", "none"));
  PARKD_ASSIGN_OR_RETURN(const double factor, file_.number_or("llama.rope.scaling.factor", 1));
  PARKD_ASSIGN_OR_RETURN(const double scale_linear, file_.number_or("llama.rope.scale_linear", 1));
  if (scaling != "none" || factor != 1 || scale_linear != 1) {
    return unsupported("llama.rope.scaling " + json_string(scaling) + " is not supported yet");
  }
  PARKD_ASSIGN_OR_RETURN(const int64_t rotated,
                         file_.integer_or("llama.rope.dimension_count", shape.head_dim));
  if (rotated != shape.head_dim) {
    return unsupported("llama.rope.dimension_count " + std::to_string(rotated) +
                       " differs from the head's " + std::to_string(shape.head_dim) +
                       ": not supported yet");
  }
  PARKD_ASSIGN_OR_RETURN(const double base, file_.number_or("llama.rope.freq_base", 10000));
  if (!(base >= 1 && base <= 1e12)) {
    return corrupt(file_.error_text("llama.rope.freq_base is not in [1, 1e12]"));
  }
  std::vector<float> divisors(static_cast<size_t>(shape.head_dim / 2), 1.0F);
  if (file_.find_tensor("rope_freqs.weight") != nullptr) {
    PARKD_ASSIGN_OR_RETURN(const TensorView view, vector("rope_freqs", shape.head_dim / 2));
    if (view.type != TensorType::f32) return unsupported("tensor \"rope_freqs.weight\" is not F32");
    std::memcpy(divisors.data(), view.bytes.data(), view.bytes.size());
  }
  for (size_t i = 0; i < divisors.size(); ++i) {
    if (!(divisors[i] > 0) || !std::isfinite(divisors[i])) {
      return corrupt(file_.error_text("tensor \"rope_freqs.weight\" holds " +
                                      std::to_string(divisors[i]) + ", not a positive number"));
    }
    const double exponent = -2.0 * static_cast<double>(i) / shape.head_dim;
    shape.rope_inv_freq.push_back(static_cast<float>(std::pow(base, exponent) / divisors[i]));
  }
  shape.rope_layout = RopeLayout::interleaved;  // llama.cpp's converter permutes q and k for it
  return {};
}

Result<TensorView> CardReader::tensor(const std::string& name, int64_t rows, int64_t columns) {
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

Result<TensorView> CardReader::vector(const std::string& name, int64_t columns) {
  PARKD_ASSIGN_OR_RETURN(const TensorView view, tensor(name + ".weight", 1, columns));
  if (block_elements(view.type) != 1) {
    return unsupported("tensor " + json_string(view.name) + " is " +
                       std::string(to_string(view.type)) + ": a quantised vector is not supported");
  }
  return view;
}

Result<LayerTensors> CardReader::layer(const ModelShape& shape, int32_t index) {
  const std::string prefix = "blk." + std::to_string(index) + ".";
  const int64_t hidden = shape.hidden;
  const int64_t q_rows = int64_t{shape.n_heads} * shape.head_dim;
  const int64_t kv_rows = int64_t{shape.n_kv_heads} * shape.head_dim;
  LayerTensors layer;
  PARKD_ASSIGN_OR_RETURN(layer.attention_norm, vector(prefix + "attn_norm", hidden));
  PARKD_ASSIGN_OR_RETURN(layer.q, matrix(prefix + "attn_q", q_rows, hidden));
  PARKD_ASSIGN_OR_RETURN(layer.k, matrix(prefix + "attn_k", kv_rows, hidden));
  PARKD_ASSIGN_OR_RETURN(layer.v, matrix(prefix + "attn_v", kv_rows, hidden));
  PARKD_ASSIGN_OR_RETURN(layer.attention_out, matrix(prefix + "attn_output", hidden, q_rows));
  PARKD_ASSIGN_OR_RETURN(layer.ffn_norm, vector(prefix + "ffn_norm", hidden));
  PARKD_ASSIGN_OR_RETURN(layer.gate, matrix(prefix + "ffn_gate", shape.ffn, hidden));
  PARKD_ASSIGN_OR_RETURN(layer.up, matrix(prefix + "ffn_up", shape.ffn, hidden));
  PARKD_ASSIGN_OR_RETURN(layer.down, matrix(prefix + "ffn_down", hidden, shape.ffn));
  return layer;
}

Status CardReader::read_tensors(const ModelShape& shape, ModelTensors& tensors) {
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

Status CardReader::check_all_used() const {
  for (const TensorView& view : file_.tensors()) {
    if (used_.count(view.name) == 0) {
      return unsupported("tensor " + json_string(view.name) + " is not supported yet");
    }
  }
  return {};
}

std::string summarise_types(std::span<const TensorView> tensors) {
  std::map<std::string_view, int> counts;
  for (const TensorView& view : tensors) ++counts[to_string(view.type)];
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
  if (architecture != "llama") {
    return invalid(
        file->error_text("architecture " + json_string(architecture) + " is not supported yet"));
  }
  PARKD_ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::load(*file));
  PARKD_ASSIGN_OR_RETURN(ChatTemplate chat_template, read_template(*file, *tokenizer));

  CardReader reader(*file);
  ModelShape shape;
  PARKD_RETURN_IF_ERROR(reader.read_shape(shape));
  shape.vocab = tokenizer->vocab_size();
  PARKD_RETURN_IF_ERROR(reader.read_rope(shape));
  ModelTensors tensors;
  PARKD_RETURN_IF_ERROR(reader.read_tensors(shape, tensors));
  PARKD_RETURN_IF_ERROR(reader.check_all_used());

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
