//! Lists from the model, as JSON.

use std::{collections::HashMap, io::Write, sync::Arc};

use rayon::prelude::*;

use super::{
    Produced, compute,
    model::{Found, Model},
    ranking::Scored,
    refuse_over,
    scoring::{Options, Recommender},
};
use crate::{
    id::{Id, IdRef},
    job::{Job, Kind, Of, Recommend, Trending},
    record::{Failure, Meter},
    targets::Target,
};

/// The lists of some targets, computed on the compute threads.
pub(super) async fn for_targets(
    job: &Arc<Job>,
    model: &Arc<Model>,
    targets: &[Target],
    largest: usize,
    meter: &Meter,
) -> Result<Vec<Produced>, Failure> {
    let (job, model, targets) = (Arc::clone(job), Arc::clone(model), targets.to_vec());
    compute::on_threads(meter, move || {
        let place = |name: &str| job.targets.iter().position(|list| list.name == name);
        match &job.kind {
            Kind::Trending(trending) => {
                let category = place("category");
                targets.iter().map(|target| model.trending_list(trending, of(target, category), largest)).collect()
            }
            Kind::Recommend(recommend) => {
                model.recommended_lists(recommend, &targets, [place("user_id"), place("category")], largest)
            }
            Kind::Similar(similar) => {
                let row = |target: &Target| {
                    // Without target lists the run is over the model's own rows, one value a target.
                    let id = target.first().and_then(Option::as_ref)?;
                    match similar.of {
                        Of::Products => either(id, |id| model.interactions.item(id)),
                        Of::Users => either(id, |id| model.interactions.user(id)),
                    }
                };
                targets
                    .par_iter()
                    .map(|target| match row(target) {
                        Some(row) => model.similar_list(similar.of, similar.limit, row, largest),
                        None => Produced::Empty,
                    })
                    .collect()
            }
            // Queries have no model.
            Kind::Query(_) => Vec::new(),
        }
    })
    .await
}

fn of(target: &Target, list: Option<usize>) -> Option<&Id> {
    list.and_then(|list| target[list].as_ref())
}

