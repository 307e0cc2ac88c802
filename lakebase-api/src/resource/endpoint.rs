//! Endpoints: where PostgreSQL of a branch answers, and how long it stays awake.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration::ProtoDuration;
use super::name::{BranchName, EndpointName};
use super::number;
use super::wire_enum::wire_enum;

/// The port of an endpoint that names none. The public API has no port field at all.
pub const DEFAULT_PORT: u16 = 5432;

wire_enum! {
    /// What an endpoint may do with its branch.
    EndpointType {
        /// The one endpoint of a branch that writes.
        ReadWrite = "ENDPOINT_TYPE_READ_WRITE",
        /// A replica.
        ReadOnly = "ENDPOINT_TYPE_READ_ONLY",
    }
}

wire_enum! {
    /// Whether an endpoint can be connected to.
    EndpointState {
        /// Being made.
        Init = "INIT",
        /// Awake.
        Active = "ACTIVE",
        /// Suspended; a connection wakes it.
        Idle = "IDLE",
        /// In trouble.
        Degraded = "DEGRADED",
    }
}

/// An endpoint, as the service answers it ("endpoints: get").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `projects/{p}/branches/{b}/endpoints/{e}`.
    pub name: EndpointName,
    /// The last part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
    /// The branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<BranchName>,
    /// The identity that an endpoint of the same name made later does not share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<DateTime<Utc>>,
    /// When it last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<DateTime<Utc>>,
    /// Everything that can be read about it.
    #[serde(default)]
    pub status: EndpointStatus,
}

/// What can be read about an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// The last part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
    /// What it may do with its branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_type: Option<EndpointType>,
    /// Whether it can be connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_state: Option<EndpointState>,
    /// Where it is going, during a transition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_state: Option<EndpointState>,
    /// Whether it refuses connections and cannot be woken by one.
    #[serde(default)]
    pub disabled: bool,
    /// The fewest compute units it has while awake.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "number::write_units"
    )]
    pub autoscaling_limit_min_cu: Option<f64>,
    /// The most compute units it grows to.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "number::write_units"
    )]
    pub autoscaling_limit_max_cu: Option<f64>,
    /// How long it is idle before it is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_timeout_duration: Option<ProtoDuration>,
    /// Settings of PostgreSQL and the like.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
    /// How many computes stand behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<EndpointGroup>,
    /// Where to connect.
    #[serde(default)]
    pub hosts: EndpointHosts,
}

/// How many computes stand behind an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointGroup {
    /// The fewest.
    #[serde(default)]
    pub min: u32,
    /// The most.
    #[serde(default)]
    pub max: u32,
    /// Whether the others can be read from.
    #[serde(default)]
    pub enable_readable_secondaries: bool,
}

/// Where to connect. May be empty while an endpoint is being made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointHosts {
    /// The direct host, the only one that accepts a credential's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// An addition of Local Lakebase, which public clients ignore; none means [`DEFAULT_PORT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The host of the connection pooler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_write_pooled_host: Option<String>,
    /// The host of the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only_host: Option<String>,
    /// The host of the replicas' connection pooler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only_pooled_host: Option<String>,
}

impl EndpointHosts {
    /// Returns the port to connect to.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }
}

/// What a caller sets on an endpoint ("endpoints: create", "endpoints: update").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// The most compute units it grows to.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "number::write_units"
    )]
    pub autoscaling_limit_max_cu: Option<f64>,
    /// The fewest compute units it has while awake.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "number::write_units"
    )]
    pub autoscaling_limit_min_cu: Option<f64>,
    /// Whether it refuses connections and cannot be woken by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// What it may do with its branch; required on create and on update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_type: Option<EndpointType>,
    /// `true` keeps an idle endpoint running; excludes `suspend_timeout_duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_suspension: Option<bool>,
    /// How long it is idle before it is suspended: 60 seconds to 7 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_timeout_duration: Option<ProtoDuration>,
}

/// One page of "endpoints: list".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointPage {
    /// The endpoints of this page; missing on the wire when there are none.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// What to ask for next; missing or empty on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}
