//! Connections to the brokers, one after the other, and what is done over them.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use splashdam_amqp::{
    Delivery, Fault, Kind, Login, Message, Receiver, Settings, Subscription, TooLong, Verdict,
};
use splashdam_client::{BoxStream, connect};
use splashdam_core::{
    Batch, Context, Event, OpenError, Outlet, PutError, Random, SourceError, Stop, Trouble,
};
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::hindrance::Hindrance;
use super::provider::Broker;
use super::{Config, DestinationType, conversion, findings};
use crate::sources::smaller_group;
use crate::tls::{ClientTls, Connector};

/// A batch ends here, however few messages it has.
pub(super) const BATCH_BYTES: usize = 16 << 20;

/// How long a broker may take to accept a connection.
const CONNECTING: Duration = Duration::from_secs(10);
/// A connection that lasted so long went well, though nothing may have come over it.
const LASTING: Duration = Duration::from_secs(60);
/// How long a broker may take at a stop to take back what it gave.
const STOPPING: Duration = Duration::from_secs(3);
/// Messages asked for at the most, however large a batch is.
const MOST_PREFETCHED: u32 = 65_536;
/// The least pause after a failure, whatever the keys say: a broker and a channel in trouble need it.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// A password file is read up to this.
const PASSWORD_LIMIT_BYTES: u64 = 64 * 1024;
/// What a link is called that nobody needs to find again.
const LINK: &str = "splashdam";

pub(super) type Connection = Receiver<BoxStream>;

/// See the module.
pub(super) struct Session {
    config: Config,
    cx: Context,
    random: Random,
    tls: Option<Connector>,
    settings: Settings,
    /// The broker whose turn it is.
    turn: usize,
    /// Our end of its connection.
    ours: Option<SocketAddr>,
    /// Messages in the next batch at the most; less than `fits` while one is looked for that channels never take.
    most: usize,
    /// Messages that a transaction of the channels holds.
    fits: usize,
    /// Failures of connections, and refusals by channels, since something went well.
    errors: u32,
    refusals: u32,
    connecting: Trouble,
    putting: Trouble,
    rejecting: Trouble,
}

/// A connection to a broker, and our end of it.
struct Reached {
    connection: Connection,
    ours: Option<SocketAddr>,
}

/// Messages that became events, and the numbers by which they are settled.
#[derive(Default)]
struct Taken {
    batch: Batch,
    /// Memory that the events hold.
    held_bytes: usize,
    /// First and last of each run of numbers.
    runs: Vec<(u32, u32)>,
}

impl Taken {
    /// Whether one more makes it no larger than a batch may be.
    fn has_room(&self, most: usize) -> bool {
        self.batch.len() < most && self.held_bytes < BATCH_BYTES
    }

    fn push(&mut self, id: u32, (event, held_bytes): (Event, usize)) {
        self.batch.push(event);
        self.held_bytes += held_bytes;
        match self.runs.last_mut() {
            Some((_, last)) if last.wrapping_add(1) == id => *last = id,
            _ => self.runs.push((id, id)),
        }
    }
}

/// The keys for TLS, with what `providerURL` says.
pub(super) fn tls(config: &Config) -> ClientTls {
    let encrypts = config.provider.brokers.iter().any(|broker| broker.tls);
    let verifies = encrypts && config.provider.verify_host;
    ClientTls {
        ssl: config.tls.ssl || encrypts,
        verify_host_name: config.tls.verify_host_name || verifies,
        ..config.tls.clone()
    }
}

impl Session {
    /// Reads what the keys name; connects to nobody.
    ///
    /// # Errors
    /// [`OpenError::Config`] for keys that do not go together, [`OpenError::Unavailable`] for files that cannot be
    /// read.
    pub(super) async fn new(config: Config, cx: Context) -> Result<Self, OpenError> {
        if let Some((_, why)) = findings::refusals(&config).first() {
            return Err(OpenError::config(*why));
        }
        let tls = tls(&config);
        let login = match &config.user_name {
            Some(user) => {
                let user = user.trim().to_owned();
                Login::Password { user, password: password(&config).await? }
            }
            None if tls.keystore.is_some() => Login::Certificate,
            None => Login::Anonymous,
        };
        let random = cx.random();
        let trimmed = |text: &Option<String>| {
            text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
        };
        let container = trimmed(&config.client_id).unwrap_or_else(|| {
            // A broker wants each connection to have a name of its own.
            format!("splashdam-{}-{}-{:016x}", cx.agent, cx.name, random.next())
        });
        let durable = config.create_durable_subscription;
        let name = trimmed(&config.durable_subscription_name).filter(|_| durable);
        let subscription = Subscription {
            name: name.unwrap_or_else(|| LINK.to_owned()),
            address: findings::address(&config).0.to_owned(),
            kind: match config.destination_type {
                DestinationType::Queue => Kind::Queue,
                DestinationType::Topic => Kind::Topic,
            },
            selector: trimmed(&config.message_selector),
            lasting: durable,
        };
        let batch = config.batch_size.get();
        let settings = Settings {
            container,
            host: String::new(),
            login,
            subscription: Some(subscription),
            // One batch is fetched while another one is put.
            prefetch_messages: batch.saturating_mul(2).min(MOST_PREFETCHED),
            message_limit_bytes: config.max_message_bytes.get(),
        };
        let most = usize::try_from(batch).unwrap_or(usize::MAX);
        let tls = tls.connector(&cx).await?;
        let (turn, errors, refusals) = (0, 0, 0);
        let (connecting, putting, rejecting) = (Trouble::new(), Trouble::new(), Trouble::new());
        Ok(Session {
            config,
            cx,
            random,
            tls,
            settings,
            turn,
            ours: None,
            most,
            fits: most,
            errors,
            refusals,
            connecting,
            putting,
            rejecting,
        })
    }

