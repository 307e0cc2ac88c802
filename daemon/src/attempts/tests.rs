//! Beliefs.
