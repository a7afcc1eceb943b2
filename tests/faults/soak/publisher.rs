//! One connection that publishes, and whatever becomes of it comes again with all that was not acknowledged.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use chrono::{DateTime, Utc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::ledger::{Ledger, cycle_month};
use super::publishers::{Live, Orders, Phase};
use crate::harness::PATIENCE;
use crate::harness::database::now;
use crate::harness::packets::{self, CONNACK};

/// Often enough for a steady stream, seldom enough for the generator to cost little.
const TICK: Duration = Duration::from_millis(20);
/// Seconds of use that a record tells of.
const PERIOD: i64 = 300;
const DISCONNECT: [u8; 2] = [0xe0, 0];

/// A SIM of this publisher alone.
pub(super) struct Subject {
    /// In the fleet.
    pub(super) index: u32,
    pub(super) iccid: String,
    pub(super) cycle_day: u8,
}

/// A record that waits for its acknowledgement.
struct Sent {
    pkid: u16,
    subject: usize,
    month: i32,
    bytes: i64,
    payload: String,
    /// First: a device waits from then on, however often it has to say it.
    at: Instant,
}

pub(super) struct Publisher {
    pub(super) name: String,
    pub(super) subjects: Vec<Subject>,
    /// Records a second.
    pub(super) rate: f64,
    pub(super) window: usize,
    pub(super) orders: watch::Receiver<Orders>,
    pub(super) live: Arc<Live>,
    outstanding: VecDeque<Sent>,
    ledger: Ledger,
    composed: u64,
    pkid: u16,
    /// Seconds since 1970, and the period that ends then, as JSON.
    period: (i64, String),
    quiet: bool,
}

/// How a connection went, if it did not just break.
enum End {
    Left,
    Cut { abort: bool },
}

impl Publisher {
    pub(super) fn new(
        name: String,
        subjects: Vec<Subject>,
        rate: f64,
        window: usize,
        orders: watch::Receiver<Orders>,
        live: Arc<Live>,
    ) -> Self {
        Self {
            name,
            subjects,
            rate,
            window,
            orders,
            live,
            outstanding: VecDeque::new(),
            ledger: Ledger::default(),
            composed: 0,
            pkid: 0,
            period: (0, String::new()),
            quiet: false,
        }
    }

