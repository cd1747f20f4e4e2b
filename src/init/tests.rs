//! Schemas as they are found in the wild, and what is made of them.

use super::{
    Flags,
    roles::{Confidence, Roles, Signal, Undecided, roles},
};
use crate::database::{Catalog, Column, ColumnKind, Engine, ForeignKey, Table};

mod written;

/// A catalogue from a line for each table: its name, its rows, and its columns as `name:kind`, where `!` marks the
/// primary key and `>table.column` a foreign key.
fn catalog(engine: Engine, lines: &[&str]) -> Catalog {
    let mut tables: Vec<Table> = Vec::new();
    let mut keys: Vec<(usize, String, String, String)> = Vec::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap().to_owned();
        let rows = words.next().unwrap().parse().ok();
        let mut table = Table {
            schema: None,
            name,
            is_view: false,
            columns: Vec::new(),
            home: String::new(),
            primary_key: Vec::new(),
            foreign_keys: Vec::new(),
            rows,
        };
        for word in words {
            let (word, key) = word.split_once('>').map_or((word, None), |(word, key)| (word, Some(key)));
            let is_primary = word.ends_with('!');
            let (column, kind) = word.trim_end_matches('!').split_once(':').unwrap();
            let kind = match kind {
                "int" => ColumnKind::Integer,
                "num" => ColumnKind::Number,
                "text" => ColumnKind::Text,
                "uuid" => ColumnKind::Uuid,
                "at" => ColumnKind::Moment,
                "day" => ColumnKind::Date,
                other => panic!("{other}"),
            };
            table.columns.push(Column { name: column.to_owned(), kind });
            if is_primary {
                table.primary_key.push(column.to_owned());
            }
            if let Some((other, theirs)) = key.map(|key| key.split_once('.').unwrap()) {
                keys.push((tables.len(), column.to_owned(), other.to_owned(), theirs.to_owned()));
            }
        }
        tables.push(table);
    }
    for (from, column, other, theirs) in keys {
        let table = tables.iter().position(|table| table.name == other).unwrap();
        tables[from].foreign_keys.push(ForeignKey { columns: vec![column], table, keys: vec![theirs] });
    }
    Catalog { engine, tables }
}

/// A music shop whose invoices have lines.
fn chinook() -> Catalog {
    catalog(
        Engine::Postgres,
        &[
            "album 347 album_id:int! title:text artist_id:int>artist.artist_id",
            "artist 275 artist_id:int! name:text",
            "customer 59 customer_id:int! first_name:text last_name:text email:text support_rep_id:int>employee.employee_id",
            "employee 8 employee_id:int! last_name:text reports_to:int>employee.employee_id birth_date:at hire_date:at email:text",
            "genre 25 genre_id:int! name:text",
            "invoice 412 invoice_id:int! customer_id:int>customer.customer_id invoice_date:at total:num",
            "invoice_line 2240 invoice_line_id:int! invoice_id:int>invoice.invoice_id track_id:int>track.track_id unit_price:num quantity:int",
            "media_type 5 media_type_id:int! name:text",
            "playlist 18 playlist_id:int! name:text",
            "playlist_track 8715 playlist_id:int!>playlist.playlist_id track_id:int!>track.track_id",
            "track 3503 track_id:int! name:text album_id:int>album.album_id media_type_id:int>media_type.media_type_id \
             genre_id:int>genre.genre_id composer:text milliseconds:int unit_price:num",
        ],
    )
}

/// A shop as frameworks make it, with no foreign key declared.
fn rails() -> Catalog {
    catalog(
        Engine::MySql,
        &[
            "active_storage_attachments 900 id:int! name:text record_type:text record_id:int blob_id:int created_at:at",
            "cart_items 300 id:int! user_id:int product_id:int quantity:int created_at:at updated_at:at",
            "categories 12 id:int! name:text parent_id:int",
            "order_items 52000 id:int! order_id:int product_id:int quantity:int price:num created_at:at updated_at:at",
            "orders 20000 id:int! user_id:int state:text total:num created_at:at updated_at:at",
            "page_views 900000 id:int! user_id:int product_id:int viewed_at:at",
            "products 800 id:int! category_id:int name:text price:num created_at:at updated_at:at",
            "refunds 120 id:int! user_id:int product_id:int created_at:at",
            "schema_migrations 40 version:text!",
            "users 5000 id:int! email:text encrypted_password:text created_at:at",
        ],
    )
}

/// Magento's tables: entities, and products in several categories.
fn magento() -> Catalog {
    catalog(
        Engine::MySql,
        &[
            "admin_user 4 user_id:int! email:text username:text password:text",
            "catalog_category_entity 60 entity_id:int! parent_id:int path:text",
            "catalog_category_product 4000 category_id:int!>catalog_category_entity.entity_id \
             product_id:int!>catalog_product_entity.entity_id position:int",
            "catalog_product_entity 2000 entity_id:int! sku:text type_id:text created_at:at",
            "customer_entity 9000 entity_id:int! email:text firstname:text lastname:text created_at:at",
            "sales_order 30000 entity_id:int! customer_id:int>customer_entity.entity_id created_at:at grand_total:num",
            "sales_order_item 80000 item_id:int! order_id:int>sales_order.entity_id product_id:int created_at:at qty_ordered:num price:num",
            "sales_shipment_item 70000 entity_id:int! parent_id:int product_id:int order_item_id:int qty:num",
        ],
    )
}

