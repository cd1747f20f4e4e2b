//! The way from a job file to a valid [`Job`].

use std::{collections::BTreeMap, num::NonZeroU32, path::Path, time::Duration};

use chrono::Utc;
use chrono_tz::Tz;

use super::{
    Job, KeyTemplate, Kind, Limits, Schedule, Sql, TargetList, Ttl,
    duration::{Percent, Span},
    kinds::Provides,
    load::Dialects,
    sql::Provided,
    tables::{File, LimitsTable, Literal, TargetTable},
};
use crate::{
    database::Engine,
    problems::{At, Document, nearest, position},
};

/// Reads one job file; what is wrong goes to the document, and the job comes back only when nothing was.
pub(super) fn read(name: &str, path: &Path, dialects: &Dialects, doc: &mut Document<'_>) -> Option<Job> {
    let file = doc.read::<File>()?;
    let engine = dialects.engine(file.database.as_ref(), doc);
    let mut reader = Reader { doc, engine };
    let schedule = reader.schedule(&file);
    let start_jitter = reader.start_jitter(&file, schedule.as_ref());
    let ttl = reader.ttl(&file);
    let key = reader.key(&file);
    let targets = reader.targets(&file.targets);
    let kind = reader.kind(&file);
    let limits = reader.limits(&file.limits);
    let mut key = key?;
    if let Some((kind, provides)) = &kind {
        reader.key_variables(&mut key, &file, kind, provides);
    }
    Some(Job {
        name: name.to_owned(),
        path: path.to_owned(),
        description: file.description.unwrap_or_default(),
        enabled: file.enabled.unwrap_or(true),
        database: file.database.map(At::into_inner),
        schedule: schedule?,
        catch_up: file.catch_up.unwrap_or_default(),
        start_jitter: start_jitter?,
        key_position: position(doc.text(), key.span().start),
        key: key.into_inner(),
        ttl: ttl?,
        refresh: file.refresh.unwrap_or_default(),
        empty: file.empty.unwrap_or_default(),
        max_shrink: file.max_shrink.map_or(DEFAULT_MAX_SHRINK, |Percent(share)| share),
        prune: file.prune.unwrap_or_default(),
        targets: targets?,
        kind: kind?.0,
        limits: limits?,
    })
}

/// A tenth of yesterday is rarely what anybody wants.
const DEFAULT_MAX_SHRINK: f64 = 0.9;

/// More batches at once than any database has connections for.
pub(super) const MOST_CONCURRENCY: u32 = 256;

/// Measured: pipelines of 500 reach what the server can do.
const DEFAULT_BATCH: u32 = 500;

/// Larger ones only hold more memory, and more values than a statement can bind.
pub(super) const LARGEST_BATCH: u32 = 10_000;

/// Redis takes no larger one.
pub const LARGEST_VALUE: u32 = 512 << 20;

/// The cross product of more is nothing that anybody warms.
const MOST_TARGET_LISTS: usize = 16;

/// Reads the parts of one file.
pub(super) struct Reader<'a, 'p> {
    pub doc: &'a mut Document<'p>,
    pub engine: Engine,
}

impl Reader<'_, '_> {
    pub(super) fn missing(&mut self, entry: &str, what: &str) {
        if !self.doc.was_wrong(entry) {
            self.doc.problem(0..0, format!("`{entry}` is missing: {what}"));
        }
    }

    fn limits(&mut self, table: &LimitsTable) -> Option<Limits> {
        let timeout = match &table.timeout {
            Some(timeout) if timeout.get_ref().0.is_zero() => {
                self.doc.problem(timeout.span(), "`limits.timeout` must be longer than 0s");
                None
            }
            Some(timeout) => Some(timeout.get_ref().0),
            None => Some(Duration::from_secs(600)),
        };
        let concurrency = self.at_most("limits.concurrency", &table.concurrency, MOST_CONCURRENCY, 4);
        let batch = self.at_most("limits.batch", &table.batch, LARGEST_BATCH, DEFAULT_BATCH);
        let max_value_bytes = match &table.max_value_bytes {
            None => Some(None),
            written => self.at_most("limits.max_value_bytes", written, LARGEST_VALUE, LARGEST_VALUE).map(Some),
        };
        Some(Limits {
            keys_per_second: table.keys_per_second,
            queries_per_second: table.queries_per_second,
            concurrency: concurrency?,
            timeout: timeout?,
            batch: batch?,
            max_bytes: table.max_bytes,
            max_value_bytes: max_value_bytes?,
        })
    }

