// RequestFields: the fields of a small request's JSON, each asked for by name; what is left over is
// an error. The first thing wrong is kept, and finish() says it. One thread.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json_memory.h"
#include "lib/base/status.h"
#include "lib/http/received_body.h"
#include "lib/job/job_id.h"

namespace parkd {

class RequestFields {
 public:
  // An empty body is {}. Errors: invalid.
  static Result<RequestFields> read(ReceivedBody& body);

  // Null counts as left out, which is the empty value.
  std::string text(const char* key) { return optional_text(key).value_or(std::string()); }
  std::optional<std::string> optional_text(const char* key);
  std::optional<int64_t> number(const char* key, int64_t min, int64_t max);
  std::optional<WallTime> instant(const char* key);
  std::string object(const char* key);  // its JSON, as it stands in the request
  // As OpenAI's metadata: at most 16 pairs of texts, of 64 and 512 characters.
  std::string pairs(const char* key);
  // {"anchor": "created_at", "seconds"}: how long a file lives.
  std::optional<std::chrono::seconds> file_life(const char* key);
  std::vector<std::string> texts(const char* key);  // of a string, or a list of them
  std::vector<JobId> ids(const char* key, size_t ids_max);

  // Errors: invalid, param = the field.
  Status finish() const;

 private:
  // What the fields stand in, and their memory: it does not move.
  struct Source {
    explicit Source(std::string body) : text(std::move(body)), memory(text.size()) {}
    std::string text;
    JsonMemory memory;
  };

  RequestFields(std::unique_ptr<Source> source, boost::json::object fields)
      : source_(std::move(source)), left_(std::move(fields)) {}

  const boost::json::value* take(const char* key);
  void fail(const char* key, const std::string& what);

  std::unique_ptr<Source> source_;
  boost::json::object left_;
  std::vector<std::unique_ptr<boost::json::value>> taken_;
  Status failure_;
};

}  // namespace parkd
