DROP FUNCTION parkd.list_batches_v1(text, text, int), parkd.list_v1(bigint, bigint, text, text, text, text, text, text, int, timestamptz),
  parkd.list_until_v1(bigint, int);
DROP INDEX parkd.batches_of_tenant;
