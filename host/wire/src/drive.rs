//! The task of one connection: it polls hyper, obeys the server's commands, and holds the only timer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use roadrunner_values::{Timeouts, TransportSettings};

use crate::alarm::Alarm;
use crate::control::{Command, Control};
use crate::dispatch::{Link, dispatch};
use crate::h2c::{Doorway, Granted};
use crate::io::Io;
use crate::leftover::Drain;
use crate::marks::{Waits, earliest};
use crate::socket::{Departure, Socket};
use crate::stream::StreamExecutor;
use crate::{Connection, Ending, Protocol, Service, TimeoutName};

/// Serves HTTP/1 until the connection has ended, or has switched to HTTP/2 and ended there.
pub(crate) async fn http1<S: Service>(
    io: Io,
    socket: Socket,
    link: Link<S>,
    settings: &TransportSettings,
    timeouts: &Arc<Timeouts>,
) {
    let connection = Arc::clone(&link.connection);
    let link = Arc::new(link);
    let doorway = link.doorway.is_some().then(|| Arc::clone(&link));
    let service = service_fn(move |request| dispatch(&link, request));
    let hyper = http1::Builder::new()
        // hyper keeps reading, so that it sees a client that resets. `Io` hides from hyper that a client has closed its
        // side.
        .half_close(false)
        // `Driver` keeps this deadline, without a timer per request.
        .header_read_timeout(None)
        .max_headers(settings.http1.max_headers)
        .max_header_size(settings.http2.max_header_list as usize)
        .max_buf_size(settings.http1.max_buffer.max(SMALLEST_BUFFER))
        .serve_connection(io, service)
        .with_upgrades();
    let driver = Driver::new(connection, socket.clone(), &settings.timeouts);
    driver.run(hyper, |hyper| hyper.graceful_shutdown()).await;
    if let Some(link) = doorway {
        // Boxed, since only few connections switch.
        Box::pin(go_on_with_http2(socket, &link, settings, Arc::clone(timeouts))).await;
    }
}

/// Serves a connection whose HTTP/1 side has answered a request with 101 for `h2c`; does nothing for any other.
async fn go_on_with_http2<S: Service>(
    socket: Socket,
    link: &Link<S>,
    settings: &TransportSettings,
    timeouts: Arc<Timeouts>,
) {
    let Some(Granted { socket: given_back, request }) = link.doorway.as_ref().and_then(Doorway::take) else {
        return;
    };
    // This resolves at once, since hyper has ended. An error means that the answer could not be sent.
    let Ok(upgraded) = given_back.await else {
        return;
    };
    let Ok(parts) = upgraded.downcast::<Io>() else {
        return;
    };
    link.connection.control.end_upgrade();
    let connection = Arc::new(link.connection.upgraded());
    let Some(io) = Io::upgraded(parts.io, &parts.read_buf, request, Arc::clone(&connection), settings) else {
        return;
    };
    let mut upgraded = Link::new(Arc::clone(&link.service), connection);
    upgraded.cap = link.cap.clone();
    http2(io, socket, upgraded, settings, timeouts).await;
}

/// Serves HTTP/2 until the connection has ended.
pub(crate) async fn http2<S: Service>(
    io: Io,
    socket: Socket,
    link: Link<S>,
    settings: &TransportSettings,
    timeouts: Arc<Timeouts>,
) {
    let connection = Arc::clone(&link.connection);
    let link = Arc::new(link);
    let service = service_fn(move |request| dispatch(&link, request));
    let executor = StreamExecutor { timeouts, stats: Arc::clone(&connection.stats) };
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(settings.http2.stream_window.min(WIDEST_WINDOW))
        .initial_connection_window_size(settings.http2.connection_window.min(WIDEST_WINDOW))
        .max_concurrent_streams(settings.http2.max_streams)
        .max_header_list_size(settings.http2.max_header_list)
        .max_send_buf_size(settings.http2.send_buffer.min(WIDEST_WINDOW as usize))
        // Streams that a client makes this side reset; h2 counts the resets of the client elsewhere.
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(settings.timeouts.h2_ping_interval)
        // hyper sends the PING; `Driver` notices a missing answer, and notes it before the streams are dropped.
        .keep_alive_timeout(settings.timeouts.h2_ping_timeout * 4);
    if settings.http2.extended_connect {
        builder.enable_connect_protocol();
    }
    let hyper = builder.serve_connection(io, service);
    let driver = Driver::new(connection, socket, &settings.timeouts);
    driver.run(hyper, |hyper| hyper.graceful_shutdown()).await;
}

