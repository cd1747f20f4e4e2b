//! How long the machine stood still: a test times the program, not a machine that is paused or gives its time to others.
//! And tests that come late on purpose, which finds those that count on being quick.

use std::{
    hash::{BuildHasher as _, RandomState},
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;

/// How long a thread sleeps that does nothing else.
const NAP: Duration = Duration::from_millis(10);

/// A nap that lasts this much longer was a standstill; what is less is a machine with something to do.
const NOTICEABLE: Duration = Duration::from_millis(200);

/// How often a test is begun, at most.
const ATTEMPTS: usize = 4;

/// All standstills so far, and when the last nap ended, both in milliseconds.
struct Sleeper {
    begun: Instant,
    stood: AtomicU64,
    woke: AtomicU64,
}

static SLEEPER: LazyLock<Sleeper> = LazyLock::new(|| {
    thread::spawn(|| {
        loop {
            thread::sleep(NAP);
            let now = SLEEPER.now();
            let stood = SLEEPER.overslept(now);
            SLEEPER.stood.fetch_add(stood, SeqCst);
            SLEEPER.woke.store(now, SeqCst);
        }
    });
    Sleeper { begun: Instant::now(), stood: AtomicU64::new(0), woke: AtomicU64::new(0) }
});

impl Sleeper {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    fn overslept(&self, now: u64) -> u64 {
        let longer = now.saturating_sub(self.woke.load(SeqCst) + NAP.as_millis() as u64);
        if u128::from(longer) < NOTICEABLE.as_millis() { 0 } else { longer }
    }

    /// Also the one that has just ended, of which the sleeper does not know yet.
    fn stood(&self) -> Duration {
        Duration::from_millis(self.stood.load(SeqCst) + self.overslept(self.now()))
    }
}

/// Measures how long something takes.
pub struct Stopwatch {
    begun: Instant,
    stood_before: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { stood_before: SLEEPER.stood(), begun: Instant::now() }
    }

    /// How long the machine stood still since the start.
    pub fn stood(&self) -> Duration {
        SLEEPER.stood().saturating_sub(self.stood_before)
    }

    /// The time since the start in which the machine worked.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed().saturating_sub(self.stood())
    }
}

/// What a test panics with that came too late: what it was about to disturb was over, so that nothing of the program
/// was tested.
pub struct Late;

/// Does a test that counts on moments of the clock. It is done once more when it fails and the machine stood still
/// meanwhile, or when it came too late, which is no failure of the program; and only then.
pub async fn undisturbed(test: impl AsyncFn()) {
    for _ in 1..ATTEMPTS {
        let watch = Stopwatch::start();
        let Err(panic) = AssertUnwindSafe(test()).catch_unwind().await else { return };
        let stood = watch.stood();
        if panic.is::<Late>() {
            eprintln!("once more: it came too late");
        } else if stood.is_zero() {
            resume_unwind(panic);
        } else {
            eprintln!("once more: the machine stood still for {stood:?}");
        }
    }
    test().await;
}

/// A step of a test that looks at the program or does something to it. With the variable WARMD_TEST_LATE, one in four
/// comes late, by up to so many milliseconds, as on a machine with much to do; nothing may depend on that.
pub fn step() {
    static LATE: LazyLock<Option<u64>> = LazyLock::new(|| {
        let text = std::env::var("WARMD_TEST_LATE").ok()?;
        Some(text.parse().expect("milliseconds in WARMD_TEST_LATE"))
    });
    let Some(late) = *LATE else { return };
    let chance = RandomState::new().hash_one(0);
    if chance.is_multiple_of(4) {
        thread::sleep(Duration::from_millis(chance / 4 % late));
    }
}
