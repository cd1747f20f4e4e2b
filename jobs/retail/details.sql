-- One row for each product: what it is, and how it sold in the window.
WITH
sold AS (
    SELECT
        product_id,
        COUNT(DISTINCT customer_id) AS buyers,
        COUNT(DISTINCT invoice_no) AS invoices,
        SUM(quantity) AS units,
        SUM(quantity * unit_price) AS revenue
    FROM sales
    WHERE sold_at >= :since AND sold_at < :now
    GROUP BY product_id
)
-- Products that nobody bought have details, too.
SELECT
    p.product_id,
    p.description,
    p.category,
    p.price,
    p.first_sold_at,
    COALESCE(s.buyers, 0) AS buyers,
    COALESCE(s.invoices, 0) AS invoices,
    COALESCE(s.units, 0) AS units,
    -- Whole pence: SQLite has no exact decimals, and sums of pounds would differ from the other engines' in the last digit.
    ROUND(COALESCE(s.revenue, 0) * 100) AS revenue_pence
FROM products AS p
LEFT JOIN sold AS s ON s.product_id = p.product_id
ORDER BY p.product_id
