//! Messages of PostgreSQL's protocol that follow the startup packet, as values. A length that the other side claims is
//! checked before anything is read or kept because of it.
//!
//! Imports nothing of the crate, so that the fuzz targets can compile it on its own. The formats:
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

/// The longest password message; a token has about 500 bytes.
pub(super) const MAX_PASSWORD: usize = 16 * 1024;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Reads the type and the length of the rest of a message after start-up.
pub(super) fn message_rest(header: [u8; 5], max: usize) -> Result<(u8, usize), Malformed> {
    let [kind, length @ ..] = header;
    let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| Malformed("negative length"))?;
    if !(4..=max).contains(&length) {
        return Err(Malformed("invalid message length"));
    }
    Ok((kind, length - 4))
}

/// Reads the text of a password message.
pub(super) fn password(body: &[u8]) -> Result<&str, Malformed> {
    let text = body
        .strip_suffix(b"\0")
        .ok_or(Malformed("unterminated password"))?;
    let text = str::from_utf8(text).map_err(|_| Malformed("password is not text"))?;
    if text.contains('\0') {
        return Err(Malformed("password has a zero byte"));
    }
    Ok(text)
}

/// Reads name and value of a setting that a server reports, `ParameterStatus`.
pub(super) fn reported(body: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut texts = body.split(|byte| *byte == 0);
    match (texts.next(), texts.next(), texts.next(), texts.next()) {
        (Some(name), Some(value), Some([]), None) => Ok((name, value)),
        _ => Err(Malformed("invalid report of a setting")),
    }
}

/// Asks for a password in clear, which is safe inside TLS only.
pub(super) fn ask_password() -> Vec<u8> {
    vec![b'R', 0, 0, 0, 8, 0, 0, 0, 3]
}

/// Ends a session with an error in PostgreSQL's form.
pub(super) fn fatal(code: &str, message: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(message.len() + 40);
    for (field, text) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', code), (b'M', message)] {
        body.push(field);
        body.extend(text.bytes().filter(|byte| *byte != 0));
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).expect("an error is far shorter than 4 GB");
    let mut packet = vec![b'E'];
    packet.extend(length.to_be_bytes());
    packet.extend(body);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pg_02_lengths_are_checked_before_they_are_believed() {
        let header = |length: i32| {
            let [a, b, c, d] = length.to_be_bytes();
            [b'p', a, b, c, d]
        };
        assert_eq!(message_rest(header(4), 100), Ok((b'p', 0)));
        assert_eq!(message_rest(header(100), 100), Ok((b'p', 96)));
        for wrong in [i32::MIN, -1, 0, 3, 101, i32::MAX] {
            assert!(message_rest(header(wrong), 100).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_reported_setting_is_a_name_and_a_value() {
        assert_eq!(reported(b"TimeZone\0UTC\0"), Ok((&b"TimeZone"[..], &b"UTC"[..])));
        assert_eq!(reported(b"search_path\0\0"), Ok((&b"search_path"[..], &b""[..])));
        for wrong in [&b""[..], b"\0", b"a\0b", b"a\0b\0c", b"a\0b\0\0", b"a\0b\0c\0"] {
            assert!(reported(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_password_is_one_terminated_text() {
        assert_eq!(password(b"secret\0"), Ok("secret"));
        assert_eq!(password(b"\0"), Ok(""));
        for wrong in [&b""[..], b"secret", b"a\0b\0", b"\xff\0"] {
            assert!(password(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_error_is_in_the_form_of_postgresql() {
        let packet = fatal("28P01", "no\0such");
        let body = b"SFATAL\0VFATAL\0C28P01\0Mnosuch\0\0";
        assert_eq!(packet[0], b'E');
        assert_eq!(packet[1..5], u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        assert_eq!(&packet[5..], body);
    }
}
