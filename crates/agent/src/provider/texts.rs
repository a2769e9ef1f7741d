//! Files and URIs: read one after another, looked at again when there is reason to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{ProviderError, file, http, is_blank};

/// How long a changed file must stay as it is before it is believed to be whole.
pub(super) const SETTLE: Duration = Duration::from_millis(100);
/// The same for one whose last line has no end, as while an editor or `cat` writes it in place.
const SETTLE_UNENDED: Duration = Duration::from_secs(1);
/// How often a file that keeps changing is looked at before it is left to the next poll.
const SETTLE_LOOKS: usize = 20;

/// All that is merged, in order.
pub(super) struct Texts(pub(super) Vec<Origin>);

/// One file or URI, and what it said when it was last read.
pub(super) struct Origin {
    /// Path or URI without credentials, for messages.
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    pub(super) content: Option<Arc<[u8]>>,
    /// What was fetched since and is not applied yet: the server says that the same is still
    /// there, and does not send it again.
    fetched: Option<Arc<[u8]>>,
}

pub(super) enum Place {
    File(PathBuf),
    /// Read once, as in Flume.
    Classpath(PathBuf),
    Http(Box<http::Fetch>),
}

impl Origin {
    pub(super) fn new(name: Arc<str>, place: Place) -> Self {
        Origin { name, place, content: None, fetched: None }
    }
}

impl Texts {
    /// Reads everything for the first time.
    pub(super) async fn read(&mut self) -> Result<(), ProviderError> {
        for origin in &mut self.0 {
            let read = match &mut origin.place {
                Place::File(path) | Place::Classpath(path) => file::read(path).await.map(Some),
                Place::Http(fetch) => fetch.get().await,
            };
            match read {
                Ok(Some(bytes)) => origin.content = Some(bytes),
                Ok(None) => {}
                Err(cause) => {
                    return Err(ProviderError::Unreadable { name: origin.name.clone(), cause });
                }
            }
        }
        Ok(())
    }

    /// Looks again. `None` when nothing has changed; otherwise what could not be read. An error
    /// changes nothing. A file that never comes to rest only puts changes off to a later look.
    pub(super) async fn poll(&mut self) -> Result<Option<Vec<ProviderError>>, ProviderError> {
        let mut troubles = Vec::new();
        let mut fresh = self.look(&mut troubles).await;
        for _ in 0..SETTLE_LOOKS {
            if fresh.iter().all(Option::is_none) {
                return match troubles.into_iter().next() {
                    Some(trouble) => Err(trouble),
                    None => Ok(None),
                };
            }
            let unended = fresh.iter().flatten().any(|bytes| !bytes.ends_with(b"\n"));
            tokio::time::sleep(if unended { SETTLE_UNENDED } else { SETTLE }).await;
            troubles.clear();
            let again = self.look(&mut troubles).await;
            if again == fresh {
                for (origin, found) in self.0.iter_mut().zip(fresh) {
                    if let Some(found) = found {
                        origin.content = Some(found);
                        origin.fetched = None;
                    }
                }
                return Ok(Some(troubles));
            }
            fresh = again;
        }
        Ok(None)
    }

    /// What is new at each origin.
    async fn look(&mut self, troubles: &mut Vec<ProviderError>) -> Vec<Option<Arc<[u8]>>> {
        let mut all = Vec::with_capacity(self.0.len());
        for origin in &mut self.0 {
            let read = match &mut origin.place {
                Place::File(path) => file::read_again(path).await,
                Place::Classpath(_) => Ok(None),
                Place::Http(fetch) => match fetch.get().await {
                    Ok(Some(body)) => {
                        let new = origin.content.as_ref() != Some(&body) && !is_blank(&body);
                        origin.fetched = new.then(|| body.clone());
                        Ok(Some(body))
                    }
                    Ok(None) => Ok(origin.fetched.clone()),
                    Err(cause) => Err(cause),
                },
            };
            all.push(match read {
                Ok(Some(bytes)) if origin.content.as_ref() == Some(&bytes) => None,
                Ok(Some(bytes)) if is_blank(&bytes) => {
                    troubles.push(ProviderError::Emptied { name: origin.name.clone() });
                    None
                }
                Ok(Some(bytes)) => Some(bytes),
                Ok(None) => None,
                Err(cause) => {
                    troubles.push(ProviderError::Unreadable { name: origin.name.clone(), cause });
                    origin.fetched.clone()
                }
            });
        }
        all
    }
}
