//! Times of two programs that ran in turns.

use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// `/bin/true`.
    pub(crate) bare: Vec<Duration>,
    pub(crate) hook: Vec<Duration>,
}

impl Figures {
    pub(crate) fn print(mut self, case: &str) {
        self.bare.sort_unstable();
        self.hook.sort_unstable();
        println!("\n{case}, {} runs each, in turns", self.hook.len());
        println!("{:12}{:>9}{:>9}{:>9}", "ms", "min", "p50", "p99");
        row("/bin/true", &self.bare, |time| {
            format!("{:.2}", time.as_secs_f64() * 1e3)
        });
        row("hook", &self.hook, |time| {
            format!("{:.2}", time.as_secs_f64() * 1e3)
        });
        let ratio = |part: usize| {
            let (hook, bare) = (quantile(&self.hook, part), quantile(&self.bare, part));
            hook.as_secs_f64() / bare.as_secs_f64()
        };
        println!(
            "{:12}{:>8.2}x{:>8.2}x{:>8.2}x",
            "ratio",
            ratio(0),
            ratio(50),
            ratio(99)
        );
    }
}

fn row(name: &str, sorted: &[Duration], show: impl Fn(Duration) -> String) {
    let [min, p50, p99] = [0, 50, 99].map(|part| show(quantile(sorted, part)));
    println!("{name:12}{min:>9}{p50:>9}{p99:>9}");
}

/// The value below which this many hundredths lie.
fn quantile(sorted: &[Duration], hundredths: usize) -> Duration {
    sorted[(sorted.len() - 1) * hundredths / 100]
}
