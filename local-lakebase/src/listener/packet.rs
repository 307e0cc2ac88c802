//! The first words of PostgreSQL's protocol, as values: bytes in, meaning out. A length that a client claims is
//! checked before anything is read or kept because of it.

/// The longest start-up packet, as in PostgreSQL itself.
pub(super) const MAX_STARTUP: usize = 10_000;

/// The longest password message; a token has about 500 bytes.
pub(super) const MAX_PASSWORD: usize = 16 * 1024;

const SSL_REQUEST: i32 = (1234 << 16) + 5679;
const GSS_REQUEST: i32 = (1234 << 16) + 5680;
const CANCEL_REQUEST: i32 = (1234 << 16) + 5678;

/// What a client's first packet asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// To speak TLS.
    Tls,
    /// To speak GSSAPI encryption, which we do not.
    Gss,
    /// To stop what another session is doing.
    Cancel(CancelKey),
    /// To log in.
    Startup(Startup),
}

/// What PostgreSQL told a client so that it can cancel: process id and secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CancelKey(pub(super) Vec<u8>);

/// A request to log in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Startup {
    /// The role.
    pub(super) user: String,
    /// The whole packet, to be passed on as it came.
    pub(super) packet: Vec<u8>,
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Reads how long the rest of a start-up packet is from its first four bytes.
pub(super) fn startup_rest(header: [u8; 4]) -> Result<usize, Malformed> {
    let length = usize::try_from(i32::from_be_bytes(header)).map_err(|_| Malformed("negative length"))?;
    match length {
        8..=MAX_STARTUP => Ok(length - 4),
        _ => Err(Malformed("invalid length of startup packet")),
    }
}

/// Reads a start-up packet without its length.
pub(super) fn opening(rest: &[u8]) -> Result<Opening, Malformed> {
    let (code, body) = rest
        .split_first_chunk::<4>()
        .ok_or(Malformed("packet too short"))?;
    match i32::from_be_bytes(*code) {
        SSL_REQUEST if body.is_empty() => Ok(Opening::Tls),
        GSS_REQUEST if body.is_empty() => Ok(Opening::Gss),
        CANCEL_REQUEST if (8..=260).contains(&body.len()) => Ok(Opening::Cancel(CancelKey(body.to_vec()))),
        version if version >> 16 == 3 => {
            let user = parameter(body, "user")?.ok_or(Malformed("no PostgreSQL user name specified"))?;
            Ok(Opening::Startup(Startup {
                user,
                packet: framed(rest),
            }))
        }
        _ => Err(Malformed("unsupported frontend protocol")),
    }
}

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
    let mut packet = vec![b'E'];
    packet.extend(framed(&body));
    packet
}

/// Makes the packet that asks a PostgreSQL server to cancel.
pub(super) fn cancel(key: &CancelKey) -> Vec<u8> {
    let mut rest = CANCEL_REQUEST.to_be_bytes().to_vec();
    rest.extend(&key.0);
    framed(&rest)
}

/// Finds a start-up parameter among the pairs of zero-terminated texts.
fn parameter(body: &[u8], name: &str) -> Result<Option<String>, Malformed> {
    let pairs = body
        .strip_suffix(b"\0\0")
        .or_else(|| body.strip_suffix(b"\0").filter(|b| b.is_empty()));
    let pairs = pairs.ok_or(Malformed(
        "invalid startup packet layout: expected terminator as last byte",
    ))?;
    let mut texts = pairs.split(|byte| *byte == 0);
    while let Some(key) = texts.next() {
        let value = texts.next().unwrap_or_default();
        if key == name.as_bytes() && !value.is_empty() {
            let text = str::from_utf8(value).map_err(|_| Malformed("parameter is not text"))?;
            return Ok(Some(text.to_owned()));
        }
    }
    Ok(None)
}

/// Puts the length, which counts itself, in front.
fn framed(rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len() + 4).expect("packets here are bounded far below 4 GB");
    let mut packet = Vec::with_capacity(rest.len() + 4);
    packet.extend(length.to_be_bytes());
    packet.extend(rest);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(pairs: &[u8]) -> Vec<u8> {
        let mut rest = (3_i32 << 16).to_be_bytes().to_vec();
        rest.extend(pairs);
        rest
    }

    #[test]
    fn pg_02_lengths_are_checked_before_they_are_believed() {
        assert_eq!(startup_rest(8_i32.to_be_bytes()), Ok(4));
        assert_eq!(startup_rest(10_000_i32.to_be_bytes()), Ok(9_996));
        for wrong in [i32::MIN, -1, 0, 4, 7, 10_001, i32::MAX] {
            assert!(startup_rest(wrong.to_be_bytes()).is_err(), "{wrong}");
        }
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
    fn the_first_packet_is_understood() {
        assert_eq!(opening(&SSL_REQUEST.to_be_bytes()), Ok(Opening::Tls));
        assert_eq!(opening(&GSS_REQUEST.to_be_bytes()), Ok(Opening::Gss));
        let mut rest = CANCEL_REQUEST.to_be_bytes().to_vec();
        rest.extend([0, 0, 0, 7, 1, 2, 3, 4]);
        let key = CancelKey(vec![0, 0, 0, 7, 1, 2, 3, 4]);
        assert_eq!(opening(&rest), Ok(Opening::Cancel(key.clone())));
        assert_eq!(cancel(&key)[4..], rest);
    }

    #[test]
    fn a_startup_packet_is_passed_on_as_it_came() {
        let rest = startup(b"database\0shop\0user\0jane@localhost\0\0");
        let Ok(Opening::Startup(startup)) = opening(&rest) else {
            panic!()
        };
        assert_eq!(startup.user, "jane@localhost");
        assert_eq!(
            startup.packet[..4],
            u32::try_from(rest.len() + 4).unwrap().to_be_bytes()
        );
        assert_eq!(startup.packet[4..], rest);
    }

    #[test]
    fn a_value_that_looks_like_a_key_is_not_one() {
        let rest = startup(b"database\0user\0options\0x\0user\0jane\0\0");
        let Ok(Opening::Startup(startup)) = opening(&rest) else {
            panic!()
        };
        assert_eq!(startup.user, "jane");
    }

    #[test]
    fn pg_02_strange_packets_are_refused() {
        let strange: &[&[u8]] = &[
            b"",
            b"\0\0",
            &[0, 2, 0, 0, b'u'],
            &startup(b""),
            &startup(b"\0"),
            &startup(b"user\0jane"),
            &startup(b"user\0jane\0"),
            &startup(b"user\0\0"),
            &startup(b"user\0\xff\0\0"),
            &startup(b"database\0x\0\0"),
            &[&SSL_REQUEST.to_be_bytes()[..], b"x"].concat(),
            &[&CANCEL_REQUEST.to_be_bytes()[..], b"1234567"].concat(),
        ];
        for rest in strange {
            assert!(opening(rest).is_err(), "{rest:?}");
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
