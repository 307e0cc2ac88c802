//! Which first packets are taken, and what is written for the compute.

use super::*;

const VERSION: u32 = 3 << 16;

fn packet(version: u32, texts: &[&[u8]]) -> Vec<u8> {
    let mut rest = version.to_be_bytes().to_vec();
    for text in texts {
        rest.extend(*text);
        rest.push(0);
    }
    rest.push(0);
    rest
}

fn read(texts: &[&str]) -> Result<Startup, StartupError> {
    let texts: Vec<_> = texts.iter().map(|text| text.as_bytes()).collect();
    match opening(&packet(VERSION, &texts))? {
        Opening::Startup(startup) => Ok(startup),
        other => panic!("{other:?}"),
    }
}

/// The texts of the packet that a compute would get.
fn forwarded(texts: &[&str]) -> Vec<String> {
    let encoded = read(texts).unwrap().encode();
    let length = u32::try_from(encoded.len()).unwrap().to_be_bytes();
    assert_eq!(
        (&encoded[..4], &encoded[4..8]),
        (&length[..], &VERSION.to_be_bytes()[..])
    );
    let body = encoded[8..].strip_suffix(b"\0\0").unwrap();
    let texts = body.split(|byte| *byte == 0);
    texts
        .map(|text| String::from_utf8(text.to_vec()).unwrap())
        .collect()
}

#[test]
fn pg_02_the_length_of_a_first_packet_is_checked_before_it_is_used() {
    assert_eq!(startup_rest(8_i32.to_be_bytes()), Ok(4));
    assert_eq!(startup_rest(10_000_i32.to_be_bytes()), Ok(9_996));
    for wrong in [i32::MIN, -1, 0, 4, 7, 10_001, i32::MAX] {
        assert_eq!(
            startup_rest(wrong.to_be_bytes()),
            Err(StartupError::Length),
            "{wrong}"
        );
    }
}

#[test]
fn requests_before_the_login_are_understood() {
    assert_eq!(opening(&SSL_REQUEST.to_be_bytes()), Ok(Opening::Tls));
    assert_eq!(opening(&GSS_REQUEST.to_be_bytes()), Ok(Opening::Gss));
    let key = CancelKey(vec![0, 0, 0, 7, 1, 2, 3, 4]);
    let request = cancel(&key);
    assert_eq!(request[..8], [0, 0, 0, 16, 4, 210, 22, 46]);
    assert_eq!(opening(&request[4..]), Ok(Opening::Cancel(key)));
}

#[test]
fn pg_02_malformed_first_packets_are_refused() {
    let strange: &[&[u8]] = &[
        b"",
        b"\0\0",
        &[0, 2, 0, 0, b'u'],
        &[0, 4, 0, 0, 0],
        &[&SSL_REQUEST.to_be_bytes()[..], b"x"].concat(),
        &[&CANCEL_REQUEST.to_be_bytes()[..], b"1234567"].concat(),
    ];
    for rest in strange {
        assert!(opening(rest).is_err(), "{rest:?}");
    }
    let bodies: [&[u8]; 7] = [
        b"",
        b"user\0jane",
        b"user\0jane\0",
        b"user\0jane\0database\0\0",
        b"user\0jane\0\0\0",
        b"user\0jane\0\0user\0cloud_admin\0\0",
        b"\0user\0jane\0\0",
    ];
    for body in bodies {
        let rest = [&VERSION.to_be_bytes()[..], body].concat();
        assert_eq!(opening(&rest), Err(StartupError::Layout), "{body:?}");
    }
}

#[test]
fn pg_07_a_parameter_that_is_there_twice_is_refused() {
    let twice: [&[&str]; 7] = [
        &["user", "jane", "user", "cloud_admin"],
        &["user", "cloud_admin", "user", "jane"],
        &["user", "jane", "user", "jane"],
        &["user", "", "user", "jane"],
        &["user", "jane", "database", "shop", "user", "cloud_admin"],
        &["database", "a", "user", "jane", "database", "b"],
        &["user", "jane", "sslmode", "a", "sslmode", "b"],
    ];
    for texts in twice {
        let refused = read(texts).unwrap_err();
        assert!(
            matches!(refused, StartupError::Repeated(_)),
            "{texts:?}: {refused}"
        );
    }
    let refused = read(&["user", "jane", "options", "-c a=b", "options", ""]).unwrap_err();
    let words = "startup packet has parameter \"options\" more than once";
    assert_eq!(
        (refused.to_string(), refused.sqlstate()),
        (words.to_owned(), "08P01")
    );
}

