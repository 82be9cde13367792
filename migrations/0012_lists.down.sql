DROP FUNCTION parkd.list_batches_v1(text, text, int), parkd.list_v1(bigint, text, text, text, int, timestamptz);
DROP INDEX parkd.batches_of_tenant;
