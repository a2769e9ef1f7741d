//! Makes the connections of clients: with compression and TLS around them where that is wanted.

use std::io;

use splashdam_client::{Address, BoxStream, Connect, connect};
use splashdam_core::{BoxFuture, Context, OpenError};

use crate::tls::{ClientTls, Connector};
use crate::zlib_stream::ZlibStream;

/// Makes connections as the keys of a sink, or of Flume's RPC client, say.
pub struct Dialer {
    tls: Option<Connector>,
    deflate: Option<u32>,
}

impl Dialer {
    /// A dialer for settings of TLS, and a level of compression if there is to be any.
    ///
    /// # Errors
    /// What [`ClientTls::connector`] says.
    pub async fn new(
        tls: &ClientTls,
        deflate: Option<u32>,
        cx: &Context,
    ) -> Result<Self, OpenError> {
        Ok(Dialer { tls: tls.connector(cx).await?, deflate })
    }

    /// As from Flume 1.10 on: what is encrypted is compressed, in vain, and not the other way round.
    async fn dial(&self, address: &Address) -> io::Result<BoxStream> {
        let stream = connect::tcp(address).await?;
        Ok(match (&self.tls, self.deflate) {
            (None, None) => Box::new(stream),
            (None, Some(level)) => Box::new(ZlibStream::new(stream, level)),
            (Some(tls), None) => {
                let shaken = tls.connect(stream, &address.host).await;
                Box::new(shaken.map_err(io::Error::other)?)
            }
            (Some(tls), Some(level)) => {
                let shaken = tls.connect(ZlibStream::new(stream, level), &address.host).await;
                Box::new(shaken.map_err(io::Error::other)?)
            }
        })
    }
}

impl Connect for Dialer {
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(self.dial(address))
    }
}
