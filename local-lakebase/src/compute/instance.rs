//! A data directory with all that a postmaster on it needs. Runs postmasters that no client can enter as their owner: their
//! login rules are ours, and the owner has our password.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::Connection;

use super::postmaster::{Answer, Postmaster};
use super::single_user;
use super::sql::{self, Access};
use crate::engine::EngineError;
use crate::postgres::Postgres;
use crate::storage::{self, Layout};

/// How long a postmaster that was started before may take to answer, and to apply the login rules.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// A data directory and the programs, directories and password for it.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// Names it in errors.
    pub(super) name: String,
    pub(super) postgres: Postgres,
    pub(super) layout: Layout,
    pub(super) pgdata: PathBuf,
    pub(super) log: PathBuf,
    pub(super) access: Access,
}

impl Instance {
    /// Starts a postmaster, or takes over the one that runs.
    ///
    /// A branch may come from before the owner had a password, or from before that was lost. Our own login shows it, and no
    /// other login as the owner is possible either: the rules are in place before the start.
    pub(super) async fn start(&self) -> Result<Postmaster, EngineError> {
        self.layout.make_dir(self.access.socket_dir())?;
        if let Some(running) = self.take_over().await {
            return Ok(running);
        }
        storage::write_login_rules(&self.layout, &self.pgdata)?;
        let mut is_password_set = false;
        loop {
            let (postmaster, answer) = Postmaster::start(self)
                .await
                .map_err(|last_words| self.cannot_start(last_words))?;
            match answer {
                Answer::Session(session) => {
                    drop(session.close().await);
                    return Ok(postmaster);
                }
                Answer::Refused(error) => {
                    postmaster.stop().await;
                    if is_password_set || !sql::is_wrong_password(&error) {
                        return Err(self.cannot_start(error.to_string()));
                    }
                    tracing::info!(branch = %self.name, "setting the password of the owner");
                    single_user::set_owner_password(self).await?;
                    is_password_set = true;
                }
                Answer::Silence => return Err(self.cannot_start("it did not answer".to_owned())),
            }
        }
    }

    /// Takes over a postmaster that was started before, perhaps with rules that let every client in as the owner. One that
    /// cannot be closed to them is stopped.
    pub(super) async fn take_over(&self) -> Option<Postmaster> {
        let postmaster = Postmaster::find(&self.pgdata)?;
        match self.close(&postmaster).await {
            Ok(()) => Some(postmaster),
            Err(error) => {
                tracing::warn!(branch = %self.name, %error, "stopping a compute that cannot be taken over");
                postmaster.stop().await;
                None
            }
        }
    }

    /// Closes a running postmaster to clients that are, or want to be, its owner.
    async fn close(&self, postmaster: &Postmaster) -> Result<(), EngineError> {
        let mut session = match postmaster.answer(&self.access, PATIENCE).await {
            Answer::Session(session) => session,
            Answer::Refused(error) => return Err(error.into()),
            Answer::Silence => return Err(self.cannot_start("it does not answer".to_owned())),
        };
        sql::owner::ensure_password(&mut session, self.access.password()).await?;
        storage::write_login_rules(&self.layout, &self.pgdata)?;
        postmaster.reload();
        self.wait_until_closed().await?;
        sql::owner::end_other_sessions(&mut session).await?;
        Ok(session.close().await?)
    }

    /// The rules are applied some time after the signal. Those that are ours refuse a login without the password.
    async fn wait_until_closed(&self) -> Result<(), EngineError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match sql::try_open_without_password(&self.access).await {
                Err(error) if sql::is_wrong_password(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
                Ok(session) => session.close().await?,
            }
            tokio::time::sleep(POLL).await;
        }
        Err(self.cannot_start("it does not apply its login rules".to_owned()))
    }

    pub(super) fn cannot_start(&self, last_words: String) -> EngineError {
        EngineError::Start {
            uid: self.name.clone(),
            last_words,
        }
    }
}
