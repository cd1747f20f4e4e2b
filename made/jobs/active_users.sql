-- Targets: users, the most active first.
WITH
-- Everything that anyone did in the window.
actions AS (
    SELECT e.user_id
    FROM sales AS e
    WHERE e.sold_at >= :since AND e.sold_at < :now
)
-- Of equally active users always the same come first, so that every run names the same ones.
SELECT user_id
FROM actions
WHERE user_id IS NOT NULL
GROUP BY user_id
ORDER BY COUNT(*) DESC, user_id
LIMIT :limit
