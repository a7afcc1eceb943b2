//! How much memory the server may keep pages of tables in, where nobody says.

use std::path::Path;

const MIB: u64 = 1 << 20;
/// PostgreSQL's own default, and the indexes that forty million records of a month hit at random.
const BOUNDS_MB: (u64, u64) = (128, 8192);
/// As PostgreSQL's manual recommends ("Resource Consumption"): the machine keeps files in memory too. Where those indexes have no room,
/// each record pushes out pages that have to be written (docs/BENCHMARKS.md, "Tables that are not empty").
const SHARE: u64 = 4;

/// A quarter of the memory of this machine, or of what its service or container may take, within bounds. It is taken only as it is used.
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

/// The least limit of the control groups (version 1 or 2) that we are in, as a service or in a container; `None` without one.
fn container_bytes(root: &Path) -> Option<u64> {
    let ours = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    // A container sees itself at the root, whatever path it is told.
    ours.lines().chain(["0::/", "0:memory:/"]).filter_map(|group| limit_of_group(root, group)).min()
}

/// Of a line such as `0::/system.slice/simbridge.service` (version 2) or `9:memory:/docker/…`: what the group and those around it may take.
fn limit_of_group(root: &Path, line: &str) -> Option<u64> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    let (top, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let top = root.join(top);
    let group = top.join(path.trim_start_matches('/'));
    let around = group.ancestors().take_while(|directory| directory.starts_with(&top));
    around.filter_map(|group| std::fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
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

    /// Catches a service with `MemoryMax=` that takes a quarter of the whole machine.
    #[test]
    fn the_least_limit_of_all_groups_around_counts() {
        let root = tempfile::tempdir().unwrap();
        let limit = |directory: &str, file: &str, bytes: &str| {
            let directory = root.path().join(directory);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(file), bytes).unwrap();
        };
        limit(
            "proc/self",
            "cgroup",
            "9:cpu,memory:/docker/a\n1:name=systemd:/x\n0::/system.slice/simbridge.service\n",
        );
        limit("sys/fs/cgroup/system.slice/simbridge.service", "memory.max", "max\n");
        assert_eq!(container_bytes(root.path()), None);
        limit("sys/fs/cgroup/system.slice", "memory.max", "3000\n");
        assert_eq!(container_bytes(root.path()), Some(3000), "that of the slice");
        limit("sys/fs/cgroup/system.slice/simbridge.service", "memory.max", "2000\n");
        assert_eq!(container_bytes(root.path()), Some(2000));
        limit("sys/fs/cgroup/memory/docker/a", "memory.limit_in_bytes", "1000\n");
        assert_eq!(container_bytes(root.path()), Some(1000), "of version 1");
        limit("sys/fs/cgroup/x", "memory.max", "1\n");
        assert_eq!(container_bytes(root.path()), Some(1000), "of others");
    }
}
