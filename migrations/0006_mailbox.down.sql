-- Functions hold nothing.
DROP FUNCTION parkd.finishing_now_v1, parkd.count_messages_v1, parkd.message_of_v1, parkd.take_v1, parkd.fetch_v1, parkd.horizon_v1;
