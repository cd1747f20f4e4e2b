-- Targets: categories, the one with the most buyers first. Buyers rather than purchases: one wholesaler makes no trend.
SELECT p.category
FROM purchases AS b
JOIN products AS p ON p.id = b.product_id
WHERE b.created_at >= :since AND b.created_at < :now
GROUP BY p.category
ORDER BY COUNT(DISTINCT b.user_id) DESC, p.category
LIMIT :limit
