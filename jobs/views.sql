-- Events: who looked at what, and when.
SELECT user_id, product_id, created_at AS at
FROM views
WHERE created_at >= :since AND created_at < :now
