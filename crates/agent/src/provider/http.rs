//! Configuration by http(s): conditional GET, bounded in time and size.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{
    ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Client, StatusCode, Url};

/// Connecting and each read may take this long, as in Flume.
const TIMEOUT: Duration = Duration::from_secs(60);
/// All of it may take this long: a trickle is no answer.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(300);
/// The most that an answer may hold.
const BODY_LIMIT_BYTES: usize = 16 << 20;

/// One URL and what its server said of the version last seen.
pub(super) struct Fetch {
    url: Url,
    login: Option<(String, Option<String>)>,
    /// Made when first needed: an agent that reads files never sets up TLS.
    client: Option<Client>,
    modified: Option<HeaderValue>,
    tag: Option<HeaderValue>,
}

impl Fetch {
    pub(super) fn new(url: Url, login: Option<(String, Option<String>)>) -> Self {
        Fetch { url, login, client: None, modified: None, tag: None }
    }

    /// The body, or `None` when the server says that it is the same. Any status but 200 and 304 is
    /// an error, as in Flume. No error text holds credentials.
    pub(super) async fn get(&mut self) -> Result<Option<Arc<[u8]>>, String> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client()?).clone(),
        };
        let mut request = client.get(self.url.clone());
        if let Some((user, password)) = &self.login {
            request = request.basic_auth(user, password.as_ref());
        }
        let conditions = [(IF_MODIFIED_SINCE, &self.modified), (IF_NONE_MATCH, &self.tag)];
        for (name, value) in conditions {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let mut answer = request.send().await.map_err(explain)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(format!(
                    "the server answered {}; check --conf-user and --conf-password",
                    answer.status()
                ));
            }
            status => return Err(format!("the server answered {status}")),
        }
        let header = |headers: &HeaderMap, name| headers.get(name).cloned();
        let modified = header(answer.headers(), LAST_MODIFIED);
        let tag = header(answer.headers(), ETAG);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(explain)? {
            if body.len() + chunk.len() > BODY_LIMIT_BYTES {
                return Err(format!("the answer is larger than {} MiB", BODY_LIMIT_BYTES >> 20));
            }
            body.extend_from_slice(&chunk);
        }
        // Only now: an answer that broke off must be asked for again.
        (self.modified, self.tag) = (modified, tag);
        Ok(Some(body.into()))
    }
}

fn client() -> Result<Client, String> {
    // Proxies come with `-D` in Java, not from the environment.
    let client = Client::builder()
        .connect_timeout(TIMEOUT)
        .read_timeout(TIMEOUT)
        .timeout(WHOLE_TIMEOUT)
        .no_proxy()
        .user_agent(concat!("splashdam/", env!("CARGO_PKG_VERSION")));
    client.build().map_err(explain)
}

/// The error and its causes in one line, without the URL, which may hold a password.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
