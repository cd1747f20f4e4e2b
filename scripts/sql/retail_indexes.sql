-- A window of time is what every job asks for; with these columns the index alone answers.
CREATE INDEX sales_window ON sales (sold_at, customer_id, product_id, category);

-- One customer's history.
CREATE INDEX sales_customer ON sales (customer_id, sold_at);
