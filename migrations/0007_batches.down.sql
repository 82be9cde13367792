-- Functions hold nothing.
DROP FUNCTION parkd.cancel_batch_v1, parkd.seal_batch_v1, parkd.open_batch_v1;
