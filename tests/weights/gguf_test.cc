#include "lib/weights/gguf.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/gguf_writer.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

using testing::GgufWriter;

Result<std::shared_ptr<const GgufFile>> parse(std::vector<uint8_t> bytes) {
  return GgufFile::from_bytes("m.gguf", std::move(bytes));
}

// A sound file with a key of every kind and two tensors.
GgufWriter sound_file() {
  GgufWriter writer;
  writer.add_string("general.architecture", "llama");
  writer.add_u32("count", 7);
  writer.add_i32("below", -7);
  writer.add_u64("large", 1ull << 40);
  writer.add_f32("share", 0.25F);
  writer.add_bool("yes", true);
  writer.add_strings("words", std::vector<std::string>{"a", "", "ccc"});
  writer.add_i32s("numbers", std::vector<int32_t>{1, -2, 3});
  writer.add_tensor("vector", TensorType::f32, 1, 8, std::vector<uint8_t>(32, 1));
  writer.add_tensor("matrix", TensorType::q4_1, 3, 64, std::vector<uint8_t>(3 * 2 * 20, 2));
  return writer;
}

// The refusal of `bytes`, which must name the file.
Status refusal(std::vector<uint8_t> bytes) {
  const auto file = parse(std::move(bytes));
  EXPECT_FALSE(file.ok());
  if (file.ok()) return {};
  EXPECT_EQ(file.status().message().rfind("m.gguf: ", 0), 0U) << file.status().message();
  return file.status();
}

void expect_refusal(const GgufWriter& writer, StatusCode code, const std::string& text) {
  const Status status = refusal(writer.bytes());
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(text), std::string::npos) << status.message();
}

TEST(Gguf, a_sound_file_gives_its_keys_and_tensors) {
  const auto file = parse(sound_file().bytes()).value();
  EXPECT_EQ(file->string("general.architecture").value(), "llama");
  EXPECT_EQ(file->integer("count").value(), 7);
  EXPECT_EQ(file->integer("below").value(), -7);
  EXPECT_EQ(file->integer("large").value(), int64_t{1} << 40);
  EXPECT_EQ(file->number("share").value(), 0.25);
  EXPECT_EQ(file->number("count").value(), 7);
  EXPECT_TRUE(file->boolean("yes").value());
  EXPECT_EQ(file->strings("words").value(), (std::vector<std::string_view>{"a", "", "ccc"}));
  EXPECT_EQ(file->integers("numbers").value(), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(file->keys().size(), 8U);

  ASSERT_EQ(file->tensors().size(), 2U);
  const TensorView* matrix = file->find_tensor("matrix");
  ASSERT_NE(matrix, nullptr);
  EXPECT_EQ(matrix->rows, 3);
  EXPECT_EQ(matrix->columns, 64);
  EXPECT_EQ(matrix->type, TensorType::q4_1);
  EXPECT_EQ(matrix->bytes.size(), 120U);
  EXPECT_EQ(matrix->bytes.front(), 2);
  EXPECT_EQ(file->find_tensor("vector")->rows, 1);
  EXPECT_EQ(file->find_tensor("nothing"), nullptr);
}

TEST(Gguf, a_mapped_file_reads_like_its_bytes) {
  const TempDir folder;
  const std::string path = folder.path() + "/m.gguf";
  const std::vector<uint8_t> bytes = sound_file().bytes();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  const auto file = GgufFile::open(path).value();
  EXPECT_EQ(file->name(), path);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), file->bytes().begin(), file->bytes().end()));
  EXPECT_EQ(file->find_tensor("matrix")->bytes.back(), 2);
}

TEST(Gguf, a_file_that_cannot_be_opened_or_mapped_is_named) {
  const TempDir folder;
  const Status missing = GgufFile::open(folder.path() + "/none.gguf").status();
  EXPECT_EQ(missing.code(), StatusCode::not_found);
  EXPECT_NE(missing.message().find("none.gguf"), std::string::npos);

  std::ofstream(folder.path() + "/empty.gguf").close();
  EXPECT_EQ(GgufFile::open(folder.path() + "/empty.gguf").status().code(), StatusCode::corrupt);
  EXPECT_FALSE(GgufFile::open(folder.path()).ok()) << "a folder is no model";
}

