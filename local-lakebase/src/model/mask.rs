//! `update_mask`: which fields a PATCH is about.

use crate::error::ApiError;

/// Reads a mask in the spelling of the API or of protobuf's JSON (`spec.isProtected`).
///
/// `known` lists the paths the resource has; what comes out is one of those for each path in the mask.
pub(crate) fn parse(
    mask: Option<&str>,
    known: &'static [&'static str],
) -> Result<Vec<&'static str>, ApiError> {
    let mask = mask
        .filter(|mask| !mask.is_empty())
        .ok_or_else(|| ApiError::required("update_mask"))?;
    mask.split(',')
        .map(str::trim)
        .map(|path| {
            let snake = snake_case(path);
            let found = known.iter().find(|known| **known == snake);
            found
                .copied()
                .ok_or_else(|| ApiError::invalid(format!("Unknown field path in update_mask: '{path}'")))
        })
        .collect()
}

/// Refuses a mask entry whose field the body does not set.
pub(crate) fn populated(path: &str, in_body: bool) -> Result<(), ApiError> {
    if in_body {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Field '{path}' is named in update_mask but not set in the request body"
    )))
}

fn snake_case(path: &str) -> String {
    path.chars()
        .fold(String::with_capacity(path.len() + 4), |mut out, c| {
            if c.is_ascii_uppercase() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["spec.expiration", "spec.is_protected"];

    #[test]
    fn both_spellings_mean_the_same() {
        assert_eq!(
            parse(Some("spec.isProtected"), KNOWN).unwrap(),
            ["spec.is_protected"]
        );
        assert_eq!(
            parse(Some("spec.is_protected, spec.expiration"), KNOWN).unwrap(),
            ["spec.is_protected", "spec.expiration"]
        );
    }

    #[test]
    fn an_unknown_path_is_named_as_it_was_written() {
        let error = parse(Some("spec.noSuch"), KNOWN).unwrap_err();
        assert_eq!(error.message, "Unknown field path in update_mask: 'spec.noSuch'");
        assert_eq!((error.status, error.code), (400, "INVALID_PARAMETER_VALUE"));
        assert!(
            parse(Some("spec.expiration,"), KNOWN).is_err(),
            "an empty path is no path"
        );
    }

    #[test]
    fn a_mask_is_required() {
        for mask in [None, Some("")] {
            let error = parse(mask, KNOWN).unwrap_err();
            let text = "Field 'update_mask' is required, expected non-default value (not \"\")!";
            assert_eq!(error.message, text);
        }
    }
}
