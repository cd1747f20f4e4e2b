//! What must hold from the rows to the lists.

use std::time::Duration;

use super::{
    interactions::{Decay, Interactions},
    neighbours::Neighbours,
    ranking::Scored,
    scoring::{Affinities, DEFAULT_BLEND, Options, Recommender},
    trend::{NO_CATEGORY, Trend},
};

const NOW: i64 = 1_700_000_000;
const DAY: i64 = 86_400;

type Row = (i64, String, i64, f32, bool);

/// Reproducible numbers, spread well enough to find mistakes.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Users 0..50 and products p0..p119, of which some are popular; a third of the rows are purchases. Some of the rows
/// differ in nothing but their weight.
fn rows() -> Vec<Row> {
    let mut random = Random(1);
    let mut row = || {
        let product = random.below(120).min(random.below(120));
        let purchase = random.below(3) == 0;
        let weight = if purchase { 1.0 } else { 0.1 + random.below(3) as f32 * 0.1 };
        let at = NOW - random.below(180 * DAY as u64) as i64;
        (random.below(50) as i64, format!("p{product}"), at, weight, purchase)
    };
    let same_second = (1..40).map(|tenths| (0, "p0".to_owned(), NOW - 10 * DAY, tenths as f32 * 0.1, false));
    (0..2000).map(|_| row()).chain(same_second).collect()
}

fn build(rows: &[Row]) -> Interactions {
    let mut builder = Interactions::builder();
    for (user, item, at, weight, purchase) in rows {
        builder.push(*user, item.as_str(), *at, *weight, *purchase);
    }
    let days = |count: u64| Decay::half_life(Duration::from_secs(count * DAY as u64));
    builder.build(NOW, days(60), days(15), usize::MAX)
}

/// Item i is in category i % 4; every fifth is in none.
fn categories(interactions: &Interactions) -> Vec<u32> {
    (0..interactions.items().len() as u32).map(|item| if item % 5 == 0 { NO_CATEGORY } else { item % 4 }).collect()
}

struct Model {
    interactions: Interactions,
    neighbours: Neighbours,
    trend: Trend,
}

impl Model {
    fn new(interactions: Interactions) -> Self {
        let neighbours = Neighbours::of_items(&interactions, 20);
        let trend = Trend::new(&interactions, categories(&interactions));
        Self { interactions, neighbours, trend }
    }

    fn lists(&self, lists: &[Option<u32>], limit: usize, exclude_purchased: bool) -> Vec<Vec<Vec<Scored>>> {
        let options = Options { lists: lists.to_vec(), limit, blend: DEFAULT_BLEND, exclude_purchased };
        let users: Vec<_> = (0..self.interactions.users().len() as u32).map(Some).chain([None]).collect();
        let affinities = Affinities::new(self.neighbours.clone(), &self.trend);
        Recommender::new(&self.interactions, &affinities, &self.trend, options).recommend_all(&users)
    }
}

const ALL: [Option<u32>; 5] = [None, Some(0), Some(1), Some(2), Some(3)];

#[test]
fn the_order_of_the_rows_changes_nothing() {
    let mut rows = rows();
    let expected = build(&rows);
    let mut random = Random(2);
    for _ in 0..5 {
        for last in (1..rows.len()).rev() {
            rows.swap(last, random.below(last as u64 + 1) as usize);
        }
        let permuted = build(&rows);
        assert_eq!(permuted, expected);
        assert_eq!(Neighbours::of_items(&permuted, 9), Neighbours::of_items(&expected, 9));
        assert_eq!(Neighbours::of_users(&permuted, 9), Neighbours::of_users(&expected, 9));
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let rows = rows();
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let model = Model::new(build(&rows));
            let lists = model.lists(&ALL, 10, true);
            (model.interactions, model.neighbours, model.trend, lists)
        })
    };
    assert!(with_threads(1) == with_threads(2));
    assert!(with_threads(1) == with_threads(5));
}

#[test]
fn a_category_list_is_the_general_list_without_the_other_categories() {
    let model = Model::new(build(&rows()));
    let everything = model.interactions.items().len();
    for exclude_purchased in [false, true] {
        let short = model.lists(&ALL, 7, exclude_purchased);
        let general = model.lists(&[None], everything, exclude_purchased);
        for (lists, general) in short.iter().zip(&general) {
            assert_eq!(lists[0], general[0][..7]);
            for category in 0..4 {
                let filtered = general[0].iter().filter(|&&(item, _)| model.trend.category(item) == category);
                let expected: Vec<Scored> = filtered.take(7).copied().collect();
                assert_eq!(lists[category as usize + 1], expected);
            }
        }
    }
}

#[test]
fn lists_are_full_and_sorted_and_scores_are_shares() {
    let model = Model::new(build(&rows()));
    for list in model.lists(&ALL, 10, false).iter().flatten() {
        assert_eq!(list.len(), 10);
        assert!(list.iter().all(|&(_, score)| (0.0..=1.0).contains(&score)));
        assert!(list.is_sorted_by(|a, b| a.1 >= b.1));
    }
}

