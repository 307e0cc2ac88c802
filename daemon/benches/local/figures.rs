//! What was measured, beside what bounds it, as a table or as JSON.

use serde_json::{Value, json};

/// One measurement: ours and the bare thing, taken in turns.
#[derive(Debug)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    /// On which file system, with how much data.
    pub(crate) place: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Vec<f64>,
    /// What it is compared with; nothing when there is nothing bare of the kind.
    pub(crate) floor: Option<Floor>,
    pub(crate) budget: Option<Budget>,
}

#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) what: &'static str,
    pub(crate) values: Vec<f64>,
}

/// What the figure should be. Missing it is shown, and nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    /// At most so much.
    AtMost(f64),
    /// At most so many times the bare thing.
    TimesFloor(f64),
    /// At least this part of the bare thing.
    PartOfFloor(f64),
}

impl Figure {
    fn ratio(&self) -> Option<f64> {
        let floor = median(&self.floor.as_ref()?.values);
        (floor > 0.0).then(|| median(&self.ours) / floor)
    }

    fn is_within(&self) -> Option<bool> {
        Some(match self.budget? {
            Budget::AtMost(limit) => median(&self.ours) <= limit,
            Budget::TimesFloor(limit) => self.ratio()? <= limit,
            Budget::PartOfFloor(limit) => self.ratio()? >= limit,
        })
    }

    fn budget_text(&self) -> String {
        match self.budget {
            None => String::new(),
            Some(Budget::AtMost(limit)) => format!("<= {limit} {}", self.unit),
            Some(Budget::TimesFloor(limit)) => format!("<= {limit} x"),
            Some(Budget::PartOfFloor(limit)) => format!(">= {limit} x"),
        }
    }

    pub(crate) fn row(&self) -> String {
        let of = |value: f64| {
            if value < 100.0 {
                format!("{value:.1}")
            } else {
                format!("{value:.0}")
            }
        };
        let floor = self.floor.as_ref();
        format!(
            "{:46} {:12} {:>8} {:>8} {:5} {:>8} {:>7} {:30} {:10} {}",
            self.what,
            self.place,
            of(median(&self.ours)),
            of(self.ours.iter().copied().fold(f64::NAN, f64::min)),
            self.unit,
            floor.map_or_else(String::new, |floor| of(median(&floor.values))),
            self.ratio()
                .map_or_else(String::new, |ratio| format!("{ratio:.2}x")),
            floor.map_or("", |floor| floor.what),
            self.budget_text(),
            match self.is_within() {
                Some(true) => "ok",
                Some(false) => "over",
                None => "",
            }
        )
        .trim_end()
        .to_owned()
    }

    pub(crate) fn heading() -> String {
        let line = format!(
            "{:46} {:12} {:>8} {:>8} {:5} {:>8} {:>7} {:30} budget",
            "what", "where", "median", "min", "", "bare", "ratio", "the bare thing"
        );
        line
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "what": self.what,
            "where": self.place,
            "unit": self.unit,
            "n": self.ours.len(),
            "median": median(&self.ours),
            "values": self.ours,
            "floor": self.floor.as_ref().map(|floor| json!({
                "what": floor.what, "median": median(&floor.values), "values": floor.values,
            })),
            "ratio": self.ratio(),
            "budget": self.budget.map(|_| self.budget_text()),
            "within": self.is_within(),
        })
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
