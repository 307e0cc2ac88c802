//! File systems to measure on: the disk at hand, and loop-mounted ones that share blocks. What is mounted is unmounted when
//! the value goes.

use anyhow::{Context, ensure};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const GB: u64 = 1 << 30;
const UNMOUNT_TRIES: u32 = 50;

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Where temporary files are.
    Disk,
    Xfs,
    Btrfs,
}

/// A directory on it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    dir: PathBuf,
    is_mounted: bool,
    /// Image and mount point; removed after the unmount.
    _scratch: TempDir,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    pub(crate) fn shares_blocks(self) -> bool {
        self != Self::Disk
    }

    /// Says whether it can be had here.
    pub(crate) fn is_there(self) -> bool {
        let can = |program: &str| {
            let mut command = Command::new(program);
            let silent = command
                .arg("-V")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            silent.status().is_ok_and(|status| status.success())
        };
        let is_root = rustix::process::geteuid().is_root();
        match self {
            Self::Disk => true,
            Self::Xfs => is_root && can("mkfs.xfs"),
            Self::Btrfs => is_root && can("mkfs.btrfs"),
        }
    }
}

impl Place {
    /// Makes one with room for some copies of so much data.
    pub(crate) fn new(kind: Kind, megabytes: u64) -> anyhow::Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("lakebase-bench-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()?;
        let base = scratch.path().canonicalize()?;
        let mut place = Self {
            kind,
            dir: base.clone(),
            is_mounted: false,
            _scratch: scratch,
        };
        if kind != Kind::Disk {
            let image = base.join("image");
            File::create(&image)?.set_len(4 * GB + 8 * megabytes * 1024 * 1024)?;
            place.mount(&image, &base.join("mnt"))?;
        }
        Ok(place)
    }

    fn mount(&mut self, image: &Path, dir: &Path) -> anyhow::Result<()> {
        let format = format!("mkfs.{}", self.kind.name());
        run(Command::new(format).arg("-q").arg(image))?;
        fs::create_dir(dir)?;
        run(Command::new("mount").args(["-o", "loop"]).args([image, dir]))?;
        self.is_mounted = true;
        dir.clone_into(&mut self.dir);
        Ok(fs::set_permissions(dir, Permissions::from_mode(0o755))?)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_mounted {
            return;
        }
        // Processes that were just killed may still hold it.
        for _ in 0..UNMOUNT_TRIES {
            if run(Command::new("umount").arg(&self.dir)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if let Err(error) = run(Command::new("umount").arg("-l").arg(&self.dir)) {
            eprintln!("cannot unmount: {error:#}");
        }
    }
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
