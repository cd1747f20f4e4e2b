-- Targets: users, the most active first.
WITH
-- Everything that anyone did in the window.
actions AS (
    SELECT user_id FROM purchases WHERE created_at >= :since AND created_at < :now
    UNION ALL
    SELECT user_id FROM views WHERE created_at >= :since AND created_at < :now
)
-- Of equally active users the older account comes first, so that every run names the same ones.
SELECT user_id
FROM actions
GROUP BY user_id
ORDER BY COUNT(*) DESC, user_id
LIMIT :limit
