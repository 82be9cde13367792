-- Functions hold nothing.
DROP FUNCTION parkd.health_v1, parkd.oldest_snapshot_v1, parkd.sample_depth_v1, parkd.drop_before_v1,
  parkd.maintain_v1;
