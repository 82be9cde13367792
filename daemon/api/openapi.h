// The API's own description, OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), made of the table
// of routes (routes.h) and the schemas it names (openapi_schemas.h). Pure, any thread.
#pragma once

#include <string>

namespace parkd {

// What GET /openapi.json answers: one line of JSON, the same for as long as the program lives.
const std::string& openapi_document();

}  // namespace parkd
