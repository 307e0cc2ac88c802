//! A directory while it is being made. It gets its name when all is there; until then it goes with the value, whatever the
//! reason: an error, a full disk, a caller that went away.

use super::{blocking, layout};
use crate::engine::{Durability, EngineError};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the threads that still copy may take to notice that nobody waits for them.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(5);

/// A directory that is not complete yet.
#[derive(Debug)]
pub(crate) struct HalfMade {
    path: PathBuf,
    abandoned: Arc<AtomicBool>,
    /// Whether it has got its name. Held while that happens, so that a caller who goes away meanwhile knows what to remove.
    published: Arc<Mutex<Option<PathBuf>>>,
    /// Whether nothing is left to remove.
    is_settled: bool,
}

impl HalfMade {
    /// A new one beside the place where it will be. No two have the same path.
    pub(crate) fn of(path: &Path) -> Self {
        let whole = path.file_name().unwrap_or_default().to_string_lossy();
        Self {
            path: path.with_file_name(layout::half_made_name(&whole)),
            abandoned: Arc::default(),
            published: Arc::default(),
            is_settled: false,
        }
    }

    /// Where it is meanwhile.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Becomes true when it is of no use to anybody any more.
    pub(crate) fn abandoned(&self) -> Arc<AtomicBool> {
        self.abandoned.clone()
    }

    /// Gives it its name. What is to outlive the power is flushed to disk first: nobody else does so later.
    pub(crate) async fn publish(mut self, path: &Path, durability: Durability) -> Result<(), EngineError> {
        let (half, whole) = (self.path.clone(), path.to_owned());
        let (published, abandoned) = (self.published.clone(), self.abandoned.clone());
        let publish = move || {
            if durability == Durability::Durable {
                flush(&half)?;
            }
            let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
            if abandoned.load(Ordering::Relaxed) {
                return Err(io::Error::other("nobody waits for it"));
            }
            fs::rename(&half, &whole)?;
            *published = Some(whole.clone());
            File::open(whole.parent().unwrap_or(&whole))?.sync_all()
        };
        let published = blocking(publish).await;
        if published.is_err() {
            self.remove().await;
        } else {
            self.is_settled = true;
        }
        published.map_err(|source| EngineError::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// Removes it, and returns when it is gone.
    pub(crate) async fn remove(mut self) {
        self.is_settled = true;
        self.abandoned.store(true, Ordering::Relaxed);
        let path = self.path.clone();
        blocking(move || remove(&path)).await;
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        if !self.is_settled {
            self.abandoned.store(true, Ordering::Relaxed);
            let (path, published) = (self.path.clone(), self.published.clone());
            std::thread::spawn(move || {
                let published = published.lock().unwrap_or_else(PoisonError::into_inner).take();
                remove(&published.unwrap_or(path));
            });
        }
    }
}

/// Others may still put files into it, for as long as they have not noticed.
fn remove(path: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = fs::remove_dir_all(path) {
        if error.kind() == io::ErrorKind::NotFound {
            return;
        }
        if Instant::now() > deadline {
            tracing::warn!(path = %path.display(), %error, "cannot remove what is half-made; the next start will");
            return;
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(target_os = "linux")]
fn flush(dir: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(dir)?)?)
}

#[cfg(not(target_os = "linux"))]
fn flush(_: &Path) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_gets_its_name_or_goes() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("whole");
        let half = HalfMade::of(&path);
        fs::create_dir(half.path()).expect("made");
        half.publish(&path, Durability::Durable).await.expect("published");
        assert!(path.is_dir());

        fs::write(path.join("file"), "").expect("written");
        let second = HalfMade::of(&path);
        fs::create_dir(second.path()).expect("made");
        second
            .publish(&path, Durability::Ephemeral)
            .await
            .expect_err("the name is taken");
        assert_eq!(
            fs::read_dir(dir.path()).expect("listed").count(),
            1,
            "nothing is left of it"
        );
    }

    #[test]
    fn it_goes_with_its_caller_even_while_files_are_still_put_into_it() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let half = HalfMade::of(&dir.path().join("whole"));
        let (path, abandoned) = (half.path().to_owned(), half.abandoned());
        fs::create_dir(&path).expect("made");
        let copying = std::thread::spawn(move || {
            let mut count = 0_u32;
            while !abandoned.load(Ordering::Relaxed) || !count.is_multiple_of(100) {
                count += 1;
                drop(fs::write(path.join(count.to_string()), ""));
            }
        });
        drop(half);
        copying.join().expect("it noticed");
        let deadline = Instant::now() + PATIENCE;
        while fs::read_dir(dir.path()).expect("listed").count() > 0 {
            assert!(Instant::now() < deadline, "it is still there");
            std::thread::sleep(POLL);
        }
    }
}