    /// Connects to the first broker that will have us.
    pub(super) async fn open(&mut self) -> Result<Connection, Hindrance> {
        let (broker, Reached { connection, ours }) = self.connect(&self.settings).await?;
        (self.turn, self.ours) = (broker, ours);
        Ok(connection)
    }

    /// Logs in and out again. The link itself is not asked for: that would make a queue or a subscription where there is
    /// none.
    pub(super) async fn probe(&self) -> Result<String, Hindrance> {
        let settings = Settings { subscription: None, ..self.settings.clone() };
        let (broker, Reached { connection, .. }) = self.connect(&settings).await?;
        connection.close().await;
        let address = &self.config.provider.brokers[broker].address;
        Ok(format!("the broker at {address} speaks AMQP 1.0 and takes the login"))
    }

    /// Tries the brokers in turn, and tells which one it was; an error says what each of them did.
    async fn connect(&self, settings: &Settings) -> Result<(usize, Reached), Hindrance> {
        let brokers = &self.config.provider.brokers;
        let mut failures = Vec::new();
        for index in (0..brokers.len()).map(|n| (self.turn + n) % brokers.len()) {
            let broker = &brokers[index];
            let host = broker.address.host.clone();
            match self.reach(broker, Settings { host, ..settings.clone() }).await {
                Ok(reached) => {
                    info!(component = %self.cx.title(), broker = %broker.address, "connected to the broker");
                    return Ok((index, reached));
                }
                Err(hindrance) => failures.push((broker.address.to_string(), hindrance)),
            }
        }
        Err(Hindrance::of_all(&failures))
    }

    async fn reach(&self, broker: &Broker, settings: Settings) -> Result<Reached, Hindrance> {
        let connected = timeout(CONNECTING, connect::tcp(&broker.address)).await;
        let silent = |_| Hindrance::passing(format!("nobody answered within {CONNECTING:?}"));
        let stream = connected.map_err(silent)?.map_err(Hindrance::passing)?;
        let ours = stream.local_addr().ok();
        let stream: BoxStream = match &self.tls {
            Some(tls) if broker.tls || self.config.tls.ssl => {
                let met = tls.connect(stream, &broker.address.host).await;
                Box::new(met.map_err(|error| Hindrance::of_handshake(&error))?)
            }
            _ => Box::new(stream),
        };
        match Receiver::open(stream, settings).await {
            Ok(connection) => Ok(Reached { connection, ours }),
            Err(fault) => Err(self.hindrance(&fault, ours)),
        }
    }

    fn hindrance(&self, fault: &Fault, ours: Option<SocketAddr>) -> Hindrance {
        Hindrance::of_fault(fault, &self.config).without_port(ours)
    }

