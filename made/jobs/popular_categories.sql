-- Targets: categories, the one with the most different users first: one wholesaler makes no trend.
WITH
-- Who had to do with a product of which category in the window.
actions AS (
    SELECT e.user_id, p.category
    FROM sales AS e
    JOIN products AS p ON p.id = e.product_id
    WHERE e.sold_at >= :since AND e.sold_at < :now
)
SELECT category
FROM actions
WHERE category IS NOT NULL
GROUP BY category
ORDER BY COUNT(DISTINCT user_id) DESC, category
LIMIT :limit
