#include "lib/weights/safetensors.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/safetensors_writer.h"

namespace parkd {
namespace {

using testing::safetensors_of;

Result<std::shared_ptr<const SafetensorsFile>> parse(std::vector<uint8_t> bytes) {
  return SafetensorsFile::read(MappedFile::from_bytes("m.safetensors", std::move(bytes)));
}

void expect_refusal(std::vector<uint8_t> bytes, const std::string& text) {
  const auto file = parse(std::move(bytes));
  ASSERT_FALSE(file.ok()) << text;
  EXPECT_EQ(file.status().message().rfind("m.safetensors: ", 0), 0U) << file.status().message();
  EXPECT_NE(file.status().message().find(text), std::string::npos) << file.status().message();
}

constexpr const char* kSound = R"({"__metadata__":{"format":"pt"},)"
                               R"("b":{"dtype":"BF16","shape":[2,3],"data_offsets":[16,28]},)"
                               R"("a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},)"
                               R"("conv":{"dtype":"F16","shape":[1,2,1],"data_offsets":[28,32]},)"
                               R"("fp8":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[32,36]},)"
                               R"("new":{"dtype":"F3_XYZ","shape":[2,2],"data_offsets":[36,37]},)"
                               R"("none":{"dtype":"F32","shape":[0,8],"data_offsets":[37,37]}})";

TEST(Safetensors, a_sound_file_gives_its_tensors_in_the_order_of_their_data) {
  const auto file = parse(safetensors_of(kSound, 37)).value();
  ASSERT_EQ(file->tensors().size(), 2U);
  const TensorView& a = file->tensors()[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.type, TensorType::f32);
  EXPECT_EQ(a.rows, 1);
  EXPECT_EQ(a.columns, 4);
  EXPECT_EQ(a.bytes.front(), 0);
  const TensorView& b = file->tensors()[1];
  EXPECT_EQ(b.type, TensorType::bf16);
  EXPECT_EQ(b.rows, 2);
  EXPECT_EQ(b.columns, 3);
  EXPECT_EQ(b.bytes.size(), 12U);
  EXPECT_EQ(b.bytes.front(), 16);
  EXPECT_EQ(file->header().size() + 37, file->bytes().size());
}

TEST(Safetensors, a_tensor_that_is_not_read_is_listed_with_the_reason) {
  const auto file = parse(safetensors_of(kSound, 37)).value();
  std::string all;
  for (const UnreadTensor& each : file->unread_tensors()) {
    all += std::string(each.name) + ": " + each.why + "; ";
  }
  EXPECT_EQ(
      all,
      "conv: 3 dimensions are not supported, 2 at most are; new: F3_XYZ is not supported yet; "
      "none: it has no elements; ");
  ASSERT_EQ(file->float8_tensors().size(), 1U) << "whose scales are another's to find";
  EXPECT_EQ(file->float8_tensors()[0].name, "fp8");
  EXPECT_EQ(file->float8_tensors()[0].codes.front(), 32);
}

TEST(Safetensors, a_file_cut_off_anywhere_is_refused) {
  const std::vector<uint8_t> bytes = safetensors_of(kSound, 37);
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(parse({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n)}).ok()) << n;
  }
}

TEST(Safetensors, any_changed_byte_of_the_header_gives_a_file_or_a_refusal) {
  const std::vector<uint8_t> bytes = safetensors_of(kSound, 37);
  int n_refused = 0;
  for (size_t at = 0; at < bytes.size() - 37; ++at) {
    for (const int flip : {0x01, 0x10, 0x80}) {
      std::vector<uint8_t> changed = bytes;
      changed[at] = static_cast<uint8_t>(changed[at] ^ flip);
      const auto file = parse(std::move(changed));
      if (file.ok()) continue;
      ++n_refused;
      EXPECT_EQ(file.status().message().rfind("m.safetensors: ", 0), 0U);
    }
  }
  EXPECT_GT(n_refused, 500);
}

TEST(Safetensors, broken_headers_are_refused_with_what_is_wrong) {
  std::vector<uint8_t> huge = safetensors_of("{}", 0);
  huge[4] = 1;
  expect_refusal(huge, "the limit is 100000000");
  expect_refusal(safetensors_of("[]", 0), "not a JSON object");
  expect_refusal(safetensors_of("{", 0), "its header is not JSON");
  expect_refusal(safetensors_of(R"({"__metadata__":{"a":1}})", 0), "\"__metadata__\" has \"a\"");
  const auto tensor = [](const std::string& entry) { return R"({"t":)" + entry + "}"; };
  expect_refusal(safetensors_of(tensor("1"), 0), "tensor \"t\" must have dtype, shape");
  expect_refusal(safetensors_of(tensor(R"({"dtype":"F32","shape":[1]})"), 4), "must have");
  expect_refusal(
      safetensors_of(tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1})"), 4),
      "nothing else");
  expect_refusal(safetensors_of(tensor(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), 4),
                 "dimension -1");
  expect_refusal(safetensors_of(tensor(R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,4]})"), 4),
                 "dimension");
  expect_refusal(
      safetensors_of(
          tensor(R"({"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]})"),
          4),
      "larger than 2^64 bytes");
  expect_refusal(safetensors_of(tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), 4),
                 "begin at most end");
  expect_refusal(safetensors_of(tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), 4),
                 "has 4 bytes where F32 [2] asks 8");
  expect_refusal(
      safetensors_of(tensor(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]})"),
                     4),
      "9 dimensions, the limit is 8");
}

TEST(Safetensors, the_data_has_no_holes_overlaps_or_ends_of_its_own) {
  const auto two = [](const char* first, const char* second) {
    return std::string(R"({"s":{"dtype":"U8","shape":[4],"data_offsets":)") + first +
           R"(},"t":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
  };
  EXPECT_TRUE(parse(safetensors_of(two("[4,8]", "[0,4]"), 8)).ok()) << "any order in the header";
  expect_refusal(safetensors_of(two("[0,4]", "[5,9]"), 9), "begins at byte 5");
  expect_refusal(safetensors_of(two("[0,4]", "[2,6]"), 6), "begins at byte 2");
  expect_refusal(safetensors_of(two("[0,4]", "[0,4]"), 4), "begins at byte 0");
  expect_refusal(safetensors_of(two("[1,5]", "[5,9]"), 9), "begins at byte 1");
  expect_refusal(safetensors_of(two("[0,4]", "[4,8]"), 9), "the file has 9");
  expect_refusal(safetensors_of(two("[0,4]", "[4,8]"), 7), "it is cut off");
}

TEST(Safetensors, a_name_that_is_given_twice_is_refused) {
  expect_refusal(safetensors_of(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                R"("t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                                1),
                 "\"t\" is given twice");
}

}  // namespace
}  // namespace parkd
