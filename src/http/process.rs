//! What the system says about this process.

use std::fs;

/// Memory and descriptors in use; `None` where the system does not tell.
pub(super) struct Process {
    /// Bytes of memory that are resident.
    pub resident: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// The most that may be open.
    pub most_descriptors: Option<u64>,
}

impl Process {
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        // The folder itself is open while it is read.
        let descriptors = fs::read_dir("/proc/self/fd").map(|open| (open.count() as u64).saturating_sub(1)).ok();
        Self { resident: resident(&status), descriptors, most_descriptors: most_descriptors(&limits) }
    }
}

fn resident(status: &str) -> Option<u64> {
    let kibibytes: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes << 10)
}

fn most_descriptors(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_found() {
        assert_eq!(resident("VmHWM:\t  99 kB\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(
            most_descriptors("Limit  Soft Limit\nMax open files            1024     4096     files\n"),
            Some(1024)
        );
        assert_eq!((resident(""), most_descriptors("Max open files  unlimited")), (None, None));
        let now = Process::now();
        assert!(now.resident.unwrap() > 1 << 20 && now.descriptors.unwrap() >= 3, "{:?}", now.descriptors);
    }
}
