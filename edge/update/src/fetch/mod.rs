//! Bytes from servers that may be slow, endless or hostile: a bound on everything, and no redirection, which could lead to
//! places that only the box can reach.

mod error;
mod head;
mod line;
mod meter;
mod pace;
mod reach;
mod speed;

pub use error::FetchError;
pub use meter::Meter;
pub use reach::Reach;
pub(crate) use speed::{Beside, Speed};

use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE};
use line::{Address, Dialler, Line, SILENCE};
use pace::Pace;
use rustls::ClientConfig;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Asks servers for bytes, over one connection for as long as it is one server. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    dialler: Dialler,
    /// The line of the last answer that was read to its end.
    line: Arc<Mutex<Option<Line>>>,
    pace: Option<Arc<Mutex<Pace>>>,
}

/// An answer that is arriving. It ends with the connection when it is dropped before its end.
pub struct Answer<'a> {
    fetcher: &'a Fetcher,
    address: Address,
    response: Response<Incoming>,
    speed: Speed,
    line: Option<Line>,
    left: u64,
    bound: u64,
}

impl Fetcher {
    /// A fetcher that speaks TLS with these roots. What is fetched is checked all the same: over plain HTTP whoever listens learns
    /// what it is, and changes nothing.
    pub fn new(tls: Arc<ClientConfig>, reach: Reach) -> Self {
        Self::of(Some(tls), reach)
    }

    /// A fetcher that speaks plain HTTP alone.
    pub fn plain(reach: Reach) -> Self {
        Self::of(None, reach)
    }

    fn of(tls: Option<Arc<ClientConfig>>, reach: Reach) -> Self {
        let dialler = Dialler { tls, reach, meter: Meter::default() };
        Self { dialler, line: Arc::default(), pace: None }
    }

    /// Takes so many bytes a second at most.
    #[must_use]
    pub fn at_most(mut self, bytes_per_s: Option<u64>) -> Self {
        self.pace = bytes_per_s.map(|bytes_per_s| Arc::new(Mutex::new(Pace::new(bytes_per_s))));
        self
    }

    /// What has gone over the network.
    pub fn meter(&self) -> &Meter {
        &self.dialler.meter
    }

    /// All bytes at an address, `bound` at most.
    pub async fn all(&self, address: &str, bound: u64) -> Result<Vec<u8>, FetchError> {
        let mut answer = self.ask(address, None, bound, Speed::default()).await?;
        let mut all = Vec::new();
        while let Some(bytes) = answer.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// The bytes of a range, as they come, from a server of which `speed` is known so far.
    pub(crate) async fn range(
        &self,
        address: &str,
        range: Range<u64>,
        (speed, beside): (&Speed, Beside),
    ) -> Result<Answer<'_>, FetchError> {
        let bound = range.end.saturating_sub(range.start);
        speed.asked(beside);
        self.ask(address, Some(range), bound, speed.clone()).await
    }

    async fn ask(
        &self,
        address: &str,
        range: Option<Range<u64>>,
        bound: u64,
        speed: Speed,
    ) -> Result<Answer<'_>, FetchError> {
        let began = Instant::now();
        let address = Address::of(address)?;
        let kept = self.slot().take().filter(|line| line.leads_to(&address));
        let asked = match kept {
            Some(mut line) => line.ask(&address, range.as_ref()).await.ok().map(|response| (line, response)),
            None => None,
        };
        // The server may have given up a line that nobody used.
        let (line, response) = match asked {
            Some(asked) => asked,
            None => {
                let mut line = self.dialler.dial(&address).await?;
                let response = line.ask(&address, range.as_ref()).await?;
                (line, response)
            }
        };
        let said = response.headers().get(CONTENT_LENGTH);
        let said = said.and_then(|said| said.to_str().ok()?.parse::<u64>().ok());
        let left = if range.is_some() { bound } else { said.unwrap_or(bound) };
        speed.waited(began.elapsed(), 0);
        let answer = Answer { fetcher: self, address, response, speed, line: Some(line), left, bound };
        answer.check(range.as_ref())?;
        if said.is_some_and(|said| said > bound) {
            return Err(answer.too_long());
        }
        Ok(answer)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer<'_> {
    /// Whether it is an answer to what was asked.
    fn check(&self, range: Option<&Range<u64>>) -> Result<(), FetchError> {
        let address = || self.address.text.clone();
        match (self.response.status().as_u16(), range) {
            (200, None) => Ok(()),
            (206, Some(range)) => {
                let said = self.response.headers().get(CONTENT_RANGE).and_then(|said| said.to_str().ok());
                let wanted = format!("bytes {}-{}/", range.start, range.end.saturating_sub(1));
                if said.is_some_and(|said| said.starts_with(&wanted)) {
                    Ok(())
                } else {
                    Err(FetchError::NotAsked(address()))
                }
            }
            // Object stores say 403 of what they do not have.
            (403 | 404, _) => Err(FetchError::NotThere(address())),
            (status, _) => Err(FetchError::Answers { address: address(), status }),
        }
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let (asked, patience) = (Instant::now(), self.speed.left().min(SILENCE));
            let Ok(frame) = timeout(patience, self.response.body_mut().frame()).await else {
                return Err(FetchError::TooSlow(self.address.text.clone()));
            };
            let waited = asked.elapsed();
            let Some(frame) = frame else { return self.end() };
            let frame = frame.map_err(|error| FetchError::Unreachable {
                address: self.address.text.clone(),
                why: error.to_string(),
            })?;
            let Ok(bytes) = frame.into_data() else { continue };
            let Some(left) = self.left.checked_sub(bytes.len() as u64) else { return Err(self.too_long()) };
            self.left = left;
            let come = bytes.len() as u64;
            self.speed.waited(waited, come);
            tokio::time::sleep(self.rest_after(come, Instant::now())).await;
            return Ok(Some(bytes));
        }
    }

    /// How long to wait until more may come.
    fn rest_after(&self, bytes: u64, now: Instant) -> Duration {
        let Some(pace) = &self.fetcher.pace else { return Duration::ZERO };
        pace.lock().unwrap_or_else(PoisonError::into_inner).after(bytes, now)
    }

    /// The answer is read to its end: its line is free for the next one.
    fn end(&mut self) -> Result<Option<Bytes>, FetchError> {
        let is_range = self.response.status().as_u16() == 206;
        if is_range && self.left > 0 {
            return Err(FetchError::NotAsked(self.address.text.clone()));
        }
        *self.fetcher.slot() = self.line.take();
        Ok(None)
    }

    fn too_long(&self) -> FetchError {
        FetchError::TooLong { address: self.address.text.clone(), bound: self.bound }
    }
}
