//! Configuration from a node of ZooKeeper: followed, or read once.
//!
//! As in Flume the node is the agent's name below a base path, holds the text of a properties file
//! in UTF-8, and one that is missing or empty leaves nothing to run: that is how an agent is told
//! to stop all of it. Unlike a file a node is never half written, so that nothing needs to settle.

use std::sync::Arc;
use std::time::Duration;

use splashdam_zookeeper::{Ensemble, Node, NodePath, Patience, Seen, Watch};
use tokio::sync::watch::{Receiver, Sender};

use super::{ProviderError, ZooKeeperSettings, is_blank};

/// Flume's base path.
const BASE_PATH: &str = "/flume";
/// Who reads once tries again this much later, once, as Flume has set Curator up.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The agent's node.
pub(super) struct ZooKeeper {
    name: Arc<str>,
    ensemble: Ensemble,
    path: NodePath,
    first: usize,
    reading: Reading,
    /// What is in force.
    content: Option<Node>,
}

enum Reading {
    Once,
    /// The sender is gone once somebody follows the node.
    Follow(Option<Sender<Seen>>, Receiver<Seen>),
}

/// What a look showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Text,
    Empty,
    Absent,
}

impl ZooKeeper {
    pub(super) fn new(settings: &ZooKeeperSettings, agent: &str) -> Result<Self, ProviderError> {
        let wrong = |option| move |cause: String| ProviderError::ZooKeeper { option, cause };
        let ensemble: Ensemble =
            settings.connect.parse().map_err(|error: splashdam_zookeeper::EnsembleError| {
                wrong("zkConnString")(error.to_string())
            })?;
        let base = settings.base_path.as_deref().filter(|base| !base.is_empty());
        // A slash at the end, which ZooKeeper would not take, can mean only one thing.
        let base = base.unwrap_or(BASE_PATH).trim_end_matches('/');
        let path: NodePath = format!("{base}/{agent}").parse().map_err(
            |error: splashdam_zookeeper::PathError| wrong("zkBasePath")(error.to_string()),
        )?;
        let reading = if settings.follow {
            let (sender, seen) = tokio::sync::watch::channel(Seen::default());
            Reading::Follow(Some(sender), seen)
        } else {
            Reading::Once
        };
        let name = format!("zookeeper:{path}").into();
        let first = settings.first;
        Ok(ZooKeeper { name, ensemble, path, first, reading, content: None })
    }

    /// For messages.
    pub(super) fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// What is told of the node, if it is followed.
    pub(super) fn seen(&self) -> Option<Receiver<Seen>> {
        match &self.reading {
            Reading::Follow(_, seen) => Some(seen.clone()),
            Reading::Once => None,
        }
    }

    pub(super) fn follows(&self) -> bool {
        matches!(self.reading, Reading::Follow(..))
    }

    /// The text, if there is one.
    pub(super) fn content(&self) -> Option<&[u8]> {
        match &self.content {
            Some(Node::Data(text)) if !is_blank(text) => Some(text),
            _ => None,
        }
    }

    /// Reads the node for the first time, and follows it from then on if that is wanted.
    pub(super) async fn read(&mut self) -> Result<Found, ProviderError> {
        let node = match &mut self.reading {
            Reading::Once => match self.read_once().await? {
                Node::Absent => {
                    return Err(self.unreadable(
                        "there is no such node; put the configuration there, or check --zkBasePath and --name".into(),
                    ));
                }
                node => node,
            },
            Reading::Follow(sender, seen) => {
                if let Some(sender) = sender.take() {
                    let watch = Watch::new(self.ensemble.clone(), self.path.as_str(), self.first);
                    tokio::spawn(watch.run(sender));
                }
                let known = |seen: &Seen| seen.node.is_some() || seen.trouble.is_some();
                let first = seen.wait_for(known).await.map(|seen| seen.clone());
                match first {
                    Ok(Seen { node: Some(node), .. }) => node,
                    Ok(Seen { trouble, .. }) => {
                        return Err(self.unanswered(&trouble.unwrap_or_default()));
                    }
                    Err(_) => return Err(self.unreadable("nobody follows it any more".into())),
                }
            }
        };
        Ok(self.take(node))
    }

    /// What is new, by what those who follow it have told. Nobody is waited for.
    pub(super) fn poll(&mut self) -> Result<Option<Found>, ProviderError> {
        let Reading::Follow(_, seen) = &mut self.reading else { return Ok(None) };
        let Seen { node, trouble } = seen.borrow_and_update().clone();
        if let Some(node) = node.filter(|node| self.content.as_ref() != Some(node)) {
            return Ok(Some(self.take(node)));
        }
        match trouble {
            Some(trouble) => Err(self.unanswered(&trouble)),
            None => Ok(None),
        }
    }

    /// What is to be said where there is nothing to run.
    pub(super) fn warning(&self, found: &Found) -> Option<String> {
        let what = match found {
            Found::Text => return None,
            Found::Empty => "is empty",
            Found::Absent => "is not there",
        };
        let then =
            if self.follows() { "; nothing runs until it holds a configuration" } else { "" };
        Some(format!("the node {} of ZooKeeper {what}{then}", self.path))
    }

    async fn read_once(&self) -> Result<Node, ProviderError> {
        let patience = Patience::default().answer;
        let read = || self.ensemble.read(self.path.as_str(), self.first, patience);
        if let Ok(node) = read().await {
            return Ok(node);
        }
        tokio::time::sleep(AGAIN_AFTER).await;
        read().await.map_err(|error| self.unreadable(error.to_string()))
    }

    fn take(&mut self, node: Node) -> Found {
        let found = match &node {
            Node::Absent => Found::Absent,
            Node::Data(text) if is_blank(text) => Found::Empty,
            Node::Data(_) => Found::Text,
        };
        self.content = Some(node);
        found
    }

    fn unanswered(&self, trouble: &str) -> ProviderError {
        self.unreadable(format!("no ZooKeeper answers ({trouble})"))
    }

    fn unreadable(&self, cause: String) -> ProviderError {
        ProviderError::Unreadable { name: self.name.clone(), cause }
    }
}

#[cfg(test)]
mod tests;
