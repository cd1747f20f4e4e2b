-- The retail tables, anew. The loader replaces two words for each engine: MOMENT, a timestamp without a zone, and
-- BYTEWISE, the collation that compares text byte by byte, so that all engines order it alike.
DROP TABLE IF EXISTS invoice_lines;
DROP TABLE IF EXISTS sales;
DROP TABLE IF EXISTS products;
DROP TABLE IF EXISTS customers;

-- The published file, row by row. `line` counts its rows from 1.
CREATE TABLE invoice_lines (
    line        integer        NOT NULL PRIMARY KEY,
    invoice_no  varchar(12)    BYTEWISE NOT NULL,
    stock_code  varchar(20)    BYTEWISE NOT NULL,
    description varchar(100)   BYTEWISE,
    quantity    integer        NOT NULL,
    invoiced_at MOMENT         NOT NULL,
    unit_price  numeric(10, 3) NOT NULL,
    customer_id integer,
    country     varchar(40)    BYTEWISE NOT NULL
);

-- What customers bought: one row for each product of an invoice.
CREATE TABLE sales (
    line        integer        NOT NULL PRIMARY KEY,
    invoice_no  varchar(12)    BYTEWISE NOT NULL,
    product_id  varchar(20)    BYTEWISE NOT NULL,
    category    varchar(2)     BYTEWISE NOT NULL,
    quantity    integer        NOT NULL,
    unit_price  numeric(10, 2) NOT NULL,
    customer_id integer        NOT NULL,
    country     varchar(40)    BYTEWISE NOT NULL,
    sold_at     MOMENT         NOT NULL
);

-- Every product that was sold; `price` is the latest.
CREATE TABLE products (
    product_id    varchar(20)    BYTEWISE NOT NULL PRIMARY KEY,
    category      varchar(2)     BYTEWISE NOT NULL,
    description   varchar(100)   BYTEWISE NOT NULL,
    price         numeric(10, 2) NOT NULL,
    first_sold_at MOMENT         NOT NULL,
    last_sold_at  MOMENT         NOT NULL
);

-- Everyone who bought.
CREATE TABLE customers (
    customer_id   integer     NOT NULL PRIMARY KEY,
    country       varchar(40) BYTEWISE NOT NULL,
    sale_lines    integer     NOT NULL,
    first_sold_at MOMENT      NOT NULL,
    last_sold_at  MOMENT      NOT NULL
);