#[test]
fn what_was_purchased_is_never_shown_when_excluded() {
    let model = Model::new(build(&rows()));
    let everything = model.interactions.items().len();
    let lists = model.lists(&ALL, everything, true);
    for (user, lists) in lists.iter().enumerate().take(model.interactions.users().len()) {
        let history = model.interactions.history(user as u32);
        let bought = |item: u32| history.items.binary_search(&item).is_ok_and(|at| history.purchased[at]);
        assert!(lists.iter().flatten().all(|&(item, _)| !bought(item)));
        let count = history.purchased.iter().filter(|&&purchased| purchased).count();
        assert!(count > 0);
        assert_eq!(lists[0].len(), everything - count);
    }
}

#[test]
fn a_user_without_history_gets_what_trends() {
    let model = Model::new(build(&rows()));
    let lists = model.lists(&ALL, 10, true);
    for (list, category) in lists.last().unwrap().iter().zip(ALL) {
        assert_eq!(*list, model.trend.top(category, 10));
    }
}

#[test]
fn a_purchase_too_old_to_matter_still_is_excluded() {
    let mut builder = Interactions::builder();
    builder.push(1, "bought", 0, 1.0, true);
    builder.push(2, "other", NOW, 1.0, true);
    let second = Decay::half_life(Duration::from_secs(1));
    let model = Model::new(builder.build(NOW, second, Decay::NONE, usize::MAX));
    assert_eq!(model.interactions.history(0).recent, [0.0]);
    assert_eq!(model.lists(&[None], 5, true)[0], [[(1, 1.0)]]);
}

#[test]
fn a_list_wanted_twice_is_the_same_twice_and_an_unknown_category_is_empty() {
    let model = Model::new(build(&rows()));
    for lists in model.lists(&[Some(1), None, Some(1), None, Some(77), Some(NO_CATEGORY)], 5, false) {
        assert_eq!(lists[0], lists[2]);
        assert_eq!(lists[1], lists[3]);
        assert_eq!((lists[4].len(), lists[5].len()), (0, 0));
    }
}

#[test]
fn scores_are_those_worked_out_by_hand() {
    // Users 1 and 2 bought a and b, user 3 a and c; user 4 has seen only a, half a half-life ago.
    let mut builder = Interactions::builder();
    for (user, item) in [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "a"), (3, "c")] {
        builder.push(user, item, NOW, 1.0, true);
    }
    builder.push(4, "a", NOW - 30 * DAY, 0.2, false);
    let interactions =
        builder.build(NOW, Decay::half_life(Duration::from_secs(60 * DAY as u64)), Decay::NONE, usize::MAX);
    let neighbours = Neighbours::of_items(&interactions, 5);
    let trend = Trend::new(&interactions, Vec::new());
    let options = Options { lists: vec![None], limit: 3, blend: 0.25, exclude_purchased: false };
    let affinities = Affinities::new(neighbours.clone(), &trend);
    let recommender = Recommender::new(&interactions, &affinities, &trend, options);
    let mut scratch = recommender.scratch();
    let lists = recommender.recommend(interactions.user(4), &mut scratch);

    let to = |other| neighbours.of(0).iter().find(|&&(item, _)| item == other).unwrap().1;
    let own = 2.0 * neighbours.own(0);
    let expected = [(0, 1.0), (1, 0.75 * to(1) / own + 0.25 * 2.0 / 3.2), (2, 0.75 * to(2) / own + 0.25 * 1.0 / 3.2)];
    assert_eq!(lists[0].len(), 3);
    for (found, expected) in lists[0].iter().zip(expected) {
        assert_eq!(found.0, expected.0);
        assert!((found.1 - expected.1).abs() < 1e-6, "{found:?} is not {expected:?}");
    }
    // The scratch is as good as new for the next user.
    assert_eq!(recommender.recommend(interactions.user(4), &mut scratch), lists);
    assert_eq!(recommender.recommend(None, &mut scratch)[0], trend.top(None, 3));
}

#[test]
fn only_the_most_recent_items_of_a_user_tell_what_to_recommend() {
    // a goes with x and b with y; user 9 had to do with a some days ago, and with b and something else now.
    let lists = |longest| {
        let mut builder = Interactions::builder();
        for (user, item) in [(1, "a"), (1, "x"), (2, "a"), (2, "x"), (3, "b"), (3, "y"), (4, "b"), (4, "y")] {
            builder.push(user, item, NOW, 1.0, true);
        }
        builder.push(9, "a", NOW - 9 * DAY, 1.0, true);
        builder.push(9, "b", NOW, 1.0, true);
        builder.push(9, "c", NOW, 1.0, true);
        let model = Model::new(builder.build(NOW, Decay::NONE, Decay::NONE, longest));
        model.lists(&[None], 4, true).swap_remove(4).swap_remove(0)
    };
    let (all, last) = (lists(3), lists(2));
    assert_eq!((all[0].0, all[1].0, all[0].1), (3, 4, all[1].1));
    assert_eq!((last[0].0, last[1].0, last.len()), (4, 3, 2), "what was purchased stays out, also what does not count");
    assert!(last[0].1 > 2.0 * last[1].1, "{last:?}");
}

#[test]
fn an_empty_shop_has_empty_lists() {
    let model = Model::new(build(&[]));
    assert_eq!(model.lists(&[None, Some(0)], 10, true), [[vec![], vec![]]]);
}
