//! Loads: closed, where each connection asks again as soon as it has an answer, and open, where requests start at fixed
//! times, however long the answers take.
//!
//! A closed load is slowed down by the server that it measures: while the server stalls, nobody asks, and the requests
//! that would have waited are missing from the latencies ("coordinated omission"). In an open load each request has an
//! intended start. It is sent then, or, if all connections wait for answers, as soon as one is free. Its *corrected*
//! latency counts from the intended start, its *uncorrected* one from the moment when it was sent.
//!
//! # Not covered
//! - A connection has one exchange under way at a time. With more connections, a stall delays fewer requests to come.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::client::{Client, Target};
use crate::pace::Pace;
use crate::scenarios::Does;

/// How long an open load goes on, after its last intended start, with requests that are late.
const GRACE: Duration = Duration::from_secs(2);

/// Connections that are opened at once.
const OPENING: usize = 64;

/// The longest latency in nanoseconds that is told apart from longer ones.
const LONGEST: u64 = 60_000_000_000;

/// What is done, for how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connections in all.
    pub connections: usize,
    /// Requests a second. Without it, the load is closed.
    pub rate: Option<f64>,
    /// How long nothing is counted.
    pub warm_up: Duration,
    /// How long is counted.
    pub length: Duration,
    /// Threads that share connections and rate.
    pub threads: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: &'static str,
    /// The protocol's name.
    pub protocol: &'static str,
    /// Connections.
    pub connections: usize,
    /// The wanted rate of an open load, in requests a second.
    pub rate: Option<f64>,
    /// Answers in the counted time.
    pub requests: u64,
    /// The counted time in seconds.
    pub seconds: f64,
    /// All answers, with those of the warm-up.
    pub worked: u64,
    /// Exchanges of an open load that were due, and were never sent because the server was too slow. Their corrected
    /// latency is counted as if they had been answered when the load was given up.
    pub unsent: u64,
    /// Latencies from the moment of sending.
    pub uncorrected: Latency,
    /// Latencies from the intended start, for an open load.
    pub corrected: Option<Latency>,
}

/// Latencies of exchanges, in microseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// The mean.
    pub mean: f64,
    /// Half are shorter.
    pub p50: f64,
    /// And so on.
    pub p75: f64,
    /// 1 of 10 is longer.
    pub p90: f64,
    /// 1 of 100 is longer.
    pub p99: f64,
    /// 1 of 1000 is longer.
    pub p999: f64,
    /// 1 of 10 000 is longer.
    pub p9999: f64,
    /// The longest.
    pub max: f64,
}

/// Runs a load to its end. Calls `started` when all connections are open.
///
/// # Errors
/// Any wrong answer, and any broken connection.
pub fn run(target: &Arc<Target>, plan: Plan, started: impl FnOnce()) -> Result<Report> {
    ensure!(plan.threads > 0 && plan.connections >= plan.threads, "each thread needs a connection");
    let ready = Arc::new(Barrier::new(plan.threads + 1));
    let threads: Vec<_> = (0..plan.threads)
        .map(|thread| {
            // The connections that are left over go to the first threads.
            let connections = plan.connections / plan.threads + usize::from(thread < plan.connections % plan.threads);
            let share = Share { connections, thread, ready: ready.clone(), plan };
            let target = target.clone();
            std::thread::spawn(move || share.run(&target))
        })
        .collect();
    ready.wait();
    started();
    let mut counts = Counts::new()?;
    for thread in threads {
        counts.add(thread.join().expect("a load does not panic")?)?;
    }
    let open = plan.rate.is_some();
    Ok(Report {
        scenario: target.scenario().name,
        protocol: target.protocol().label(),
        connections: plan.connections,
        rate: plan.rate,
        requests: counts.requests,
        seconds: plan.length.as_secs_f64(),
        worked: counts.worked,
        unsent: counts.unsent,
        uncorrected: Latency::of(&counts.uncorrected),
        corrected: open.then(|| Latency::of(&counts.corrected)),
    })
}

/// Opens connections and keeps them: after one exchange each, or with a session that is held. Calls `opened` when all
/// are open, and closes them when it returns.
///
/// # Errors
/// A connection that the server does not take.
pub fn hold(target: &Arc<Target>, connections: usize, opened: impl FnOnce() + Send + 'static) -> Result<()> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut held = open(target, connections).await?;
        for client in &mut held {
            match target.scenario().does {
                Does::Listen => client.listen().await?,
                _ => drop(client.exchange().await?),
            }
        }
        // Acknowledgements and answers to pings go on meanwhile.
        tokio::task::spawn_blocking(opened).await.context("waiting panicked")
    })
}

/// Makes one exchange, which must bring the right answer.
///
/// # Errors
/// Another answer, or none.
pub fn check(target: &Arc<Target>) -> Result<()> {
    runtime()?.block_on(async {
        let endpoint = target.endpoint()?;
        let mut client = target.connect(endpoint.as_ref()).await?;
        for _ in 0..target.scenario().paths().len() {
            client.exchange().await?;
        }
        Ok(())
    })
}

/// Makes exchanges on one connection until so many answers have come.
///
/// # Errors
/// Another answer, or none.
pub fn count(target: &Arc<Target>, answers: u64) -> Result<()> {
    runtime()?.block_on(async {
        let endpoint = target.endpoint()?;
        let mut client = target.connect(endpoint.as_ref()).await?;
        let mut come = 0;
        while come < answers {
            come += client.exchange().await?;
        }
        Ok(())
    })
}

