//! Runs postmasters that no client can enter as their owner: the login rules and the password of the owner are in place before
//! the first client can connect.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use super::postmaster::{Answer, Postmaster};
use super::single_user;
use super::sql::activity::{self, Selection};
use super::sql::{self, Access};
use crate::engine::EngineError;
use crate::postgres::Postgres;
use crate::storage::{self, Layout};

/// How long a postmaster that was started before may take to answer, and to apply the login rules.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// A data directory, with the programs, directories and password that a postmaster on it needs.
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
    /// The owner may have no password or another one: in a branch of an older release, or after the file was lost. Then our own
    /// login is refused, and so is every other one as the owner, because the rules are written before the start.
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
                    return match self.correct(session).await {
                        Ok(()) => Ok(postmaster),
                        Err(error) => {
                            postmaster.stop().await;
                            Err(error)
                        }
                    };
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

    /// Takes over a running postmaster, whose rules may let every client in as the owner. If that cannot be changed, it is
    /// stopped.
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

    /// Ends and refuses logins as the owner of a running postmaster.
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
        activity::end(&mut session, Selection::OF_OWNER).await?;
        self.correct(session).await
    }

    /// Corrects privileges, and closes the session.
    async fn correct(&self, mut session: PgConnection) -> Result<(), EngineError> {
        sql::privileges::correct(&mut session, self.postgres.major()).await?;
        Ok(session.close().await?)
    }

    /// Waits until a login without the password is refused: the rules are applied some time after the signal.
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