/// WooCommerce's tables for reports, known by their keys' names only.
fn woocommerce() -> Catalog {
    catalog(
        Engine::MySql,
        &[
            "wp_posts 5000 ID:int! post_title:text post_date:at post_author:int",
            "wp_users 700 ID:int! user_login:text user_email:text",
            "wp_wc_customer_lookup 2500 customer_id:int! user_id:int username:text email:text",
            "wp_wc_order_product_lookup 9000 order_item_id:int! order_id:int product_id:int variation_id:int customer_id:int \
             date_created:at product_qty:int",
            "wp_wc_product_meta_lookup 400 product_id:int! sku:text min_price:num stock_quantity:num",
        ],
    )
}

fn told(catalog: &Catalog, flags: &Flags) -> Result<Roles, Undecided> {
    let hints = flags.resolve(catalog).map_err(Undecided)?;
    roles(catalog, &hints)
}

/// Events, users, products and categories by name.
fn names(catalog: &Catalog, roles: &Roles) -> [String; 4] {
    let first = &roles.events[0];
    let name = |place: usize| catalog.tables[place].name.clone();
    let end = |end: &Option<(usize, String)>| end.as_ref().map_or("-".to_owned(), |(table, _)| name(*table));
    let categories = roles.categories.as_ref().map_or("-".to_owned(), |categories| match categories.table() {
        Some(table) => name(table),
        None => categories.label.clone(),
    });
    [name(first.table), end(&first.user.end), end(&first.product.end), categories]
}

#[test]
fn the_lines_of_invoices_are_events_of_their_customers_at_the_invoices_date() {
    let catalog = chinook();
    let roles = told(&catalog, &Flags::default()).unwrap();
    assert_eq!(names(&catalog, &roles), ["invoice_line", "customer", "track", "genre"]);
    let events = &roles.events[0];
    assert_eq!((events.times[0].step, events.times[0].column.as_str()), (1, "invoice_date"));
    assert_eq!(events.confidence(), Confidence::High);
    assert_eq!(roles.events.len(), 1, "{:?}", roles.events);
}

#[test]
fn without_declared_keys_names_lead_from_table_to_table_and_views_count_beside_orders() {
    let catalog = rails();
    let roles = told(&catalog, &Flags::default()).unwrap();
    assert_eq!(names(&catalog, &roles), ["order_items", "users", "products", "categories"]);
    let sources: Vec<_> =
        roles.events.iter().map(|events| (catalog.tables[events.table].name.as_str(), events.signal)).collect();
    assert_eq!(
        sources,
        [("order_items", Signal::Purchase), ("cart_items", Signal::Interest("cart")), ("page_views", Signal::Glance)]
    );
    assert_eq!(roles.events[2].times[0].column, "viewed_at");
}

#[test]
fn the_tables_of_well_known_shops_are_known() {
    let catalog = magento();
    let roles = told(&catalog, &Flags::default()).unwrap();
    let expected = ["sales_order_item", "customer_entity", "catalog_product_entity", "catalog_category_entity"];
    assert_eq!(names(&catalog, &roles), expected);
    let catalog = woocommerce();
    let roles = told(&catalog, &Flags::default()).unwrap();
    let expected = ["wp_wc_order_product_lookup", "wp_wc_customer_lookup", "wp_wc_product_meta_lookup", "-"];
    assert_eq!(names(&catalog, &roles), expected);
}

#[test]
fn products_may_be_some_steps_away_and_events_may_have_no_tables_beside_them() {
    let rentals = catalog(
        Engine::Postgres,
        &[
            "category 16 category_id:int! name:text last_update:at",
            "customer 599 customer_id:int! first_name:text last_name:text email:text last_update:at",
            "film 1000 film_id:int! title:text rental_rate:num last_update:at",
            "film_category 1000 film_id:int!>film.film_id category_id:int!>category.category_id last_update:at",
            "inventory 4581 inventory_id:int! film_id:int>film.film_id store_id:int last_update:at",
            "payment 16049 payment_id:int! customer_id:int>customer.customer_id rental_id:int>rental.rental_id amount:num payment_date:at",
            "rental 16044 rental_id:int! rental_date:at inventory_id:int>inventory.inventory_id \
             customer_id:int>customer.customer_id return_date:at staff_id:int>staff.staff_id last_update:at",
            "staff 2 staff_id:int! first_name:text email:text username:text",
        ],
    );
    let found = told(&rentals, &Flags::default()).unwrap();
    assert_eq!(names(&rentals, &found), ["rental", "customer", "film", "category"]);
    assert_eq!(found.events[0].times[0].column, "rental_date");
    let lonely = catalog(Engine::Sqlite, &["sales 5000 customer_id:text product_id:text sold_at:at quantity:int"]);
    let found = told(&lonely, &Flags::default()).unwrap();
    assert_eq!(names(&lonely, &found), ["sales", "-", "-", "-"]);
}

