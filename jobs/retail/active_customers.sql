-- Targets: customers who bought in the window, those with the most invoice lines first. Lines rather than units, which
-- wholesalers buy by the ten thousand.
SELECT customer_id AS user_id
FROM sales
WHERE sold_at >= :since AND sold_at < :now
GROUP BY customer_id
ORDER BY COUNT(*) DESC, customer_id
LIMIT :limit
