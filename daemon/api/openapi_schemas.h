// The JSON that goes in and out of the API, as the schemas of OpenAPI 3.1 (JSON Schema 2020-12),
// which the table of routes names (routes.h). Those of requests are closed, as the readers are: an
// unknown field is refused; those of answers are open. Limits are those of lib/job/bounds.h; what
// JSON Schema cannot say (bytes of UTF-8, fields that exclude each other) stands in README.md.
// Pure, any thread.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

namespace parkd {

// By name: what components.schemas of the document holds.
boost::json::object api_schemas();

// Of a query parameter of that route.
boost::json::object query_schema(std::string_view path, std::string_view name);

}  // namespace parkd
