//! What the daemon has to know of the machine that it runs on: which one it is, and which file systems keep no promises.

use std::path::Path;

/// Where a machine's name for itself is, the best first.
const IDENTITIES: [&str; 3] = [
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
    "/proc/sys/kernel/hostname",
];

/// What tells this machine from others that share a home directory with it. Empty where nothing does.
pub(crate) fn id() -> String {
    let read = |path| std::fs::read_to_string(path).ok();
    let mut found = IDENTITIES.into_iter().filter_map(read);
    found
        .find_map(|text| Some(text.trim().to_owned()).filter(|id| !id.is_empty()))
        .unwrap_or_default()
}

/// Says whether a path is on a file system that others write to behind the kernel's back: it tells of no changes of theirs, and
/// its locks and shared memory cannot be relied on.
pub(crate) fn is_remote(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::statfs(path).is_ok_and(|stat| is_remote_kind(stat.f_type))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

/// Numbers from Linux's `magic.h` and `statfs(2)`.
#[cfg(target_os = "linux")]
fn is_remote_kind(kind: rustix::fs::FsWord) -> bool {
    const KINDS: [u32; 11] = [
        0x6969,      // NFS
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB2
        0x517b,      // SMB
        0x0102_1997, // 9P
        0x6573_5546, // FUSE, and virtiofs
        0x5346_414f, // AFS
        0x00c3_6400, // Ceph
        0x786f_4256, // VirtualBox's shared folders
        0x0bd0_0bd0, // Lustre
        0x7375_7245, // Coda
    ];
    // The upper half is empty, or the sign of the lower one.
    u32::try_from(kind & 0xffff_ffff).is_ok_and(|kind| KINDS.contains(&kind))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn fs_05_file_systems_of_others_are_known_by_their_kind() {
        for kind in [0x6969, 0x6573_5546, 0x0102_1997, 0xff53_4d42_u32.into()] {
            assert!(is_remote_kind(kind), "{kind:x}");
        }
        // ext4, tmpfs, overlay, btrfs, xfs
        for kind in [0xef53, 0x0102_1994, 0x794c_7630, 0x9123_683e, 0x5846_5342] {
            assert!(!is_remote_kind(kind), "{kind:x}");
        }
        assert!(!is_remote(Path::new("/proc")) && !is_remote(Path::new("/nowhere")));
    }
}
