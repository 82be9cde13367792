#include "tests/golden/golden_files.h"

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "lib/base/check.h"

namespace parkd::testing {
namespace {

namespace json = boost::json;

// In the sources, or where a kit carries them (tools/gpu_pack.sh).
std::string golden_folder() {
  const char* carried = std::getenv("PARKD_GOLDEN_DIR");
  return carried != nullptr ? carried : std::string(PARKD_SOURCE_DIR) + "/tests/golden";
}

json::value read_json(const std::string& name) {
  const std::string path = golden_folder() + "/" + name;
  std::ifstream file(path, std::ios::binary);
  PARKD_CHECK(file.good(), path + " cannot be read");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return json::parse(text);
}

std::vector<TokenId> ids_of(const json::value& array) {
  return json::value_to<std::vector<TokenId>>(array);
}

std::vector<TokenLogprob> tokens_with_values(const json::value& row) {
  std::vector<TokenLogprob> result;
  for (const json::value& entry : row.as_array()) {
    result.push_back({entry.at(0).to_number<TokenId>(), entry.at(1).to_number<float>()});
  }
  return result;
}

TinyModelOptions model_of(const json::object& options) {
  const auto number = [&](const char* name) { return options.at(name).to_number<int32_t>(); };
  TinyModelOptions model;
  model.architecture = json::value_to<std::string>(options.at("architecture"));
  model.seed = options.at("seed").to_number<uint64_t>();
  model.n_layers = number("layers");
  model.hidden = number("hidden");
  model.ffn = number("ffn");
  model.n_heads = number("heads");
  model.n_kv_heads = number("kv-heads");
  model.head_dim = number("head-dim");
  model.tied = options.at("tied").as_bool();
  if (const json::value* scaling = options.if_contains("rope-scaling")) {
    model.rope_scaling = json::value_to<std::string>(*scaling);
  }
  const auto number_or_0 = [&](const char* name) {
    return options.contains(name) ? number(name) : 0;
  };
  model.window = number_or_0("window");
  model.first_windowed = number_or_0("first-windowed");
  model.window_period = number_or_0("window-period");
  model.query_divisor = number_or_0("query-divisor");
  model.n_turned = number_or_0("turned");
  if (options.contains("context")) model.context_tokens = number("context");
  if (options.contains("original-context")) model.original_context = number("original-context");
  return model;
}

GoldenPrompt prompt_of(const json::object& row) {
  GoldenPrompt prompt;
  prompt.name = json::value_to<std::string>(row.at("name"));
  for (const json::value& message : row.at("messages").as_array()) {
    prompt.messages.push_back({json::value_to<std::string>(message.at("role")),
                               json::value_to<std::string>(message.at("content"))});
  }
  prompt.rendered = json::value_to<std::string>(row.at("rendered"));
  prompt.prompt = ids_of(row.at("prompt"));
  prompt.generated = ids_of(row.at("generated"));
  prompt.ends_at = json::value_to<size_t>(row.at("ends_at"));
  prompt.text = json::value_to<std::string>(row.at("text"));
  for (const json::value& position : row.at("top").as_array()) {
    prompt.top.push_back(tokens_with_values(position));
  }
  prompt.gap = json::value_to<std::vector<float>>(row.at("gap"));
  return prompt;
}

}  // namespace

GoldenClasses load_golden_classes() {
  const json::value file = read_json("unicode_classes.json");
  using Ranges = GoldenClasses::Ranges;
  return {json::value_to<Ranges>(file.at("letters")), json::value_to<Ranges>(file.at("numbers")),
          json::value_to<Ranges>(file.at("digits"))};
}

std::map<std::string, GoldenFormat> load_golden_formats() {
  const json::value file = read_json("formats.json");
  std::map<std::string, GoldenFormat> formats;
  for (const json::value& each : file.at("cases").as_array()) {
    formats[json::value_to<std::string>(each.at("type"))] = {
        each.at("bytes").to_number<size_t>(), each.at("elements").to_number<size_t>(),
        json::value_to<std::string>(each.at("fnv1a64")),
        json::value_to<std::vector<std::string>>(each.at("first"))};
  }
  return formats;
}

std::vector<GoldenFamily> load_golden_families() {
  const json::value file = read_json("families.json");
  std::vector<GoldenFamily> families;
  for (const json::value& each : file.at("cases").as_array()) {
    GoldenFamily& family = families.emplace_back();
    family.name = json::value_to<std::string>(each.at("name"));
    family.model = model_of(each.at("options").as_object());
    family.fnv1a64 = json::value_to<std::string>(each.at("fnv1a64"));
    family.config = json::serialize(each.at("config"));
    family.tokens = ids_of(each.at("tokens"));
    family.prompt_tokens = json::value_to<size_t>(each.at("prompt_tokens"));
    for (const json::value& row : each.at("logits").as_array()) {
      family.logits.push_back(tokens_with_values(row));
    }
    family.tolerance = file.at("tolerance").to_number<double>();
  }
  return families;
}

std::vector<GoldenPrompt> load_golden_prompts() {
  const json::value file = read_json("smollm2-135m/prompts.json");
  std::vector<GoldenPrompt> prompts;
  for (const json::value& row : file.at("prompts").as_array()) {
    prompts.push_back(prompt_of(row.as_object()));
  }
  return prompts;
}

std::vector<GoldenString> load_golden_strings() {
  const json::value file = read_json("smollm2-135m/tokenizer.json");
  std::vector<GoldenString> strings;
  for (const json::value& row : file.at("strings").as_array()) {
    strings.push_back({json::value_to<std::string>(row.at("text")), ids_of(row.at("ids"))});
  }
  return strings;
}

std::string golden_model_path() {
  const char* path = std::getenv("PARKD_TEST_MODEL");
  if (path == nullptr || *path == '\0') return {};
  // The size tells the goldens' file from any other quantisation; tools/setup.sh checks its
  // SHA-256.
  constexpr uintmax_t kGoldenModelBytes = 98'362'432;
  PARKD_CHECK(std::filesystem::file_size(path) == kGoldenModelBytes,
              std::string("PARKD_TEST_MODEL ") + path + " is not the model of the goldens");
  return path;
}

bool golden_model_is_required() {
  const char* strict = std::getenv("PARKD_CI_STRICT");
  return strict != nullptr && std::string(strict) == "1";
}

}  // namespace parkd::testing
