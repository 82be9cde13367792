// Random batch files, good lines and bad ones of every kind: what BatchFileCheck finds in one,
// however it is cut, is what an oracle predicts that reads it with Boost's own parser.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "lib/job/bounds.h"
#include "lib/openai/batch_file.h"
#include "tests/support/batch_lines.h"

namespace parkd {
namespace {

namespace json = boost::json;
using testing::lines_in;
using testing::TextLine;

using Told = std::tuple<int64_t, std::string, std::string>;  // line, code, param

// --- the oracle

using Word = std::pair<std::string, std::string>;  // code, param; both empty: no fault

Word fault_of_text(const json::object& object, const std::string& name, const std::string& param) {
  const json::value value = object.contains(name) ? object.at(name) : json::value();
  if (value.is_null()) return {"missing_required_parameter", param};
  if (!value.is_string() || value.get_string().empty() || value.get_string().size() > 512) {
    return {"invalid_value", param};
  }
  return {};
}

// Of an object's members in the order in which they are looked at.
Word fault_of_members(const json::object& line, const std::string& body_text, int64_t number,
                      const BatchFileRules& rules, std::map<std::string, int64_t>& ids,
                      std::string& model) {
  if (const Word word = fault_of_text(line, "custom_id", "custom_id"); word != Word()) return word;
  if (!ids.emplace(line.at("custom_id").as_string(), number).second) {
    return {"duplicate_custom_id", "custom_id"};
  }
  if (const Word word = fault_of_text(line, "method", "method"); word != Word()) return word;
  if (line.at("method") != "POST") return {"invalid_value", "method"};
  if (const Word word = fault_of_text(line, "url", "url"); word != Word()) return word;
  if (line.at("url") != json::value(rules.endpoint)) return {"url_mismatch", "url"};
  if (!line.contains("body") || line.at("body").is_null()) {
    return {"missing_required_parameter", "body"};
  }
  if (!line.at("body").is_object()) return {"invalid_value", "body"};
  if (body_text.size() > rules.body_bytes_max) return {"line_too_long", "body"};
  const json::object& body = line.at("body").get_object();
  if (const Word word = fault_of_text(body, "model", "body.model"); word != Word()) return word;
  if (model.empty()) model = std::string(body.at("model").as_string());
  if (body.at("model") != json::value(model)) return {"model_mismatch", "body.model"};
  for (const auto& [name, value] : line) {
    if (name != "custom_id" && name != "method" && name != "url" && name != "body") {
      return {"unknown_parameter", std::string(name)};
    }
  }
  return {};
}

// The generator writes a body between these two, if anywhere.
std::string body_in(const std::string& text) {
  const size_t begin = text.find("{\"\":\"BEGIN\"");
  const size_t end = text.rfind("\"END\"}");
  return end == text.npos ? "" : text.substr(begin, end + 6 - begin);
}

struct Expected {
  std::vector<Told> told;
  int64_t n_lines = 0;
  std::string model{};
};

Expected expected_of(const std::string& file, const BatchFileRules& rules) {
  Expected expected;
  auto& [told, n_lines, model] = expected;
  std::map<std::string, int64_t> ids;
  for (const TextLine& line : lines_in(file, rules.line_bytes_max())) {
    if (told.size() == 100) break;
    if (++n_lines > rules.lines_max) {
      told.emplace_back(line.number, "too_many_tasks", "");
      break;
    }
    json::error_code error;
    const json::value value = json::parse(line.text, error);
    Word word;
    if (line.too_long) {
      word = {"line_too_long", ""};
    } else if (error || line.text.find("\\u0000") != line.text.npos) {
      word = {"invalid_json_line", ""};
    } else if (line.text.find("\"twice\":1,\"twice\":1") != line.text.npos) {
      word = {"invalid_json_line", "twice"};
    } else if (!value.is_object()) {
      word = {"invalid_json_line", ""};
    } else {
      word =
          fault_of_members(value.get_object(), body_in(line.text), line.number, rules, ids, model);
    }
    if (word != Word()) told.emplace_back(line.number, word.first, word.second);
  }
  if (n_lines == 0) told.emplace_back(0, "empty_file", "");
  return expected;
}

// --- the generator

class RandomFile {
 public:
  explicit RandomFile(uint64_t seed) : random_(seed) {}

  std::string file(size_t body_bytes_max) {
    body_bytes_max_ = body_bytes_max;
    const uint64_t rates[] = {0, 5, 50, 200};  // faults in a thousand members
    rate_ = rates[below(4)];
    const size_t n = below(10) == 0 ? below(3) : below(250);
    n_ids_ = rate_ == 0 ? 1u << 30 : 20 * (n + 1);
    std::string file = below(4) == 0 ? "\xEF\xBB\xBF" : "";
    for (size_t i = 0; i < n; ++i) {
      file += below(10) == 0 ? blanks() : line();
      if (i + 1 < n || below(2) == 0) file += below(3) == 0 ? "\r\n" : "\n";
    }
    return file;
  }
  uint64_t below(uint64_t n) { return random_() % n; }

