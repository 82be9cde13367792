#include "lib/http/multipart_header.h"

#include <algorithm>
#include <array>

#include "lib/base/json_reader.h"
#include "lib/base/text.h"

namespace parkd {
namespace {

constexpr std::string_view kBlank = " \t";

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  text.remove_suffix(text.size() - 1 - text.find_last_not_of(kBlank));
  return text;
}

std::string quoted(std::string_view text) {
  return std::string("\"").append(shown_name(text)).append("\"");
}

// tchar of RFC 9110, 5.6.2.
bool is_token(std::string_view text) {
  return consists_of(text, "!#$%&'*+-.^_`|~");
}

// Takes the quoted string off that `rest` begins with; false: it does not end.
bool take_quoted(std::string_view& rest, std::string& value) {
  for (size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '"') {
      rest.remove_prefix(i + 1);
      return true;
    }
    const bool escapes =
        rest[i] == '\\' && i + 1 < rest.size() && (rest[i + 1] == '"' || rest[i + 1] == '\\');
    value += escapes ? rest[++i] : rest[i];
  }
  return false;
}

// The value that `rest` begins with and the blanks behind it. One without quotes goes as far as
// clients write it, which is further than a token's letters.
Status take_value(std::string_view& rest, const std::string& name, std::string& value) {
  if (rest.starts_with('"')) {
    if (!take_quoted(rest, value)) return invalid("the quotes of its " + name + " do not end");
  } else {
    const size_t end = std::min(rest.find_first_of("; \t\""), rest.size());
    value = rest.substr(0, end);
    rest.remove_prefix(end);
    if (value.empty()) return invalid("its " + name + " has no value");
  }
  rest.remove_prefix(std::min(rest.find_first_not_of(kBlank), rest.size()));
  if (rest.empty() || rest.front() == ';') return {};
  return invalid("behind its " + name + " stands " + quoted(rest) + ": there belongs a semicolon");
}

std::string without_percent(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, char>, 3> kEscapes = {
      {{"%22", '"'}, {"%0D", '\r'}, {"%0A", '\n'}}};
  std::string plain;
  while (!text.empty()) {
    const auto known = std::find_if(kEscapes.begin(), kEscapes.end(),
                                    [&](const auto& e) { return text.starts_with(e.first); });
    plain += known == kEscapes.end() ? text.front() : known->second;
    text.remove_prefix(known == kEscapes.end() ? 1 : known->first.size());
  }
  return plain;
}

Status read_name(const HeaderValue& value, std::string_view name, std::optional<std::string>& out) {
  out = value.find(name);
  if (!out) return {};
  out = without_percent(*out);
  if (is_valid_utf8(*out)) return {};
  return invalid("its " + std::string(name) + " is not UTF-8");
}

Status read_disposition(std::string_view text, MultipartPart& part) {
  auto value = read_header_value(text);
  if (!value.ok()) return invalid("Content-Disposition: " + value.status().message());
  if (value->word != "form-data") {
    return invalid("Content-Disposition is " + quoted(text) + "; a form's parts have form-data");
  }
  std::optional<std::string> name;
  std::optional<std::string> filename;
  PARKD_RETURN_IF_ERROR(read_name(*value, "name", name));
  PARKD_RETURN_IF_ERROR(read_name(*value, "filename", filename));
  if (!name) return invalid("Content-Disposition has no name: send form-data; name=\"...\"");
  if (!filename && value->find("filename*")) {
    return invalid("Content-Disposition has filename* alone: send filename, in UTF-8");
  }
  part.name = *std::move(name);
  part.has_filename = filename.has_value();
  part.filename = std::move(filename).value_or("");
  return {};
}

// Of the headers that count, in the order of kHeaders.
constexpr std::array<std::string_view, 3> kHeaders = {"content-disposition", "content-type",
                                                      "content-transfer-encoding"};
using HeaderValues = std::array<std::optional<std::string_view>, kHeaders.size()>;

Status read_line(std::string_view line, HeaderValues& values) {
  if (kBlank.find(line.front()) != kBlank.npos) {
    return invalid("a header is folded over several lines: send it in one");
  }
  const auto is_control = [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  };
  if (std::any_of(line.begin(), line.end(), is_control)) {
    return invalid("a header has control characters");
  }
  const size_t colon = std::min(line.find(':'), line.size());
  if (colon == line.size() || !is_token(line.substr(0, colon))) {
    return invalid(quoted(line) + " is not a header: send name: value");
  }
  const auto known = std::find(kHeaders.begin(), kHeaders.end(), lower_case(line.substr(0, colon)));
  if (known == kHeaders.end()) return {};
  auto& value = values[static_cast<size_t>(known - kHeaders.begin())];
  if (value) return invalid("there are two headers " + quoted(line.substr(0, colon)));
  value = trimmed(line.substr(colon + 1));
  return {};
}

}  // namespace

bool consists_of(std::string_view text, std::string_view marks) {
  const auto fits = [marks](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           marks.find(c) != marks.npos;
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), fits);
}

std::optional<std::string> HeaderValue::find(std::string_view name) const {
  for (const auto& [known, value] : parameters) {
    if (known == name) return value;
  }
  return std::nullopt;
}

Result<HeaderValue> read_header_value(std::string_view text) {
  HeaderValue value;
  const size_t end = std::min(text.find(';'), text.size());
  value.word = lower_case(trimmed(text.substr(0, end)));
  std::string_view rest = text.substr(end);
  while (!rest.empty()) {
    rest.remove_prefix(1);  // the semicolon
    rest.remove_prefix(std::min(rest.find_first_not_of(kBlank), rest.size()));
    const size_t equals = std::min(rest.find('='), rest.size());
    const std::string name = lower_case(rest.substr(0, equals));
    if (equals == rest.size() || !is_token(name)) {
      return invalid(quoted(rest) + " is not a parameter: send name=value");
    }
    if (value.find(name)) return invalid("there are two parameters " + quoted(name));
    rest.remove_prefix(equals + 1);
    value.parameters.emplace_back(name, "");
    PARKD_RETURN_IF_ERROR(take_value(rest, name, value.parameters.back().second));
  }
  return value;
}

Result<MultipartPart> read_part_header(std::string_view lines) {
  HeaderValues values;
  while (!lines.empty()) {
    const size_t end = std::min(lines.find("\r\n"), lines.size());
    if (end > 0) PARKD_RETURN_IF_ERROR(read_line(lines.substr(0, end), values));
    lines.remove_prefix(std::min(end + 2, lines.size()));
  }
  const auto& [disposition, type, encoding] = values;
  if (!disposition) return invalid("it has no Content-Disposition");
  MultipartPart part;
  PARKD_RETURN_IF_ERROR(read_disposition(*disposition, part));
  part.content_type = type.value_or("");
  if (const std::string coding = lower_case(encoding.value_or("binary"));
      coding != "binary" && coding != "8bit" && coding != "7bit") {
    return invalid("Content-Transfer-Encoding is " + quoted(*encoding) +
                   "; parkd takes parts as they are: send it without");
  }
  return part;
}

}  // namespace parkd