#[test]
fn pg_07_only_the_exact_name_is_the_user() {
    let texts = [
        "database", "user", "USER", "root", "options", "database", "user", "jane", "User", "x",
    ];
    let startup = read(&texts).unwrap();
    assert_eq!((startup.user(), startup.database()), ("jane", "user"));
    let expected = [
        "user", "jane", "database", "user", "USER", "root", "options", "database", "User", "x",
    ];
    assert_eq!(forwarded(&texts), expected);
}

#[test]
fn pg_07_names_that_postgresql_would_truncate_are_refused() {
    let (fits, long) = ("x".repeat(63), "x".repeat(64));
    assert_eq!(read(&["user", &fits]).unwrap().user(), fits);
    assert_eq!(read(&["user", &long]), Err(StartupError::LongName("user")));
    let database = read(&["user", "jane", "database", &long]);
    assert_eq!(database, Err(StartupError::LongName("database")));
    // 63 bytes, not characters.
    assert_eq!(
        read(&["user", &"ü".repeat(32)]),
        Err(StartupError::LongName("user"))
    );
    for name in [&b"user"[..], b"database"] {
        let refused = opening(&packet(VERSION, &[name, b"\xff"])).unwrap_err();
        assert!(matches!(refused, StartupError::NotText(_)), "{refused}");
    }
}

#[test]
fn pg_07_a_user_must_be_named_and_the_database_defaults_to_it() {
    assert_eq!(read(&[]), Err(StartupError::NoUser));
    assert_eq!(read(&["user", ""]), Err(StartupError::NoUser));
    assert_eq!(read(&["database", "shop"]), Err(StartupError::NoUser));
    let expected = ["user", "jane", "database", "jane"];
    assert_eq!(forwarded(&["user", "jane"]), expected);
    assert_eq!(forwarded(&["user", "jane", "database", ""]), expected);
}

#[test]
fn pg_08_replication_is_refused_unless_it_is_off() {
    for off in ["false", "off", "of", "no", "n", "f", "FALSE", "Fal", "OFF", "0"] {
        let expected = ["user", "jane", "database", "jane"];
        assert_eq!(
            forwarded(&["replication", off, "user", "jane"]),
            expected,
            "{off}"
        );
    }
    let on = [
        "true", "on", "1", "yes", "database", "t", "tr", "y", "TRUE", "o", "O", "", "00", "offf", " off",
        "no ",
    ];
    for on in on {
        let refused = read(&["user", "jane", "replication", on]);
        assert_eq!(refused, Err(StartupError::Replication), "{on}");
    }
}

#[test]
fn pg_09_other_parameters_pass_as_sent_and_in_order() {
    let sent: [&[u8]; 10] = [
        b"user",
        b"jane",
        b"_pq_.x",
        b"",
        b"Search_Path",
        b"\"a b\",\xff",
        b"\xfe",
        b"1",
        b"database",
        b"shop",
    ];
    let newer = VERSION + 2;
    let Ok(Opening::Startup(startup)) = opening(&packet(newer, &sent)) else {
        panic!()
    };
    let expected: [&[u8]; 10] = [
        b"user",
        b"jane",
        b"database",
        b"shop",
        b"_pq_.x",
        b"",
        b"Search_Path",
        b"\"a b\",\xff",
        b"\xfe",
        b"1",
    ];
    assert_eq!(startup.encode()[4..], packet(newer, &expected));
    assert_eq!(opening(&startup.encode()[4..]), Ok(Opening::Startup(startup)));
}

#[test]
fn pg_09_parameters_that_only_libpq_knows_are_dropped() {
    for key in LIBPQ_ONLY {
        let left = forwarded(&[key, "x", "user", "jane", "database", "shop", "geqo", key]);
        assert_eq!(left, ["user", "jane", "database", "shop", "geqo", key]);
    }
    let settings = [
        "options",
        "port",
        "application_name",
        "tcp_user_timeout",
        "dbname",
        "SSLMODE",
    ];
    for key in settings {
        let left = forwarded(&["user", "jane", "database", "shop", key, "x"]);
        assert_eq!(left[4..], [key, "x"]);
    }
}

#[test]
fn pg_02_a_packet_does_not_outgrow_the_limit() {
    // The longest there is without a database, which is then added.
    let value = "x".repeat(MAX_STARTUP - packet(VERSION, &[b"user", b"jane", b"a", b""]).len() - 4);
    let texts = ["user", "jane", "a", &value];
    let rest = packet(VERSION, &texts.map(str::as_bytes));
    let header = u32::try_from(rest.len() + 4).unwrap().to_be_bytes();
    assert_eq!(startup_rest(header), Ok(rest.len()));
    assert_eq!(opening(&rest), Err(StartupError::Length));
    assert!(read(&["user", "jane", "a", &value["database.jane.".len()..]]).is_ok());
}
