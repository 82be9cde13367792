#include "daemon/models/pool_json.h"

namespace parkd {

void write_pool_members(JsonWriter& json, const ModelStats& model) {
  json.member("model", model.model).member("state", to_string(model.state));
  if (!model.failure.empty()) json.member("failure", model.failure);
  json.member("capacity_units", model.capacity.count);
  json.member("in_use_units", model.in_use.count);
  json.member("parked", model.parked);
  json.member("running", model.running);
  json.member("lot_places", model.lot_places);
  json.member("max_num_seqs", model.max_num_seqs);
}

}  // namespace parkd
