-- Derives the retail tables from the published file, once, in SQLite; every engine then loads the same rows.
-- Reads `lines`, the file as it is (all text); fills the tables of retail_tables.sql.

-- Every row of the file, numbered as in the file; an empty field becomes NULL.
INSERT INTO invoice_lines
SELECT
    rowid,
    invoice_no,
    stock_code,
    NULLIF(description, ''),
    quantity,
    invoiced_at,
    unit_price,
    NULLIF(customer_id, ''),
    country
FROM lines
ORDER BY rowid;

-- Sales only: a known customer, neither a cancellation (C...) nor a bad-debt adjustment (A...), something sold for a
-- price, and a code that names a product rather than postage, a fee or a voucher. The same product is written in both
-- letter cases, so the code is compared in upper case; its first two characters stand in for the missing category.
INSERT INTO sales
SELECT
    line,
    invoice_no,
    UPPER(stock_code),
    SUBSTR(stock_code, 1, 2),
    quantity,
    unit_price,
    customer_id,
    country,
    invoiced_at
FROM invoice_lines
WHERE customer_id IS NOT NULL
  AND SUBSTR(invoice_no, 1, 1) NOT IN ('C', 'A')
  AND quantity > 0
  AND unit_price > 0
  AND stock_code GLOB '[0-9][0-9][0-9][0-9][0-9]*'
ORDER BY line;

INSERT INTO products
WITH
-- How often each product was sold under each description; many carry blanks at the ends.
described AS (
    SELECT s.product_id, TRIM(l.description) AS description, COUNT(*) AS times
    FROM sales AS s
    JOIN invoice_lines AS l ON l.line = s.line
    GROUP BY s.product_id, TRIM(l.description)
),
-- The most frequent one is first; of equally frequent ones the first in byte order.
names AS (
    SELECT
        product_id,
        description,
        ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY times DESC, description) AS place
    FROM described
),
-- The latest sale is first; within one moment the last line of the file.
prices AS (
    SELECT
        product_id,
        category,
        unit_price,
        MIN(sold_at) OVER (PARTITION BY product_id) AS first_sold_at,
        sold_at AS last_sold_at,
        ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY sold_at DESC, line DESC) AS place
    FROM sales
),
-- One name and one price each, cut down before the join.
named AS MATERIALIZED (
    SELECT product_id, description FROM names WHERE place = 1
),
priced AS MATERIALIZED (
    SELECT product_id, category, unit_price, first_sold_at, last_sold_at FROM prices WHERE place = 1
)
SELECT p.product_id, p.category, n.description, p.unit_price, p.first_sold_at, p.last_sold_at
FROM priced AS p
JOIN named AS n ON n.product_id = p.product_id
ORDER BY p.product_id;

INSERT INTO customers
WITH
-- Eight customers bought from two countries: the latest sale, which is first here, decides.
history AS (
    SELECT
        customer_id,
        country,
        COUNT(*) OVER (PARTITION BY customer_id) AS sale_lines,
        MIN(sold_at) OVER (PARTITION BY customer_id) AS first_sold_at,
        sold_at AS last_sold_at,
        ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY sold_at DESC, line DESC) AS place
    FROM sales
)
SELECT customer_id, country, sale_lines, first_sold_at, last_sold_at
FROM history
WHERE place = 1
ORDER BY customer_id;
