//! The requests of a connection: received, made into events, put, answered. For the HTTP source and for
//! Avro's calls over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use splashdam_core::{Batch, Context, Outlet, PutError, Stop, Trouble, World};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::Limits;
use super::body::{FREE_BYTES, Packing, Room, Taken};
use super::handler::{Answer, Handler, Request};
use crate::accepting::Counted;
use crate::tls::{Acceptor, HANDSHAKE, HandshakeError};

/// How long a client has, after a stop, to take the answer to what was put.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// Header lines of a request at the most.
const MOST_LINES: usize = 200;
/// A body of more than this is read where it may take its time.
const LARGE_BYTES: usize = 16 * FREE_BYTES;

pub(in crate::sources) type Response = hyper::Response<Full<Bytes>>;

/// What requests mean, and how their senders are told what became of them.
pub(in crate::sources) trait Dialect: Send + Sync + 'static {
    /// What is kept of a request for its answer.
    type Reply: Send;

    /// What is answered to a method that brings no events.
    fn refused_method(&self, method: &Method) -> Option<Response>;

    /// The bytes of a body after which the rest is let go, if that is what is done.
    fn cut_after(&self) -> Option<usize> {
        None
    }

    /// Whether a packed body is unpacked.
    fn unpacks(&self) -> bool {
        false
    }

    /// The events of a request.
    fn events(&self, request: Request) -> Result<(Batch, Self::Reply), Instead>;

    /// The answer once the events are stored.
    fn stored(&self, reply: Self::Reply) -> Response;

    /// The answer when the channels refuse them.
    fn refused(&self, reply: Self::Reply, error: &PutError) -> Response;
}

/// What is answered without putting anything.
pub(in crate::sources) struct Instead {
    /// What is wrong with the request, if that is the reason.
    pub(in crate::sources) why: Option<String>,
    pub(in crate::sources) response: Box<Response>,
}

impl From<Answer> for Instead {
    fn from(answer: Answer) -> Self {
        let response = Box::new(refusal(&answer));
        // That one is about us.
        let why = (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(answer.why);
        Instead { why, response }
    }
}

/// What all connections share.
pub(in crate::sources) struct Service<D> {
    pub(in crate::sources) out: Outlet,
    name: Arc<str>,
    world: Arc<dyn World>,
    stop: Stop,
    acceptor: Option<Acceptor>,
    dialect: Arc<D>,
    limits: Limits,
    room: Room,
    /// Requests at work.
    requests: Semaphore,
    /// Puts, which go on when their client is gone.
    puts: TaskTracker,
    refusals: Mutex<Trouble>,
    nonsense: Mutex<Trouble>,
    handshakes: Mutex<Trouble>,
}

impl<D: Dialect> Service<D> {
    pub(in crate::sources) fn new(
        dialect: D,
        limits: Limits,
        acceptor: Option<Acceptor>,
        cx: &Context,
        out: Outlet,
        stop: Stop,
    ) -> Self {
        Service {
            out,
            name: cx.name.clone(),
            world: cx.world.clone(),
            stop,
            acceptor,
            dialect: Arc::new(dialect),
            limits,
            room: Room::new(limits.body_bytes),
            requests: Semaphore::new(limits.requests.min(Semaphore::MAX_PERMITS)),
            puts: TaskTracker::new(),
            refusals: Mutex::new(Trouble::new()),
            nonsense: Mutex::new(Trouble::new()),
            handshakes: Mutex::new(Trouble::new()),
        }
    }

    /// Waits for puts whose clients are gone.
    pub(in crate::sources) async fn ended(&self) {
        self.puts.close();
        self.puts.wait().await;
    }

    /// Serves a client behind a handshake, where there has to be one.
    pub(in crate::sources) async fn welcome(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let _open = Counted::new(self.out.metrics());
        // Neither is worth refusing a connection for.
        let set = stream.set_nodelay(true).and_then(|()| splashdam_client::keep_alive(&stream));
        if let Err(error) = set {
            debug!(component = %self.name, %error, "a connection goes on without its options");
        }
        let Some(acceptor) = &self.acceptor else { return self.serve(stream, peer).await };
        // Who connects and goes without a word, as load balancers do to see who is there, is no
        // client that failed.
        if let None | Some(Ok(Ok(0))) =
            self.stop.or(timeout(HANDSHAKE, stream.peek(&mut [0]))).await
        {
            return;
        }
        match self.stop.or(acceptor.accept(stream)).await {
            None => {}
            Some(Ok(stream)) => self.serve(stream, peer).await,
            Some(Err(error)) => self.unwelcome(peer, &error),
        }
    }

    fn unwelcome(&self, peer: SocketAddr, error: &HandshakeError) {
        self.out.metrics().read_failures.add(1);
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeats) = handshakes.happened(self.world.instant(), "") {
            warn!(component = %self.name, %peer, %error, repeats, "a client was turned away");
        }
    }

