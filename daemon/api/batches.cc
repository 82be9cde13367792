// /v1/batches, and /v1/jobs/requeue: open, look at, seal and cancel batches; finished jobs again.
#include <boost/json.hpp>

#include "daemon/api/api.h"
#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/base/raw_json.h"
#include "lib/openai/batch_json.h"
#include "lib/openai/wire.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr size_t kDepthMax = 32;  // of a request's JSON

// The fields of a request, each asked for by name; what is left over is an error. They are in
// `memory`, and `body` must outlive them.
class Fields {
 public:
  static Result<Fields> parse(const std::string& body, JsonMemory& memory) {
    PARKD_ASSIGN_OR_RETURN(json::value parsed,
                           read_json(body.empty() ? "{}" : body, "the request", kDepthMax, memory));
    if (!parsed.is_object()) return invalid("the request must be a JSON object");
    return Fields(std::move(parsed.get_object()), without_mark(body));
  }

  std::string text(const char* key) { return optional_text(key).value_or(std::string()); }
  std::optional<std::string> optional_text(const char* key) {
    const json::value* value = take(key);
    if (value == nullptr) return std::nullopt;
    if (value->is_string()) return std::string(value->get_string());
    fail(key, "must be a string");
    return std::nullopt;
  }
  std::optional<int64_t> number(const char* key, int64_t min, int64_t max) {
    const json::value* value = take(key);
    if (value == nullptr) return std::nullopt;
    const auto number = whole_number(*value);
    if (number && *number >= min && *number <= max) return number;
    fail(key, "must be a whole number from " + std::to_string(min) + " to " + std::to_string(max));
    return std::nullopt;
  }
  std::optional<WallTime> instant(const char* key) {
    const std::optional<std::string> given = optional_text(key);
    if (!given) return std::nullopt;
    const auto time = parse_rfc3339(*given);
    if (!time) fail(key, not_a_time(*given));
    return time;
  }
  // JSON of an object, as it stands in the request; empty when left out.
  std::string object(const char* key) {
    const json::value* value = take(key);
    if (value == nullptr) return {};
    if (value->is_object()) return std::string(raw_member(raw_, key));
    fail(key, "must be an object");
    return {};
  }
  // A string, or a list of them.
  std::vector<std::string> texts(const char* key) {
    std::vector<std::string> texts;
    const json::value* value = take(key);
    if (value == nullptr) return texts;
    if (value->is_string()) return {std::string(value->get_string())};
    const json::array* list = value->if_array();
    if (list == nullptr || list->empty()) {
      fail(key, "must be a string or a list of strings");
      return texts;
    }
    for (const json::value& text : *list) {
      if (!text.is_string())
        fail(key, "must hold strings");
      else
        texts.emplace_back(text.get_string());
    }
    return texts;
  }
  std::vector<JobId> ids(const char* key) {
    std::vector<JobId> ids;
    const json::value* value = take(key);
    if (value == nullptr) return ids;
    const json::array* list = value->if_array();
    if (list == nullptr || list->empty() || list->size() > kRequeueIdsMax) {
      fail(key, "must be a list of 1 to " + std::to_string(kRequeueIdsMax) + " job ids");
      return ids;
    }
    for (const json::value& id : *list) {
      const auto number = whole_number(id);
      if (!number || *number < 0)
        fail(key, "must hold job ids: whole numbers");
      else
        ids.push_back(static_cast<JobId>(*number));
    }
    return ids;
  }

  // The first thing that was wrong.
  Status finish() const {
    if (!failure_.ok()) return failure_;
    for (const auto& field : left_) {
      const std::string name = shown_name({field.key().data(), field.key().size()});
      return invalid_param(name, "unknown field " + name);
    }
    return {};
  }

 private:
  Fields(json::object&& fields, std::string_view raw) : left_(std::move(fields)), raw_(raw) {}

  // Null counts as left out.
  const json::value* take(const char* key) {
    const auto found = left_.find(key);
    if (found == left_.end()) return nullptr;
    taken_.push_back(std::make_unique<json::value>(std::move(found->value())));
    left_.erase(found);
    return taken_.back()->is_null() ? nullptr : taken_.back().get();
  }
  void fail(const char* key, const std::string& what) {
    if (failure_.ok()) failure_ = invalid_param(key, std::string(key) + " " + what);
  }

  json::object left_;
  std::string_view raw_;  // what the fields were read from
  std::vector<std::unique_ptr<json::value>> taken_;
  Status failure_;
};

}  // namespace