/// The part of one thread.
struct Share {
    connections: usize,
    thread: usize,
    ready: Arc<Barrier>,
    plan: Plan,
}

/// The intended starts of a thread's exchanges, which its connections take one after the other.
struct Schedule {
    next: AtomicU64,
    first: Instant,
    /// Exchanges a second.
    rate: f64,
    end: Instant,
}

/// What connections have done.
struct Counts {
    requests: u64,
    worked: u64,
    unsent: u64,
    uncorrected: Histogram<u64>,
    corrected: Histogram<u64>,
}

impl Share {
    fn run(self, target: &Arc<Target>) -> Result<Counts> {
        let opened = runtime().and_then(|runtime| {
            let clients = runtime.block_on(open(target, self.connections))?;
            Ok((runtime, clients))
        });
        // A thread that failed must not keep the others waiting.
        self.ready.wait();
        let (runtime, clients) = opened?;
        runtime.block_on(async {
            let start = Instant::now();
            let counted = start + self.plan.warm_up;
            let end = counted + self.plan.length;
            let threads = self.plan.threads as f64;
            let schedule = self.plan.rate.map(|rate| {
                let rate = rate / target.scenario().batch() as f64 / threads;
                // Threads start one after the other, so that their requests do not all come at once.
                let first = start + Duration::from_secs_f64(self.thread as f64 / rate / threads);
                Arc::new(Schedule { next: AtomicU64::new(0), first, rate, end })
            });
            let pace = Pace::start()?;
            let mut workers = JoinSet::new();
            for client in clients {
                let worker = Worker { client, counted, end, counts: Counts::new()? };
                match schedule.clone() {
                    Some(schedule) => workers.spawn(worker.open(schedule, pace.clone())),
                    None => workers.spawn(worker.closed()),
                };
            }
            let mut counts = Counts::new()?;
            while let Some(worker) = workers.join_next().await {
                counts.add(worker.context("a connection panicked")??)?;
            }
            if let Some(schedule) = schedule {
                counts.give_up(&schedule, counted);
            }
            Ok(counts)
        })
    }
}

struct Worker {
    client: Client,
    counted: Instant,
    end: Instant,
    counts: Counts,
}

impl Worker {
    async fn closed(mut self) -> Result<Counts> {
        loop {
            let sent = Instant::now();
            if sent >= self.end {
                return Ok(self.counts);
            }
            let answers = self.client.exchange().await?;
            let done = Instant::now();
            self.counts.worked += answers;
            if done >= self.counted && done < self.end {
                self.counts.requests += answers;
                self.counts.uncorrected.saturating_record(nanos(sent, done));
            }
        }
    }

    async fn open(mut self, schedule: Arc<Schedule>, pace: Pace) -> Result<Counts> {
        while let Some(intended) = schedule.take() {
            pace.until(intended).await;
            let sent = Instant::now();
            let answers = self.client.exchange().await?;
            let done = Instant::now();
            self.counts.worked += answers;
            if intended >= self.counted {
                self.counts.requests += answers;
                self.counts.uncorrected.saturating_record(nanos(sent, done));
                self.counts.corrected.saturating_record(nanos(intended, done));
            }
        }
        Ok(self.counts)
    }
}

impl Schedule {
    /// The next intended start, unless it lies behind the end, or the end behind the present.
    fn take(&self) -> Option<Instant> {
        if Instant::now() >= self.end + GRACE {
            return None;
        }
        let intended = self.at(self.next.fetch_add(1, Relaxed));
        (intended < self.end).then_some(intended)
    }

    fn at(&self, number: u64) -> Instant {
        self.first + Duration::from_secs_f64(number as f64 / self.rate)
    }
}

impl Counts {
    fn new() -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3).context("the bounds of a histogram are wrong");
        Ok(Self { requests: 0, worked: 0, unsent: 0, uncorrected: histogram()?, corrected: histogram()? })
    }

    fn add(&mut self, other: Self) -> Result<()> {
        self.requests += other.requests;
        self.worked += other.worked;
        self.unsent += other.unsent;
        self.uncorrected.add(&other.uncorrected)?;
        self.corrected.add(&other.corrected)?;
        Ok(())
    }

    /// Counts the exchanges that nobody took.
    fn give_up(&mut self, schedule: &Schedule, counted: Instant) {
        let now = Instant::now();
        for number in schedule.next.load(Relaxed).. {
            let intended = schedule.at(number);
            if intended >= schedule.end {
                return;
            }
            if intended >= counted {
                self.unsent += 1;
                self.corrected.saturating_record(nanos(intended, now));
            }
        }
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

async fn open(target: &Arc<Target>, connections: usize) -> Result<Vec<Client>> {
    let endpoint = target.endpoint()?;
    let mut opened = Vec::with_capacity(connections);
    let mut opening = JoinSet::new();
    for number in 0..connections {
        let (target, endpoint) = (target.clone(), endpoint.clone());
        opening.spawn(async move { target.connect(endpoint.as_ref()).await });
        if opening.len() == OPENING || number + 1 == connections {
            while let Some(client) = opening.join_next().await {
                opened.push(client.context("opening a connection panicked")??);
            }
        }
    }
    Ok(opened)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("there is no runtime")
}

fn nanos(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}
