//! How much memory the server may keep pages of tables in, where nobody says.

use std::path::Path;

const MIB: u64 = 1 << 20;
/// PostgreSQL's own default, and the indexes that forty million records of a month hit at random.
const BOUNDS_MB: (u64, u64) = (128, 8192);
/// As PostgreSQL's manual recommends ("Resource Consumption"): the machine keeps files in memory too. Where those indexes have no room,
/// each record pushes out pages that have to be written (docs/BENCHMARKS.md, "Tables that are not empty").
const SHARE: u64 = 4;

/// A quarter of the memory of this machine or container, within bounds. It is taken only as it is used.
pub(super) fn shared_buffers() -> String {
    let root = Path::new("/");
    format!("{}MB", share_mb(machine_bytes(root), container_bytes(root)))
}

fn share_mb(machine: Option<u64>, container: Option<u64>) -> u64 {
    let bytes = machine.into_iter().chain(container).min().unwrap_or_default();
    (bytes / SHARE / MIB).clamp(BOUNDS_MB.0, BOUNDS_MB.1)
}

/// As Linux tells it; `None` elsewhere.
fn machine_bytes(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The limit of the control group (version 2, then 1) in which a container sees itself at the root; `None` without one.
fn container_bytes(root: &Path) -> Option<u64> {
    let files = ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"];
    files.iter().find_map(|file| std::fs::read_to_string(root.join(file)).ok()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_smaller_one_of_machine_and_container_within_bounds() {
        let gib = 1024 * MIB;
        assert_eq!(share_mb(Some(8 * gib), None), 2048);
        assert_eq!(share_mb(Some(64 * gib), Some(4 * gib)), 1024);
        assert_eq!(share_mb(Some(gib / 4), None), 128);
        assert_eq!(share_mb(Some(64 * gib), None), 8192);
        assert_eq!(share_mb(None, None), 128, "nothing is known");
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!((machine_bytes(root.path()), container_bytes(root.path())), (None, None));
        std::fs::create_dir_all(root.path().join("proc")).unwrap();
        std::fs::create_dir_all(root.path().join("sys/fs/cgroup/memory")).unwrap();
        let meminfo = "MemTotal:       24567890 kB\nMemFree:         1234 kB\n";
        std::fs::write(root.path().join("proc/meminfo"), meminfo).unwrap();
        assert_eq!(machine_bytes(root.path()), Some(24_567_890 * 1024));
        std::fs::write(root.path().join("sys/fs/cgroup/memory/memory.limit_in_bytes"), "1073741824\n")
            .unwrap();
        assert_eq!(container_bytes(root.path()), Some(1 << 30));
        std::fs::write(root.path().join("sys/fs/cgroup/memory.max"), "max\n").unwrap();
        assert_eq!(
            container_bytes(root.path()),
            Some(1 << 30),
            "no limit in version 2: version 1 may have one"
        );
    }
}
