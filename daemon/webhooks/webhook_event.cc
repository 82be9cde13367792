#include "daemon/webhooks/webhook_event.h"

#include <algorithm>
#include <iterator>

#include "lib/base/json_writer.h"
#include "lib/openai/batch_json.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr milliseconds kPauses[] = {seconds(5), seconds(30), minutes(2), minutes(10),
                                    hours(1),   hours(3),    hours(6),   hours(12)};
constexpr std::string_view kBatchPrefix = "batch_";

}  // namespace

WebhookEvent webhook_event(const Batch& batch) {
  const FileProgress& at = batch.progress;
  WebhookEvent event;
  event.id = "evt_" + batch.id.substr(kBatchPrefix.size());
  event.type = "batch." + std::string(file_batch_status(batch));
  JsonWriter json;
  json.begin_object();
  json.member("id", event.id).member("object", "event").member("type", event.type);
  json.member("created_at", unix_seconds(at.ended_at ? *at.ended_at : *at.validated_at));
  json.begin_object("data").member("id", batch.id).end_object();
  event.body = json.end_object().take();
  return event;
}

std::optional<milliseconds> pause_after(int32_t n, double jitter, seconds retry_after) {
  if (n < 1 || n > static_cast<int32_t>(std::size(kPauses))) return std::nullopt;
  const milliseconds pause = kPauses[n - 1];
  const milliseconds more(static_cast<int64_t>(jitter * static_cast<double>(pause.count()) / 5));
  return std::max<milliseconds>(pause + more, std::min<seconds>(retry_after, hours(12)));
}

}  // namespace parkd
