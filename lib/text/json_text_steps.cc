#include "lib/text/json_text_steps.h"

#include <string>

#include "lib/base/json_writer.h"
#include "lib/text/spm_pieces.h"

namespace parkd {
namespace {

namespace json = boost::json;

class StepReader {
 public:
  StepReader(const TokenizerFile& file, Vocabulary& vocabulary) : file_(file), made_(vocabulary) {}

  Result<TextSteps> read() {
    const json::object& root = file_.root();
    if (const json::object* normalizer = object_in(root, "normalizer")) {
      PARKD_RETURN_IF_ERROR(read_normalizer(*normalizer, 0));
    }
    if (const json::object* pre_tokenizer = object_in(root, "pre_tokenizer")) {
      PARKD_RETURN_IF_ERROR(read_pre_tokenizer(*pre_tokenizer, 0));
    }
    if (const json::object* decoder = object_in(root, "decoder")) {
      PARKD_RETURN_IF_ERROR(read_decoder(*decoder, 0));
    }
    if (steps_.byte_level && steps_.underscore_spaces) {
      return file_.unsupported("pre_tokenizer", "ByteLevel with U+2581 for spaces");
    }
    if (!steps_.byte_level && !steps_.underscore_spaces) {
      return file_.unsupported("pre_tokenizer",
                               "without ByteLevel, and no normalizer or pre_tokenizer that writes "
                               "U+2581 for spaces,");
    }
    // A text's own U+2581 means a space as well.
    if (steps_.underscore_spaces) made_.normalizer.add_replace(std::string(kSpmSpace), " ");
    return steps_;
  }

 private:
  static constexpr int kNestedMax = 8;

  Result<std::string_view> type_of(const json::object& step, std::string_view member, int depth) {
    const json::string* type = string_in(step, "type");
    if (type == nullptr) return file_.corrupt_at(member, "has no type");
    if (depth > kNestedMax) return file_.corrupt_at(member, "is nested too deep");
    return view(*type);
  }

  template <class Read>
  Status each_of(const json::object& sequence, std::string_view member, std::string_view list,
                 const Read& read) {
    const json::array* steps = array_in(sequence, list);
    if (steps == nullptr) return file_.corrupt_at(member, "Sequence has no list of steps");
    for (const json::value& step : *steps) {
      if (!step.is_object()) return file_.corrupt_at(member, "Sequence holds no objects");
      PARKD_RETURN_IF_ERROR(read(step.get_object()));
    }
    return {};
  }

  // The text of {"String": ".."}; empty for a Regex or anything else.
  static std::string_view string_pattern(const json::object& step) {
    const json::object* pattern = object_in(step, "pattern");
    const json::string* text = pattern == nullptr ? nullptr : string_in(*pattern, "String");
    return text == nullptr ? std::string_view() : view(*text);
  }

  Status read_normalizer(const json::object& step, int depth) {
    PARKD_ASSIGN_OR_RETURN(const std::string_view type, type_of(step, "normalizer", depth));
    if (type == "Sequence") {
      return each_of(step, "normalizer", "normalizers",
                     [&](const json::object& each) { return read_normalizer(each, depth + 1); });
    }
    if (type == "NFC") {
      if (made_.space_prefix != SpacePrefix::none) {
        return file_.unsupported("normalizer", "NFC behind Prepend");
      }
      made_.normalizer.add_nfc();
      return {};
    }
    if (type == "Prepend") {
      const json::string* text = string_in(step, "prepend");
      if (text == nullptr || view(*text) != kSpmSpace) {
        return file_.unsupported("normalizer", "Prepend of another text than U+2581");
      }
      made_.space_prefix = SpacePrefix::each_piece;
      steps_.underscore_spaces = true;
      return {};
    }
    if (type == "Replace") {
      const std::string_view from = string_pattern(step);
      const json::string* to = string_in(step, "content");
      if (from.empty() || to == nullptr) {
        return file_.unsupported("normalizer", "Replace with another pattern than a String");
      }
      if (from == " " && view(*to) == kSpmSpace) {
        steps_.underscore_spaces = true;
        return {};
      }
      if (made_.space_prefix != SpacePrefix::none || steps_.underscore_spaces) {
        return file_.unsupported("normalizer", "Replace behind the one that writes U+2581");
      }
      made_.normalizer.add_replace(std::string(from), std::string(view(*to)));
      return {};
    }
    return file_.unsupported("normalizer",
                             json_string(type) + " (NFC, Prepend, Replace and Sequence are)");
  }

  Status read_pre_tokenizer(const json::object& step, int depth) {
    PARKD_ASSIGN_OR_RETURN(const std::string_view type, type_of(step, "pre_tokenizer", depth));
    if (type == "Sequence") {
      return each_of(step, "pre_tokenizer", "pretokenizers",
                     [&](const json::object& each) { return read_pre_tokenizer(each, depth + 1); });
    }
    if (type == "ByteLevel") return read_byte_level(step);
    if (type == "Split") return read_split(step);
    if (type == "Metaspace") return read_metaspace(step);
    if (type == "Digits") {
      splits_ = true;
      return at_pre_tokenizer(
          made_.pre_tokenizer.add_digits(bool_in(step, "individual_digits", false)));
    }
    return file_.unsupported(
        "pre_tokenizer",
        json_string(type) + " (ByteLevel, Digits, Metaspace, Sequence and Split are)");
  }

