//! Numbers whose JSON form is not what serde does by itself.

use serde::{Deserialize, Deserializer, Serializer, de};

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(i64),
    Text(String),
}

/// Reads an int64 that may be a JSON number or, as protobuf's own JSON has it, a string.
pub(super) fn read_i64<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    match Option::<NumberOrText>::deserialize(input)? {
        None => Ok(None),
        Some(NumberOrText::Number(number)) => Ok(Some(number)),
        Some(NumberOrText::Text(text)) => text.parse().map(Some).map_err(de::Error::custom),
    }
}

/// Writes a number of compute units: `1` and not `1.0`, as the service and the public clients do.
#[expect(
    clippy::ref_option,
    reason = "serde's `serialize_with` passes a reference to the field"
)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "only for whole numbers far inside the range of i64"
)]
pub(super) fn write_units<S: Serializer>(units: &Option<f64>, output: S) -> Result<S::Ok, S::Error> {
    match units {
        Some(units) if units.fract() == 0.0 && units.abs() < 1e9 => output.serialize_i64(*units as i64),
        Some(units) => output.serialize_f64(*units),
        None => output.serialize_none(),
    }
}