/// Finds an id as it is written, or else in its other form: the same number may be an integer in one table and a text in
/// another, or on the command line.
fn either(id: &Id, find: impl Fn(IdRef<'_>) -> Option<u32>) -> Option<u32> {
    find(id.as_ref()).or_else(|| match id {
        Id::Int(number) => find(IdRef::Text(&number.to_string())),
        Id::Text(text) => {
            text.parse().ok().filter(|number: &i64| number.to_string() == **text).and_then(|n| find(IdRef::Int(n)))
        }
    })
}

/// What a category value asks for.
enum Wanted {
    Any,
    Category(u32),
    /// No product has it.
    Nothing,
}

impl Model {
    fn wanted(&self, category: Option<&Id>, any: &Id) -> Wanted {
        match category {
            None => Wanted::Any,
            Some(id) if id == any => Wanted::Any,
            Some(id) => self.catalogue.category(id).map_or(Wanted::Nothing, Wanted::Category),
        }
    }

    fn trending_list(&self, job: &Trending, category: Option<&Id>, largest: usize) -> Produced {
        let category = match self.wanted(category, &job.any_category) {
            Wanted::Any => None,
            Wanted::Category(category) => Some(category),
            Wanted::Nothing => return Produced::Empty,
        };
        list(&self.trend.top(category, job.limit as usize), largest, |&(item, score), out| {
            out.extend_from_slice(b"\"product_id\":");
            self.interactions.items()[item as usize].write_json(out);
            out.extend_from_slice(b",\"trend_score\":");
            write_score(score, out);
            out.extend_from_slice(b",\"category\":");
            out.extend_from_slice(self.catalogue.category_json(item));
            write_details(self.catalogue.details(item), out);
        })
    }

    fn similar_list(&self, of: Of, limit: u32, row: u32, largest: usize) -> Produced {
        let Found::Similar(neighbours) = &self.found else {
            return Produced::Empty;
        };
        let similar = neighbours.similar(row);
        let ids = match of {
            Of::Products => self.interactions.items(),
            Of::Users => self.interactions.users(),
        };
        list(&similar[..similar.len().min(limit as usize)], largest, |&(other, score), out| {
            self.write_scored(&ids[other as usize], score, out);
            if of == Of::Products {
                write_details(self.catalogue.details(other), out);
            }
        })
    }

    /// All lists of a user come from one scoring pass, so targets are grouped by user.
    fn recommended_lists(
        &self,
        job: &Recommend,
        targets: &[Target],
        [user, category]: [Option<usize>; 2],
        largest: usize,
    ) -> Vec<Produced> {
        let Found::Near(affinities) = &self.found else {
            return Vec::new();
        };
        let mut lists: Vec<Option<u32>> = Vec::new();
        let mut users: Vec<&Option<Id>> = Vec::new();
        let mut user_index: HashMap<&Option<Id>, usize> = HashMap::new();
        // For each target the user and the list, as positions in `users` and `lists`.
        let mut places = Vec::with_capacity(targets.len());
        for target in targets {
            let wanted = match self.wanted(of(target, category), &job.any_category) {
                Wanted::Any => Some(None),
                Wanted::Category(category) => Some(Some(category)),
                Wanted::Nothing => None,
            };
            let list = wanted.map(|wanted| {
                lists.iter().position(|known| *known == wanted).unwrap_or_else(|| {
                    lists.push(wanted);
                    lists.len() - 1
                })
            });
            let id = user.map_or(&None, |user| &target[user]);
            let user = *user_index.entry(id).or_insert_with(|| {
                users.push(id);
                users.len() - 1
            });
            places.push((user, list));
        }
        let options = Options {
            lists,
            limit: job.limit as usize,
            blend: job.trending as f32,
            exclude_purchased: job.exclude_purchased,
        };
        let recommender = Recommender::new(&self.interactions, affinities, &self.trend, options);
        let known: Vec<Option<u32>> =
            users.iter().map(|id| either(id.as_ref()?, |id| self.interactions.user(id))).collect();
        let ranked = recommender.recommend_all(&known);
        let value = |(user, wanted): (usize, Option<usize>)| match wanted {
            None => Produced::Empty,
            Some(wanted) => list(&ranked[user][wanted], largest, |&(item, score), out| {
                self.write_scored(&self.interactions.items()[item as usize], score, out);
                write_details(self.catalogue.details(item), out);
            }),
        };
        places.into_par_iter().map(value).collect()
    }

    fn write_scored(&self, id: &Id, score: f32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"id\":");
        id.write_json(out);
        out.extend_from_slice(b",\"score\":");
        write_score(score, out);
    }
}

/// A list of objects, or nothing when there is none. One that grows too large is not built to its end.
fn list(entries: &[Scored], largest: usize, write: impl Fn(&Scored, &mut Vec<u8>)) -> Produced {
    if entries.is_empty() {
        return Produced::Empty;
    }
    let mut out = vec![b'['];
    for (nth, entry) in entries.iter().enumerate() {
        out.extend_from_slice(if nth == 0 { b"{" } else { b",{" });
        write(entry, &mut out);
        out.push(b'}');
        // With the bracket that closes the list.
        if let Err(why) = refuse_over(largest, out.len() + 1) {
            return Produced::Failed(why);
        }
    }
    out.push(b']');
    Produced::Value(out)
}

fn write_details(members: &[u8], out: &mut Vec<u8>) {
    if !members.is_empty() {
        out.push(b',');
        out.extend_from_slice(members);
    }
}

/// Six decimals say all that a score knows, and every reader parses them alike.
fn write_score(score: f32, out: &mut Vec<u8>) {
    let rounded = (f64::from(score) * 1e6).round() / 1e6;
    // Writing to memory does not fail.
    let _ = write!(out, "{rounded}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_plain_numbers_with_at_most_six_decimals() {
        for (score, text) in
            [(1.0, "1"), (0.5, "0.5"), (0.123_456_78, "0.123457"), (1e-9, "0"), (0.000_001, "0.000001")]
        {
            let mut out = Vec::new();
            write_score(score, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
