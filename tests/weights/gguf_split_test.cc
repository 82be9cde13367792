// A model in several GGUF files: read as one, and every way in which a part can be missing, another
// model's or in another place is one line.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "lib/weights/gguf.h"
#include "lib/weights/gguf_split.h"
#include "lib/weights/model_file.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;
using testing::GgufWriter;

struct Part {
  int32_t number = 1;
  int32_t count = 3;
  int32_t n_tensors = 4;
  std::string architecture = "";  // empty: it does not say
  std::vector<std::string> tensors = {};
};

std::vector<uint8_t> bytes_of(const Part& part) {
  GgufWriter writer;
  if (!part.architecture.empty()) writer.add_string("general.architecture", part.architecture);
  writer.add_u32("split.no", static_cast<uint32_t>(part.number - 1));
  writer.add_u32("split.count", static_cast<uint32_t>(part.count));
  writer.add_i32("split.tensors.count", part.n_tensors);
  for (const std::string& name : part.tensors) {
    writer.add_tensor(name, TensorType::f32, 1, 2,
                      std::vector<uint8_t>(8, static_cast<uint8_t>(name.front())));
  }
  return writer.bytes();
}

class GgufSplit : public ::testing::Test {
 protected:
  std::string path(const std::string& file) const { return folder_.path() + "/" + file; }
  void write(const std::string& file, const Part& part) const {
    const std::vector<uint8_t> bytes = bytes_of(part);
    std::ofstream(path(file), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  void write_all() const {
    write("m-00001-of-00003.gguf", {1, 3, 4, "llama", {"a", "b"}});
    write("m-00002-of-00003.gguf", {2, 3, 4, "", {"c"}});
    write("m-00003-of-00003.gguf", {3, 3, 4, "", {"d"}});
  }
  void expect_refusal(StatusCode code, const std::string& text,
                      const std::string& file = "m-00001-of-00003.gguf") const {
    const Status status = GgufFile::open(path(file)).status();
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_NE(status.message().find(text), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(folder_.path()), std::string::npos) << "it names the file";
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
  }

  const TempDir folder_;
};

TEST_F(GgufSplit, parts_are_read_as_one_model) {
  write_all();
  const auto file = GgufFile::open(path("m-00001-of-00003.gguf"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ((*file)->name(), path("m-00001-of-00003.gguf"));
  EXPECT_EQ((*file)->string("general.architecture").value(), "llama");
  ASSERT_EQ((*file)->tensors().size(), 4U);
  for (const char* name : {"a", "b", "c", "d"}) {
    const TensorView* tensor = (*file)->find_tensor(name);
    ASSERT_NE(tensor, nullptr) << name;
    EXPECT_EQ(tensor->bytes.front(), static_cast<uint8_t>(*name));
  }
  EXPECT_EQ((*file)->contents().size(), 3U) << "a model's hash is of all of them";
  EXPECT_EQ((*file)->headers().size(), 3U);
  EXPECT_EQ(find_model_file(folder_.path()).value(), path("m-00001-of-00003.gguf"))
      << "a directory of one model's parts";
}

TEST_F(GgufSplit, a_missing_part_is_named_with_its_path) {
  write_all();
  fs::remove(path("m-00003-of-00003.gguf"));
  expect_refusal(StatusCode::not_found,
                 "part 3 of 3 is missing: there is no " + path("m-00003-of-00003.gguf"));
}

TEST_F(GgufSplit, a_part_that_is_not_the_first_names_the_first) {
  write_all();
  expect_refusal(StatusCode::invalid,
                 "is part 2 of 3: name the first, " + path("m-00001-of-00003.gguf"),
                 "m-00002-of-00003.gguf");
}

TEST_F(GgufSplit, a_renamed_part_says_how_it_must_be_called) {
  write_all();
  fs::rename(path("m-00001-of-00003.gguf"), path("model.gguf"));
  expect_refusal(StatusCode::invalid, "its name must end in \"-00001-of-00003.gguf\"",
                 "model.gguf");
  fs::rename(path("model.gguf"), path("m-00001-of-00004.gguf"));
  expect_refusal(StatusCode::invalid, "its name must end in \"-00001-of-00003.gguf\"",
                 "m-00001-of-00004.gguf");
}

TEST_F(GgufSplit, parts_of_other_models_are_refused) {
  const std::vector<std::pair<Part, std::string>> kForeign = {
      {{3, 3, 4, "", {"c"}}, "is part 3 of 3 where part 2 of 3 is wanted"},
      {{2, 5, 4, "", {"c"}}, "is part 2 of 5 where part 2 of 3 is wanted"},
      {{2, 3, 9, "", {"c"}}, "has split.tensors.count 9 where the first part has 4"},
      {{2, 3, 4, "qwen2", {"c"}}, "general.architecture is \"qwen2\" where the first part has"},
      {{2, 3, 4, "", {"a"}}, "tensor \"a\" is in an earlier part too"},
  };
  for (const auto& [part, text] : kForeign) {
    write_all();
    write("m-00002-of-00003.gguf", part);
    expect_refusal(StatusCode::corrupt, text);
    expect_refusal(StatusCode::corrupt, "it is not a part of " + path("m-00001-of-00003.gguf"));
  }
  // One that says nothing of parts.
  write_all();
  GgufWriter plain;
  const std::vector<uint8_t> bytes = plain.bytes();
  std::ofstream(path("m-00002-of-00003.gguf"), std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  expect_refusal(StatusCode::corrupt, "is part 1 of 1 where part 2 of 3 is wanted");
}

TEST_F(GgufSplit, a_number_of_tensors_that_the_parts_have_not_is_refused) {
  write_all();
  write("m-00003-of-00003.gguf", {3, 3, 4, "", {}});
  expect_refusal(StatusCode::corrupt, "its 3 parts have 3 tensors where split.tensors.count is 4");
}

TEST_F(GgufSplit, absurd_numbers_of_parts_are_refused) {
  write("m-00001-of-00003.gguf", {1, 60000, 4, "llama", {"a"}});
  expect_refusal(StatusCode::corrupt, "split.count is 60000, the limits are 1 and 1024");
  write("m-00001-of-00003.gguf", {4, 3, 4, "llama", {"a"}});
  expect_refusal(StatusCode::corrupt, "split.no is 3 where split.count is 3");
}

TEST(GgufPartName, is_read_from_the_end) {
  const auto name = gguf_part_name("/a/b-00002-of-00012.gguf");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->before, "/a/b");
  EXPECT_EQ(name->number, 2);
  EXPECT_EQ(name->count, 12);
  EXPECT_EQ(gguf_part_path(*name), "/a/b-00002-of-00012.gguf");
  for (const char* other :
       {"b.gguf", "b-00000-of-00002.gguf", "b-00003-of-00002.gguf", "b-0001-of-0002.gguf",
        "-00001-of-00002.gguf", "b-00001-of-00002.bin"}) {
    EXPECT_FALSE(gguf_part_name(other).has_value()) << other;
  }
}

}  // namespace
}  // namespace parkd
