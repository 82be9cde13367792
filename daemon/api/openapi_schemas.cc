#include "daemon/api/openapi_schemas.h"

#include "daemon/api/openapi_parts.h"
#include "lib/job/bounds.h"

namespace parkd {

using namespace schema;  // its words

namespace {

void add_status(Schema& all) {
  all["Model"] = answer({{"id", text()},
                         {"object", one_of_words({"model"})},
                         {"created", unix_time()},
                         {"owned_by", text()},
                         {"state", text()},
                         {"in_memory", boolean()},
                         {"loads", whole(0)}});
  all["Models"] = answer({{"object", one_of_words({"list"})}, {"data", list_of(ref("Model"))}});
  all["Pool"] = answer({{"draining", boolean()},
                        {"store_trouble", boolean()},
                        {"unstored_endings", whole(0)},
                        {"models", list_of(answer({{"model", text()},
                                                   {"state", text()},
                                                   {"capacity_units", whole(0)},
                                                   {"in_use_units", whole(0)},
                                                   {"parked", whole(0)},
                                                   {"running", whole(0)}}))}});
  all["Health"] = answer({{"status", one_of_words({"ok"})}});
  all["Readiness"] =
      answer({{"ready", boolean()},
              {"degraded", boolean()},
              {"failed_models", list_of(text())},
              {"stopping", boolean()},
              {"store_healthy", boolean()},
              {"models", list_of(ref("Model"))}},
             {{"notices",
               list_of(answer({{"code", text()}, {"text", text()}, {"not_ready", boolean()}}))}});
  // By TCP a POST needs its Content-Type in any case; what comes is not read.
  all["Empty"] = Schema{{"description", "nothing is expected, {} is fine"}};
  all["Error"] = answer({{"error", answer({{"message", text()},
                                           {"type", text()},
                                           {"param", or_null(text())},
                                           {"code", or_null(text())}})}});
}

Schema flag() {
  return whole(0, 1);
}

}  // namespace

boost::json::object api_schemas() {
  Schema all;
  schema::add_jobs(all);
  schema::add_models(all);
  schema::add_batches(all);
  add_status(all);
  return all;
}

boost::json::object query_schema(std::string_view path, std::string_view name) {
  const bool is_of_jobs = path == "/v1/jobs";
  if (name == "limit") return whole(1, path == "/v1/files" ? kFilesListedMax : kJobsListedMax);
  if (name == "after" && is_of_jobs) return whole(0, INT64_MAX);
  if (name == "state") return one_of_words({"scheduled", "queued", "claimed", "cancelling"});
  if (name == "of") return one_of_words({"files", "jobs"});
  if (name == "order") return one_of_words({"asc", "desc"});
  if (name == "include_usage" || name == "skip_damaged") return flag();
  if (name == "wait_s") return whole(0, kWaitMax.count());
  if (name == "job") return whole(0, INT64_MAX);
  if (name == "cursor") return text_like("^c[0-9a-f]{16}$");
  return text();
}

}  // namespace parkd