struct Driver<'a> {
    connection: Arc<Connection>,
    socket: Socket,
    timeouts: &'a Timeouts,
    waits: Waits,
    /// The waker of the task that waits for the body of a request.
    body: Option<Waker>,
    phase: Phase,
    /// When the client last sent anything; kept on HTTP/2 only.
    last_read: Instant,
    alarm: Alarm,
    /// HTTP/2: how many more times hyper may be polled after it has returned.
    resumed: std::ops::Range<u32>,
    /// Resolves when the peer is seen to leave; made when it is first needed.
    gone: Option<Pin<Box<dyn Future<Output = Departure> + Send>>>,
    /// How the peer has left so far.
    departure: Option<Departure>,
    leftover: Drain,
    /// When the drain of this connection began.
    draining: Option<Instant>,
}

/// The phase of a connection when there is nothing to poll.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Exchanges are in progress.
    Busy,
    /// The connection was idle for too long and was told to close, at this time.
    Going(Instant),
    /// A request head is being read, since this time.
    Head(Instant),
    /// The connection is idle, since this time.
    Idle(Instant),
    /// HTTP/2: the client has not sent its SETTINGS, since this time.
    Preface(Instant),
}

impl<'a> Driver<'a> {
    fn new(connection: Arc<Connection>, socket: Socket, timeouts: &'a Timeouts) -> Driver<'a> {
        let now = Instant::now();
        let phase = match connection.protocol {
            Protocol::Http1 => Phase::Head(now),
            Protocol::Http2 | Protocol::Http3 => Phase::Preface(now),
        };
        Driver {
            connection,
            socket,
            timeouts,
            waits: Waits::default(),
            body: None,
            phase,
            last_read: now,
            alarm: Alarm::default(),
            resumed: 0..MOST_RESUMED,
            gone: None,
            departure: None,
            leftover: Drain::default(),
            draining: None,
        }
    }

    async fn run<C>(mut self, hyper: C, drain: impl Fn(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        {
            let mut hyper = pin!(hyper);
            poll_fn(|cx| {
                self.control().register(cx.waker());
                self.poll(cx, hyper.as_mut(), &drain)
            })
            .await;
            // hyper, and with it every exchange of an HTTP/1 connection, is dropped here, after the ending is known.
        }
        self.linger().await;
    }

    fn poll<C>(&mut self, cx: &mut Context<'_>, mut hyper: Pin<&mut C>, drain: &impl Fn(Pin<&mut C>)) -> Poll<()>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        loop {
            match self.control().command() {
                Command::Run | Command::Retire => {}
                Command::Drain if self.draining.is_some() => {}
                Command::Drain => {
                    self.draining = Some(Instant::now());
                    // hyper would close an idle HTTP/1 connection at once; `dispatch` handles the others.
                    if self.connection.protocol != Protocol::Http1 {
                        drain(hyper.as_mut());
                    }
                }
                Command::Cut => {
                    self.control().end(Ending::Closed);
                    return Poll::Ready(());
                }
            }
            if let Poll::Ready(result) = self.waits.during(|| hyper.as_mut().poll(cx)) {
                if result.is_ok() && self.goes_on() {
                    continue;
                }
                self.finished(result);
                return Poll::Ready(());
            }
            self.body = self.waits.take_body_waker().or(self.body.take());
            if self.leftover.poll(cx, &self.connection.control, self.timeouts.unread_body) {
                continue;
            }
            self.enter_phase();
            if !self.is_busy() && self.waits.take_read_held() {
                continue;
            }
            if self.is_deserted(cx) {
                return Poll::Ready(());
            }
            let Some((deadline, name)) = self.deadline() else {
                return Poll::Pending;
            };
            if !self.alarm.has_passed(cx, deadline) {
                return Poll::Pending;
            }
            match name {
                // The service is told once, and may still answer.
                TimeoutName::BodyIdle | TimeoutName::BodyMinRate if self.waits.passed().is_none() => {
                    self.connection.stats.count_timeout(name);
                    self.waits.pass(name, self.body.take());
                }
                _ if self.may_leave().is_some_and(|at| at <= deadline) => {
                    self.phase = Phase::Going(Instant::now());
                    drain(hyper.as_mut());
                }
                TimeoutName::H2Idle if matches!(self.phase, Phase::Idle(_)) => {
                    self.connection.stats.count_timeout(name);
                    self.phase = Phase::Going(Instant::now());
                    drain(hyper.as_mut());
                }
                _ => {
                    if self.waits.passed().is_none() && !matches!(self.phase, Phase::Going(_)) {
                        self.connection.stats.count_timeout(name);
                    }
                    tracing::debug!(connection = self.connection.id, timeout = %name, "closing a connection");
                    self.control().end(Ending::TimedOut(name));
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Whether an HTTP/2 connection lives although hyper's future has returned: hyper (1.12) resets the stream of a
    /// CONNECT with a content-length, and returns as if the other streams had ended too. Polled again it continues. If
    /// a connection has really ended, its client has closed it, or this side of the socket is closed.
    fn goes_on(&mut self) -> bool {
        self.connection.protocol == Protocol::Http2
            && self.control().ending() == Ending::Open
            && !self.waits.is_shut_down()
            && self.resumed.next().is_some()
    }

    fn finished(&self, result: hyper::Result<()>) {
        if let Err(error) = result {
            tracing::debug!(connection = self.connection.id, %error, "the connection failed");
            if error.is_parse() {
                // hyper has answered by itself. The bytes after the bad head stay unread.
                self.connection.stats.bad_requests.fetch_add(1, Relaxed);
                self.control().leave_unread();
            }
        }
        if !self.control().is_upgrading() {
            self.control().end(Ending::Closed);
        }
    }

    fn enter_phase(&mut self) {
        let is_http2 = self.connection.protocol == Protocol::Http2;
        if is_http2 && self.waits.read() > 0 {
            self.last_read = Instant::now();
        }
        if is_http2 && self.waits.h2_in_head() {
            if !matches!(self.phase, Phase::Head(_)) {
                self.phase = Phase::Head(Instant::now());
            }
            return;
        }
        if self.is_busy() {
            self.phase = Phase::Busy;
            return;
        }
        match self.phase {
            Phase::Preface(_) if !self.waits.h2_settings_seen() => {}
            Phase::Head(_) if !is_http2 && self.waits.begun() == 0 => {}
            Phase::Idle(_) if self.waits.begun() == 0 => {
                if !is_http2 && self.waits.read() > 0 {
                    self.phase = Phase::Head(Instant::now());
                }
            }
            Phase::Going(_) => {}
            _ => self.phase = Phase::Idle(Instant::now()),
        }
    }

    /// Whether an exchange is under way. On HTTP/1 an exchange lasts until the socket has taken its last byte, since
    /// hyper drops a response body as soon as all of it is in its buffer. The rest of the request body belongs to the
    /// exchange, too.
    fn is_busy(&self) -> bool {
        let is_http1 = self.connection.protocol == Protocol::Http1;
        self.control().in_flight() > 0 || is_http1 && (self.waits.is_writing() || self.leftover.is_reading())
    }

    /// On HTTP/1, whether certainly no client waits for the exchange under way. A client that has only closed its side
    /// may still wait; only a write to it can tell. hyper sees a client leave while it reads, but it does not read
    /// while there is a body that the service does not take.
    fn is_deserted(&mut self, cx: &mut Context<'_>) -> bool {
        if self.connection.protocol != Protocol::Http1 || !matches!(self.phase, Phase::Busy) {
            return false;
        }
        if self.control().ending() != Ending::Open {
            // The end came in the middle of the request or of a session.
            return true;
        }
        loop {
            match self.departure {
                Some(Departure::Half) if self.control().is_held() => {
                    self.control().end(Ending::PeerClosed);
                    return true;
                }
                Some(Departure::Whole(ending)) => {
                    self.control().end(ending);
                    return true;
                }
                Some(Departure::Half) | None => {}
            }
            let after = self.departure;
            let gone = self.gone.get_or_insert_with(|| Box::pin(self.socket.clone().gone(after)));
            let Poll::Ready(departure) = gone.as_mut().poll(cx) else {
                return false;
            };
            self.gone = None;
            self.departure = Some(departure);
        }
    }

    /// When a drain may close this HTTP/1 connection, because it has no request.
    fn may_leave(&self) -> Option<Instant> {
        let draining = self.draining.filter(|_| self.connection.protocol == Protocol::Http1)?;
        let since = match self.phase {
            Phase::Idle(since) => since,
            // hyper keeps it open if part of a first head has come; for a later request it would not.
            Phase::Head(since) if self.control().requests() == 0 => since,
            _ => return None,
        };
        Some(draining.max(since) + self.timeouts.drain_idle)
    }

    fn deadline(&self) -> Option<(Instant, TimeoutName)> {
        let timeouts = self.timeouts;
        let (is_http2, idle) = match self.connection.protocol {
            Protocol::Http1 => (false, (timeouts.keep_alive_idle, TimeoutName::KeepAliveIdle)),
            Protocol::Http2 | Protocol::Http3 => (true, (timeouts.h2_idle, TimeoutName::H2Idle)),
        };
        let leaves = self.may_leave().map(|at| (at, TimeoutName::KeepAliveIdle));
        let phase = match self.phase {
            _ if leaves.is_some() => leaves,
            Phase::Busy => None,
            Phase::Head(since) => Some((since + timeouts.request_head, TimeoutName::RequestHead)),
            Phase::Idle(since) | Phase::Going(since) => Some((since + idle.0, idle.1)),
            Phase::Preface(since) => Some((since + timeouts.preface, TimeoutName::Preface)),
        };
        let ping = is_http2.then(|| {
            (self.last_read + timeouts.h2_ping_interval + timeouts.h2_ping_timeout, TimeoutName::H2PingTimeout)
        });
        // For an HTTP/2 exchange, its stream's task keeps this deadline.
        let total = self.waits.total().filter(|_| matches!(self.phase, Phase::Busy));
        earliest(earliest(earliest(phase, ping), total), self.waits.deadline(timeouts))
    }

    /// Closes in two steps when the client may still be sending (RFC 9112, 9.6).
    async fn linger(self) {
        let control = self.control();
        let ended_here = matches!(control.ending(), Ending::Closed);
        if !ended_here
            || !control.left_unread()
            || control.is_tunnel()
            || control.is_upgrading()
            || control.command() == Command::Cut
        {
            return;
        }
        if self.socket.shutdown_write().is_ok() {
            // Past the deadline the client has had its chance to read the answer.
            let _ = tokio::time::timeout(self.timeouts.linger, self.socket.drain(LINGER_BYTES)).await;
        }
    }

    fn control(&self) -> &Control {
        &self.connection.control
    }
}

/// The most bytes that are read and dropped after a close.
const LINGER_BYTES: usize = 1024 * 1024;

/// How often hyper is polled again after it has returned; an honest client never makes it return.
const MOST_RESUMED: u32 = 1000;

/// The smallest buffer that hyper accepts.
const SMALLEST_BUFFER: usize = 8192;

/// The largest window (RFC 9113, 6.9.1).
const WIDEST_WINDOW: u32 = (1 << 31) - 1;

/// Resets of one connection; above it, GOAWAY(ENHANCE_YOUR_CALM).
const LOCAL_RESETS: usize = 256;
