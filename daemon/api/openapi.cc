#include "daemon/api/openapi.h"

#include <boost/json.hpp>
#include <cctype>
#include <string_view>

#include "daemon/api/openapi_schemas.h"
#include "daemon/api/routes.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr std::string_view kAbout =
    "parkd: a durable queue for LLM inference. README.md says what each of these means.";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// "/v1/jobs/{id}/cancel"
std::string path_of(const Route& route) {
  std::string path(route.path);
  const std::string_view word = route.part();
  if (!word.empty()) path.replace(path.find(word), word.size(), "{" + lower(word) + "}");
  return path;
}

json::object parameter(std::string_view in, std::string_view name, json::object schema) {
  json::object out = {{"name", name}, {"in", in}, {"schema", std::move(schema)}};
  if (in == "path") out.emplace("required", true);
  return out;
}

json::array parameters_of(const Route& route) {
  json::array out;
  if (const std::string_view word = route.part(); !word.empty()) {
    const bool is_job = word == "ID" && route.path.substr(0, 9) == "/v1/jobs/";
    json::object schema = {{"type", is_job ? "integer" : "string"}};
    schema.emplace(is_job ? "minimum" : "minLength", 1);
    out.emplace_back(parameter("path", lower(word), std::move(schema)));
  }
  for (const std::string_view name : words_of(route.query)) {
    out.emplace_back(parameter("query", name, query_schema(route.path, name)));
  }
  for (const std::string_view name : words_of(route.shape.headers)) {
    out.emplace_back(parameter("header", name, {{"type", "string"}}));
  }
  return out;
}

json::object reference(std::string_view schema) {
  return {{"schema", {{"$ref", "#/components/schemas/" + std::string(schema)}}}};
}

// By media type: a word with a slash is one, and stands for text; any other is a schema of JSON.
json::object content_of(std::string_view words) {
  json::object content;
  for (const std::string_view word : words_of(words)) {
    if (word.find('/') == word.npos) {
      content.emplace("application/json", reference(word));
    } else {
      content.emplace(word, json::object{{"schema", {{"type", "string"}}}});
    }
  }
  return content;
}

json::object responses_of(const Route& route) {
  json::object responses;
  for (const std::string_view status : words_of(route.shape.statuses)) {
    responses.emplace(status,
                      json::object{{"description", status.front() == '2' ? "done" : "not ready"},
                                   {"content", content_of(route.shape.gives)}});
  }
  for (const char* refused : {"4XX", "5XX"}) {
    responses.emplace(refused, json::object{{"$ref", "#/components/responses/Refused"}});
  }
  return responses;
}

json::object operation_of(const Route& route) {
  // "POST /v1/jobs/ID/cancel" is POST_v1_jobs_ID_cancel.
  std::string id = route.name();
  for (char& c : id) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  json::object operation = {{"operationId", std::move(id)}, {"summary", route.summary}};
  if (json::array parameters = parameters_of(route); !parameters.empty()) {
    operation.emplace("parameters", std::move(parameters));
  }
  if (!route.shape.takes.empty()) {
    const bool is_form = route.body == RouteBody::file;
    json::object content;
    content.emplace(is_form ? "multipart/form-data" : "application/json",
                    reference(route.shape.takes));
    operation.emplace("requestBody",
                      json::object{{"required", route.body_bytes_max == kMaxRequestBytes},
                                   {"content", std::move(content)}});
  }
  operation.emplace("responses", responses_of(route));
  if (route.access == RouteAccess::anyone) operation.emplace("security", json::array());
  return operation;
}

std::string render() {
  json::object paths;
  for (const Route& route : routes()) {
    json::value& path = paths[path_of(route)];
    if (path.is_null()) path.emplace_object();
    path.get_object().emplace(lower(route.method), operation_of(route));
  }
  const json::object refused = {
      {"description", "refused: the error's message says why, its param names the field"},
      {"content", {{"application/json", reference("Error")}}}};
  const json::object document = {
      {"openapi", "3.1.0"},
      {"info", {{"title", "parkd"}, {"version", PARKD_VERSION}, {"description", kAbout}}},
      {"servers", json::array{json::object{{"url", "/"}}}},
      // By TCP a token; on the socket nothing: the peer's uid says who asks.
      {"security", json::array{json::object{{"token", json::array()}}, json::object()}},
      {"paths", std::move(paths)},
      {"components",
       {{"securitySchemes", {{"token", {{"type", "http"}, {"scheme", "bearer"}}}}},
        {"responses", {{"Refused", refused}}},
        {"schemas", api_schemas()}}}};
  return json::serialize(document);
}

}  // namespace

const std::string& openapi_document() {
  static const std::string document = render();
  return document;
}

}  // namespace parkd
