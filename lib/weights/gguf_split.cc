// A model in several GGUF files, as llama.cpp's gguf-split writes it: the first has all keys, each
// has its tensors and says which it is (split.no, from 0 on) and of how many.
#include "lib/weights/gguf_split.h"

#include <utility>

#include "lib/base/json_writer.h"
#include "lib/weights/gguf.h"

namespace parkd {
namespace {

constexpr std::string_view kForm = "-00000-of-00000.gguf";
constexpr std::string_view kDigits = "0123456789";

struct Part {
  int64_t number = 1;  // from 1 on
  int64_t count = 1;
  int64_t n_tensors = 0;  // of all parts
};

std::string text_of(int64_t number, int64_t count) {
  return "part " + std::to_string(number) + " of " + std::to_string(count);
}

Result<Part> part_of(const GgufFile& file) {
  Part part;
  PARKD_ASSIGN_OR_RETURN(part.count, file.integer_or("split.count", 1));
  if (part.count < 1 || part.count > kGgufPartsMax) {
    return corrupt(file.error_text("split.count is " + std::to_string(part.count) +
                                   ", the limits are 1 and " + std::to_string(kGgufPartsMax)));
  }
  if (part.count == 1) return part;
  PARKD_ASSIGN_OR_RETURN(const int64_t index, file.integer("split.no"));
  PARKD_ASSIGN_OR_RETURN(part.n_tensors, file.integer("split.tensors.count"));
  if (index < 0 || index >= part.count) {
    return corrupt(file.error_text("split.no is " + std::to_string(index) +
                                   " where split.count is " + std::to_string(part.count)));
  }
  part.number = index + 1;
  return part;
}

}  // namespace

std::optional<GgufPartName> gguf_part_name(std::string_view path) {
  if (path.size() <= kForm.size()) return std::nullopt;
  const std::string_view end = path.substr(path.size() - kForm.size());
  for (size_t i = 0; i < kForm.size(); ++i) {
    const bool fits = kForm[i] == '0' ? kDigits.find(end[i]) != kDigits.npos : end[i] == kForm[i];
    if (!fits) return std::nullopt;
  }
  const auto number_at = [&](size_t at) {
    int32_t number = 0;
    for (const char digit : end.substr(at, 5)) number = number * 10 + (digit - '0');
    return number;
  };
  GgufPartName name{path.substr(0, path.size() - kForm.size()), number_at(1), number_at(10)};
  if (name.number < 1 || name.number > name.count) return std::nullopt;
  return name;
}

std::string gguf_part_path(const GgufPartName& name) {
  const auto five = [](int32_t n) { return std::to_string(100000 + n).substr(1); };
  return std::string(name.before) + "-" + five(name.number) + "-of-" + five(name.count) + ".gguf";
}

std::optional<std::string> first_of_gguf_parts(std::span<const std::string> paths) {
  std::optional<GgufPartName> first;
  for (const std::string& path : paths) {
    const auto name = gguf_part_name(path);
    if (!name) return std::nullopt;
    if (!first) first = name;
    if (name->before != first->before || name->count != first->count) return std::nullopt;
  }
  if (!first) return std::nullopt;
  first->number = 1;
  return gguf_part_path(*first);
}

Result<std::shared_ptr<const GgufFile>> GgufFile::open(const std::string& path) {
  PARKD_ASSIGN_OR_RETURN(auto mapped, MappedFile::open(path));
  PARKD_ASSIGN_OR_RETURN(auto file, parse(std::move(mapped)));
  PARKD_RETURN_IF_ERROR(file->open_other_parts());
  return std::shared_ptr<const GgufFile>(std::move(file));
}

Result<std::shared_ptr<const GgufFile>> GgufFile::from_bytes(std::string name,
                                                             std::vector<uint8_t> bytes) {
  PARKD_ASSIGN_OR_RETURN(auto file,
                         parse(MappedFile::from_bytes(std::move(name), std::move(bytes))));
  PARKD_ASSIGN_OR_RETURN(const Part part, part_of(*file));
  if (part.count != 1) {
    return invalid(file->error_text("is " + text_of(part.number, part.count) +
                                    " (split.count), and there are no others beside it"));
  }
  return std::shared_ptr<const GgufFile>(std::move(file));
}

Status GgufFile::open_other_parts() {
  PARKD_ASSIGN_OR_RETURN(const Part first, part_of(*this));
  if (first.count == 1) return {};
  auto part_name = gguf_part_name(name());
  if (!part_name || part_name->number != first.number || part_name->count != first.count) {
    const auto wanted =
        gguf_part_path({"", static_cast<int32_t>(first.number), static_cast<int32_t>(first.count)});
    return invalid(error_text("is " + text_of(first.number, first.count) +
                              " (split.no, split.count), so its name must end in \"" + wanted +
                              "\", as the others are found by it"));
  }
  if (first.number != 1) {
    part_name->number = 1;
    return invalid(error_text("is " + text_of(first.number, first.count) + ": name the first, " +
                              gguf_part_path(*part_name)));
  }
  for (int32_t number = 2; number <= part_name->count; ++number) {
    part_name->number = number;
    const std::string path = gguf_part_path(*part_name);
    auto mapped = MappedFile::open(path);
    if (!mapped.ok() && mapped.status().code() == StatusCode::not_found) {
      return not_found(
          error_text(text_of(number, first.count) + " is missing: there is no " + path));
    }
    if (!mapped.ok()) return mapped.status();
    PARKD_ASSIGN_OR_RETURN(auto file, parse(*std::move(mapped)));
    PARKD_RETURN_IF_ERROR(add_part(std::move(file), number));
  }
  if (static_cast<int64_t>(tensors_.size()) == first.n_tensors) return {};
  return corrupt(error_text(
      "its " + std::to_string(first.count) + " parts have " + std::to_string(tensors_.size()) +
      " tensors where split.tensors.count is " + std::to_string(first.n_tensors)));
}

Status GgufFile::add_part(std::shared_ptr<const GgufFile> file, int64_t number) {
  PARKD_ASSIGN_OR_RETURN(const Part first, part_of(*this));
  PARKD_ASSIGN_OR_RETURN(const Part part, part_of(*file));
  const auto foreign = [&](const std::string& what) {
    return corrupt(file->error_text(what + ": it is not a part of " + name()));
  };
  if (part.number != number || part.count != first.count) {
    return foreign("is " + text_of(part.number, part.count) + " where " +
                   text_of(number, first.count) + " is wanted");
  }
  if (part.n_tensors != first.n_tensors) {
    return foreign("has split.tensors.count " + std::to_string(part.n_tensors) +
                   " where the first part has " + std::to_string(first.n_tensors));
  }
  constexpr std::string_view kArchitecture = "general.architecture";
  PARKD_ASSIGN_OR_RETURN(const std::string_view of_first, string_or(kArchitecture, ""));
  PARKD_ASSIGN_OR_RETURN(const std::string_view of_part, file->string_or(kArchitecture, of_first));
  if (of_part != of_first) {
    return foreign(std::string(kArchitecture) + " is " + json_string(of_part) +
                   " where the first part has " + json_string(of_first));
  }
  for (const TensorView& tensor : file->tensors()) {
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
      return foreign("tensor " + json_string(tensor.name) + " is in an earlier part too");
    }
    tensors_.push_back(tensor);
  }
  if (tensors_.size() > kGgufTensorsMax) {
    return corrupt(
        error_text("its parts have more than " + std::to_string(kGgufTensorsMax) + " tensors"));
  }
  other_parts_.push_back(std::move(file));
  return {};
}

std::vector<std::span<const uint8_t>> GgufFile::contents() const {
  std::vector<std::span<const uint8_t>> spans = {bytes()};
  for (const auto& part : other_parts_) spans.push_back(part->bytes());
  return spans;
}

std::vector<std::span<const uint8_t>> GgufFile::headers() const {
  std::vector<std::span<const uint8_t>> spans = {header()};
  for (const auto& part : other_parts_) spans.push_back(part->header());
  return spans;
}

}  // namespace parkd
