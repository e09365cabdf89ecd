//! Keyset pages: a page is asked for by the key that the page before ended with, so that every page costs the
//! same.

use super::Problem;
use crate::problems::{PAGE, QUERY};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const DEFAULT: u16 = 50;
const MOST: u16 = 500;

/// The query parameters that choose a page.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items on the page, 1 to 500; 50 if absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// The opaque `next` of the page before.
    after: Option<String>,
}

/// A page that was asked for.
pub struct Page<K> {
    /// The key that the page before ended with.
    pub after: Option<K>,
    /// Items wanted.
    pub limit: i64,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Paged<T> {
    /// The items.
    pub items: Vec<T>,
    /// The value of `after` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The filter of lists that are not filtered.
#[derive(Debug, Deserialize, IntoParams)]
pub struct Everything {}

/// The page and the items that a request asks for. A parameter that the list does not know is refused: a
/// misspelt filter must not show everything.
pub struct Asked<K, F = Everything> {
    /// The page.
    pub page: Page<K>,
    /// The filter of the items.
    pub filter: F,
}

impl<S: Sync, K: DeserializeOwned, F: DeserializeOwned + IntoParams> FromRequestParts<S> for Asked<K, F> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(given) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)?;
        let known = [PageQuery::into_params(|| None), F::into_params(|| None)].concat();
        let known: Vec<_> = known.into_iter().map(|parameter| parameter.name).collect();
        if let Some((stranger, _)) = given.iter().find(|(name, _)| !known.contains(name)) {
            let detail = format!("there is no parameter `{stranger}` here; there are: {}", known.join(", "));
            return Err(QUERY.because(detail));
        }
        let Query(page) = Query::<PageQuery>::try_from_uri(&parts.uri)?;
        let Query(filter) = Query::try_from_uri(&parts.uri)?;
        Ok(Self { page: page.parse()?, filter })
    }
}

impl PageQuery {
    /// Checks the limit and reads the key.
    fn parse<K: DeserializeOwned>(&self) -> Result<Page<K>, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT);
        if !(1..=MOST).contains(&limit) {
            return Err(QUERY.because(format!("limit must be 1 to {MOST}")));
        }
        let after = self.after.as_deref().map(decode).transpose()?;
        Ok(Page { after, limit: limit.into() })
    }
}

impl<T> Paged<T> {
    /// A page of `items`, of which one more than the limit was queried: the item beyond the limit means a
    /// next page.
    pub fn new<K: Serialize, I>(items: Vec<I>, limit: i64, key: impl Fn(&T) -> K) -> Self
    where
        T: From<I>,
    {
        let limit = usize::try_from(limit).unwrap_or_default();
        let more = items.len() > limit;
        let items: Vec<T> = items.into_iter().take(limit).map(T::from).collect();
        let next = items.last().filter(|_| more).map(|last| encode(&key(last)));
        Self { items, next }
    }
}

fn encode<K: Serialize>(key: &K) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

fn decode<K: DeserializeOwned>(text: &str) -> Result<K, Problem> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| PAGE)?;
    Ok(serde_json::from_slice(&bytes).map_err(|_| PAGE)?)
}
