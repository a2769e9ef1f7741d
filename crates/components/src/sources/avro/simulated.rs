//! The source over the connections of a simulation, whoever accepts them.

use splashdam_config::Section;
use splashdam_core::{Context, OpenError, Outlet, Stop};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Config;
use super::connection::Service;

/// The source behind its listener.
pub struct Receiver(Service);

impl Receiver {
    /// A source with these keys.
    ///
    /// # Errors
    /// Keys that cannot be read.
    pub fn new(
        section: &Section,
        cx: &Context,
        out: Outlet,
        stop: Stop,
    ) -> Result<Self, OpenError> {
        let config = section.read::<Config>().into_result().map_err(OpenError::Config)?;
        Ok(Receiver(Service::new(&config, cx, out, stop)))
    }

    /// Serves a client until it closes or a stop is asked for.
    pub async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        // The simulated network has no addresses.
        self.0.serve(stream, ([0, 0, 0, 0], 0).into()).await;
    }

    /// Waits until all that was taken over is stored or refused.
    pub async fn end(&self) {
        self.0.senders.end().await;
    }
}
