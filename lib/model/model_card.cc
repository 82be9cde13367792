#include "lib/model/model_card.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/text.h"
#include "lib/model/family.h"
#include "lib/model/gguf_numbers.h"
#include "lib/model/hub_numbers.h"
#include "lib/model/hub_template.h"
#include "lib/model/tensor_reader.h"
#include "lib/text/tokenizer_folder.h"
#include "lib/weights/formats.h"

namespace parkd {
namespace {

constexpr size_t kFingerprintSampleBytes = 4096;

std::string summarise_types(const WeightsFile& file) {
  std::map<std::string_view, int> counts;
  for (const TensorView& view : file.tensors()) ++counts[format_of(view.type).name];
  for (size_t i = 0; i < file.float8_tensors().size(); ++i) ++counts["F8_E4M3"];
  std::vector<std::pair<int, std::string_view>> most_first;
  for (const auto& [type, count] : counts) most_first.emplace_back(-count, type);
  std::sort(most_first.begin(), most_first.end());
  std::string text;
  for (const auto& [minus_count, type] : most_first) {
    text += (text.empty() ? "" : ", ") + std::string(type) + " x" + std::to_string(-minus_count);
  }
  return text;
}

std::string fingerprint_of(const WeightsFile& file) {
  size_t size = 0;
  for (const std::span<const uint8_t> bytes : file.contents()) size += bytes.size();
  uint64_t hash = fnv1a64(std::to_string(size));
  const auto add = [&hash](std::span<const uint8_t> bytes) {
    hash = fnv1a64({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, hash);
  };
  for (const std::span<const uint8_t> header : file.headers()) add(header);
  const auto add_sample = [&add](std::span<const uint8_t> bytes) {
    const size_t sample = std::min(bytes.size(), kFingerprintSampleBytes);
    for (const size_t at : {size_t{0}, (bytes.size() - sample) / 2, bytes.size() - sample}) {
      add(bytes.subspan(at, sample));
    }
  };
  for (const TensorView& view : file.tensors()) add_sample(view.bytes);
  for (const Float8Tensor& tensor : file.float8_tensors()) add_sample(tensor.codes);
  return to_hex(hash);
}

// Names and texts of the special tokens that a template may name.
Result<std::vector<std::pair<std::string, std::string>>> read_specials(const GgufFile& file,
                                                                       const Tokenizer& tokenizer) {
  static constexpr std::pair<const char*, const char*> kNames[] = {
      {"bos_token", "bos"},     {"eos_token", "eos"},       {"unk_token", "unknown"},
      {"pad_token", "padding"}, {"sep_token", "seperator"},  // as GGUF spells it
      {"cls_token", "cls"},     {"mask_token", "mask"}};
  std::vector<std::pair<std::string, std::string>> specials;
  for (const auto& [name, key] : kNames) {
    PARKD_ASSIGN_OR_RETURN(const int64_t id,
                           file.integer_or("tokenizer.ggml." + std::string(key) + "_token_id", -1));
    if (id < 0 || id >= tokenizer.vocab_size()) continue;
    specials.emplace_back(name, tokenizer.token_text(static_cast<TokenId>(id)));
  }
  return specials;
}

Result<std::optional<ChatTemplate>> read_template(const GgufFile& file,
                                                  const Tokenizer& tokenizer) {
  PARKD_ASSIGN_OR_RETURN(const std::string_view source,
                         file.string_or("tokenizer.chat_template", {}));
  if (source.empty()) return std::optional<ChatTemplate>();
  TemplateSources sources{std::string(source), std::nullopt};
  PARKD_ASSIGN_OR_RETURN(const std::string_view tool_use,
                         file.string_or("tokenizer.chat_template.tool_use", {}));
  if (!tool_use.empty()) sources.tool_use = std::string(tool_use);
  PARKD_ASSIGN_OR_RETURN(const auto specials, read_specials(file, tokenizer));
  auto made = ChatTemplate::from_sources(sources, specials);
  if (!made.ok()) return invalid(file.error_text(made.status().message()));
  return std::optional<ChatTemplate>(std::move(made).value());
}

// What every kind of file has alike.
std::shared_ptr<ModelCard> start_card(const std::shared_ptr<const WeightsFile>& weights,
                                      std::string name, const Family& family, ModelText text) {
  auto card = std::make_shared<ModelCard>(ModelCard{.path = weights->name(),
                                                    .name = std::move(name),
                                                    .architecture = std::string(family.name),
                                                    .weight_types = summarise_types(*weights),
                                                    .n_parameters = 0,
                                                    .weight_bytes = 0,
                                                    .fingerprint = fingerprint_of(*weights),
                                                    .left_out = "",
                                                    .shape = {},
                                                    .tensors = {},
                                                    .tokenizer = std::move(text.tokenizer),
                                                    .chat_template = std::move(text.chat_template),
                                                    .end_tokens = {},
                                                    .weights = weights});
  for (const TensorView& view : weights->tensors()) {
    card->n_parameters += view.rows * view.columns;
    card->weight_bytes += static_cast<int64_t>(view.bytes.size());
  }
  for (const Float8Tensor& tensor : weights->float8_tensors()) {
    card->n_parameters += tensor.rows * tensor.columns;
    card->weight_bytes += tensor.rows * tensor.columns;
  }
  const auto ends = card->tokenizer->end_tokens();
  card->end_tokens.assign(ends.begin(), ends.end());
  return card;
}

Status read_tied_or_not(const HubConfig& config, const WeightsFile& file, TensorReader& reader,
                        ModelCard& card) {
  // transformers' flag of a model with other parts does not stand for its text: the files decide.
  const bool tied =
      config.tied ? *config.tied : !reader.has_head() && config.tied_of_whole.value_or(false);
  if (!tied && reader.has_head()) return reader.read_head(card.shape, card.tensors);
  if (tied) {
    reader.note_head_used();  // one that is there too is a copy
    return {};
  }
  return corrupt(file.error_text(
      "has no lm_head.weight, and tie_word_embeddings does not say that the embedding is it"));
}

Result<std::optional<ChatTemplate>> read_template(const ModelFolder& folder) {
  PARKD_ASSIGN_OR_RETURN(const std::optional<TemplateSources> sources,
                         read_template_sources(folder));
  if (!sources) return std::optional<ChatTemplate>();
  PARKD_ASSIGN_OR_RETURN(const SpecialNames specials, read_special_names(folder));
  auto made = ChatTemplate::from_sources(*sources, specials);
  if (!made.ok()) return invalid(folder.error_text(made.status().message()));
  return std::optional<ChatTemplate>(std::move(made).value());
}

Result<const Family*> family_of(const ModelFolder& folder) {
  PARKD_ASSIGN_OR_RETURN(const std::string model_type, read_model_type(folder));
  if (const Family* family = find_family_of_hub(model_type)) return family;
  return invalid(folder.error_text_of(kConfigFile, "model_type " + json_string(model_type) +
                                                       " is not supported yet (" + family_names() +
                                                       " are)"));
}

void leave_other_parts_out(TensorReader& reader, ModelCard& card) {
  for (const char* prefix : {"vision_tower.", "multi_modal_projector.", "model.vision_tower.",
                             "model.multi_modal_projector."}) {
    reader.leave_out(prefix);
  }
  card.left_out = "all but the text model";
}

}  // namespace

Result<std::shared_ptr<const ModelCard>> make_model_card(std::shared_ptr<const GgufFile> file) {
  PARKD_ASSIGN_OR_RETURN(const std::string_view architecture, file->string("general.architecture"));
  const Family* family = find_family_of_gguf(architecture);
  if (family == nullptr) {
    return invalid(file->error_text("architecture " + json_string(architecture) +
                                    " is not supported yet (" + family_names() + " are)"));
  }
  PARKD_ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::load(*file));
  PARKD_ASSIGN_OR_RETURN(std::optional<ChatTemplate> chat_template,
                         read_template(*file, *tokenizer));
  PARKD_ASSIGN_OR_RETURN(const std::string_view name,
                         file->string_or("general.name", architecture));
  PARKD_ASSIGN_OR_RETURN(const DecoderNumbers numbers, read_gguf_numbers(*file, architecture));
  auto card = start_card(file, std::string(name), *family,
                         {std::move(tokenizer), std::move(chat_template)});
  PARKD_ASSIGN_OR_RETURN(card->defaults, read_gguf_defaults(*file));
  card->shape.vocab = card->tokenizer->vocab_size();
  plan_layers(*family, numbers, card->shape);
  TensorReader reader(*file, *family, gguf_tensor_names());
  if (family->gguf_in_halves) card->tensors.rows_in_halves = numbers.rope.n_turned;
  for (const std::string_view tensor : gguf_rope_tensors(architecture)) reader.note_used(tensor);
  PARKD_RETURN_IF_ERROR(reader.read(card->shape, card->tensors));
  if (reader.has_head()) PARKD_RETURN_IF_ERROR(reader.read_head(card->shape, card->tensors));
  PARKD_RETURN_IF_ERROR(reader.check_all_used());
  return std::shared_ptr<const ModelCard>(std::move(card));
}

Result<std::shared_ptr<const ModelCard>> make_model_card(std::shared_ptr<const ModelFolder> folder,
                                                         ModelText text) {
  PARKD_ASSIGN_OR_RETURN(const Family* family, family_of(*folder));
  PARKD_ASSIGN_OR_RETURN(const HubConfig config, read_hub_config(*folder));
  if (text.tokenizer->vocab_size() > config.numbers.vocab) {
    return corrupt(folder->error_text(
        "the tokenizer has " + std::to_string(text.tokenizer->vocab_size()) +
        " tokens where config.json has vocab_size " + std::to_string(config.numbers.vocab)));
  }
  const std::string name = std::filesystem::path(folder->name()).filename().string();
  auto card = start_card(folder, name.empty() ? config.model_type : name, *family, std::move(text));
  card->shape.vocab = config.numbers.vocab;
  plan_layers(*family, config.numbers, card->shape);
  if (family->rope_layout == RopeLayout::interleaved) {
    const int32_t n_turned = config.numbers.rope.n_turned;
    card->tensors.rows_in_halves = n_turned > 0 ? n_turned : card->shape.head_dim;
  }
  card->tensors.norm_offset = family->hub_norm_offset;

  TensorReader reader(*folder, *family, hub_tensor_names(*folder));
  if (config.float8) reader.use_float8_blocks(*config.float8);
  PARKD_RETURN_IF_ERROR(reader.read(card->shape, card->tensors));
  PARKD_RETURN_IF_ERROR(read_tied_or_not(config, *folder, reader, *card));
  if (config.has_other_parts) leave_other_parts_out(reader, *card);
  // Llama 2's files hold the frequencies that config.json gives as well.
  for (const TensorView& view : folder->tensors()) {
    if (view.name.ends_with(".rotary_emb.inv_freq")) reader.note_used(view.name);
  }
  PARKD_RETURN_IF_ERROR(reader.check_all_used());

  if (const auto recommended = folder->text_of(kGenerationConfigFile)) {
    auto defaults = read_generation_config(*recommended, std::string(kGenerationConfigFile));
    if (!defaults.ok()) {
      return Status(defaults.status().code(), folder->error_text(defaults.status().message()));
    }
    card->defaults = std::move(defaults).value();
  }
  std::vector<TokenId>& ends = card->end_tokens;
  ends.insert(ends.end(), config.end_tokens.begin(), config.end_tokens.end());
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  return std::shared_ptr<const ModelCard>(std::move(card));
}

Result<std::shared_ptr<const ModelCard>> load_model_card(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    PARKD_ASSIGN_OR_RETURN(auto file, GgufFile::open(path));
    return make_model_card(std::move(file));
  }
  PARKD_ASSIGN_OR_RETURN(auto folder, ModelFolder::open(path));
  // Whether the model is one of ours is said before anything about its text.
  PARKD_RETURN_IF_ERROR(family_of(*folder).status());
  PARKD_RETURN_IF_ERROR(read_hub_config(*folder).status());
  PARKD_ASSIGN_OR_RETURN(auto tokenizer, read_tokenizer(*folder));
  PARKD_ASSIGN_OR_RETURN(std::optional<ChatTemplate> chat_template, read_template(*folder));
  return make_model_card(std::move(folder), {std::move(tokenizer), std::move(chat_template)});
}

bool was_written_over(const ModelCard& card) {
  return fingerprint_of(*card.weights) != card.fingerprint;
}

}  // namespace parkd
