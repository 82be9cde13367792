#include "tests/support/random_model.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <span>
#include <system_error>
#include <utility>

#include "lib/weights/formats.h"
#include "tests/support/encode_tensor.h"
#include "tests/support/tiny_gguf.h"
#include "tests/support/tiny_tokenizer.h"
#include "tests/support/tiny_weights.h"

namespace parkd::testing {
namespace {

constexpr size_t kPoolElements = size_t{1} << 22;
// Where a matrix begins to read the pool: whole blocks of every format (256), and another place for
// every row of the usual widths.
constexpr size_t kStride = 256 * 7919;

RandomModel model(std::string name, const char* architecture, int32_t n_layers, int32_t hidden,
                  int32_t ffn, int32_t n_heads, int32_t n_kv_heads, int32_t head_dim, bool tied,
                  int32_t vocab, int32_t context_tokens) {
  RandomModel made;
  made.name = std::move(name);
  made.options.architecture = architecture;
  made.options.type = TensorType::bf16;
  made.options.tied = tied;
  made.options.n_layers = n_layers;
  made.options.hidden = hidden;
  made.options.ffn = ffn;
  made.options.n_heads = n_heads;
  made.options.n_kv_heads = n_kv_heads;
  made.options.head_dim = head_dim;
  made.options.context_tokens = context_tokens;
  made.vocab = vocab;
  return made;
}

int64_t row_bytes(TensorType type, int64_t columns) {
  const TensorFormat& format = format_of(type);
  return columns / format.block_elements * format.block_bytes;
}

TensorType type_of(const TinyWeightPlan& plan, const TinyModelOptions& options) {
  return plan.is_matrix ? options.type : TensorType::f32;
}

int64_t bytes_of(const TinyWeightPlan& plan, const TinyModelOptions& options) {
  return plan.rows * row_bytes(type_of(plan, options), plan.columns);
}

size_t padded(size_t bytes) {
  return (bytes + GgufWriter::kAlignment - 1) / GgufWriter::kAlignment * GgufWriter::kAlignment;
}

// Normal numbers in a format, one pool a deviation.
class Pool {
 public:
  Pool(uint64_t seed, TensorType type) : type_(type) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    for (float& value : values_) value = normal(random);
  }

  std::span<const uint8_t> of(float deviation) {
    std::vector<uint8_t>& bytes = encoded_[deviation];
    if (bytes.empty()) {
      std::vector<float> scaled = values_;
      for (float& value : scaled) value *= deviation;
      bytes = encode(type_, scaled);
    }
    return bytes;
  }

  std::vector<float> norm(const TinyWeightPlan& plan) {
    std::vector<float> values;
    for (int64_t i = 0; i < plan.columns; ++i) {
      values.push_back(plan.mean + plan.deviation * values_[next_++ % values_.size()]);
    }
    return values;
  }

 private:
  const TensorType type_;
  std::vector<float> values_ = std::vector<float>(kPoolElements);
  std::map<float, std::vector<uint8_t>> encoded_;
  size_t next_ = 0;
};

class ModelFile {
 public:
  explicit ModelFile(const std::string& path)
      : path_(path), file_(path, std::ios::binary | std::ios::trunc) {}

  void write(std::span<const uint8_t> bytes) {
    file_.write(reinterpret_cast<const char*>(bytes.data()),
                static_cast<std::streamsize>(bytes.size()));
  }
  // `n` bytes of the pool, from another place each time.
  void write_some(std::span<const uint8_t> pool, size_t stride, size_t n) {
    start_ = (start_ + stride) % pool.size();
    for (size_t at = start_; n > 0; at = 0) {
      const size_t some = std::min(n, pool.size() - at);
      write(pool.subspan(at, some));
      n -= some;
    }
  }
  void write_zeros(size_t n) { write(std::vector<uint8_t>(n)); }

  Status close() {
    file_.close();
    if (file_) return {};
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path_, ignored)) std::filesystem::remove(path_, ignored);
    return unavailable(path_ + " cannot be written: is there room for it?");
  }
  bool good() const { return file_.good(); }

 private:
  const std::string path_;
  std::ofstream file_;
  size_t start_ = 0;
};

}  // namespace

