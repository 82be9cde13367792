#include "lib/model/hub_template.h"

#include "lib/model/hub_json.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr std::string_view kTokenizerConfigFile = "tokenizer_config.json";
constexpr const char* kMust = "chat_template must be a text or a list of {name, template}";

Result<std::optional<TemplateSources>> read_list(const JsonFields& config,
                                                 const json::array& list) {
  std::optional<std::string> text;
  std::optional<std::string> tool_use;
  for (const json::value& each : list) {
    const json::object* entry = each.if_object();
    const json::value* name = entry == nullptr ? nullptr : entry->if_contains("name");
    const json::value* source = entry == nullptr ? nullptr : entry->if_contains("template");
    if (name == nullptr || source == nullptr || !name->is_string() || !source->is_string()) {
      return config.damaged(kMust);
    }
    if (name->get_string() == "default") text = std::string(source->get_string());
    if (name->get_string() == "tool_use") tool_use = std::string(source->get_string());
  }
  if (!text) return config.unsupported("chat_template", "has none that is named \"default\"");
  return std::optional(TemplateSources{*std::move(text), std::move(tool_use)});
}

}  // namespace

Result<std::optional<TemplateSources>> read_template_sources(const ModelFolder& folder) {
  if (const auto text = folder.text_of("chat_template.jinja")) {
    TemplateSources sources{std::string(*text), std::nullopt};
    const auto tool_use = folder.text_of("additional_chat_templates/tool_use.jinja");
    if (tool_use) sources.tool_use = std::string(*tool_use);
    return std::optional(std::move(sources));
  }
  if (!folder.text_of(kTokenizerConfigFile)) return std::optional<TemplateSources>();
  PARKD_ASSIGN_OR_RETURN(const JsonFile file, read_json_file(folder, kTokenizerConfigFile));
  const JsonFields config(folder, file);
  const json::value* found = config.find("chat_template");
  if (found == nullptr) return std::optional<TemplateSources>();
  if (found->is_array()) return read_list(config, found->get_array());
  if (!found->is_string()) return config.damaged(kMust);
  return std::optional(TemplateSources{std::string(found->get_string()), std::nullopt});
}

Result<SpecialNames> read_special_names(const ModelFolder& folder) {
  SpecialNames specials;
  if (!folder.text_of(kTokenizerConfigFile)) return specials;
  PARKD_ASSIGN_OR_RETURN(const JsonFile file, read_json_file(folder, kTokenizerConfigFile));
  const JsonFields config(folder, file);
  for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token",
                           "cls_token", "mask_token"}) {
    const boost::json::value* found = config.find(name);
    if (found == nullptr) continue;
    if (const boost::json::object* added = found->if_object()) {  // with lstrip and the like
      found = added->if_contains("content");
    }
    if (found == nullptr || !found->is_string()) {
      return config.damaged(std::string(name) + " is neither a text nor one with content");
    }
    specials.emplace_back(name, std::string(found->get_string()));
  }
  return specials;
}

}  // namespace parkd
