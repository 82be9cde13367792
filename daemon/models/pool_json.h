// A model's pool, as /v1/pool and heartbeats show it. Pure, any thread.
#pragma once

#include "lib/base/json_writer.h"
#include "lib/dispatch/dispatcher_stats.h"

namespace parkd {

// Members of the object that is open: what both have.
void write_pool_members(JsonWriter& json, const ModelStats& model);

}  // namespace parkd
