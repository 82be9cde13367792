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

// Of a head's numbers the first so many turn, as transformers rounds them.
Status read_turned(const JsonFields& fields, const ModelClass& of, int32_t head_dim,
                   RopeNumbers& read) {
  constexpr const char* kField = "partial_rotary_factor";
  if (!fields.has(kField)) return {};
  PARKD_ASSIGN_OR_RETURN(const double part, fields.number_or(kField, 1e-6, 1, 1));
  if (part != 1 && !of.turns_in_part) {
    return fields.unsupported(kField,
                              "other than 1 is not supported for " + std::string(of.model_type));
  }
  read.n_turned = static_cast<int32_t>(head_dim * part);
  if (read.n_turned >= 2 && read.n_turned % 2 == 0) return {};
  return fields.damaged(std::string(kField) + " " + fields.shown(kField) + " turns " +
                        std::to_string(read.n_turned) + " of a head's " + std::to_string(head_dim) +
                        " numbers: it must be an even number of them");
}

// transformers' default of it stands before what the rope says: the two must agree.
Result<int32_t> read_long_rope_original(const JsonFields& config, const JsonFields& rope,
                                        const ModelClass& of) {
  constexpr const char* kField = "original_max_position_embeddings";
  PARKD_ASSIGN_OR_RETURN(const int32_t original,
                         config.integer_or(kField, 2, kContextTokensMax, of.long_rope_original));
  PARKD_ASSIGN_OR_RETURN(const int32_t of_rope,
                         rope.integer_or(kField, 2, kContextTokensMax, original));
  if (of_rope == original) return original;
  return rope.damaged("the rope's " + std::string(kField) + " " + std::to_string(of_rope) +
                      " differs from the configuration's, which is " + std::to_string(original) +
                      (config.has(kField) ? "" : " where it is left out"));
}

// Two lists of divisors, of which the context chooses one for good (DESIGN, "Families").
Status read_long_rope(const JsonFields& config, const JsonFields& rope, const ModelClass& of,
                      const DecoderNumbers& numbers, RopeNumbers& read) {
  PARKD_ASSIGN_OR_RETURN(const int32_t original, read_long_rope_original(config, rope, of));
  const double extended = double{1} * numbers.context_tokens / original;
  PARKD_ASSIGN_OR_RETURN(const double factor,
                         rope.number_or("factor", 1e-3, kRopeFactorMax, extended));
  PARKD_ASSIGN_OR_RETURN(
      read.amplitude,
      rope.number_or("attention_factor", 1e-3, 1e3, long_rope_attention_factor(factor, original)));
  const int32_t n_turned = read.n_turned > 0 ? read.n_turned : numbers.head_dim;
  const auto n_pairs = static_cast<size_t>(n_turned) / 2;
  PARKD_ASSIGN_OR_RETURN(auto of_short,
                         rope.numbers("short_factor", n_pairs, 1e-6, kRopeFactorMax));
  PARKD_ASSIGN_OR_RETURN(auto of_long, rope.numbers("long_factor", n_pairs, 1e-6, kRopeFactorMax));
  read.divisors = std::move(numbers.context_tokens > original ? of_long : of_short);
  return {};
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
  PARKD_RETURN_IF_ERROR(read_turned(rope, of, numbers.head_dim, read));
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
  if (of.long_rope_original > 0) {
    // transformers takes the older names, and "yarn", for it.
    const bool is_long = type == "longrope" || type == "su" || type == "yarn";
    if (is_long) return read_long_rope(config, rope, of, numbers, read);
    return rope.unsupported(type_field, rope.shown(type_field) + " is not supported for " +
                                            std::string(of.model_type) + " (\"longrope\" is)");
  }
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
  return local ? read_one_rope(config, *local, of, numbers, numbers.local_rope) : Status();
}

}  // namespace

Status read_hub_rope(const JsonFields& config, const ModelClass& of, DecoderNumbers& numbers) {
  RopeNumbers& read = numbers.rope;
  PARKD_RETURN_IF_ERROR(read_turned(config, of, numbers.head_dim, read));
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
