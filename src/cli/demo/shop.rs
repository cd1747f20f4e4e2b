//! The demo's shop: a SQLite database with enough of a shop's life in it that every shipped job has something to find.
//!
//! The data is the same on every machine; only the timestamps follow the clock, so that the last purchase was a moment
//! ago. What a recommender should find is put in on purpose: a user shops in two or three categories, and within a
//! category prefers the products of one style, as the other users of the same taste do.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use chrono::{DateTime, SubsecRound, Utc};

mod random;
mod store;
mod words;

use random::{Random, zipf};
use store::store;
use words::CATEGORIES;

/// People who have an account.
const USERS: usize = 5_000;
/// Every so many-th user has an account and has never looked at anything: whoever recommends must cope.
const IDLE: usize = 97;
/// Things on sale.
const PRODUCTS: usize = 1_000;
/// Purchases in all.
const PURCHASES: usize = 50_000;
/// Views in all; each purchase has one shortly before it.
const VIEWS: usize = 150_000;
/// How far back the events go.
const DAYS: i64 = 180;
/// Users of one taste agree on categories and styles.
const TASTES: usize = 16;
/// Styles in a category. A product's style is that of the first word of its name.
const STYLES: usize = 4;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
/// SQLite allows 32,766 parameters in a statement; beyond some hundred rows larger statements gain nothing.
const ROWS_PER_INSERT: usize = 500;

/// A shop that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shop {
    /// The database file.
    pub path: PathBuf,
    /// Number of users.
    pub users: usize,
    /// Number of products.
    pub products: usize,
    /// Number of categories that the products are in.
    pub categories: usize,
    /// Number of purchases.
    pub purchases: usize,
    /// Number of views.
    pub views: usize,
}

/// Creates the shop in a new SQLite file whose last event happened just before `now`.
///
/// Two shops with the same `now` have the same rows. Takes a second or two.
///
/// # Errors
/// When a file of this name exists already (it is left alone), or when it cannot be written, in which case nothing of
/// it stays behind.
pub async fn build(path: &Path, now: DateTime<Utc>) -> anyhow::Result<Shop> {
    ensure!(!path.exists(), "{} exists already", path.display());
    let stock = Stock::invent();
    let history = History::invent(&stock);
    if let Err(error) = store(path, now.trunc_subsecs(0), &stock, &history).await {
        // Without a journal a half-written file is of no use to anyone.
        std::fs::remove_file(path).ok();
        return Err(error.context(format!("the shop in {}", path.display())));
    }
    Ok(Shop {
        path: path.to_owned(),
        users: USERS,
        products: stock.products.len(),
        categories: CATEGORIES.len(),
        purchases: history.purchases.len(),
        views: history.views.len(),
    })
}

/// What is on sale, oldest first: the product with id `n` stands at `n - 1`.
struct Stock {
    products: Vec<Product>,
    everything: Shelf,
    /// By category.
    categories: Vec<Shelf>,
    /// By category, then style.
    styles: Vec<[Shelf; STYLES]>,
}

struct Product {
    name: String,
    category: usize,
    style: usize,
    cents: i64,
    /// Seconds before now at which it came on sale.
    age: i64,
    /// How often it is chosen, in proportion to the others.
    weight: f64,
}

impl Stock {
    fn invent() -> Self {
        let mut random = Random(0x5708);
        let mut products = Vec::with_capacity(PRODUCTS);
        for (category, department) in CATEGORIES.iter().enumerate() {
            let mut names: Vec<(usize, usize)> = (0..department.looks.len())
                .flat_map(|look| (0..department.kinds.len()).map(move |kind| (look, kind)))
                .collect();
            random.shuffle(&mut names);
            // The first categories take what does not divide evenly.
            let wanted = PRODUCTS / CATEGORIES.len() + usize::from(category < PRODUCTS % CATEGORIES.len());
            for (rank, (look, kind)) in names.into_iter().take(wanted).enumerate() {
                let (first, factor) = department.looks[look];
                let (second, price) = department.kinds[kind];
                let euros = (price * factor * (0.9 + 0.2 * random.unit())).max(3.0).floor();
                products.push(Product {
                    name: format!("{first} {second}"),
                    category,
                    style: look % STYLES,
                    cents: euros as i64 * 100 + [0, 50, 90, 95, 99][random.below(5)],
                    age: 0,
                    weight: zipf(rank, 3.0, 0.9),
                });
            }
        }

        random.shuffle(&mut products);
        // One in ten came within the last 60 days and is the news of its season; the others were there before any event.
        let old = products.len() - products.len() / 10;
        let mut ages: Vec<i64> = (0..products.len())
            .map(|at| {
                let days = if at < old { DAYS + 1 + random.below(720) as i64 } else { 1 + random.below(59) as i64 };
                days * SECONDS_PER_DAY + random.below(SECONDS_PER_DAY as usize) as i64
            })
            .collect();
        ages.sort_unstable_by(|a, b| b.cmp(a));
        for (product, age) in products.iter_mut().zip(ages) {
            product.age = age;
            if age < DAYS * SECONDS_PER_DAY {
                product.weight *= 3.0;
            }
        }

        let shelf = |fits: &dyn Fn(&Product) -> bool| {
            Shelf::new(products.iter().enumerate().filter(|(_, p)| fits(p)).map(|(at, p)| (at, p.weight)))
        };
        let everything = shelf(&|_| true);
        let categories = (0..CATEGORIES.len()).map(|category| shelf(&|p| p.category == category)).collect();
        let styles = (0..CATEGORIES.len())
            .map(|category| std::array::from_fn(|style| shelf(&|p| p.category == category && p.style == style)))
            .collect();
        Self { products, everything, categories, styles }
    }