// Answers with the batch, or why there is none.
Completion<Batch> Api::answer_batch(const AskedPtr& asked) {
  return on_quick<Batch>(asked, [asked](Result<Batch> batch) {
    if (!batch.ok()) return asked->reply(error_reply(batch.status()));
    asked->reply({.body = render_batch(*batch)});
  });
}

void Api::requeue(const AskedPtr& asked) {
  const Reply& reply = asked->reply;
  if (!asked->may_accept.ok()) return reply(error_reply(asked->may_accept));
  const std::string body = asked->request.body->take();
  JsonMemory memory(body.size());
  auto fields = Fields::parse(body, memory);
  if (!fields.ok()) return reply(error_reply(fields.status()));
  RequeueRequest requeue;
  requeue.tenant = any_or_own(asked->caller);
  requeue.ids = fields->ids("ids");
  requeue.error_codes = fields->texts("failed_with");
  requeue.batch_id = fields->text("batch_id");
  requeue.model = fields->text("model");
  if (const auto limit = fields->number("limit", 1, int64_t{kRequeueIdsMax})) {
    requeue.limit = static_cast<int32_t>(*limit);
  }
  if (const Status status = fields->finish(); !status.ok()) return reply(error_reply(status));
  parts_.store.requeue(
      std::move(requeue),
      on_quick<std::vector<RequeuedJob>>(asked, [asked](Result<std::vector<RequeuedJob>> jobs) {
        if (!jobs.ok()) return asked->reply(error_reply(jobs.status()));
        asked->reply({.status = 202, .body = render_requeued(*jobs)});
      }));
}

void Api::open_batch(const AskedPtr& asked) {
  const Reply& reply = asked->reply;
  if (!asked->may_accept.ok()) return reply(error_reply(asked->may_accept));
  const std::string body = asked->request.body->take();
  JsonMemory memory(body.size());
  auto fields = Fields::parse(body, memory);
  if (!fields.ok()) return reply(error_reply(fields.status()));
  BatchSpec spec;
  spec.tenant = asked->caller.tenant;
  spec.name = fields->text("name");
  spec.metadata = fields->object("metadata");
  spec.idempotency_key = fields->text("idempotency_key");
  spec.deadline = fields->instant("deadline");
  if (const auto s = fields->number("retention_s", 1, INT32_MAX)) {
    spec.retention = std::chrono::seconds(*s);
  }
  if (const Status status = fields->finish(); !status.ok()) return reply(error_reply(status));
  parts_.batches.open_batch(
      std::move(spec), on_quick<OpenedBatch>(asked, [asked](Result<OpenedBatch> opened) {
        if (!opened.ok()) return asked->reply(error_reply(opened.status()));
        asked->reply({.status = opened->existed ? 200 : 201, .body = render_batch(opened->batch)});
      }));
}

void Api::list_batches(const AskedPtr& asked) {
  const HttpRequest& request = asked->request;
  const Caller& caller = asked->caller;
  BatchFilter filter;
  if (const Status known = check_query(request, {"after", "limit"}); !known.ok()) {
    return asked->reply(error_reply(known));
  }
  const auto limit = query_number(request, "limit", 100, 1, kBatchesListedMax);
  if (!limit.ok()) return asked->reply(error_reply(limit.status()));
  const auto n_shown = static_cast<size_t>(*limit);
  filter.limit = static_cast<int32_t>(*limit) + 1;  // whether there are more
  if (const auto after = request.query.find("after"); after != request.query.end()) {
    filter.after = after->second;
  }
  if (!caller.privileged || caller.named) filter.tenant = caller.tenant;
  parts_.batches.list_batches(
      std::move(filter),
      on_quick<std::vector<Batch>>(asked, [asked, n_shown](Result<std::vector<Batch>> batches) {
        if (!batches.ok()) return asked->reply(error_reply(batches.status()));
        const bool has_more = batches->size() > n_shown;
        if (has_more) batches->pop_back();
        JsonWriter json;
        json.begin_object().begin_array("batches");
        for (const Batch& batch : *batches) json.element(RawJson{render_batch(batch)});
        json.end_array().member("next_after", batches->empty() ? "" : batches->back().id);
        asked->reply({.body = json.member("has_more", has_more).end_object().take()});
      }));
}

void Api::get_batch(const AskedPtr& asked) {
  parts_.batches.get_batch(asked->part, any_or_own(asked->caller), answer_batch(asked));
}

void Api::seal_batch(const AskedPtr& asked) {
  parts_.batches.seal_batch(asked->part, any_or_own(asked->caller), answer_batch(asked));
}

void Api::cancel_batch(const AskedPtr& asked) {
  parts_.batches.cancel_batch(asked->part, any_or_own(asked->caller), answer_batch(asked));
}

}  // namespace parkd
