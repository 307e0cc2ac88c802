//! `lakebased local setup-store`: a file with a file system in it on which branches share their blocks, mounted where Local
//! Lakebase keeps its data. The only thing here that needs root, and the only one that runs the system's own tools.

use anyhow::{Context, bail, ensure};
use lakebased::config::StoreArgs;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The least that `mkfs.xfs` makes.
const SMALLEST: u64 = 300 * 1024 * 1024;
/// What is left free of the disk that holds the file.
const LEFT_FREE: u64 = 1024 * 1024 * 1024;

/// Makes the store, or says that there is nothing to do.
///
/// # Errors
/// What hindered it. What was there before is there still.
pub(crate) fn set_up(data_dir: &Path, args: &StoreArgs) -> anyhow::Result<()> {
    ensure!(
        cfg!(target_os = "linux"),
        "this is for Linux; APFS shares blocks already"
    );
    let data_dir = std::path::absolute(data_dir).context("cannot find the data directory")?;
    fs::create_dir_all(&data_dir).with_context(|| format!("cannot make `{}`", data_dir.display()))?;
    if local_lakebase::shares_blocks(&data_dir) {
        say(&format!(
            "branches in `{}` share their blocks already",
            data_dir.display()
        ))?;
        return Ok(());
    }
    let store = Store::new(data_dir, args)?;
    store.check()?;
    if !rustix::process::geteuid().is_root() {
        return again_with_sudo(&store);
    }
    store.make()?;
    store.fill()?;
    store.mount()?;
    if !args.no_fstab {
        store.remember()?;
    }
    say(&format!(
        "branches in `{}` share their blocks from now on; `{}` holds them",
        store.data_dir.display(),
        store.image.display()
    ))
}

/// What is to be made.
struct Store {
    data_dir: PathBuf,
    image: PathBuf,
    size: u64,
    no_fstab: bool,
}

impl Store {
    fn new(data_dir: PathBuf, args: &StoreArgs) -> anyhow::Result<Self> {
        let image = args
            .image
            .clone()
            .unwrap_or_else(|| data_dir.with_extension("xfs"));
        Ok(Self {
            image: std::path::absolute(image).context("cannot find the place of the file")?,
            data_dir,
            size: args.size,
            no_fstab: args.no_fstab,
        })
    }

    /// Refuses what would fail half-way.
    fn check(&self) -> anyhow::Result<()> {
        let image = self.image.display();
        ensure!(
            self.size >= SMALLEST,
            "a store has at least 300M; give more with --size"
        );
        ensure!(
            !self.image.exists(),
            "`{image}` is there already; remove it, or name another file with --image"
        );
        ensure!(
            !self.image.starts_with(&self.data_dir),
            "`{image}` cannot be in the directory that it holds"
        );
        if let Ok(lock) = File::open(self.data_dir.join("lock")) {
            let hint = "Local Lakebase is running there; stop it with `lakebase down` first";
            lock.try_lock().map_err(|_| anyhow::anyhow!(hint))?;
        }
        let disk = rustix::fs::statvfs(self.image.parent().unwrap_or(Path::new("/")))
            .with_context(|| format!("cannot look at the disk of `{image}`"))?;
        let free = disk.f_bavail * disk.f_frsize;
        ensure!(
            free >= self.size + LEFT_FREE,
            "the disk has {} MB free, and the store takes {} MB; give less with --size",
            free >> 20,
            self.size >> 20
        );
        Ok(())
    }

    /// Makes the file and the file system in it.
    fn make(&self) -> anyhow::Result<()> {
        let file = self.create()?;
        let made = self.allocate(&file).and_then(|()| {
            run(Command::new("mkfs.xfs")
                .args(["-q", "-m", "reflink=1"])
                .arg(&self.image))
            .context(
                "mkfs.xfs comes with `sudo apt-get install xfsprogs`, or your system's package of that name",
            )
        });
        if made.is_err() {
            // It is ours: it was not there when it was created.
            drop(fs::remove_file(&self.image));
        }
        made
    }

    fn create(&self) -> anyhow::Result<File> {
        let mut options = OpenOptions::new();
        let created = options.write(true).create_new(true).open(&self.image);
        created.with_context(|| format!("cannot make `{}`", self.image.display()))
    }

    fn allocate(&self, file: &File) -> anyhow::Result<()> {
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(file, flags, 0, self.size)
            .with_context(|| format!("cannot make `{}`", self.image.display()))
    }

    /// Copies what is in the data directory already.
    fn fill(&self) -> anyhow::Result<()> {
        let beside = self.data_dir.with_extension("filling");
        fs::create_dir_all(&beside).context("cannot make a place to mount it")?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([&self.image, &beside]))?;
        let owner = fs::metadata(&self.data_dir).context("cannot look at the data directory")?;
        let copied = run(Command::new("cp")
            .arg("-a")
            .arg(self.data_dir.join("."))
            .arg(&beside))
        .and_then(|()| Ok(chown(&beside, Some(owner.uid()), Some(owner.gid()))?));
        let unmounted = run(Command::new("umount").arg(&beside));
        drop(fs::remove_dir(&beside));
        copied.and(unmounted)
    }

    /// Mounts it over the data directory. What was there lies beneath it, and comes back when it is unmounted. The mark lies
    /// beneath it as well: a start that sees it is a start without the disk, and refused.
    fn mount(&self) -> anyhow::Result<()> {
        local_lakebase::mark_mount_point(&self.data_dir, &self.image)
            .context("cannot mark the data directory as a mount point")?;
        let mounted = run(Command::new("mount")
            .args(["-o", "loop"])
            .args([&self.image, &self.data_dir]));
        if mounted.is_err() {
            local_lakebase::unmark_mount_point(&self.data_dir)
                .context("cannot remove the mark of a mount point")?;
        }
        mounted
    }

    /// Has it mounted at each start of the machine.
    fn remember(&self) -> anyhow::Result<()> {
        let line = format!(
            "{} {} xfs loop,nofail 0 0\n",
            escaped(&self.image),
            escaped(&self.data_dir)
        );
        let mut fstab = OpenOptions::new()
            .append(true)
            .open("/etc/fstab")
            .context("cannot open /etc/fstab")?;
        fstab
            .write_all(line.as_bytes())
            .context("cannot add to /etc/fstab")
    }
}

/// A path as /etc/fstab wants it.
fn escaped(path: &Path) -> String {
    path.display()
        .to_string()
        .replace('\\', r"\134")
        .replace(' ', r"\040")
}

/// Becomes the same program as root; it asks for the password itself. What concerns the user is passed on, because root has
/// another home.
fn again_with_sudo(store: &Store) -> anyhow::Result<()> {
    let program = fs::read_link("/proc/self/exe").context("cannot find this program")?;
    let mut command = Command::new("sudo");
    command
        .arg(program)
        .args(["local", "setup-store", "--local-dir"])
        .arg(&store.data_dir);
    command
        .arg("--image")
        .arg(&store.image)
        .arg("--size")
        .arg(format!("{}M", store.size >> 20));
    if store.no_fstab {
        command.arg("--no-fstab");
    }
    say("asking for root to make and mount the store")?;
    Err(command.exec()).context("cannot run sudo; run this command as root")
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}
