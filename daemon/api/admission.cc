#include "daemon/api/admission.h"

#include <cstdint>
#include <string>

#include "daemon/health/disk_room.h"
#include "lib/openai/request_options.h"

namespace parkd {
namespace {

constexpr int64_t kEstimatedBytesPerToken = 4;

// While a model's file is still being read its prompts cannot be counted: the body is checked, the
// count is an estimate, and the claim finds out.
Status estimate(JobSpec& spec) {
  PARKD_ASSIGN_OR_RETURN(const RequestOptions request,
                         read_request_options(spec.endpoint, spec.body));
  spec.n_choices = request.n_prompts * request.n;
  spec.prompt_tokens = static_cast<int32_t>(1 + static_cast<int64_t>(spec.body.size()) /
                                                    (kEstimatedBytesPerToken * request.n_prompts));
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

// A durable queue refuses by what is left of the disk, not by counting.
Status may_submit(const Config& config, const Asked& asked) {
  PARKD_RETURN_IF_ERROR(check_disk_room(config, 0));
  return asked.may_accept;
}

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

Status without_index(const Status& status) {
  constexpr std::string_view kFirst = "jobs[0].";
  if (status.param().rfind(kFirst, 0) != 0) return status;
  std::string message = status.message();
  if (message.rfind(kFirst, 0) == 0) message.erase(0, kFirst.size());
  return Status(status).with_message(message).with_param(status.param().substr(kFirst.size()));
}

std::function<Status(size_t)> charged_to(const std::shared_ptr<ByteBudget::Charge>& charge) {
  return [charge](size_t bytes) -> Status {
    if (charge->held_bytes() + bytes > charge->bytes_max()) {
      return invalid("the request takes more than " + std::to_string(charge->bytes_max()) +
                     " bytes of memory to read, which is all that one user may have: send it in "
                     "pieces");
    }
    return charge->grow(bytes);
  };
}

}  // namespace parkd
