#include "daemon/api/schema_words.h"

#include "lib/job/bounds.h"
#include "lib/job/endpoints.h"

namespace parkd::schema {

Schema of_type(std::string_view type) {
  return {{"type", type}};
}
Schema text() {
  return of_type("string");
}
Schema boolean() {
  return of_type("boolean");
}
Schema any_object() {
  return of_type("object");
}
Schema text_of_at_most(size_t n, size_t at_least) {
  return {{"type", "string"}, {"minLength", at_least}, {"maxLength", n}};
}
Schema text_like(std::string_view pattern) {
  return {{"type", "string"}, {"pattern", pattern}};
}
Schema one_of_words(std::initializer_list<std::string_view> words) {
  json::array list;
  for (const std::string_view word : words) list.emplace_back(word);
  return {{"type", "string"}, {"enum", std::move(list)}};
}
Schema time() {
  return {{"type", "string"}, {"format", "date-time"}};
}
Schema unix_time() {
  return {{"type", "integer"}, {"description", "Unix time in seconds"}};
}
Schema whole() {
  return of_type("integer");
}
Schema whole(int64_t min) {
  return {{"type", "integer"}, {"minimum", min}};
}
Schema whole(int64_t min, int64_t max) {
  return {{"type", "integer"}, {"minimum", min}, {"maximum", max}};
}
Schema list_of(Schema item) {
  return {{"type", "array"}, {"items", std::move(item)}};
}
Schema list_of(Schema item, size_t min, size_t max) {
  return {{"type", "array"}, {"items", std::move(item)}, {"minItems", min}, {"maxItems", max}};
}
Schema ref(std::string_view name) {
  return {{"$ref", "#/components/schemas/" + std::string(name)}};
}
Schema any_of(std::initializer_list<Schema> schemas) {
  json::array list;
  for (const Schema& schema : schemas) list.emplace_back(schema);
  return {{"anyOf", std::move(list)}};
}
Schema or_null(Schema schema) {
  const json::value* type = schema.if_contains("type");
  if (type == nullptr || !type->is_string() || schema.contains("enum")) {
    return any_of({std::move(schema), of_type("null")});
  }
  schema["type"] = json::array{*type, "null"};
  return schema;
}

Schema answer(Members members, Members also) {
  Schema properties;
  json::array required;
  for (const auto& [name, schema] : members) {
    properties.emplace(name, schema);
    required.emplace_back(name);
  }
  for (const auto& [name, schema] : also) properties.emplace(name, schema);
  return {{"type", "object"}, {"required", std::move(required)}, {"properties", properties}};
}

Schema request(Members required, Members optional, Schema more) {
  Schema properties = std::move(more);
  json::array names;
  for (const auto& [name, schema] : required) {
    properties.emplace(name, schema);
    names.emplace_back(name);
  }
  for (const auto& [name, schema] : optional) properties.emplace(name, or_null(schema));
  Schema schema = {
      {"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!names.empty()) schema.emplace("required", std::move(names));
  return schema;
}

Schema page_of(std::string_view item) {
  return answer({{"object", one_of_words({"list"})},
                 {"data", list_of(ref(item))},
                 {"first_id", or_null(text())},
                 {"last_id", or_null(text())},
                 {"has_more", boolean()}});
}

Schema pairs() {
  return {{"type", "object"},
          {"maxProperties", kMetadataPairsMax},
          {"propertyNames", {{"maxLength", kMetadataNameMax}}},
          {"additionalProperties", {{"type", "string"}, {"maxLength", kMetadataTextMax}}}};
}

Schema file_life() {
  return request({{"anchor", one_of_words({"created_at"})},
                  {"seconds", whole(kFileLifeMin.count(), kFileLifeMax.count())}},
                 {});
}

Schema key_text() {
  return text_of_at_most(kTextBytesMax);
}

Schema endpoint_path() {
  json::array paths;
  for (const EndpointPath& endpoint : kEndpoints) paths.emplace_back(endpoint.path);
  return {{"type", "string"}, {"enum", std::move(paths)}};
}

}  // namespace parkd::schema
