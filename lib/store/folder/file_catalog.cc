#include "lib/store/folder/file_catalog.h"

#include <algorithm>

#include "lib/store/rules.h"

namespace parkd {

Status FileCatalog::begin_upload(const std::string& id, const std::string& tenant) {
  const std::lock_guard lock(mutex_);
  const auto has = tenants_.find(tenant);
  PARKD_RETURN_IF_ERROR(
      check_upload(tenant, has == tenants_.end() ? TenantFiles{} : has->second, limits_));
  uploads_[id] = {tenant, 0};
  ++tenants_[tenant].uploads;
  return {};
}

Status FileCatalog::add_bytes(const std::string& id, size_t n_bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = uploads_.find(id);
  if (found == uploads_.end()) return no_such_upload(id);
  Upload& upload = found->second;
  TenantFiles& has = tenants_[upload.tenant];
  PARKD_RETURN_IF_ERROR(check_piece(upload.tenant, has, upload.bytes, n_bytes, limits_));
  upload.bytes += static_cast<int64_t>(n_bytes);
  has.bytes += static_cast<int64_t>(n_bytes);
  return {};
}

void FileCatalog::forget_upload(const std::string& id) {
  const auto found = uploads_.find(id);
  if (found == uploads_.end()) return;
  TenantFiles& has = tenants_[found->second.tenant];
  --has.uploads;
  has.bytes -= found->second.bytes;
  settle(found->second.tenant);
  uploads_.erase(found);
}

// A tenant that has nothing has no account.
void FileCatalog::settle(const std::string& tenant) {
  const auto has = tenants_.find(tenant);
  if (has != tenants_.end() && has->second.files == 0 && has->second.uploads == 0) {
    tenants_.erase(has);
  }
}

void FileCatalog::end_upload(const std::string& id) {
  const std::lock_guard lock(mutex_);
  forget_upload(id);
}

void FileCatalog::add_file(FileRecord record) {
  const std::lock_guard lock(mutex_);
  forget_upload(record.file.id);
  TenantFiles& has = tenants_[record.file.tenant];
  ++has.files;
  has.bytes += record.file.bytes;
  const Key key{record.file.created_at, record.file.id};
  keys_[record.file.id] = key;
  files_[key] = std::move(record);
}

Result<FileRecord> FileCatalog::find(const std::string& id, const std::string& tenant,
                                     WallTime now) const {
  const std::lock_guard lock(mutex_);
  const auto key = keys_.find(id);
  if (key == keys_.end()) return no_such_file(id);
  const FileRecord& record = files_.at(key->second);
  if (record.file.expires_at <= now || !may_act(tenant, record.file.tenant)) {
    return no_such_file(id);
  }
  return record;
}

Result<std::vector<StoredFile>> FileCatalog::list(const FileFilter& filter, WallTime now) const {
  const auto is_seen = [&](const StoredFile& file) {
    return file.expires_at > now && (!filter.tenant || *filter.tenant == file.tenant);
  };
  std::vector<StoredFile> listed;
  const auto n_max = static_cast<size_t>(std::max(filter.limit, 0));
  const auto collect = [&](auto at, auto end) {
    for (; at != end && listed.size() < n_max; ++at) {
      const StoredFile& file = at->second.file;
      if (is_seen(file) && (filter.purpose.empty() || filter.purpose == file.purpose)) {
        listed.push_back(file);
      }
    }
  };
  const std::lock_guard lock(mutex_);
  auto from = filter.oldest_first ? files_.begin() : files_.end();
  if (!filter.after.empty()) {
    const auto key = keys_.find(filter.after);
    if (key == keys_.end()) return no_file_to_list_after(filter.after);
    from = files_.find(key->second);
    if (!is_seen(from->second.file)) return no_file_to_list_after(filter.after);
    if (filter.oldest_first) ++from;
  }
  if (filter.oldest_first) {
    collect(from, files_.end());
  } else {
    collect(std::make_reverse_iterator(from), files_.rend());
  }
  return listed;
}

Result<StoredFile> FileCatalog::keep(const std::string& id, WallTime until) {
  const std::lock_guard lock(mutex_);
  const auto key = keys_.find(id);
  if (key == keys_.end()) return no_such_file(id);
  StoredFile& file = files_.at(key->second).file;
  file.expires_at = std::max(file.expires_at, until);
  return file;
}

void FileCatalog::remove(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto key = keys_.find(id);
  if (key == keys_.end()) return;
  const auto found = files_.find(key->second);
  const std::string tenant = found->second.file.tenant;
  --tenants_[tenant].files;
  tenants_[tenant].bytes -= found->second.file.bytes;
  settle(tenant);
  files_.erase(found);
  keys_.erase(key);
}

std::vector<std::string> FileCatalog::expired_by(WallTime time, size_t n_max) const {
  std::vector<std::string> expired;
  const std::lock_guard lock(mutex_);
  for (const auto& [key, record] : files_) {
    if (expired.size() == n_max) break;
    if (record.file.expires_at <= time) expired.push_back(record.file.id);
  }
  return expired;
}

FileFigures FileCatalog::figures() const {
  FileFigures figures;
  const std::lock_guard lock(mutex_);
  figures.files = static_cast<int64_t>(files_.size());
  figures.uploads = static_cast<int64_t>(uploads_.size());
  for (const auto& [key, record] : files_) figures.bytes += record.file.bytes;
  return figures;
}

}  // namespace parkd