 private:
  bool is_bad() { return below(1000) < rate_; }
  template <size_t n>
  std::string one_of(const std::string (&texts)[n]) {
    return texts[below(n)];
  }
  std::string blanks() { return one_of({"", "", " ", "\t", " \r "}); }
  // What no member that is a text may be.
  std::string no_text() {
    return one_of({"null", "17", "\"\"", "true", "[]", "{}", "\"" + std::string(513, 'x') + "\""});
  }
  std::string custom_id() {
    if (is_bad()) return no_text();
    const std::string id = std::to_string(below(n_ids_));
    if (below(5) != 0) return "\"" + id + "\"";
    return "\"\\u003" + id.substr(0, 1) + id.substr(1) + "\"";
  }
  std::string method() {
    return is_bad() ? one_of({"\"GET\"", "\"post\"", no_text()}) : "\"POST\"";
  }
  std::string url() {
    return is_bad() ? one_of({"\"/v1/completions\"", "\"v1/chat/completions\"", no_text()})
                    : "\"/v1/chat/completions\"";
  }
  std::string model() {
    const std::string model = is_bad() ? one_of({"\"n\"", "\"M\"", no_text()}) : "\"m\"";
    return is_bad() ? "" : ",\"model\"" + blanks() + ":" + model;
  }
  std::string body() {
    if (is_bad()) return one_of({"null", "17", "\"{}\"", "[]", "true"});
    std::string body = "{\"\":\"BEGIN\"" + model();
    body += one_of({",\"messages\":[]", "", ",\"n\":{\"n\":[1e2,-3]}", ",\"user\":\"\\\"}\""});
    if (is_bad()) body += ",\"x\":\"" + std::string(body_bytes_max_ - below(40), 'x') + "\"";
    return body + ",\"last\":\"END\"}";
  }

  std::string line() {
    std::vector<std::string> members;
    const auto add = [&](const std::string& name, const std::string& value) {
      if (is_bad()) return;
      members.push_back(blanks() + "\"" + name + "\"" + blanks() + ":" + blanks() + value +
                        blanks());
    };
    add("custom_id", custom_id());
    add("method", method());
    add("url", url());
    add("body", body());
    if (is_bad()) add(one_of({"priority", "Body", "model"}), one_of({"null", "1", "{}"}));
    if (is_bad()) members.push_back("\"twice\":1,\"twice\":1");
    std::shuffle(members.begin(), members.end(), random_);
    std::string line = "{";
    for (const std::string& member : members) line += (line.size() > 1 ? "," : "") + member;
    line += "}";
    return is_bad() ? spoiled(line) : line;
  }
  std::string spoiled(std::string line) {
    switch (below(6)) {
      case 0:
        return line.substr(0, 1 + below(line.size() - 1));
      case 1:
        return line.insert(1 + below(line.size() - 1), "\xE9");
      case 2:
        return "[" + line + "]";
      case 3:
        return one_of({"17", "null", "\"{}\"", "'", "{\"a\":1} {}"});
      case 4:
        return "{\"a\":\"\\u0000\"," + line.substr(1);
      default:
        return line + std::string(kBatchLineRoomBytes, ' ');
    }
  }

  std::mt19937_64 random_;
  uint64_t rate_ = 0;
  uint64_t n_ids_ = 0;
  size_t body_bytes_max_ = 0;
};

Result<BatchFileFindings> check_in_pieces(std::string_view file, const BatchFileRules& rules,
                                          RandomFile& random) {
  BatchFileCheck check(rules);
  while (!file.empty() && !check.is_done()) {
    // A copy of exactly these bytes, so that a sanitizer sees who reads further.
    const std::string piece(file.substr(0, 1 + random.below(random.below(3) == 0 ? 9 : 20'000)));
    file.remove_prefix(piece.size());
    PARKD_RETURN_IF_ERROR(check.feed(piece));
  }
  return check.finish();
}

// Each request is what Boost's parser reads in its line.
void expect_readable(const std::string& file, const BatchFileRules& rules) {
  for (const TextLine& line : lines_in(file, rules.line_bytes_max())) {
    const json::value value = json::parse(line.text);
    const auto request = read_line_request(line.text, {});
    ASSERT_TRUE(request.ok()) << line << ": " << request.status().to_string();
    EXPECT_EQ(value.at("custom_id"), json::value(request->custom_id));
    EXPECT_EQ(value.at("body").at("model"), json::value(request->model));
    EXPECT_EQ(request->body, body_in(line.text));
  }
}

TEST(BatchFile, has_the_faults_that_an_oracle_predicts) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  RandomFile random(seed);
  std::map<std::string, int> n_of_code;
  int n_good = 0;
  for (int i = 0; i < 600; ++i) {
    BatchFileRules rules{.endpoint = "/v1/chat/completions", .lines_max = 0, .body_bytes_max = 0};
    rules.body_bytes_max = 100 + random.below(100);
    rules.lines_max = random.below(2) == 0 ? 1000 : 1 + static_cast<int64_t>(random.below(250));
    const std::string file = random.file(rules.body_bytes_max);
    const Expected expected = expected_of(file, rules);
    const auto found = check_in_pieces(file, rules, random);
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    std::vector<Told> told;
    for (const BatchFault& fault : found->faults) {
      told.emplace_back(fault.line, fault.code, fault.param);
      ++n_of_code[fault.code];
    }
    for (size_t j = 0; j < std::min(told.size(), expected.told.size()); ++j) {
      ASSERT_EQ(told[j], expected.told[j]) << "file " << i << ", fault " << j;
    }
    ASSERT_EQ(told.size(), expected.told.size()) << "file " << i;
    ASSERT_EQ(found->n_lines, expected.n_lines) << "file " << i;
    ASSERT_EQ(found->model, expected.model) << "file " << i;
    if (!told.empty()) continue;
    ++n_good;
    expect_readable(file, rules);
  }
  for (const auto& [code, n] : n_of_code) std::cout << code << " " << n << "\n";
  EXPECT_EQ(n_of_code.size(), 10u) << "a code did not occur";
  EXPECT_GT(n_good, 10);
}

}  // namespace
}  // namespace parkd
