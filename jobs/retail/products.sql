-- Details of the products of a batch.
SELECT product_id, category, description, price
FROM products
WHERE product_id IN (:product_id)
