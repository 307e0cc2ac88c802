//! Answers of the control plane: what can be read can be written and read again, and says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resource::branch::{Branch, BranchPage};
use resource::endpoint::EndpointPage;
use resource::operation::Operation;
use resource::project::Project;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

#[path = "../../lakebase-api/src/resource/mod.rs"]
#[allow(dead_code, reason = "only what is read is used here")]
mod resource;

fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(bytes) else {
        return;
    };
    let text = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&text).expect("what was written can be read");
    assert_eq!(again, value);
}

fuzz_target!(|bytes: &[u8]| {
    read::<Branch>(bytes);
    read::<BranchPage>(bytes);
    read::<EndpointPage>(bytes);
    read::<Project>(bytes);
    read::<Operation<Branch>>(bytes);
    read::<resource::user::User>(bytes);
    drop(serde_json::from_slice::<resource::credential::DatabaseCredential>(bytes));
});
