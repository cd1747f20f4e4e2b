-- The demo shop. Times are UTC, as YYYY-MM-DD HH:MM:SS.
CREATE TABLE users (
    id         integer      NOT NULL PRIMARY KEY,
    name       varchar(60)  NOT NULL,
    email      varchar(100) NOT NULL,
    city       varchar(40)  NOT NULL,
    created_at timestamp    NOT NULL
);

CREATE TABLE products (
    id         integer        NOT NULL PRIMARY KEY,
    name       varchar(60)    NOT NULL,
    category   varchar(20)    NOT NULL,
    price      numeric(10, 2) NOT NULL,
    created_at timestamp      NOT NULL
);

CREATE TABLE purchases (
    id         integer        NOT NULL PRIMARY KEY,
    user_id    integer        NOT NULL REFERENCES users (id),
    product_id integer        NOT NULL REFERENCES products (id),
    quantity   integer        NOT NULL,
    price      numeric(10, 2) NOT NULL,
    created_at timestamp      NOT NULL
);

CREATE TABLE views (
    id         integer   NOT NULL PRIMARY KEY,
    user_id    integer   NOT NULL REFERENCES users (id),
    product_id integer   NOT NULL REFERENCES products (id),
    created_at timestamp NOT NULL
);
