use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use super::frames::{self, Answer, MalformedPacket};
use super::{LoadOptions, Shared};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A window is refilled when this part of it is free (an eighth), so that a broker that acknowledges one message at a
/// time does not make the client write one at a time.
const REFILL_DIVISOR: usize = 8;
/// Bytes waiting to be written at which no more messages are rendered: some socket buffers' worth.
const OUT_LIMIT: usize = 256 * 1024;
const READ_SIZE: usize = 16 * 1024;

/// Why a connection could not be opened or ended early.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] MalformedPacket),
    #[error("the broker did not answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("the broker refused the connection with code {0:#04x}")]
    Refused(u8),
    #[error("the broker ended the connection with reason {0:#04x}")]
    Disconnected(u8),
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker acknowledged packet id {0}, which is not in flight")]
    Unsolicited(u16),
}

/// What one connection did.
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) answered_with_error: u64,
    pub(crate) last_progress: Instant,
    pub(crate) lost: Option<ConnectionError>,
}

/// Opens a connection up to its CONNACK.
pub(crate) async fn open(index: u32, options: &LoadOptions) -> Result<TcpStream, ConnectionError> {
    let opening = async {
        let mut stream = TcpStream::connect(&options.addr).await?;
        stream.set_nodelay(true)?;
        let mut buffer = BytesMut::new();
        // Runs with one run id send the same records; as clients they must not take over from each other.
        let client_id = format!("load-{:08x}-{index}", rand::random::<u32>());
        frames::connect(&mut buffer, options.protocol, &client_id, options.credentials.as_ref());
        stream.write_all(&buffer).await?;
        buffer.clear();
        loop {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(ConnectionError::Closed);
            }
            match frames::next_answer(&mut buffer)? {
                Some(Answer::Connected(0)) => return Ok(stream),
                Some(Answer::Connected(code)) => return Err(ConnectionError::Refused(code)),
                Some(Answer::Disconnected(reason)) => return Err(ConnectionError::Disconnected(reason)),
                Some(_) | None => {}
            }
        }
    };
    tokio::time::timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| ConnectionError::Timeout)?
}

/// One open connection under load.
pub(crate) struct Connection {
    index: u32,
    stream: TcpStream,
    shared: Arc<Shared>,
    out: BytesMut,
    input: BytesMut,
    /// Packet ids that are free, last in first out: the same few slots stay in the cache.
    free_ids: Vec<u16>,
    /// By packet id: when the message in flight was due.
    due_at: Vec<Option<Instant>>,
    /// Latencies of one read, kept to allocate once.
    latencies: Vec<Duration>,
    messages_left: u64,
    pace: Option<Pace>,
    outcome: Outcome,
}

/// Open-loop pacing: a message is due at its time, whether or not the broker keeps up, and its latency counts from
/// then on; else a stalled broker would slow the clock that measures it (coordinated omission).
struct Pace {
    next: Instant,
    interval: Duration,
}

impl Connection {
    pub(crate) fn new(index: u32, stream: TcpStream, shared: Arc<Shared>, started: Instant) -> Self {
        let options = &shared.options;
        let connections = u64::from(options.connections);
        let per_message = shared.template.records_per_message();
        let messages = options.records.map_or(u64::MAX, |records| {
            let messages = records.div_ceil(per_message);
            messages / connections + u64::from(u64::from(index) < messages % connections)
        });
        let pace = options.rate.map(|rate| {
            let seconds = (per_message * connections) as f64 / rate;
            // A day at most: far below what a Duration holds, and as good as never.
            let interval = Duration::from_secs_f64(seconds.clamp(1e-9, 86_400.0));
            let phase = interval.mul_f64(f64::from(index) / connections as f64);
            Pace { next: started + phase, interval }
        });
        Self {
            index,
            stream,
            out: BytesMut::with_capacity(OUT_LIMIT),
            input: BytesMut::with_capacity(READ_SIZE),
            free_ids: (1..=options.window).rev().collect(),
            due_at: vec![None; usize::from(options.window) + 1],
            latencies: Vec::with_capacity(options.window.into()),
            messages_left: messages,
            pace,
            outcome: Outcome {
                sent: 0,
                acked: 0,
                answered_with_error: 0,
                last_progress: started,
                lost: None,
            },
            shared,
        }
    }

    pub(crate) async fn run(mut self) -> Outcome {
        if let Err(error) = self.pump().await {
            self.outcome.lost = Some(error);
        }
        self.outcome
    }