  Status at_pre_tokenizer(const Status& status) const {
    if (status.ok()) return status;
    return {status.code(), file_.corrupt_at("pre_tokenizer:", status.message()).message()};
  }

  Status read_byte_level(const json::object& step) {
    steps_.byte_level = true;
    if (bool_in(step, "add_prefix_space", true)) {
      if (splits_) {
        return file_.unsupported("pre_tokenizer", "ByteLevel with add_prefix_space behind a split");
      }
      made_.space_prefix = SpacePrefix::each_piece_if_missing;
    }
    splits_ = true;
    if (!bool_in(step, "use_regex", true)) return {};
    return at_pre_tokenizer(made_.pre_tokenizer.add_split(gpt2_split(), true));
  }

  Status read_split(const json::object& step) {
    const json::object* pattern = object_in(step, "pattern");
    const json::string* regex = pattern == nullptr ? nullptr : string_in(*pattern, "Regex");
    const json::string* behavior = string_in(step, "behavior");
    if (behavior == nullptr) return file_.corrupt_at("pre_tokenizer", "Split has no behavior");
    // Spaces are U+2581 by then: there is nothing to split at (Gemma).
    if (string_pattern(step) == " " && steps_.underscore_spaces) return {};
    if (regex == nullptr) {
      return file_.unsupported("pre_tokenizer", "Split with another pattern than a Regex");
    }
    if (steps_.underscore_spaces) {
      return file_.unsupported("pre_tokenizer", "Split where spaces are U+2581");
    }
    const bool inverted = bool_in(step, "invert", false);
    const bool isolated = view(*behavior) == "Isolated";
    const bool removed = view(*behavior) == "Removed" && inverted;  // what lies between matches
    if (!isolated && !removed) {
      return file_.unsupported("pre_tokenizer", "Split with behavior " +
                                                    json_string(view(*behavior)) +
                                                    (inverted ? ", inverted" : "") +
                                                    " (Isolated, and Removed when inverted, are)");
    }
    splits_ = true;
    return at_pre_tokenizer(made_.pre_tokenizer.add_split(view(*regex), isolated));
  }

  Status read_metaspace(const json::object& step) {
    const json::string* replacement = string_in(step, "replacement");
    if (replacement == nullptr || view(*replacement) != kSpmSpace || splits_) {
      return file_.unsupported(
          "pre_tokenizer", "Metaspace behind a split, or with another replacement than U+2581,");
    }
    const bool had_prefix = made_.space_prefix != SpacePrefix::none;
    steps_.underscore_spaces = true;
    splits_ = true;
    const json::string* given = string_in(step, "prepend_scheme");
    const std::string_view scheme = given != nullptr                          ? view(*given)
                                    : bool_in(step, "add_prefix_space", true) ? "always"
                                                                              : "never";
    if (scheme == "first" && !had_prefix) {
      made_.space_prefix = SpacePrefix::first_piece_if_missing;
    } else if (scheme == "always" && !had_prefix) {
      made_.space_prefix = SpacePrefix::each_piece_if_missing;
    } else if (scheme != "never" && !had_prefix) {
      return file_.unsupported("pre_tokenizer",
                               "Metaspace with prepend_scheme " + json_string(scheme));
    }
    if (!bool_in(step, "split", true)) return {};
    return at_pre_tokenizer(made_.pre_tokenizer.add_split(" [^ ]*|[^ ]+", true));
  }

  // A decoder only matters where it drops the text's first space: the tokens spell the rest.
  Status read_decoder(const json::object& step, int depth) {
    PARKD_ASSIGN_OR_RETURN(const std::string_view type, type_of(step, "decoder", depth));
    if (type == "Sequence") {
      return each_of(step, "decoder", "decoders",
                     [&](const json::object& each) { return read_decoder(each, depth + 1); });
    }
    if (type == "Strip") {
      const json::string* content = string_in(step, "content");
      const json::value* start = step.if_contains("start");
      const json::value* stop = step.if_contains("stop");
      const bool one = start != nullptr && start->is_int64() && start->get_int64() == 1;
      const bool none_behind = stop == nullptr || (stop->is_int64() && stop->get_int64() == 0);
      if (content == nullptr || view(*content) != " " || !one || !none_behind) {
        return file_.unsupported("decoder", "Strip of anything but one space at the start");
      }
      steps_.drops_first_space = true;
      return {};
    }
    if (type == "Metaspace") {
      const json::string* given = string_in(step, "prepend_scheme");
      steps_.drops_first_space =
          given != nullptr ? view(*given) != "never" : bool_in(step, "add_prefix_space", true);
      return {};
    }
    if (type == "Replace") {
      const json::string* to = string_in(step, "content");
      if (string_pattern(step) == kSpmSpace && to != nullptr && view(*to) == " ") return {};
      return file_.unsupported("decoder", "Replace of anything but U+2581 by a space");
    }
    if (type == "ByteLevel" || type == "ByteFallback" || type == "Fuse") return {};
    return file_.unsupported(
        "decoder",
        json_string(type) +
            " (ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence and Strip are)");
  }

  const TokenizerFile& file_;
  Vocabulary& made_;
  TextSteps steps_;
  bool splits_ = false;  // a step before this one cuts the text
};

}  // namespace

Result<TextSteps> read_text_steps(const TokenizerFile& file, Vocabulary& vocabulary) {
  return StepReader(file, vocabulary).read();
}

}  // namespace parkd
