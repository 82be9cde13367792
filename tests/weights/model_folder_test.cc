#include "lib/weights/model_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "lib/weights/model_file.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

using Files = std::map<std::string, std::vector<uint8_t>>;

std::vector<uint8_t> bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

// Tensors of one byte a name.
std::vector<uint8_t> shard(const std::vector<std::string>& names) {
  testing::SafetensorsWriter writer;
  for (const std::string& name : names) {
    writer.add(name, "F16", std::vector<int64_t>{1, 2}, std::vector<uint8_t>(4, 7));
  }
  return writer.bytes();
}

Files two_shards() {
  Files files;
  files["config.json"] = bytes_of("{}");
  files["model-00001-of-00002.safetensors"] = shard({"a", "b"});
  files["model-00002-of-00002.safetensors"] = shard({"c"});
  files["model.safetensors.index.json"] =
      bytes_of(R"({"metadata":{"total_size":12},"weight_map":{)"
               R"("a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors",)"
               R"("c":"model-00002-of-00002.safetensors"}})");
  return files;
}

void expect_refusal(const Files& files, StatusCode code, const std::string& text) {
  const auto folder = ModelFolder::from_files("m", files);
  ASSERT_FALSE(folder.ok()) << text;
  EXPECT_EQ(folder.status().code(), code) << folder.status().message();
  EXPECT_EQ(folder.status().message().rfind("m", 0), 0U) << folder.status().message();
  EXPECT_NE(folder.status().message().find(text), std::string::npos) << folder.status().message();
}

Files with_index(const std::string& map) {
  Files files = two_shards();
  files["model.safetensors.index.json"] = bytes_of(R"({"weight_map":)" + map + "}");
  return files;
}

TEST(ModelFolder, shards_are_read_as_one_model) {
  const auto folder = ModelFolder::from_files("m", two_shards()).value();
  ASSERT_EQ(folder->tensors().size(), 3U);
  ASSERT_NE(folder->find_tensor("c"), nullptr);
  EXPECT_EQ(folder->find_tensor("c")->columns, 2);
  EXPECT_EQ(folder->find_tensor("d"), nullptr);
  EXPECT_EQ(folder->text_of("config.json"), "{}");
  EXPECT_EQ(folder->text_of("tokenizer.json"), std::nullopt);
  EXPECT_EQ(folder->contents().size(), 4U) << "both shards, index and configuration";
  EXPECT_EQ(folder->headers().size(), 4U);
}

TEST(ModelFolder, one_file_is_preferred_to_shards) {
  Files files = two_shards();
  files["model.safetensors"] = shard({"z"});
  files.erase("model-00002-of-00002.safetensors");
  const auto folder = ModelFolder::from_files("m", files).value();
  EXPECT_EQ(folder->tensors().size(), 1U);
  EXPECT_NE(folder->find_tensor("z"), nullptr);
  EXPECT_EQ(folder->contents().size(), 2U) << "the index is not of this model";
}

