#include "lib/store/postgres/rows.h"

#include <charconv>
#include <stdexcept>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/store/postgres/pg_text.h"

namespace parkd {
namespace {

Field field_of(const pqxx::field& field) {
  return {std::string_view(field.c_str(), field.size()), field.is_null()};
}

template <class Row, size_t n>
Row parse_row(const pqxx::row& row, const Column<Row> (&columns)[n]) {
  if (row.size() < n) throw std::out_of_range("the row has too few columns");
  Row value;
  for (size_t i = 0; i < n; ++i) {
    columns[i].read(field_of(row[static_cast<pqxx::row::size_type>(i)]), value);
  }
  return value;
}

}  // namespace

// --- fields

int64_t Field::integer() const {
  int64_t value = 0;
  std::from_chars(bytes.data(), bytes.data() + bytes.size(), value);
  return value;
}

std::optional<int64_t> Field::optional_integer() const {
  return is_null ? std::nullopt : std::optional(integer());
}

std::optional<WallTime> Field::optional_time() const {
  return is_null ? std::nullopt : std::optional(time());
}

std::optional<std::chrono::seconds> Field::optional_seconds() const {
  return is_null ? std::nullopt : std::optional(std::chrono::seconds(integer()));
}

Field field(const pqxx::row& row, const char* column) {
  return field_of(row[column]);
}

Field only_field(const pqxx::result& rows) {
  return field_of(rows[0][0]);
}

std::vector<std::string> split_list(const pqxx::row& row, const char* column) {
  std::vector<std::string> parts;
  const std::string_view all = field(row, column).bytes;
  if (all.empty()) return parts;
  for (size_t first = 0;;) {
    const size_t end = all.find('\x01', first);
    parts.push_back(decode_text(all.substr(first, end - first)));
    if (end == all.npos) return parts;
    first = end + 1;
  }
}

// --- batches of files

FileStage file_stage_of(std::string_view word) {
  for (const FileStage stage : {FileStage::validating, FileStage::expanding, FileStage::running,
                                FileStage::ended, FileStage::failed}) {
    if (to_string(stage) == word) return stage;
  }
  throw std::out_of_range("a batch has a stage that is none");
}

WebhookStatus webhook_status_of(std::string_view word) {
  for (const WebhookStatus status :
       {WebhookStatus::pending, WebhookStatus::delivered, WebhookStatus::given_up}) {
    if (to_string(status) == word) return status;
  }
  throw std::out_of_range("a webhook has a status that is none");
}

std::string faults_text(const std::vector<BatchFault>& faults) {
  JsonWriter json;
  json.begin_array();
  for (const BatchFault& fault : faults) {
    json.begin_object()
        .member("code", fault.code)
        .member("message", fault.message)
        .member("param", fault.param)
        .member("line", fault.line)
        .end_object();
  }
  return storable_json(json.end_array().take());
}

std::vector<BatchFault> faults_of(std::string_view text) {
  JsonMemory memory(text.size());
  const auto read = read_json(text, "faults", 2, memory);
  if (!read.ok()) throw std::runtime_error(read.status().message());
  const auto text_of = [](const boost::json::value& fault, const char* name) {
    return std::string(fault.at(name).as_string());
  };
  std::vector<BatchFault> faults;
  for (const boost::json::value& fault : read->as_array()) {
    faults.push_back({text_of(fault, "code"), text_of(fault, "message"), text_of(fault, "param"),
                      fault.at("line").as_int64()});
  }
  return faults;
}

// --- rows

Job parse_job(const pqxx::row& row) {
  Job job = parse_row(row, kJobColumns);
  // The row remembers the lease of the last run, which the next one must exceed; none holds it.
  if (job.state != JobState::claimed) job.lease = {};
  return job;
}

Message parse_message(const pqxx::row& row) {
  return parse_row(row, kMessageColumns);
}

HistoryRow parse_history(const pqxx::row& row) {
  return parse_row(row, kHistoryColumns);
}

Batch parse_batch(const pqxx::row& row) {
  return parse_row(row, kBatchColumns);
}

StoredFile parse_file(const pqxx::row& row) {
  return parse_row(row, kFileColumns);
}

LiveMembers parse_live_members(const pqxx::row& row) {
  return {integer(row, "scheduled"), integer(row, "queued"), integer(row, "claimed"),
          integer(row, "cancelling")};
}

}  // namespace parkd
