//! Makes text from elsewhere safe for a terminal: a branch name or a message must not move the cursor or turn the line.

/// Returns the text with control and direction characters spelt out.
pub(crate) fn plain(text: &str) -> String {
    if !text.contains(is_risky) {
        return text.to_owned();
    }
    text.chars().fold(String::new(), |mut out, c| {
        if is_risky(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

/// Says whether a terminal would act on the character instead of showing it.
pub(crate) fn is_risky(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_15_what_a_terminal_would_act_on_is_spelt_out() {
        assert_eq!(plain("jane-main"), "jane-main");
        assert_eq!(plain("müsli"), "müsli");
        assert_eq!(plain("a\x1b]0;x\x07b"), r"a\u{1b}]0;x\u{7}b");
        assert_eq!(plain("a\nb\u{9b}c"), r"a\nb\u{9b}c");
        assert_eq!(plain("\u{202e}gpj"), r"\u{202e}gpj");
    }
}
