// The words that the API's schemas are made of: JSON Schema 2020-12 as values. Pure, any thread.
#pragma once

#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace parkd::schema {

namespace json = boost::json;
using Schema = json::object;
using Members = std::initializer_list<std::pair<std::string_view, Schema>>;

Schema of_type(std::string_view type);
Schema text();
Schema boolean();
Schema any_object();
// Characters, where our limit is of bytes: what has more of them is too long in any case.
Schema text_of_at_most(size_t n, size_t at_least = 0);
Schema text_like(std::string_view pattern);
Schema one_of_words(std::initializer_list<std::string_view> words);
Schema time();
Schema unix_time();
Schema whole();
Schema whole(int64_t min);
Schema whole(int64_t min, int64_t max);
Schema list_of(Schema item);
Schema list_of(Schema item, size_t min, size_t max);
Schema ref(std::string_view name);
Schema any_of(std::initializer_list<Schema> schemas);
// Null is the same as left out.
Schema or_null(Schema schema);
// An object of an answer, which may get more members. Every one of `members` is there.
Schema answer(Members members, Members also = {});
// One of a request: no other members. Those of `optional` may be null.
Schema request(Members required, Members optional, Schema more = {});
Schema page_of(std::string_view item);
// As OpenAI's metadata.
Schema pairs();
Schema file_life();
Schema key_text();
Schema endpoint_path();

}  // namespace parkd::schema
