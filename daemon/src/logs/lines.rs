//! The lines of the log, on their way to a file or a terminal: what a terminal would act on is spelt out, so that no name or
//! message can forge a line, and of a flood only a part is kept.

use std::io::{self, Write};
use std::time::Instant;

/// How many lines a second are kept when they do not end.
const RATE: u32 = 500;
/// How many are kept at once.
const BURST: u32 = 5000;

/// Lines without a flood. One call of `write` is one line.
#[derive(Debug)]
pub(super) struct Lines<W> {
    inner: Plain<W>,
    allowed: u32,
    counted_at: Instant,
    left_out: u64,
}

/// Lines in which nothing but the end of the line is acted on.
#[derive(Debug)]
pub(super) struct Plain<W>(pub(super) W);

impl<W: Write> Lines<W> {
    pub(super) fn new(inner: W) -> Self {
        Self {
            inner: Plain(inner),
            allowed: BURST,
            counted_at: Instant::now(),
            left_out: 0,
        }
    }

    fn is_allowed(&mut self, now: Instant) -> bool {
        let elapsed = now.duration_since(self.counted_at);
        let earned = (elapsed * RATE).as_secs();
        if earned > 0 {
            self.counted_at = now;
            let earned = u32::try_from(earned).unwrap_or(BURST);
            self.allowed = self.allowed.saturating_add(earned).min(BURST);
        }
        let is_allowed = self.allowed > 0;
        self.allowed = self.allowed.saturating_sub(1);
        is_allowed
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.is_allowed(Instant::now()) {
            self.left_out += 1;
            return Ok(line.len());
        }
        if self.left_out > 0 {
            let note = format!("{} lines were left out\n", self.left_out);
            self.inner.write_all(note.as_bytes())?;
            self.left_out = 0;
        }
        self.inner.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let body = text.strip_suffix('\n').unwrap_or(&text);
        if body.contains(is_risky) {
            let mut plain = String::with_capacity(text.len() + 16);
            for c in body.chars() {
                if is_risky(c) {
                    plain.extend(c.escape_default());
                } else {
                    plain.push(c);
                }
            }
            plain.push('\n');
            self.0.write_all(plain.as_bytes())?;
        } else {
            self.0.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Says whether a terminal would act on the character instead of showing it.
fn is_risky(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn sec_15_what_a_terminal_would_act_on_is_spelt_out_in_the_log() {
        let mut out = Plain(Vec::new());
        for line in [
            "INFO branch=jane-müsli\n",
            "WARN error=a\r\nINFO forged\n",
            "INFO x=\x1b]0;title\x07\u{202e}gpj\u{9b}31m\n",
        ] {
            out.write_all(line.as_bytes()).expect("written");
        }
        let text = String::from_utf8(out.0).expect("text");
        let expected = "INFO branch=jane-müsli\nWARN error=a\\r\\nINFO forged\n\
                        INFO x=\\u{1b}]0;title\\u{7}\\u{202e}gpj\\u{9b}31m\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn ld_08_of_a_flood_a_part_is_kept_and_the_rest_counted() {
        let mut lines = Lines::new(Vec::new());
        let begun = lines.counted_at;
        let kept = (0..100_000).filter(|_| lines.is_allowed(begun)).count();
        assert_eq!(kept, usize::try_from(BURST).expect("small"));
        let later = begun + Duration::from_secs(2);
        let kept = (0..100_000).filter(|_| lines.is_allowed(later)).count();
        assert_eq!(kept, 1000, "two seconds' worth");
        lines.left_out = 7;
        lines.allowed = 1;
        lines.write_all(b"after\n").expect("written");
        assert_eq!(lines.inner.0, b"7 lines were left out\nafter\n");
    }
}
