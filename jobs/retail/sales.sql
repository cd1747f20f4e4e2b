-- Events: who bought what, and when; one for each invoice line, however many units it has.
SELECT customer_id AS user_id, product_id, sold_at AS at
FROM sales
WHERE sold_at >= :since AND sold_at < :now
