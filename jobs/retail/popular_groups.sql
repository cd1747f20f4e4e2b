-- Targets: product groups, the one with the most buyers first.
SELECT category
FROM sales
WHERE sold_at >= :since AND sold_at < :now
GROUP BY category
ORDER BY COUNT(DISTINCT customer_id) DESC, category
LIMIT :limit
