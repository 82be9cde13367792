#include "lib/weights/mapped_file.h"

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/file_mapping.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <cerrno>
#include <filesystem>
#include <utility>

namespace parkd {

struct MappedFile::Mapping {
  boost::interprocess::file_mapping file;
  boost::interprocess::mapped_region region;
};

MappedFile::MappedFile(std::string name) : name_(std::move(name)) {}
MappedFile::~MappedFile() = default;

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  namespace fs = std::filesystem;
  namespace ipc = boost::interprocess;
  const std::shared_ptr<MappedFile> file(new MappedFile(path));
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  // To open a pipe would be to wait for who writes into it.
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    return corrupt(file->error_text("is not a regular file"));
  }
  file->mapping_ = std::make_unique<Mapping>();
  try {
    file->mapping_->file = ipc::file_mapping(path.c_str(), ipc::read_only);
  } catch (const ipc::interprocess_exception& e) {
    const int cause = e.get_native_error();
    std::string what = file->error_text(std::string("cannot be opened: ") + e.what());
    if (cause == ENOENT || cause == ENOTDIR) return not_found(std::move(what));
    if (cause == EACCES || cause == EPERM) return denied(std::move(what));
    return unavailable(std::move(what));
  }
  try {
    file->mapping_->region = ipc::mapped_region(file->mapping_->file, ipc::read_only);
  } catch (const ipc::interprocess_exception& e) {  // an empty file, among others
    return corrupt(file->error_text(std::string("cannot be mapped: ") + e.what()));
  }
  const ipc::mapped_region& region = file->mapping_->region;
  file->bytes_ = {static_cast<const uint8_t*>(region.get_address()), region.get_size()};
  return std::shared_ptr<const MappedFile>(file);
}

std::shared_ptr<const MappedFile> MappedFile::from_bytes(std::string name,
                                                         std::vector<uint8_t> bytes) {
  const std::shared_ptr<MappedFile> file(new MappedFile(std::move(name)));
  file->owned_ = std::move(bytes);
  file->bytes_ = file->owned_;
  return file;
}

}  // namespace parkd
