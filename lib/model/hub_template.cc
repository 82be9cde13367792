#include "lib/model/hub_template.h"

#include "lib/model/hub_json.h"

namespace parkd {
namespace {

constexpr std::string_view kTokenizerConfigFile = "tokenizer_config.json";

}  // namespace

Result<std::optional<std::string>> read_template_source(const ModelFolder& folder) {
  namespace json = boost::json;
  if (const auto text = folder.text_of("chat_template.jinja")) {
    return std::optional<std::string>(*text);
  }
  if (!folder.text_of(kTokenizerConfigFile)) return std::optional<std::string>();
  PARKD_ASSIGN_OR_RETURN(const JsonFile file, read_json_file(folder, kTokenizerConfigFile));
  const JsonFields config(folder, file);
  const json::value* found = config.find("chat_template");
  if (found == nullptr) return std::optional<std::string>();
  if (found->is_string()) return std::optional<std::string>(std::string(found->get_string()));
  if (found->is_array()) {
    for (const json::value& each : found->get_array()) {
      const json::object* entry = each.if_object();
      const json::value* name = entry == nullptr ? nullptr : entry->if_contains("name");
      const json::value* source = entry == nullptr ? nullptr : entry->if_contains("template");
      if (name == nullptr || source == nullptr || !name->is_string() || !source->is_string()) {
        return config.damaged("chat_template must be a text or a list of {name, template}");
      }
      if (name->get_string() == "default") {
        return std::optional<std::string>(std::string(source->get_string()));
      }
    }
    return config.unsupported("chat_template", "has none that is named \"default\"");
  }
  return config.damaged("chat_template must be a text or a list of {name, template}");
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
