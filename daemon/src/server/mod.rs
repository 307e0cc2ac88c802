//! Answers of the control contract, by subject.

mod recovery;
mod trust;
