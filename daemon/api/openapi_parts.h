// The parts of api_schemas() (openapi_schemas.h), by resource. Pure, any thread.
#pragma once

#include "daemon/api/schema_words.h"

namespace parkd::schema {

void add_jobs(Schema& all);
void add_models(Schema& all);   // bodies and answers
void add_batches(Schema& all);  // and of files

}  // namespace parkd::schema