    /// Publishes until it is told to leave and has every acknowledgement.
    pub(super) async fn run(mut self) -> Ledger {
        loop {
            let broker = self.orders.borrow().broker;
            if let Ok(mut stream) = TcpStream::connect(broker).await {
                match self.converse(&mut stream).await {
                    Ok(End::Left) => return self.ledger,
                    // Without lingering, the broker hears of it by a reset and not by an end.
                    Ok(End::Cut { abort }) if abort => stream.set_zero_linger().expect("it is a socket"),
                    Ok(End::Cut { .. }) => {}
                    Err(_) => {
                        self.live.lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn converse(&mut self, stream: &mut TcpStream) -> io::Result<End> {
        stream.set_nodelay(true)?;
        let (mut reader, mut writer) = stream.split();
        writer.write_all(&packets::connect(&self.name, None)).await?;
        let mut answer = [0; 4];
        timeout(PATIENCE, reader.read_exact(&mut answer)).await??;
        assert_eq!(answer, CONNACK, "{}", self.name);
        writer.write_all(&self.again()).await?;
        let cuts = self.orders.borrow().cut;
        let mut received = BytesMut::with_capacity(4096);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut credit, mut counted) = (0.0_f64, Instant::now());
        loop {
            let orders = *self.orders.borrow();
            self.rest(orders.phase != Phase::Publish && self.outstanding.is_empty());
            if orders.phase == Phase::Leave && self.outstanding.is_empty() {
                writer.write_all(&DISCONNECT).await?;
                return Ok(End::Left);
            }
            tokio::select! {
                read = reader.read_buf(&mut received) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.settle(&mut received);
                }
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        // The test has failed already, and says so itself.
                        return Ok(End::Left);
                    }
                }
                _ = ticks.tick(), if orders.phase == Phase::Publish => {
                    // At most a second of debt: what an outage kept back is not made up for, so that the load that the
                    // figures are of is soon the one that was asked for.
                    credit = (credit + counted.elapsed().as_secs_f64() * self.rate).min(self.rate.max(1.0));
                    counted = Instant::now();
                    let due = (credit as usize).min(self.window.saturating_sub(self.outstanding.len()));
                    credit -= due as f64;
                    writer.write_all(&self.next(due)).await?;
                    // Right after a PUBLISH: it is not acknowledged yet, and may be stored all the same.
                    if due > 0 && orders.cut.turn != cuts.turn && orders.cut.hits(&self.name) {
                        return Ok(End::Cut { abort: orders.cut.abort });
                    }
                }
            }
        }
    }

    /// Everything that waits, in its order, with the packet ids of a new connection.
    fn again(&mut self) -> Vec<u8> {
        self.pkid = 0;
        let mut packets = Vec::new();
        for sent in &mut self.outstanding {
            self.pkid += 1;
            sent.pkid = self.pkid;
            packets.extend(packets::publish(sent.pkid, &self.subjects[sent.subject].iccid, &sent.payload));
        }
        self.live.resent.fetch_add(self.outstanding.len() as u64, Ordering::Relaxed);
        packets
    }

    fn next(&mut self, count: usize) -> Vec<u8> {
        let mut packets = Vec::with_capacity(count * 400);
        for _ in 0..count {
            let sent = self.compose();
            packets.extend(packets::publish(sent.pkid, &self.subjects[sent.subject].iccid, &sent.payload));
            self.outstanding.push_back(sent);
        }
        packets
    }

    /// SIM after SIM; one record in a hundred is late, by up to eighty hours.
    fn compose(&mut self) -> Sent {
        let n = self.composed;
        self.composed += 1;
        self.pkid = self.pkid.checked_add(1).unwrap_or(1);
        let subject = (n % self.subjects.len() as u64) as usize;
        let late = if n % 100 == 99 { (n / 100 % 80) as i64 * 3600 } else { 0 };
        let end = now().timestamp() - late;
        if self.period.0 != end {
            self.period = (end, period(end));
        }
        let (upload, download) = (1_000 + (n % 977) as i64, 50_000 + (n % 7_901) as i64);
        let payload = format!(
            concat!(
                r#"{{"recordId":"{}-{}",{},"mccmnc":"2280{}","#,
                r#""usage":{{"totalBytes":{},"dataUploadBytes":{},"dataDownloadBytes":{}}}}}"#
            ),
            self.name,
            n,
            self.period.1,
            1 + subject % 3,
            upload + download,
            upload,
            download,
        );
        let month = cycle_month(moment(end - PERIOD), self.subjects[subject].cycle_day);
        Sent { pkid: self.pkid, subject, month, bytes: upload + download, payload, at: Instant::now() }
    }

    /// Takes the acknowledgements out of what was received.
    fn settle(&mut self, received: &mut BytesMut) {
        let mut waits = Vec::new();
        while received.len() >= 4 {
            // MQTT-4.6.0-2: in the order in which they were published.
            let sent = self.outstanding.pop_front().expect("something waits for it");
            assert_eq!(received[..4], packets::puback(sent.pkid), "the next acknowledgement");
            received.advance(4);
            waits.push(sent.at.elapsed());
            self.ledger.add(self.subjects[sent.subject].index, sent.month, sent.bytes);
        }
        self.live.acknowledged(&waits);
    }

    fn rest(&mut self, quiet: bool) {
        if std::mem::replace(&mut self.quiet, quiet) != quiet {
            if quiet {
                self.live.quiet.fetch_add(1, Ordering::SeqCst);
            } else {
                self.live.quiet.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

fn moment(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).expect("a time of today")
}

/// Most records of a second have the same, and making it costs more than all the rest of a record.
fn period(end: i64) -> String {
    let text = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    format!(r#""periodStart":"{}","periodEnd":"{}""#, text(moment(end - PERIOD)), text(moment(end)))
}
