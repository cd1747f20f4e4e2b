//! The demo's shop: a SQLite database with enough of a shop's life in it that every shipped job has something to find.
//!
//! The data is the same on every machine; only the timestamps follow the clock, so that the last purchase was a moment
//! ago. What a recommender should find is put in on purpose: a user shops in two or three categories, and within a
//! category prefers the products of one style, as the other users of the same taste do.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sqlx::{
    Connection as _, QueryBuilder, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

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

/// One department: its products are every style with every kind, as far as needed.
struct Category {
    name: &'static str,
    /// First words of the names, with the factor they put on the price; the style is the position modulo [`STYLES`].
    looks: [(&'static str, f64); 8],
    /// Second words of the names, with the usual price.
    kinds: [(&'static str, f64); 12],
}

#[rustfmt::skip]
const CATEGORIES: [Category; 12] = [
    Category {
        name: "Furniture",
        looks: [("Oak", 1.3), ("Pine", 0.8), ("Walnut", 1.6), ("Industrial", 1.1), ("Farmhouse", 1.2), ("Nordic", 1.0), ("Art Deco", 1.7), ("Steel", 1.0)],
        kinds: [("Bookshelf", 149.0), ("Coffee Table", 119.0), ("Desk", 229.0), ("Nightstand", 79.0), ("Dining Table", 399.0), ("Bar Stool", 69.0), ("Armchair", 289.0), ("Sideboard", 349.0), ("Bed Frame", 449.0), ("Shoe Rack", 49.0), ("Bench", 129.0), ("TV Stand", 169.0)],
    },
    Category {
        name: "Kitchen",
        looks: [("Copper", 1.6), ("Enamel", 0.9), ("Cast Iron", 1.2), ("Bamboo", 0.8), ("Stoneware", 1.1), ("Retro", 1.0), ("Stainless", 1.0), ("Glass", 0.7)],
        kinds: [("Saucepan", 39.0), ("Frying Pan", 45.0), ("Kettle", 49.0), ("Teapot", 34.0), ("Mixing Bowl", 19.0), ("Colander", 17.0), ("Storage Jar", 12.0), ("Cake Stand", 29.0), ("Baking Dish", 27.0), ("Spice Rack", 25.0), ("Salad Bowl", 24.0), ("Casserole", 79.0)],
    },
    Category {
        name: "Lighting",
        looks: [("Brass", 1.4), ("Rattan", 0.9), ("Concrete", 1.1), ("Paper", 0.6), ("Smoked Glass", 1.5), ("Linen", 1.0), ("Matte Black", 1.2), ("Ceramic", 1.0)],
        kinds: [("Table Lamp", 59.0), ("Floor Lamp", 119.0), ("Pendant", 89.0), ("Wall Light", 49.0), ("Desk Lamp", 54.0), ("Lantern", 29.0), ("Chandelier", 249.0), ("Night Light", 19.0), ("Reading Light", 39.0), ("Spotlight", 34.0), ("Fairy Lights", 15.0), ("Candle Holder", 14.0)],
    },
    Category {
        name: "Garden",
        looks: [("Teak", 1.5), ("Terracotta", 0.9), ("Galvanised", 1.0), ("Wicker", 1.1), ("Cedar", 1.3), ("Rustic", 0.9), ("Powder-Coated", 1.2), ("Recycled", 0.8)],
        kinds: [("Planter", 29.0), ("Watering Can", 24.0), ("Bird Feeder", 19.0), ("Trellis", 34.0), ("Garden Chair", 89.0), ("Fire Bowl", 129.0), ("Raised Bed", 79.0), ("Hose Reel", 49.0), ("Tool Box", 39.0), ("Sun Lounger", 179.0), ("Potting Bench", 149.0), ("Bird Bath", 59.0)],
    },
    Category {
        name: "Bedding",
        looks: [("Linen", 1.4), ("Flannel", 0.9), ("Silk", 2.2), ("Waffle", 1.0), ("Washed Cotton", 1.0), ("Quilted", 1.2), ("Satin", 1.3), ("Jersey", 0.8)],
        kinds: [("Duvet Cover", 69.0), ("Pillowcase", 19.0), ("Fitted Sheet", 34.0), ("Throw", 49.0), ("Bedspread", 89.0), ("Cushion", 24.0), ("Blanket", 59.0), ("Bathrobe", 64.0), ("Curtain", 54.0), ("Towel Set", 39.0), ("Eye Mask", 12.0), ("Bolster", 29.0)],
    },
    Category {
        name: "Toys",
        looks: [("Wooden", 1.2), ("Plush", 0.8), ("Magnetic", 1.1), ("Pirate", 1.0), ("Forest", 1.1), ("Dinosaur", 0.9), ("Space", 1.0), ("Circus", 1.0)],
        kinds: [("Puzzle", 16.0), ("Building Blocks", 34.0), ("Train Set", 59.0), ("Memory Game", 14.0), ("Play Tent", 69.0), ("Stacking Tower", 18.0), ("Hand Puppet", 15.0), ("Music Box", 22.0), ("Rocking Horse", 99.0), ("Doll House", 119.0), ("Kite", 19.0), ("Marble Run", 44.0)],
    },
    Category {
        name: "Sport",
        looks: [("Carbon", 2.0), ("Cork", 0.9), ("Trail", 1.2), ("Court", 1.0), ("Alpine", 1.5), ("Studio", 0.9), ("Marathon", 1.1), ("Club", 1.0)],
        kinds: [("Backpack", 79.0), ("Water Bottle", 19.0), ("Mat", 39.0), ("Jacket", 119.0), ("Shoes", 109.0), ("Gloves", 29.0), ("Headlamp", 45.0), ("Jump Rope", 14.0), ("Socks", 12.0), ("Cap", 22.0), ("Duffel Bag", 64.0), ("Foam Roller", 27.0)],
    },
    Category {
        name: "Audio",
        looks: [("Wireless", 1.2), ("Vintage", 1.1), ("Studio", 1.8), ("Pocket", 0.6), ("Over-Ear", 1.2), ("Walnut", 1.4), ("Hi-Fi", 1.9), ("Waterproof", 0.8)],
        kinds: [("Headphones", 129.0), ("Speaker", 99.0), ("Radio", 69.0), ("Turntable", 229.0), ("Microphone", 89.0), ("Soundbar", 179.0), ("Amplifier", 249.0), ("Earphones", 49.0), ("Receiver", 299.0), ("Recorder", 79.0), ("Record Case", 34.0), ("Headphone Stand", 24.0)],
    },
    Category {
        name: "Clothing",
        looks: [("Merino", 1.5), ("Denim", 1.0), ("Cashmere", 2.4), ("Organic", 0.9), ("Tweed", 1.4), ("Striped", 0.9), ("Silk", 1.9), ("Corduroy", 1.1)],
        kinds: [("Sweater", 69.0), ("Shirt", 49.0), ("Scarf", 29.0), ("Trousers", 64.0), ("Jacket", 109.0), ("Skirt", 44.0), ("Beanie", 19.0), ("Cardigan", 74.0), ("Dress", 79.0), ("Waistcoat", 59.0), ("Overshirt", 69.0), ("Gloves", 24.0)],
    },
    Category {
        name: "Beauty",
        looks: [("Lavender", 1.0), ("Aloe", 0.8), ("Rose", 1.3), ("Charcoal", 0.9), ("Chamomile", 1.0), ("Cucumber", 0.8), ("Jasmine", 1.4), ("Cedarwood", 1.1)],
        kinds: [("Soap", 7.0), ("Hand Cream", 12.0), ("Face Mask", 9.0), ("Shampoo", 11.0), ("Body Oil", 19.0), ("Bath Salts", 14.0), ("Lip Balm", 5.0), ("Toner", 16.0), ("Scented Candle", 24.0), ("Face Serum", 29.0), ("Body Scrub", 17.0), ("Perfume", 59.0)],
    },
    Category {
        name: "Stationery",
        looks: [("Leather", 1.8), ("Dotted", 0.8), ("Marbled", 1.2), ("Minimal", 0.9), ("Letterpress", 1.4), ("Kraft", 0.7), ("Botanical", 1.1), ("Brass", 1.6)],
        kinds: [("Notebook", 14.0), ("Fountain Pen", 49.0), ("Planner", 24.0), ("Pencil Case", 19.0), ("Letter Set", 16.0), ("Desk Organiser", 34.0), ("Calendar", 17.0), ("Sketchbook", 18.0), ("Card Holder", 22.0), ("Ruler", 9.0), ("Photo Album", 29.0), ("Bookmark", 6.0)],
    },
    Category {
        name: "Pets",
        looks: [("Cosy", 1.0), ("Rope", 0.7), ("Nordic", 1.2), ("Outdoor", 1.0), ("Woollen", 1.2), ("Natural", 0.9), ("Ceramic", 1.1), ("Reflective", 0.9)],
        kinds: [("Dog Bed", 69.0), ("Cat Tree", 99.0), ("Collar", 17.0), ("Lead", 19.0), ("Food Bowl", 15.0), ("Chew Toy", 9.0), ("Carrier", 54.0), ("Blanket", 24.0), ("Treat Jar", 18.0), ("Scratching Post", 39.0), ("Grooming Brush", 14.0), ("Coat", 34.0)],
    },
];

#[rustfmt::skip]
const FIRST_NAMES: [&str; 48] = [
    "Ada", "Aisha", "Alma", "Amir", "Anna", "Arthur", "Bea", "Carlos", "Chloe", "Clara", "Daniel", "Diego", "Elena", "Elif", "Emil", "Emma",
    "Felix", "Finn", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jakub", "Jonas", "Julia", "Kenji", "Lars", "Laura", "Lena", "Leo", "Lucia",
    "Maja", "Marco", "Maria", "Mei", "Mila", "Nadia", "Noah", "Olga", "Omar", "Oscar", "Paula", "Priya", "Rosa", "Sara", "Tom", "Yuki",
];

#[rustfmt::skip]
const LAST_NAMES: [&str; 48] = [
    "Adams", "Almeida", "Andersen", "Bauer", "Becker", "Bianchi", "Brown", "Carter", "Castro", "Chen", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Greco",
    "Haas", "Hansen", "Ito", "Ivanov", "Jansen", "Kaya", "Keller", "Khan", "Kim", "Kowalski", "Larsen", "Lopez", "Martin", "Meyer", "Moreau", "Murphy",
    "Nagy", "Novak", "Okafor", "Patel", "Petrov", "Reyes", "Ricci", "Rossi", "Sato", "Silva", "Singh", "Smith", "Torres", "Walker", "Weber", "Wright",
];

#[rustfmt::skip]
const CITIES: [&str; 16] = [
    "Amsterdam", "Barcelona", "Berlin", "Copenhagen", "Dublin", "Hamburg", "Lisbon", "London",
    "Lyon", "Madrid", "Milan", "Munich", "Paris", "Prague", "Vienna", "Warsaw",
];

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

/// Zipf-Mandelbrot: the weight of what stands at `rank` (from 0) in the order of popularity.
fn zipf(rank: usize, shift: f64, exponent: f64) -> f64 {
    (rank as f64 + shift).powf(-exponent)
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): the same numbers in
/// every version of warmd, which a crate does not promise.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, but not including, 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From 0 up to, but not including, `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.unit() * end as f64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Writes everything in one transaction; the indexes come last, when they can be built by sorting.
async fn store(path: &Path, now: DateTime<Utc>, stock: &Stock, history: &History) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        // Nobody reads it before it is complete, and a broken one is thrown away.
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        // Every reference is right by construction; checking would cost a look-up for each.
        .foreign_keys(false);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(include_str!("shop_tables.sql")).execute(&mut *transaction).await.context("the tables")?;

    insert(
        &mut transaction,
        "INSERT INTO users (id, name, email, city, created_at) ",
        &history.customers,
        |row, id, customer| {
            let (name, email, city) = person(id);
            row.push_bind(id as i64)
                .push_bind(name)
                .push_bind(email)
                .push_bind(city)
                .push_bind(before(now, customer.age));
        },
    )
    .await
    .context("users")?;
    insert(
        &mut transaction,
        "INSERT INTO products (id, name, category, price, created_at) ",
        &stock.products,
        |row, id, product| {
            row.push_bind(id as i64)
                .push_bind(product.name.clone())
                .push_bind(CATEGORIES[product.category].name)
                .push_bind(product.cents as f64 / 100.0)
                .push_bind(before(now, product.age));
        },
    )
    .await
    .context("products")?;
    let header = "INSERT INTO purchases (id, user_id, product_id, quantity, price, created_at) ";
    insert(&mut transaction, header, &history.purchases, |row, id, purchase| {
        row.push_bind(id as i64)
            .push_bind(purchase.user as i64 + 1)
            .push_bind(purchase.product as i64 + 1)
            .push_bind(purchase.quantity)
            .push_bind(purchase.cents as f64 / 100.0)
            .push_bind(before(now, purchase.age));
    })
    .await
    .context("purchases")?;
    insert(
        &mut transaction,
        "INSERT INTO views (id, user_id, product_id, created_at) ",
        &history.views,
        |row, id, view| {
            row.push_bind(id as i64)
                .push_bind(view.user as i64 + 1)
                .push_bind(view.product as i64 + 1)
                .push_bind(before(now, view.age));
        },
    )
    .await
    .context("views")?;

    sqlx::raw_sql(include_str!("shop_indexes.sql")).execute(&mut *transaction).await.context("the indexes")?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

/// Inserts `items` in statements of many rows; `bind` gets each with its id, counted from 1.
async fn insert<T>(
    connection: &mut SqliteConnection,
    header: &'static str,
    items: &[T],
    mut bind: impl FnMut(&mut sqlx::query_builder::Separated<'_, Sqlite, &'static str>, usize, &T),
) -> anyhow::Result<()> {
    let mut id = 0;
    for chunk in items.chunks(ROWS_PER_INSERT) {
        let mut query = QueryBuilder::<Sqlite>::new(header);
        query.push_values(chunk, |mut row, item| {
            id += 1;
            bind(&mut row, id, item);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Name, address and city of the user with this id; no two have the same name and address.
fn person(id: usize) -> (String, String, &'static str) {
    let mut random = Random(id as u64);
    let first = FIRST_NAMES[random.below(FIRST_NAMES.len())];
    let last = LAST_NAMES[random.below(LAST_NAMES.len())];
    let email = format!("{}.{}{id}@example.com", first.to_lowercase(), last.to_lowercase());
    (format!("{first} {last}"), email, CITIES[random.below(CITIES.len())])
}

/// The moment so many seconds before `now`, as the text that SQLite compares: `YYYY-MM-DD HH:MM:SS`.
fn before(now: DateTime<Utc>, seconds: i64) -> String {
    (now - TimeDelta::seconds(seconds)).format("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::Row as _;

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
