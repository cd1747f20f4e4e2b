//! What is written for the schemas.

use chrono::{DateTime, Utc};

use super::{
    super::{
        Address, File, Flags, Servers, Shop, Source, Time, files,
        survey::ANY_CATEGORY,
        times::{Extent, Form, Written},
    },
    catalog, chinook, magento, rails, told,
};
use crate::database::{Catalog, Engine};

fn moment(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn shop(catalog: Catalog, form: Form) -> Shop {
    let roles = told(&catalog, &Flags::default()).unwrap();
    let extent = Extent { span: 1800 * 86_400, age: 340 * 86_400, events: Some(2_240), has_strays: false };
    let sources = roles.events.into_iter().map(|events| {
        let time = events.times.first().map(|column| Time { column: column.clone(), form, extent });
        Source { events, time }
    });
    Shop {
        sources: sources.collect(),
        catalog,
        categories: roles.categories,
        any_category: ANY_CATEGORY,
        now: moment("2026-11-26T00:00:00Z"),
    }
}

fn all_files(shop: &Shop) -> Vec<File> {
    let servers = Servers {
        database: Address::Secret,
        redis: Address::Url("redis://localhost".to_owned()),
        redis_files: vec![("ca_file", "/etc/ca.pem".into())],
        key_prefix: "warm:".to_owned(),
    };
    files(shop, &servers)
}

fn file(shop: &Shop, name: &str) -> String {
    let files = all_files(shop);
    files.iter().find(|file| file.path.ends_with(name)).unwrap_or_else(|| panic!("{name} in {files:?}")).text.clone()
}

#[test]
fn statements_join_what_lies_between_and_quote_what_needs_it() {
    let mut quoted = chinook();
    for table in &mut quoted.tables {
        if table.name == "invoice" {
            table.name = "Order".to_owned();
            table.schema = Some("my shop".to_owned());
        }
    }
    let text = file(&shop(quoted, Form::Native), "purchases.sql");
    let expected = "-- Events: who has to do with which product, and when; one for each row of invoice_line.\n\
        SELECT h.customer_id AS user_id, e.track_id AS product_id, h.invoice_date AS at\n\
        FROM invoice_line AS e\n\
        JOIN \"my shop\".\"Order\" AS h ON h.invoice_id = e.invoice_id\n\
        WHERE h.invoice_date >= :since AND h.invoice_date < :now\n";
    assert_eq!(text, expected);
    let details = file(&shop(chinook(), Form::Native), "products.sql");
    assert!(
        details.contains("SELECT p.track_id AS product_id, c.name AS category, p.name, p.unit_price\n"),
        "{details}"
    );
    assert!(
        details.contains("LEFT JOIN genre AS c ON c.genre_id = p.genre_id\nWHERE p.track_id IN (:product_id)\n"),
        "{details}"
    );
}

#[test]
fn moments_that_are_numbers_or_loose_text_are_compared_as_such() {
    let seconds = file(&shop(chinook(), Form::Seconds(Written::Number)), "purchases.sql");
    assert!(seconds.contains("h.invoice_date >= extract(epoch FROM CAST(:since AS timestamptz))"), "{seconds}");
    let mut lite = chinook();
    lite.engine = Engine::Sqlite;
    let text = file(&shop(lite, Form::Text), "purchases.sql");
    assert!(
        text.contains("datetime(h.invoice_date) AS at") && text.contains("datetime(h.invoice_date) < :now"),
        "{text}"
    );
}

#[test]
fn a_product_in_several_categories_has_the_first_by_name() {
    let details = file(&shop(magento(), Form::Native), "products.sql");
    let expected = "(SELECT MIN(c.entity_id) FROM catalog_category_product AS b \
        JOIN catalog_category_entity AS c ON c.entity_id = b.category_id WHERE p.entity_id = b.product_id) AS category";
    assert!(details.contains(expected), "{details}");
}

#[test]
fn several_kinds_of_events_have_weights_and_a_statement_each() {
    let shop = shop(rails(), Form::Native);
    let job = file(&shop, "user_recommendations.toml");
    let events = "events = [ { sql = \"purchases.sql\", weight = 1.0 }, { sql = \"carts.sql\", weight = 0.5 }, \
        { sql = \"views.sql\", weight = 0.2 } ]";
    assert!(job.contains(events), "{job}");
    assert_eq!(file(&shop, "active_users.sql").matches("UNION ALL").count(), 2);
}

#[test]
fn carts_ratings_and_favourites_count_each_for_itself_and_one_of_a_kind() {
    let catalog = catalog(
        Engine::Sqlite,
        &[
            "cart_items 40 user_id:int product_id:int added_at:text",
            "cart_lines 40 user_id:int product_id:int added_at:text",
            "favourites 40 user_id:int product_id:int created_at:text",
            "orders 400 id:int! user_id:int product_id:int created_at:text",
            "products 80 id:int! name:text price:num",
            "ratings 40 user_id:int product_id:int stars:int rated_at:text",
            "users 50 id:int! email:text",
        ],
    );
    let shop = shop(catalog, Form::Native);
    let job = file(&shop, "user_recommendations.toml");
    for part in ["purchases.sql\", weight = 1.0", "carts.sql\", weight = 0.5", "favourites.sql\", weight = 0.5"] {
        assert!(job.contains(part), "{part}: {job}");
    }
    assert!(job.contains("ratings.sql\", weight = 0.5"), "{job}");
    assert_eq!(shop.others().len(), 1, "{:?}", shop.others());
}

#[test]
fn where_a_category_is_called_none_another_word_stands_for_all() {
    let mut shop = shop(chinook(), Form::Native);
    shop.any_category = "All";
    for name in ["user_recommendations.toml", "trending_products.toml"] {
        let job = file(&shop, name);
        assert!(job.contains("also = [\"All\"]") && job.contains("\nany_category = \"All\"\n"), "{job}");
        assert!(job.contains("all of them; not \"None\", which is one of them here"), "{job}");
    }
}

#[test]
fn where_nothing_tells_when_no_job_speaks_of_a_window() {
    let mut shop = shop(chinook(), Form::Native);
    shop.sources[0].time = None;
    let all = all_files(&shop);
    assert!(all.len() >= 10, "{all:?}");
    for file in all {
        let of_time = ["window", ":since", ":now", " at", "half_life"];
        let lines = file.text.lines().filter(|line| !line.starts_with(['#', '-']));
        let found: Vec<&str> = lines.filter(|line| of_time.iter().any(|word| line.contains(word))).collect();
        assert!(found.is_empty(), "{}: {found:?}", file.path.display());
    }
}

#[test]
fn what_lies_between_products_and_categories_has_a_part() {
    let shop = shop(magento(), Form::Native);
    assert_eq!(shop.others(), ["admin_user", "sales_shipment_item"]);
    let roles: Vec<_> = shop.findings().into_iter().map(|finding| (finding.table, finding.role)).collect();
    assert_eq!(roles[0], ("sales_order_item".to_owned(), "events"));
    assert_eq!(roles.len(), 4, "{roles:?}");
}

#[test]
fn passwords_stay_out_of_the_settings() {
    let shop = shop(chinook(), Form::Native);
    let settings = file(&shop, "warmd.toml");
    assert!(
        settings.contains("give it in WARMD__DATABASE__URL") && !settings.contains("\nurl = \"postgres"),
        "{settings}"
    );
    assert!(settings.contains("[redis]\nurl = \"redis://localhost\"\nca_file = \"/etc/ca.pem\"\n"), "{settings}");
}
