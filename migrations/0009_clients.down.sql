-- Functions, triggers and rights hold nothing; the roles stay, for logins may be members of them.
DROP TABLE parkd.jobs_copy;
DROP TRIGGER jobs_1_plain ON parkd.jobs;
DROP TRIGGER jobs_2_any ON parkd.jobs;
DROP FUNCTION parkd.after_copy_v1(), parkd.submit(json), parkd.before_insert_v1(), parkd.plain_job_v1(),
  parkd.is_plain_v1(text[], text, text, text, text, parkd.priority, jsonb, numeric, text, text), parkd.body_rule_v1(jsonb, text),
  parkd.refuse_job_v1(parkd.jobs, text, jsonb, text), parkd.read_json_v1(json, text, text), parkd.given_twice_v1(json, text),
  parkd.may_be_doubled_v1(text, text), parkd.is_deep_v1(jsonb),
  parkd.is_wrong_v1(jsonb, text), parkd.is_whole_v1(numeric, text), parkd.bounds_v1(text), parkd.priority_v1(text, text), parkd.refuse_v1(text, text, text, text), parkd.my_tenant(),
  parkd.no_tenant_v1();
