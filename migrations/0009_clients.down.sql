-- Functions, triggers and rights hold nothing; the roles stay, for logins may be members of them.
DROP TABLE parkd.jobs_copy;
DROP TRIGGER jobs_before_insert ON parkd.jobs;
DROP FUNCTION parkd.after_copy_v1(), parkd.submit(json), parkd.before_insert_v1(), parkd.check_metadata_v1(parkd.jobs),
  parkd.refuse_job_v1(parkd.jobs, text, jsonb, text), parkd.read_body_v1(json, text), parkd.is_wrong_v1(jsonb, text),
  parkd.bounds_v1(text), parkd.priority_v1(text, text), parkd.refuse_v1(text, text, text, text), parkd.my_tenant(),
  parkd.no_tenant_v1(), parkd.tenant_of_login_v1(text), parkd.acts_for_any();