    /// Receives until `stop`, over `first` and as many connections after it as it takes.
    pub(super) async fn run(
        &mut self,
        first: Connection,
        out: &Outlet,
        stop: &Stop,
    ) -> Result<(), SourceError> {
        let mut first = Some(first);
        loop {
            let connected = match first.take() {
                Some(connection) => Ok(connection),
                None => match stop.or(self.open()).await {
                    Some(connected) => connected,
                    None => return Ok(()),
                },
            };
            // That no broker is of use until somebody mends it is said by who opens the source.
            let stays = matches!(&connected, Err(hindrance) if hindrance.needs_hand());
            let (lost, lasted) = match connected {
                Ok(connection) => {
                    let began = Instant::now();
                    match self.serve(connection, out, stop).await {
                        Ok(()) => return Ok(()),
                        Err(fault) => (self.hindrance(&fault, self.ours), began.elapsed()),
                    }
                }
                Err(hindrance) => (hindrance, Duration::ZERO),
            };
            self.errors = errors_in_a_row(self.errors, lasted);
            if stays || self.errors > self.config.error_threshold {
                out.metrics().read_failures.add(1);
                return Err(SourceError::new(lost.to_string()));
            }
            if self.connecting.happened(Instant::now(), &lost.to_string()).is_some() {
                warn!(component = %self.cx.title(), error = %lost, "the broker is not there; connecting again");
            }
            if stop.or(sleep(self.pause(self.errors))).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Receives over one connection until `stop`, or until it is over.
    async fn serve(
        &mut self,
        connection: Connection,
        out: &Outlet,
        stop: &Stop,
    ) -> Result<(), Fault> {
        let mut connection = connection;
        // One that is lost at once, time and again, is the same trouble still.
        let lasts = sleep(LASTING);
        tokio::pin!(lasts);
        loop {
            tokio::select! {
                waited = stop.or(connection.wait()) => match waited {
                    Some(waited) => waited?,
                    None => break,
                },
                () = &mut lasts, if self.connecting.is_on() => {
                    self.is_there();
                    continue;
                }
            }
            connection.gather(self.most)?;
            let taken = self.take(&mut connection, out);
            if !taken.batch.is_empty() {
                self.put(taken, &mut connection, out, stop).await?;
            }
            match stop.or(connection.flush()).await {
                Some(flushed) => flushed?,
                None => break,
            }
        }
        // Nobody looked at what lies ready; left as it is, it would count as tried.
        drop(timeout(STOPPING, connection.give_back(&[])).await);
        connection.close().await;
        Ok(())
    }

    fn is_there(&mut self) {
        if let Some(lasted) = self.connecting.ended(Instant::now()) {
            info!(component = %self.cx.title(), ?lasted, "the broker is there again");
        }
    }

    /// Makes events of what lies ready; what never can become one is rejected.
    fn take(&mut self, connection: &mut Connection, out: &Outlet) -> Taken {
        let charset = self.config.charset;
        let mut taken = Taken::default();
        while taken.has_room(self.most) {
            let Some(Delivery { id, payload }) = connection.take() else { break };
            let bytes = payload.as_ref().map_or(0, Bytes::len);
            let why = match payload.map(Message::read) {
                Ok(Ok(message)) => {
                    taken.push(id, conversion::event_of(message, bytes, charset));
                    continue;
                }
                Ok(Err(malformed)) => {
                    self.rejected(out, &format!("it is malformed: {malformed}"));
                    "the message is malformed"
                }
                Err(TooLong { bytes }) => {
                    let most = self.config.max_message_bytes;
                    self.rejected(
                        out,
                        &format!("it has {bytes} bytes, more than maxMessageBytes, {most}"),
                    );
                    "the message is longer than its receiver takes"
                }
            };
            connection.settle(id, id, &Verdict::Rejected(why));
        }
        taken
    }

    fn rejected(&mut self, out: &Outlet, why: &str) {
        out.metrics().read_failures.add(1);
        // One line for all of one kind, whatever their lengths.
        let kind = why.split(':').next().unwrap_or(why).split(' ').take(2).collect::<String>();
        if self.rejecting.happened(Instant::now(), &kind).is_some() {
            warn!(
                component = %self.cx.title(), why,
                "a message is rejected, which the broker sets aside in its queue of dead letters"
            );
        }
    }

    /// Puts a batch and accepts its messages, or gives them back.
    async fn put(
        &mut self,
        taken: Taken,
        connection: &mut Connection,
        out: &Outlet,
        stop: &Stop,
    ) -> Result<(), Fault> {
        let Taken { batch, runs, .. } = taken;
        let (put, lost) = alongside(out.put(batch), connection).await;
        match put {
            Ok(()) => {
                for (first, last) in runs {
                    connection.settle(first, last, &Verdict::Accepted);
                }
                (self.errors, self.refusals, self.most) = (0, 0, self.fits);
                self.is_there();
                if let Some(lasted) = self.putting.ended(Instant::now()) {
                    info!(component = %self.cx.title(), ?lasted, "channels take batches again");
                }
                lost.map_or(Ok(()), Err)
            }
            Err(error) => match lost {
                // The broker has taken them back by itself.
                Some(fault) => Err(fault),
                None if error.retryable() => self.give_back(&error, &runs, connection, stop).await,
                None => self.divide(&error, &runs, connection, out, stop).await,
            },
        }
    }

    /// What channels never take as it is goes in smaller batches; a message that is refused alone is set aside.
    async fn divide(
        &mut self,
        error: &PutError,
        runs: &[(u32, u32)],
        connection: &mut Connection,
        out: &Outlet,
        stop: &Stop,
    ) -> Result<(), Fault> {
        let (messages, half) = (error.batch.len(), error.batch.len() / 2);
        if messages > 1 {
            let fits = smaller_group(error).filter(|fits| fits + 1 < messages);
            self.fits = fits.unwrap_or(self.fits);
            self.most = fits.unwrap_or(half);
            return match finished(connection.give_back(runs), stop).await {
                Some(given) => given.map(|()| connection.resume()),
                None => Ok(()),
            };
        }
        self.most = self.fits;
        self.rejected(out, &format!("no channel takes it: {error}"));
        for &(first, last) in runs {
            connection.settle(first, last, &Verdict::Rejected("the receiver's channel refuses it"));
        }
        Ok(())
    }

    /// Gives back what was refused and all that was fetched behind it, and waits a little before it is asked for again.
    async fn give_back(
        &mut self,
        error: &PutError,
        runs: &[(u32, u32)],
        connection: &mut Connection,
        stop: &Stop,
    ) -> Result<(), Fault> {
        self.refusals = self.refusals.saturating_add(1);
        if self.putting.happened(Instant::now(), &error.key()).is_some() {
            warn!(component = %self.cx.title(), %error, "channels refuse a batch; the broker has it back and is asked again later");
        }
        match finished(connection.give_back(runs), stop).await {
            Some(given) => given?,
            // Closing the connection gives it all back.
            None => return Ok(()),
        }
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = sleep(self.pause(self.refusals)) => {}
            fault = connection.idle() => return Err(fault),
        }
        connection.resume();
        Ok(())
    }

    /// How long to wait after so many failures in a row.
    fn pause(&self, failures: u32) -> Duration {
        let most = self.config.max_backoff_sleep;
        let millis = self.config.backoff_sleep_increment.saturating_mul(failures.into()).min(most);
        self.random.jitter(Duration::from_millis(millis)).max(LEAST_PAUSE)
    }
}

/// One more after so many, where the last connection lasted so long.
fn errors_in_a_row(errors: u32, lasted: Duration) -> u32 {
    if lasted >= LASTING { 1 } else { errors.saturating_add(1) }
}

/// Finishes what was begun, though a stop is asked for, but then within a limit: what a stop finds refused and does not
/// give back would count as tried at each of them.
async fn finished<T>(work: impl Future<Output = T>, stop: &Stop) -> Option<T> {
    let late = async {
        stop.wait().await;
        sleep(STOPPING).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = late => None,
    }
}

/// Waits for `put`, which must not be dropped half-way, while the connection is kept alive; tells whether it broke.
async fn alongside<T>(
    put: impl Future<Output = T>,
    connection: &mut Connection,
) -> (T, Option<Fault>) {
    let mut put = pin!(put);
    tokio::select! {
        biased;
        done = &mut put => (done, None),
        fault = connection.idle() => (put.await, Some(fault)),
    }
}

/// The password in its file.
async fn password(config: &Config) -> Result<String, OpenError> {
    let Some(path) = &config.password_file else { return Ok(String::new()) };
    let shown = path.display();
    let read = async {
        let (file, mut text) = (tokio::fs::File::open(path).await?, String::new());
        file.take(PASSWORD_LIMIT_BYTES + 1).read_to_string(&mut text).await?;
        Ok(text)
    };
    let text: String = read.await.map_err(|error: std::io::Error| {
        let said = format!("cannot read the password in {shown}: {error}; see `passwordFile`");
        OpenError::refused(said, error)
    })?;
    if text.len() as u64 > PASSWORD_LIMIT_BYTES {
        let most = PASSWORD_LIMIT_BYTES;
        return Err(OpenError::config(format!(
            "{shown} has more than {most} bytes; it must hold the password alone"
        )));
    }
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_at_what_its_events_hold() {
        let fill = |event: &Event, held_bytes| {
            let (mut taken, mut id) = (Taken::default(), 0);
            while taken.has_room(10_000) {
                taken.push(id, (event.clone(), held_bytes));
                id += 1;
            }
            (taken.batch.len(), taken.runs)
        };
        let event = Event::new("small");
        assert_eq!(fill(&event, 5), (10_000, vec![(0, 9_999)]));
        assert_eq!(fill(&event, BATCH_BYTES / 4), (4, vec![(0, 3)]));
        assert_eq!(fill(&event, BATCH_BYTES), (1, vec![(0, 0)]));
    }

    #[test]
    fn errors_add_up_unless_a_connection_lasted() {
        let check = |errors, seconds, want| {
            let lasted = Duration::from_secs(seconds);
            assert_eq!(errors_in_a_row(errors, lasted), want, "{errors} {seconds}");
        };
        check(0, 0, 1);
        check(10, 0, 11);
        check(10, 59, 11);
        check(10, 60, 1);
        check(0, 60, 1);
        check(u32::MAX, 1, u32::MAX);
    }
}