const std::vector<RandomModel>& random_models() {
  static const std::vector<RandomModel> models = [] {
    std::vector<RandomModel> all = {
        // v0.3; sources: the models' config.json.
        model("mistral-7b", "mistral", 32, 4096, 14336, 32, 8, 128, false, 32768, 32768),
        model("ministral-3-3b", "ministral3", 26, 3072, 9216, 32, 8, 128, true, 131072, 32768),
        model("qwen3-0.6b", "qwen3", 28, 1024, 3072, 16, 8, 128, true, 151936, 32768),
        model("qwen3-8b", "qwen3", 36, 4096, 12288, 32, 8, 128, false, 151936, 32768),
        model("mini", "mistral", 2, 128, 192, 4, 2, 64, false, 512, 2048),
        model("mini-qwen3", "qwen3", 2, 128, 192, 4, 2, 64, true, 512, 2048),
    };
    return all;
  }();
  return models;
}

const RandomModel* find_random_model(std::string_view name) {
  const auto& all = random_models();
  const auto it = std::find_if(all.begin(), all.end(),
                               [name](const RandomModel& model) { return model.name == name; });
  return it == all.end() ? nullptr : &*it;
}

int64_t random_model_bytes(const RandomModel& model) {
  int64_t bytes = 0;
  for (const TinyWeightPlan& plan : plan_tiny_weights(model.options, model.vocab)) {
    bytes += bytes_of(plan, model.options);
  }
  return bytes;
}

Status write_random_model(const std::string& path, const RandomModel& model) {
  const TensorFormat& format = format_of(model.options.type);
  TinyVocabulary vocabulary = tiny_vocabulary();
  while (vocabulary.texts.size() < static_cast<size_t>(model.vocab)) {
    vocabulary.texts.push_back("<unsaid_" + std::to_string(vocabulary.texts.size()) + ">");
  }
  GgufWriter head;
  add_tiny_head(head, model.options, vocabulary);
  const auto plans =
      plan_tiny_weights(model.options, static_cast<int64_t>(vocabulary.texts.size()));
  size_t offset = 0;
  for (const TinyWeightPlan& plan : plans) {
    if (plan.is_matrix && plan.columns % format.block_elements != 0) {
      return invalid(plan.name + " has " + std::to_string(plan.columns) +
                     " columns, no multiple of " + std::to_string(format.block_elements) +
                     ", the block of " + std::string(format.name));
    }
    std::vector<uint64_t> dimensions = {static_cast<uint64_t>(plan.columns)};
    if (plan.rows != 1) dimensions.push_back(static_cast<uint64_t>(plan.rows));
    head.add_tensor_at(gguf_name(plan.name), static_cast<uint32_t>(type_of(plan, model.options)),
                       dimensions, offset);
    offset += padded(static_cast<size_t>(bytes_of(plan, model.options)));
  }

  Pool pool(model.options.seed, model.options.type);
  const auto stride = static_cast<size_t>(row_bytes(model.options.type, kStride));
  ModelFile file(path);
  file.write(head.bytes());
  for (const TinyWeightPlan& plan : plans) {
    const auto bytes = static_cast<size_t>(bytes_of(plan, model.options));
    if (plan.is_matrix) {
      // Control tokens are not said, as in the tiny models.
      const int64_t n_unsaid = plan.head ? static_cast<int64_t>(vocabulary.n_special) : 0;
      const auto unsaid =
          static_cast<size_t>(n_unsaid * row_bytes(model.options.type, plan.columns));
      file.write_zeros(unsaid);
      file.write_some(pool.of(plan.deviation), stride, bytes - unsaid);
    } else {
      file.write(encode(TensorType::f32, pool.norm(plan)));
    }
    file.write_zeros(padded(bytes) - bytes);
    if (!file.good()) break;
  }
  return file.close();
}

}  // namespace parkd::testing
