//! Where the daemon's socket is. Decides on values only; looking whether a directory is ours is the one look it takes.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The longest path that fits a Unix socket address everywhere: macOS has 104 bytes with the closing NUL, Linux 108.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// What the rule looks at, read from the environment by [`SocketEnv::from_process`] and set by hand in tests.
#[derive(Debug, Clone, Default)]
pub struct SocketEnv {
    /// `LAKEBASE_SOCKET`: overrides everything.
    pub lakebase_socket: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub xdg_state_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl SocketEnv {
    /// Reads the process environment.
    pub fn from_process() -> Self {
        let var = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            lakebase_socket: var("LAKEBASE_SOCKET"),
            xdg_runtime_dir: var("XDG_RUNTIME_DIR"),
            xdg_state_home: var("XDG_STATE_HOME"),
            home: var("HOME"),
        }
    }
}

/// Why there is no socket path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SocketPathError {
    /// Neither `LAKEBASE_SOCKET` nor `HOME` is set.
    #[error("cannot find the home directory: set HOME or LAKEBASE_SOCKET")]
    NoHome,
    /// The kernel takes no address of this length.
    #[error(
        "cannot use socket path `{0}`: longer than {MAX_SOCKET_PATH} bytes; set LAKEBASE_SOCKET to a shorter one"
    )]
    TooLong(PathBuf),
}

/// Returns the path of the daemon's socket: `LAKEBASE_SOCKET`, else `$XDG_RUNTIME_DIR/lakebase/lakebased.sock` when that
/// directory belongs to us, else `lakebase/run/lakebased.sock` below the state directory.
///
/// # Errors
/// [`SocketPathError`] when there is no home, or the path is too long for a socket address.
pub fn socket_path(env: &SocketEnv) -> Result<PathBuf, SocketPathError> {
    let path = match (&env.lakebase_socket, &env.xdg_runtime_dir) {
        (Some(path), _) => path.clone(),
        (None, Some(dir)) if is_ours(dir) => dir.join("lakebase/lakebased.sock"),
        (None, _) => state_home(env)
            .ok_or(SocketPathError::NoHome)?
            .join("lakebase/run/lakebased.sock"),
    };
    if path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH {
        return Err(SocketPathError::TooLong(path));
    }
    Ok(path)
}

fn state_home(env: &SocketEnv) -> Option<PathBuf> {
    // The XDG rule: a relative path in these variables is to be ignored.
    let named = env.xdg_state_home.clone().filter(|dir| dir.is_absolute());
    named.or_else(|| env.home.as_ref().map(|home| home.join(".local/state")))
}

fn is_ours(dir: &Path) -> bool {
    let us = rustix::process::geteuid().as_raw();
    dir.is_absolute() && std::fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.uid() == us)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(home: &str) -> SocketEnv {
        SocketEnv {
            home: Some(home.into()),
            ..Default::default()
        }
    }

    #[test]
    fn the_override_wins() {
        let env = SocketEnv {
            lakebase_socket: Some("/x/y.sock".into()),
            ..env("/home/jane")
        };
        assert_eq!(socket_path(&env), Ok("/x/y.sock".into()));
    }

    #[test]
    fn a_runtime_directory_that_is_not_ours_is_passed_over() {
        let env = SocketEnv {
            xdg_runtime_dir: Some("/nowhere/run".into()),
            ..env("/home/jane")
        };
        assert_eq!(
            socket_path(&env),
            Ok("/home/jane/.local/state/lakebase/run/lakebased.sock".into())
        );
    }

    #[test]
    fn a_relative_state_home_is_ignored() {
        let env = SocketEnv {
            xdg_state_home: Some("state".into()),
            ..env("/home/jane")
        };
        assert_eq!(
            socket_path(&env),
            Ok("/home/jane/.local/state/lakebase/run/lakebased.sock".into())
        );
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let home = format!("/{}", "h".repeat(100));
        assert!(matches!(
            socket_path(&env(&home)),
            Err(SocketPathError::TooLong(_))
        ));
    }

    #[test]
    fn no_home_is_an_error() {
        assert_eq!(socket_path(&SocketEnv::default()), Err(SocketPathError::NoHome));
    }
}