    async fn pump(&mut self) -> Result<(), ConnectionError> {
        let stop = self.shared.stop.clone();
        let stopped = stop.cancelled();
        tokio::pin!(stopped);
        let drain = tokio::time::sleep(Duration::MAX);
        tokio::pin!(drain);
        let mut draining = false;
        loop {
            if !draining {
                self.fill();
                draining = self.messages_left == 0;
                if draining {
                    drain.as_mut().reset(self.drain_deadline());
                }
            }
            if draining && self.out.is_empty() && self.in_flight() == 0 {
                frames::disconnect(&mut self.out);
                return Ok(self.stream.write_all(&self.out).await?);
            }
            let interest = if self.out.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            let due = self.next_due().filter(|_| !draining);
            tokio::select! {
                ready = self.stream.ready(interest) => {
                    let ready = ready?;
                    if ready.is_writable() && !self.out.is_empty() {
                        self.write()?;
                    }
                    if ready.is_readable() {
                        self.read()?;
                    }
                }
                () = sleep_until(due), if due.is_some() => {}
                () = &mut stopped, if !draining => {
                    draining = true;
                    drain.as_mut().reset(self.drain_deadline());
                }
                () = &mut drain, if draining => return Ok(()),
            }
        }
    }

    fn drain_deadline(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.shared.options.drain_timeout
    }

    fn in_flight(&self) -> usize {
        usize::from(self.shared.options.window) - self.free_ids.len()
    }

    /// When the next paced message is due, if the window has room for it.
    fn next_due(&self) -> Option<Instant> {
        let room = !self.free_ids.is_empty() && self.out.len() < OUT_LIMIT;
        self.pace.as_ref().map(|pace| pace.next).filter(|_| room)
    }

    /// Renders messages while window, pace and buffer allow it.
    fn fill(&mut self) {
        let options = &self.shared.options;
        let per_message = self.shared.template.records_per_message();
        if self.pace.is_none() && self.free_ids.len() < usize::from(options.window).div_ceil(REFILL_DIVISOR) {
            return;
        }
        let now = Instant::now();
        while self.messages_left > 0 && self.out.len() < OUT_LIMIT {
            let Some(&packet_id) = self.free_ids.last() else { return };
            let due = match &mut self.pace {
                Some(pace) if pace.next > now => return,
                Some(pace) => {
                    let due = pace.next;
                    pace.next += pace.interval;
                    due
                }
                None => now,
            };
            let number = self.outcome.sent * u64::from(options.connections) + u64::from(self.index);
            let iccid = &self.shared.iccids[(number % self.shared.iccids.len() as u64) as usize];
            self.shared.template.write(&mut self.out, packet_id, iccid, number * per_message);
            if options.qos > 0 {
                self.free_ids.pop();
                self.due_at[usize::from(packet_id)] = Some(due);
            }
            self.outcome.sent += 1;
            self.messages_left -= 1;
        }
    }

    fn write(&mut self) -> Result<(), ConnectionError> {
        match self.stream.try_write(&self.out) {
            Ok(written) => {
                let _ = self.out.split_to(written);
                if self.out.is_empty() {
                    self.out.reserve(OUT_LIMIT);
                }
                if self.shared.options.qos == 0 {
                    self.outcome.last_progress = Instant::now();
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self) -> Result<(), ConnectionError> {
        self.input.reserve(READ_SIZE);
        match self.stream.try_read_buf(&mut self.input) {
            Ok(0) => return Err(ConnectionError::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        let acked_before = self.outcome.acked;
        while let Some(answer) = frames::next_answer(&mut self.input)? {
            match answer {
                Answer::Finished { packet_id, reason } => self.finish(packet_id, reason, now)?,
                Answer::Received(packet_id) => frames::pubrel(&mut self.out, packet_id),
                Answer::Disconnected(reason) => return Err(ConnectionError::Disconnected(reason)),
                Answer::Connected(_) | Answer::Other => {}
            }
        }
        let acked = self.outcome.acked - acked_before;
        if acked > 0 {
            self.outcome.last_progress = now;
            self.shared.record_latencies(self.index, self.latencies.drain(..));
            let records = acked * self.shared.template.records_per_message();
            self.shared.progress.acked_records.fetch_add(records, Ordering::Relaxed);
        }
        Ok(())
    }

    fn finish(&mut self, packet_id: u16, reason: u8, now: Instant) -> Result<(), ConnectionError> {
        let slot = self.due_at.get_mut(usize::from(packet_id));
        let due = slot.and_then(Option::take).ok_or(ConnectionError::Unsolicited(packet_id))?;
        self.free_ids.push(packet_id);
        self.latencies.push(now.saturating_duration_since(due));
        self.outcome.acked += 1;
        self.outcome.answered_with_error += u64::from(reason >= 0x80);
        Ok(())
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