TEST(Gguf, a_key_of_another_type_or_a_missing_one_is_named) {
  const auto file = parse(sound_file().bytes()).value();
  const Status wrong = file->string("count").status();
  EXPECT_EQ(wrong.code(), StatusCode::invalid);
  EXPECT_EQ(wrong.message(), "m.gguf: key \"count\" is a uint32 where a string is expected");
  EXPECT_EQ(file->strings("numbers").status().code(), StatusCode::invalid);
  EXPECT_EQ(file->integers("words").status().code(), StatusCode::invalid);
  EXPECT_EQ(file->boolean("count").status().code(), StatusCode::invalid);
  EXPECT_EQ(file->integer("share").status().code(), StatusCode::invalid);
  const Status missing = file->integer("none").status();
  EXPECT_EQ(missing.code(), StatusCode::not_found);
  EXPECT_EQ(missing.message(), "m.gguf: key \"none\" is missing");
  EXPECT_EQ(file->integer_or("none", 3).value(), 3);
  EXPECT_FALSE(file->integer_or("share", 3).ok()) << "a default does not hide a wrong type";
}

TEST(Gguf, a_file_cut_off_anywhere_is_refused) {
  const std::vector<uint8_t> bytes = sound_file().bytes();
  // The last tensor's padding may be missing, its bytes may not.
  const size_t needed = bytes.size() - 8;
  for (size_t n = 0; n < needed; ++n) {
    EXPECT_FALSE(parse({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n)}).ok()) << n;
  }
  EXPECT_TRUE(parse({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(needed)}).ok());
}

TEST(Gguf, any_changed_byte_gives_a_file_or_a_refusal_and_never_a_read_outside) {
  const std::vector<uint8_t> bytes = sound_file().bytes();
  int n_refused = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int value : {0x00, 0x01, 0x09, 0x7f, 0x80, 0xff}) {
      std::vector<uint8_t> changed = bytes;
      changed[i] = static_cast<uint8_t>(value);
      const auto file = parse(std::move(changed));
      if (!file.ok()) {
        ++n_refused;
        continue;
      }
      uint64_t sum = 0;
      for (const TensorView& tensor : (*file)->tensors()) {
        for (const uint8_t byte : tensor.bytes) sum += byte;
      }
      for (const std::string_view key : (*file)->keys()) {
        if (const auto words = (*file)->strings(key); words.ok()) sum += words->size();
        if (const auto numbers = (*file)->integers(key); numbers.ok()) sum += numbers->size();
        if (const auto text = (*file)->string(key); text.ok()) sum += text->size();
      }
      EXPECT_GE(sum, 0U);
    }
  }
  EXPECT_GT(n_refused, 500) << "most changes to a header contradict the rest";
}

TEST(Gguf, counts_and_lengths_past_the_limits_are_refused_by_number) {
  const std::string most = std::to_string(kGgufTensorsMax);
  EXPECT_NE(refusal(sound_file().bytes_with_counts(1ull << 63, 8)).message().find(most),
            std::string::npos);
  EXPECT_EQ(refusal(sound_file().bytes_with_counts(2, ~0ull)).code(), StatusCode::corrupt);
  EXPECT_EQ(refusal(sound_file().bytes_with_counts(2, 9)).code(), StatusCode::corrupt);

  GgufWriter long_string;
  std::vector<uint8_t> payload;
  GgufWriter::put<uint64_t>(payload, ~0ull);
  long_string.add_raw("text", 8, payload);
  expect_refusal(long_string, StatusCode::corrupt, "18446744073709551615 bytes long, the limit is");

  GgufWriter long_array;
  payload.clear();
  GgufWriter::put<uint32_t>(payload, 12);
  GgufWriter::put<uint64_t>(payload, 1ull << 61);  // times 8 bytes is 0 in 64 bits
  long_array.add_raw("array", 9, payload);
  expect_refusal(long_array, StatusCode::corrupt, "2305843009213693952 elements, the limit is");
}

TEST(Gguf, arrays_nested_deeper_than_the_limit_are_refused) {
  const auto nested = [](int depth) {
    std::vector<uint8_t> payload;
    for (int i = 1; i < depth; ++i) {
      GgufWriter::put<uint32_t>(payload, 9);
      GgufWriter::put<uint64_t>(payload, 1);
    }
    GgufWriter::put<uint32_t>(payload, 0);
    GgufWriter::put<uint64_t>(payload, 1);
    payload.push_back(5);
    GgufWriter writer;
    writer.add_raw("deep", 9, payload);
    return writer;
  };
  EXPECT_TRUE(parse(nested(kGgufArrayDepthMax).bytes()).ok());
  expect_refusal(nested(kGgufArrayDepthMax + 1), StatusCode::corrupt, "nests arrays deeper");
}

