#include "daemon/models/job_check.h"

#include <cstdint>
#include <string>

#include "lib/openai/request_options.h"

namespace parkd {
namespace {

int32_t estimated_tokens(const std::string& body, int32_t n_prompts) {
  constexpr int64_t kBytesPerToken = 4;
  return static_cast<int32_t>(1 + static_cast<int64_t>(body.size()) / (kBytesPerToken * n_prompts));
}

// While a model's file is still being read its prompts cannot be counted: the body is checked, the
// count is an estimate, and the claim finds out.
Status estimate(JobSpec& spec) {
  PARKD_ASSIGN_OR_RETURN(const RequestOptions request,
                         read_request_options(spec.endpoint, spec.body));
  spec.n_choices = request.n_prompts * request.n;
  spec.prompt_tokens = estimated_tokens(spec.body, request.n_prompts);
  spec.max_new_tokens = request.max_tokens.value_or(128);
  return {};
}

std::string no_model(const std::string& asked, const ModelTable& models) {
  std::string here;
  for (const auto& [name, entry] : models) here += (here.empty() ? "" : ", ") + name;
  return "there is no model \"" + asked + "\" here; there " +
         (models.size() == 1 ? "is " : "are ") + (here.empty() ? "none" : here) +
         ": name one as model (jobctl: --model)";
}

}  // namespace

Status check_job(const SubmitCheck& check, JobSpec& spec) {
  if (spec.tenant.empty()) spec.tenant = check.who.tenant;
  PARKD_RETURN_IF_ERROR(check.who.may_act_for(spec.tenant));
  if (spec.priority == Priority::critical && !check.who.may_be_critical) {
    return denied("tenant \"" + spec.tenant +
                  "\" is not granted priority critical (daemon.critical_tenants)")
        .with_param("priority");
  }
  if (spec.model.empty()) spec.model = check.config.default_model;
  if (spec.model.empty()) return invalid_param("model", "model is missing and there is no default");
  const auto found = check.models->find(spec.model);
  if (found == check.models->end()) {
    return invalid_param("model", no_model(spec.model, *check.models))
        .with_error_code(kModelNotFound);
  }
  const ModelEntry& model = found->second;
  if (model.state == ModelState::failed) {
    return unavailable("model " + spec.model + " could not be loaded: " + model.failure)
        .with_param("model");
  }
  if (!spec.retention) spec.retention = model.retention;
  if (model.endpoint == nullptr) return estimate(spec);
  return model.endpoint->admit(spec);
}

void price_unread(JobSpec& spec) {
  spec.n_choices = 1;
  spec.prompt_tokens = estimated_tokens(spec.body, 1);
  spec.max_new_tokens = 1;
}

}  // namespace parkd
