//! What all pages of lists have in common, so that following them is written once.

use serde::de::DeserializeOwned;

use crate::resource::branch::{Branch, BranchPage};
use crate::resource::database::{Database, DatabasePage};
use crate::resource::endpoint::{Endpoint, EndpointPage};

/// One page of a list.
pub(crate) trait Page: DeserializeOwned {
    type Item;

    /// Takes the page apart: its items, and the token of the next page.
    fn into_parts(self) -> (Vec<Self::Item>, Option<String>);
}

impl Page for BranchPage {
    type Item = Branch;

    fn into_parts(self) -> (Vec<Branch>, Option<String>) {
        (self.branches, self.next_page_token)
    }
}

impl Page for EndpointPage {
    type Item = Endpoint;

    fn into_parts(self) -> (Vec<Endpoint>, Option<String>) {
        (self.endpoints, self.next_page_token)
    }
}

impl Page for DatabasePage {
    type Item = Database;

    fn into_parts(self) -> (Vec<Database>, Option<String>) {
        (self.databases, self.next_page_token)
    }
}
