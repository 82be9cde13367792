#include "daemon/batches/portion.h"

#include <cstdio>
#include <string>
#include <utility>

#include "daemon/models/job_check.h"
#include "lib/base/log.h"
#include "lib/job/endpoints.h"
#include "lib/store/batch_rules.h"
#include "lib/store/wait_for.h"

namespace parkd {
namespace {

constexpr size_t kJobsMax = 1000;
constexpr size_t kBytesMax = 8 << 20;
constexpr const char* kNoBody = "{}";

}  // namespace

Portion::Portion(const Batch& batch, const Config& config, std::shared_ptr<const ModelTable> models)
    : batch_(batch), config_(config), models_(std::move(models)) {
  who_.tenant = batch.spec.tenant;
}

bool Portion::is_full() const {
  return jobs_.size() >= kJobsMax || n_bytes_ >= kBytesMax;
}

void Portion::add(LineRequest line, const CutLine& at) {
  const FileBatchSpec& file = *batch_.spec.file;
  JobSpec job;
  job.tenant = batch_.spec.tenant;
  job.endpoint = file.endpoint;
  job.model = std::move(line.model);
  job.custom_id = std::move(line.custom_id);
  job.body = std::move(line.body);
  const EndpointPath* endpoint = find_endpoint(file.endpoint);
  if (file.max_tokens && endpoint != nullptr) {
    job.body = with_max_tokens(job.body, endpoint->max_tokens_field, *file.max_tokens);
  }
  job.batch_id = batch_.id;
  job.mailbox_key = batch_.result_key();
  job.idempotency_key = line_key(batch_.id, at.offset);
  job.priority = Priority::low;
  job.retention = batch_.spec.retention;
  // A body that no model takes becomes a job all the same: its line of the error file says why.
  if (!check_job({config_, models_, who_}, job).ok()) price_unread(job);
  n_bytes_ += job.body.size();
  ends_.push_back(at.end);
  jobs_.push_back(std::move(job));
}

Result<int64_t> Portion::submit(ClientStore& store) {
  for (size_t n = jobs_.size();;) {
    const Status status = wait_for<std::vector<SubmittedJob>>([&](auto done) {
                            store.submit({jobs_.begin(), first(n)}, std::move(done));
                          }).status();
    if (status.ok()) return drop_first(n);
    if (status.code() == StatusCode::exhausted && n > 1) {
      n /= 2;
    } else if (!give_up_body(status)) {
      return status;
    }
  }
}

int64_t Portion::drop_first(size_t n) {
  const int64_t end = ends_[n - 1];
  jobs_.erase(jobs_.begin(), first(n));
  ends_.erase(ends_.begin(), ends_.begin() + static_cast<std::ptrdiff_t>(n));
  return end;
}

// Of one job that cannot be stored as it stands no body is kept: it is refused when its turn comes.
// Whether there was such a one.
bool Portion::give_up_body(const Status& status) {
  size_t i = 0;
  if (status.code() != StatusCode::invalid || !status.param().ends_with(".body") ||
      std::sscanf(status.param().c_str(), "jobs[%zu]", &i) != 1 || i >= jobs_.size() ||
      jobs_[i].body == kNoBody) {
    return false;
  }
  log_warn(
      "batches.line_not_storable",
      {{"batch", batch_.id}, {"custom_id", jobs_[i].custom_id}, {"error", status.to_string()}});
  jobs_[i].body = kNoBody;
  price_unread(jobs_[i]);
  return true;
}

}  // namespace parkd