TEST(ModelFolder, a_directory_reads_like_its_files_in_memory) {
  const TempDir directory;
  for (const auto& [name, bytes] : two_shards()) {
    std::ofstream(directory.path() + "/" + name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  EXPECT_TRUE(is_model_folder(directory.path()));
  const auto folder = ModelFolder::open(directory.path());
  ASSERT_TRUE(folder.ok()) << folder.status().message();
  EXPECT_EQ((*folder)->tensors().size(), 3U);
  EXPECT_EQ((*folder)->name(), directory.path());

  // Opening a pipe would wait for a writer.
  std::filesystem::remove(directory.path() + "/config.json");
  ASSERT_EQ(mkfifo((directory.path() + "/config.json").c_str(), 0600), 0);
  const auto piped = ModelFolder::open(directory.path());
  ASSERT_FALSE(piped.ok());
  EXPECT_NE(piped.status().message().find("is not a regular file"), std::string::npos);
}

TEST(ModelFolder, a_file_that_is_there_and_cannot_be_opened_is_not_taken_for_missing) {
  for (const char* name : {"generation_config.json", "model.safetensors"}) {
    const TempDir directory;
    for (const auto& [file, bytes] : two_shards()) {
      std::ofstream(directory.path() + "/" + file, std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
    }
    const std::string link = directory.path() + "/" + name;  // root may open all but this
    std::filesystem::create_symlink(link, link);
    const auto folder = ModelFolder::open(directory.path());
    ASSERT_FALSE(folder.ok()) << name;
    EXPECT_EQ(folder.status().code(), StatusCode::unavailable);
    EXPECT_NE(folder.status().message().find(link + ": cannot be opened"), std::string::npos)
        << folder.status().message();
  }
}

TEST(ModelFolder, what_is_missing_is_named) {
  Files files = two_shards();
  files.erase("config.json");
  expect_refusal(files, StatusCode::not_found, "has no config.json");
  files = two_shards();
  files.erase("model.safetensors.index.json");
  expect_refusal(files, StatusCode::not_found, "has neither model.safetensors nor");
  files = two_shards();
  files.erase("model-00002-of-00002.safetensors");
  expect_refusal(files, StatusCode::not_found,
                 "names model-00002-of-00002.safetensors, which is not there");
}

TEST(ModelFolder, an_index_that_contradicts_its_shards_is_refused) {
  expect_refusal(with_index(R"({"a":"model-00001-of-00002.safetensors",)"
                            R"("c":"model-00002-of-00002.safetensors"})"),
                 StatusCode::corrupt, "tensor \"b\" of model-00001-of-00002.safetensors is not in");
  expect_refusal(
      with_index(
          R"({"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors",)"
          R"("c":"model-00002-of-00002.safetensors"})"),
      StatusCode::corrupt, "tensor \"b\" of model-00001-of-00002.safetensors is in");
  expect_refusal(
      with_index(
          R"({"a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors",)"
          R"("c":"model-00002-of-00002.safetensors","d":"model-00002-of-00002.safetensors"})"),
      StatusCode::corrupt, "has 2 tensors in model-00002-of-00002.safetensors, where 1");
}

TEST(ModelFolder, an_index_leads_nowhere_else) {
  for (const char* name : {"\"../x.safetensors\"", "\"/etc/x.safetensors\"", "\"a/x.safetensors\"",
                           "\"model.safetensors.index.json\"", "\".safetensors\"", "7", "null",
                           "\"..\\\\x.safetensors\""}) {
    expect_refusal(with_index(std::string(R"({"a":)") + name + "}"), StatusCode::corrupt,
                   "must be the name of a .safetensors file");
  }
  expect_refusal(with_index("{}"), StatusCode::corrupt, "has no \"weight_map\"");
  expect_refusal(with_index("[]"), StatusCode::corrupt, "has no \"weight_map\"");
  expect_refusal(with_index("{"), StatusCode::invalid, "is not JSON");
}

TEST(FindModelFile, a_directory_is_its_safetensors_or_its_one_gguf_file) {
  const TempDir directory;
  const auto add = [&](const std::string& name) {
    std::ofstream(directory.path() + "/" + name) << "x";
  };
  const auto refused = [&](const std::string& text) {
    const auto found = find_model_file(directory.path());
    ASSERT_FALSE(found.ok()) << *found;
    EXPECT_EQ(found.status().code(), StatusCode::invalid);
    EXPECT_NE(found.status().message().find(text), std::string::npos) << found.status().message();
  };
  refused("holds no GGUF file, and no config.json with model.safetensors");
  add("params.json");
  refused("holds Mistral's own files");
  add("a.gguf");
  EXPECT_EQ(find_model_file(directory.path()).value(), directory.path() + "/a.gguf");
  add("b.gguf");
  refused("holds 2 GGUF files; name one");
  add("config.json");
  add("model.safetensors");
  EXPECT_EQ(find_model_file(directory.path()).value(), directory.path());
}

TEST(ModelFolder, what_is_there_in_place_of_a_model_is_said) {
  const TempDir directory;
  EXPECT_EQ(what_else_is_in(directory.path()), "");
  EXPECT_FALSE(is_model_folder(directory.path()));
  std::ofstream(directory.path() + "/pytorch_model.bin") << "x";
  EXPECT_NE(what_else_is_in(directory.path()).find("pickled"), std::string::npos);
  std::ofstream(directory.path() + "/adapter_config.json") << "x";
  EXPECT_NE(what_else_is_in(directory.path()).find("an adapter"), std::string::npos);
  std::ofstream(directory.path() + "/params.json") << "x";
  EXPECT_NE(what_else_is_in(directory.path()).find("Mistral's own files"), std::string::npos);
}

}  // namespace
}  // namespace parkd
