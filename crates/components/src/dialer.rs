//! Makes the connections of clients: with TLS around them where that is wanted.

use std::io;

use splashdam_client::{Address, BoxStream, Connect, connect};
use splashdam_core::{BoxFuture, Context, OpenError};

use crate::tls::{ClientTls, Connector, Stream};

/// Makes connections as the keys of a sink, or of Flume's RPC client, say.
pub struct Dialer {
    tls: Option<Connector>,
}

impl Dialer {
    /// A dialer for settings of TLS.
    ///
    /// # Errors
    /// What [`ClientTls::connector`] says.
    pub async fn new(tls: &ClientTls, cx: &Context) -> Result<Self, OpenError> {
        Ok(Dialer { tls: tls.connector(cx).await? })
    }
}

impl Connect for Dialer {
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = connect::tcp(address).await?;
            Ok(match &self.tls {
                None => Box::new(Stream::plain(stream)) as BoxStream,
                Some(tls) => {
                    let shaken = tls.connect(stream, &address.host).await;
                    Box::new(shaken.map_err(io::Error::other)?)
                }
            })
        })
    }
}
