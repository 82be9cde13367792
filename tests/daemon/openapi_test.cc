// /openapi.json: whole, and true of what the readers of requests know.
#include "daemon/api/openapi.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <set>
#include <string>

#include "daemon/api/openapi_schemas.h"
#include "lib/openai/chat_request.h"
#include "lib/openai/completions_request.h"
#include "lib/openai/responses_request.h"
#include "lib/openai/submit.h"
#include "tests/daemon/api_world.h"

namespace parkd::testing {
namespace {

namespace json = boost::json;

const std::string kSchemas = "#/components/schemas/";

// The names of all schemas that are referred to in it.
void collect_references(const json::value& value, std::set<std::string>& names) {
  if (const json::array* list = value.if_array()) {
    for (const json::value& item : *list) collect_references(item, names);
  }
  const json::object* object = value.if_object();
  if (object == nullptr) return;
  for (const auto& member : *object) {
    const json::string* text = member.value().if_string();
    if (member.key() == "$ref" && text != nullptr && text->starts_with(kSchemas)) {
      names.insert(std::string(*text).substr(kSchemas.size()));
    }
    collect_references(member.value(), names);
  }
}

TEST(OpenApi, names_each_schema_that_is_used_and_no_other) {
  const json::value document = json::parse(openapi_document());
  std::set<std::string> used;
  collect_references(document, used);
  std::set<std::string> there;
  for (const auto& member : document.at("components").at("schemas").get_object()) {
    there.insert(std::string(member.key()));
  }
  EXPECT_EQ(used, there);
  EXPECT_GT(there.size(), 20u);
}

TEST(OpenApi, has_every_route_with_its_parameters) {
  const json::value document = json::parse(openapi_document());
  size_t n_routes = 0;
  for (const auto& path : document.at("paths").get_object()) {
    n_routes += path.value().get_object().size();
  }
  EXPECT_EQ(n_routes, routes().size());
  const json::object& cancel =
      document.at("paths").at("/v1/jobs/{id}/cancel").at("post").get_object();
  EXPECT_EQ(cancel.at("parameters").at(0).at("in"), "path");
  EXPECT_EQ(cancel.at("parameters").at(0).at("schema").at("type"), "integer");
  EXPECT_FALSE(
      document.at("paths").at("/v1/jobs/{id}").at("get").get_object().contains("requestBody"));
  const json::value& chat = document.at("paths").at("/v1/chat/completions").at("post");
  EXPECT_EQ(chat.at("requestBody").at("required"), true);
  EXPECT_TRUE(
      chat.at("responses").at("200").at("content").get_object().contains("text/event-stream"));
  EXPECT_EQ(document.at("paths")
                .at("/v1/files")
                .at("get")
                .at("parameters")
                .at(1)
                .at("schema")
                .at("maximum"),
            10'000);
  for (const Route& route : routes()) EXPECT_FALSE(route.shape.gives.empty()) << route.name();
}

TEST(OpenApi, is_answered_to_anyone) {
  ApiWorld world;
  const RawAnswer answer = world.peer().call("GET", "/openapi.json");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, openapi_document());
}

// What the reader says to a body that has this member, with a value that is none of its.
using Reader = std::function<std::string(const std::string& name)>;

void expect_known(const char* schema, const Reader& read) {
  const json::object all = api_schemas();
  for (const auto& member : all.at(schema).at("properties").get_object()) {
    const std::string said = read(std::string(member.key()));
    EXPECT_EQ(said.find("not a known field"), said.npos) << schema << ": " << said;
    EXPECT_EQ(said.find("unknown field"), said.npos) << schema << ": " << said;
  }
  const std::string said = read("colour");
  EXPECT_NE(said.find("colour"), said.npos) << "the reader knows everything: " << said;
}

TEST(OpenApi, says_of_requests_what_their_readers_know) {
  const auto body_with = [](const std::string& name) {
    return "{\"" + name + "\":{\"colour\":[7]}}";
  };
  expect_known("ChatBody", [&](const std::string& name) {
    return parse_chat_request(body_with(name), {}).status().to_string();
  });
  expect_known("CompletionBody", [&](const std::string& name) {
    return parse_completions_request(body_with(name), {}).status().to_string();
  });
  expect_known("ResponseBody", [&](const std::string& name) {
    return parse_responses_request("{\"" + name + "\":[7]}", {}).status().to_string();
  });
  expect_known("JobRequest", [&](const std::string& name) {
    if (name == "body") return std::string();
    return parse_submit("{\"body\":{},\"" + name + "\":[7]}", {}).status().to_string();
  });
  ApiWorld world;
  RawPeer peer = world.peer();
  const auto asked = [&](const char* target) {
    return [&peer, target](const std::string& name) {
      return peer.call("POST", target, "{\"" + name + "\":[[7]]}").body;
    };
  };
  expect_known("RequeueRequest", asked("/v1/jobs/requeue"));
  expect_known("RetryRequest", asked("/v1/batches/b/retry"));
}

}  // namespace
}  // namespace parkd::testing
