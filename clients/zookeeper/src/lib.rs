//! As much of a client of Apache ZooKeeper as it takes to read a node ([`Ensemble::read`]) and to
//! follow it ([`Watch`]).
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use splashdam_zookeeper::{Ensemble, Seen, Watch};
//!
//! let ensemble: Ensemble = "zk1:2181,zk2:2181/chroot".parse()?;
//! let node = ensemble.read("/flume/a1", 0, Duration::from_secs(15)).await?;
//!
//! let (sender, mut seen) = tokio::sync::watch::channel(Seen::default());
//! tokio::spawn(Watch::new(ensemble, "/flume/a1", 0).run(sender));
//! while seen.changed().await.is_ok() {
//!     println!("{:?}, before that {node:?}", seen.borrow().node);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! It writes nothing, logs in nowhere and speaks plain TCP. Whatever a server sends, a packet is
//! kept only as far as it has arrived and up to [`PACKET_LIMIT_BYTES`], and every answer is waited
//! for with a limit.

mod connection;
mod ensemble;
#[doc(hidden)]
pub mod fuzzing;
mod packet;
mod watch;

#[cfg(any(test, feature = "fake"))]
#[doc(hidden)]
pub mod fake;

pub use ensemble::{Ensemble, EnsembleError, NodePath, PORT, PathError, Server};
pub use packet::{Node, PACKET_LIMIT_BYTES};
pub use watch::{Patience, Seen, Watch};

/// Why a node could not be read: what each server did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no ZooKeeper answered ({0})")]
pub struct NoAnswer(pub(crate) String);