    pub(super) fn at_most(
        &mut self,
        entry: &str,
        written: &Option<At<NonZeroU32>>,
        most: u32,
        default: u32,
    ) -> Option<NonZeroU32> {
        match written {
            None => NonZeroU32::new(default),
            Some(number) if number.get_ref().get() > most => {
                self.doc.problem(number.span(), format!("`{entry}` is at most {most}"));
                None
            }
            Some(number) => Some(*number.get_ref()),
        }
    }

    fn schedule(&mut self, file: &File) -> Option<Option<Schedule>> {
        let zone = match &file.timezone {
            None => Tz::UTC,
            Some(name) => match name.get_ref().parse() {
                Ok(zone) => zone,
                Err(_) => {
                    let zones: Vec<&str> = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).collect();
                    let advice = nearest(name.get_ref(), &zones)
                        .map(|meant| format!(", did you mean `{meant}`?"))
                        .unwrap_or_else(|| "; write for example `Europe/Berlin`".to_owned());
                    self.doc.problem(name.span(), format!("unknown time zone `{}`{advice}", name.get_ref()));
                    // The schedule may have mistakes of its own.
                    Tz::UTC
                }
            },
        };
        let Some(text) = &file.schedule else {
            return Some(None);
        };
        match Schedule::parse(text.get_ref(), zone) {
            Ok(schedule) => Some(Some(schedule)),
            Err(why) => {
                self.doc.problem(text.span(), why);
                None
            }
        }
    }

    /// A delay as long as the distance between ticks would hand a run to the tick after.
    fn start_jitter(&mut self, file: &File, schedule: Option<&Option<Schedule>>) -> Option<Duration> {
        let Some(jitter) = &file.start_jitter else { return Some(Duration::ZERO) };
        let Span(longest) = *jitter.get_ref();
        let shortest = schedule?.as_ref().and_then(|schedule| schedule.gaps_after(Utc::now()).into_iter().min());
        let why = match shortest {
            None => "`start_jitter` needs a schedule".to_owned(),
            Some(gap) if longest >= gap => {
                format!("start_jitter {} must be shorter than the {} between ticks", Span(longest), Span(gap))
            }
            Some(_) => return Some(longest),
        };
        self.doc.problem(jitter.span(), why);
        None
    }

    fn ttl(&mut self, file: &File) -> Option<Ttl> {
        let Some(ttl) = &file.ttl else {
            self.missing("ttl", "every entry expires, write for example `ttl = \"30m\"`");
            return None;
        };
        let Span(longest) = *ttl.get_ref();
        let ttl_value = Ttl { longest, jitter: file.ttl_jitter.map_or(0.0, |Percent(share)| share) };
        if longest < Duration::from_secs(1) {
            self.doc.problem(ttl.span(), format!("ttl {} is too short: at least 1s", Span(longest)));
            return None;
        }
        if ttl_value.shortest() < Duration::from_secs(1) {
            let why = format!("ttl {} less its jitter is under 1s", Span(longest));
            self.doc.problem(ttl.span(), why);
            return None;
        }
        Some(ttl_value)
    }

    fn key(&mut self, file: &File) -> Option<At<KeyTemplate>> {
        let Some(key) = &file.key else {
            self.missing("key", "write for example `key = \"user:{user_id}\"`");
            return None;
        };
        match KeyTemplate::parse(key.get_ref()) {
            Ok(template) => Some(At::new(key.span(), template)),
            Err((offset, why)) => {
                let start = key.span().start + 1 + offset;
                self.doc.problem(start..start, why);
                None
            }
        }
    }

    fn targets(&mut self, tables: &BTreeMap<At<String>, At<TargetTable>>) -> Option<Vec<TargetList>> {
        if let Some(name) = tables.keys().nth(MOST_TARGET_LISTS) {
            self.doc.problem(name.span(), format!("a job has at most {MOST_TARGET_LISTS} target lists"));
            return None;
        }
        // A TOML table has no order of its own, but the places of its keys have.
        let mut written: Vec<_> = tables.iter().collect();
        written.sort_by_key(|(name, _)| name.span().start);
        let lists: Vec<_> = written.into_iter().map(|(name, table)| self.target_list(name, table)).collect();
        lists.into_iter().collect()
    }

    fn target_list(&mut self, name: &At<String>, table: &At<TargetTable>) -> Option<TargetList> {
        let span = table.span();
        let table = table.get_ref();
        if ["now", "since", "limit"].contains(&name.get_ref().as_str()) {
            self.doc
                .problem(name.span(), format!("a target list cannot be named `{name}`: SQL sees that name already"));
            return None;
        }
        let sql = match &table.sql {
            Some(source) => {
                let place = format!("targets.{name}");
                Some(self.sql(source, &place, table.limit, table.window, &[])?)
            }
            None if table.also.is_empty() => {
                let entry = format!("targets.{name}.sql");
                if !self.doc.was_wrong(&entry) {
                    self.doc.problem(span, format!("target list `{name}` has neither `sql` nor `also`"));
                }
                return None;
            }
            None => None,
        };
        let also = table.also.iter().map(|Literal(id)| id.clone()).collect();
        Some(TargetList { name: name.get_ref().clone(), sql, also })
    }

    pub(super) fn sql(
        &mut self,
        source: &At<String>,
        name: &str,
        limit: Option<NonZeroU32>,
        window: Option<Span>,
        lists: &[&str],
    ) -> Option<Sql> {
        let table = format!("[{name}]");
        let limit = limit.map(NonZeroU32::get);
        let mut others = lists.to_vec();
        // A wrong `limit` was told already; that the statement lacks it would be noise.
        for (key, parameter) in [("limit", "limit"), ("window", "since")] {
            others.extend(self.doc.was_wrong(&format!("{name}.{key}")).then_some(parameter));
        }
        let provided = Provided { table: &table, limit, window: window.map(|Span(window)| window), others: &others };
        Sql::read(source, &provided, self.engine, self.doc)
    }

    /// Fixes the variables that are the same for every key, and refuses those that nothing provides.
    fn key_variables(&mut self, key: &mut At<KeyTemplate>, file: &File, kind: &Kind, fixed: &Provides) {
        let span = key.span();
        let template = key.get_mut();
        if let Some((name, value)) = fixed {
            template.fix(name, value);
        }
        let targets: Vec<&str> = file.targets.keys().map(|name| name.get_ref().as_str()).collect();
        let used: Vec<String> = template.variables().map(str::to_owned).collect();
        for name in file.targets.keys().filter(|name| !used.contains(name.get_ref())) {
            let why = format!("target list `{name}` is never used in the key: its targets would write the same key");
            self.doc.problem(name.span(), why);
        }
        let mut provided: Vec<&str> = targets.clone();
        provided.extend(fixed.iter().map(|(name, _)| *name));
        match kind {
            Kind::Query(query) if targets.is_empty() => {
                for name in used.iter().filter(|name| !query.sql.may_name(name)) {
                    let words = query.sql.words();
                    let advice =
                        nearest(name, &words).map(|meant| format!(", did you mean `{meant}`?")).unwrap_or_default();
                    let why = format!("key variable `{{{name}}}` is no column of the query{advice}");
                    self.doc.problem(span.clone(), why);
                }
                return;
            }
            Kind::Similar(similar) if targets.is_empty() => provided.push(similar.of.target()),
            _ => {}
        }
        for name in used.iter().filter(|name| !provided.contains(&name.as_str())) {
            let advice = match nearest(name, &provided) {
                Some(meant) => format!(", did you mean `{{{meant}}}`?"),
                None if provided.is_empty() => "; add a target list of that name to [targets]".to_owned(),
                None => format!(
                    "; here there are {}",
                    provided.iter().map(|p| format!("`{{{p}}}`")).collect::<Vec<_>>().join(", ")
                ),
            };
            self.doc.problem(span.clone(), format!("key variable `{{{name}}}` that nothing provides{advice}"));
        }
    }
}
