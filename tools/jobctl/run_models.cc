#include "tools/jobctl/run_models.h"

#include <algorithm>
#include <boost/json.hpp>

#include "tools/jobctl/json_fields.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

Result<json::array> models_of(Client& client) {
  PARKD_ASSIGN_OR_RETURN(const Answer answer, client.models());
  const json::value* data = find(answer.json, "data");
  if (data == nullptr || !data->is_array()) {
    return internal_error("the answer of models cannot be read");
  }
  return data->get_array();
}

bool has_failed(const json::value& model) {
  return text_at(model, "state") == "failed";
}

std::string why_not_loaded(const json::value& model) {
  return "model " + text_at(model, "id") + " could not be loaded: " + text_at(model, "failure");
}

}  // namespace

Status can_run(Client& client, const std::set<std::string>& named) {
  PARKD_ASSIGN_OR_RETURN(const json::array models, models_of(client));
  std::string why;
  std::string loading;
  for (const std::string& name : named) {
    const auto fits = [&name](const json::value& model) {
      return name.empty() || text_at(model, "id") == name;
    };
    const auto found = std::find_if(models.begin(), models.end(), [&](const json::value& model) {
      return fits(model) && !has_failed(model);
    });
    if (found != models.end()) {
      if (text_at(*found, "state") != "loading") return {};
      loading = text_at(*found, "id");
      continue;
    }
    const auto broken = std::find_if(models.begin(), models.end(), fits);
    if (!why.empty()) why += "; ";
    why += broken != models.end() ? why_not_loaded(*broken) : "there is no model " + name;
  }
  if (!loading.empty()) return unavailable("model " + loading + " is being loaded");
  std::string here;
  for (const json::value& model : models) here += (here.empty() ? "" : ", ") + text_at(model, "id");
  return conflict("no line can run, so none was submitted: " + why +
                  (here.empty() ? " (no model is here)" : " (models here: " + here + ")") +
                  "; --model runs every line on one");
}

Result<std::optional<std::string>> failed_model(Client& client,
                                                const std::set<std::string>& named) {
  PARKD_ASSIGN_OR_RETURN(const json::array models, models_of(client));
  for (const json::value& model : models) {
    const bool is_asked_for =
        named.contains(text_at(model, "id")) || (models.size() == 1 && named.contains(""));
    if (is_asked_for && has_failed(model)) return std::optional(why_not_loaded(model));
  }
  return std::optional<std::string>();
}

}  // namespace parkd::jobctl
