-- One row for each product: what it is, and how it sold in the window.
WITH
sold AS (
    SELECT product_id, COUNT(DISTINCT user_id) AS buyers, SUM(quantity) AS units, MAX(created_at) AS last_sold_at
    FROM purchases
    WHERE created_at >= :since AND created_at < :now
    GROUP BY product_id
)
-- Products that nobody bought have details, too.
SELECT
    p.id AS product_id,
    p.name,
    p.category,
    p.price,
    p.created_at,
    COALESCE(s.buyers, 0) AS buyers,
    COALESCE(s.units, 0) AS units,
    s.last_sold_at
FROM products AS p
LEFT JOIN sold AS s ON s.product_id = p.id
ORDER BY p.id
