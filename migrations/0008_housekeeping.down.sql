-- A note about partitions goes; functions hold nothing.
DROP FUNCTION parkd.dead_rows_v1, parkd.health_v1, parkd.oldest_snapshot_v1, parkd.sample_depth_v1,
  parkd.drop_past_partition_v1, parkd.tidy_v1, parkd.reconcile_batches_v1, parkd.end_overdue_v1, parkd.my_turn_v1;
DROP TABLE parkd.past_partitions;
