//! Histories: what may happen to a few SIMs of two tenants, drawn from a seed.
//!
//! Operations name SIMs, earlier records and moments by number and mean something in any order, so that a history from
//! which some are left out is a history again.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::harness::pipeline::time;

/// The time that it always is. All changes of clocks of the year lie behind it.
pub(super) const NOW: &str = "2026-11-05T12:00:00Z";
pub(super) const SIMS: usize = 5;
pub(super) const NETWORKS: [&str; 3] = ["", "22801", "310260"];
pub(super) const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Berlin",
    "Asia/Kolkata",
    "America/New_York",
    "Africa/Cairo",
    "America/Havana",
    "Australia/Lord_Howe",
];

/// Moments around which a history happens: midnights and changes of clocks.
const ANCHORS: [&str; 16] = [
    "2026-03-29T01:00:00Z", // Berlin goes to summer time
    "2026-10-24T22:00:00Z", // Berlin's day of 25 hours begins
    "2026-10-25T23:00:00Z", // and ends
    "2026-10-31T18:30:00Z", // November begins in Kolkata
    "2026-03-08T07:00:00Z", // New York goes to summer time
    "2026-11-01T04:00:00Z", // New York's day of 25 hours begins; Havana's first midnight of that day
    "2026-11-01T05:00:00Z", // Havana's second one
    "2026-03-08T05:00:00Z", // Havana's day without a midnight
    "2026-04-23T22:00:00Z", // Cairo's
    "2026-10-29T21:00:00Z", // Cairo's hour that happens twice
    "2026-10-03T15:30:00Z", // Lord Howe puts its clocks forward, by half an hour
    "2026-04-04T15:00:00Z", // and back
    "2026-10-01T00:00:00Z",
    "2026-01-01T00:00:00Z",
    "2025-11-02T04:30:00Z",
    "2026-11-05T00:00:00Z",
];

#[derive(Clone, Debug)]
pub(super) struct History {
    /// Zones of the tenants in the beginning.
    pub(super) zones: [usize; 2],
    pub(super) ops: Vec<Op>,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Write(Vec<Draft>),
    Import(Import),
    Move(Move),
    /// Refused while an earlier change is under way.
    ChangeZone {
        tenant: usize,
        zone: usize,
    },
    Work(Work),
    Undone(Work, Undo),
    /// Everything that waits is done.
    Settle,
}

/// What the worker does in one transaction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    RollUp {
        records: i64,
    },
    /// What other readers call.
    Refresh,
    MoveZone {
        sims: i32,
    },
    Rebuild {
        tenant: usize,
        first: NaiveDate,
        last: NaiveDate,
    },
}

/// How the worker's transaction comes to nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Undo {
    Rollback,
    /// The same connection goes on with something else.
    RollbackToSavepoint,
    Crash,
    /// The caller looks so many times whether it is done and then leaves; it may be done by then.
    Abandon {
        looks: usize,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) sender: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    New {
        sim: usize,
        start: DateTime<Utc>,
        minutes: i64,
        amounts: [i64; 5],
        network: usize,
    },
    /// An earlier record once more.
    Again(usize),
    /// The key of an earlier record with other content.
    Altered(usize),
    Correction {
        of: usize,
        cut: Cut,
        network: Option<usize>,
        minutes: i64,
    },
}

/// What a correction takes from what is left of its record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Everything,
    Half,
    /// Adds, rather.
    Less,
    TooMuch,
    /// Claims another hour or day than its record's.
    Elsewhere,
}

#[derive(Clone, Debug)]
pub(super) struct Import {
    pub(super) sim: usize,
    pub(super) tenant: usize,
    pub(super) carrier: Option<usize>,
    pub(super) plan: Option<usize>,
    pub(super) cycle_day: Option<i16>,
    pub(super) at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub(super) struct Move {
    pub(super) sim: usize,
    pub(super) tenant: Option<usize>,
    pub(super) carrier: Option<usize>,
    pub(super) plan: Option<usize>,
    pub(super) from: DateTime<Utc>,
}

impl History {
    pub(super) fn generate(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let anchors = [0; 2].map(|_| time(ANCHORS[random.random_range(0..ANCHORS.len())]));
        let zones = [0; 2].map(|_| random.random_range(0..ZONES.len()));
        let count = random.random_range(15..=40);
        let sims = random.random_range(1..=SIMS);
        let mut draw = Draw { random, anchors, sims, now: time(NOW) };
        let mut ops: Vec<Op> =
            (0..draw.random.random_range(0..4)).map(|_| Op::Import(draw.import())).collect();
        ops.extend((0..count).map(|_| draw.op()));
        Self { zones, ops }
    }
}

struct Draw {
    random: StdRng,
    anchors: [DateTime<Utc>; 2],
    /// SIMs that occur; few, so that much happens to one.
    sims: usize,
    now: DateTime<Utc>,
}

impl Draw {
    fn op(&mut self) -> Op {
        match self.random.random_range(0..100) {
            0..42 => Op::Write((0..self.random.random_range(1..=8)).map(|_| self.draft()).collect()),
            42..62 => Op::Work(self.work()),
            62..70 => Op::Undone(self.work(), self.undo()),
            70..77 => Op::Import(self.import()),
            77..89 => Op::Move(self.move_sim()),
            89..97 => {
                Op::ChangeZone { tenant: self.either(), zone: self.random.random_range(0..ZONES.len()) }
            }
            _ => Op::Settle,
        }
    }