    /// What a customer picks: mostly of the favourite categories, there mostly of the own style, and only what was on
    /// sale `age` seconds ago.
    fn pick(&self, customer: &Customer, age: i64, random: &mut Random) -> usize {
        for _ in 0..50 {
            let at = if random.unit() < 0.8 {
                // The first favourite counts most.
                let favourite = random.below(customer.favourites.len()).min(random.below(customer.favourites.len()));
                let category = customer.favourites[favourite];
                if random.unit() < 0.7 {
                    self.styles[category][style(customer.taste, category)].pick(random)
                } else {
                    self.categories[category].pick(random)
                }
            } else {
                self.everything.pick(random)
            };
            if self.products[at].age > age {
                return at;
            }
        }
        // The oldest product was always there.
        0
    }
}

/// The style that people of one taste prefer in a category.
fn style(taste: usize, category: usize) -> usize {
    (taste + category * (1 + taste / STYLES)) % STYLES
}

struct Customer {
    taste: usize,
    favourites: Vec<usize>,
    /// Seconds before now at which the account was made.
    age: i64,
}

impl Customer {
    fn invent(random: &mut Random) -> Self {
        let taste = random.below(TASTES);
        // Four categories belong to a taste; one favourite in five is the customer's own idea.
        let usual = [0, 1, 5, 8].map(|step| (taste * 5 + step) % CATEGORIES.len());
        let mut favourites = Vec::with_capacity(3);
        let wanted = 2 + random.below(2);
        while favourites.len() < wanted {
            let category =
                if random.unit() < 0.8 { usual[random.below(usual.len())] } else { random.below(CATEGORIES.len()) };
            if !favourites.contains(&category) {
                favourites.push(category);
            }
        }
        // One in eight came within the time of the events.
        let days =
            if random.unit() < 0.125 { 2 + random.below(DAYS as usize - 2) } else { DAYS as usize + random.below(900) };
        Self { taste, favourites, age: days as i64 * SECONDS_PER_DAY + random.below(SECONDS_PER_DAY as usize) as i64 }
    }
}

/// Who did what, and when, oldest first.
struct History {
    customers: Vec<Customer>,
    purchases: Vec<Purchase>,
    views: Vec<View>,
}

struct Purchase {
    user: usize,
    product: usize,
    quantity: i64,
    cents: i64,
    /// Seconds before now.
    age: i64,
}

struct View {
    user: usize,
    product: usize,
    /// Seconds before now.
    age: i64,
}

impl History {
    fn invent(stock: &Stock) -> Self {
        let mut random = Random(0xcafe);
        let customers: Vec<Customer> = (0..USERS).map(|_| Customer::invent(&mut random)).collect();
        // Who is how active has nothing to do with the order of the accounts.
        let mut active: Vec<usize> = (0..USERS).filter(|user| (user + 1) % IDLE != 0).collect();
        random.shuffle(&mut active);
        let crowd = Shelf::new(active.into_iter().enumerate().map(|(rank, user)| (user, zipf(rank, 10.0, 0.8))));

        let mut purchases = Vec::with_capacity(PURCHASES);
        let mut views = Vec::with_capacity(VIEWS);
        while views.len() < VIEWS {
            let user = crowd.pick(&mut random);
            let customer = &customers[user];
            // Seen at most an hour short of the whole window; more of it lately, because the shop grows.
            let longest = customer.age.min(DAYS * SECONDS_PER_DAY) - 3_600;
            let age = 1 + (longest as f64 * random.unit().powf(1.2)) as i64;
            let product = stock.pick(customer, age, &mut random);
            views.push(View { user, product, age });
            if purchases.len() < PURCHASES && views.len() % (VIEWS / PURCHASES) == 0 {
                // Bought within the next hour, or sooner where the hour is not over yet.
                let later = (30 + random.below(3_570) as i64).min(age / 2);
                let price = stock.products[product].cents;
                purchases.push(Purchase {
                    user,
                    product,
                    quantity: [1, 1, 1, 1, 1, 1, 2, 2, 3, 4][random.below(10)],
                    cents: if random.unit() < 0.15 { price * 9 / 10 } else { price },
                    age: age - later,
                });
            }
        }
        // Stable: events of one second keep the order in which they were made up.
        purchases.sort_by_key(|event| -event.age);
        views.sort_by_key(|event| -event.age);
        Self { customers, purchases, views }
    }
}

