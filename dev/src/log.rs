//! What the processes say: one file per worktree, each line with its time and process, at most twice [`MAX_BYTES`] in all.

use crate::clock;
use chrono::{DateTime, SecondsFormat, Utc};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt};

const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// A line that is longer is broken.
const MAX_LINE: usize = 16 * 1024;

/// Whose words a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    Process,
    /// About the process.
    Supervisor,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) at: DateTime<Utc>,
    pub(crate) process: String,
    pub(crate) voice: Voice,
    pub(crate) text: String,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, ' ');
        let at = DateTime::parse_from_rfc3339(parts.next()?).ok()?.to_utc();
        let process = parts.next()?.to_owned();
        let voice = match parts.next()? {
            "|" => Voice::Process,
            "*" => Voice::Supervisor,
            _ => return None,
        };
        let text = parts.next().unwrap_or_default().to_owned();
        Some(Self {
            at,
            process,
            voice,
            text,
        })
    }
}

/// The file, open for writing. Only the supervisor does.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Mutex<Writer>>);

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Log {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Writer {
            path: path.to_owned(),
            file,
            size,
        }))))
    }

    /// Adds a line. A disk that is full is no reason to stop the processes.
    pub(crate) fn add(&self, process: &str, voice: Voice, text: &str) {
        let sign = match voice {
            Voice::Process => '|',
            Voice::Supervisor => '*',
        };
        let at = DateTime::<Utc>::from(clock::now()).to_rfc3339_opts(SecondsFormat::Millis, true);
        let line = format!("{at} {process} {sign} {text}\n");
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write(line.as_bytes()).ok();
    }

    /// Adds what a process writes, until nobody can write any more.
    pub(crate) async fn follow(self, process: String, mut pipe: impl AsyncRead + Unpin) {
        let mut pending = Vec::new();
        let mut chunk = [0; 8192];
        while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
            pending.extend_from_slice(&chunk[..read]);
            while let Some(end) = end_of_line(&pending) {
                let line: Vec<u8> = pending.drain(..end).collect();
                self.add(&process, Voice::Process, &text(&line));
            }
        }
        if !pending.is_empty() {
            self.add(&process, Voice::Process, &text(&pending));
        }
    }
}

fn end_of_line(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    end.filter(|end| *end <= MAX_LINE)
        .or_else(|| (bytes.len() >= MAX_LINE).then_some(MAX_LINE))
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .trim_end_matches(['\n', '\r'])
        .replace('\n', " ")
}

impl Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.size > 0 && self.size + length > MAX_BYTES {
            fs::rename(&self.path, older(&self.path))?;
            self.file = append(&self.path)?;
            self.size = 0;
        }
        self.size += length;
        self.file.write_all(line)
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("1")
}

/// The file, open for reading.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// A line whose end is not written yet.
    partial: Vec<u8>,
}

impl Reader {
    /// Returns a reader at the end of what there is, and what there is.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<Line>)> {
        let mut lines = match File::open(older(path)) {
            Ok(file) => Self::of(path, Some(file)).rest()?,
            Err(_) => Vec::new(),
        };
        let mut reader = Self::of(path, File::open(path).ok());
        lines.extend(reader.rest()?);
        Ok((reader, lines))
    }

    fn of(path: &Path, file: Option<File>) -> Self {
        Self {
            path: path.to_owned(),
            file: file.map(BufReader::new),
            partial: Vec::new(),
        }
    }

    /// Returns what was added, also when another file has taken its place.
    pub(crate) fn more(&mut self) -> io::Result<Vec<Line>> {
        let mut lines = self.rest()?;
        if self.is_replaced() {
            lines.extend(self.rest()?);
            self.file = File::open(&self.path).ok().map(BufReader::new);
            lines.extend(self.rest()?);
        }
        Ok(lines)
    }

    fn is_replaced(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let there = fs::metadata(&self.path).map(|file| (file.dev(), file.ino()));
        let open = self.file.as_ref().map(|file| file.get_ref().metadata());
        match (there, open) {
            (Ok(there), Some(Ok(open))) => there != (open.dev(), open.ino()),
            (Ok(_), _) => true,
            (Err(_), _) => false,
        }
    }

    fn rest(&mut self) -> io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        let Some(file) = &mut self.file else {
            return Ok(lines);
        };
        while file.read_until(b'\n', &mut self.partial)? > 0 {
            if self.partial.last() == Some(&b'\n') {
                lines.extend(Line::parse(text(&self.partial).as_str()));
                self.partial.clear();
            }
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_size_is_bounded() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("log");
        let log = Log::open(&path).expect("open");
        log.add("a", Voice::Process, "first | x");
        let (mut reader, lines) = Reader::open(&path).expect("open");
        assert_eq!(lines[0].text, "first | x");
        let text = "x".repeat(10_000);
        for _ in 0..1_000 {
            log.add("a", Voice::Process, &text);
        }
        log.add("b", Voice::Supervisor, "last");
        let size = |path: &Path| fs::metadata(path).expect("there").len();
        assert!(size(&path) + size(&older(&path)) <= 2 * MAX_BYTES);
        let last = reader.more().expect("read").pop().expect("there is more");
        assert_eq!(
            (last.process.as_str(), last.voice, last.text.as_str()),
            ("b", Voice::Supervisor, "last")
        );
        assert_eq!(reader.more().expect("read"), []);
    }

    #[test]
    fn a_line_without_end_is_broken() {
        assert_eq!(end_of_line(b"ab\ncd"), Some(3));
        assert_eq!(end_of_line(b"ab"), None);
        assert_eq!(end_of_line("x".repeat(MAX_LINE + 5).as_bytes()), Some(MAX_LINE));
    }
}
