//! Tries one input after the other, and keeps what makes something new happen.

use std::{
    any::Any,
    collections::{BTreeSet, HashSet},
    env, fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::{MEMORY, mutate::Mutator};

/// What is tried, and what it must not take.
pub struct Target {
    /// Also that of its test.
    pub name: &'static str,
    /// What mutations begin with.
    pub seeds: Vec<Vec<u8>>,
    /// Pieces that the input is made of.
    pub words: &'static [&'static str],
    /// An input that takes longer, every time, is a finding.
    pub slow: Duration,
    /// How many inputs are tried at once, where most of the time is waiting.
    pub lanes: u64,
}

/// No input needs more, and every one that does is a finding.
const MOST_MEMORY: usize = 256 << 20;

/// After this time an input is not waited for any more.
const HANGS: Duration = Duration::from_secs(60);

/// Inputs that did something new and are mutated further.
const LARGEST_CORPUS: usize = 4_000;

/// The allocator counts for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// In whatever thread: a task that panics in the background would be noticed by nobody.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// For a test beside whom no memory is counted.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `check` on inputs until the time is over. It says what happened, in words that are the same when the same
/// happened, or what is wrong.
pub fn fuzz(target: Target, check: impl Fn(&[u8]) -> Result<String, String> + Send + Sync + 'static) {
    let _turn = alone();
    count_panics();
    if let Some(file) = env::var_os("WARMD_FUZZ_INPUT") {
        let input = fs::read(&file).unwrap();
        let told = attempt(&input, &check, target.slow);
        println!("{}: {told:?}", target.name);
        return assert!(told.is_ok(), "{told:?}");
    }
    let number = |name: &str| Some(env::var(name).ok()?.parse::<u64>().unwrap_or_else(|_| panic!("{name}: a number")));
    let seed = number("WARMD_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs(number("WARMD_FUZZ_SECONDS").unwrap_or(2));
    let name = target.name;
    println!("{name}: WARMD_FUZZ_SEED={seed}");

    let (target, check) = (Arc::new(target), Arc::new(check));
    let (done, ended) = mpsc::channel();
    let lanes: Vec<Arc<Lane>> = (0..target.lanes).map(|_| Arc::default()).collect();
    for (nth, lane) in lanes.iter().enumerate() {
        let (target, check, lane, done) = (Arc::clone(&target), Arc::clone(&check), Arc::clone(lane), done.clone());
        let seed = seed.wrapping_add(nth as u64);
        // The seeds themselves are tried once.
        let seeds = if nth == 0 { target.seeds.len() } else { 0 };
        let work = move || done.send(search(&target, (seed, seeds), time, &lane, &*check));
        // A deep recursion must end on the stack that the daemon's threads have.
        std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap();
    }
    for _ in &lanes {
        let found = loop {
            match ended.recv_timeout(Duration::from_millis(500)) {
                Ok(found) => break found,
                Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{name}: the search itself failed"),
                Err(mpsc::RecvTimeoutError::Timeout) if lanes.iter().any(|lane| lane.hangs()) => {
                    break Err(format!("hangs, after {HANGS:?} still"));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        };
        match found {
            Ok(told) => println!("{name}: {told}"),
            Err(why) => {
                // With several lanes, the one that noticed is not always the one that did it.
                let saved: BTreeSet<String> = lanes.iter().map(|lane| lane.save(name)).collect();
                let saved: Vec<String> = saved.into_iter().collect();
                panic!("{name}: {why}\nto repeat it: {}\n", saved.join("\n              "));
            }
        }
    }
}

/// What a thread is at.
#[derive(Default)]
struct Lane(Mutex<(Vec<u8>, Option<Instant>)>);

impl Lane {
    fn begin(&self, input: &[u8]) {
        *self.0.lock().unwrap() = (input.to_vec(), Some(Instant::now()));
    }

    fn end(&self) {
        self.0.lock().unwrap().1 = None;
    }

    fn hangs(&self) -> bool {
        self.0.lock().unwrap().1.is_some_and(|began| began.elapsed() > HANGS)
    }

    /// Keeps the input, and says how to try it again.
    fn save(&self, name: &str) -> String {
        let input = &self.0.lock().unwrap().0;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
        fs::create_dir_all(&folder).unwrap();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        input.iter().for_each(|byte| hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let path = folder.join(format!("{name}-{hash:016x}"));
        fs::write(&path, input).unwrap();
        format!("WARMD_FUZZ_INPUT={} scripts/fuzz 0 {name}", path.display())
    }
}

fn search(
    target: &Target,
    (seed, seeds): (u64, usize),
    time: Duration,
    lane: &Lane,
    check: &impl Fn(&[u8]) -> Result<String, String>,
) -> Result<String, String> {
    let began = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let kept = target.seeds.len();
    let mut mutator = Mutator { corpus: target.seeds.clone(), words: target.words };
    let mut seen = HashSet::new();
    let (mut count, mut slowest) = (0_u64, Duration::ZERO);
    while began.elapsed() < time || count < seeds as u64 {
        let input = match mutator.corpus.get(count as usize).filter(|_| count < seeds as u64) {
            Some(seed) => seed.clone(),
            None => mutator.next(&mut rng),
        };
        lane.begin(&input);
        count += 1;
        let (told, took) = attempt(&input, check, target.slow)?;
        lane.end();
        slowest = slowest.max(took);
        if seen.insert(told) {
            mutator.corpus.push(input);
            if mutator.corpus.len() > LARGEST_CORPUS {
                mutator.corpus.swap_remove(rng.usize(kept..LARGEST_CORPUS));
            }
        }
    }
    let kinds = seen.len();
    Ok(format!("{count} inputs in {:?}, {kinds} different outcomes, slowest {slowest:?}", began.elapsed()))
}

/// One input: what happened and how long it took, or what is wrong.
fn attempt(
    input: &[u8],
    check: &impl Fn(&[u8]) -> Result<String, String>,
    slow: Duration,
) -> Result<(String, Duration), String> {
    // The machine may have been busy: only what is slow each time is slow.
    for last in [false, false, true] {
        let panics = PANICS.load(Ordering::SeqCst);
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let began = Instant::now();
        let told = panic::catch_unwind(AssertUnwindSafe(|| check(input)));
        let took = began.elapsed();
        let memory = MEMORY.peak_usage().saturating_sub(before);
        let told = told.map_err(|panic| format!("panics: {}", words_of(&*panic)))?;
        let told = told?;
        if PANICS.load(Ordering::SeqCst) > panics {
            return Err("panics in another thread, see above".to_owned());
        }
        if memory > MOST_MEMORY {
            return Err(format!("takes {} MiB of memory", memory >> 20));
        }
        if took <= slow {
            return Ok((told, took));
        }
        if last {
            return Err(format!("takes {took:?}"));
        }
    }
    Err(String::new())
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(panic);
        }));
    });
}

/// The parts of the seeds file of a target: what stands between lines of `----`.
pub fn seeds(text: &str) -> Vec<Vec<u8>> {
    text.split("\n----\n").map(|seed| seed.trim_end_matches('\n').as_bytes().to_vec()).collect()
}

/// The files of a folder of the repository whose names end so.
pub fn files(folder: &str, end: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(end));
    files.sort();
    assert!(!files.is_empty(), "no {end}");
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A message without what the input put into it: two of one kind are alike.
pub fn kind_of(message: &str) -> String {
    let mut kind = String::new();
    for part in message.split(['`', '"']).step_by(2).take(2) {
        kind.extend(part.chars().filter(|c| !c.is_ascii_digit()).take(40));
    }
    kind
}
