#include "lib/model/hub_rope.h"

#include <boost/json.hpp>
#include <optional>
#include <string>

#include "lib/model/rope_frequencies.h"

namespace parkd {
namespace {

namespace json = boost::json;

Status read_yarn(const JsonFields& rope, double factor, int32_t original, RopeNumbers& read) {
  YarnRope& yarn = read.yarn;
  read.scaling = RopeScaling::yarn;
  yarn.factor = factor;
  yarn.original_context = original;
  PARKD_ASSIGN_OR_RETURN(yarn.beta_fast, rope.number_or("beta_fast", 1e-3, 1e6, 32));
  PARKD_ASSIGN_OR_RETURN(yarn.beta_slow, rope.number_or("beta_slow", 1e-3, 1e6, 1));
  PARKD_ASSIGN_OR_RETURN(yarn.truncate, rope.flag_or("truncate", true));
  PARKD_ASSIGN_OR_RETURN(yarn.mscale, rope.number_or("mscale", 0, 1e3, 0));
  PARKD_ASSIGN_OR_RETURN(yarn.mscale_all_dim, rope.number_or("mscale_all_dim", 0, 1e3, 0));
  if (rope.has("attention_factor")) {
    PARKD_ASSIGN_OR_RETURN(yarn.attention_factor, rope.number_or("attention_factor", 1e-3, 1e3, 1));
  }
  if (read.base <= 1) return rope.damaged("yarn needs a rope_theta above 1");
  return {};
}

Status read_llama3(const JsonFields& rope, double factor, int32_t original, RopeNumbers& read) {
  Llama3Rope& llama3 = read.llama3;
  read.scaling = RopeScaling::llama3;
  llama3.factor = factor;
  llama3.original_context = original;
  PARKD_ASSIGN_OR_RETURN(llama3.low_freq_factor, rope.number_or("low_freq_factor", 1e-3, 1e6, 1));
  PARKD_ASSIGN_OR_RETURN(llama3.high_freq_factor, rope.number_or("high_freq_factor", 1e-3, 1e6, 4));
  if (llama3.high_freq_factor > llama3.low_freq_factor) return {};
  return rope.damaged("high_freq_factor is not above low_freq_factor");
}

// What Ministral3Config has where no rope is given: all of this, and a rope_theta that stands alone
// in the file is passed over. Beside a rope of any type it is the plain one, 10000, if left out.
void take_default_yarn(DecoderNumbers& numbers) {
  RopeNumbers& rope = numbers.rope;
  rope.base = 1e6;
  rope.scaling = RopeScaling::yarn;
  rope.yarn.factor = 16;
  rope.yarn.original_context = 16384;
  rope.yarn.mscale = rope.yarn.mscale_all_dim = 1;
  numbers.query_scale = {0.1F, 16384};
}

Status read_query_scale(const JsonFields& rope, const ModelClass& of, int32_t original,
                        DecoderNumbers& numbers) {
  PARKD_ASSIGN_OR_RETURN(const double beta, rope.number_or("llama_4_scaling_beta", 0, 1e3, 0));
  if (beta == 0) return {};
  if (!of.scales_queries) {
    return rope.unsupported("llama_4_scaling_beta",
                            "is not supported for " + std::string(of.model_type));
  }
  if (original == 0) {
    return rope.damaged("llama_4_scaling_beta is without original_max_position_embeddings");
  }
  numbers.query_scale = {static_cast<float>(beta), original};
  return {};
}

// What an object says of one rope.
Status read_one_rope(const JsonFields& config, const JsonFields& rope, const ModelClass& of,
                     DecoderNumbers& numbers, RopeNumbers& read) {
  for (const auto& member : rope.members()) {
    if (member.value().is_object()) {
      return rope.unsupported(std::string_view(member.key()),
                              "(a rope of some layers) is not supported yet");
    }
  }
  PARKD_ASSIGN_OR_RETURN(read.base, rope.number_or("rope_theta", 1, kRopeBaseMax, read.base));
  PARKD_ASSIGN_OR_RETURN(const double rotated, rope.number_or("partial_rotary_factor", 0, 1, 1));
  if (rotated != 1) {
    return rope.unsupported("partial_rotary_factor", "other than 1 is not supported yet");
  }
  PARKD_ASSIGN_OR_RETURN(
      const int32_t of_whole,
      config.integer_or("original_max_position_embeddings", 1, kContextTokensMax, 0));
  PARKD_ASSIGN_OR_RETURN(int32_t original, rope.integer_or("original_max_position_embeddings", 1,
                                                           kContextTokensMax, of_whole));
  PARKD_RETURN_IF_ERROR(read_query_scale(rope, of, original, numbers));
  if (original == 0) original = numbers.context_tokens;
  const char* type_field = rope.has("rope_type") ? "rope_type" : "type";
  PARKD_ASSIGN_OR_RETURN(const std::string type, rope.word_or(type_field, "default"));
  if (type == "default") return {};
  if (type != "linear" && type != "llama3" && type != "yarn") {
    return rope.unsupported(type_field, rope.shown(type_field) + " is not supported yet");
  }
  if (!rope.has("factor")) return rope.damaged("rope of type " + type + " has no factor");
  PARKD_ASSIGN_OR_RETURN(const double factor, rope.number_or("factor", 1e-3, kRopeFactorMax, 1));
  if (type == "llama3") return read_llama3(rope, factor, original, read);
  if (type == "yarn") return read_yarn(rope, factor, original, read);
  read.scaling = RopeScaling::linear;
  read.factor = factor;
  return {};
}

// A rope of the layers that see all, and one of those with a window.
Status read_two_ropes(const JsonFields& config, const std::optional<JsonFields>& by_type,
                      const std::optional<JsonFields>& of_full, const ModelClass& of,
                      DecoderNumbers& numbers) {
  PARKD_ASSIGN_OR_RETURN(numbers.local_rope.base,
                         config.number_or("rope_local_base_freq", 1, kRopeBaseMax, of.local_theta));
  if (!by_type) {
    if (!of_full) return {};
    return read_one_rope(config, *of_full, of, numbers, numbers.rope);
  }
  PARKD_ASSIGN_OR_RETURN(const std::optional<JsonFields> full, by_type->object("full_attention"));
  PARKD_ASSIGN_OR_RETURN(const std::optional<JsonFields> local,
                         by_type->object("sliding_attention"));
  if (!full && !local && !by_type->members().empty()) {
    return config.damaged("rope_parameters has neither full_attention nor sliding_attention");
  }
  if (full) PARKD_RETURN_IF_ERROR(read_one_rope(config, *full, of, numbers, numbers.rope));
  if (!local) return {};
  PARKD_RETURN_IF_ERROR(read_one_rope(config, *local, of, numbers, numbers.local_rope));
  if (numbers.local_rope.scaling != RopeScaling::yarn) return {};
  return local->unsupported("rope_type", "\"yarn\" is not supported here");
}

}  // namespace

Status read_hub_rope(const JsonFields& config, const ModelClass& of, DecoderNumbers& numbers) {
  RopeNumbers& read = numbers.rope;
  PARKD_ASSIGN_OR_RETURN(read.base, config.number_or("rope_theta", 1, kRopeBaseMax, of.rope_theta));
  PARKD_ASSIGN_OR_RETURN(const std::optional<JsonFields> rope, config.object("rope_parameters"));
  PARKD_ASSIGN_OR_RETURN(const std::optional<JsonFields> older, config.object("rope_scaling"));
  if (rope && older && older->members() != rope->members()) {
    return config.damaged("rope_parameters and rope_scaling differ: leave the one that is meant");
  }
  if (of.local_theta > 0) return read_two_ropes(config, rope, older, of, numbers);
  if (rope) return read_one_rope(config, *rope, of, numbers, read);
  if (older) return read_one_rope(config, *older, of, numbers, read);
  if (of.has_default_yarn) take_default_yarn(numbers);
  return {};
}

}  // namespace parkd
