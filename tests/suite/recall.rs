//! How good the recommendations are on real purchases: "Online Retail", Daqing Chen, UCI Machine Learning Repository,
//! 2015, DOI 10.24432/C5BW33. Trained on the sales before 2011-11-01, tested on those of November 2011, with the
//! options that warmd ships.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use warmd::{
    id::Id,
    produce::{
        interactions::{Decay, Interactions},
        neighbours::Neighbours,
        scoring::{Affinities, DEFAULT_BLEND, Options, Recommender, TREND_HASTE},
        trend::Trend,
    },
};

const DAY: u64 = 86_400;

struct Sale {
    customer: i64,
    product: String,
    at: i64,
}

/// A sale has a customer, is no cancellation or adjustment, costs money, and is of a product (and not of postage).
fn sales() -> Vec<Sale> {
    let folder = std::env::var("WARMD_DATA").expect("WARMD_DATA names the folder with online_retail/");
    let file = std::fs::File::open(format!("{folder}/online_retail/online_retail.csv.gz")).unwrap();
    let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let mut sales = Vec::new();
    for row in reader.records() {
        let row = row.unwrap();
        let (invoice, code, customer) = (&row[0], row[1].to_uppercase(), &row[6]);
        let quantity: i64 = row[3].parse().unwrap();
        let price: f64 = row[5].parse().unwrap();
        let product = code.len() >= 5 && code.as_bytes()[..5].iter().all(u8::is_ascii_digit);
        if customer.is_empty() || invoice.starts_with(['C', 'A']) || quantity <= 0 || price <= 0.0 || !product {
            continue;
        }
        let at = chrono::NaiveDateTime::parse_from_str(&row[4], "%Y-%m-%d %H:%M:%S").unwrap().and_utc().timestamp();
        sales.push(Sale { customer: customer.parse().unwrap(), product: code, at });
    }
    assert_eq!(sales.len(), 396_337, "the published number of sale lines");
    sales
}

fn midnight(year: i32, month: u32) -> i64 {
    let day = chrono::NaiveDate::from_ymd_opt(year, month, 1).unwrap();
    day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp()
}

struct Split {
    interactions: Interactions,
    /// Customers who bought before and buy in the month, with what they buy of the products that were sold before.
    truth: Vec<(u32, HashSet<Id>)>,
}

fn split(sales: &[Sale], now: i64, until: i64, history: Decay, popularity: Decay) -> Split {
    let mut builder = Interactions::builder();
    let mut truth: HashMap<i64, HashSet<Id>> = HashMap::new();
    for sale in sales {
        if sale.at < now {
            builder.push(sale.customer, sale.product.as_str(), sale.at, 1.0, true);
        } else if sale.at < until {
            truth.entry(sale.customer).or_default().insert(sale.product.as_str().into());
        }
    }
    let interactions = builder.build(now, history, popularity, 300);
    let truth = truth.into_iter().filter_map(|(customer, mut bought)| {
        bought.retain(|product| interactions.item(product).is_some());
        (!bought.is_empty()).then_some((interactions.user(customer)?, bought))
    });
    let mut truth: Vec<_> = truth.collect();
    truth.sort_by_key(|(user, _)| *user);
    Split { interactions, truth }
}

/// Mean recall@10 (hits / min(10, size of the truth)) and the number of customers that have a truth.
fn recall(split: &Split, neighbours: &Neighbours, blend: f32, new_only: bool) -> (f64, usize) {
    let interactions = &split.interactions;
    let trend = Trend::new(interactions, Vec::new());
    let options = Options { lists: vec![None], limit: 10, blend, exclude_purchased: new_only };
    let affinities = Affinities::new(neighbours.clone(), &trend);
    let recommender = Recommender::new(interactions, &affinities, &trend, options);
    let users: Vec<_> = split.truth.iter().map(|(user, _)| Some(*user)).collect();
    let lists = recommender.recommend_all(&users);

    let (mut sum, mut customers) = (0.0, 0);
    for ((user, bought), lists) in split.truth.iter().zip(&lists) {
        let known: HashSet<&Id> =
            interactions.history(*user).items.iter().map(|&item| &interactions.items()[item as usize]).collect();
        let truth: HashSet<&Id> = bought.iter().filter(|&id| !(new_only && known.contains(id))).collect();
        if truth.is_empty() {
            continue;
        }
        let hits = lists[0].iter().filter(|(item, _)| truth.contains(&interactions.items()[*item as usize])).count();
        sum += hits as f64 / truth.len().min(10) as f64;
        customers += 1;
    }
    (sum / f64::from(customers), customers as usize)
}

#[test]
#[ignore = "needs WARMD_DATA"]
fn november_is_predicted_better_than_the_reference() {
    let sales = sales();
    let half_life = Duration::from_secs(60 * DAY);
    let (history, popularity) = (Decay::half_life(half_life), Decay::half_life(half_life / TREND_HASTE));
    let split = split(&sales, midnight(2011, 11), midnight(2011, 12), history, popularity);
    let neighbours = Neighbours::of_items(&split.interactions, 50);
    let (all, customers) = recall(&split, &neighbours, DEFAULT_BLEND, false);
    assert_eq!(customers, 1_336);
    let (new, customers) = recall(&split, &neighbours, DEFAULT_BLEND, true);
    assert_eq!(customers, 1_242);
    println!("recall@10: all {all:.4}, new {new:.4}");
    assert!(all >= 0.300, "recall@10 of all products is {all:.4}");
    assert!(new >= 0.088, "recall@10 of new products is {new:.4}");
}
