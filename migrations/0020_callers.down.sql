DROP FUNCTION parkd.attach_v1(bigint, bigint, int), parkd.detach_v1(bigint, bigint), parkd.keep_v1(bigint), parkd.adopt_v1(bigint);
DROP TABLE parkd.callers;
