// The ropes that a config.json says: rope_parameters, or rope_theta and rope_scaling of older
// files. Pure functions over one file, any thread.
#pragma once

#include "lib/base/status.h"
#include "lib/model/decoder_numbers.h"
#include "lib/model/hub_classes.h"
#include "lib/model/hub_json.h"

namespace parkd {

// Sets rope, local_rope and query_scale; requires context_tokens and head_dim. Errors: corrupt,
// invalid (not supported yet); they name the file, the field, its value and the limits.
Status read_hub_rope(const JsonFields& config, const ModelClass& of, DecoderNumbers& numbers);

}  // namespace parkd
