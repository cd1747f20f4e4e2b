-- Events: who has to do with which product, and when; one for each row of sales.
SELECT e.user_id, e.product_id, e.sold_at AS at
FROM sales AS e
WHERE e.sold_at >= :since AND e.sold_at < :now
