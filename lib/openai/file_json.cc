#include "lib/openai/file_json.h"

#include "lib/base/json_writer.h"

namespace parkd {
std::string render_file(const StoredFile& file) {
  JsonWriter json;
  json.begin_object();
  json.member("id", file.id);
  json.member("object", "file");
  json.member("bytes", file.bytes);
  json.member("created_at", unix_seconds(file.created_at));
  json.member("expires_at", unix_seconds(file.expires_at));
  json.member("filename", file.filename);
  json.member("purpose", file.purpose);
  json.member("status", "processed");
  return json.end_object().take();
}

std::string render_files(const std::vector<StoredFile>& files, bool has_more) {
  JsonWriter json;
  json.begin_object().member("object", "list").begin_array("data");
  for (const StoredFile& file : files) json.element(RawJson{render_file(file)});
  json.end_array();
  json.member("first_id", TextOrNull{files.empty() ? "" : files.front().id});
  json.member("last_id", TextOrNull{files.empty() ? "" : files.back().id});
  return json.member("has_more", has_more).end_object().take();
}

std::string render_deleted_file(const std::string& id) {
  JsonWriter json;
  json.begin_object().member("id", id).member("object", "file").member("deleted", true);
  return json.end_object().take();
}

}  // namespace parkd
