//! Paging: items in the order of their ids, and a token that says after which id to go on. A page therefore stays
//! right when items come and go between two requests.

use crate::error::ApiError;

const LARGEST: usize = 100;

/// One page of a list.
#[derive(Debug, PartialEq)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// What a request says about paging.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
pub(crate) struct PageRequest {
    #[serde(default)]
    pub(crate) page_size: Option<i64>,
    #[serde(default)]
    pub(crate) page_token: Option<String>,
    #[serde(default)]
    pub(crate) show_deleted: bool,
}

/// Cuts one page out of all items; `id` is unique among them.
pub(crate) fn page<T>(
    mut items: Vec<T>,
    request: &PageRequest,
    id: impl Fn(&T) -> &str,
) -> Result<Page<T>, ApiError> {
    let size = size(request.page_size)?;
    let after = after(request.page_token.as_deref())?;
    items.retain(|item| after.as_deref().is_none_or(|after| id(item) > after));
    items.sort_by(|a, b| id(a).cmp(id(b)));
    let more = items.len() > size;
    items.truncate(size);
    let next = items.last().filter(|_| more).map(|last| hex::encode(id(last)));
    Ok(Page { items, next })
}

fn size(asked: Option<i64>) -> Result<usize, ApiError> {
    match asked.map(usize::try_from) {
        None | Some(Ok(0)) => Ok(LARGEST),
        Some(Ok(size)) => Ok(size.min(LARGEST)),
        Some(Err(_)) => Err(ApiError::invalid("page_size must not be negative")),
    }
}

fn after(token: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(None);
    };
    let bytes = hex::decode(token).ok();
    let id = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    id.map(Some)
        .ok_or_else(|| ApiError::invalid("page_token is not one of this server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(page_size: i64, page_token: Option<String>) -> PageRequest {
        PageRequest {
            page_size: Some(page_size),
            page_token,
            show_deleted: false,
        }
    }

    #[test]
    fn following_the_tokens_shows_every_item_once() {
        let items = || vec!["d", "a", "c", "b", "e"];
        let (mut seen, mut token) = (Vec::new(), None);
        loop {
            let page = page(items(), &request(2, token), |item| item).unwrap();
            seen.extend(page.items);
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn an_exact_last_page_has_no_token() {
        let page = page(vec!["a", "b"], &request(2, None), |item| item).unwrap();
        assert_eq!(
            page,
            Page {
                items: vec!["a", "b"],
                next: None
            }
        );
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended_even_if_that_item_is_gone() {
        let first = page(vec!["a", "b", "c"], &request(2, None), |item| item).unwrap();
        let second = page(vec!["a", "c"], &request(2, first.next), |item| item).unwrap();
        assert_eq!(second.items, ["c"]);
    }

    #[test]
    fn strange_sizes_and_tokens_are_refused() {
        let strange = [
            request(-1, None),
            request(1, Some("zz".into())),
            request(1, Some("ff".into())),
        ];
        for request in strange {
            assert!(page(vec!["a"], &request, |item| item).is_err(), "{request:?}");
        }
    }
}