TEST(Gguf, names_that_stand_twice_are_refused) {
  GgufWriter keys = sound_file();
  keys.add_u32("count", 8);
  expect_refusal(keys, StatusCode::corrupt, "key \"count\" stands there twice");
  GgufWriter tensors = sound_file();
  tensors.add_tensor("vector", TensorType::f32, 1, 8, std::vector<uint8_t>(32));
  expect_refusal(tensors, StatusCode::corrupt, "tensor \"vector\" stands there twice");
}

TEST(Gguf, a_tensor_type_that_is_not_supported_is_named_with_its_tensor) {
  GgufWriter writer;
  writer.add_tensor("blk.0.attn_q.weight", 16, std::vector<uint64_t>{256},
                    std::vector<uint8_t>(66));
  expect_refusal(writer, StatusCode::invalid,
                 "tensor \"blk.0.attn_q.weight\": IQ2_XXS is not supported yet");
  GgufWriter unknown;
  unknown.add_tensor("t", 99, std::vector<uint64_t>{256}, std::vector<uint8_t>(210));
  expect_refusal(unknown, StatusCode::invalid, "type 99 is not supported yet");
}

TEST(Gguf, a_tensor_that_lies_outside_the_file_or_on_another_is_refused) {
  GgufWriter outside = sound_file();
  outside.add_tensor_at("far", 0, std::vector<uint64_t>{8}, 1u << 20);
  expect_refusal(outside, StatusCode::corrupt, "tensor \"far\" needs 32 bytes at offset 1048576");
  GgufWriter wrapping = sound_file();
  wrapping.add_tensor_at("wrap", 0, std::vector<uint64_t>{8}, ~0ull - 31);
  expect_refusal(wrapping, StatusCode::corrupt, "tensor \"wrap\"");
  GgufWriter overlapping = sound_file();
  overlapping.add_tensor_at("over", 0, std::vector<uint64_t>{8}, 32);
  expect_refusal(overlapping, StatusCode::corrupt, "overlap");
  GgufWriter crooked = sound_file();
  crooked.add_tensor_at("crooked", 0, std::vector<uint64_t>{1}, 4);
  expect_refusal(crooked, StatusCode::corrupt, "not a multiple of the alignment 32");
}

TEST(Gguf, dimensions_that_cannot_be_are_refused) {
  const auto with = [](std::vector<uint64_t> dimensions, uint32_t type = 0) {
    GgufWriter writer;
    writer.add_tensor_at("t", type, dimensions, 0);
    return writer;
  };
  expect_refusal(with({}), StatusCode::corrupt, "0 dimensions");
  expect_refusal(with({1, 1, 1, 1, 1}), StatusCode::corrupt, "5 dimensions");
  expect_refusal(with({0}), StatusCode::corrupt, "dimension 0");
  expect_refusal(with({1ull << 41}), StatusCode::corrupt, "the limits are 1 and 2^40");
  expect_refusal(with({1ull << 40, 1ull << 40}), StatusCode::corrupt, "larger than 2^64");
  expect_refusal(with({33, 1}, 2), StatusCode::corrupt, "not whole blocks of Q4_0");
  expect_refusal(with({8, 8, 2}), StatusCode::invalid, "more than 2 dimensions");
}

TEST(Gguf, an_alignment_that_is_no_power_of_two_is_refused) {
  for (const uint32_t alignment : {0U, 1U, 4U, 24U, 1U << 21}) {
    GgufWriter writer;
    writer.add_u32("general.alignment", alignment);
    expect_refusal(writer, StatusCode::corrupt, std::to_string(alignment));
  }
}

TEST(Gguf, another_version_and_a_part_without_its_others_are_refused) {
  std::vector<uint8_t> bytes = sound_file().bytes();
  bytes[4] = 2;
  EXPECT_EQ(refusal(bytes).message(), "m.gguf: GGUF version 2 is not supported, only 3");
  bytes[0] = 'X';
  EXPECT_EQ(refusal(bytes).code(), StatusCode::invalid);
  GgufWriter shard = sound_file();
  shard.add_u32("split.count", 2);
  expect_refusal(shard, StatusCode::not_found, "split.no");
  shard.add_u32("split.no", 0);
  shard.add_u32("split.tensors.count", 4);
  expect_refusal(shard, StatusCode::invalid, "is part 1 of 2 (split.count), and there are no");
}

}  // namespace
}  // namespace parkd