    fn either(&mut self) -> usize {
        self.random.random_range(0..2)
    }

    fn some<T>(&mut self, percent: u32, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.random.random_range(0..100) < percent).then(|| value(self))
    }

    fn moment(&mut self) -> DateTime<Utc> {
        let anchor = self.anchors[self.either()];
        let at = match self.random.random_range(0..100) {
            0..55 => anchor + TimeDelta::minutes(15 * self.random.random_range(-12..=12)),
            55..70 => anchor + TimeDelta::hours(self.random.random_range(-36..=36)),
            70..85 => anchor + TimeDelta::days(self.random.random_range(-20..=20)),
            85..95 => self.now + TimeDelta::minutes(self.random.random_range(-600..=600)),
            _ => self.now - TimeDelta::hours(self.random.random_range(0..=399 * 24)),
        };
        let at = if self.random.random_range(0..8) == 0 { at - TimeDelta::microseconds(1) } else { at };
        at.clamp(self.now - TimeDelta::days(399), self.now + TimeDelta::hours(20))
    }

    fn day(&mut self) -> NaiveDate {
        self.moment().date_naive()
    }

    fn draft(&mut self) -> Draft {
        let earlier = self.random.random_range(0..1_000);
        let what = match self.random.random_range(0..100) {
            0..66 => What::New {
                sim: self.random.random_range(0..self.sims),
                start: self.moment(),
                minutes: [0, 5, 60, 1_500][self.random.random_range(0..4)],
                amounts: self.amounts(),
                network: self.some(40, |draw| draw.random.random_range(0..NETWORKS.len())).unwrap_or(0),
            },
            66..72 => What::Again(earlier),
            72..76 => What::Altered(earlier),
            _ => What::Correction {
                of: earlier,
                cut: match self.random.random_range(0..20) {
                    0..12 => Cut::Everything,
                    12..15 => Cut::Half,
                    15..17 => Cut::Less,
                    17 => Cut::TooMuch,
                    _ => Cut::Elsewhere,
                },
                network: self.some(15, |draw| draw.random.random_range(0..NETWORKS.len())),
                minutes: [0, 5, 3_000][self.random.random_range(0..3)],
            },
        };
        // Most senders are the first tenant, so that records of one SIM meet.
        Draft { sender: usize::from(self.random.random_range(0..10) < 3), what }
    }

    fn amounts(&mut self) -> [i64; 5] {
        let bytes = |draw: &mut Self| draw.random.random_range(0..2_i64 << 20);
        match self.random.random_range(0..10) {
            0 => [0; 5],
            1 => [0, 0, 0, 1, 0],
            2 => [0, 0, 0, 0, 60],
            3 => [0, 0, 1 << 38, 0, 0],
            4 => [bytes(self), bytes(self), bytes(self), 2, 3],
            5 => [0, 0, 1 << 20, 0, 0],
            6 => [7, 0, 0, 0, 0],
            _ => {
                let (up, down) = (bytes(self), bytes(self));
                [up, down, up + down, 0, 0]
            }
        }
    }

    fn work(&mut self) -> Work {
        match self.random.random_range(0..100) {
            0..45 => Work::RollUp { records: self.random.random_range(0..12) },
            45..52 => Work::Refresh,
            52..75 => Work::MoveZone { sims: self.random.random_range(1..=3) },
            _ => {
                let first = self.day();
                let days = self.random.random_range(0..4) * self.random.random_range(0..15);
                Work::Rebuild { tenant: self.either(), first, last: first + Days::new(days) }
            }
        }
    }

    fn undo(&mut self) -> Undo {
        match self.random.random_range(0..4) {
            0 => Undo::Rollback,
            1 => Undo::RollbackToSavepoint,
            2 => Undo::Crash,
            _ => Undo::Abandon { looks: self.random.random_range(1..8) },
        }
    }

    fn import(&mut self) -> Import {
        Import {
            sim: self.random.random_range(0..self.sims),
            tenant: usize::from(self.random.random_range(0..10) < 3),
            carrier: self.some(70, Self::either),
            plan: self.some(80, |draw| draw.random.random_range(0..3)),
            cycle_day: self.some(30, |draw| [1, 15, 31][draw.random.random_range(0..3)]),
            at: self.some(40, Self::moment).unwrap_or(self.now),
        }
    }

    fn move_sim(&mut self) -> Move {
        Move {
            sim: self.random.random_range(0..self.sims),
            tenant: self.some(60, Self::either),
            carrier: self.some(50, Self::either),
            plan: self.some(60, |draw| draw.random.random_range(0..3)),
            from: self.some(80, Self::moment).unwrap_or(self.now),
        }
    }
}