/// Things with weights, to choose from.
struct Shelf {
    things: Vec<usize>,
    /// Sums of the weights up to each thing.
    sums: Vec<f64>,
}

impl Shelf {
    fn new(weighted: impl Iterator<Item = (usize, f64)>) -> Self {
        let mut total = 0.0;
        let (things, sums) = weighted
            .map(|(thing, weight)| {
                total += weight;
                (thing, total)
            })
            .unzip();
        Self { things, sums }
    }

    /// One thing, with a probability in proportion to its weight.
    fn pick(&self, random: &mut Random) -> usize {
        let total = self.sums.last().copied().unwrap_or_default();
        let mark = random.unit() * total;
        let at = self.sums.partition_point(|sum| *sum <= mark);
        self.things[at.min(self.things.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-11-23T12:00:00.75Z".parse().unwrap()
    }

    async fn open(path: &Path) -> SqliteConnection {
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path).read_only(true)).await.unwrap()
    }

    /// The one number that a query returns.
    async fn number(connection: &mut SqliteConnection, sql: &'static str) -> i64 {
        sqlx::query(sql).fetch_one(connection).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn two_shops_of_the_same_moment_are_the_same_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one.db"), folder.path().join("two.db"));
        build(&one, noon()).await.unwrap();
        build(&two, noon()).await.unwrap();
        assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
    }

    #[tokio::test]
    async fn a_shop_has_exactly_the_promised_rows_and_a_history_that_makes_sense() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        let shop = build(&path, noon()).await.unwrap();
        assert_eq!(
            shop,
            Shop {
                path: path.clone(),
                users: 5_000,
                products: 1_000,
                categories: 12,
                purchases: 50_000,
                views: 150_000
            }
        );

        let db = &mut open(&path).await;
        assert_eq!(number(db, "SELECT COUNT(*) FROM users").await, 5_000);
        assert_eq!(number(db, "SELECT COUNT(DISTINCT email) FROM users").await, 5_000);
        assert_eq!(number(db, "SELECT COUNT(*) FROM products").await, 1_000);
        assert_eq!(number(db, "SELECT COUNT(DISTINCT category) FROM products").await, 12);
        assert_eq!(number(db, "SELECT COUNT(*) FROM purchases").await, 50_000);
        assert_eq!(number(db, "SELECT COUNT(*) FROM views").await, 150_000);

        let in_the_window =
            "SELECT COUNT(*) FROM (SELECT created_at FROM purchases UNION ALL SELECT created_at FROM views)
            WHERE created_at >= '2026-05-27 12:00:00' AND created_at < '2026-11-23 12:00:00'";
        assert_eq!(number(db, in_the_window).await, 200_000);
        let bought_unseen = "SELECT COUNT(*) FROM purchases AS p WHERE NOT EXISTS (
            SELECT 1 FROM views AS v
            WHERE v.user_id = p.user_id AND v.product_id = p.product_id AND v.created_at <= p.created_at)";
        assert_eq!(number(db, bought_unseen).await, 0);
        let before_its_time = "SELECT COUNT(*) FROM views AS v
            JOIN products AS p ON p.id = v.product_id
            JOIN users AS u ON u.id = v.user_id
            WHERE p.created_at > v.created_at OR u.created_at > v.created_at";
        assert_eq!(number(db, before_its_time).await, 0);
        let idle = "SELECT COUNT(*) FROM users WHERE id NOT IN (SELECT user_id FROM views)";
        assert!((51..100).contains(&number(db, idle).await));
        let unseen = "SELECT COUNT(*) FROM products WHERE id NOT IN (SELECT product_id FROM views)";
        assert_eq!(number(db, unseen).await, 0);
    }

    #[tokio::test]
    async fn a_file_that_exists_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        std::fs::write(&path, "somebody's").unwrap();
        let error = build(&path, noon()).await.unwrap_err();
        assert!(error.to_string().ends_with("exists already"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
    }

    #[test]
    fn names_are_unique_within_a_category_and_every_style_has_something() {
        let stock = Stock::invent();
        let mut names: Vec<_> = stock.products.iter().map(|p| (p.category, &p.name)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), PRODUCTS);
        assert!(stock.styles.iter().flatten().all(|shelf| shelf.things.len() > 5));
    }
}
