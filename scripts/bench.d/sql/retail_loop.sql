-- One list of recommendations, as a script would ask for it: what the customers bought who share products with :user,
-- each of them by how much they share, without model and without decay. As JSON.
WITH
window_sales AS (
    SELECT DISTINCT customer_id, product_id
    FROM sales
    WHERE sold_at >= timestamp '2011-11-01' - interval '400 days' AND sold_at < '2011-11-01'
),
others AS (
    SELECT theirs.customer_id, count(*) AS shared
    FROM window_sales AS mine
    JOIN window_sales AS theirs USING (product_id)
    WHERE mine.customer_id = :user AND theirs.customer_id <> :user
    GROUP BY theirs.customer_id
),
scored AS (
    SELECT s.product_id, sum(o.shared) AS score
    FROM others AS o
    JOIN window_sales AS s USING (customer_id)
    GROUP BY s.product_id
),
best AS (
    SELECT p.product_id AS id, s.score, p.category, p.description, p.price
    FROM scored AS s
    JOIN products AS p USING (product_id)
    WHERE :'category' = 'None' OR p.category = :'category'
    ORDER BY s.score DESC, p.product_id
    LIMIT 10
)
SELECT json_agg(best) FROM best;
