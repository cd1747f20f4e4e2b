-- The latest events of each user of a batch, newest first.
WITH
-- Numbered backwards for each user.
numbered AS (
    SELECT
        e.user_id,
        e.product_id,
        e.sold_at AS at,
        ROW_NUMBER() OVER (PARTITION BY e.user_id ORDER BY e.sold_at DESC, e.product_id) AS place
    FROM sales AS e
    WHERE e.user_id IN (:user_id) AND e.sold_at < :now
)
SELECT n.user_id, n.product_id, p.name, n.at
FROM numbered AS n
LEFT JOIN products AS p ON p.id = n.product_id
WHERE n.place <= :limit
ORDER BY n.user_id, n.place