    /// Serves a client until it closes, is silent for too long, or a stop is asked for.
    async fn serve<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Whether a request of this client is being put: then a stop waits for its answer.
        let putting = AtomicBool::new(false);
        let service = service_fn(async |request| {
            Ok::<_, Infallible>(self.answer(request, &putting, peer).await)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .max_buf_size(self.limits.head_bytes)
            .max_headers(MOST_LINES)
            // Who has sent all may close that side, and still wants its answer.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => served,
            () = self.stop.wait() => {
                connection.as_mut().graceful_shutdown();
                loop {
                    match timeout(LAST_ANSWER, connection.as_mut()).await {
                        Ok(served) => break served,
                        Err(_) if putting.load(Relaxed) => {}
                        Err(_) => return,
                    }
                }
            }
        };
        match served {
            Err(error) if error.is_parse() => {
                self.out.metrics().read_failures.add(1);
                self.complain(peer, "it is not HTTP, or its head is too large");
            }
            Err(error) => debug!(component = %self.name, %peer, %error, "a client is gone"),
            Ok(()) => {}
        }
    }

    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        putting: &AtomicBool,
        peer: SocketAddr,
    ) -> Response {
        if let Some(refused) = self.dialect.refused_method(request.method()) {
            return refused;
        }
        let received = self.stop.or(self.events(request)).await;
        let stopping = || Answer::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping");
        let (batch, reply, _turn, _room) = match received.unwrap_or_else(|| Err(stopping().into()))
        {
            Ok(received) => received,
            Err(Instead { why, response }) => {
                if let Some(why) = why {
                    self.out.metrics().read_failures.add(1);
                    self.complain(peer, &why);
                }
                return *response;
            }
        };
        putting.store(true, Relaxed);
        let out = self.out.clone();
        // A put that was begun is ended, even when the client goes away meanwhile.
        let put = self.puts.spawn(async move { out.put(batch).await }).await;
        putting.store(false, Relaxed);
        match put {
            Ok(put) => self.answer_to(put, reply),
            // The runtime has told of the panic.
            Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, "unexpected error\n".to_owned()),
        }
    }

    fn answer_to(&self, put: Result<(), PutError>, reply: D::Reply) -> Response {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        match put {
            Ok(()) => {
                if let Some(lasted) = refusals.ended(self.world.instant()) {
                    info!(component = %self.name, ?lasted, "channels take requests again");
                }
                self.dialect.stored(reply)
            }
            Err(error) => {
                if refusals.happened(self.world.instant(), &error.key()).is_some() {
                    warn!(component = %self.name, %error, "channels refuse requests; clients are told so");
                }
                self.dialect.refused(reply, &error)
            }
        }
    }

    /// The events of a request and what is kept for its answer, with its turn and the room that it
    /// takes.
    async fn events(
        &self,
        request: hyper::Request<Incoming>,
    ) -> Result<(Batch, D::Reply, Option<SemaphorePermit<'_>>, Taken<'_>), Instead> {
        let (head, body) = request.into_parts();
        let packing = match text(&head.headers, &CONTENT_ENCODING) {
            Some(name) if self.dialect.unpacks() => Packing::named(&name)?,
            _ => None,
        };
        let (mut body, mut room) = self.room.receive(body, self.dialect.cut_after()).await?;
        if let Some(packing) = packing {
            (body, room) = self.room.unpack(packing, body, room).await?;
        }
        // Behind the room, which nobody waits for in his turn. The semaphore is never closed.
        let turn = self.requests.acquire().await.ok();
        let request = Request {
            content_type: text(&head.headers, &CONTENT_TYPE),
            query: head.uri.query().map(str::to_owned),
            body,
        };
        if request.body.len() <= LARGE_BYTES {
            let (batch, reply) = self.dialect.events(request)?;
            return Ok((batch, reply, turn, room));
        }
        let dialect = self.dialect.clone();
        let read = tokio::task::spawn_blocking(move || dialect.events(request));
        let (batch, reply) = read.await.map_err(|panicked| {
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR, panicked.to_string())
        })??;
        Ok((batch, reply, turn, room))
    }

    fn complain(&self, peer: SocketAddr, why: &str) {
        let mut nonsense = self.nonsense.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeats) = nonsense.happened(self.world.instant(), "") {
            warn!(component = %self.name, %peer, why, repeats, "a request was refused; its sender is told why");
        }
    }
}

impl Dialect for Handler {
    type Reply = ();

    fn refused_method(&self, method: &Method) -> Option<Response> {
        match *method {
            Method::GET | Method::HEAD | Method::POST => None,
            Method::TRACE | Method::OPTIONS => Some(use_post(StatusCode::FORBIDDEN, None)),
            Method::PUT | Method::DELETE => {
                Some(use_post(StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD, POST")))
            }
            _ => Some(use_post(StatusCode::NOT_IMPLEMENTED, None)),
        }
    }

    fn cut_after(&self) -> Option<usize> {
        self.cut_after()
    }

    fn unpacks(&self) -> bool {
        self.unpacks()
    }

    fn events(&self, request: Request) -> Result<(Batch, ()), Instead> {
        Ok((self.events(request)?, ()))
    }

    fn stored(&self, (): ()) -> Response {
        response(StatusCode::OK, String::new())
    }

    fn refused(&self, (): (), error: &PutError) -> Response {
        refusal(&Answer::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
    }
}

/// What is answered to a method that brings no events, with those that are allowed.
pub(in crate::sources) fn use_post(status: StatusCode, allowed: Option<&'static str>) -> Response {
    let mut response = response(status, "use POST\n".to_owned());
    if let Some(allowed) = allowed {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// A header's value, as text whatever its bytes are.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn refusal(answer: &Answer) -> Response {
    let mut response = response(answer.status, format!("{}\n", answer.why));
    if answer.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn response(status: StatusCode, text: String) -> Response {
    const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    if status != StatusCode::OK {
        response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    }
    response
}