#[test]
fn a_database_without_a_shop_is_not_made_one() {
    for lines in [
        &["cpu_samples 100000 id:int! host_id:int>hosts.id taken_at:at busy:num", "hosts 20 id:int! name:text"][..],
        &["users 10 id:int! email:text", "roles 3 id:int! name:text", "user_roles 12 user_id:int! role_id:int!"],
        &["posts 900 id:int! title:text author_id:int>people.id created_at:at", "people 5 id:int! name:text"],
        &[],
    ] {
        let catalog = catalog(Engine::Postgres, lines);
        let Undecided(why) = told(&catalog, &Flags::default()).unwrap_err();
        let all = why.join("\n");
        assert!(lines.is_empty() || all.contains("--events TABLE[.TIME_COLUMN]"), "{lines:?}: {all}");
    }
}

#[test]
fn two_answers_that_are_as_good_are_a_question_which_a_flag_settles() {
    let catalog = catalog(
        Engine::Postgres,
        &[
            "books 900 id:int! title:text price:num",
            "book_sales 5000 id:int! customer_id:int>customers.id book_id:int>books.id created_at:at",
            "customers 400 id:int! email:text",
            "movies 900 id:int! title:text price:num",
            "movie_sales 5000 id:int! customer_id:int>customers.id movie_id:int>movies.id created_at:at",
        ],
    );
    let Undecided(why) = told(&catalog, &Flags::default()).unwrap_err();
    assert!(why[0].contains("`book_sales`") && why[1].contains("`movie_sales`"), "{why:?}");
    for flags in [
        Flags { products: Some("movies".to_owned()), ..Flags::default() },
        Flags { events: Some("movie_sales.created_at".to_owned()), ..Flags::default() },
    ] {
        let roles = told(&catalog, &flags).unwrap();
        assert_eq!(names(&catalog, &roles), ["movie_sales", "customers", "movies", "-"]);
    }
}

#[test]
fn flags_are_looked_up_with_the_likely_meant_name() {
    let catalog = chinook();
    let flags = Flags {
        users: Some("custmer".to_owned()),
        events: Some("invoice_line.invoice_dat".to_owned()),
        categories: Some("Genre".to_owned()),
        ..Flags::default()
    };
    let Undecided(why) = told(&catalog, &flags).unwrap_err();
    assert_eq!(why[0], "--users: unknown table `custmer`, did you mean `customer`?");
    assert!(why[1].starts_with("--events: unknown column `invoice_dat`"), "{why:?}");
    assert_eq!(why.len(), 2);
    // A name that PostgreSQL's schema makes unique, and one that it does not.
    let mut twice = chinook();
    twice.tables[0].schema = Some("archive".to_owned());
    twice.tables[0].name = "customer".to_owned();
    // A schema on the search path need not be named, and may be.
    twice.tables.iter_mut().for_each(|table| table.home = table.schema.clone().unwrap_or("public".to_owned()));
    let named = |name: &str| Flags { users: Some(name.to_owned()), ..Flags::default() }.resolve(&twice);
    assert_eq!(named("archive.customer").unwrap().users, Some(0));
    assert_eq!(named("customer").unwrap().users, Some(2));
    assert_eq!(named("public.customer").unwrap().users, Some(2));
    assert!(named("other.customer").is_err());
    let events = Flags { events: Some("public.invoice_line.invoice_date".to_owned()), ..Flags::default() };
    assert_eq!(events.resolve(&twice).unwrap().events, Some((6, Some("invoice_date".to_owned()))));
}

#[test]
fn what_was_named_counts_whatever_it_is_called() {
    let catalog = catalog(
        Engine::Postgres,
        &[
            "kunden 400 id:int! vorname:text",
            "waren 900 id:int! bezeichnung:text gruppe:int>gruppen.id",
            "gruppen 9 id:int! bezeichnung:text",
            "kauf 5000 id:int! kunde:int>kunden.id ware:int>waren.id zeitpunkt:at",
        ],
    );
    assert!(told(&catalog, &Flags::default()).is_err());
    let flags = Flags {
        users: Some("kunden".to_owned()),
        products: Some("waren".to_owned()),
        categories: Some("gruppen".to_owned()),
        ..Flags::default()
    };
    let roles = told(&catalog, &flags).unwrap();
    assert_eq!(names(&catalog, &roles), ["kauf", "kunden", "waren", "gruppen"]);
    assert_eq!(roles.events[0].times[0].column, "zeitpunkt");
}
